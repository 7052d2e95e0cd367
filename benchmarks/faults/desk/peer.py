"""A tool server that holds every call until it is killed: `peer.py HELD [PORT]`.

It speaks MCP 2025-11-25 without any SDK, over its pipes or over HTTP, and so starts at
once. HELD is the file that it notes its pid and the calls it holds in.
"""

import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

HELD = Path(sys.argv[1])


def answer(asked: dict[str, Any]) -> dict[str, Any]:
    """The reply to a request; a call is never answered."""
    method = asked["method"]
    if method == "tools/call":
        with HELD.open("a") as file:
            file.write(f"{os.getpid()} {asked['params']['arguments']['id']}\n")
        threading.Event().wait()
    results: dict[str, Any] = {
        "initialize": {
            "protocolVersion": "2025-11-25",
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "peer", "version": "1"},
        },
        "tools/list": {
            "tools": [{"name": "hold", "description": "Hold", "inputSchema": {"type": "object"}}]
        },
    }
    reply: dict[str, Any] = {"jsonrpc": "2.0", "id": asked["id"]}
    if method in results:
        reply["result"] = results[method]
    else:
        reply["error"] = {"code": -32601, "message": "Method not found"}
    return reply


class Door(BaseHTTPRequestHandler):
    """MCP over HTTP, each answer in plain JSON."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Answer one message."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        body = json.dumps(answer(asked)).encode() if "id" in asked else b""
        self.send_response(200 if body else 202)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its parent calls it so
        """Say nothing."""


if __name__ == "__main__":
    if len(sys.argv) > 2:
        ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Door).serve_forever()
    for line in sys.stdin:
        message = json.loads(line)
        if "id" in message:
            sys.stdout.write(json.dumps(answer(message)) + "\n")
            sys.stdout.flush()
