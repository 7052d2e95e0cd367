"""A caller's tasks by pages, newest change first (A2A 1.0, ListTasks), from a journal."""

from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from repertory.protocol import Call, InvalidParamsError, ListTasksRequest, ListTasksResponse, Task

from .journal import Journal
from .record import TaskRecord

_PAGE_SIZE = 50
_LARGEST_PAGE = 100


async def list_of(
    journal: Journal,
    agent: str,
    request: ListTasksRequest,
    call: Call,
    load: Callable[[str], Awaitable[TaskRecord]],
) -> ListTasksResponse:
    """The page of `agent`'s tasks that `request` asks for, of this caller alone.

    load: a task with its log, by its id.

    Raises:
        InvalidParamsError: The page's size or token is none.
    """
    size = request.page_size or _PAGE_SIZE
    if not 1 <= size <= _LARGEST_PAGE:
        raise InvalidParamsError(f"pageSize is {size}; it may be 1 to {_LARGEST_PAGE}")
    where = ["agent=?", "tenant=?", "principal=?"]
    values: list[Any] = [agent, call.tenant, call.principal]
    if request.context_id:
        where.append("context_id=?")
        values.append(request.context_id)
    if request.status is not None:
        where.append("state=?")
        values.append(request.status.value)
    if request.status_timestamp_after is not None:
        where.append("updated_at>?")
        values.append(request.status_timestamp_after.timestamp())
    clause = " AND ".join(where)
    _, total = await journal.select(clause, values, limit=0)
    if request.page_token:
        at, task_id = _read_token(request.page_token)
        clause += " AND (updated_at<? OR (updated_at=? AND id<?))"
        values += [at, at, task_id]
    rows, left = await journal.select(clause, values, limit=size)
    tasks = []
    for row in rows:
        task = (await load(row.id)).snapshot()
        if not request.include_artifacts:
            task = task.model_copy(update={"artifacts": ()})
        tasks.append(trimmed(task, request.history_length))
    token = _token(rows[-1]) if left > len(rows) else ""
    return ListTasksResponse(
        tasks=tuple(tasks), next_page_token=token, page_size=len(tasks), total_size=total
    )


def trimmed(task: Task, length: int | None) -> Task:
    """The task with its last `length` messages; None keeps them all (A2A 1.0, 3.2.4)."""
    if length is None or len(task.history) <= length:
        return task
    return task.model_copy(update={"history": task.history[-length:] if length > 0 else ()})


def _token(record: TaskRecord) -> str:
    return orjson.dumps([record.updated_at, record.id]).hex()


def _read_token(token: str) -> tuple[float, str]:
    try:
        at, task_id = orjson.loads(bytes.fromhex(token))
        return float(at), str(task_id)
    except (ValueError, TypeError):
        raise InvalidParamsError(
            "pageToken is not one of ours; use nextPageToken of the page before"
        ) from None
