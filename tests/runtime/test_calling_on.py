"""What a network shows of itself and of its callers when its agents call on (S3)."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from anyio import create_task_group, fail_after
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from starlette.types import ASGIApp, Receive, Scope, Send

from repertory.agents import Agent, Turn
from repertory.protocol import AgentCard, TaskState, card_signer, user_message, verify_card
from repertory.runtime import Network, open_network
from repertory.runtime.audit import read_audit
from repertory.runtime.errors import InputError, ManifestError
from repertory.runtime.keyring import Keyring
from repertory.runtime.listener import Server, listen, web_server
from repertory.runtime.manifest import parse_manifest
from repertory.runtime.web import serve
from tests.claims import claim


class Echo(Agent):
    """Says what it was told."""

    async def handle(self, turn: Turn) -> None:
        await turn.complete(turn.message.text)


class Relay(Agent):
    """Asks its peer, and its tool where it has one."""

    async def handle(self, turn: Turn) -> None:
        said = [turn.message.text]
        for peer in turn.peers:
            task = await turn.ask(peer, turn.message.text)
            assert task.status.message is not None
            said.append(task.status.message.text)
        for tool in turn.tools:
            said.append((await turn.call_tool(tool, {})).content)
        await turn.complete(" ".join(said))


@asynccontextmanager
async def _network(
    folder: Path, agents: str, kinds: dict[str, type[Agent]], more: str = ""
) -> AsyncIterator[Network]:
    folder.mkdir(exist_ok=True)
    manifest = parse_manifest(
        f"network: {folder.name}\nembedder: {{engine: hash}}\nagents:\n{agents}{more}",
        folder=folder,
    )
    with fail_after(60):
        async with open_network(manifest, kinds=kinds) as network:
            yield network


class Heard:
    """An ASGI app before another one that keeps every header and body that arrives."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.heads: list[dict[str, str]] = []
        self.bodies: list[bytes] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self.heads.append({n.decode(): v.decode("latin-1") for n, v in scope["headers"]})

        async def listening() -> Any:
            message = await receive()
            self.bodies.append(message.get("body", b""))
            return message

        await self.app(scope, listening, send)

    @property
    def all(self) -> str:
        return json.dumps(self.heads) + b"".join(self.bodies).decode()


@asynccontextmanager
async def _heard(app: ASGIApp) -> AsyncIterator[tuple[str, Heard]]:
    heard, listener = Heard(app), listen("127.0.0.1", 0)
    manifest = parse_manifest("network: x\nagents: {a: {}}\n", folder="/")
    server: Server = web_server(heard, manifest)
    async with create_task_group() as tasks:
        tasks.start_soon(server.serve, [listener])
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}", heard
        finally:
            server.should_exit = True


@claim("mcp:own-identity")
async def test_a_token_that_came_in_never_goes_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spec: MCP, token passthrough (S3): the far network sees the near one's own key alone."""
    guarded = "serve: {port: 0, auth: {keys: true}}\n"
    async with _network(tmp_path / "far", "  echo: {}\n", {"echo": Echo}, guarded) as far:
        own, _ = await Keyring(far.journal.database).add("near", tenant="red")
        monkeypatch.setenv("FAR_KEY", own)
        async with serve(far) as far_url:
            from repertory.runtime.web import network_app

            app = network_app(far, far_url)
            async with app.running(), _heard(app) as (url, heard):
                agents = (
                    "  relay: {peers: [echo]}\n"
                    f"  echo: {{url: '{url}/agents/echo/mcp', credentials: {{token_env: FAR_KEY}}}}\n"
                )
                async with _network(tmp_path / "near", agents, {"relay": Relay}, guarded) as near:
                    canary, _ = await Keyring(near.journal.database).add("ann", tenant="blue")
                    async with serve(near) as near_url, httpx.AsyncClient() as client:
                        body = {
                            "jsonrpc": "2.0",
                            "id": 1,
                            "method": "SendMessage",
                            "params": {"message": user_message("hello").wire()},
                        }
                        answer = await client.post(
                            f"{near_url}/agents/relay/jsonrpc",
                            json=body,
                            headers={"authorization": f"Bearer {canary}", "a2a-version": "1.0"},
                        )
                        task = answer.json()["result"]["task"]
                        assert task["status"]["message"]["parts"][0]["text"] == "hello hello"
            assert heard.heads
            assert canary not in heard.all
            assert "key:ann" not in heard.all
            sent = {head.get("authorization") for head in heard.heads}
            assert sent == {f"Bearer {own}"}
            (row,) = await far.tasks()
            record = await far.find(row.id)
            assert record is not None
            assert (record.principal, record.tenant) == ("key:near", "red")


async def test_a_peer_that_does_not_know_this_network_fails_the_task_with_a_reason(
    tmp_path: Path,
) -> None:
    """Ours: no credential and a wrong one are told, at once and by whom."""
    guarded = "serve: {port: 0, auth: {keys: true}}\n"
    async with _network(tmp_path / "far", "  echo: {}\n", {"echo": Echo}, guarded) as far:
        async with serve(far) as url:
            agents = f"  relay: {{peers: [echo]}}\n  echo: {{url: '{url}/agents/echo/mcp'}}\n"
            async with _network(tmp_path / "near", agents, {"relay": Relay}) as near:
                task = await near.ask("relay", "hello")
                assert task.status.state is TaskState.FAILED
                assert task.status.message is not None
                assert "refuses this caller" in task.status.message.text


