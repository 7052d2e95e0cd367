"""SQLite: one file in WAL mode, or memory; the engine that needs nothing installed.

SQLite has one writer, so this process's writer thread is the only one that waits for
it. Notices reach the listeners of this process only.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import anyio.to_thread

from .connection import Connection, Dialect, Engine
from .database import Database, Durability, Job, Reader
from .errors import StoreError, StoreFullError, StoreOwnedError, StoreVersionError
from .ownership import own_file
from .schema import Schema, bring_up, load_alembic

# Primary result codes that are the disk's fault.
_DISK = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY})

# From 3 on a room's own table says which revision it has; what went before 3 reads only these
# numbers, and so refuses such a store.
SCHEMA_VERSION = 3
_PATIENCE_MS = 10_000
_LOG_PATIENCE_MS = 2_000
MEMORY = ":memory:"


class SqliteSql:
    """What is SQLite's own."""

    engine: Engine = "sqlite"

    def holds(self, column: str, mark: str = "?") -> str:
        return f"instr({column}, {mark}) > 0"

    def joined(self, column: str) -> str:
        return f"group_concat({column})"

    def unindexed(self, where: str) -> str:
        # A sign keeps it off the filter's index; it would walk a whole tenant for a few packs.
        return where.replace("p.", "+p.")

    def json_text(self, column: str, name: str) -> str:
        return f"json_extract({column}, '$.{name}')"

    def has_table(self, connection: Connection, name: str) -> bool:
        found = connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (name,))
        return found.fetchone() is not None


class SqliteConnection(sqlite3.Connection):
    """Python's connection, with what units need beside it."""

    dialect: Dialect = SqliteSql()
    notes: list[tuple[str, str]]

    def hold(self, name: str) -> None:
        """Nothing to do: a unit that writes is alone in any case."""

    def try_hold(self, name: str) -> bool:
        """A unit that writes is alone in any case."""
        return True

    def notify(self, channel: str, payload: str = "") -> None:
        """Tell this process's listeners, with the commit."""
        self.notes.append((channel, payload))

    def later(self, check: Callable[[], None]) -> None:
        """Nothing is on its way here, so look at once."""
        check()


def connect(path: str) -> SqliteConnection:
    """A plain connection on which units can be run."""
    connection = sqlite3.connect(
        path,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
        factory=SqliteConnection,
    )
    connection.notes = []
    return connection


class SqliteDatabase(Database):
    """A file, or memory, in which case reading is the writer's too."""

    def __init__(self, path: str, durability: Durability) -> None:
        super().__init__(path, durability, None if path == MEMORY else Path(path))
        self.readers = 2 if self.file else 0

    @property
    def dialect(self) -> Dialect:
        return SqliteConnection.dialect

    @property
    def key_base(self) -> str:
        return self.name

    async def _upgrade(self, schema: Schema) -> None:
        await anyio.to_thread.run_sync(load_alembic)
        await self.alone(lambda connection: upgrade_file(connection, schema, self.name))

    async def compact(self, before: Sequence[str] = ()) -> None:
        def rewrite(connection: Connection) -> None:
            for statement in before:
                connection.execute(statement)
            if self.file is None:
                connection.execute("VACUUM")
                return
            connection.execute(f"PRAGMA busy_timeout={_LOG_PATIENCE_MS}")
            try:
                _truncate_log(connection, self.name)
                connection.execute("VACUUM")
                _truncate_log(connection, self.name)
            finally:
                connection.execute(f"PRAGMA busy_timeout={_PATIENCE_MS}")

        await self.alone(rewrite)

    # -- threads -----------------------------------------------------------

    def _connect(self) -> None:
        try:
            if self.file is not None:
                self.file.parent.mkdir(parents=True, exist_ok=True)
            connection = connect(self.name)
        except (OSError, sqlite3.Error) as error:
            raise _unusable(self.name, error) from error
        try:
            self._prepare(connection)
            # Read first: the journal mode is kept in the file, and a newer file is not ours.
            found = connection.execute("PRAGMA user_version").fetchone()[0]
            if found > SCHEMA_VERSION:
                raise StoreVersionError(
                    f"{self.name} was written by a newer version (schema {found}; this version"
                    f" reads up to {SCHEMA_VERSION}): upgrade repertory, or name another store",
                    path=self.name,
                    found=found,
                    known=SCHEMA_VERSION,
                )
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.DatabaseError as error:
            connection.close()
            raise _unusable(self.name, error) from error
        except StoreError:
            connection.close()
            raise
        self._connection = connection

    def _prepare(self, connection: SqliteConnection) -> None:
        connection.execute(f"PRAGMA busy_timeout={_PATIENCE_MS}")
        connection.execute(
            f"PRAGMA synchronous={'FULL' if self.durability == 'full' else 'NORMAL'}"
        )
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA secure_delete=ON")
        connection.execute("PRAGMA temp_store=MEMORY")

    def _commit(self, jobs: Sequence[Job]) -> None:
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            for job in jobs:
                told = len(connection.notes)
                connection.execute("SAVEPOINT unit")
                try:
                    job.result = job.unit(connection)
                except Exception as error:
                    job.error = translated(error, self.name)
                    del connection.notes[told:]
                    if not connection.in_transaction:
                        # A full disk ends the whole transaction, and all units with it.
                        raise sqlite3.OperationalError(str(error)) from error
                    # Else one unit's failure is its caller's alone; the batch goes on without it.
                    connection.execute("ROLLBACK TO unit")
                connection.execute("RELEASE unit")
            connection.execute("COMMIT")
            self._committed(jobs)
            if connection.notes:
                self._tell(connection.notes)
        except sqlite3.Error as error:
            failure = translated(error, self.name)
            for job in jobs:
                job.error = job.error or failure
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        finally:
            connection.notes.clear()

    def _run_alone(self, job: Job) -> None:
        try:
            job.result = job.unit(self._connection)
        except Exception as error:  # noqa: BLE001 - kept for its caller
            job.error = translated(error, self.name)

    def _disconnect(self) -> None:
        self._connection.close()

    def _reader(self) -> Reader:
        connection = connect(self.name)
        self._prepare(connection)
        connection.execute("PRAGMA query_only=ON")
        return _SqliteReader(connection, self.name)

    def _listen(self) -> None:
        """Nothing to begin: who commits in this process tells its listeners."""


