"""PostgreSQL: the engine for many processes and machines, through psycopg.

The writer commits in groups like SQLite's. The statements of a batch are sent as a
pipeline: a unit waits for the server only where it looks at an answer. A batch in
which a unit fails is run again without the pipeline and with a savepoint for each
unit; one that meets a deadlock is run again unit by unit; one whose connection broke
is run again on a new one, unless the server says that it was committed, which it knows
from a row that every batch moves on. Nothing here waits for a server for longer than
`_PATIENCE_SECONDS`.
"""

import json
import os
import select
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from secrets import token_hex
from time import monotonic, sleep, time
from typing import TYPE_CHECKING, Any

import anyio.to_thread

from .connection import Connection, Cursor, Dialect, Engine
from .database import Database, Durability, Job, Reader
from .errors import StoreAwayError, StoreError, StoreFullError
from .schema import Schema, bring_up, load_alembic

if TYPE_CHECKING:
    import psycopg

CHANNEL = "repertory"
_OLDEST = 140_000
_PATIENCE_SECONDS = 10.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0
_OLD_WRITER_SECONDS = 86_400.0
_UPGRADE_PATIENCE = "60s"
_DEFAULTS = {
    "connect_timeout": "10",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
}
_SESSION = (
    "SET client_encoding = 'UTF8'",
    "SET lock_timeout = '10s'",
    "SET idle_in_transaction_session_timeout = '60s'",
    "SET client_min_messages = 'error'",
)
_HAS_TABLE = (
    "SELECT to_regclass(quote_ident(current_schema()) || '.' || quote_ident(?)) IS NOT NULL"
)
# An advisory lock of this store: of its schema, under a name.
_LOCK = "hashtextextended('repertory ' || current_schema() || ' ' || ?::text, 0)"
_WRITERS = (
    'CREATE TABLE IF NOT EXISTS repertory_writer (id TEXT COLLATE "C" PRIMARY KEY,'
    " batch BIGINT NOT NULL, at DOUBLE PRECISION NOT NULL) WITH (fillfactor = 50)"
)


_MARK = b"UPDATE repertory_writer SET batch = $1, at = $2 WHERE id = $3"


class PostgresSql:
    """What is PostgreSQL's own."""

    engine: Engine = "postgresql"

    def holds(self, column: str, mark: str = "?") -> str:
        return f"strpos({column}, {mark}) > 0"

    def joined(self, column: str) -> str:
        return f"string_agg({column}::text, ',')"

    def unindexed(self, where: str) -> str:
        return where

    def json_text(self, column: str, name: str) -> str:
        return f"({column}::json ->> '{name}')"

    def has_table(self, connection: Connection, name: str) -> bool:
        # Not what another program keeps further down the search path.
        found = connection.execute(_HAS_TABLE, (name,)).fetchone()
        return bool(found[0])


class _SentCursor:
    """A statement that is on its way in a pipeline, and waited for when its answer is looked at."""

    def __init__(self, raw: "psycopg.Cursor[Any]", pipeline: "psycopg.Pipeline") -> None:
        self._raw = raw
        self._pipeline = pipeline
        self._arrived = False

    def _answered(self) -> "psycopg.Cursor[Any]":
        if not self._arrived:
            if self._raw.pgresult is None:
                self._pipeline.sync()
            self._arrived = True
        return self._raw

    @property
    def rowcount(self) -> int:
        return self._answered().rowcount

    @property
    def description(self) -> Any:
        return self._answered().description

    def fetchone(self) -> Any:
        return self._answered().fetchone()

    def fetchall(self) -> list[Any]:
        return self._answered().fetchall()

    def __iter__(self) -> Iterator[Any]:
        return iter(self._answered())


