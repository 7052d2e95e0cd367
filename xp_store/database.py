"""One SQLite file in WAL mode: one writer thread with group commit, a few reader threads.

Whatever waits when the writer comes round is committed together, so an fsync is
shared by all who wait for it. Each unit of work is atomic by itself: a unit that
raises is rolled back alone. What the units mean (tasks, packs, spans) is not
known here.
"""

import asyncio
import queue
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar

import anyio.to_thread
from sqlalchemy import MetaData
from sqlalchemy.dialects import sqlite as sqlite_dialect
from sqlalchemy.schema import CreateColumn, CreateIndex, CreateTable

from .errors import StoreError, StoreVersionError

T = TypeVar("T")
Durability = Literal["process", "full"]
Unit = Callable[[sqlite3.Connection], Any]
_DIALECT = sqlite_dialect.dialect()

# Raised when a table changes in a way that older code cannot read.
SCHEMA_VERSION = 2
_MAX_BATCH = 512
_PATIENCE_MS = 10_000
_LOG_PATIENCE_MS = 2_000
_READERS = 2
_SQLITE_URL = "sqlite:///"


class _Job:
    __slots__ = ("alone", "error", "future", "loop", "result", "then", "unit")

    def __init__(
        self,
        unit: Unit,
        loop: asyncio.AbstractEventLoop,
        then: Callable[[], None] | None = None,
        *,
        alone: bool = False,
    ) -> None:
        self.unit = unit
        # Outside of any transaction, and so by itself.
        self.alone = alone
        self.then = then
        self.loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()
        self.result: Any = None
        self.error: BaseException | None = None

    def settle(self) -> None:
        if self.then is not None and self.error is None:
            try:
                self.then()
            except Exception as error:  # noqa: BLE001 - kept for the waiting caller
                # Told to who waits for the write, which is durable all the same.
                self.error = error
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


def _settle_all(jobs: Sequence[_Job]) -> None:
    for job in jobs:
        job.settle()


def _announce(jobs: Sequence[_Job]) -> None:
    by_loop: dict[asyncio.AbstractEventLoop, list[_Job]] = {}
    for job in jobs:
        by_loop.setdefault(job.loop, []).append(job)
    for loop, mine in by_loop.items():
        try:
            loop.call_soon_threadsafe(_settle_all, mine)
        except RuntimeError:
            # The loop was closed while its work was on the way; nobody waits any more.
            continue


