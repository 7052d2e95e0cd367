"""What each face of a served agent costs, beside a2a-sdk and the MCP SDK's own server.

    python benchmarks/protocol.py            three rounds, tables on the screen
    python benchmarks/protocol.py --write    the same, written into benchmarks/README.md

The work is that of `messaging.py`: one message, one artifact, one completed task in
the caller's hands; ours with every event in SQLite under fsync and traced, the peers
in memory and untraced. Rounds of all arms are interleaved, each server and each
client is a fresh process, and the figures are medians.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.messaging import (
    CONCURRENCY,
    IDLE,
    TEXT,
    Arm,
    Ask,
    Figure,
    call_ours,
    call_sdk,
    cpu_of,
    load,
    our_network,
    run_uvicorn,
    serve_ours,
    serve_sdk_grpc,
    serve_sdk_jsonrpc,
)
from benchmarks.results import write

KEYED = "serve: {auth: {keys: true}}\n"
SUBSCRIBERS = 1000
STREAMS = 100


# -- servers -------------------------------------------------------------------


async def serve_mcp_sdk() -> None:
    """The MCP SDK's own high-level server with one tool that gives its text back."""
    from mcp.server import MCPServer

    server = MCPServer("echo")

    @server.tool(structured_output=False)
    async def echo(message: str) -> str:
        return message

    app = server.streamable_http_app(json_response=True)
    async with server.session_manager.run():
        await run_uvicorn(app, path="mcp")


async def serve_keyed() -> None:
    """Our network, asking every caller for an API key."""
    from repertory.runtime.heap import settle_heap
    from repertory.runtime.web import serve

    async with our_network(record=False, more=KEYED) as network:
        from repertory.runtime.keyring import Keyring

        key, _ = await Keyring(network.journal.database).add("bench", tenant="default")
        async with serve(network) as url:
            settle_heap()
            print(f"{url}/agents/echo/mcp#{key}", flush=True)
            await asyncio.Event().wait()


# -- clients -------------------------------------------------------------------


@asynccontextmanager
async def call_jsonrpc(url: str) -> AsyncIterator[Ask]:
    """a2a-sdk's client over JSON-RPC, on our server."""
    async with call_sdk(url.removesuffix("/mcp") + "/jsonrpc") as ask:
        yield ask


@asynccontextmanager
async def call_http_json(url: str) -> AsyncIterator[Ask]:
    """a2a-sdk's client over HTTP+JSON, on our server."""
    async with call_sdk(url.removesuffix("/mcp") + "/rest", binding="HTTP+JSON") as ask:
        yield ask


@asynccontextmanager
async def call_keyed(url: str) -> AsyncIterator[Ask]:
    """Our link with an API key, which stands behind the URL."""
    at, _, key = url.partition("#")
    async with call_ours(at, {"authorization": f"Bearer {key}"}) as ask:
        yield ask


@asynccontextmanager
async def call_mcp(url: str) -> AsyncIterator[Ask]:
    """The MCP SDK's client, unmodified."""
    from mcp import Client

    async with Client(url, mode="2026-07-28") as client:

        async def ask() -> None:
            result = await client.call_tool("echo", {"message": TEXT})
            said: Any = result.content[0]
            assert not result.is_error
            assert said.text == TEXT

        yield ask


ARMS = {
    "binding": Arm("repertory, the binding (fsync, traced)", serve_ours, call_ours),
    "keyed": Arm("the same, every call by API key", serve_keyed, call_keyed),
    "jsonrpc": Arm("repertory, JSON-RPC, a2a-sdk's client", serve_ours, call_jsonrpc),
    "http-json": Arm("repertory, HTTP+JSON, a2a-sdk's client", serve_ours, call_http_json),
    "mcp": Arm("repertory, MCP tool, the MCP SDK's client", serve_ours, call_mcp),
    "sdk-jsonrpc": Arm("a2a-sdk 1.3.0, JSON-RPC (memory)", serve_sdk_jsonrpc, call_sdk),
    "sdk-grpc": Arm("a2a-sdk 1.3.0, gRPC (memory)", serve_sdk_grpc, call_sdk),
    "sdk-mcp": Arm("MCP SDK's own server, an echo without a task", serve_mcp_sdk, call_mcp),
}