class PostgresConnection:
    """A psycopg connection as units see it; pipeline: the one that their statements go through."""

    dialect: Dialect = PostgresSql()

    def __init__(
        self, raw: "psycopg.Connection[Any]", pipeline: "psycopg.Pipeline | None" = None
    ) -> None:
        self.raw = raw
        self.notes: list[str] = []
        self._pipeline = pipeline
        self._checks: list[Callable[[], None]] = []

    def execute(self, sql: str, values: Sequence[Any] = (), /) -> Cursor:
        cursor = self.raw.execute(translated_marks(sql), values or None)
        return cursor if self._pipeline is None else _SentCursor(cursor, self._pipeline)

    def executemany(self, sql: str, rows: Iterable[Sequence[Any]], /) -> Cursor:
        cursor = self.raw.cursor()
        cursor.executemany(translated_marks(sql), rows)
        return cursor if self._pipeline is None else _SentCursor(cursor, self._pipeline)

    def hold(self, name: str) -> None:
        self.execute(f"SELECT pg_advisory_xact_lock({_LOCK})", (name,))

    def try_hold(self, name: str) -> bool:
        taken = self.execute(f"SELECT pg_try_advisory_xact_lock({_LOCK})", (name,))
        return bool(taken.fetchone()[0])

    def notify(self, channel: str, payload: str = "") -> None:
        """Wake, with the commit, whoever listens."""
        self.notes.append(json.dumps([channel, payload]))

    def later(self, check: Callable[[], None]) -> None:
        """Look when the pipeline is waited for, if there is one."""
        if self._pipeline is None:
            check()
        else:
            self._checks.append(check)

    def look(self) -> None:
        """Wait for what was sent, and look at it."""
        if self._checks:
            assert self._pipeline is not None, "else it was looked at before"
            self._pipeline.sync()
        for check in self._checks:
            check()

    def send_notes(self) -> None:
        """Give the server what is to be told with the commit, by one statement."""
        if self.notes:
            notes = json.dumps(list(dict.fromkeys(self.notes)))
            self.execute(
                f"SELECT count(pg_notify('{CHANNEL}', note))"
                " FROM json_array_elements_text(?::json) AS note",
                (notes,),
            )


@lru_cache(maxsize=2048)
def translated_marks(sql: str) -> bytes:
    """`?` and `?2` as PostgreSQL's `$1` and `$2`; what stands in quotes stays."""
    # A list of nothing, which SQLite can be asked for.
    sql = sql.replace(" NOT IN ()", " <> ALL('{}')").replace(" IN ()", " = ANY('{}')")
    parts: list[str] = []
    number = 0
    place = 0
    while place < len(sql):
        letter = sql[place]
        if letter in "'\"":
            end = sql.find(letter, place + 1)
            end = len(sql) if end < 0 else end + 1
            parts.append(sql[place:end])
            place = end
            continue
        place += 1
        if letter != "?":
            parts.append(letter)
            continue
        digits = place
        while place < len(sql) and sql[place].isdigit():
            place += 1
        number = int(sql[digits:place]) if place > digits else number + 1
        parts.append(f"${number}")
    return "".join(parts).encode()


def _driver() -> Any:
    try:
        import psycopg
    except ImportError as error:
        raise StoreError(
            "a PostgreSQL store needs the driver psycopg: pip install 'repertory[postgres]'"
        ) from error
    return psycopg


def plain_connection(conninfo: str, name: str) -> "psycopg.Connection[Any]":
    """Connect to the server, or say in one sentence why not; blocking.

    Raises:
        StoreError: The driver is not installed, the URL is none, the server cannot be
            reached or refuses, or it is too old.
    """
    psycopg = _driver()
    try:
        given = psycopg.conninfo.conninfo_to_dict(conninfo)
    except psycopg.Error:
        # libpq's own words would show the URL, and with it a password.
        raise StoreError(
            f"the store {name} cannot be opened: the URL is none that PostgreSQL reads;"
            " use postgresql://USER@HOST:PORT/DATABASE",
            path=name,
        ) from None
    options = {**_DEFAULTS, **given}
    options.setdefault("application_name", f"repertory {os.getpid()}")
    try:
        raw = psycopg.Connection.connect(
            **options, autocommit=True, cursor_factory=psycopg.RawCursor
        )
    except psycopg.Error as error:
        raise _unreachable(error, name) from None
    try:
        _check(raw, name)
        _adapt(raw)
        for statement in _SESSION:
            raw.execute(statement)
    except psycopg.Error as error:
        raw.close()
        raise _unreachable(error, name) from None
    except StoreError:
        raw.close()
        raise
    # Nearly all statements come again, so they are prepared at once.
    raw.prepare_threshold = 1
    raw.prepared_max = 256
    return raw  # type: ignore[no-any-return]  # psycopg is imported late


def _check(raw: "psycopg.Connection[Any]", name: str) -> None:
    version = raw.info.server_version
    if version < _OLDEST:
        raise StoreError(
            f"the store {name} is PostgreSQL {version // 10_000}; {_OLDEST // 10_000} or newer is"
            " needed",
            path=name,
        )
    encoding = raw.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise StoreError(
            f"the database {name} keeps its texts as {encoding}; make one with"
            " CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0",
            path=name,
        )


