"""A process among those that share a journal: its number, how long it may act, and who else lives.

The number is the fencing token: every write for a task names it, and one that was
taken over meanwhile changes nothing. Over SQLite one process at a time runs agents,
and a lock on the store's file says who lives. On a server each process renews a lease
by the database's clock, so that no machine's own matters, and measures by its own
monotonic clock how long it may count on it. Which tasks it takes is `claims`'.
"""

import logging
import os
import socket
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from time import monotonic, time
from typing import Any, Final

import anyio
import anyio.to_thread
import orjson

from repertory.xp_store import Connection, Database, StoreError, owner_of_file, sqlite_path

_log = logging.getLogger(__name__)
WORK: Final = "work"
"""The channel that says: there is a task to be claimed, or an order to be carried out."""
LOGS: Final = "logs"
"""The channel that names tasks whose logs others may wait for."""
LEASE_SECONDS: Final = 10.0
# How many times a lease is renewed within its length.
_RENEWALS: Final = 3.0
_RETRY_SECONDS: Final = 0.5
# Seconds after which a process that vanished and holds nothing is no longer listed.
_FORGET_SECONDS: Final = 3600.0

NOW: Final = {
    "sqlite": "(julianday('now') - 2440587.5) * 86400.0",
    "postgresql": "extract(epoch from clock_timestamp())::float8",
}
"""The database's clock in seconds since the epoch, by engine."""
SHARED_ENGINES: Final = frozenset({"postgresql"})


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """A process that shares the journal, as another sees it.

    pools: whose agents it runs; none when it only serves. lease: seconds left of its
    lease by the database's clock, below 0 when it lapsed, None where a lock says who
    lives. tasks: how many it works on or keeps for a person's answer.
    """

    number: int
    host: str
    pid: int
    pools: tuple[str, ...]
    started_at: float
    lease: float | None
    draining: bool
    tasks: int

    @property
    def lives(self) -> bool:
        """Whether it counts as alive."""
        if self.lease is not None:
            return self.lease > 0
        return self.host == socket.gethostname() and runs(self.pid)


