"""A store that outlives its process: the real SQL on a real engine, at the times of the seed."""

import asyncio
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from repertory.xp_store import Connection, Database, StoreError
from repertory.xp_store.database import Job, Unit
from repertory.xp_store.postgres_engine import PostgresConnection, PostgresDatabase, upgrade_server
from repertory.xp_store.schema import Schema
from repertory.xp_store.sqlite_engine import (
    MEMORY,
    SqliteConnection,
    SqliteDatabase,
    connect,
    upgrade_file,
)
from repertory.xp_store.urls import conninfo_of

Tell = Callable[[str], None]


class OnLoop(Database):
    """One process's access to a disk: group commits on the loop itself, each some time later.

    Between a commit and its answers time passes, and with `dead` nothing more is written or
    answered: so a process dies before a commit, or after it with nobody told. No thread
    takes part, since counted time waits for none.
    """

    def begin(self, dice: Random, tell: Tell) -> None:
        """Take the times of commits and answers from `dice`; call it once, before use."""
        self._dice = dice
        self._tell_trace = tell
        self._waiting: list[Job] = []
        self._unanswered: dict[Job, None] = {}
        self._answered_at = 0.0
        # As a store in a file: reads are threads of their own, and overtake writes.
        self.readers = 1
        self.dead = False

    def looking(self) -> Connection:
        """What reads are run on."""
        raise NotImplementedError

    def cut(self) -> None:
        """Leave what was not committed to be forgotten."""
        raise NotImplementedError

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
            job.result = job.unit(self.looking())
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
        self._write_down(jobs, later)

    def _write_down(self, jobs: list[Job], later: float) -> None:
        self._commit(jobs)
        self._tell_trace(f"commit of {len(jobs)}")
        asyncio.get_running_loop().call_at(self._answered_at, self._answer, jobs)

    def die(self) -> None:
        """Write and answer nothing more; what was not committed is gone."""
        self.dead = True
        for job in self._unanswered:
            # So that what is shielded unwinds too; nobody outside hears of it.
            if not job.future.done():
                job.future.set_exception(StoreError("this process is dead"))
                job.future.exception()
        self.cut()

    def _answer(self, jobs: list[Job]) -> None:
        for job in jobs:
            if not self.dead:
                del self._unanswered[job]
                job.settle()


class LoopDatabase(OnLoop, SqliteDatabase):
    """SQLite in memory; early_ack: the bug of telling before the commit, for the test that finds it."""

    def __init__(self, disk: "Disk", *, early_ack: bool = False) -> None:
        super().__init__(MEMORY, "process")
        self._connection = disk.connection
        self._early_ack = early_ack

    async def _upgrade(self, schema: Schema) -> None:
        upgrade_file(self._connection, schema, self.name)

    def looking(self) -> Connection:
        return self._connection

    def cut(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def _write_down(self, jobs: list[Job], later: float) -> None:
        if not self._early_ack:
            super()._write_down(jobs, later)
            return
        self._run_uncommitted(jobs)
        self._answer(jobs)
        asyncio.get_running_loop().call_later(100 * later, self._commit_at_last)

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


class LoopPostgres(OnLoop, PostgresDatabase):
    """A store of a real server; nobody is woken by notices, who looks now and then sees all the same."""

    async def _upgrade(self, schema: Schema) -> None:
        upgrade_server(self._conninfo, self.name, schema)

    def looking(self) -> Connection:
        return PostgresConnection(self._connected())

    def cut(self) -> None:
        self._drop()

    def _listen(self) -> None:
        """Notices would come in the server's time and not in the seed's."""


class Disk:
    """What a process leaves behind: SQLite in memory."""

    def __init__(self, *, early_ack: bool = False) -> None:
        self.connection: SqliteConnection = connect(MEMORY)
        self._early_ack = early_ack

    def open(self) -> OnLoop:
        """The access of one life."""
        return LoopDatabase(self, early_ack=self._early_ack)

    def run(self, sql: str) -> Sequence[Sequence[Any]]:
        """Look at what lies there, or change it, while nobody lives."""
        return self.connection.execute(sql).fetchall()


class ServerDisk:
    """What a process leaves behind on a PostgreSQL server."""

    def __init__(self, url: str) -> None:
        self._conninfo = conninfo_of(url)
        self._own = self._database()

    def _database(self) -> LoopPostgres:
        database = LoopPostgres(self._conninfo, "server", "process")
        database._connect()
        return database

    def open(self) -> OnLoop:
        """The access of one life; the leases of those before it are over."""
        database = self._database()
        if self.run("SELECT to_regclass('process')")[0][0] is not None:
            self.run("UPDATE process SET lease_until=1.0")
        return database

    def run(self, sql: str) -> Sequence[Sequence[Any]]:
        """Look at what lies there, or change it, while nobody lives."""
        found = self._own.looking().execute(sql)
        return found.fetchall() if found.description is not None else []

    def close(self) -> None:
        """Let the server go."""
        self._own.cut()
