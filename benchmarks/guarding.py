"""What it costs to be asked who one is: the same tasks bare, with an API key, and with a signed token.

    python benchmarks/guarding.py [--tasks 400] [--rounds 3] [--write]

Each task is journaled and traced, and goes over HTTP and the binding at 16
concurrent; client and server are one process, and its CPU time is counted. The
guard by itself is measured over plain ASGI. The signed and authorized call has an
OAuth access token (ES256) with a scope, so issuer, audience, expiry, signature,
scopes, tenant and capabilities are checked; a token is verified once and then
believed for a minute, and the first time is shown too.
"""

import argparse
import statistics
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time, time
from typing import Any

import anyio
import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from rich.console import Console
from rich.table import Table

# Run as a program, this file has only its own folder on the path.
sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.results import write
from repertory.agents import Agent, Turn
from repertory.protocol import (
    Authentication,
    Call,
    FixedToken,
    Guard,
    KeyRecord,
    KeySet,
    Link,
    SendMessageRequest,
    TaskState,
    TokenRules,
    TokenVerifier,
    new_key,
    open_http_link,
    user_message,
)
from repertory.runtime import open_network
from repertory.runtime.keyring import Keyring
from repertory.runtime.manifest import parse_manifest
from repertory.runtime.web import serve

ISSUER = "https://issuer.example"
KEY = ec.generate_private_key(ec.SECP256R1())
JWKS = {"keys": [{**ECAlgorithm.to_jwk(KEY.public_key(), as_dict=True), "kid": "k"}]}
SERVING = {
    "bare": "{port: 0}",
    "API key": "{port: 0, auth: {keys: true}}",
    "signed token": "{port: 0, auth: {oauth: {issuer: 'https://issuer.example', jwks: keys.json,"
    " scopes: {talk: [echo]}, tenant_claim: org}}}",
}
CONCURRENT = 16


class Echo(Agent):
    """Says what it was told."""

    async def handle(self, turn: Turn) -> None:
        await turn.complete(turn.message.text)


def _token(audience: str) -> str:
    claims = {"iss": ISSUER, "aud": audience, "sub": "ann", "org": "acme", "scope": "talk"}
    return jwt.encode({**claims, "exp": time() + 3600}, KEY, "ES256", {"kid": "k"})


@asynccontextmanager
async def served(way: str) -> AsyncIterator[Link]:
    """A link to an agent of a network that is served in this way."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "keys.json").write_bytes(orjson.dumps(JWKS))
        text = f"network: b\nembedder: {{engine: hash}}\nserve: {SERVING[way]}\n"
        manifest = parse_manifest(
            text + "agents: {echo: {memory: {record: false, context_tokens: 0}}}\n", folder=folder
        )
        async with open_network(manifest, kinds={"echo": Echo}) as network, serve(network) as url:
            shown = ""
            if way == "API key":
                shown, _ = await Keyring(network.journal.database).add("b", tenant="acme")
            elif way == "signed token":
                shown = _token(url)
            known = FixedToken(shown) if shown else None
            async with open_http_link(f"{url}/agents/echo/mcp", credentials=known) as link:
                yield link


async def tasks_cost(link: Link, count: int) -> float:
    """CPU microseconds of one completed task, with `CONCURRENT` under way."""
    left = iter(range(count))

    async def work() -> None:
        for _ in left:
            request = SendMessageRequest(message=user_message("hello"))
            answer = await link.send_message(request, Call())
            assert answer.task is not None
            assert answer.task.status.state is TaskState.COMPLETED

    began = process_time()
    async with anyio.create_task_group() as group:
        for _ in range(CONCURRENT):
            group.start_soon(work)
    return (process_time() - began) / count * 1e6


class _Keys:
    def __init__(self, record: KeyRecord) -> None:
        self.record = record

    async def find(self, key_id: str) -> KeyRecord | None:
        """The one record there is."""
        return self.record if key_id == self.record.id else None


async def guard_costs(count: int) -> dict[str, float]:
    """CPU microseconds by which the guard alone lengthens a request, by what is shown."""

    async def behind(scope: Any, receive: Any, send: Any) -> None:
        await receive()

    async def ask(app: Callable[..., Awaitable[None]], *credentials: str) -> float:
        body = {"type": "http.request", "body": b'{"a": [1]}', "more_body": False}

        async def receive() -> Any:
            return body

        async def send(message: Any) -> None:
            assert message.get("status", 200) == 200, message

        began = process_time()
        for number in range(count):
            headers = [(b"host", b"a.example")]
            if credentials:
                shown = credentials[number % len(credentials)]
                headers.append((b"authorization", f"Bearer {shown}".encode()))
            scope = {"type": "http", "method": "POST", "path": "/agents/echo/mcp"}
            await app({**scope, "headers": headers, "client": ("::1", 1)}, receive, send)
        return (process_time() - began) / count * 1e6

    def guard(authentication: Authentication | None) -> Guard:
        return Guard(behind, hosts=["a.example"], origins=[], authentication=authentication)

    text, record = new_key("b", tenant="acme", capabilities=("echo",))
    rules = TokenRules(issuer=ISSUER, scopes={"talk": ("echo",)}, tenant_claim="org")
    tokens = TokenVerifier(rules, KeySet(ISSUER, given=JWKS))
    signed = guard(Authentication(tokens=tokens, base_url="https://a.example"))
    fresh = [
        jwt.encode(
            {
                "iss": ISSUER,
                "aud": "https://a.example",
                "sub": f"s{number}",
                "org": "acme",
                "scope": "talk",
                "exp": time() + 3600,
            },
            KEY,
            "ES256",
            {"kid": "k"},
        )
        for number in range(count)
    ]
    nothing = await ask(behind)
    return {
        "nobody is asked": await ask(guard(None)) - nothing,
        "API key": await ask(guard(Authentication(keys=_Keys(record))), text) - nothing,
        "signed token, seen before": await ask(signed, fresh[0]) - nothing,
        "signed token, the first time": await ask(signed, *fresh) - nothing,
    }


async def _measure(count: int, rounds: int) -> dict[str, list[float]]:
    costs: dict[str, list[float]] = {way: [] for way in SERVING}
    async with AsyncExitStack() as stack:
        links = {way: await stack.enter_async_context(served(way)) for way in SERVING}
        for link in links.values():
            await tasks_cost(link, CONCURRENT * 2)
        for _ in range(rounds):
            # The ways take turns, so that what else the machine does meets all alike.
            for way, link in links.items():
                costs[way].append(await tasks_cost(link, count))
    return costs


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tasks", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="write into benchmarks/README.md")
    options = parser.parse_args()
    costs = anyio.run(_measure, options.tasks, options.rounds)
    alone = anyio.run(guard_costs, 2000)
    bare = costs["bare"]
    lines = ["| a task over the binding | CPU µs | over a bare one |", "|---|---|---|"]
    table = Table("a task over the binding", "CPU µs", "over a bare one")
    for way, found in costs.items():
        ratios = [one / other for one, other in zip(found, bare, strict=True)]
        told = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        lines.append(f"| {way} | {statistics.median(found):,.0f} | {told} |")
        table.add_row(way, f"{statistics.median(found):,.0f}", told)
    lines += ["", "| the guard alone | CPU µs |", "|---|---|"]
    for what, micros in alone.items():
        lines.append(f"| {what} | {micros:.0f} |")
        table.add_row(f"guard: {what}", f"{micros:.0f}", "")
    Console().print(table)
    if options.write:
        write("guarding", "\n".join(lines))


if __name__ == "__main__":
    main()
