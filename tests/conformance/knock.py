"""Tell the waiting client of a scenario, and end as it ended. It loads next to nothing."""

import json
import os
import socket
import sys

with socket.socket(socket.AF_UNIX) as wire:
    wire.connect(sys.argv[1])
    env = {name: each for name, each in os.environ.items() if name.startswith("MCP_")}
    wire.sendall(json.dumps({"url": sys.argv[-1], "env": env}).encode() + b"\n")
    with wire.makefile() as answer:
        status = answer.readline()
raise SystemExit(int(status or 1))