# -- streams and idle subscribers --------------------------------------------------


async def first_events(url: str) -> float:
    """Milliseconds at the median until the first event of a stream is there."""
    from repertory.protocol import Call, SendMessageRequest, open_http_link, user_message

    times = []
    async with open_http_link(url) as link:
        for _ in range(STREAMS):
            request = SendMessageRequest(message=user_message(TEXT))
            began = time.perf_counter()
            events = link.send_streaming_message(request, Call())
            await anext(events)
            times.append(time.perf_counter() - began)
            async for _ in events:
                pass
    return 1e3 * statistics.median(times[10:])


async def idle(url: str, pid: int) -> tuple[float, float]:
    """Kilobytes of the server per idle subscriber, and its CPU milliseconds a second with all."""
    import aiohttp

    body = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage"}
    message = {"messageId": "idle", "role": "ROLE_USER", "parts": [{"text": IDLE}]}
    wants = {"returnImmediately": True}
    rpc, v1 = url.removesuffix("/mcp") + "/jsonrpc", {"A2A-Version": "1.0"}
    connector = aiohttp.TCPConnector(limit=SUBSCRIBERS + 10)
    async with aiohttp.ClientSession(connector=connector) as http, AsyncExitStack() as stack:
        params = {"message": message, "configuration": wants}
        async with http.post(rpc, json={**body, "params": params}, headers=v1) as answer:
            task_id = (await answer.json())["result"]["task"]["id"]
        before = _resident(pid)
        asked = {**body, "method": "SubscribeToTask", "params": {"id": task_id}}
        for _ in range(SUBSCRIBERS):
            stream = await stack.enter_async_context(http.post(rpc, json=asked, headers=v1))
            assert b"task" in await stream.content.readline()
        spent, began = cpu_of(pid), time.perf_counter()
        await asyncio.sleep(3.0)
        cpu = (cpu_of(pid) - spent) / (time.perf_counter() - began)
        return (_resident(pid) - before) / SUBSCRIBERS, 1e3 * cpu


