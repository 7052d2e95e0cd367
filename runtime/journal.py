"""The journal: every task, event and effect of a network, durable before anybody is told.

A task is written to by the process that owns it, and every write says so: one by a
process that another has taken the task from changes nothing. What runs a task is in
`turn`, who runs when in `mailbox`, which process takes what in `claims`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from operator import itemgetter
from time import time
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import orjson
from sqlalchemy import select
from sqlalchemy.dialects import sqlite as sqlite_dialect

from repertory.protocol import (
    Budget,
    Capabilities,
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
    StoreFullError,
    crash_point,
    in_use,
    is_postgres,
    open_database,
    own_file,
    owner_in,
    prepared_insert,
    shown_url,
    sqlite_path,
)

from .lease import LOGS, WORK, Lease, runners
from .record import QUESTION_KEY, TaskRecord, park_of, text_of
from .tables import JOURNAL, CommandRow, EventRow, StepRow, TaskRow

if TYPE_CHECKING:
    from repertory.xp_store import PostgresOwner

_DIALECT = sqlite_dialect.dialect()
# Values of one statement, well below what both engines take.
_MOST_MARKS = 500
# Events of one task that may wait to be written with what follows them.
_MOST_HELD = 64
_OWNER = "journal"
_INSERT_TASK, _TASK_COLUMNS = prepared_insert(TaskRow)
_INSERT_TASK += " ON CONFLICT DO NOTHING"
_INSERT_EVENT, _ = prepared_insert(EventRow)
# The first event of a task, where the task was new.
_INSERT_FIRST = (
    _INSERT_EVENT.partition("VALUES")[0] + "SELECT ?, ?, ?, ? WHERE EXISTS"
    " (SELECT 1 FROM task WHERE id=?)"
)
_INSERT_STEP, _STEP_COLUMNS = prepared_insert(StepRow)
_INSERT_STEP += " ON CONFLICT (task_id, key) DO UPDATE SET " + ", ".join(
    f"{name} = excluded.{name}" for name in _STEP_COLUMNS if name not in ("task_id", "key")
)
_INSERT_COMMAND, _COMMAND_COLUMNS = prepared_insert(CommandRow)
_INSERT_COMMAND += " RETURNING number"
_in_order: Callable[[Mapping[str, Any]], tuple[Any, ...]] = itemgetter(*_TASK_COLUMNS)
_CREATED, _OWNED_BY = _TASK_COLUMNS.index("created_at"), _TASK_COLUMNS.index("owner")
# By how much the next of a dialogue is later than the one before, in seconds.
_TICK = 1e-5
_EVERY = 2**62
_SELECT_TASK = str(select(TaskRow).compile(dialect=_DIALECT))
_SELECT_STEP = str(select(StepRow).compile(dialect=_DIALECT))
_OWNED = " AND task.agent=? AND task.tenant=? AND task.principal=?"
_MOVE_TASK = (
    "UPDATE task SET state=?, sequence=?, ended=?, park=?, text=?, updated_at=?"
    " WHERE id=? AND sequence=? AND owner=?"
)
# On a server the row stays as it is until the commit, so that nobody takes it in between.
_HOLD = {
    "sqlite": "SELECT 1 FROM task WHERE id=? AND owner=?",
    "postgresql": "SELECT 1 FROM task WHERE id=? AND owner=? FOR NO KEY UPDATE",
}
# What of its dialogue has not ended; the next begins after it.
_OPEN_BEFORE = (
    "SELECT id, created_at, owner, park FROM task WHERE tenant=? AND context_id=? AND ended=0"
    " AND agent=? AND principal=?"
)


class NotKeptError(StoreError):
    """A write for a task was not kept, so its turn cannot go on here."""

    reason = "NOT_KEPT"


class StaleTaskError(NotKeptError):
    """The task is another process's now; nothing of this write was kept."""

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


