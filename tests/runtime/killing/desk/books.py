"""Books in SQLite as a tool server that honors idempotency keys, and would show a double posting.

Nothing but the key keeps an invoice from being posted twice, which is what is tested. It
waits before and after the commit, so that kills land on both sides of it.
"""

import sqlite3
import sys
from pathlib import Path
from random import Random

from anyio import sleep
from mcp.server import MCPServer
from mcp.server.mcpserver import Context

CALLS = Path(__file__).with_name("calls.txt")
KEY = "dev.repertory/idempotency-key"
HELD = Path(__file__).with_name("hold")
server = MCPServer("books", version="1.0")
books = sqlite3.connect(Path(__file__).with_name("books.db"), timeout=30, isolation_level=None)
books.execute("PRAGMA journal_mode = WAL")
books.execute("CREATE TABLE IF NOT EXISTS posting (key TEXT PRIMARY KEY, number TEXT, total REAL)")


def told(line: str) -> None:
    """Append one line in one write, whoever else appends."""
    with CALLS.open("a") as file:
        file.write(f"{line}\n")


@server.tool()
async def post(number: str, total: float, ctx: Context) -> str:
    """Post an invoice."""
    key = str((ctx.request_context.meta or {}).get(KEY, ""))
    dice = Random(key)
    told(f"tool begin {key}")
    await sleep(0.03 * dice.random())
    books.execute("INSERT OR IGNORE INTO posting VALUES (?, ?, ?)", (key, number, total))
    while HELD.exists():
        await sleep(0.02)
    await sleep(0.03 * dice.random())
    told(f"tool end {key}")
    return f"posted {number}: {total:.2f}"


if __name__ == "__main__":
    if len(sys.argv) > 1:
        import uvicorn

        uvicorn.run(server.streamable_http_app(), fd=int(sys.argv[1]), log_level="error")
    else:
        server.run()
