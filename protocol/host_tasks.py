"""A2A tasks as tasks of MCP's extension: one task, under one id, on both faces."""

from collections.abc import Mapping
from typing import Any, Final, Protocol

import anyio
from mcp.types import CallToolRequestParams, CallToolResult

from .errors import TaskNotFoundError
from .following import HOLD
from .host_parts import (
    answer_message,
    crash_of,
    declined,
    input_requests,
    unanswered,
)
from .host_tools import HostTool
from .identity import Identity
from .lifecycle import is_terminal
from .mcp_tasks import CreatedTask, TaskView
from .mcp_tasks import TaskNotFoundError as UnknownTaskError
from .mcp_tasks.backend import Context
from .operations import (
    CancelTaskRequest,
    EventPage,
    GetTaskRequest,
    SendMessageConfiguration,
    SendMessageRequest,
)
from .service import AgentService, Call
from .tasks import Task, TaskState, TaskStatus

_POLL_MS: Final = 500
# How long a new task may take to say whether it asks first or works first, in seconds.
_FIRST_WORD: Final = 0.25
_STATUSES: Final = {
    TaskState.SUBMITTED: "working",
    TaskState.WORKING: "working",
    TaskState.INPUT_REQUIRED: "input_required",
    # MCP has no equivalent: the task works on, and its message says where to authorize.
    TaskState.AUTH_REQUIRED: "working",
    TaskState.COMPLETED: "completed",
    TaskState.FAILED: "completed",
    TaskState.REJECTED: "completed",
    TaskState.CANCELED: "cancelled",
}


class Beginner(Protocol):
    """What decides which tools become tasks, and begins them; `Host` does."""

    def tool(self, name: str) -> HostTool | None:
        """The tool of that name."""
        ...

    def result(self, task: Task) -> CallToolResult:
        """The result of the tool call that began the task."""
        ...

    async def begin(self, ctx: Context, params: CallToolRequestParams) -> Task | Mapping[str, Any]:
        """Begin the task of a call, or answer it."""
        ...

    async def interim(
        self, ctx: Context, task: Task, asked: Mapping[str, dict[str, Any]]
    ) -> Mapping[str, Any] | None:
        """The answer that asks the client; None when it can answer none of it."""
        ...


class A2aTasks:
    """A `TaskBackend` over an agent's service; `Host` decides which tools become tasks."""

    def __init__(self, service: AgentService, host: "Beginner") -> None:
        self._service = service
        self._host = host
        self._identities: dict[str, Identity] = {}
        # Answers given to a question of which others are still open, by task.
        self._partial: dict[str, dict[str, Any]] = {}

    def owner(self, identity: Identity) -> str:
        """The owner that stands for `identity` in the extension."""
        owner = f"{identity.tenant}\n{identity.principal}"
        self._identities[owner] = identity
        return owner

    def takes(self, name: str) -> bool:
        tool = self._host.tool(name)
        return tool is not None and tool.tasks != "never"

    def requires(self, name: str) -> bool:
        tool = self._host.tool(name)
        return tool is not None and tool.tasks == "must"

    async def begin(
        self, params: CallToolRequestParams, owner: str, ctx: Context
    ) -> CreatedTask | Mapping[str, Any]:
        begun = await self._host.begin(ctx, params)
        if not isinstance(begun, Task):
            return dict(begun)
        call = self._call(owner)
        task = await self._first_word(begun, call)
        asked = input_requests(task)
        if asked and await self._asks_first(task, call):
            # MCP: what is asked before the work begins is asked before there is a task.
            interim = await self._host.interim(ctx, task, asked)
            if interim is not None:
                return dict(interim)
        return CreatedTask(await self.get(task.id, owner))

    async def get(self, task_id: str, owner: str) -> TaskView:
        call = self._call(owner)
        task = await self._task(task_id, call)
        page = await self._service.read_events(task_id, 0, call, limit=1)
        return self._view(task, page)

    async def update(self, task_id: str, owner: str, responses: Mapping[str, Any]) -> None:
        call = self._call(owner)
        task = await self._task(task_id, call)
        asked = input_requests(task)
        given = self._partial.setdefault(task_id, {})
        given.update({key: each for key, each in responses.items() if key in asked})
        if not asked or unanswered(asked, given):
            return
        del self._partial[task_id]
        if declined(asked, given):
            await self._service.cancel_task(CancelTaskRequest(id=task_id), call)
            return
        message = answer_message(task, asked, given)
        wants = SendMessageConfiguration(return_immediately=True)
        await self._service.send_message(
            SendMessageRequest(message=message, configuration=wants), call
        )

    async def cancel(self, task_id: str, owner: str) -> None:
        call = self._call(owner)
        task = await self._task(task_id, call)
        if not is_terminal(task.status.state):
            await self._service.cancel_task(CancelTaskRequest(id=task_id), call)

    async def changed(self, task_id: str, owner: str, version: int) -> TaskView:
        call = self._call(owner)
        while True:
            view = await self.get(task_id, owner)
            if view.version > version or view.ended:
                return view
            await self._service.read_events(task_id, view.version, call, wait=HOLD)

    async def _first_word(self, task: Task, call: Call) -> Task:
        """The task after its first event beyond SUBMITTED, or as it stands when that takes long."""
        seen = 1
        with anyio.move_on_after(_FIRST_WORD):
            while task.status.state is TaskState.SUBMITTED:
                page = await self._service.read_events(task.id, seen, call, wait=HOLD)
                seen = page.last_sequence
                task = await self._task(task.id, call)
        return task

    async def _asks_first(self, task: Task, call: Call) -> bool:
        """Whether no event says that the work began before it asked."""
        page = await self._service.read_events(task.id, 0, call)
        return not any(
            numbered.event.status_update is not None
            and numbered.event.status_update.status.state is TaskState.WORKING
            for numbered in page.events
        )

    async def _task(self, task_id: str, call: Call) -> Task:
        try:
            return await self._service.get_task(GetTaskRequest(id=task_id), call)
        except TaskNotFoundError as error:
            raise UnknownTaskError(task_id) from error

    def _call(self, owner: str) -> Call:
        identity = self._identities[owner]
        return Call(
            principal=identity.principal,
            tenant=identity.tenant,
            capabilities=identity.capabilities,
        )

    def _view(self, task: Task, page: EventPage) -> TaskView:
        first = page.events[0].event.task if page.events else None
        began = _seconds(first.status if first is not None else task.status)
        crash = crash_of(task)
        given = self._partial.get(task.id, {})
        said = task.status.message
        return TaskView(
            task_id=task.id,
            status="failed" if crash else _STATUSES[task.status.state],  # type: ignore[arg-type]  # the table holds the literals
            created_at=began,
            updated_at=_seconds(task.status),
            version=page.last_sequence,
            message=said.text if said is not None else "",
            poll_ms=_POLL_MS,
            result=None
            if crash or not is_terminal(task.status.state)
            else self._host.result(task).model_dump(mode="json", by_alias=True, exclude_none=True),
            error=crash,
            input_requests=unanswered(input_requests(task), given),
        )


def _seconds(status: TaskStatus) -> float:
    return 0.0 if status.timestamp is None else status.timestamp.timestamp()
