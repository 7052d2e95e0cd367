"""The tool server that effects happen at: it is the driver's own, and outlives every kill.

It speaks MCP 2025-11-25 over HTTP in plain JSON, and takes a moment before and after each
effect, so that kills land on both sides of it.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import Any

from aiohttp import web
from anyio import Event, sleep

from .ledger import Ledger

KEY = "dev.repertory/idempotency-key"
VERSION = "2025-11-25"
TOOLS = ("post", "look")


@dataclass(slots=True)
class Books:
    """What it serves. slow: the longest pause on each side of an effect, in seconds."""

    ledger: Ledger
    dice: Random
    slow: float
    gate: Event
    url: str = ""

    async def answer(self, request: web.Request) -> web.Response:
        """Answer one JSON-RPC message."""
        try:
            asked = await request.json()
        except ConnectionError:
            # Whoever asked was killed in the middle of his sentence.
            return web.Response(status=400)
        if "id" not in asked:
            return web.Response(status=202)
        result = await self._result(asked["method"], asked.get("params") or {})
        reply: dict[str, Any] = {"jsonrpc": "2.0", "id": asked["id"]}
        if result is None:
            reply["error"] = {"code": -32601, "message": "Method not found"}
        else:
            reply["result"] = result
        return web.json_response(reply)

    async def _result(self, method: str, params: dict[str, Any]) -> dict[str, Any] | None:
        if method == "initialize":
            return hello("books")
        if method == "tools/list":
            return listed(TOOLS)
        if method != "tools/call":
            return None
        if params["name"] == "look":
            return said("nothing")
        what = str(params["arguments"]["id"])
        key = str((params.get("_meta") or {}).get(KEY, ""))
        self.ledger.ask(key, what)
        await self.gate.wait()
        await sleep(self.slow * self.dice.random())
        self.ledger.do(key, what)
        await sleep(self.slow * self.dice.random())
        return said(f"posted {what}")


def hello(name: str) -> dict[str, Any]:
    """The answer to `initialize`."""
    return {
        "protocolVersion": VERSION,
        "capabilities": {"tools": {}},
        "serverInfo": {"name": name, "version": "1"},
    }


def listed(names: tuple[str, ...]) -> dict[str, Any]:
    """The answer to `tools/list`."""
    return {
        "tools": [
            {"name": name, "description": name, "inputSchema": {"type": "object"}} for name in names
        ]
    }


def said(text: str) -> dict[str, Any]:
    """The answer to a call."""
    return {"content": [{"type": "text", "text": json.dumps(text)}]}


@asynccontextmanager
async def open_books(
    ledger: Ledger, dice: Random, *, slow: float = 0.03, host: str = "127.0.0.1"
) -> AsyncIterator[Books]:
    """Serve the books on a free port."""
    gate = Event()
    gate.set()
    books = Books(ledger, dice, slow, gate)
    app = web.Application()
    app.router.add_post("/mcp", books.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, 0).start()
        books.url = f"http://{host}:{runner.addresses[0][1]}/mcp"
        yield books
    finally:
        await runner.cleanup()