def _adapt(raw: "psycopg.Connection[Any]") -> None:
    """Send values as SQLite keeps them: numbers of one width, booleans as numbers."""
    from psycopg.types.numeric import Int8Dumper, NumericLoader
    from psycopg.types.string import StrDumperUnknown

    class Number(Int8Dumper):
        def dump(self, obj: Any) -> Any:
            return str(int(obj)).encode()

    class Sum(NumericLoader):
        def load(self, data: Any) -> Any:
            # Sums of whole numbers are exact and whole, as SQLite's are.
            found = super().load(data)
            return int(found) if found == found.to_integral_value() else float(found)

    class Text(StrDumperUnknown):
        def dump(self, obj: str) -> Any:
            # The one character that PostgreSQL's texts cannot hold.
            return super().dump(obj.replace("\0", "\ufffd") if "\0" in obj else obj)

    raw.adapters.register_dumper(int, Number)
    raw.adapters.register_dumper(bool, Number)
    raw.adapters.register_dumper(str, Text)
    raw.adapters.register_loader("numeric", Sum)


def _unreachable(error: Exception, name: str) -> StoreError:
    told = " ".join(str(error).split())
    return StoreAwayError(
        f"the store {name} cannot be opened ({told}): start the server, or correct the URL; a"
        " password may stand in PGPASSWORD or in the file that PGPASSFILE names",
        path=name,
    )


class _LostError(Exception):
    """The connection broke; whether the batch was committed is in `sent`."""

    def __init__(self, error: BaseException, *, sent: bool) -> None:
        super().__init__(str(error))
        self.sent = sent


class _AgainError(Exception):
    """Two transactions stood in each other's way, and this one gave way."""


