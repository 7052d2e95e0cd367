"""A small real HTTP server that replays what vLLM and llama.cpp answered, and misbehaves on order.

In a test's own process: `open_model_server`. As a process of its own, which can be
killed and is started by the words of `vllm serve`: `servers/vllm_stand_in.py`.
"""

import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import anyio
from aiohttp import web

Dialect = Literal["vllm", "llama_cpp"]
# Those of fault F4: killed, hanging for ever, a byte a second, 500s, truncated JSON and SSE,
# an answer of another schema (of the server's own, "odd"; of the one asked for, "schema").
Misbehavior = Literal[
    "500", "503", "429", "401", "hang", "drip", "torn", "sse", "odd", "schema", "close", "kill"
]

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

    always: how it misbehaves with every question, beside the list. gate: questions wait
    for it. key: what a caller must carry; a refusal repeats it. names: the models it
    serves. healthy: whether /health says 200, or 503. counts: what /metrics says; the
    counters grow with every answer.
    """

    dialect: Dialect
    url: str = ""
    misbehave: list[Misbehavior] = field(default_factory=list)
    always: Misbehavior | None = None
    key: str = ""
    names: tuple[str, ...] = (MODEL,)
    healthy: bool = True
    counts: dict[str, float] = field(default_factory=dict)
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
        if request.path == "/v1/models":
            listed = json.loads(self.recorded["models"]["body"])
            listed["data"] = [{**listed["data"][0], "id": name} for name in self.names]
            return web.json_response(listed)
        return self._replay("version")

    async def health(self, request: web.Request) -> web.Response:
        """Say 200 or 503, with no body, to whoever asks."""
        return web.Response(status=200 if self.healthy else 503)

    async def metrics(self, request: web.Request) -> web.Response:
        """What was recorded, with what was counted here in its place; open, as vLLM's is."""
        lines = self.recorded["metrics"]["body"].splitlines()
        labels = f'{{engine="0",model_name="{self.names[0]}"}}'
        lines += [f"{name}{labels} {value}" for name, value in self.counts.items()]
        return web.Response(text="\n".join(lines) + "\n", content_type="text/plain")

    async def order(self, request: web.Request) -> web.Response:
        """Take orders from another process: `misbehave`, `always`, `healthy`; say what was asked."""
        if request.method == "POST":
            for name, value in (await request.json()).items():
                assert name in ("misbehave", "always", "healthy")
                setattr(self, name, value)
        return web.json_response({"asked": len(self.asked), "active": self.active})

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer a question with what was recorded for one of its kind."""
        if self.key and request.headers.get("Authorization") != f"Bearer {self.key}":
            return web.json_response({"error": {"message": f"not {self.key}"}}, status=401)
        body = await request.json()
        self.asked.append((request.path, dict(request.headers), body))
        self.active += 1
        try:
            await self.gate.wait()
            how = self.misbehave.pop(0) if self.misbehave else self.always
            if how is not None:
                return await self._misbehave(how, request)
            self._count()
            return self._replay(_kind(request.path, body))
        finally:
            self.active -= 1

    async def _misbehave(self, how: Misbehavior, request: web.Request) -> web.StreamResponse:
        if how == "hang":
            await anyio.sleep_forever()
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "drip":
            return await self._drip(request)
        if how == "sse":
            torn = self.recorded["stream"]["body"]
            return web.Response(text=torn[: len(torn) // 2], content_type="text/event-stream")
        if how == "schema":
            answer = json.loads(self.recorded["chat"]["body"])
            answer["choices"][0]["message"]["content"] = '{"verdict": 7, "extra": []}'
            return web.json_response(answer)
        if how == "close":
            assert request.transport is not None
            request.transport.close()
        if how in ("torn", "odd"):
            text = '{"choices": [{"ind' if how == "torn" else '{"choices": [{"index": 0}]}'
            return web.Response(text=text, content_type="application/json")
        status = int(how) if how.isdigit() else 500
        said = {"error": {"message": f"told to, with {self.key or 'no key'}"}}
        return web.json_response(said, status=status, headers={"Retry-After": "0"})

    async def _drip(self, request: web.Request) -> web.StreamResponse:
        """A whole answer, one byte a second."""
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        for byte in self.recorded["chat"]["body"].encode():
            await response.write(bytes([byte]))
            await anyio.sleep(1.0)
        return response

    def _count(self) -> None:
        for name, more in (
            ("vllm:prompt_tokens_total", 40.0),
            ("vllm:generation_tokens_total", 10.0),
            ("vllm:prefix_cache_queries_total", 40.0),
            ("vllm:prefix_cache_hits_total", 30.0),
        ):
            self.counts[name] = self.counts.get(name, 0.0) + more

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


def application(server: ModelServer) -> web.Application:
    """The routes of a model's server."""
    app = web.Application()
    for path in ("/v1/models", "/version", "/openapi.json"):
        app.router.add_get(path, server.describe)
    for path in ("/v1/chat/completions", "/v1/completions"):
        app.router.add_post(path, server.answer)
    app.router.add_get("/health", server.health)
    app.router.add_get("/metrics", server.metrics)
    app.router.add_route("*", "/stand-in", server.order)
    return app


@asynccontextmanager
async def open_model_server(dialect: Dialect, *, port: int = 0) -> AsyncIterator[ModelServer]:
    """Serve on 127.0.0.1, on a free port unless one is given."""
    server = ModelServer(dialect)
    app = application(server)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        host, bound = runner.addresses[0][:2]
        server.url = f"http://{host}:{bound}"
        yield server
    finally:
        await runner.cleanup()