def _resident(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024


# -- measuring -----------------------------------------------------------------


def with_server(name: str, use: Callable[[str, int], Any]) -> Any:
    """What `use` makes of a fresh server of an arm, given its URL and process."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "TMPDIR": folder, "PYTHONWARNINGS": "ignore"}
        command = [sys.executable, __file__, "--serve", name]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        assert server.stdout is not None
        try:
            url = server.stdout.readline().strip()
            if not url:
                raise SystemExit(f"the server of {name} did not start")
            return use(url, server.pid)
        finally:
            server.kill()
            server.wait()


def measured(name: str, concurrency: int) -> Figure:
    """One round of one arm, with a fresh server and a fresh client."""

    def use(url: str, pid: int) -> Figure:
        command = [sys.executable, __file__, "--load", name, "--url", url]
        command += ["--concurrency", str(concurrency), "--server-pid", str(pid)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return Figure(**json.loads(done.stdout))

    figure: Figure = with_server(name, use)
    return figure


def table(results: dict[tuple[str, int], list[Figure]], beside: dict[str, Any], rounds: int) -> str:
    """The tables of the README."""
    median = {
        key: Figure(
            *(statistics.median(getattr(f, p) for f in figures) for p in ("cpu", "rate", "median"))
        )
        for key, figures in results.items()
    }
    heads = " | ".join(f"{n} at a time" for n in CONCURRENCY)
    lines = [f"| | {heads} |", "|---|" + "---|" * len(CONCURRENCY)]
    for name, arm in ARMS.items():
        cells = [
            f"{f.cpu:,.0f} µs; {f.rate:,.0f}/s; {f.median:.1f} ms"
            for f in (median[name, n] for n in CONCURRENCY)
        ]
        lines.append(f"| {arm.name} | " + " | ".join(cells) + " |")
    b, j, g = (median[name, 16] for name in ("binding", "sdk-jsonrpc", "sdk-grpc"))
    one, theirs = median["binding", 1].median, median["sdk-jsonrpc", 1].median
    cost = ", ".join(
        f"{median['jsonrpc', n].cpu / median['sdk-jsonrpc', n].cpu:.2f}" for n in CONCURRENCY
    )
    stock = ", ".join(
        f"{median['mcp', n].rate / median['sdk-mcp', n].rate:.2f}" for n in CONCURRENCY
    )
    lines += [
        "",
        f"Each cell: CPU of client and server per task; tasks per second; median wait. Medians of"
        f" {rounds} rounds.",
        "",
        "| in the same run | must | found |",
        "|---|---|---|",
        f"| the binding over a2a-sdk's JSON-RPC, tasks per second at 16 | 4 | {b.rate / j.rate:.1f} |",
        f"| the same in CPU | | {j.cpu / b.cpu:.1f} |",
        f"| the binding over a2a-sdk's gRPC, tasks per second at 16 | 2.5 | {b.rate / g.rate:.1f} |",
        f"| the binding's median wait, one at a time, over a2a-sdk's JSON-RPC | 0.6 | {one / theirs:.2f} |",
        f"| the binding's throughput at 128 over that at 16 | 0.9 | {median['binding', 128].rate / b.rate:.2f} |",
        f"| a call by API key over a bare one, CPU at 16 | | {median['keyed', 16].cpu / b.cpu:.2f} |",
        f"| our JSON-RPC's CPU over a2a-sdk's, at 1, 16, 128 | below 1 | {cost} |",
        f"| the MCP SDK's client on our server (a durable task) over its own (an echo), calls per second | 1 | {stock} |",
        "",
        f"First event of a stream: {beside['first']:.1f} ms at the median of {STREAMS} streams."
        f" {SUBSCRIBERS:,} idle subscribers: {beside['memory']:.1f} kB each in the server, and"
        f" {beside['idle']:.1f} ms of its CPU a second for all of them.",
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure, or play one of the parts."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="write into benchmarks/README.md")
    parser.add_argument("--only", nargs="*", help="arms, by name: " + ", ".join(ARMS))
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--load", help=argparse.SUPPRESS)
    parser.add_argument("--url", default="", help=argparse.SUPPRESS)
    parser.add_argument("--concurrency", type=int, default=1, help=argparse.SUPPRESS)
    parser.add_argument("--server-pid", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    import uvloop

    if options.serve:
        server: Any = ARMS[options.serve].server
        assert server is not None
        uvloop.run(server())
        return
    if options.load:
        asked = (ARMS[options.load], options.url, options.server_pid or None)
        print(json.dumps(uvloop.run(load(*asked, options.concurrency)).__dict__))
        return
    arms = options.only or list(ARMS)
    results: dict[tuple[str, int], list[Figure]] = {}
    for number in range(options.rounds):
        for concurrency in CONCURRENCY:
            for name in arms:
                figure = measured(name, concurrency)
                results.setdefault((name, concurrency), []).append(figure)
                print(
                    f"round {number + 1}, {concurrency:3} at a time, {name:12}"
                    f" {figure.cpu:8,.0f} µs {figure.rate:8,.0f}/s {figure.median:8.2f} ms",
                    file=sys.stderr,
                )
    if options.only:
        return
    first = with_server("binding", lambda url, _: uvloop.run(first_events(url)))
    memory, cpu = with_server("binding", lambda url, pid: uvloop.run(idle(url, pid)))
    page = table(results, {"first": first, "memory": memory, "idle": cpu}, options.rounds)
    print(page)
    if options.write:
        write("protocol", page)


if __name__ == "__main__":
    main()