def runs(pid: int) -> bool:
    """Whether a process of this machine is there."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class Lease:
    """This process's place among those that share `database`; `begin` before use, `end` after.

    pools: whose agents it runs. shared: whether others run agents over the same store
    at the same time; else whoever opened it holds the lock of its file. seconds: how
    long after a kill its tasks are left alone. clock: monotonic seconds.
    """

    def __init__(
        self,
        database: Database,
        *,
        pools: Collection[str] = (),
        shared: bool | None = None,
        seconds: float = LEASE_SECONDS,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.number = 0
        # How often it was renewed too late, so that tasks may be another's by now.
        self.lapses = 0
        self.pools = tuple(pools)
        engine = database.dialect.engine
        self.shared = engine in SHARED_ENGINES if shared is None else shared
        self.seconds = seconds
        self.now = NOW[engine]
        self.locks = engine in SHARED_ENGINES
        self._database = database
        self._clock = clock
        self._until = 0.0
        self._draining = False
        self._renewed = anyio.Event()

    @property
    def valid(self) -> bool:
        """Whether this process may act, as far as its own clock can tell."""
        return not self.shared or self._clock() < self._until

    async def wait_valid(self) -> None:
        """Wait until the lease is renewed; at once while it holds."""
        while not self.valid:
            await self._renewed.wait()

    async def begin(self) -> None:
        """Take a number and, where it is needed, a first lease."""
        began = self._clock()
        until = f"{self.now} + ?" if self.shared else "?"
        values = (
            socket.gethostname(),
            os.getpid(),
            orjson.dumps(self.pools).decode(),
            time(),
            self.seconds if self.shared else 0.0,
        )

        def unit(connection: Connection) -> int:
            if not self.shared:
                _bury(connection, alone=bool(self.pools))
            row = connection.execute(
                "INSERT INTO process (host, pid, pools, started_at, lease_until, draining)"
                f" VALUES (?, ?, ?, ?, {until}, 0) RETURNING number",
                values,
            ).fetchone()
            return int(row[0])

        self.number = await self._database.transact(unit)
        self._until = began + self.seconds

    async def run(self) -> None:
        """Renew the lease until cancelled; a database that is away is asked again."""
        if not self.shared:
            return
        while True:
            pause = self.seconds / _RENEWALS if self.valid else _RETRY_SECONDS
            await anyio.sleep(pause)
            try:
                await self.renew()
            except StoreError as error:
                _log.warning("the lease could not be renewed: %s", error)

    async def renew(self) -> None:
        """Hold the lease for its whole length again.

        A lapsed one holds again too: what others took meanwhile is theirs by the tasks'
        own rows. A process that was forgotten comes back under its number.
        """
        began = self._clock()

        def unit(connection: Connection) -> None:
            held = connection.execute(
                f"UPDATE process SET lease_until={self.now} + ? WHERE number=?",
                (self.seconds, self.number),
            ).rowcount
            if not held:
                connection.execute(
                    "INSERT INTO process (number, host, pid, pools, started_at, lease_until,"
                    f" draining) VALUES (?, ?, ?, ?, ?, {self.now} + ?, ?)",
                    (
                        self.number,
                        socket.gethostname(),
                        os.getpid(),
                        orjson.dumps(self.pools).decode(),
                        time(),
                        self.seconds,
                        int(self._draining),
                    ),
                )
            connection.execute(
                f"DELETE FROM process WHERE lease_until < {self.now} - ? AND lease_until > 0"
                " AND NOT EXISTS (SELECT 1 FROM task WHERE ended=0 AND owner=process.number)",
                (_FORGET_SECONDS,),
            )

        await self._database.transact(unit)
        self.lapses += not self.valid
        self._until = began + self.seconds
        self._renewed.set()
        self._renewed = anyio.Event()

    async def drain(self) -> None:
        """Say that this process takes no more work."""
        self._draining = True
        await self._database.transact(
            lambda connection: connection.execute(
                "UPDATE process SET draining=1 WHERE number=?", (self.number,)
            )
        )

    async def end(self) -> None:
        """Leave what has not ended to the others, at once, and the number with it."""
        mine = (self.number,)

        def unit(connection: Connection) -> None:
            connection.execute("UPDATE task SET owner=0 WHERE ended=0 AND owner=?", mine)
            connection.execute("DELETE FROM process WHERE number=?", mine)
            connection.notify(WORK)

        await self._database.transact(unit)


def _bury(connection: Connection, *, alone: bool) -> None:
    """Strike processes of this machine that are gone; alone: this one holds the file's lock."""
    query = "SELECT number, pid, pools FROM process WHERE lease_until=0"
    gone = [
        (number,)
        for number, pid, pools in connection.execute(query).fetchall()
        if (alone and pools != "[]") or not runs(pid)
    ]
    connection.executemany("DELETE FROM process WHERE number=?", gone)


def owner_of(url: str) -> int | None:
    """The pid of the process that owns a journal in a file now, or None; blocking."""
    return owner_of_file(sqlite_path(url))


async def runners(database: Database) -> list[ProcessInfo]:
    """The living processes that run agents over this store."""
    found = [each for each in await processes_of(database) if each.lives and each.pools]
    if database.file is None:
        return found
    # The lock of the file knows better than the number of a process, which may be another's.
    pid = await anyio.to_thread.run_sync(owner_of, f"sqlite:///{database.file}")
    return [each for each in found if each.pid == pid]


async def processes_of(database: Database) -> list[ProcessInfo]:
    """The processes that share a journal, the oldest first, also those whose lease lapsed."""
    tasks = "(SELECT count(*) FROM task WHERE ended=0 AND owner=process.number)"
    query = (
        "SELECT number, host, pid, pools, started_at, lease_until,"
        f" {NOW[database.dialect.engine]}, draining,"
        f" {tasks} FROM process ORDER BY number"
    )

    def unit(connection: Connection) -> list[ProcessInfo]:
        return [_info(row) for row in connection.execute(query).fetchall()]

    return await database.read(unit)


def _info(row: Sequence[Any]) -> ProcessInfo:
    number, host, pid, pools, started_at, until, now, draining, tasks = row
    return ProcessInfo(
        number,
        host,
        pid,
        tuple(orjson.loads(pools)),
        started_at,
        until - now if until else None,
        bool(draining),
        tasks,
    )