# Most tasks have the same few budgets and capabilities.
@lru_cache(maxsize=256)
def _budget_text(budget: Budget) -> str:
    return _dump({"tokens": budget.tokens, "calls": budget.calls, "usd": budget.usd})


@lru_cache(maxsize=256)
def _capabilities_text(capabilities: Capabilities) -> str:
    return _dump(capabilities.wire())


def _row_of(record: TaskRecord, sequence: int, owner: int) -> tuple[Any, ...]:
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
        "budget": _budget_text(record.budget),
        "chain": _dump(list(record.chain)),
        "traceparent": record.traceparent,
        "capabilities": _capabilities_text(record.capabilities),
        "park": record.park,
        "text": record.text,
        "created_at": record.created_at,
        "updated_at": record.updated_at,
        "owner": owner,
    }
    return _in_order(values)


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


def _identity_of(record: TaskRecord) -> tuple[str, str, str, str]:
    """What makes a message the same message."""
    return record.tenant, record.principal, record.agent, record.message.message_id


def _earlier(connection: Connection, identity: tuple[str, str, str, str]) -> TaskRecord | None:
    found = connection.execute(
        "SELECT id FROM task WHERE tenant=? AND principal=? AND agent=? AND message_id=?",
        identity,
    ).fetchone()
    return None if found is None else _load(connection, found[0])


def _load_some(connection: Connection, ids: tuple[str, ...]) -> list[TaskRecord]:
    """Tasks with their logs by two statements, for as many as a statement takes."""
    marks = ",".join("?" * len(ids))
    rows = connection.execute(f"{_SELECT_TASK} WHERE task.id IN ({marks})", ids).fetchall()
    logs: dict[str, list[NumberedEvent]] = {}
    for task_id, sequence, body in connection.execute(
        f"SELECT task_id, sequence, body FROM event WHERE task_id IN ({marks})"
        " ORDER BY task_id, sequence",
        ids,
    ):
        event = StreamResponse.parse(body)
        logs.setdefault(task_id, []).append(NumberedEvent(sequence=sequence, event=event))
    found = [_record_of(row) for row in rows]
    for record in found:
        record.events = logs.get(record.id, [])
        record.staged = record.last_sequence
    return found


def _staged(record: TaskRecord, events: Sequence[StreamResponse]) -> list[NumberedEvent]:
    """Number events that are about to be journaled, all or none."""
    before, state = record.staged, record.state
    try:
        numbered = [record.stage(event) for event in events]
    except Exception:
        record.staged, record.state = before, state
        raise
    for event in events:
        record.text = text_of(event) or record.text
        record.park = park_of(event, record.park)
    return numbered


def _written(
    record: TaskRecord,
    numbered: Sequence[NumberedEvent],
    also: Callable[[Connection], Any] | None,
    owner: int,
    *,
    tell: bool = False,
) -> Callable[[Connection], None]:
    """What writes staged events of a task, and where it stands after them.

    tell: whether other processes are woken when it has ended or waits.
    """
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
        owner,
    )

    def unit(connection: Connection) -> None:
        moved = connection.execute(_MOVE_TASK, change)

        def look() -> None:
            if not moved.rowcount:
                raise _stale(record.id)

        if also is None:
            connection.later(look)
        else:
            look()
        for row in rows:
            connection.execute(_INSERT_EVENT, row)
        crash_point(f"in-{moment}")
        if tell and (change[2] or change[3]):
            connection.notify(LOGS, record.id)
        if also is not None:
            also(connection)
            crash_point("in-pack")

    return unit


def _publish(record: TaskRecord, numbered: Sequence[NumberedEvent]) -> None:
    crash_point("after-end" if is_terminal(record.now) else "after-append")
    record.publish(numbered)