class Database:
    """A store shared by the journal, the packs and the spans of one network.

    Open it with `open_database`. Units run on the database's own threads and
    must not touch the event loop.
    """

    def __init__(self, path: str, durability: Durability) -> None:
        self.path = path
        self.durability = durability
        self.batches = 0
        self.units = 0
        # Told the size of every group commit, on the writer's thread.
        self.on_batch: Callable[[int], None] | None = None
        self._writes: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._reads: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._closed = False

    @property
    def in_memory(self) -> bool:
        return self.path == ":memory:"

    async def transact(
        self, unit: Callable[[sqlite3.Connection], T], then: Callable[[], None] | None = None
    ) -> T:
        """Run `unit` in the next commit and return its result once that is durable.

        Cancelling gives up the answer, not the write. then: called on the event
        loop once the write is durable, in the order of the commits, also when the
        answer was given up.

        Raises:
            StoreError: The database refused (disk full, corrupt, locked for too long).
        """
        result: T = await self._put(self._writes, unit, then)
        return result

    async def read(self, unit: Callable[[sqlite3.Connection], T]) -> T:
        """Run `unit` on a reading connection; it sees every commit that was acknowledged."""
        result: T = await self._put(self._writes if self.in_memory else self._reads, unit)
        return result

    async def ensure(
        self,
        metadata: MetaData,
        extra_ddl: Sequence[str] = (),
        upgrade: Callable[[sqlite3.Connection], None] | None = None,
    ) -> None:
        """Create what is missing of a SQLAlchemy `MetaData`'s tables, columns and indexes.

        A column that is added later has a default in SQL, so that older code still
        writes. upgrade: run after that and before indexes and `extra_ddl`, in the
        same commit.
        """

        def create(connection: sqlite3.Connection) -> None:
            for statement in _table_ddl(metadata):
                connection.execute(statement)
            for statement in _column_ddl(connection, metadata):
                connection.execute(statement)
            if upgrade is not None:
                upgrade(connection)
            for statement in (*_index_ddl(metadata), *extra_ddl):
                connection.execute(statement)

        await self.transact(create)

    async def compact(self, before: Sequence[str] = ()) -> None:
        """Rewrite the file without what was deleted, and empty the write-ahead log.

        before: statements that need no transaction, such as an FTS5 `optimize`.

        Raises:
            StoreError: The database refused, for example since another process reads it.
        """

        def rewrite(connection: sqlite3.Connection) -> None:
            for statement in before:
                connection.execute(statement)
            if self.in_memory:
                connection.execute("VACUUM")
                return
            connection.execute(f"PRAGMA busy_timeout={_LOG_PATIENCE_MS}")
            try:
                _truncate_log(connection, self.path)
                connection.execute("VACUUM")
                _truncate_log(connection, self.path)
            finally:
                connection.execute(f"PRAGMA busy_timeout={_PATIENCE_MS}")

        await self._put(self._writes, rewrite, alone=True)

    async def _put(
        self,
        where: "queue.SimpleQueue[_Job | None]",
        unit: Unit,
        then: Callable[[], None] | None = None,
        *,
        alone: bool = False,
    ) -> Any:
        if self._closed:
            raise StoreError(
                f"the store {self.path} is closed; nothing was written", path=self.path
            )
        job = _Job(unit, asyncio.get_running_loop(), then, alone=alone)
        where.put(job)
        return await job.future

    # -- threads -----------------------------------------------------------

    def _open(self) -> None:
        try:
            connection = self._plain()
        except sqlite3.Error as error:
            raise _unusable(self.path, error) from error
        try:
            self._prepare(connection)
            # Read first: the journal mode is kept in the file, and a newer file is not ours.
            found = connection.execute("PRAGMA user_version").fetchone()[0]
            if found > SCHEMA_VERSION:
                raise StoreVersionError(
                    f"{self.path} was written by a newer version (schema {found}; this version"
                    f" reads up to {SCHEMA_VERSION}): upgrade repertory, or name another store",
                    path=self.path,
                    found=found,
                    known=SCHEMA_VERSION,
                )
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
        except sqlite3.DatabaseError as error:
            connection.close()
            raise _unusable(self.path, error) from error
        except StoreError:
            connection.close()
            raise
        writer = threading.Thread(
            target=self._write_loop, args=(connection,), name="repertory-writer", daemon=True
        )
        self._threads.append(writer)
        if not self.in_memory:
            for number in range(_READERS):
                self._threads.append(
                    threading.Thread(
                        target=self._read_loop, name=f"repertory-reader-{number}", daemon=True
                    )
                )
        for thread in self._threads:
            thread.start()

    def _plain(self) -> sqlite3.Connection:
        return sqlite3.connect(
            self.path, isolation_level=None, check_same_thread=False, cached_statements=256
        )

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.execute(f"PRAGMA busy_timeout={_PATIENCE_MS}")
        connection.execute(
            f"PRAGMA synchronous={'FULL' if self.durability == 'full' else 'NORMAL'}"
        )
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA secure_delete=ON")
        connection.execute("PRAGMA temp_store=MEMORY")

    def _write_loop(self, connection: sqlite3.Connection) -> None:
        stopping = False
        while not stopping:
            job = self._writes.get()
            jobs: list[_Job] = []
            rewrite: _Job | None = None
            while job is not None:
                if job.alone:
                    rewrite = job
                    break
                jobs.append(job)
                if len(jobs) >= _MAX_BATCH:
                    break
                try:
                    job = self._writes.get_nowait()
                except queue.Empty:
                    break
            stopping = job is None
            if jobs:
                self._commit(connection, jobs)
                _announce(jobs)
            if rewrite is not None:
                self._run_alone(connection, rewrite)
                _announce([rewrite])
        connection.close()

    def _commit(self, connection: sqlite3.Connection, jobs: Sequence[_Job]) -> None:
        try:
            connection.execute("BEGIN IMMEDIATE")
            for job in jobs:
                connection.execute("SAVEPOINT unit")
                try:
                    job.result = job.unit(connection)
                except Exception as error:
                    job.error = _translated(error, self.path)
                    if not connection.in_transaction:
                        # A full disk ends the whole transaction, and all units with it.
                        raise sqlite3.OperationalError(str(error)) from error
                    # Else one unit's failure is its caller's alone; the batch goes on without it.
                    connection.execute("ROLLBACK TO unit")
                connection.execute("RELEASE unit")
            connection.execute("COMMIT")
            self.batches += 1
            self.units += len(jobs)
            if self.on_batch is not None:
                self.on_batch(len(jobs))
        except sqlite3.Error as error:
            failure = _translated(error, self.path)
            for job in jobs:
                job.error = job.error or failure
            if connection.in_transaction:
                connection.execute("ROLLBACK")

    def _run_alone(self, connection: sqlite3.Connection, job: _Job) -> None:
        try:
            job.result = job.unit(connection)
        except Exception as error:  # noqa: BLE001 - kept for its caller
            job.error = _translated(error, self.path)

    def _read_loop(self) -> None:
        connection = self._plain()
        self._prepare(connection)
        connection.execute("PRAGMA query_only=ON")
        while (job := self._reads.get()) is not None:
            try:
                job.result = job.unit(connection)
            except Exception as error:  # noqa: BLE001 - kept for its caller
                job.error = _translated(error, self.path)
            _announce([job])
        connection.close()

    def _close(self) -> None:
        self._closed = True
        self._writes.put(None)
        for _ in range(len(self._threads) - 1):
            self._reads.put(None)
        for thread in self._threads:
            thread.join()