class PostgresDatabase(Database):
    """A database of a server, shared with other processes."""

    readers = 3

    def __init__(self, conninfo: str, name: str, durability: Durability) -> None:
        super().__init__(name, durability)
        self._conninfo = conninfo
        self._psycopg = _driver()
        self._raw: psycopg.Connection[Any] | None = None
        self._writer = token_hex(8)
        self._batch = 0
        # Whether a commit was sent whose answer has not come.
        self._sent = False
        self._ear: _Ear | None = None

    @property
    def dialect(self) -> Dialect:
        return PostgresConnection.dialect

    @property
    def key_base(self) -> str:
        state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
        folder = Path(state) / "repertory"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return str(folder / sha256(self.name.encode()).hexdigest()[:16])

    async def _upgrade(self, schema: Schema) -> None:
        await anyio.to_thread.run_sync(upgrade_server, self._conninfo, self.name, schema)

    async def compact(self, before: Sequence[str] = ()) -> None:
        def rewrite(connection: Connection) -> None:
            tables = connection.execute(
                "SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = current_schema()"
                " AND tableowner = current_user ORDER BY 1"
            ).fetchall()
            for (table,) in tables:
                connection.execute(f"VACUUM (FULL, ANALYZE) {table}")

        await self.alone(rewrite)

    # -- threads -----------------------------------------------------------

    def _connect(self) -> None:
        raw = self._raw = plain_connection(self._conninfo, self.name)
        local = "local" if self.durability == "process" else "on"
        try:
            if raw.execute("SHOW synchronous_commit").fetchone() != (local,):
                kept = raw.execute("SHOW synchronous_commit").fetchone()
                if local == "local" or kept in (("off",), ("local",)):
                    raw.execute(f"SET synchronous_commit = {local}".encode())
            _make_writers(raw)
            raw.execute(
                "DELETE FROM repertory_writer WHERE at < $1", (time() - _OLD_WRITER_SECONDS,)
            )
            raw.execute(
                "INSERT INTO repertory_writer VALUES ($1, $2, $3)"
                " ON CONFLICT (id) DO UPDATE SET at = excluded.at",
                (self._writer, self._batch, time()),
            )
        except self._psycopg.Error as error:
            self._drop()
            raise self._refused(error) from None

    def _commit(self, jobs: Sequence[Job]) -> None:
        self._batch += 1
        until = monotonic() + _PATIENCE_SECONDS
        pause = _FIRST_PAUSE
        while True:
            try:
                self._attempt(jobs)
                break
            except _AgainError as error:
                if monotonic() > until:
                    return self._fail(jobs, self._refused(error))
                if len(jobs) > 1:
                    # By themselves they cannot stand in each other's way.
                    for job in jobs:
                        self._commit([job])
                    return None
            except _LostError as lost:
                failure = self._refused(lost)
                committed = self._was_committed(until) if lost.sent else False
                if committed is None:
                    return self._fail(jobs, self._unknown(lost))
                if committed:
                    break
                if monotonic() > until:
                    return self._fail(jobs, failure)
            except StoreError as error:
                # No server, or one that refuses: it may be starting again.
                if monotonic() > until:
                    return self._fail(jobs, error)
            sleep(pause)
            pause = min(_LONGEST_PAUSE, 2 * pause)
        return self._committed(jobs)

    def _attempt(self, jobs: Sequence[Job]) -> None:
        raw = self._connected()
        self._sent = False
        try:
            if not self._together(raw, jobs):
                self._one_by_one(raw, jobs)
        except self._psycopg.Error as error:
            if raw.broken or raw.closed:
                self._drop()
                raise _LostError(error, sent=self._sent) from error
            with suppress(self._psycopg.Error):
                raw.execute(b"ROLLBACK")
            if self._gave_way(error):
                raise _AgainError(str(error)) from error
            self._fail(jobs, self._refused(error))

    def _begin(self, raw: "psycopg.Connection[Any]") -> None:
        raw.execute(b"BEGIN")
        # The row's number tells afterwards whether the commit was made.
        raw.execute(_MARK, (self._batch, time(), self._writer))

    def _together(self, raw: "psycopg.Connection[Any]", jobs: Sequence[Job]) -> bool:
        """Commit the units as one, if none of them fails; else nothing is done."""
        try:
            with raw.pipeline() as pipeline:
                connection = PostgresConnection(raw, pipeline)
                self._begin(raw)
                for job in jobs:
                    job.error = None
                    job.result = job.unit(connection)
                connection.look()
                connection.send_notes()
                self._sent = True
                # The server skips it when anything before it failed.
                raw.execute(b"COMMIT")
        except Exception as error:
            own = isinstance(error, self._psycopg.Error)
            if own and (raw.broken or raw.closed or self._gave_way(error)):
                raise
            # Whose failure it is shows when each is by itself.
            self._sent = False
            raw.execute(b"ROLLBACK")
            return False
        return True

    def _one_by_one(self, raw: "psycopg.Connection[Any]", jobs: Sequence[Job]) -> None:
        """Commit the units that do not fail, and know which did."""
        connection = PostgresConnection(raw)
        self._begin(raw)
        raw.execute(b"SAVEPOINT unit")
        for number, job in enumerate(jobs):
            if number:
                raw.execute(b"RELEASE unit; SAVEPOINT unit")
            self._run(connection, job)
        connection.send_notes()
        self._sent = True
        raw.execute(b"COMMIT")

    def _run(self, connection: PostgresConnection, job: Job) -> None:
        job.error = job.result = None
        told = len(connection.notes)
        try:
            job.result = job.unit(connection)
        except Exception as error:
            if isinstance(error, self._psycopg.Error) and (
                connection.raw.broken or connection.raw.closed or self._gave_way(error)
            ):
                raise
            job.error = self._refused(error) if self._is_own(error) else error
            del connection.notes[told:]
            connection.raw.execute(b"ROLLBACK TO unit")

    def _is_own(self, error: BaseException) -> bool:
        return isinstance(error, self._psycopg.Error)

    def _gave_way(self, error: BaseException) -> bool:
        errors = self._psycopg.errors
        return isinstance(error, (errors.DeadlockDetected, errors.SerializationFailure))

    def _fail(self, jobs: Sequence[Job], failure: BaseException) -> None:
        for job in jobs:
            job.error = job.error or failure

    def _was_committed(self, until: float) -> bool | None:
        """Whether the last batch's row stands; None when no server answers in time."""
        pause = _FIRST_PAUSE
        while monotonic() < until:
            try:
                raw = self._connected(keep=True)
                # Waits for a backend that still commits for a client that has gone.
                found = raw.execute(
                    "SELECT batch FROM repertory_writer WHERE id = $1 FOR UPDATE", (self._writer,)
                ).fetchone()
                return found is not None and int(found[0]) >= self._batch
            except self._psycopg.Error:
                self._drop()
            except StoreError:
                pass  # Asked again below, as long as there is time.
            sleep(pause)
            pause = min(_LONGEST_PAUSE, 2 * pause)
        return None

    def _connected(self, *, keep: bool = False) -> "psycopg.Connection[Any]":
        if self._raw is None or self._raw.closed:
            batch, self._batch = self._batch, self._batch - 1
            try:
                self._connect()
            finally:
                self._batch = batch
        assert self._raw is not None
        return self._raw

    def _drop(self) -> None:
        raw, self._raw = self._raw, None
        if raw is not None:
            raw.close()

    def _refused(self, error: BaseException) -> StoreError:
        return refused(error, self.name)

    def _unknown(self, error: BaseException) -> StoreError:
        told = " ".join(str(error).split())
        return StoreAwayError(
            f"the store {self.name} broke off at the commit ({told}) and does not answer since:"
            " whether it was written is unknown; the same message sent again is the same task",
            path=self.name,
        )

    def _run_alone(self, job: Job) -> None:
        try:
            raw = self._connected()
            raw.execute(b"SET lock_timeout = '60s'")
            try:
                connection = PostgresConnection(raw)
                job.result = job.unit(connection)
                connection.send_notes()
            finally:
                if raw.closed:
                    self._drop()
                else:
                    raw.execute(b"SET lock_timeout = '10s'")
        except Exception as error:  # noqa: BLE001 - kept for its caller
            job.error = self._refused(error) if self._is_own(error) else error

    def _disconnect(self) -> None:
        if self._ear is not None:
            self._ear.stop()
        if self._raw is not None and not self._raw.closed:
            with suppress(self._psycopg.Error):
                self._raw.execute("DELETE FROM repertory_writer WHERE id = $1", (self._writer,))
        self._drop()

    def _reader(self) -> Reader:
        return _PostgresReader(self._conninfo, self.name)

    def _listen(self) -> None:
        with self._listening:
            if self._ear is None:
                self._ear = _Ear(self._conninfo, self.name, self._tell, self._missed)
                self._ear.start()