def _lined_up(
    connection: Connection, row: tuple[Any, ...], dialogue: tuple[str, ...]
) -> tuple[tuple[Any, ...], list[str]]:
    """A new task's row behind what of its dialogue has not ended, whatever the clocks say.

    And what of that is the same process's, and not put aside for a person.
    """
    # Who accepts for the same dialogue at this moment is not to be seen yet.
    alone = connection.try_hold("/".join(dialogue))
    earlier = connection.execute(_OPEN_BEFORE, dialogue).fetchall()
    if alone and not earlier:
        return row, []
    values = list(row)
    latest = max((created for _, created, _, _ in earlier), default=0.0)
    values[_CREATED] = max(values[_CREATED], latest + _TICK)
    open_now = [(task_id, owner) for task_id, _, owner, park in earlier if not park]
    if not alone or any(owner != values[_OWNED_BY] for _, owner in open_now):
        values[_OWNED_BY] = 0
    return tuple(values), [task_id for task_id, owner in open_now if owner == row[_OWNED_BY]]


def _not_kept(error: StoreError) -> StoreError:
    """What a turn is told: on a full disk it waits, and else it cannot go on here."""
    if isinstance(error, NotKeptError | StoreFullError):
        return error
    return NotKeptError(error.sentence, **error.facts)


def _stale(task_id: str) -> StaleTaskError:
    return StaleTaskError(f"task {task_id} is another process's now", task_id=task_id)


