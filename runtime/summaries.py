"""Tasks as a list shows them, read from a journal, also of one that another process owns."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from repertory.protocol import TaskState

from .journal import Journal, question_of


@dataclass(frozen=True, slots=True)
class TaskSummary:
    """A task in a list. parent: the task on whose behalf it was asked, "" for none.

    waits_for: `person`, the ids of the tasks it waits for, or "".
    """

    id: str
    agent: str
    context_id: str
    state: TaskState
    created: datetime
    updated: datetime
    parent: str
    text: str
    attempts: int
    waits_for: str = ""
    question: Mapping[str, Any] | None = None


async def list_tasks(
    journal: Journal, *, state: TaskState | None = None, agent: str = "", limit: int = 200
) -> list[TaskSummary]:
    """The tasks of a journal, newest change first, also of one that another process owns."""
    where, values = ["1=1"], list[Any]()
    if state is not None:
        where.append("state=?")
        values.append(state.value)
    if agent:
        where.append("agent=?")
        values.append(agent)
    rows, _ = await journal.select(" AND ".join(where), values, limit=limit)
    found: list[TaskSummary] = []
    for row in rows:
        question = None
        if row.state is TaskState.INPUT_REQUIRED:
            full = await journal.load(row.id)
            question = question_of(full) if full is not None else None
        found.append(
            TaskSummary(
                id=row.id,
                agent=row.agent,
                context_id=row.context_id,
                state=row.now,
                created=datetime.fromtimestamp(row.created_at, UTC),
                updated=datetime.fromtimestamp(row.updated_at, UTC),
                parent=row.parent_task,
                text=row.text,
                attempts=row.attempts,
                waits_for=row.park,
                question=question,
            )
        )
    return found
