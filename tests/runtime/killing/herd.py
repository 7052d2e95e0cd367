"""Processes of one network that begin at once: forked from one that has imported.

    python -m tests.runtime.killing.herd FOLDER

Each line read begins one process over the network of FOLDER; its pid is written. It says
what it does in files of the folder: `PID.ready` when it is there (with the URL at which it
serves), and a line `TEXT PID` in `begun` for each turn. TERM lets it drain and leave.
"""

import os
import signal
import sys
import threading
from pathlib import Path

import anyio

# What a process would import: once here, before the first fork.
import psycopg  # noqa: F401

import repertory.protocol.streamable_http
import repertory.runtime.opening
import repertory.xp_store.index
import repertory.xp_store.postgres_engine
import repertory.xp_store.store  # noqa: F401
from repertory.agents import Agent, Question, Turn
from repertory.runtime import load_manifest, open_network, serve

_LOOK_SECONDS = 0.02


def worker(folder: Path) -> type[Agent]:
    """An agent that does what its message says."""

    class Worker(Agent):
        async def handle(self, turn: Turn) -> None:
            text = turn.message.text
            with (folder / "begun").open("a") as file:
                file.write(f"{text} {os.getpid()}\n")
            match text.split()[0]:
                case "bomb":
                    os.kill(os.getpid(), signal.SIGKILL)
                case "hold":
                    while not (folder / "go").exists():
                        await anyio.sleep(_LOOK_SECONDS)
                case "ask":
                    await turn.ask_person(Question("Go on?"))
            await turn.complete(f"{text} is done")

    return Worker


async def live(folder: Path) -> None:
    """Run the network until TERM, and leave in order."""
    manifest = load_manifest(folder / "network.yaml")
    with anyio.open_signal_receiver(signal.SIGTERM) as signals:
        async with open_network(manifest, kinds={"worker": worker(folder)}) as network:
            async with serve(network, port=0) as url:
                ready = folder / f"{os.getpid()}.ready"
                ready.with_suffix(".tmp").write_text(url)
                ready.with_suffix(".tmp").rename(ready)
                async for _ in signals:
                    break
                await network.drain(grace=0.1)


def main() -> None:
    """Begin processes until the input ends."""
    folder = Path(sys.argv[1])
    # Nobody here asks how its children ended.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for _ in sys.stdin:
        # A thread of the parent would be missing in the child.
        assert threading.active_count() == 1
        if child := os.fork():
            print(child, flush=True)  # noqa: T201 - the protocol
            continue
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        status = 1
        try:
            log = os.open(folder / "run.log", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
            os.dup2(log, 1)
            os.dup2(log, 2)
            anyio.run(live, folder)
            status = 0
        except BaseException as error:  # noqa: BLE001 - a child must not return into the loop
            sys.excepthook(type(error), error, error.__traceback__)
        finally:
            sys.stderr.flush()
            os._exit(status)


if __name__ == "__main__":
    main()
