"""What is being done: tasks, their states and the events that tell of them (A2A 1.0, 4.1-4.2).

Which state may follow which, and how events make a task, is `lifecycle`'s.
"""

from typing import Self

from pydantic import model_validator

from .messages import Artifact, Message
from .wire import Flag, Moment, Required, Struct, WireEnum, WireModel, require_one


class TaskState(WireEnum):
    """Where a task stands. UNSPECIFIED is not a state here: nothing can be decided from it."""

    SUBMITTED = "TASK_STATE_SUBMITTED"
    WORKING = "TASK_STATE_WORKING"
    COMPLETED = "TASK_STATE_COMPLETED"
    FAILED = "TASK_STATE_FAILED"
    CANCELED = "TASK_STATE_CANCELED"
    INPUT_REQUIRED = "TASK_STATE_INPUT_REQUIRED"
    REJECTED = "TASK_STATE_REJECTED"
    AUTH_REQUIRED = "TASK_STATE_AUTH_REQUIRED"


class TaskStatus(WireModel):
    """A state, the message that came with it, and when; `timestamp` is always in UTC."""

    state: TaskState
    message: Message | None = None
    timestamp: Moment = None


class Task(WireModel):
    """A task as its events have made it so far."""

    id: Required
    context_id: str = ""
    status: TaskStatus
    artifacts: tuple[Artifact, ...] = ()
    history: tuple[Message, ...] = ()
    metadata: Struct = None


class TaskStatusUpdateEvent(WireModel):
    """A task came to a state."""

    task_id: Required
    context_id: str = ""
    status: TaskStatus
    metadata: Struct = None


class TaskArtifactUpdateEvent(WireModel):
    """An artifact, or with `append` a further piece of one; `last_chunk` says it is whole."""

    task_id: Required
    context_id: str = ""
    artifact: Artifact
    append: Flag = False
    last_chunk: Flag = False
    metadata: Struct = None


class StreamResponse(WireModel):
    """One event: exactly one of a task, a message, a status update and an artifact update."""

    task: Task | None = None
    message: Message | None = None
    status_update: TaskStatusUpdateEvent | None = None
    artifact_update: TaskArtifactUpdateEvent | None = None

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        payloads = (self.task, self.message, self.status_update, self.artifact_update)
        # By identity: `count(None)` would ask each model whether it equals None.
        count = sum(payload is not None for payload in payloads)
        require_one(self, count, "task, message, statusUpdate, artifactUpdate")
        return self

    @property
    def payload(self) -> Task | Message | TaskStatusUpdateEvent | TaskArtifactUpdateEvent:
        """The one that is set."""
        payload = self.task or self.message or self.status_update or self.artifact_update
        assert payload is not None
        return payload
