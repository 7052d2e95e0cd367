"""A tool server that only knows MCP 2025-11-25, written without any SDK; it starts at once.

It tells what reached it, never answers, or dies in mid-call. DESK_EXTRA changes
the description of `echo`.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

TOOLS = {
    "echo": "Give `text` back" + os.environ.get("DESK_EXTRA", ""),
    "seen": "Tell what came with this call, and what this process is",
    "die": "End this process before answering",
    "hang": "Never answer",
}


def call(name: str, params: dict[str, Any]) -> dict[str, Any] | None:
    arguments = params["arguments"]
    if name == "hang":
        return None
    if name == "die":
        sys.stderr.write("the ledger fell over\n")
        sys.stderr.flush()
        os._exit(arguments["status"])
    if name == "echo":
        return {"content": [{"type": "text", "text": arguments["text"]}]}
    found = {
        "meta": params.get("_meta", {}),
        "environment": sorted(os.environ),
        "folder": str(Path.cwd()),
        "pid": os.getpid(),
    }
    return {"content": [], "structuredContent": found}


def answer(request: dict[str, Any]) -> dict[str, Any] | None:
    """The reply to a request; None for those that are not answered."""
    reply: dict[str, Any] = {"jsonrpc": "2.0", "id": request["id"]}
    method, params = request["method"], request.get("params") or {}
    if method == "initialize":
        reply["result"] = {
            "protocolVersion": "2025-11-25",
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "plain desk", "version": "1"},
        }
    elif method == "tools/list":
        offered = [
            {"name": name, "description": words, "inputSchema": {"type": "object"}}
            for name, words in TOOLS.items()
        ]
        reply["result"] = {"tools": offered}
    elif method == "tools/call":
        result = call(params["name"], params)
        if result is None:
            return None
        reply["result"] = result
    else:
        reply["error"] = {"code": -32601, "message": "Method not found"}
    return reply


for line in sys.stdin:
    message = json.loads(line)
    answered = answer(message) if "id" in message else None
    if answered is not None:
        sys.stdout.write(json.dumps(answered) + "\n")
        sys.stdout.flush()
