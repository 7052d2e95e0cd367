"""Lives of a desk in processes of their own that begin at once: forked from one that has imported.

    python -m tests.runtime.killing.nursery

Each line read, `FOLDER POINT`, is one life of the network in FOLDER with that crash point
armed ("-" for none); each line written is how it ended, as `Popen.returncode` says it. What
was acknowledged stands in the ledger beside the manifest, written before the next is sent.
"""

import os
import sys
import threading
from pathlib import Path

import anyio

# What a life would import: once here, before the first fork.
import repertory.protocol.streamable_http
import repertory.runtime.opening
import repertory.xp_store.index
import repertory.xp_store.store  # noqa: F401
from repertory.agents import Agent, Question, Turn
from repertory.protocol import TaskState, user_message
from repertory.runtime import Network, open_network
from repertory.runtime.manifest import load_manifest

MAILS = 2
LEDGER = "ledger.txt"


def clumsy(folder: Path, kind: type[Agent]) -> type[Agent]:
    """A desk that crashes once over its first mail, and asks a person about its second."""

    class Clumsy(kind):  # type: ignore[valid-type, misc]  # the desk of the folder
        async def handle(self, turn: Turn) -> None:
            stumbled = folder / "stumbled"
            if "R0 " in turn.message.text:
                if not stumbled.exists():
                    stumbled.touch()
                    raise RuntimeError("the desk stumbles")
            else:
                await turn.ask_person(Question("Go on?", options=("yes", "no")))
            await super().handle(turn)

    return Clumsy


async def live(folder: Path) -> None:
    """Give the mails, again and again the same, and return when all is decided and found."""
    manifest = load_manifest(folder / "network.yaml")
    sys.path.insert(0, str(folder))
    from desk import Desk  # type: ignore[import-not-found]  # the folder's own

    async with open_network(manifest, kinds={"desk": clumsy(folder, Desk)}) as network:
        tasks = [await give(network, folder, number) for number in range(MAILS)]
        for task_id in tasks:
            asked = False
            async for told in network.watch(task_id):
                update = told.event.status_update
                asks = update is not None and update.status.state is TaskState.INPUT_REQUIRED
                if asks and not asked:
                    # Left in the journal, as `repertory answer` does.
                    asked = True
                    await network.journal.post("answer", task_id, "yes")
        await network.packs.wait_indexed()


async def give(network: Network, folder: Path, number: int) -> str:
    """Send one mail and put its acknowledgment into the ledger."""
    text = f"Dear desk, the invoice number {folder.name}R{number} total {100 + number}.00"
    message = user_message(text, message_id=f"mail {number}").model_copy(
        update={"metadata": {"dev.repertory/file": f"{number}.txt"}}
    )
    task = await network.tell("desk", message)
    with (folder / LEDGER).open("a") as ledger:
        ledger.write(f"{number}.txt {task}\n")
    return task


def main() -> None:
    """Serve lives until the input ends."""
    for line in sys.stdin:
        folder, point = line.split()
        # A thread of the parent would be missing in the child.
        assert threading.active_count() == 1
        if child := os.fork():
            _, status = os.waitpid(child, 0)
            print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201 - the protocol
            continue
        status = 1
        try:
            os.environ["REPERTORY_CRASH_AT"] = "" if point == "-" else point
            log = os.open(Path(folder) / "run.log", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
            os.dup2(log, 1)
            os.dup2(log, 2)
            anyio.run(live, Path(folder))
            status = 0
        except BaseException as error:  # noqa: BLE001 - a child must not return into the loop
            sys.excepthook(type(error), error, error.__traceback__)
        finally:
            sys.stderr.flush()
            os._exit(status)


if __name__ == "__main__":
    main()