class Journal:
    """Tasks, events, steps and commands of one network. Open it with `open_journal`.

    lease: whose writes these are; without one the journal is for reading.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self.lease: Lease | None = None
        self._hold = _HOLD[database.dialect.engine]
        # What `emit` has yet to write, and who writes it; None until that begins.
        self._held: dict[str, list[NumberedEvent]] = {}
        self._flushing: dict[str, asyncio.Future[None] | None] = {}

    # -- tasks -------------------------------------------------------------

    @property
    def owner(self) -> int:
        """The number that this process's writes hold, 0 for one that only reads."""
        return self.lease.number if self.lease is not None else 0

    async def accept(
        self,
        record: TaskRecord,
        first: StreamResponse,
        then: Callable[[TaskRecord | None, bool, Sequence[str]], None],
        *,
        claim: bool = True,
        also: Callable[[Connection], Any] | None = None,
    ) -> TaskRecord | None:
        """Make an accepted message durable; None when it is new, else the earlier task.

        Exactly one task exists per (tenant, principal, agent, messageId). claim: whether
        it is to be this process's at once; it is left to be claimed all the same where
        its dialogue is at work, or waits, elsewhere. then: called with the answer,
        whether the new task is this process's, and what of its dialogue is this process's
        before it, by the commit itself, also for a caller who gave up. also: done in the
        same commit, when it is new.
        """
        crash_point("before-accept")
        record.created_at = record.updated_at = time()
        numbered = record.stage(first)
        owner = self.owner if claim else 0
        row = _row_of(record, numbered.sequence, owner)
        body = _dump(first.wire())
        event = (record.id, numbered.sequence, record.created_at, body, record.id)
        identity = _identity_of(record)
        dialogue: tuple[str, ...] = ()
        if record.message.context_id:
            # A new dialogue has nothing before it, so it is not looked for.
            dialogue = (record.tenant, record.context_id, record.agent, record.principal)

        known: list[tuple[TaskRecord | None, Sequence[Any], list[str]]] = []

        def unit(connection: Connection) -> None:
            fresh, before = _lined_up(connection, row, dialogue) if dialogue else (row, [])
            inserted = connection.execute(_INSERT_TASK, fresh)
            connection.execute(_INSERT_FIRST, event)
            crash_point("in-accept")

            def look() -> None:
                if not inserted.rowcount:
                    known.append((_earlier(connection, identity), row, []))
                    return
                known.append((None, fresh, before))
                if not fresh[_OWNED_BY]:
                    connection.notify(WORK)

            if also is None:
                connection.later(look)
                return
            look()
            if known[-1][0] is None:
                also(connection)

        def settle() -> None:
            earlier, kept, before = known[-1]
            if earlier is None:
                crash_point("after-accept")
                record.created_at = kept[_CREATED]
                record.publish((numbered,))
            then(earlier, earlier is None and claim and kept[_OWNED_BY] == owner, before)

        await self.database.transact(unit, settle)
        return known[-1][0]

    async def earlier(self, record: TaskRecord) -> TaskRecord | None:
        """The task of the same message, if it was accepted before."""
        identity = _identity_of(record)
        return await self.database.read(lambda connection: _earlier(connection, identity))

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
            StaleTaskError: The task is another process's now.
            NotKeptError: The database refused this write, or one that `emit` had put off.
        """
        await self._valid()
        record.raise_refused()
        fresh = _staged(record, events)
        numbered = [*self._held.pop(record.id, ()), *fresh]
        if not numbered:
            return
        try:
            # Published by the commit itself: a caller that is cancelled meanwhile tears no log.
            await self.database.transact(
                _written(record, numbered, also, self.owner, tell=self._shared),
                partial(_publish, record, numbered),
            )
        except StoreError as error:
            if record.staged == numbered[-1].sequence:
                record.unstage()
            record.raise_refused()
            raise _not_kept(error) from error.__cause__

    async def emit(self, record: TaskRecord, *events: StreamResponse) -> None:
        """Add events that become durable, and then published, with what follows them, or soon.

        For what an agent says on its way: nobody hears of it before it is durable, and a
        turn that is begun anew says it again. A refusal is told by the task's next write.

        Raises:
            IllegalMoveError: An event asks for a move that the life cycle forbids.
            NotKeptError: The database refused an earlier write of the task.
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

    @property
    def _shared(self) -> bool:
        return self.lease is not None and self.lease.shared

    async def _valid(self) -> None:
        """Wait while this process may not act, since others may have taken its tasks."""
        if self.lease is not None and not self.lease.valid:
            await self.lease.wait_valid()

    def forget(self, record: TaskRecord) -> None:
        """Drop what was not written yet of a task that goes on elsewhere, or from its beginning."""
        self._held.pop(record.id, None)
        record.refused = None
        record.unstage()

    async def note_attempt(self, record: TaskRecord) -> None:
        """Count a crash of the agent while it worked on the task."""
        crash_point("before-attempt")
        record.attempts += 1
        values = (record.attempts, record.id, self.owner)
        try:
            await self.database.transact(
                lambda connection: connection.execute(
                    "UPDATE task SET attempts=? WHERE id=? AND owner=?", values
                )
            )
        except StoreError as error:
            raise _not_kept(error) from error.__cause__
        crash_point("after-attempt")

    async def load(
        self, task_id: str, *, owner: tuple[str, str, str] | None = None
    ) -> TaskRecord | None:
        """A task with its whole log, or None; with `owner` (agent, tenant, principal) theirs only."""
        return await self.database.read(lambda connection: _load(connection, task_id, owner))

    async def grown(self, seen: Mapping[str, int]) -> list[str]:
        """Those of some tasks whose logs go beyond the sequence given for each."""

        def unit(connection: Connection) -> list[str]:
            found: list[str] = []
            wanted = list(seen)
            for start in range(0, len(wanted), _MOST_MARKS):
                some = tuple(wanted[start : start + _MOST_MARKS])
                marks = ",".join("?" * len(some))
                rows = connection.execute(
                    f"SELECT id, sequence FROM task WHERE id IN ({marks})", some
                )
                found += [task_id for task_id, sequence in rows if sequence > seen[task_id]]
            return found

        return await self.database.read(unit)

    async def events_after(self, task_id: str, sequence: int) -> list[NumberedEvent]:
        """The events of a task above `sequence`."""
        query = "SELECT sequence, body FROM event WHERE task_id=? AND sequence>? ORDER BY sequence"

        def unit(connection: Connection) -> list[NumberedEvent]:
            rows = connection.execute(query, (task_id, sequence)).fetchall()
            return [
                NumberedEvent(sequence=number, event=StreamResponse.parse(body))
                for number, body in rows
            ]

        return await self.database.read(unit)

    async def load_all(self, ids: Sequence[str]) -> list[TaskRecord]:
        """These tasks with their logs, oldest first."""

        def unit(connection: Connection) -> list[TaskRecord]:
            found: list[TaskRecord] = []
            for start in range(0, len(ids), _MOST_MARKS):
                found += _load_some(connection, tuple(ids[start : start + _MOST_MARKS]))
            return sorted(found, key=lambda record: (record.created_at, record.id))

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
        """Write a step as it stands, begun (result unknown) or finished, in one commit with `also`.

        When it returns from a begun step, its effect may be had: the task was this
        process's, and nobody can have taken it since.

        Raises:
            StaleTaskError: The task is another process's now.
            NotKeptError: The database refused the write.
        """
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
        held = (task_id, self.owner)
        moment = "result" if step.finished else "begin"
        crash_point("after-effect" if step.finished else "before-begin")

        def held_still(connection: Connection) -> None:
            if connection.execute(self._hold, held).fetchone() is None:
                raise _stale(task_id)

        def unit(connection: Connection) -> None:
            held_still(connection)
            connection.execute(_INSERT_STEP, row)
            if also is not None:
                also(connection)
            crash_point(f"in-{moment}")

        await self._valid()
        try:
            await self.database.transact(unit)
            while not step.finished and self.lease is not None and not self.lease.valid:
                # It slept between the commit and here, so the task may be gone.
                await self.lease.wait_valid()
                await self.database.transact(held_still)
        except StoreError as error:
            raise _not_kept(error) from error.__cause__
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
        """Leave a command for the process that has the task; returns its number."""
        row = {"kind": kind, "task_id": task_id, "body": body, "at": time(), "outcome": ""}
        values = tuple(row.get(column) for column in _COMMAND_COLUMNS)

        def unit(connection: Connection) -> int:
            connection.notify(WORK)
            return int(connection.execute(_INSERT_COMMAND, values).fetchone()[0])

        return await self.database.transact(unit)

    async def pending_commands(self) -> list[Command]:
        """Commands that nobody has carried out yet and this process can, oldest first.

        Those for tasks of its own, and for tasks that have ended or never were, which
        any process can answer.
        """

        def unit(connection: Connection) -> list[Command]:
            return [
                Command(*row)
                for row in connection.execute(
                    "SELECT c.number, c.kind, c.task_id, c.body FROM command c"
                    " LEFT JOIN task t ON t.id=c.task_id WHERE c.outcome=''"
                    " AND (t.id IS NULL OR t.ended=1 OR t.owner=?) ORDER BY c.number",
                    (self.owner,),
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
    """A journal in `database`, its tables brought to this version's.

    Raises:
        StoreVersionError: A newer version wrote the store.
        StoreOwnedError: An older version runs on it, and it must be upgraded.
    """
    await database.upgrade(JOURNAL)
    yield Journal(database)


@asynccontextmanager
async def owned(url: str) -> AsyncIterator[None]:
    """Own the journal at `url` while the block runs; the lock dies with the process.

    On a server it keeps such owners apart, and is refused while any process runs agents
    there, which need no lock but their leases (`lease`).

    Raises:
        StoreOwnedError: Another process owns it; the pid is in the sentence.
    """
    if is_postgres(url):
        owner = await anyio.to_thread.run_sync(_own_server, url)
        try:
            async with open_database(url) as database, open_journal(database):
                for each in await runners(database):
                    raise in_use(shown_url(url), f"{each.pid} on {each.host}")
            yield
        finally:
            owner.close()
        return
    path = sqlite_path(url)
    if path == ":memory:":
        yield
        return
    file = await anyio.to_thread.run_sync(own_file, path)
    try:
        yield
    finally:
        file.close()


def _own_server(url: str) -> "PostgresOwner":
    owner = owner_in(url, _OWNER)
    if not owner.owned:
        owner.close()
        raise in_use(shown_url(url), owner.pid)
    return owner


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
