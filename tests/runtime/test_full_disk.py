"""A disk that is full: new work is refused, work under way waits, and both go on by themselves."""

from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from anyio import fail_after

from repertory.agents import Agent, Turn
from repertory.protocol import TaskState
from repertory.runtime import open_network, parse_manifest
from repertory.xp_store import Connection, StoreAwayError, StoreFullError

_MANIFEST = """
network: full
embedder: {engine: hash}
agents:
  writer: {kind: "full:Writer", memory: {record: false}}
supervision: {intensity: 0, period: 60}
"""


def _leave_no_room(connection: Connection) -> None:
    # SQLite then says what it says of a disk without room, by the same code.
    connection.execute("PRAGMA max_page_count=1")


def _make_room(connection: Connection) -> None:
    connection.execute("PRAGMA max_page_count=1073741823")


async def test_a_full_disk_refuses_new_work_and_lets_work_under_way_wait(tmp_path: Path) -> None:
    """Ours: nothing is acknowledged that is not kept, and no agent crashes of it (intensity 0)."""
    begun, go_on, again = anyio.Event(), anyio.Event(), anyio.Event()
    lives = 0

    class Writer(Agent):
        async def handle(self, turn: Turn) -> None:
            nonlocal lives
            lives += 1
            (again if lives > 1 else begun).set()
            await go_on.wait()
            for number in range(40):
                await turn.report(f"{number} " + "x" * 4000)
            await turn.complete("written")

    manifest = parse_manifest(_MANIFEST, folder=tmp_path)
    with fail_after(30):
        async with open_network(manifest, kinds={"writer": Writer}) as network:
            task_id = await network.tell("writer", "write")
            await begun.wait()
            await network.journal.database.alone(_leave_no_room)
            go_on.set()
            await again.wait()
            with pytest.raises(StoreFullError) as refused:
                await network.tell("writer", "y" * 200_000)
            assert refused.value.retryable
            await network.journal.database.alone(_make_room)
            await network.idle()
            task = await network.task(task_id)
    assert task.status.state is TaskState.COMPLETED


async def test_what_is_canceled_while_the_disk_is_full_gives_its_place_back(tmp_path: Path) -> None:
    """Ours: the one place of work is taken by a task that waits for the disk, and then is no more."""
    begun, go_on, again = anyio.Event(), anyio.Event(), anyio.Event()

    class Writer(Agent):
        async def handle(self, turn: Turn) -> None:
            if turn.message.text == "after":
                await turn.complete("written")
                return
            (again if begun.is_set() else begun).set()
            await go_on.wait()
            for number in range(40):
                await turn.report(f"{number} " + "x" * 4000)
            await turn.complete("written")

    manifest = parse_manifest(_MANIFEST.replace("kind:", "concurrency: 1, kind:"), folder=tmp_path)
    with fail_after(30):
        async with open_network(manifest, kinds={"writer": Writer}) as network:
            task_id = await network.tell("writer", "write")
            await begun.wait()
            await network.journal.database.alone(_leave_no_room)
            go_on.set()
            await again.wait()
            host = network.hosts["writer"]
            while task_id in host.running:
                await anyio.lowlevel.checkpoint()
            # It waits for the disk, its turn is over, and its place of work is taken.
            host.pending.pop(task_id)
            await network.journal.database.alone(_make_room)
            after = await network.ask("writer", "after")
    assert after.status.state is TaskState.COMPLETED


async def test_a_task_does_not_fail_of_a_server_that_is_away(tmp_path: Path) -> None:
    """Ours: fault F20: it goes on from its journal when that can be read again."""
    lives = 0

    class Writer(Agent):
        async def handle(self, turn: Turn) -> None:
            nonlocal lives
            lives += 1
            if lives == 1:
                raise StoreAwayError("the server is in recovery mode")
            await turn.complete("written")

    manifest = parse_manifest(_MANIFEST, folder=tmp_path)
    with fail_after(30):
        async with open_network(manifest, kinds={"writer": Writer}) as network:
            task = await network.ask("writer", "write")
    assert task.status.state is TaskState.COMPLETED
    assert lives == 2