def _not_the_owner(error: BaseException, name: str, schema: Schema) -> StoreError:
    told = refused(error, name).sentence.partition(";")[0]
    return StoreError(
        f"{told}: its {schema.name} must come to revision {schema.head}, which this role may not"
        " do; run repertory store upgrade as the role that owns the tables",
        path=name,
    )


def upgrade_server(conninfo: str, name: str, schema: Schema) -> None:
    """Bring a room's tables in a database to their newest revision, on a connection of its own.

    Whoever comes second waits for the first, and finds its work done; blocking.
    """
    load_alembic()
    from sqlalchemy.exc import DBAPIError

    from .postgres_types import open_sqlalchemy

    psycopg = _driver()
    raw = plain_connection(conninfo, name)
    raw.autocommit = False
    raw.cursor_factory = psycopg.Cursor
    with closing(raw):
        try:
            with open_sqlalchemy(raw) as sql, sql.begin():
                sql.exec_driver_sql(f"SET LOCAL lock_timeout = '{_UPGRADE_PATIENCE}'")
                sql.exec_driver_sql(
                    f"SELECT pg_advisory_xact_lock({_LOCK})".replace("?", "'schema'")
                )
                bring_up(sql, schema, name)
        except DBAPIError as error:
            cause = error.orig or error
            if isinstance(cause, psycopg.errors.InsufficientPrivilege):
                raise _not_the_owner(cause, name, schema) from error
            raise refused(cause, name) from error


def refused(error: BaseException, name: str) -> StoreError:
    """Our own words for the server's error; values and URLs stay out of it."""
    diagnosis = getattr(error, "diag", None)
    told = getattr(diagnosis, "message_primary", None) or " ".join(str(error).split())
    state = getattr(error, "sqlstate", "") or ""
    kind = StoreError
    if state in ("53100", "58030"):
        # Class 53, insufficient resources: 53100 is a full disk; 58030 is an I/O error.
        kind = StoreFullError
    elif isinstance(error, _LostError) or state[:2] == "08" or state[:3] == "57P":
        # The connection broke, or the server is stopping or starting.
        kind = StoreAwayError
    return kind(f"the store {name} refused: {told}; nothing was written", path=name)


