"""The journal: every task, event and effect of a network, durable before anybody is told.

One process owns a journal; others read it and leave commands in it. What runs a
task is in `turn`, what decides who runs when is in `mailbox`.
"""

import asyncio
import fcntl
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import sleep, time
from typing import TYPE_CHECKING, Any, TextIO

import anyio.to_thread
import orjson
from sqlalchemy import select
from sqlalchemy.dialects import sqlite as sqlite_dialect

from repertory.protocol import (
    Budget,
    Capabilities,
    EventPage,
    Message,
    NumberedEvent,
    StreamResponse,
    TaskState,
    is_terminal,
    user_message,
)
from repertory.xp_store import (
    Connection,
    Database,
    StoreError,
    StoreOwnedError,
    crash_point,
    is_postgres,
    open_database,
    owner_in,
    prepared_insert,
    shown_url,
    sqlite_path,
)

from .record import QUESTION_KEY, WAITING_KEY, TaskRecord, state_of
from .tables import CommandRow, EventRow, JournalTable, StepRow, TaskRow

if TYPE_CHECKING:
    from repertory.xp_store import PostgresOwner

_DIALECT = sqlite_dialect.dialect()
# Events of one task that may wait to be written with what follows them.
_MOST_HELD = 64
_OWNER = "journal"
# Seconds between the tries to own a journal; on a worker thread.
_LOCK_PAUSES = (0.02, 0.05, 0.1)


_INSERT_TASK, _TASK_COLUMNS = prepared_insert(TaskRow)
_INSERT_TASK += " ON CONFLICT DO NOTHING"
_INSERT_EVENT, _ = prepared_insert(EventRow)
_INSERT_STEP, _STEP_COLUMNS = prepared_insert(StepRow)
_INSERT_STEP += " ON CONFLICT (task_id, key) DO UPDATE SET " + ", ".join(
    f"{name} = excluded.{name}" for name in _STEP_COLUMNS if name not in ("task_id", "key")
)
_INSERT_COMMAND, _COMMAND_COLUMNS = prepared_insert(CommandRow)
_INSERT_COMMAND += " RETURNING number"
# The order of commits is the order of rows where there is one writer; elsewhere it is told
# by the oldest transaction that still runs: what is before it is seen by whoever asks now.
_MARK = {
    "sqlite": "SELECT coalesce(max(rowid), 0) FROM event",
    "postgresql": "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint",
}
_CHANGED = {
    "sqlite": "SELECT DISTINCT task_id FROM event WHERE rowid>?",
    "postgresql": "SELECT DISTINCT task_id FROM event WHERE change>=?"
    # What was restored from another cluster has numbers that are still to come here.
    " AND change<pg_snapshot_xmax(pg_current_snapshot())::text::bigint",
}
_EXTRA_DDL = {
    "sqlite": (),
    "postgresql": (
        "ALTER TABLE event ADD COLUMN IF NOT EXISTS change BIGINT NOT NULL"
        " DEFAULT (pg_current_xact_id()::text::bigint)",
        "CREATE INDEX IF NOT EXISTS event_change ON event (change)",
    ),
}
_EVERY = 2**62
_SELECT_TASK = str(select(TaskRow).compile(dialect=_DIALECT))
_SELECT_STEP = str(select(StepRow).compile(dialect=_DIALECT))
_OWNED = " AND task.agent=? AND task.tenant=? AND task.principal=?"
_MOVE_TASK = (
    "UPDATE task SET state=?, sequence=?, ended=?, park=?, text=?, updated_at=?"
    " WHERE id=? AND sequence=?"
)


class StaleTaskError(StoreError):
    """Another process wrote to the task meanwhile; nothing of this write was kept."""

    reason = "STALE_TASK"


@dataclass(slots=True)
class StepRecord:
    """An effect of a turn; `result` is None while its outcome is unknown."""

    key: str
    number: int
    kind: str
    name: str
    request: Any
    result: Any = None
    is_error: bool = False
    started_at: float = 0.0
    ended_at: float | None = None
    span_id: str = ""

    @property
    def finished(self) -> bool:
        return self.ended_at is not None


@dataclass(frozen=True, slots=True)
class Command:
    """An order that another process left in the journal."""

    number: int
    kind: str
    task_id: str
    body: str


