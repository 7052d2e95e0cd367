"""What a task is on the wire: its identifier, its states and its shapes (SEP-2663)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal

from mcp.types import NotificationParams, Request, RequestParams, Result

TASKS: Final = "io.modelcontextprotocol/tasks"
GET: Final = "tasks/get"
UPDATE: Final = "tasks/update"
CANCEL: Final = "tasks/cancel"
CHANGED: Final = "notifications/tasks"

TaskStatus = Literal["working", "input_required", "completed", "failed", "cancelled"]
TERMINAL: Final = frozenset({"completed", "failed", "cancelled"})


@dataclass(frozen=True, slots=True)
class TaskView:
    """A task as its owner may see it now.

    created_at, updated_at: seconds since the epoch. ttl_ms: how long the task is
    kept from its creation on, None for as long as the server likes. version: grows
    with every change, so that a watcher knows what it has seen. `result` is that
    of a completed task, `error` the JSON-RPC error of a failed one, and
    `input_requests` what an `input_required` one waits for, by key.
    """

    task_id: str
    status: TaskStatus
    created_at: float
    updated_at: float
    version: int = 0
    message: str = ""
    ttl_ms: int | None = None
    poll_ms: int = 500
    result: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None
    input_requests: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def ended(self) -> bool:
        """Whether nothing will change any more."""
        return self.status in TERMINAL

    def base(self) -> dict[str, Any]:
        """The fields that every shape of a task has."""
        shown: dict[str, Any] = {
            "taskId": self.task_id,
            "status": self.status,
            "createdAt": _moment(self.created_at),
            "lastUpdatedAt": _moment(self.updated_at),
            "ttlMs": self.ttl_ms,
            "pollIntervalMs": self.poll_ms,
        }
        if self.message:
            shown["statusMessage"] = self.message
        return shown

    def created(self) -> dict[str, Any]:
        """CreateTaskResult, the answer to `tools/call`."""
        return {"resultType": "task", **self.base()}

    def detailed(self) -> dict[str, Any]:
        """DetailedTask, the answer to `tasks/get` and the body of a notification."""
        shown = self.base()
        if self.status == "completed":
            shown["result"] = dict(self.result or {})
        elif self.status == "failed":
            shown["error"] = dict(self.error or {"code": -32603, "message": "the task failed"})
        elif self.status == "input_required":
            shown["inputRequests"] = {key: dict(each) for key, each in self.input_requests.items()}
        return shown


class TaskParams(RequestParams):
    """Names a task."""

    task_id: str


class UpdateParams(TaskParams):
    """Answers to some of what a task waits for, by key."""

    input_responses: dict[str, Any]


class GetTask(Request[TaskParams, Literal["tasks/get"]]):
    """Ask how a task stands."""

    method: Literal["tasks/get"] = "tasks/get"
    params: TaskParams
    name_param = "taskId"


class UpdateTask(Request[UpdateParams, Literal["tasks/update"]]):
    """Answer what a task waits for."""

    method: Literal["tasks/update"] = "tasks/update"
    params: UpdateParams
    name_param = "taskId"


class CancelTask(Request[TaskParams, Literal["tasks/cancel"]]):
    """Ask a task to end."""

    method: Literal["tasks/cancel"] = "tasks/cancel"
    params: TaskParams
    name_param = "taskId"


class TaskShape(Result):
    """A task as a client reads it, from whichever shape."""

    task_id: str
    status: TaskStatus
    status_message: str | None = None
    created_at: str
    last_updated_at: str
    ttl_ms: int | None = None
    poll_interval_ms: int | None = None


class CreateTaskResult(TaskShape):
    """The answer to a tool call that became a task."""

    result_type: Literal["task"] = "task"


class DetailedTask(TaskShape):
    """The answer to `tasks/get`."""

    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    # The core's own field of this name is typed for its three requests.
    input_requests: dict[str, Any] | None = None


class Acknowledged(Result):
    """The empty answer to `tasks/update` and `tasks/cancel`."""


class TaskChangedParams(NotificationParams):
    """A task that changed; what else it says is as in `tasks/get`."""

    task_id: str
    status: TaskStatus
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    input_requests: dict[str, Any] | None = None


def _moment(seconds: float) -> str:
    text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
