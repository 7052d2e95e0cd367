"""A process that is started like `vllm serve` and speaks its routes, to be killed and to misbehave.

`python vllm_stand_in.py serve MODEL --host 127.0.0.1 --port N ...`: it takes vLLM's options
without heeding them, and the key from VLLM_API_KEY. Its own options say what else it does:

    --stand-in-seconds S      be ready after S seconds
    --stand-in-says FILE      say what FILE holds, before it gets ready
    --stand-in-waits FIFO     be ready when somebody writes into FIFO
    --stand-in-dies WORDS     say WORDS on stderr and exit with 1 instead of getting ready
    --stand-in-deaf           ignore SIGTERM
    --stand-in-child FILE     start a child in a session of its own, and write its id to FILE
    --stand-in-environment FILE    write the names of its environment's variables to FILE
    --stand-in-always HOW     misbehave with every question (`Misbehavior` in `model_server`)

A running one takes orders: POST /stand-in {"always": "hang"}, {"misbehave": ["500"]},
{"healthy": false}; GET /stand-in says how many questions came.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from aiohttp import web

sys.path.insert(0, str(Path(__file__).parents[3]))

from tests.agents.model_server import ModelServer, application


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("verb")
    parser.add_argument("model")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--served-model-name")
    parser.add_argument("--lora-modules", nargs="*", default=[])
    parser.add_argument("--stand-in-seconds", type=float, default=0.0)
    parser.add_argument("--stand-in-says", type=Path)
    parser.add_argument("--stand-in-waits", type=Path)
    parser.add_argument("--stand-in-dies", default="")
    parser.add_argument("--stand-in-deaf", action="store_true")
    parser.add_argument("--stand-in-child", type=Path)
    parser.add_argument("--stand-in-environment", type=Path)
    parser.add_argument("--stand-in-always")
    given, _ = parser.parse_known_args()
    if given.stand_in_environment:
        given.stand_in_environment.write_text("\n".join(sorted(os.environ)))
    if given.stand_in_deaf:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if given.stand_in_child:
        sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
        child = subprocess.Popen(sleeper, start_new_session=True)
        given.stand_in_child.write_text(str(child.pid))
    print("INFO loading weights", flush=True)  # noqa: T201 - what a server's log is made of
    if given.stand_in_says:
        sys.stdout.write(given.stand_in_says.read_text("utf-8"))
        sys.stdout.flush()
    if given.stand_in_waits:
        given.stand_in_waits.read_bytes()
    if given.stand_in_dies:
        sys.exit(given.stand_in_dies)
    time.sleep(given.stand_in_seconds)
    adapters = (each.partition("=")[0] for each in given.lora_modules)
    server = ModelServer(
        "vllm",
        key=os.environ.get("VLLM_API_KEY", ""),
        names=(given.served_model_name or given.model, *adapters),
        always=given.stand_in_always,
    )
    web.run_app(
        application(server),
        host=given.host,
        port=given.port,
        print=None,
        handle_signals=not given.stand_in_deaf,
        shutdown_timeout=0.1,
    )


if __name__ == "__main__":
    main()
