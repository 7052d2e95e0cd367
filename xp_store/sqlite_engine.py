"""SQLite: one file in WAL mode, or memory; the engine that needs nothing installed.

SQLite has one writer, so this process's writer thread is the only one that waits for
it. Notices reach the listeners of this process only.
"""

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

from sqlalchemy import MetaData
from sqlalchemy.dialects import sqlite as sqlite_dialect
from sqlalchemy.schema import CreateColumn, CreateIndex, CreateTable

from .connection import Connection, Dialect, Engine
from .database import Database, Durability, Job, Reader
from .errors import StoreError, StoreFullError, StoreVersionError

# Primary result codes that are the disk's fault.
_DISK = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY})
_DIALECT = sqlite_dialect.dialect()

# Raised when a table changes in a way that older code cannot read.
SCHEMA_VERSION = 2
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

    async def ensure(
        self,
        metadata: MetaData,
        extra_ddl: Sequence[str] = (),
        upgrade: Callable[[Connection], None] | None = None,
    ) -> None:
        def create(connection: Connection) -> None:
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
            connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
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


def _column_ddl(connection: Connection, metadata: MetaData) -> list[str]:
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
