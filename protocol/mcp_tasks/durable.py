"""A backend that runs tools as tasks: durable before told, and taken up again after a restart."""

import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from time import time
from typing import Any, Final

import anyio
from anyio.abc import TaskGroup
from mcp import MCPError
from mcp.types import INTERNAL_ERROR, CallToolRequestParams, CallToolResult

from .backend import Context, CreatedTask, Owner, TaskNotFoundError
from .shapes import TERMINAL, TaskView
from .stores import StoredTask, TaskStore

TaskTool = Callable[[dict[str, Any], "RunningTask"], Awaitable[CallToolResult]]

_HOUR_MS: Final = 3_600_000

_log = logging.getLogger(__name__)


class RunningTask:
    """What a tool gets that runs as a task.

    After a restart the tool is run again from its beginning, with the answers that
    it had been given: what it does to the world between two questions must bear
    being done again, or be recorded elsewhere.
    """

    def __init__(self, tasks: "DurableTasks", stored: StoredTask) -> None:
        self._tasks = tasks
        self._stored = stored

    @property
    def task_id(self) -> str:
        """The task's id."""
        return self._stored.task_id

    async def say(self, message: str) -> None:
        """Show `message` to whoever asks how the task stands."""
        self._stored.message = message
        await self._tasks.keep(self._stored)

    async def ask(self, requests: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """Wait for an answer to each of `requests`; the answers, by key.

        Each is an MCP request with `method` and `params`. A key that was answered
        once keeps its answer for the task's life, also after a restart.
        """
        stored = self._stored
        missing = {key: dict(each) for key, each in requests.items() if key not in stored.answered}
        if missing:
            stored.asked, stored.status = missing, "input_required"
            await self._tasks.keep(stored)
            while any(key not in stored.answered for key in requests):
                await self._tasks.wait_changed(stored.task_id)
        if stored.status != "working":
            stored.asked, stored.status = {}, "working"
            await self._tasks.keep(stored)
        return {key: stored.answered[key] for key in requests}


class DurableTasks:
    """Tools that run as tasks in this process; `running()` surrounds their use.

    ttl_ms: how long a task is kept from its creation on. poll_ms: how often a
    client is asked to look.
    """

    def __init__(
        self, store: TaskStore, *, ttl_ms: int | None = _HOUR_MS, poll_ms: int = 500
    ) -> None:
        self._store = store
        self._ttl_ms = ttl_ms
        self._poll_ms = poll_ms
        self._tools: dict[str, tuple[TaskTool, bool]] = {}
        self._live: dict[str, StoredTask] = {}
        self._scopes: dict[str, anyio.CancelScope] = {}
        self._changed: dict[str, anyio.Event] = {}
        self._group: TaskGroup | None = None

    def tool(self, name: str, *, required: bool = False) -> Callable[[TaskTool], TaskTool]:
        """Run the tool `name` as a task, for clients that declare the extension.

        required: clients that do not are refused; otherwise the server's own tool
        of this name answers them.
        """

        def register(run: TaskTool) -> TaskTool:
            self._tools[name] = (run, required)
            return run

        return register

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run tasks while the block runs, beginning with what an earlier life left."""
        await self._store.forget(time())
        async with anyio.create_task_group() as group:
            self._group = group
            # What they had asked stays asked, so that an answer is taken before they ask again.
            for stored in await self._store.unfinished():
                self._start(stored)
            try:
                yield
            finally:
                self._group = None
                group.cancel_scope.cancel()

    def takes(self, name: str) -> bool:
        return name in self._tools

    def requires(self, name: str) -> bool:
        return self._tools[name][1]

    async def begin(self, params: CallToolRequestParams, owner: Owner, ctx: Context) -> CreatedTask:
        now = time()
        stored = StoredTask(
            task_id=secrets.token_urlsafe(24),
            owner=owner,
            tool=params.name,
            arguments=dict(params.arguments or {}),
            created_at=now,
            updated_at=now,
            ttl_ms=self._ttl_ms,
        )
        await self._store.put(stored)
        self._start(stored)
        return CreatedTask(self._view(stored))

    async def get(self, task_id: str, owner: Owner) -> TaskView:
        # From the store: what is shown is durable.
        return self._view(_owned(await self._store.get(task_id), task_id, owner))

    async def update(self, task_id: str, owner: Owner, responses: Mapping[str, Any]) -> None:
        stored = await self._own(task_id, owner)
        known = {key: value for key, value in responses.items() if key in stored.asked}
        if known:
            stored.answered.update(known)
            stored.asked = {k: each for k, each in stored.asked.items() if k not in known}
            await self.keep(stored)

    async def cancel(self, task_id: str, owner: Owner) -> None:
        stored = await self._own(task_id, owner)
        if stored.status in TERMINAL:
            return
        stored.status, stored.asked = "cancelled", {}
        await self.keep(stored)
        if (scope := self._scopes.get(task_id)) is not None:
            scope.cancel()

    async def changed(self, task_id: str, owner: Owner, version: int) -> TaskView:
        while True:
            # Registered before it is looked at, so that no change falls between.
            event = self._changed.setdefault(task_id, anyio.Event())
            view = await self.get(task_id, owner)
            if view.version > version or view.ended:
                return view
            await event.wait()

    async def keep(self, stored: StoredTask) -> None:
        """Make a task's change durable, and then known."""
        stored.version += 1
        stored.updated_at = time()
        await self._store.put(stored)
        if (event := self._changed.pop(stored.task_id, None)) is not None:
            event.set()

    async def wait_changed(self, task_id: str) -> None:
        """Return after the task's next change."""
        await self._changed.setdefault(task_id, anyio.Event()).wait()

    def _start(self, stored: StoredTask) -> None:
        assert self._group is not None, "tasks are used while they run"
        self._live[stored.task_id] = stored
        self._group.start_soon(self._run, stored)

    async def _run(self, stored: StoredTask) -> None:
        with anyio.CancelScope() as scope:
            self._scopes[stored.task_id] = scope
            try:
                await self._finish(stored, await self._outcome(stored))
            finally:
                del self._scopes[stored.task_id]
                if stored.status in TERMINAL:
                    self._live.pop(stored.task_id, None)

    async def _outcome(self, stored: StoredTask) -> dict[str, Any]:
        tool = self._tools.get(stored.tool)
        if tool is None:
            return {"error": {"code": INTERNAL_ERROR, "message": f"no tool {stored.tool!r}"}}
        try:
            result = await tool[0](stored.arguments, RunningTask(self, stored))
        except MCPError as error:
            return {"error": error.error.model_dump(mode="json", exclude_none=True)}
        except Exception:  # noqa: BLE001 - what broke inside stays inside
            _log.exception("the task tool %s broke", stored.tool)
            return {"error": {"code": INTERNAL_ERROR, "message": "internal error"}}
        return {"result": result.model_dump(mode="json", by_alias=True, exclude_none=True)}

    async def _finish(self, stored: StoredTask, outcome: dict[str, Any]) -> None:
        if stored.status in TERMINAL:
            return
        stored.result, stored.error = outcome.get("result"), outcome.get("error")
        stored.status = "completed" if stored.error is None else "failed"
        with anyio.CancelScope(shield=True):
            await self.keep(stored)

    async def _own(self, task_id: str, owner: Owner) -> StoredTask:
        stored = self._live.get(task_id) or await self._store.get(task_id)
        return _owned(stored, task_id, owner)

    def _view(self, stored: StoredTask) -> TaskView:
        return TaskView(
            task_id=stored.task_id,
            status=stored.status,
            created_at=stored.created_at,
            updated_at=stored.updated_at,
            version=stored.version,
            message=stored.message,
            ttl_ms=stored.ttl_ms,
            poll_ms=self._poll_ms,
            result=stored.result,
            error=stored.error,
            input_requests=stored.asked,
        )


def _owned(stored: StoredTask | None, task_id: str, owner: Owner) -> StoredTask:
    if stored is None or not secrets.compare_digest(stored.owner.encode(), owner.encode()):
        raise TaskNotFoundError(task_id)
    return stored
