"""A tool server for tests: it tells what reached it, hangs, or dies in mid-call.

With an argument it listens there as streamable HTTP (`desk.py PORT`), else it
speaks over its pipes. DESK_EXTRA changes the description of `echo`.
"""

import os
import sys
from typing import Any

import anyio
from mcp.server import MCPServer
from mcp.server.mcpserver import Context

desk = MCPServer("desk", version="1.0")


@desk.tool(description="Give `text` back" + os.environ.get("DESK_EXTRA", ""))
async def echo(text: str) -> str:
    return text


@desk.tool()
async def seen(ctx: Context) -> dict[str, Any]:
    """Tell what came with this call, and what this process is."""
    meta = dict(ctx.request_context.meta or {})
    return {
        "meta": {name: meta[name] for name in meta if isinstance(meta[name], str)},
        "environment": sorted(os.environ),
        "folder": os.getcwd(),
        "pid": os.getpid(),
    }


@desk.tool()
async def die(status: int) -> str:
    """End this process before answering."""
    print("the ledger fell over", file=sys.stderr, flush=True)
    os._exit(status)


@desk.tool()
async def hang() -> str:
    """Never answer."""
    await anyio.sleep_forever()
    return "never"


@desk.tool()
async def refuse() -> str:
    """Fail as a tool fails."""
    raise ValueError("the ledger is closed")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        desk.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
    else:
        desk.run()