def _dump(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode()


def _budget(text: str) -> Budget:
    return Budget(**orjson.loads(text))


def _row_of(record: TaskRecord, sequence: int) -> tuple[Any, ...]:
    values = {
        "id": record.id,
        "agent": record.agent,
        "tenant": record.tenant,
        "principal": record.principal,
        "message_id": record.message.message_id,
        "context_id": record.context_id,
        "parent_task": record.parent_task,
        "message": _dump(record.message.wire()),
        "state": record.now.value,
        "sequence": sequence,
        "ended": int(is_terminal(record.now)),
        "attempts": record.attempts,
        "seconds": record.seconds,
        "budget": _dump(
            {
                "tokens": record.budget.tokens,
                "calls": record.budget.calls,
                "usd": record.budget.usd,
            }
        ),
        "chain": _dump(list(record.chain)),
        "traceparent": record.traceparent,
        "capabilities": _dump(record.capabilities.wire()),
        "park": record.park,
        "text": record.text,
        "created_at": record.created_at,
        "updated_at": record.updated_at,
    }
    return tuple(values[column] for column in _TASK_COLUMNS)


def _record_of(row: Sequence[Any]) -> TaskRecord:
    facts = dict(zip(_COLUMNS, row, strict=True))
    return TaskRecord(
        id=facts["id"],
        agent=facts["agent"],
        tenant=facts["tenant"],
        principal=facts["principal"],
        context_id=facts["context_id"],
        message=Message.parse(facts["message"]),
        parent_task=facts["parent_task"],
        seconds=facts["seconds"],
        budget=_budget(facts["budget"]),
        chain=tuple(orjson.loads(facts["chain"])),
        traceparent=facts["traceparent"],
        capabilities=Capabilities.parse(orjson.loads(facts["capabilities"])),
        attempts=facts["attempts"],
        created_at=facts["created_at"],
        updated_at=facts["updated_at"],
        park=facts["park"],
        text=facts["text"],
        state=TaskState(facts["state"]),
    )


_COLUMNS = tuple(column.name for column in TaskRow.__table__.columns)  # type: ignore[attr-defined]  # SQLModel adds it
_STEP_FIELDS = tuple(column.name for column in StepRow.__table__.columns)  # type: ignore[attr-defined]  # SQLModel adds it


def _load_events(connection: Connection, record: TaskRecord) -> TaskRecord:
    rows = connection.execute(
        "SELECT sequence, body FROM event WHERE task_id=? ORDER BY sequence", (record.id,)
    )
    record.events = [
        NumberedEvent(sequence=sequence, event=StreamResponse.parse(body))
        for sequence, body in rows
    ]
    record.staged = record.last_sequence
    return record


def _load(
    connection: Connection, task_id: str, owner: tuple[str, str, str] | None = None
) -> TaskRecord | None:
    scope, values = ("", ()) if owner is None else (_OWNED, owner)
    statement = f"{_SELECT_TASK} WHERE task.id=?{scope}"
    row = connection.execute(statement, (task_id, *values)).fetchone()
    return None if row is None else _load_events(connection, _record_of(row))


def _staged(record: TaskRecord, events: Sequence[StreamResponse]) -> list[NumberedEvent]:
    """Number events that are about to be journaled, all or none."""
    before, state = record.staged, record.state
    try:
        numbered = [record.stage(event) for event in events]
    except Exception:
        record.staged, record.state = before, state
        raise
    for event in events:
        record.text = _text_of(event) or record.text
        record.park = _park_of(event, record.park)
    return numbered


def _written(
    record: TaskRecord,
    numbered: Sequence[NumberedEvent],
    also: Callable[[Connection], Any] | None,
) -> Callable[[Connection], None]:
    """What writes staged events of a task, and where it stands after them."""
    at = record.updated_at = time()
    before = numbered[0].sequence - 1
    moment = "end" if is_terminal(record.now) else "append"
    crash_point(f"before-{moment}")
    rows = [(record.id, n.sequence, at, _dump(n.event.wire())) for n in numbered]
    change = (
        record.now.value,
        record.staged,
        int(is_terminal(record.now)),
        record.park,
        record.text,
        at,
        record.id,
        before,
    )

    def unit(connection: Connection) -> None:
        if not connection.execute(_MOVE_TASK, change).rowcount:
            raise StaleTaskError(
                f"task {record.id} was changed by another process after event {before}",
                task_id=record.id,
            )
        connection.executemany(_INSERT_EVENT, rows)
        crash_point(f"in-{moment}")
        if also is not None:
            also(connection)
            crash_point("in-pack")

    return unit


def _publish(record: TaskRecord, numbered: Sequence[NumberedEvent]) -> None:
    crash_point("after-end" if is_terminal(record.now) else "after-append")
    record.publish(numbered)


class Journal:
    """Tasks, events, steps and commands of one network. Open it with `open_journal`."""

    def __init__(self, database: Database) -> None:
        self.database = database
        # What `emit` has yet to write, and who writes it; None until that begins.
        self._held: dict[str, list[NumberedEvent]] = {}
        self._flushing: dict[str, asyncio.Future[None] | None] = {}

    # -- tasks -------------------------------------------------------------

    async def accept(
        self,
        record: TaskRecord,
        first: StreamResponse,
        then: Callable[[TaskRecord | None], None],
        *,
        also: Callable[[Connection], Any] | None = None,
    ) -> TaskRecord | None:
        """Make an accepted message durable; None when it is new, else the earlier task.

        Exactly one task exists per (tenant, principal, agent, messageId). then:
        called with the answer by the commit itself, also for a caller who gave up. also:
        done in the same commit, when it is new.
        """
        crash_point("before-accept")
        record.created_at = record.updated_at = time()
        numbered = record.stage(first)
        row = _row_of(record, numbered.sequence)
        event = (record.id, numbered.sequence, record.created_at, _dump(first.wire()))
        identity = (record.tenant, record.principal, record.agent, record.message.message_id)

        known: list[TaskRecord | None] = []

        def unit(connection: Connection) -> TaskRecord | None:
            if connection.execute(_INSERT_TASK, row).rowcount:
                connection.execute(_INSERT_EVENT, event)
                crash_point("in-accept")
                if also is not None:
                    also(connection)
                known[:] = [None]
            else:
                found = connection.execute(
                    "SELECT id FROM task"
                    " WHERE tenant=? AND principal=? AND agent=? AND message_id=?",
                    identity,
                ).fetchone()
                known[:] = [_load(connection, found[0])]
            return known[0]

        def settle() -> None:
            if known[0] is None:
                crash_point("after-accept")
                record.publish((numbered,))
            then(known[0])

        return await self.database.transact(unit, settle)

    async def append(
        self,
        record: TaskRecord,
        *events: StreamResponse,
        also: Callable[[Connection], Any] | None = None,
    ) -> None:
        """Add events to a task's log, durable and then published, in one commit with `also`.

        What `emit` still holds of the task goes with them.

        Raises:
            IllegalMoveError: An event asks for a move that the life cycle forbids.
            StaleTaskError: Another process wrote to the task meanwhile.
            StoreError: The database refused this write, or one that `emit` had put off.
        """
        record.raise_refused()
        fresh = _staged(record, events)
        numbered = [*self._held.pop(record.id, ()), *fresh]
        if not numbered:
            return
        try:
            # Published by the commit itself: a caller that is cancelled meanwhile tears no log.
            await self.database.transact(
                _written(record, numbered, also), partial(_publish, record, numbered)
            )
        except StoreError:
            if record.staged == numbered[-1].sequence:
                record.unstage()
            record.raise_refused()
            raise

    async def emit(self, record: TaskRecord, *events: StreamResponse) -> None:
        """Add events that become durable, and then published, with what follows them, or soon.

        For what an agent says on its way: nobody hears of it before it is durable, and a
        turn that is begun anew says it again. A refusal is told by the task's next write.

        Raises:
            IllegalMoveError: An event asks for a move that the life cycle forbids.
            StoreError: The database refused an earlier write of the task.
        """
        record.raise_refused()
        held = self._held.setdefault(record.id, [])
        held.extend(_staged(record, events))
        if len(held) >= _MOST_HELD:
            await self.append(record)
        elif record.id not in self._flushing:
            self._flushing[record.id] = None
            asyncio.get_running_loop().call_soon(self._flush_soon, record)

    def _flush_soon(self, record: TaskRecord) -> None:
        if record.id in self._held:
            self._flushing[record.id] = asyncio.ensure_future(self._flush(record))
        else:
            # It went with a write that followed at once.
            del self._flushing[record.id]

    async def _flush(self, record: TaskRecord) -> None:
        # One write of a task at a time: what is emitted meanwhile goes together.
        try:
            while record.id in self._held:
                await self.append(record)
        except StoreError as error:
            record.refused = error
        finally:
            self._flushing.pop(record.id, None)

    async def settle(self) -> None:
        """Return when every write begun before this call is durable and published, or refused."""
        await asyncio.sleep(0)
        while under_way := [task for task in self._flushing.values() if task is not None]:
            await asyncio.wait(under_way)
        await self.database.transact(lambda connection: None)

    async def note_attempt(self, record: TaskRecord) -> None:
        """Count a crash of the agent while it worked on the task."""
        crash_point("before-attempt")
        record.attempts += 1
        values = (record.attempts, record.id)
        await self.database.transact(
            lambda connection: connection.execute("UPDATE task SET attempts=? WHERE id=?", values)
        )
        crash_point("after-attempt")

    async def load(
        self, task_id: str, *, owner: tuple[str, str, str] | None = None
    ) -> TaskRecord | None:
        """A task with its whole log, or None; with `owner` (agent, tenant, principal) theirs only."""
        return await self.database.read(lambda connection: _load(connection, task_id, owner))

    async def page(
        self, task_id: str, owner: tuple[str, str, str], after: int, limit: int
    ) -> EventPage | None:
        """Events above `after` of a task that is this owner's (agent, tenant, principal), or None."""

        def unit(connection: Connection) -> EventPage | None:
            row = connection.execute(
                f"SELECT sequence, ended FROM task WHERE task.id=?{_OWNED}", (task_id, *owner)
            ).fetchone()
            if row is None:
                return None
            events = tuple(
                NumberedEvent(sequence=sequence, event=StreamResponse.parse(body))
                for sequence, body in connection.execute(
                    "SELECT sequence, body FROM event WHERE task_id=? AND sequence>?"
                    " ORDER BY sequence LIMIT ?",
                    (task_id, after, limit),
                )
            )
            last = events[-1].sequence if events else min(after, row[0])
            return EventPage(
                events=events, last_sequence=row[0], ended=bool(row[1]) and last == row[0]
            )

        return await self.database.read(unit)

    async def changed_since(self, mark: int) -> tuple[int, frozenset[str]]:
        """The tasks that got events after `mark`, and the mark to ask from next; from -1 none."""

        def unit(connection: Connection) -> tuple[int, frozenset[str]]:
            engine = connection.dialect.engine
            last = connection.execute(_MARK[engine]).fetchone()[0]
            if mark < 0:
                return last, frozenset()
            rows = connection.execute(_CHANGED[engine], (mark,))
            return last, frozenset(row[0] for row in rows)

        return await self.database.read(unit)

    async def unfinished(self, agents: Sequence[str]) -> list[TaskRecord]:
        """Every task of these agents that has not ended, oldest first, with its log."""
        marks = ",".join("?" * len(agents))

        def unit(connection: Connection) -> list[TaskRecord]:
            rows = connection.execute(
                f"{_SELECT_TASK} WHERE task.ended=0 AND task.agent IN ({marks})"
                " ORDER BY task.created_at, task.id",
                tuple(agents),
            ).fetchall()
            return [_load_events(connection, _record_of(row)) for row in rows]

        return await self.database.read(unit)

    async def select(
        self,
        where: str = "1=1",
        values: Sequence[Any] = (),
        *,
        limit: int | None = None,
        offset: int = 0,
    ) -> tuple[list[TaskRecord], int]:
        """Tasks without their logs, newest change first, and how many there are in all.

        where: SQL over the columns of `TaskRow`, with `values` for its marks.
        """

        def unit(connection: Connection) -> tuple[list[TaskRecord], int]:
            total = connection.execute(
                f"SELECT count(*) FROM task WHERE {where}", tuple(values)
            ).fetchone()[0]
            rows = connection.execute(
                f"{_SELECT_TASK} WHERE {where} ORDER BY task.updated_at DESC, task.id DESC"
                " LIMIT ? OFFSET ?",
                (*values, _EVERY if limit is None else limit, offset),
            ).fetchall()
            return [_record_of(row) for row in rows], total

        return await self.database.read(unit)

    async def earlier_in_context(self, record: TaskRecord, most: int) -> list[TaskRecord]:
        """The context's ended tasks of the same agent and caller, oldest first, with logs."""
        values = (record.tenant, record.context_id, record.agent, record.principal)

        def unit(connection: Connection) -> list[TaskRecord]:
            rows = connection.execute(
                f"{_SELECT_TASK} WHERE task.tenant=? AND task.context_id=? AND task.agent=?"
                " AND task.principal=? AND task.ended=1 AND task.created_at<=? AND task.id<>?"
                " ORDER BY task.created_at DESC LIMIT ?",
                (*values, record.created_at, record.id, most),
            ).fetchall()
            return [_load_events(connection, _record_of(row)) for row in reversed(rows)]

        return await self.database.read(unit)

    # -- steps -------------------------------------------------------------

    async def put_step(
        self,
        task_id: str,
        step: StepRecord,
        also: Callable[[Connection], Any] | None = None,
    ) -> None:
        """Write a step as it stands, begun (result unknown) or finished, in one commit with `also`."""
        values = {
            "task_id": task_id,
            "key": step.key,
            "number": step.number,
            "kind": step.kind,
            "name": step.name,
            "request": _dump(step.request),
            "result": _dump(step.result) if step.finished else "",
            "is_error": int(step.is_error),
            "started_at": step.started_at,
            "ended_at": step.ended_at,
            "span_id": step.span_id,
        }
        row = tuple(values[column] for column in _STEP_COLUMNS)
        moment = "result" if step.finished else "begin"
        crash_point("after-effect" if step.finished else "before-begin")

        def unit(connection: Connection) -> None:
            connection.execute(_INSERT_STEP, row)
            if also is not None:
                also(connection)
            crash_point(f"in-{moment}")

        await self.database.transact(unit)
        crash_point(f"after-{moment}")

    async def steps(self, task_id: str) -> dict[str, StepRecord]:
        """The steps of a task by key, in the order in which they began."""

        def unit(connection: Connection) -> dict[str, StepRecord]:
            found: dict[str, StepRecord] = {}
            for row in connection.execute(
                _SELECT_STEP + " WHERE step.task_id=? ORDER BY step.number", (task_id,)
            ):
                facts = dict(zip(_STEP_FIELDS, row, strict=True))
                del facts["task_id"]
                facts["request"] = orjson.loads(facts["request"])
                facts["result"] = orjson.loads(facts["result"]) if facts["result"] else None
                facts["is_error"] = bool(facts["is_error"])
                found[facts["key"]] = StepRecord(**facts)
            return found

        return await self.database.read(unit)

    # -- commands ----------------------------------------------------------

    async def post(self, kind: str, task_id: str, body: str) -> int:
        """Leave a command for the process that owns the journal; returns its number."""
        row = {"kind": kind, "task_id": task_id, "body": body, "at": time(), "outcome": ""}
        values = tuple(row.get(column) for column in _COMMAND_COLUMNS)
        return await self.database.transact(
            lambda connection: int(connection.execute(_INSERT_COMMAND, values).fetchone()[0])
        )

    async def pending_commands(self) -> list[Command]:
        """Commands of other processes that nobody has carried out yet, oldest first."""

        def unit(connection: Connection) -> list[Command]:
            return [
                Command(*row)
                for row in connection.execute(
                    "SELECT number, kind, task_id, body FROM command WHERE outcome=''"
                    " ORDER BY number"
                )
            ]

        return await self.database.read(unit)

    async def settle_command(self, command: Command, outcome: str) -> None:
        """Say what came of a command: `done`, or the sentence of its error."""
        values = (outcome, command.number)
        crash_point("after-command")

        def unit(connection: Connection) -> None:
            connection.execute("UPDATE command SET outcome=? WHERE number=?", values)
            crash_point("in-command")

        await self.database.transact(unit)


def _text_of(event: StreamResponse) -> str:
    """The words of an event that a list of tasks shows."""
    update = event.status_update
    if update is not None and update.status.message is not None:
        return update.status.message.text[:400]
    return ""


def _park_of(event: StreamResponse, park: str) -> str:
    """What the task waits for after the event: `person`, the ids of tasks, or ""."""
    if event.status_update is None:
        return park
    metadata = event.status_update.metadata or {}
    if state_of(event) in (TaskState.INPUT_REQUIRED, TaskState.AUTH_REQUIRED):
        return "person"
    return str(metadata.get(WAITING_KEY, ""))


def question_of(record: TaskRecord) -> dict[str, Any] | None:
    """What a person is asked now by this task, or None; needs the task's log."""
    if record.state is not TaskState.INPUT_REQUIRED:
        return None
    for numbered in reversed(record.events):
        update = numbered.event.status_update
        if update is not None and update.metadata and QUESTION_KEY in update.metadata:
            return dict(update.metadata[QUESTION_KEY])
    return None


@asynccontextmanager
async def open_journal(database: Database) -> AsyncIterator[Journal]:
    """A journal in `database`, its tables created where they are missing."""
    await database.ensure(JournalTable.metadata, _EXTRA_DDL[database.dialect.engine])
    yield Journal(database)


def owner_of(url: str) -> int | None:
    """The pid of the process that owns a journal now, or None; blocking."""
    if is_postgres(url):
        seen = owner_in(url, _OWNER)
        seen.close()
        return seen.pid
    lock = Path(sqlite_path(url) + ".lock")
    if not lock.exists():
        return None
    with lock.open("r+") as file:
        try:
            # Shared, so that two who look do not take each other for the owner.
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(file.read() or 0)
        fcntl.flock(file, fcntl.LOCK_UN)
        return None


@asynccontextmanager
async def owned(url: str) -> AsyncIterator[None]:
    """Own the journal at `url` while the block runs; the lock dies with the process.

    Raises:
        StoreOwnedError: Another process owns it; the pid is in the sentence.
    """
    if is_postgres(url):
        owner = await anyio.to_thread.run_sync(_own_server, url)
        try:
            yield
        finally:
            owner.close()
        return
    path = sqlite_path(url)
    if path == ":memory:":
        yield
        return
    file = await anyio.to_thread.run_sync(_lock, path)
    try:
        yield
    finally:
        file.close()


def _own_server(url: str) -> "PostgresOwner":
    owner = owner_in(url, _OWNER)
    if not owner.owned:
        owner.close()
        raise _in_use(shown_url(url), owner.pid)
    return owner


def _in_use(store: str, pid: int | str | None) -> StoreOwnedError:
    return StoreOwnedError(
        f"the store {store} is in use by process {pid or 'unknown'}: wait for it to end, stop it,"
        " or name another store; `repertory answer`, `cancel`, `tasks`, `watch` and `trace` work"
        " beside it",
        path=store,
        pid=pid,
    )


def _lock(path: str) -> TextIO:
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        file = Path(path + ".lock").open("a+")  # noqa: SIM115  # held until `owned` ends
    except OSError as error:
        raise StoreError(
            f"the store {path} cannot be opened ({error.strerror}): make its folder writable, or"
            " name another store",
            path=path,
        ) from error
    for pause in (*_LOCK_PAUSES, None):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            # Whoever only looks (`owner_of`) holds it for a moment.
            if pause is not None:
                sleep(pause)
    else:
        file.seek(0)
        pid = file.read().strip()
        file.close()
        raise _in_use(path, pid)
    file.seek(0)
    file.truncate()
    file.write(str(os.getpid()))
    file.flush()
    return file


async def post_command(url: str, kind: str, task_id: str, body: str) -> int:
    """Leave a command for the process that owns the journal; returns its number.

    kind: `answer` (body: the answer's text) or `cancel`.
    """
    async with open_database(url) as database, open_journal(database) as journal:
        return await journal.post(kind, task_id, body)


async def command_outcome(database: Database, number: int) -> str:
    """What came of a command; "" while nobody has carried it out."""

    def unit(connection: Connection) -> str:
        row = connection.execute("SELECT outcome FROM command WHERE number=?", (number,)).fetchone()
        return "" if row is None else str(row[0])

    return await database.read(unit)


def answer_message(record: TaskRecord, text: str) -> Message:
    """A person's answer to a waiting task, as the message that its caller would send."""
    return user_message(text, task_id=record.id, context_id=record.context_id)
