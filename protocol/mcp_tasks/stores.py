"""Where `DurableTasks` keeps its tasks: in memory, or in a SQLite file."""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import anyio
import anyio.to_thread

from .shapes import TERMINAL, TaskStatus


@dataclass(slots=True)
class StoredTask:
    """A task with what it takes to run it again: the tool, its arguments and the answers so far."""

    task_id: str
    owner: str
    tool: str
    arguments: dict[str, Any]
    created_at: float
    updated_at: float
    status: TaskStatus = "working"
    version: int = 1
    message: str = ""
    ttl_ms: int | None = None
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    asked: dict[str, Any] = field(default_factory=dict)
    answered: dict[str, Any] = field(default_factory=dict)


class TaskStore(Protocol):
    """Keeps tasks; `put` is durable when it returns."""

    async def put(self, task: StoredTask) -> None:
        """Keep a task as it is now."""
        ...

    async def get(self, task_id: str) -> StoredTask | None:
        """A task, or None."""
        ...

    async def unfinished(self) -> Sequence[StoredTask]:
        """The tasks that have not ended, oldest first."""
        ...

    async def forget(self, before: float) -> None:
        """Drop the ended tasks whose time to live ended before `before`, in seconds."""
        ...


class MemoryTaskStore:
    """A `TaskStore` that forgets when the process ends."""

    def __init__(self) -> None:
        self._kept: dict[str, str] = {}

    async def put(self, task: StoredTask) -> None:
        self._kept[task.task_id] = _text(task)

    async def get(self, task_id: str) -> StoredTask | None:
        text = self._kept.get(task_id)
        return None if text is None else _task(text)

    async def unfinished(self) -> Sequence[StoredTask]:
        kept = [_task(text) for text in self._kept.values()]
        return sorted((t for t in kept if t.status not in TERMINAL), key=lambda t: t.created_at)

    async def forget(self, before: float) -> None:
        for task in [_task(text) for text in self._kept.values()]:
            if _expired(task, before):
                del self._kept[task.task_id]


class SqliteTaskStore:
    """A `TaskStore` in a SQLite file, with an fsync for every change."""

    def __init__(self, path: str | Path) -> None:
        self._path = str(path)
        self._ready = False
        self._writing = anyio.Lock()

    async def put(self, task: StoredTask) -> None:
        # One after the other, each with the task as it is then: a slow thread writes nothing old.
        async with self._writing:
            ended = int(task.status in TERMINAL)
            row = (task.task_id, ended, _ends(task), task.created_at, _text(task))
            await self._run(_put, row)

    async def get(self, task_id: str) -> StoredTask | None:
        rows = await self._run(_select, "SELECT body FROM mcp_task WHERE id=?", (task_id,))
        return _task(rows[0][0]) if rows else None

    async def unfinished(self) -> Sequence[StoredTask]:
        query = "SELECT body FROM mcp_task WHERE ended=0 ORDER BY created_at"
        return [_task(row[0]) for row in await self._run(_select, query, ())]

    async def forget(self, before: float) -> None:
        query = "DELETE FROM mcp_task WHERE ended=1 AND expires IS NOT NULL AND expires<?"
        await self._run(_select, query, (before,))

    async def _run(self, work: Any, *arguments: Any) -> Any:
        return await anyio.to_thread.run_sync(partial(self._locally, work, arguments))

    def _locally(self, work: Any, arguments: Sequence[Any]) -> Any:
        connection = sqlite3.connect(self._path, timeout=10.0)
        try:
            with connection:
                if not self._ready:
                    connection.execute("PRAGMA journal_mode=WAL")
                    connection.execute(
                        "CREATE TABLE IF NOT EXISTS mcp_task (id TEXT PRIMARY KEY, ended INTEGER,"
                        " expires REAL, created_at REAL, body TEXT)"
                    )
                    self._ready = True
                connection.execute("PRAGMA synchronous=FULL")
                return work(connection, *arguments)
        finally:
            connection.close()


def _put(connection: sqlite3.Connection, row: tuple[Any, ...]) -> None:
    connection.execute("INSERT OR REPLACE INTO mcp_task VALUES (?,?,?,?,?)", row)


def _select(connection: sqlite3.Connection, query: str, values: tuple[Any, ...]) -> list[Any]:
    return connection.execute(query, values).fetchall()


def _ends(task: StoredTask) -> float | None:
    return None if task.ttl_ms is None else task.created_at + task.ttl_ms / 1000.0


def _expired(task: StoredTask, before: float) -> bool:
    ends = _ends(task)
    return task.status in TERMINAL and ends is not None and ends < before


def _text(task: StoredTask) -> str:
    return json.dumps({name: getattr(task, name) for name in StoredTask.__slots__})


def _task(text: str) -> StoredTask:
    return StoredTask(**json.loads(text))
