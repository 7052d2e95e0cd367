"""A store that outlives its process: the real SQL on the real engine, at the times of the seed."""

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any

from repertory.xp_store import StoreError
from repertory.xp_store.database import Job, Unit
from repertory.xp_store.sqlite_engine import MEMORY, SqliteConnection, SqliteDatabase, connect

Tell = Callable[[str], None]


class Disk:
    """What a process leaves behind."""

    def __init__(self) -> None:
        self.connection: SqliteConnection = connect(MEMORY)


class LoopDatabase(SqliteDatabase):
    """One process's access to a disk: group commits on the loop itself, each some time later.

    Between a commit and its answers time passes, and with `dead` nothing more is written or
    answered: so a process dies before a commit, or after it with nobody told. early_ack: the
    bug of telling before the commit, for the test that the simulation finds it.
    """

    def __init__(self, disk: Disk, dice: Random, tell: Tell, *, early_ack: bool = False) -> None:
        super().__init__(MEMORY, "process")
        self._connection = disk.connection
        self._dice = dice
        self._tell_trace = tell
        self._early_ack = early_ack
        self._waiting: list[Job] = []
        self._unanswered: dict[Job, None] = {}
        self._answered_at = 0.0
        # As a store in a file: reads are threads of their own, and overtake writes.
        self.readers = 1
        self.dead = False

    async def _put(
        self,
        where: Any,
        unit: Unit,
        then: Callable[[], None] | None = None,
        *,
        alone: bool = False,
    ) -> Any:
        loop = asyncio.get_running_loop()
        if self.dead:
            raise StoreError("this process is dead")
        job = Job(unit, loop, then, alone=alone)
        self._unanswered[job] = None
        if where is self._reads:
            loop.call_later(self._dice.expovariate(500.0), self._read, job)
        else:
            if not self._waiting:
                loop.call_later(self._dice.expovariate(200.0), self._write)
            self._waiting.append(job)
        return await job.future

    def _read(self, job: Job) -> None:
        if self.dead:
            return
        try:
            job.result = job.unit(self._connection)
        except Exception as error:  # noqa: BLE001 - kept for its caller
            job.error = error
        asyncio.get_running_loop().call_later(self._dice.expovariate(500.0), self._answer, [job])

    def _write(self) -> None:
        jobs, self._waiting = self._waiting, []
        if self.dead:
            return
        loop = asyncio.get_running_loop()
        # In the order of the commits, as the writer's thread announces them.
        later = self._dice.expovariate(500.0)
        self._answered_at = max(self._answered_at + 1e-9, loop.time() + later)
        if self._early_ack:
            self._run_uncommitted(jobs)
            self._answer(jobs)
            loop.call_later(100 * later, self._commit_at_last)
            return
        self._commit(jobs)
        self._tell_trace(f"commit of {len(jobs)}")
        loop.call_at(self._answered_at, self._answer, jobs)

    def _run_uncommitted(self, jobs: list[Job]) -> None:
        if not self._connection.in_transaction:
            self._connection.execute("BEGIN IMMEDIATE")
        for job in jobs:
            self._connection.execute("SAVEPOINT unit")
            try:
                job.result = job.unit(self._connection)
            except Exception as error:  # noqa: BLE001 - kept for its caller
                self._connection.execute("ROLLBACK TO unit")
                job.error = error
            self._connection.execute("RELEASE unit")

    def _commit_at_last(self) -> None:
        if not self.dead and self._connection.in_transaction:
            self._connection.execute("COMMIT")

    def die(self) -> None:
        """Write and answer nothing more; what was not committed is gone."""
        self.dead = True
        for job in self._unanswered:
            # So that what is shielded unwinds too; nobody outside hears of it.
            if not job.future.done():
                job.future.set_exception(StoreError("this process is dead"))
                job.future.exception()
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def _answer(self, jobs: list[Job]) -> None:
        for job in jobs:
            if not self.dead:
                del self._unanswered[job]
                job.settle()