@pytest.mark.parametrize(
    ("credentials", "error", "sentence"),
    [
        ("{token_env: NOT_SET_HERE}", InputError, "NOT_SET_HERE is not set"),
        ("{token_env: A, token_url: 'https://a.example'}", ManifestError, "not both"),
        ("{token_url: 'https://a.example'}", ManifestError, "client_id"),
        ("{ca: nothing.pem}", InputError, "cannot be used"),
        ("{certificate: a.pem}", ManifestError, "both 'certificate' and 'key'"),
    ],
)
async def test_credentials_that_cannot_be_used_are_told_when_the_network_opens(
    tmp_path: Path, credentials: str, error: type[Exception], sentence: str
) -> None:
    """Ours: not at the first call in the middle of the night."""
    agents = (
        "  relay: {peers: [echo]}\n"
        f"  echo: {{url: 'http://127.0.0.1:1/mcp', credentials: {credentials}}}\n"
    )
    with pytest.raises(error, match=sentence):
        async with _network(tmp_path / "near", agents, {"relay": Relay}):
            pass


@pytest.mark.parametrize("told", [True, False])
async def test_a_tool_server_knows_for_whom_it_is_called_only_when_the_manifest_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: bool
) -> None:
    """Ours: principal, tenant and task reach the tool, per call, in `_meta` and in headers."""
    from mcp.server import MCPServer
    from mcp.server.mcpserver import Context

    tools = MCPServer("desk")

    @tools.tool()
    def who(ctx: Context) -> str:
        """Say who calls."""
        headers = ctx.headers or {}
        meta: Any = ctx.request_context.meta or {}
        told = meta.get("dev.repertory/caller", {})
        return f"{headers.get('repertory-principal')} {told.get('tenant')} {headers.get('authorization')}"

    monkeypatch.setenv("TOOL_KEY", "tool-key")
    app = tools.streamable_http_app()
    async with tools.session_manager.run(), _heard(app) as (url, heard):
        agents = "  relay: {tools: [desk]}\n"
        more = (
            f"tools: {{desk: {{url: '{url}/mcp', tell_caller: {str(told).lower()},"
            " credentials: {token_env: TOOL_KEY}}}\n"
        )
        async with _network(tmp_path / "near", agents, {"relay": Relay}, more) as near:
            said = []
            for principal, tenant in (("key:ann\r\nx: y", "red"), ("key:ben", "blue")):
                task = await near.ask("relay", "-", principal=principal, tenant=tenant)
                assert task.status.message is not None
                said.append(task.status.message.text)
    if told:
        assert said == [
            "- key:ann%0D%0Ax: y red Bearer tool-key",
            "- key:ben blue Bearer tool-key",
        ]
    else:
        assert said == ["- None None Bearer tool-key"] * 2
        assert "key:ben" not in heard.all


async def test_a_pinned_agent_is_told_nothing_before_its_card_is_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours: S12; another signer, no signature and another agent's card end before the message."""
    signers = []
    for name in ("A", "B"):
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        monkeypatch.setenv(f"CARD_KEY_{name}", pem)
        signers.append(card_signer(pem))
    signing = "serve: {port: 0, signing: {key_env: CARD_KEY_A}}\n"
    async with _network(tmp_path / "far", "  echo: {}\n", {"echo": Echo}, signing) as far:
        async with serve(far) as url, httpx.AsyncClient() as client:
            shown = await client.get(f"{url}/agents/echo/.well-known/agent-card.json")
            card = AgentCard.parse(shown.json())
            assert verify_card(card, [signers[0].thumbprint])
            (tmp_path / "near").mkdir()
            (tmp_path / "near" / "far.jwk").write_text(json.dumps(dict(signers[0].jwk)))
            port = url.rsplit(":", 1)[1]
            for at, pin, state in (
                ("127.0.0.1", signers[0].thumbprint, TaskState.COMPLETED),
                ("127.0.0.1", "far.jwk", TaskState.COMPLETED),
                ("127.0.0.1", signers[1].thumbprint, TaskState.FAILED),
                ("localhost", signers[0].thumbprint, TaskState.FAILED),
            ):
                agents = (
                    "  relay: {peers: [echo]}\n"
                    f"  echo: {{url: 'http://{at}:{port}/agents/echo/mcp', card_keys: [{pin}]}}\n"
                )
                before = len(await far.tasks())
                async with _network(tmp_path / "near", agents, {"relay": Relay}) as near:
                    task = await near.ask("relay", f"{at} {pin}")
                    assert task.status.state is state, task.status.message
                    told = len(await far.tasks()) - before
                    assert told == (1 if state is TaskState.COMPLETED else 0)
                    audit = await read_audit(near.journal.database, limit=1)
                    if state is TaskState.FAILED:
                        assert audit[0].what == "card refused"
