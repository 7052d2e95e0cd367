"""A small real HTTP server that replays what vLLM and llama.cpp answered, and misbehaves on order."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import anyio
from aiohttp import web

Dialect = Literal["vllm", "llama_cpp"]
Misbehavior = Literal["500", "503", "429", "401", "hang", "torn", "odd", "close"]

MODEL = "smollm2-135m"
FIXTURES = Path(__file__).parent / "fixtures"

# vLLM 0.32's request model has these fields; its /openapi.json was not recorded.
_TAKEN = ["messages", "response_format", "logprobs", "priority", "cache_salt", "session_id"]
_OPENAPI = {
    "paths": {
        "/v1/chat/completions": {
            "post": {
                "requestBody": {
                    "content": {
                        "application/json": {"schema": {"$ref": "#/components/schemas/Chat"}}
                    }
                }
            }
        },
        "/tokenize": {},
    },
    "components": {"schemas": {"Chat": {"properties": {name: {} for name in _TAKEN}}}},
}


@dataclass
class ModelServer:
    """What it serves, what it was asked, and how it will misbehave with the next questions.

    gate: questions wait for it. key: what a caller must carry; a refusal repeats it.
    """

    dialect: Dialect
    url: str = ""
    misbehave: list[Misbehavior] = field(default_factory=list)
    key: str = ""
    asked: list[tuple[str, dict[str, str], dict[str, Any]]] = field(default_factory=list)
    active: int = 0
    gate: anyio.Event = field(default_factory=anyio.Event)

    def __post_init__(self) -> None:
        self.recorded = json.loads((FIXTURES / f"{self.dialect}.json").read_text("utf-8"))
        self.gate.set()

    async def describe(self, request: web.Request) -> web.Response:
        """Answer the paths that say what the server is."""
        if self.key and request.headers.get("Authorization") != f"Bearer {self.key}":
            return web.json_response({"error": {"message": f"not {self.key}"}}, status=401)
        if request.path == "/openapi.json":
            served = self.dialect == "vllm"
            return web.json_response(_OPENAPI if served else {}, status=200 if served else 404)
        return self._replay("models" if request.path == "/v1/models" else "version")

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer a question with what was recorded for one of its kind."""
        body = await request.json()
        self.asked.append((request.path, dict(request.headers), body))
        self.active += 1
        try:
            await self.gate.wait()
            if self.misbehave:
                return await self._misbehave(self.misbehave.pop(0), request)
            return self._replay(_kind(request.path, body))
        finally:
            self.active -= 1

    async def _misbehave(self, how: Misbehavior, request: web.Request) -> web.StreamResponse:
        if how == "hang":
            await anyio.sleep_forever()
        if how == "close":
            assert request.transport is not None
            request.transport.close()
        if how in ("torn", "odd"):
            text = '{"choices": [{"ind' if how == "torn" else '{"choices": [{"index": 0}]}'
            return web.Response(text=text, content_type="application/json")
        status = int(how) if how.isdigit() else 500
        said = {"error": {"message": f"told to, with {self.key or 'no key'}"}}
        return web.json_response(said, status=status, headers={"Retry-After": "0"})

    def _replay(self, kind: str) -> web.Response:
        recorded = self.recorded[kind]
        return web.Response(
            text=recorded["body"], status=recorded["status"], content_type="application/json"
        )


def _kind(path: str, body: dict[str, Any]) -> str:
    if path == "/v1/completions":
        return "completion_logprobs"
    if len(json.dumps(body["messages"])) > 20_000:
        return "err_ctx"
    if body.get("response_format"):
        return "chat_schema"
    if body.get("logprobs"):
        return "chat_logprobs"
    return "chat_n" if body.get("n") else "chat"


@asynccontextmanager
async def open_model_server(dialect: Dialect) -> AsyncIterator[ModelServer]:
    """Serve on a free port of 127.0.0.1."""
    server = ModelServer(dialect)
    app = web.Application()
    for path in ("/v1/models", "/version", "/openapi.json"):
        app.router.add_get(path, server.describe)
    for path in ("/v1/chat/completions", "/v1/completions"):
        app.router.add_post(path, server.answer)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        server.url = f"http://{host}:{port}"
        yield server
    finally:
        await runner.cleanup()
