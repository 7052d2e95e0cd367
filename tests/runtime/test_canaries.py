"""Secrets and what was said stay out of traces, logs, the audit and errors; replays do nothing (S12, S14)."""

import gzip
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from anyio import create_task_group, fail_after, to_thread

from repertory.agents import Agent, ChatMessage, ChatRequest, Tier, Turn
from repertory.agents.models import FunctionModel
from repertory.protocol import user_message
from repertory.runtime import Network, open_network
from repertory.runtime.audit import read_audit
from repertory.runtime.keyring import Keyring
from repertory.runtime.manifest import parse_manifest
from repertory.runtime.web import serve
from tests.claims import claim

PROMPT, ARGUMENT, RESULT, HEADER = (
    "canary-prompt",
    "canary-argument",
    "canary-result",
    "canary-head",
)

TOOL = f'''
from mcp.server import MCPServer

mcp = MCPServer("desk")


@mcp.tool()
def add(text: str) -> str:
    """Add a line."""
    open("calls", "a").write("x")
    return "{RESULT}"


mcp.run()
'''


class Clerk(Agent):
    """Asks its model and calls its tool."""

    async def handle(self, turn: Turn) -> None:
        said = ChatMessage(role="user", content=turn.message.text)
        answer = await turn.chat(ChatRequest(messages=(said,), duty=Tier.GENERATE))
        result = await turn.call_tool("desk.add", {"text": ARGUMENT})
        await turn.complete(f"{answer.text} {result.content}")


@asynccontextmanager
async def _sink(received: list[bytes]) -> AsyncIterator[str]:
    """An OTLP/HTTP endpoint that keeps the bodies it is sent."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            received.append(gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body)
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *_: object) -> None:  # noqa: A002 -- the standard library's name
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        async with create_task_group() as tasks:
            tasks.start_soon(to_thread.run_sync, server.serve_forever, 0.01)
            try:
                yield f"http://127.0.0.1:{server.server_port}"
            finally:
                await to_thread.run_sync(server.shutdown)


@asynccontextmanager
async def _network(folder: Path, *, content: bool = False) -> AsyncIterator[Network]:
    (folder / "tool.py").write_text(TOOL)
    manifest = parse_manifest(
        "network: firm\nembedder: {engine: hash}\n"
        "models: {m: {engine: function, function: 'none:none'}}\n"
        "tools: {desk: {command: [python, tool.py]}}\n"
        f"telemetry: {{content: {str(content).lower()}}}\n"
        "agents: {clerk: {model: m, tools: [desk]}}\n"
        "serve: {port: 0, auth: {keys: true}}\n",
        folder=folder,
    )
    kinds: Mapping[str, type[Agent]] = {"clerk": Clerk}
    model = FunctionModel(lambda request: "understood")
    with fail_after(60):
        async with open_network(manifest, kinds=kinds, models={"m": model}) as network:
            yield network


async def _send(client: httpx.AsyncClient, key: str, message: Any) -> httpx.Response:
    body = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": message}}
    headers = {"authorization": f"Bearer {key}", "a2a-version": "1.0", "x-note": HEADER}
    return await client.post("/agents/clerk/jsonrpc", json=body, headers=headers)


@claim("otel:content")
@pytest.mark.parametrize("content", [False, True])
async def test_no_canary_gets_out_unless_content_is_asked_for(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    content: bool,
) -> None:
    """Ours: S14; keys never, words only with `telemetry: {content: true}` (the control)."""
    caplog.set_level(logging.DEBUG)
    received: list[bytes] = []
    async with _sink(received) as endpoint:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        async with _network(tmp_path, content=content) as network:
            ring = Keyring(network.journal.database)
            key, _ = await ring.add("ann", tenant="red")
            async with serve(network) as url, httpx.AsyncClient(base_url=url) as client:
                told = await _send(client, key, user_message(PROMPT).wire())
                assert RESULT in told.text
                wrong = [
                    await _send(client, key[:-1] + "_", user_message(PROMPT).wire()),
                    await _send(client, "rpt_canary-wrong", user_message(PROMPT).wire()),
                    await client.get(f"/agents/none/{HEADER}", headers={"x-api-key": key}),
                ]
            audit = [repr(row) for row in await read_audit(network.journal.database)]

            def spans(connection: Any) -> str:
                return repr(connection.execute("SELECT * FROM span").fetchall())

        async with _network(tmp_path) as network:
            kept = await network.journal.database.read(spans)
    sent = b"".join(received)
    assert b"execute_tool desk.add" in sent
    secret = key.split("_", 2)[2]
    # What the HTTP client of this very test logs is the test's own.
    logged = "\n".join(
        record.getMessage() for record in caplog.records if not record.name.startswith("http")
    )
    errors = "".join(answer.text for answer in wrong)
    for place in (sent.decode(errors="replace"), kept, logged, errors, *audit):
        assert secret not in place
        assert "canary-wrong" not in place
    words = (PROMPT, ARGUMENT, RESULT)
    for place in (logged, errors, *audit):
        assert not any(word in place for word in (*words, HEADER))
    assert HEADER.encode() not in sent
    for word in words:
        assert (word.encode() in sent) is content
        assert (word in kept) is content


async def test_a_replayed_message_is_the_same_task_and_a_forged_sender_another(
    tmp_path: Path,
) -> None:
    """Ours: S12; the same frame again does nothing again, and under another key it is another's."""
    async with _network(tmp_path) as network:
        ring = Keyring(network.journal.database)
        ann, _ = await ring.add("ann", tenant="red")
        ben, _ = await ring.add("ben", tenant="red")
        async with serve(network) as url, httpx.AsyncClient(base_url=url) as client:
            frame = user_message("once").wire()
            answers = [(await _send(client, ann, frame)).json() for _ in range(5)]
            tasks = {answer["result"]["task"]["id"] for answer in answers}
            assert len(tasks) == 1
            assert (tmp_path / "calls").read_text() == "x"
            other = (await _send(client, ben, frame)).json()["result"]["task"]["id"]
            assert other not in tasks
            forged = {**frame, "metadata": {"principal": "key:ann", "tenant": "red"}}
            third = (await _send(client, ben, forged)).json()["result"]["task"]["id"]
            assert third == other
            into = user_message("into it", task_id=tasks.pop()).wire()
            refused = (await _send(client, ben, into)).json()["error"]
            assert refused["data"][0]["reason"] == "TASK_NOT_FOUND"
