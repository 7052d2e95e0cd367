"""What may be asked of an agent: the requests and answers of A2A 1.0's operations (section 3).

`NumberedEvent` and `EventPage` are ours: they are what the binding's
`ReadTaskEvents` answers (docs/binding.md). A2A itself numbers no events.
"""

from typing import Annotated, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from .messages import Message
from .tasks import StreamResponse, Task, TaskState
from .wire import Flag, Int32, Moment, Required, Struct, WireModel, require_one


class AuthenticationInfo(WireModel):
    """How an agent authenticates itself where it pushes to."""

    scheme: Required
    credentials: str = ""


class TaskPushNotificationConfig(WireModel):
    """Where a task's events are to be pushed."""

    tenant: str = ""
    id: str = ""
    task_id: str = ""
    url: Required
    token: str = ""
    authentication: AuthenticationInfo | None = None


class SendMessageConfiguration(WireModel):
    """How the sender wants its answer; `history_length` None asks for all, 0 for none."""

    accepted_output_modes: tuple[str, ...] = ()
    task_push_notification_config: TaskPushNotificationConfig | None = None
    history_length: Int32 | None = None
    return_immediately: Flag = False


def _with_parts(message: Message) -> Message:
    if not message.parts:
        raise ValueError("needs at least one part")
    return message


class SendMessageRequest(WireModel):
    """A message for an agent, which begins a task or goes on with one."""

    tenant: str = ""
    message: Annotated[Message, AfterValidator(_with_parts)]
    configuration: SendMessageConfiguration | None = None
    metadata: Struct = None


class SendMessageResponse(WireModel):
    """The task that the message began or went on with, or an answer without a task."""

    task: Task | None = None
    message: Message | None = None

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        require_one(self, (self.task is not None) + (self.message is not None), "task, message")
        return self

    @property
    def payload(self) -> Task | Message:
        """The one that is set."""
        payload = self.task or self.message
        assert payload is not None
        return payload


class GetTaskRequest(WireModel):
    """Ask for a task; `history_length` None asks for all of its history, 0 for none."""

    tenant: str = ""
    id: Required
    history_length: Int32 | None = None


def _none_if_unspecified(value: object) -> object:
    """UNSPECIFIED filters nothing, as its absence does."""
    return None if value in ("TASK_STATE_UNSPECIFIED", 0) else value


class ListTasksRequest(WireModel):
    """Ask for the caller's tasks that fit every filter that is set."""

    tenant: str = ""
    context_id: str = ""
    status: Annotated[TaskState | None, BeforeValidator(_none_if_unspecified)] = None
    page_size: Int32 | None = None
    page_token: str = ""
    history_length: Int32 | None = None
    status_timestamp_after: Moment = None
    include_artifacts: Flag | None = None


class ListTasksResponse(WireModel):
    """A page of tasks; `next_page_token` is empty on the last."""

    tasks: tuple[Task, ...] = ()
    next_page_token: str = ""
    page_size: Int32 = 0
    total_size: Int32 = 0


class CancelTaskRequest(WireModel):
    """Ask a task to end."""

    tenant: str = ""
    id: Required
    metadata: Struct = None


class SubscribeToTaskRequest(WireModel):
    """Ask for a task as it is and then its events."""

    tenant: str = ""
    id: Required


class GetTaskPushNotificationConfigRequest(WireModel):
    """Ask for one push configuration of a task."""

    tenant: str = ""
    task_id: Required
    id: Required


class DeleteTaskPushNotificationConfigRequest(WireModel):
    """Ask that a task's events be pushed there no more."""

    tenant: str = ""
    task_id: Required
    id: Required


class ListTaskPushNotificationConfigsRequest(WireModel):
    """Ask for a task's push configurations."""

    tenant: str = ""
    task_id: Required
    page_size: Int32 = 0
    page_token: str = ""


class ListTaskPushNotificationConfigsResponse(WireModel):
    """A page of push configurations; `next_page_token` is empty on the last."""

    configs: tuple[TaskPushNotificationConfig, ...] = ()
    next_page_token: str = ""


class GetExtendedAgentCardRequest(WireModel):
    """Ask for the card as this caller may see it."""

    tenant: str = ""


class NumberedEvent(WireModel):
    """An event with its place in its task's log: 1, 2, 3, without gaps."""

    sequence: Annotated[int, Field(ge=1)]
    event: StreamResponse


class EventPage(WireModel):
    """Events in order; `last_sequence` is the log's last, and `ended` that none will follow."""

    events: tuple[NumberedEvent, ...] = ()
    last_sequence: Annotated[int, Field(ge=0)] = 0
    ended: Flag = False
