"""Messages that may kill the process: told from those that were only near.

A crash in Python is seen and counted where it happens. What ends the whole process
(a fault of native code, memory that runs out) can be seen only by the next one. So
a task that is taken up again notes durably that it is at work, before its handler
runs; a task that is new, or that waits for a person, pays nothing. Who finds the note
of another process when it takes the task counts a death, unless the task got further
meanwhile. A process that was silent and not dead takes that back when it wakes.
Suspects work one tree of calls at a time, so that a death counts against its cause and
not its neighbors.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

import anyio

from repertory.xp_store import Connection, Database

from .mailbox import Mailbox
from .record import TaskRecord

# Deaths from which on a task works alone; the manifest's bound is above it, so that
# nothing is given up on that has not died alone.
_SUSPECT = 2
# Values of one statement, well below what both engines take.
_MOST_MARKS = 500
# What was read of the dialogue before the first effect is no progress.
_PROGRESS = (
    "SELECT task.sequence + (SELECT count(*) FROM step WHERE step.task_id=task.id"
    " AND step.kind<>'history') FROM task WHERE task.id=?"
)


class Suspects:
    """Deaths by task, and the one place of work that suspects share.

    process: the number of this process, never 0. root_of: the task at the head of a
    task's tree of calls.
    """

    def __init__(
        self, database: Database, process: int, root_of: Callable[[TaskRecord], str]
    ) -> None:
        self._database = database
        self._process = process
        self._root_of = root_of
        self._deaths: dict[str, int] = {}
        self._root = ""
        self._inside: set[str] = set()
        # What works that was taken up again, and of it what has noted that it does.
        self._again: set[str] = set()
        self._noted: set[str] = set()
        self._free = anyio.Event()

    async def count(self, taken_up: Sequence[str]) -> Mapping[str, int]:
        """How often a process died over each of these tasks, what is found now included."""

        def unit(connection: Connection) -> dict[str, int]:
            found: dict[str, int] = {}
            for start in range(0, len(taken_up), _MOST_MARKS):
                some = tuple(taken_up[start : start + _MOST_MARKS])
                rows = connection.execute(
                    "SELECT task_id, deaths, at_work FROM suspect"
                    f" WHERE task_id IN ({','.join('?' * len(some))})",
                    some,
                ).fetchall()
                found.update((task_id, deaths) for task_id, deaths, _ in rows)
                for process in {at_work for *_, at_work in rows} - {0, self._process}:
                    counted = _counted(connection, process)
                    found.update(
                        (task_id, counted[task_id]) for task_id in some if task_id in counted
                    )
            return found

        self._deaths.update(await self._database.transact(unit))
        return {task_id: self._deaths.get(task_id, 0) for task_id in taken_up}

    @asynccontextmanager
    async def at_work(self, record: TaskRecord, mailbox: Mailbox) -> AsyncIterator[None]:
        """Note that a task which was taken up again works while the block runs.

        mailbox: where it has its place of work.
        """
        alone = self._deaths.get(record.id, 0) >= _SUSPECT
        if alone:
            await self._enter(record, self._root_of(record), mailbox)
        self._again.add(record.id)
        try:
            await self._note(record.id)
            yield
        finally:
            self._again.discard(record.id)
            with anyio.CancelScope(shield=True):
                await self.step_aside(record.id)

    async def step_aside(self, task_id: str) -> None:
        """Let other suspects work: the task has ended, or waits for a person."""
        self._make_room(task_id)
        if task_id in self._noted:
            self._noted.discard(task_id)
            await self._rest(task_id)

    async def go_on(self, task_id: str) -> None:
        """Note that a task works again that had stepped aside, if it was taken up again."""
        if task_id in self._again:
            await self._note(task_id)

    def _make_room(self, task_id: str) -> None:
        if task_id in self._inside:
            self._inside.remove(task_id)
            if not self._inside:
                self._free.set()
                self._free = anyio.Event()

    async def _enter(self, record: TaskRecord, root: str, mailbox: Mailbox) -> None:
        while self._inside and self._root != root:
            # Who is inside may ask this very agent, and must find a place there.
            mailbox.lend_place(record)
            await self._free.wait()
            await mailbox.take_place_back(record)
        self._root = root
        self._inside.add(record.id)

    async def _note(self, task_id: str) -> None:
        def unit(connection: Connection) -> None:
            progress = connection.execute(_PROGRESS, (task_id,)).fetchone()[0]
            connection.execute(
                "INSERT INTO suspect (task_id, deaths, progress, at_work) VALUES (?, 0, ?, ?)"
                " ON CONFLICT (task_id) DO UPDATE SET progress=excluded.progress,"
                " at_work=excluded.at_work",
                (task_id, progress, self._process),
            )

        await self._database.transact(unit)
        self._noted.add(task_id)

    async def _rest(self, task_id: str) -> None:
        mine = (task_id, self._process)

        def unit(connection: Connection) -> None:
            held = connection.execute(
                "UPDATE suspect SET at_work=0 WHERE task_id=? AND at_work=?", mine
            )
            if not held.rowcount:
                # Another process took it for dead, and counted that; it was not.
                connection.execute(
                    "UPDATE suspect SET deaths=deaths-1 WHERE task_id=? AND deaths>0", (task_id,)
                )

        await self._database.transact(unit)


def _counted(connection: Connection, process: int) -> dict[str, int]:
    """Count the death of a process over all that it worked on, and take its notes away.

    A suspect is excused once more where another, which was there at an earlier death
    and is no suspect yet, was at work beside it: that one may be the cause.
    """
    rows = connection.execute(
        "SELECT suspect.task_id, suspect.deaths, suspect.progress, task.parent_task FROM suspect"
        " JOIN task ON task.id=suspect.task_id WHERE suspect.at_work=?",
        (process,),
    ).fetchall()
    found: dict[str, int] = {}
    for task_id, deaths, progress, parent in rows:
        others = [row[1] for row in rows if row[0] not in (task_id, parent) and row[3] != task_id]
        now = connection.execute(_PROGRESS, (task_id,)).fetchone()[0]
        excused = deaths >= _SUSPECT and any(0 < each < _SUSPECT for each in others)
        found[task_id] = 0 if now != progress else deaths if excused else deaths + 1
    connection.executemany(
        "UPDATE suspect SET deaths=?, at_work=0 WHERE task_id=?",
        [(deaths, task_id) for task_id, deaths in found.items()],
    )
    return found
