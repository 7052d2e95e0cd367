"""The guard of a model's server: starts it, keeps its log, and leaves nothing of it behind.

Started as a program by `managed`, which writes one line of JSON to its standard
input and keeps the input open as long as it wants the server. The end of the input,
whatever caused it (closing, kill -9), ends the server and every process that it
began, also those that left its process group. Prints one line of JSON when the
server was started, and ends with a status of its own when the server ended. It needs
nothing of this package, so it starts fast.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

_LOG_BYTES = 8_000_000
_POLL_SECONDS = 0.05
# Of Linux's prctl(2).
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def main() -> int:
    """Guard one server until standard input ends or the server does."""
    # Ctrl-C reaches the whole foreground group; the parent drains, and then closes the input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    settings = json.loads(sys.stdin.buffer.readline())
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    try:
        child = subprocess.Popen(
            settings["argv"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=settings["cwd"],
            env=settings["environment"],
            start_new_session=True,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - no thread was started before this.
        )
    except OSError as error:
        _say({"error": f"{settings['argv'][0]}: {error.strerror}"})
        return 127
    _say({"pid": child.pid})
    assert child.stdout is not None
    log = threading.Thread(
        target=_keep, args=(child.stdout.fileno(), Path(settings["log"])), daemon=True
    )
    log.start()
    wanted = threading.Event()
    threading.Thread(target=_listen, args=(wanted,), daemon=True).start()
    while child.poll() is None and not wanted.is_set():
        wanted.wait(_POLL_SECONDS)
    _end(child, float(settings["grace"]))
    log.join(1.0)
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def _die_with_parent() -> None:
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _say(answer: dict[str, Any]) -> None:
    with suppress(OSError):
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _listen(wanted: threading.Event) -> None:
    sys.stdin.buffer.read()
    wanted.set()


def _keep(output: int, path: Path) -> None:
    """Write what the server says to `path`; the part before the last 8 MB goes to `path`.1, once."""
    file = path.open("ab")
    # Not by lines: a progress bar has none until it is full.
    while words := os.read(output, 65_536):
        # A full disk must not stop the server.
        with suppress(OSError):
            if file.tell() + len(words) > _LOG_BYTES:
                file.close()
                path.replace(path.with_name(path.name + ".1"))
                file = path.open("ab")
            file.write(words)
            file.flush()
    file.close()


def _end(child: "subprocess.Popen[bytes]", grace: float) -> None:
    """Ask the server to stop; after `grace` seconds kill all that it began."""
    deadline = time.monotonic() + grace
    _signal([child.pid, *_children()], signal.SIGTERM, group=child.pid)
    while time.monotonic() < deadline and (child.poll() is None or _children()):
        _reap(child)
        time.sleep(_POLL_SECONDS)
    while child.poll() is None or _children():
        _signal(_children(), signal.SIGKILL, group=child.pid)
        _reap(child)
        time.sleep(_POLL_SECONDS)


def _signal(pids: list[int], number: signal.Signals, *, group: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _children() -> list[int]:
    """Our children now: those of the server that died before them were given to us."""
    if sys.platform != "linux":
        return []
    try:
        text = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    except OSError:
        return []
    return [int(pid) for pid in text.split()]


def _reap(child: "subprocess.Popen[bytes]") -> None:
    """Take the ends of those who were given to us, so that they leave the list."""
    for pid in _children():
        if pid != child.pid:
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)


if __name__ == "__main__":
    status = main()
    # The thread that reads the input does not hear of a normal exit.
    os._exit(status)
