"""The port between the wire and the work: whoever has tasks offers them through it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from mcp.server.context import ServerRequestContext
from mcp.types import CallToolRequestParams

from .shapes import TaskView

Owner = str
Context = ServerRequestContext[Any, Any]


class TaskNotFoundError(LookupError):
    """No such task exists for this owner; another's answers alike."""


@dataclass(frozen=True, slots=True)
class CreatedTask:
    """A tool call that became a task, which is durable already."""

    view: TaskView


class TaskBackend(Protocol):
    """Tasks, each seen by its owner alone.

    An owner is whatever the server derives from what the transport proved; a
    method raises `TaskNotFoundError` alike for what is absent and what is another's.
    """

    def takes(self, name: str) -> bool:
        """Whether calls of this tool may become tasks."""
        ...

    def requires(self, name: str) -> bool:
        """Whether this tool runs as a task only."""
        ...

    async def begin(
        self, params: CallToolRequestParams, owner: Owner, ctx: Context
    ) -> CreatedTask | Mapping[str, Any]:
        """Begin a task, durable before it returns, or answer at once with a tool's result."""
        ...

    async def get(self, task_id: str, owner: Owner) -> TaskView:
        """The task as it stands."""
        ...

    async def update(self, task_id: str, owner: Owner, responses: Mapping[str, Any]) -> None:
        """Take answers to what the task waits for; unknown keys are ignored."""
        ...

    async def cancel(self, task_id: str, owner: Owner) -> None:
        """Ask the task to end; a task that has ended stays as it is."""
        ...

    async def changed(self, task_id: str, owner: Owner, version: int) -> TaskView:
        """The task once its version is above `version`."""
        ...
