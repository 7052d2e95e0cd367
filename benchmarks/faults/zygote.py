"""A process that has loaded the runtime and forks a `repertory` for each line it is given.

    python -m benchmarks.faults.zygote

Two hundred kills need two hundred starts, and most of a start is loading modules. A child
is a real process that is really killed; only its modules were loaded before. Each line on
standard input is `{"argv", "folder", "log", "environment"}` as JSON, and `load` and `entry`
for another program than `repertory`: modules to load once before, and `module:function`. Each
line on standard output tells a child's `pid` when it begins, and `pid` and `status` when it has ended.
"""

import gc
import json
import os
import select
import signal
import sys
import threading
import traceback
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

_PRELOADED = (
    "repertory.runtime.cli",
    "repertory.runtime.cli_run",
    "repertory.runtime.cli_serve",
    "repertory.runtime.replica",
    "repertory.xp_store.store",
    "repertory.xp_store.index",
    "repertory.xp_store.checker",
    "repertory.agents.models.openai",
    "mcp.client.streamable_http",
    "uvicorn.protocols.http.httptools_impl",
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "uvloop",
    "httptools",
)


def main() -> None:
    _load(_PRELOADED)
    ended, ending = os.pipe()
    os.set_blocking(ending, False)
    os.set_blocking(ended, False)
    signal.set_wakeup_fd(ending)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    children: set[int] = set()
    _tell(ready=True)
    while True:
        ready, _, _ = select.select([sys.stdin, ended], [], [])
        if ended in ready:
            os.read(ended, 4096)
            _reap(children)
        if sys.stdin in ready:
            # One line at a time: `select` does not see what Python has buffered.
            line = _line()
            if not line:
                break
            wanted = json.loads(line)
            _load(wanted["load"])
            children.add(_start(wanted, (ended, ending)))
    for pid in children:
        os.kill(pid, signal.SIGKILL)


def _load(names: Sequence[str]) -> None:
    new = [name for name in names if name not in sys.modules]
    for name in new:
        import_module(name)
    if threading.active_count() > 1:
        raise SystemExit(f"modules started threads, so no fork is safe: {threading.enumerate()}")
    if new:
        gc.collect()
        gc.freeze()


def _line() -> bytes:
    read = bytearray()
    while not read.endswith(b"\n"):
        piece = os.read(0, 1)
        if not piece:
            return b""
        read += piece
    return bytes(read)


def _tell(**facts: Any) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def _reap(children: set[int]) -> None:
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        children.discard(pid)
        _tell(pid=pid, status=os.waitstatus_to_exitcode(status))


def _start(wanted: dict[str, Any], pipes: tuple[int, int]) -> int:
    pid = os.fork()
    if pid:
        _tell(pid=pid)
        return pid
    status = 70
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for pipe in pipes:
            os.close(pipe)
        os.chdir(wanted["folder"])
        nothing, log = os.open(os.devnull, os.O_RDONLY), _append(wanted["log"])
        os.dup2(nothing, 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.environ.update(wanted["environment"])
        sys.argv = ["repertory", *wanted["argv"]]
        module, _, name = wanted["entry"].partition(":")
        getattr(import_module(module), name)()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - nothing of the zygote may go on in a child
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _append(path: str) -> int:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)


if __name__ == "__main__":
    main()