def _truncate_log(connection: sqlite3.Connection, path: str) -> None:
    # Readers of this process ask short questions; one of another process may not.
    if not connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
        return
    raise StoreError(
        f"the write-ahead log of {path} cannot be emptied while another process reads it:"
        " stop that process and try again",
        path=path,
    )


def _unusable(path: str, error: Exception) -> StoreError:
    return StoreError(
        f"{path} cannot be opened as a store ({error}): name another file, or move this one away",
        path=path,
    )


def _translated(error: BaseException, path: str) -> BaseException:
    """Our own words for SQLite's errors; everything else is the unit's and stays as it is."""
    if isinstance(error, sqlite3.OperationalError):
        return StoreError(f"the store {path} refused: {error}; nothing was written", path=path)
    return error


def _table_ddl(metadata: MetaData) -> list[str]:
    return [
        str(CreateTable(table, if_not_exists=True).compile(dialect=_DIALECT))
        for table in metadata.sorted_tables
    ]


def _index_ddl(metadata: MetaData) -> list[str]:
    return [
        str(CreateIndex(index, if_not_exists=True).compile(dialect=_DIALECT))
        for table in metadata.sorted_tables
        for index in sorted(table.indexes, key=lambda each: str(each.name))
    ]


def _column_ddl(connection: sqlite3.Connection, metadata: MetaData) -> list[str]:
    # What adds the columns that the tables of an older store lack.
    statements: list[str] = []
    for table in metadata.sorted_tables:
        held = {row[1] for row in connection.execute(f"PRAGMA table_info({table.name})")}
        statements += [
            f"ALTER TABLE {table.name} ADD COLUMN {CreateColumn(column).compile(dialect=_DIALECT)}"
            for column in table.columns
            if column.name not in held
        ]
    return statements


def sqlite_path(url: str) -> str:
    """The file that a `sqlite:///FILE` URL names.

    Raises:
        StoreError: The URL names another engine.
    """
    if not url.startswith(_SQLITE_URL):
        scheme = url.split(":", 1)[0]
        raise StoreError(
            f"store url {url.rsplit('@', maxsplit=1)[-1]!r}: engine {scheme!r} is not supported;"
            " use sqlite:///FILE",
            url=scheme,
        )
    return url[len(_SQLITE_URL) :]


@asynccontextmanager
async def open_database(url: str, durability: Durability = "process") -> AsyncIterator[Database]:
    """Open `sqlite:///FILE` (or `sqlite:///:memory:`), creating the file and its folder.

    durability: `process` survives the death of the process, `full` also the
    loss of power (an fsync for every group commit).

    Raises:
        StoreError: The file cannot be opened as a store.
        StoreVersionError: A newer version of Repertory wrote it.
    """
    path = sqlite_path(url)
    database = Database(path, durability)

    def begin() -> None:
        if path != ":memory:":
            try:
                Path(path).parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise _unusable(path, error) from error
        database._open()

    await anyio.to_thread.run_sync(begin)
    try:
        yield database
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(database._close)