class _PostgresReader(Reader):
    """A connection that may only read; made when it is first needed, and again when it broke."""

    def __init__(self, conninfo: str, name: str) -> None:
        self._conninfo = conninfo
        self._name = name
        self._psycopg = _driver()
        self._raw: psycopg.Connection[Any] | None = None

    def run(self, job: Job) -> None:
        until = monotonic() + _PATIENCE_SECONDS
        pause = _FIRST_PAUSE
        while True:
            lost = self._try(job)
            if not lost:
                return
            if monotonic() > until:
                return
            sleep(pause)
            pause = min(_LONGEST_PAUSE, 2 * pause)

    def _try(self, job: Job) -> bool:
        """Run the unit; whether the connection was lost on the way."""
        job.error = job.result = None
        try:
            if self._raw is None:
                self._raw = plain_connection(self._conninfo, self._name)
                self._raw.execute(b"SET default_transaction_read_only = on")
            job.result = job.unit(PostgresConnection(self._raw))
        except self._psycopg.Error as error:
            job.error = refused(error, self._name)
            if self._raw is not None and (self._raw.broken or self._raw.closed):
                self.close()
                return True
        except StoreError as error:
            job.error = error
            return self._raw is None
        except Exception as error:  # noqa: BLE001 - kept for its caller
            job.error = error
        return False

    def close(self) -> None:
        raw, self._raw = self._raw, None
        if raw is not None:
            raw.close()


class _Ear:
    """Hears notices on a connection of its own; after a break it says that some were missed."""

    def __init__(
        self,
        conninfo: str,
        name: str,
        tell: Callable[[Sequence[tuple[str, str]]], None],
        missed: Callable[[], None],
    ) -> None:
        self._conninfo = conninfo
        self._name = name
        self._tell = tell
        self._missed = missed
        self._stopping = False
        self._wake_read, self._wake_write = os.pipe()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="repertory-ear", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping = True
        os.write(self._wake_write, b"x")
        self._thread.join()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _run(self) -> None:
        psycopg = _driver()
        pause = _FIRST_PAUSE
        while not self._stopping:
            try:
                raw = plain_connection(self._conninfo, self._name)
                try:
                    raw.execute(f"LISTEN {CHANNEL}".encode())
                    # What was told before the first LISTEN, or during a break.
                    self._missed()
                    pause = _FIRST_PAUSE
                    self._hear(raw)
                finally:
                    raw.close()
            except (psycopg.Error, StoreError, OSError):
                if select.select([self._wake_read], [], [], pause)[0]:
                    return
                pause = min(_LONGEST_PAUSE, 2 * pause)

    def _hear(self, raw: "psycopg.Connection[Any]") -> None:
        while not self._stopping:
            select.select([raw.fileno(), self._wake_read], [], [], 30.0)
            notes = [
                (str(channel), str(payload))
                for notice in raw.notifies(timeout=0)
                for channel, payload in [json.loads(notice.payload)]
            ]
            if notes:
                self._tell(notes)


def _make_writers(raw: "psycopg.Connection[Any]") -> None:
    # Of no room, and needed before any revision is run. Asked first, since a role that may
    # make no tables may work on those that there are.
    found = raw.execute(_HAS_TABLE.replace("?", "'repertory_writer'").encode()).fetchone()
    if found == (True,):
        return
    lock = _LOCK.replace("?", "'schema'")
    raw.execute(f"SELECT pg_advisory_lock({lock})".encode())
    try:
        raw.execute(_WRITERS.encode())
    finally:
        raw.execute(f"SELECT pg_advisory_unlock({lock})".encode())


class PostgresOwner:
    """Owns something of a database, by name, as long as its connection lives; blocking."""

    def __init__(self, conninfo: str, name: str, what: str) -> None:
        self._raw = plain_connection(conninfo, name)
        self.pid: int | None = None
        try:
            told = self._raw.execute(
                f"SELECT l, pg_try_advisory_lock(l) FROM (SELECT {_LOCK} AS l) AS lock".replace(
                    "?", "$1"
                ).encode(),
                (what,),
            ).fetchone()
            assert told is not None, "a SELECT without FROM has one row"
            number, self.owned = int(told[0]) % 2**64, bool(told[1])
            if not self.owned:
                self.pid = _owner(self._raw, number)
        except BaseException:
            self._raw.close()
            raise

    def close(self) -> None:
        """Let go."""
        self._raw.close()


def _owner(raw: "psycopg.Connection[Any]", number: int) -> int | None:
    row = raw.execute(
        "SELECT a.application_name FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid"
        " WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1"
        " AND l.classid::bigint = $1 AND l.objid::bigint = $2"
        " AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())",
        (number >> 32, number & 0xFFFFFFFF),
    ).fetchone()
    told = str(row[0]).rpartition(" ")[2] if row else ""
    return int(told) if told.isdecimal() else None
