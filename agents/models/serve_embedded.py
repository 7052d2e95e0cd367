"""The embedded model's process: a llama.cpp server on loopback that ends with its parent.

Started as a program by `embedded`, which writes one line of JSON to its standard
input, reads one line of JSON from its output, and keeps the input open as long
as it wants the server. The end of the input, whatever caused it (closing, kill
-9), ends the process. It needs nothing of this package, so it starts fast.
"""

import json
import os
import signal
import sys
import threading
from importlib import import_module
from typing import Any

HOST = "127.0.0.1"


def main() -> int:
    """Serve until standard input ends."""
    # Ctrl-C reaches the whole foreground group; the parent drains, and then closes the input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The engine may print; the parent reads our answer only.
    answer = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    settings = json.loads(sys.stdin.buffer.readline())
    watch = threading.Thread(target=_end_with_input, daemon=True)
    watch.start()
    try:
        engine: Any = import_module("xllamacpp")
        server = engine.Server(_parameters(engine, settings))
    except Exception as error:  # noqa: BLE001 — its sentence goes to the parent, which raises its own.
        print(json.dumps({"error": str(error)}), file=answer, flush=True)
        return 1
    print(json.dumps({"url": server.listening_address}), file=answer, flush=True)
    watch.join()
    return 0


def _parameters(engine: Any, settings: dict[str, Any]) -> Any:
    parameters = engine.CommonParams()
    parameters.model.path = settings["path"]
    parameters.model_alias = {settings["model"]}
    parameters.hostnames = [HOST]
    parameters.port = 0
    # Without a key any page in this machine's browser could ask the model.
    parameters.api_keys = [settings["key"]]
    parameters.n_parallel = settings["slots"]
    parameters.n_ctx = settings["slots"] * settings["context_length"]
    # One cache shared by all slots makes sampling depend on what runs beside it.
    parameters.kv_unified = False
    parameters.cache_prompt = settings["reuse_prompts"]
    parameters.cache_ram_mib = 0
    parameters.ui = False
    parameters.n_gpu_layers = 0
    # Errors only: prompts do not belong in a log.
    parameters.verbosity = 1
    for threads in (parameters.cpuparams, parameters.cpuparams_batch):
        threads.n_threads = settings["threads"]
    return parameters


def _end_with_input() -> None:
    sys.stdin.buffer.read()
    # The engine's threads do not hear of a normal exit while they compute.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