class _SqliteReader(Reader):
    def __init__(self, connection: SqliteConnection, name: str) -> None:
        self._connection = connection
        self._name = name

    def run(self, job: Job) -> None:
        try:
            job.result = job.unit(self._connection)
        except Exception as error:  # noqa: BLE001 - kept for its caller
            job.error = translated(error, self._name)

    def close(self) -> None:
        self._connection.close()


def _truncate_log(connection: Connection, path: str) -> None:
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


def translated(error: BaseException, path: str) -> BaseException:
    """Our own words for SQLite's errors; everything else is the unit's and stays as it is."""
    if isinstance(error, sqlite3.Error):
        # What was raised again when the transaction had ended has its code in its cause.
        code: int = getattr(error, "sqlite_errorcode", 0) or getattr(
            error.__cause__, "sqlite_errorcode", 0
        )
        kind = StoreFullError if code & 0xFF in _DISK else StoreError
        return kind(f"the store {path} refused: {error}; nothing was written", path=path)
    return error


def upgrade_file(connection: Connection, schema: Schema, name: str) -> None:
    """Bring the tables behind a plain connection to their newest revision, or leave them; blocking.

    What is there already is changed for the owner of the file only, since an older
    version may be at work on it.
    """
    from sqlalchemy import create_engine
    from sqlalchemy.exc import DBAPIError
    from sqlalchemy.pool import StaticPool

    with ExitStack() as stack:

        def allow(found: str) -> None:
            if found and name != MEMORY:
                stack.enter_context(_owning(name, found, schema))

        engine = create_engine("sqlite://", creator=lambda: connection, poolclass=StaticPool)
        try:
            with engine.connect() as sql:
                connection.execute("BEGIN IMMEDIATE")
                # To SQLAlchemy the driver has begun by itself; what ends it is real.
                with sql.begin():
                    bring_up(sql, schema, name, allow)
                    sql.exec_driver_sql(f"PRAGMA user_version={SCHEMA_VERSION}")
        except DBAPIError as error:
            raise translated(error.orig or error, name) from error


@contextmanager
def _owning(path: str, found: str, schema: Schema) -> Iterator[None]:
    try:
        file = own_file(path)
    except StoreOwnedError as error:
        if error.facts["pid"] == str(os.getpid()):
            yield
            return
        raise StoreOwnedError(
            f"{path} has revision {found} of its {schema.name} and this version needs"
            f" {schema.head}, but process {error.facts['pid']} works on it: stop that process,"
            " and start it again with this version, which upgrades the store",
            **error.facts,
        ) from None
    with file:
        yield
