"""Messages that nobody could work on: kept with their trace, and tried again by a person.

A task's end is final in A2A, so a retry is a new task with the same message. It
refers to the old one, and begins with what that had done and journaled.
"""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from time import time

import orjson

from repertory.protocol import TaskState, UnsupportedOperationError, new_id
from repertory.xp_store import Connection, Database

from .record import TaskRecord
from .trace_context import parse_traceparent

_ENDED_BADLY = (TaskState.FAILED, TaskState.CANCELED, TaskState.REJECTED)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A row of the list; `retried` is the task that tries it again, or ""."""

    task: str
    agent: str
    tenant: str
    attempts: int
    error: str
    trace: str
    at: float
    retried: str


def bury(record: TaskRecord, attempts: int, error: str) -> Callable[[Connection], None]:
    """What puts a task on the list, for the transaction of its end."""
    context = parse_traceparent(record.traceparent or "")
    trace = f"{context[0]:032x}" if context else ""
    values = (record.id, record.agent, record.tenant, attempts, error[:500], trace, time(), "")

    def unit(connection: Connection) -> None:
        connection.execute(
            "INSERT INTO dead_letter (task_id, agent, tenant, attempts, error, trace, at, retried)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (task_id) DO NOTHING",
            values,
        )

    return unit


async def dead_letters(
    database: Database, *, agent: str = "", limit: int = 200
) -> tuple[list[DeadLetter], int]:
    """Those not yet retried, newest first, and how many there are in all."""
    where, values = "retried=''", list[str | int]()
    if agent:
        where, values = f"{where} AND agent=?", [agent]

    def unit(connection: Connection) -> tuple[list[DeadLetter], int]:
        count = connection.execute(
            f"SELECT count(*) FROM dead_letter WHERE {where}", tuple(values)
        ).fetchone()[0]
        rows = connection.execute(
            "SELECT task_id, agent, tenant, attempts, error, trace, at, retried"
            f" FROM dead_letter WHERE {where} ORDER BY at DESC, task_id DESC LIMIT ?",
            (*values, limit),
        ).fetchall()
        return [DeadLetter(*row) for row in rows], count

    return await database.read(unit)


def require_retryable(record: TaskRecord) -> None:
    """Return when a task may be tried again.

    Raises:
        UnsupportedOperationError: It has not ended, or it ended well.
    """
    if record.now not in _ENDED_BADLY:
        told = "is done" if record.now is TaskState.COMPLETED else "has not ended"
        raise UnsupportedOperationError(
            f"task {record.id} {told}; only what failed, was canceled or was rejected is tried"
            " again",
            task_id=record.id,
            state=record.now.name,
        )


def successor_of(record: TaskRecord) -> TaskRecord:
    """The new task for an old one's message; the same one however often it is asked for."""
    identity = sha256(f"{record.id}/retry".encode()).hexdigest()[:32]
    earlier = (*record.message.reference_task_ids, record.id)
    message = record.message.model_copy(
        update={"message_id": identity, "task_id": "", "reference_task_ids": earlier}
    )
    return TaskRecord(
        id=new_id(),
        agent=record.agent,
        tenant=record.tenant,
        principal=record.principal,
        context_id=record.context_id,
        message=message,
        parent_task=record.parent_task or record.id,
        seconds=record.seconds,
        budget=record.budget,
        chain=record.chain,
        traceparent=record.traceparent,
        capabilities=record.capabilities,
    )


def inherit(old: str, new: str) -> Callable[[Connection], None]:
    """What gives a retry the old task's steps, for the transaction that accepts it.

    Calls of unknown outcome come along with the key under which the tool may know
    them. Answers of persons, errors of tools, and asks that did not complete stay behind.
    """

    def unit(connection: Connection) -> None:
        rows = connection.execute(
            "SELECT key, number, kind, name, request, result, started_at, ended_at, span_id"
            " FROM step WHERE task_id=? AND is_error=0 AND kind<>'person'",
            (old,),
        ).fetchall()
        kept = []
        for key, number, kind, name, request, result, began, ended, span in rows:
            if kind == "ask" and not _completed(result):
                continue
            asked = request
            if kind == "tool" and ended is None:
                known = {"key": step_identity(old, key), **orjson.loads(request)}
                asked = orjson.dumps(known).decode()
            kept.append((new, key, number, kind, name, asked, result, 0, began, ended, span))
        connection.executemany(
            "INSERT INTO step (task_id, key, number, kind, name, request, result, is_error,"
            " started_at, ended_at, span_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            kept,
        )
        connection.execute("UPDATE dead_letter SET retried=? WHERE task_id=?", (new, old))

    return unit


def step_identity(task_id: str, key: str) -> str:
    """What names one effect of one task over all its attempts."""
    return sha256(f"{task_id}/{key}".encode()).hexdigest()[:32]


def _completed(result: str) -> bool:
    task = orjson.loads(result) if result else {}
    return (task.get("status") or {}).get("state") == TaskState.COMPLETED.value
