"""Processes of `repertory` that are started, killed, stopped and woken from outside."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any

ROOT = Path(__file__).parents[2]
_COLD = (sys.executable, "-c", "from repertory.runtime.launch import main; main()")
_PATIENCE = 60.0


class Life:
    """One life of a process: it is known by its pid, and ends once."""

    def __init__(self, pid: int, log: Path) -> None:
        self.pid = pid
        self.log = log
        self.status: int | None = None
        self._over = threading.Event()

    @property
    def alive(self) -> bool:
        return self.status is None

    def over(self, status: int) -> None:
        """Note how it ended."""
        self.status = status
        self._over.set()

    def kill(self) -> None:
        """`kill -9`, and wait until it is gone."""
        self.tell(signal.SIGKILL)
        self.wait()

    def tell(self, number: signal.Signals) -> None:
        """Send a signal, if there still is somebody to get it."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def wait(self) -> int:
        """Block until it has ended; its exit status, negative for a signal."""
        if not self._over.wait(_PATIENCE):
            raise TimeoutError(f"process {self.pid} did not end: {self.words()}")
        assert self.status is not None
        return self.status

    def words(self) -> str:
        """The last of what it said."""
        return self.log.read_text(errors="replace")[-1500:] if self.log.exists() else ""


class Starter:
    """Starts processes: forks of one that has loaded the modules, or cold ones."""

    def __init__(self) -> None:
        self._zygote: subprocess.Popen[bytes] | None = None
        self._listener: threading.Thread | None = None
        self._lives: dict[int, Life] = {}
        self._begun: SimpleQueue[Life] = SimpleQueue()
        self._lock = threading.Lock()

    def start(
        self,
        folder: Path,
        argv: Sequence[str],
        log: Path,
        environment: Mapping[str, str] = {},
        *,
        entry: str = "repertory.runtime.launch:main",
        load: Sequence[str] = (),
    ) -> Life:
        """Fork a `repertory`, or another entry, with these arguments in `folder`.

        load: modules that all later forks have loaded, too.
        """
        with self._lock:
            zygote = self._loaded()
            assert zygote.stdin is not None
            wanted = {
                "argv": list(argv),
                "folder": str(folder),
                "log": str(log),
                "environment": dict(environment),
                "entry": entry,
                "load": list(load),
            }
            zygote.stdin.write(json.dumps(wanted).encode() + b"\n")
            zygote.stdin.flush()
            life = self._begun.get(timeout=_PATIENCE)
            life.log = log
            return life

    def start_cold(
        self,
        folder: Path,
        argv: Sequence[str],
        log: Path,
        environment: Mapping[str, str] = {},
        *,
        before: Sequence[str] = (),
    ) -> Life:
        """Start a new interpreter, behind the command `before` (`strace ...`, `ip netns exec ...`)."""
        with log.open("ab") as words:
            process = subprocess.Popen(
                [*before, *_COLD, *argv],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=words,
                stderr=subprocess.STDOUT,
                env={**os.environ, **environment},
            )
        life = Life(process.pid, log)
        threading.Thread(target=lambda: life.over(process.wait()), daemon=True).start()
        return life

    def close(self) -> None:
        """End the zygote, and with it whoever it started and still lives."""
        if self._zygote is not None and self._zygote.stdin is not None:
            self._zygote.stdin.close()
            self._zygote.wait(_PATIENCE)
        if self._listener is not None:
            self._listener.join(_PATIENCE)

    def _loaded(self) -> subprocess.Popen[bytes]:
        if self._zygote is None:
            self._zygote = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.faults.zygote"],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            heard = self._zygote.stdout
            assert heard is not None
            if not heard.readline():
                raise SystemExit("the process that forks others could not load the runtime")
            self._listener = threading.Thread(target=self._listen, args=(heard,), daemon=True)
            self._listener.start()
        return self._zygote

    def _listen(self, heard: Any) -> None:
        with heard:
            for line in heard:
                told = json.loads(line)
                if "status" in told:
                    self._lives.pop(told["pid"]).over(told["status"])
                else:
                    life = self._lives[told["pid"]] = Life(told["pid"], Path(os.devnull))
                    self._begun.put(life)


@contextmanager
def open_starter() -> Iterator[Starter]:
    """A starter whose processes have ended when the block has."""
    starter = Starter()
    try:
        yield starter
    finally:
        starter.close()


def free_port() -> int:
    """A port of the loopback that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def resident_bytes(pid: int) -> int:
    """The resident memory of a process, in bytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def open_things(pid: int) -> tuple[int, int]:
    """How many files and how many threads a process has open."""
    place = Path(f"/proc/{pid}")
    return len(list((place / "fd").iterdir())), len(list((place / "task").iterdir()))
