"""A tool server on the official SDK: it gives back, tells what reached it, or hangs.

`desk.py FD` serves streamable HTTP on that listening socket, without an argument
it speaks over its pipes.
"""

import os
import sys
from typing import Any

import anyio
import uvicorn
from mcp.server import MCPServer
from mcp.server.mcpserver import Context

desk = MCPServer("desk", version="1.0")


@desk.tool()
async def echo(text: str) -> str:
    """Give `text` back."""
    return text


@desk.tool()
async def seen(ctx: Context) -> dict[str, Any]:
    """Tell what came with this call, and what this process is."""
    meta = dict(ctx.request_context.meta or {})
    return {
        "meta": {name: meta[name] for name in meta if isinstance(meta[name], str)},
        "pid": os.getpid(),
    }


@desk.tool()
async def hang() -> str:
    """Never answer."""
    await anyio.sleep_forever()
    return "never"


if __name__ == "__main__":
    if len(sys.argv) > 1:
        uvicorn.run(desk.streamable_http_app(), fd=int(sys.argv[1]), log_level="error")
    else:
        desk.run()
