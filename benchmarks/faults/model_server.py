"""A model server that breaks in a way that it is told: it stands in for vLLM and its kin."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import anyio
from aiohttp import web

Way = Literal["", "kill", "hang", "drip", "500", "torn", "torn stream", "odd"]
WAYS: tuple[Way, ...] = ("kill", "hang", "drip", "500", "torn", "torn stream", "odd")
TOLD: dict[Way, str] = {
    "kill": "dies and its connections with it",
    "hang": "hangs for ever",
    "drip": "gives 1 byte/s",
    "500": "answers 500",
    "torn": "breaks off its JSON",
    "torn stream": "breaks off a stream",
    "odd": "answers in another schema",
}
MODEL = "stand-in"


@dataclass(slots=True)
class ModelServer:
    """What it serves, and the way in which it is broken now; "" for sound.

    pause: seconds before each answer.
    """

    way: Way = ""
    url: str = ""
    asked: int = 0
    pause: float = 0.0
    _open: list[web.Request] = field(default_factory=list)

    async def describe(self, request: web.Request) -> web.Response:
        """Say which model there is."""
        if self.way == "kill":
            _abort(request)
        return web.json_response({"object": "list", "data": [{"id": MODEL, "object": "model"}]})

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer a question, or break."""
        asked = await request.json()
        self.asked += 1
        self._open.append(request)
        await anyio.sleep(self.pause)
        try:
            return await self._answer(asked, request)
        finally:
            self._open.remove(request)

    async def _answer(self, asked: dict[str, Any], request: web.Request) -> web.StreamResponse:
        words = json.dumps(_sound(asked))
        match self.way:
            case "kill":
                _abort(request)
            case "hang":
                await anyio.sleep_forever()
            case "drip":
                response = web.StreamResponse(headers={"Content-Type": "application/json"})
                await response.prepare(request)
                for letter in words:
                    await response.write(letter.encode())
                    await anyio.sleep(1.0)
                return response
            case "500":
                return web.json_response({"error": {"message": "told to"}}, status=500)
            case "torn":
                return web.Response(text=words[: len(words) // 2], content_type="application/json")
            case "torn stream":
                told = f"data: {words}\n\ndata: {words[:20]}"
                return web.Response(text=told, content_type="text/event-stream")
            case "odd":
                return web.json_response({"choices": {"0": "yes"}})
        return web.Response(text=words, content_type="application/json")

    def break_off(self, way: Way) -> None:
        """Break in this way from now on, for the questions under way too where it kills."""
        self.way = way
        if way == "kill":
            for request in self._open:
                _abort(request)


def _abort(request: web.Request) -> None:
    # What a client sees of a killed server: its connection is reset.
    if request.transport is not None:
        request.transport.abort()


def _sound(asked: dict[str, Any]) -> dict[str, Any]:
    said = str(asked["messages"][-1]["content"])
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": MODEL,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": f"seen {said}"},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }


@asynccontextmanager
async def open_model_server() -> AsyncIterator[ModelServer]:
    """Serve on a free port of the loopback, sound at first."""
    server = ModelServer()
    app = web.Application()
    app.router.add_get("/v1/models", server.describe)
    app.router.add_post("/v1/chat/completions", server.answer)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        yield server
    finally:
        await runner.cleanup()
