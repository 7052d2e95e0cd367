"""An agent service that keeps its tasks in memory, for tests of whatever talks to one.

`MemoryService` keeps A2A's promises, as the contract tests over every link show:
a log without gaps, tasks that only their owner sees, one task per (principal,
messageId) unless it is told otherwise. It keeps nothing when the process ends;
the runtime's journal does. `testing` serves one over all faces.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final

import anyio
import anyio.lowlevel
from anyio.abc import TaskGroup

from .cards import AgentCapabilities, AgentCard, AgentInterface, AgentSkill
from .envelope import BINDING_URI, error_from_wire, error_info
from .errors import (
    InvalidParamsError,
    RepertoryError,
    TaskNotCancelableError,
    TaskNotFoundError,
    UnsupportedOperationError,
)
from .lifecycle import apply_event, is_interrupted, is_terminal, move
from .messages import Artifact, Message, Part, Role, new_id
from .metadata import REASON_KEY, SKILL_KEY
from .operations import (
    CancelTaskRequest,
    EventPage,
    GetTaskRequest,
    ListTasksRequest,
    ListTasksResponse,
    NumberedEvent,
    SendMessageRequest,
    SendMessageResponse,
)
from .service import Call
from .tasks import (
    StreamResponse,
    Task,
    TaskArtifactUpdateEvent,
    TaskState,
    TaskStatus,
    TaskStatusUpdateEvent,
)

_log = logging.getLogger(__name__)

_DEFAULT_PAGE: Final = 50
_LARGEST_PAGE: Final = 100
_FIRST_WORD_SECONDS: Final = 0.1


Content = str | Mapping[str, Any] | Part | Sequence[Part]


class Job:
    """What an agent function gets: the task it works on, and how to say how it goes.

    message: what the task is to be worked on with; after `ask`, the answer.
    call: who asks, until when and for how much. Content is text, a mapping for a
    data part, or parts. A function that returns completes its task, unless the
    task waits for someone: then the next message to it calls the function again.
    """

    def __init__(self, record: "_Record", message: Message, call: Call) -> None:
        self.message = message
        self.call = call
        self._record = record

    @property
    def task(self) -> Task:
        """The task as it stands."""
        return self._record.task

    @property
    def skill(self) -> str:
        """The skill that an MCP host called, as its tool is named; "" when nobody said."""
        named = (self.message.metadata or {}).get(SKILL_KEY, "")
        return named if isinstance(named, str) else ""

    async def working(self, note: str = "") -> None:
        """Say that the work goes on."""
        self._record.moved(TaskState.WORKING, note)

    async def artifact(
        self,
        content: Content,
        *,
        artifact_id: str = "answer",
        name: str = "",
        append: bool = False,
        last: bool = False,
    ) -> None:
        """Add an artifact, or with `append` a piece of one; appending to none begins it."""
        task = self._record.task
        begun = any(each.artifact_id == artifact_id for each in task.artifacts)
        update = TaskArtifactUpdateEvent(
            task_id=task.id,
            context_id=task.context_id,
            artifact=Artifact(artifact_id=artifact_id, name=name, parts=parts_of(content)),
            append=append and begun,
            last_chunk=last,
        )
        self._record.log(StreamResponse(artifact_update=update))

    async def complete(self, content: Content = "", *, note: str = "") -> None:
        """End the task, with `content` as its artifact and `note` as its status' message."""
        if content:
            await self.artifact(content, last=True)
        self._record.moved(TaskState.COMPLETED, note)

    async def fail(self, why: str = "") -> None:
        """End the task as failed."""
        self._record.moved(TaskState.FAILED, why)

    async def reject(self, why: str = "") -> None:
        """End the task as one that this agent does not do."""
        self._record.moved(TaskState.REJECTED, why)

    async def ask(self, question: Content = "") -> Message:
        """Move the task to INPUT_REQUIRED and wait for the next message to it."""
        return await self._interrupted(TaskState.INPUT_REQUIRED, question)

    async def require_auth(self, how: Content = "") -> Message:
        """Move the task to AUTH_REQUIRED and wait for the next message to it."""
        return await self._interrupted(TaskState.AUTH_REQUIRED, how)

    async def interrupt(self, question: Content = "", *, auth: bool = False) -> None:
        """Move the task to INPUT_REQUIRED, or AUTH_REQUIRED, and do not wait.

        When the function then returns, the next message to the task calls it again.
        """
        state = TaskState.AUTH_REQUIRED if auth else TaskState.INPUT_REQUIRED
        self._record.moved(state, question)

    async def reply(self, content: Content) -> None:
        """Answer the message without a task; only before anything else was said of the task.

        Raises:
            UnsupportedOperationError: The task has been spoken of.
        """
        self._record.reply(
            Message(
                message_id=new_id(),
                role=Role.AGENT,
                parts=parts_of(content),
                context_id=self.task.context_id,
            )
        )

    async def _interrupted(self, state: TaskState, question: Content) -> Message:
        self._record.moved(state, question)
        self.message = await self._record.next_message()
        return self.message


def parts_of(content: Content) -> tuple[Part, ...]:
    """Content as parts: text, a mapping as data, or the parts themselves."""
    if isinstance(content, str):
        return (Part(text=content),)
    if isinstance(content, Part):
        return (content,)
    if isinstance(content, Mapping):
        return (Part(data=dict(content)),)
    return tuple(content)


AgentFunction = Callable[[Job], Awaitable[None]]


class _Record:
    """One task: its log, what the log makes of it, and who waits for it."""

    def __init__(self, task: Task, owner: tuple[str, str], began: Message) -> None:
        self.owner = owner
        self.task = task
        self.began = began
        self.replied: Message | None = None
        self.events: list[NumberedEvent] = []
        self.cancel = anyio.CancelScope()
        self.at_work = False
        self.decided = anyio.Event()
        self._changed = anyio.Event()
        self._answers: list[Message] = []
        self.log(StreamResponse(task=task))

    def log(self, event: StreamResponse) -> None:
        if self.events:
            self.decided.set()
        self.task = apply_event(self.task if self.events else None, event)
        self.events.append(NumberedEvent(sequence=len(self.events) + 1, event=event))
        self._wake()

    def moved(
        self, state: TaskState, note: Content, metadata: dict[str, Any] | None = None
    ) -> None:
        task = self.task
        move(task.status.state, state)
        said = None
        if note:
            said = Message(
                message_id=new_id(),
                role=Role.AGENT,
                parts=parts_of(note),
                context_id=task.context_id,
                task_id=task.id,
            )
        status = TaskStatus(state=state, message=said, timestamp=datetime.now(UTC))
        update = TaskStatusUpdateEvent(
            task_id=task.id, context_id=task.context_id, status=status, metadata=metadata
        )
        self.log(StreamResponse(status_update=update))

    def reply(self, message: Message) -> None:
        if len(self.events) > 1 or self.replied is not None:
            raise UnsupportedOperationError("a task that was spoken of ends as a task")
        self.replied = message
        self.decided.set()
        self._wake()

    def answered(self, message: Message) -> None:
        """Go on with the task: it is told anew, since a task's stream carries no bare message."""
        task = self.task
        said = () if task.status.message is None else (task.status.message,)
        state = move(task.status.state, TaskState.WORKING)
        status = TaskStatus(state=state, timestamp=datetime.now(UTC))
        history = (*task.history, *said, message)
        anew = task.model_copy(update={"status": status, "history": history})
        self.log(StreamResponse(task=anew))
        if self.at_work:
            self._answers.append(message)
            self._wake()

    async def next_message(self) -> Message:
        while not self._answers:
            await self.changed()
        return self._answers.pop(0)

    async def changed(self) -> None:
        await self._changed.wait()

    def ended(self) -> bool:
        return is_terminal(self.task.status.state)

    def settled(self) -> bool:
        return self.ended() or is_interrupted(self.task.status.state) or self.replied is not None

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()


class MemoryService:
    """An `AgentService` around one async function; open it with `open_memory_service`.

    `calls` lists every call a message came with, for tests of what arrives. A
    message whose metadata says `{"refuse": "BUSY"}` is refused with the error
    of that reason, for tests of what becomes of it.
    """

    def __init__(
        self, agent: AgentFunction, group: TaskGroup, card: AgentCard, *, once: bool = True
    ) -> None:
        self._agent = agent
        self._group = group
        self._card = card
        self._once = once
        self._records: dict[str, _Record] = {}
        self._by_message: dict[tuple[str, str, str, str], _Record] = {}
        self.calls: list[Call] = []

    async def get_agent_card(self, call: Call) -> AgentCard:
        """The card, which names its reader: it is extended for every caller."""
        return self._card.model_copy(
            update={"description": f"{self._card.description} (for {call.principal})".strip()}
        )

    async def send_message(self, request: SendMessageRequest, call: Call) -> SendMessageResponse:
        """Begin a task, or go on with one that waits for input."""
        record = self._accept(request.message, call)
        wants = request.configuration
        if wants and wants.return_immediately:
            # Whether there is a task at all is the agent's first word; it is not waited for long.
            with anyio.move_on_after(_FIRST_WORD_SECONDS):
                await record.decided.wait()
        else:
            while not record.settled():
                await record.changed()
        if record.replied is not None:
            return SendMessageResponse(message=record.replied)
        length = wants.history_length if wants else None
        return SendMessageResponse(task=_with_history(record.task, length))

    async def get_task(self, request: GetTaskRequest, call: Call) -> Task:
        """The task as its log says now."""
        return _with_history(self._own(request.id, call).task, request.history_length)

    async def list_tasks(self, request: ListTasksRequest, call: Call) -> ListTasksResponse:
        """The caller's tasks, newest status first."""
        after = request.status_timestamp_after
        owned = [
            record.task
            for record in self._records.values()
            if record.owner == (call.tenant, call.principal)
            and record.replied is None
            and request.context_id in ("", record.task.context_id)
            and request.status in (None, record.task.status.state)
            and (after is None or (record.task.status.timestamp or _EPOCH) > after)
        ]
        owned.sort(key=lambda task: (task.status.timestamp or _EPOCH, task.id), reverse=True)
        size = _DEFAULT_PAGE if request.page_size is None else request.page_size
        if not 1 <= size <= _LARGEST_PAGE:
            raise InvalidParamsError(f"pageSize is {size}; it may be 1 to {_LARGEST_PAGE}")
        start = _start_of(request.page_token)
        page = owned[start : start + size]
        if not request.include_artifacts:
            page = [task.model_copy(update={"artifacts": ()}) for task in page]
        more = start + size < len(owned)
        return ListTasksResponse(
            tasks=tuple(_with_history(task, request.history_length) for task in page),
            next_page_token=str(start + size) if more else "",
            page_size=len(page),
            total_size=len(owned),
        )

    async def cancel_task(self, request: CancelTaskRequest, call: Call) -> Task:
        """End a task that has not ended."""
        record = self._own(request.id, call)
        if record.ended():
            raise TaskNotCancelableError(f"task {request.id} has ended", task_id=request.id)
        record.cancel.cancel()
        record.moved(TaskState.CANCELED, "")
        return record.task

    async def read_events(
        self, task_id: str, after_sequence: int, call: Call, *, wait: float = 0.0, limit: int = 256
    ) -> EventPage:
        """Events above `after_sequence`; waits for one where there is none yet."""
        record = self._own(task_id, call)
        if wait and len(record.events) <= after_sequence and not record.ended():
            with anyio.move_on_after(wait):
                await record.changed()
        events = tuple(record.events[after_sequence : after_sequence + limit])
        last = len(record.events)
        whole = not events or events[-1].sequence == last
        return EventPage(events=events, last_sequence=last, ended=record.ended() and whole)

    def _accept(self, message: Message, call: Call) -> _Record:
        if refusal := (message.metadata or {}).get("refuse"):
            raise error_from_wire(0, f"refused with {refusal}", [error_info(refusal)])
        key = (call.tenant, call.principal, message.task_id, message.message_id)
        known = self._by_message.get(key)
        # The very same object is the face's own second question, not a sender's repetition.
        if known is not None and (self._once or known.began is message):
            return known
        if message.task_id:
            record = self._own(message.task_id, call)
            context = record.task.context_id
            if message.context_id and message.context_id != context:
                raise InvalidParamsError(
                    f"task {message.task_id} is in context {context!r}, not {message.context_id!r}",
                    task_id=message.task_id,
                )
            if record.ended():
                raise UnsupportedOperationError(
                    f"task {message.task_id} has ended and takes no more messages"
                )
            said = message.model_copy(update={"context_id": context})
            record.answered(said)
            record.began = message
            if not record.at_work:
                self._group.start_soon(self._work, record, said, call)
        else:
            record = self._begin(message, call)
        self._by_message[key] = record
        self.calls.append(call)
        return record

    def _begin(self, message: Message, call: Call) -> _Record:
        task_id, context_id = new_id(), message.context_id or new_id()
        said = message.model_copy(update={"task_id": task_id, "context_id": context_id})
        status = TaskStatus(state=TaskState.SUBMITTED, timestamp=datetime.now(UTC))
        task = Task(id=task_id, context_id=context_id, status=status, history=(said,))
        record = _Record(task, (call.tenant, call.principal), message)
        self._records[task_id] = record
        record.at_work = True
        self._group.start_soon(self._work, record, said, call)
        return record

    async def _work(self, record: _Record, message: Message, call: Call) -> None:
        record.at_work = True
        with record.cancel:
            # Canceled before it began: the first thing it did would be an illegal move.
            await anyio.lowlevel.checkpoint_if_cancelled()
            broke: dict[str, Any] | None = None
            try:
                await self._agent(Job(record, message, call))
                state, why = TaskState.COMPLETED, ""
            except RepertoryError as error:
                state, why = TaskState.FAILED, str(error)
            except Exception:  # noqa: BLE001 - an agent under test may break; its task says so
                _log.exception("the agent function broke")
                state, why = TaskState.FAILED, "the agent broke"
                broke = {REASON_KEY: RepertoryError.reason}
            record.at_work = False
            if not record.settled() or (why and not record.ended()):
                record.moved(state, why, broke)

    def _own(self, task_id: str, call: Call) -> _Record:
        record = self._records.get(task_id)
        if (
            record is None
            or record.owner != (call.tenant, call.principal)
            or record.replied is not None
        ):
            raise TaskNotFoundError(f"no task {task_id!r}", task_id=task_id)
        return record


def _start_of(token: str) -> int:
    if token and not token.isdecimal():
        raise InvalidParamsError(
            "pageToken is not one of ours; use nextPageToken of the page before"
        )
    return int(token or 0)


_EPOCH: Final = datetime.fromtimestamp(0, UTC)


@asynccontextmanager
async def open_memory_service(
    agent: AgentFunction, *, card: AgentCard | None = None, once: bool = True
) -> AsyncIterator[MemoryService]:
    """Run `agent` as a service; its unfinished tasks are dropped when the block ends.

    once: whether a message sent twice is one task, as the runtime has it.
    """
    async with anyio.create_task_group() as group:
        yield MemoryService(agent, group, card or memory_card(), once=once)
        group.cancel_scope.cancel()


def memory_card(name: str = "memory", url: str = "memory:", **changes: Any) -> AgentCard:
    """A card for an agent in a test; `changes` are fields of the card."""
    fields: dict[str, Any] = {
        "description": "An agent that forgets when the process ends.",
        "version": "1",
        "supported_interfaces": (
            AgentInterface(url=url, protocol_binding=BINDING_URI, protocol_version="1.0"),
        ),
        "capabilities": AgentCapabilities(streaming=True, extended_agent_card=True),
        "default_input_modes": ("text/plain",),
        "default_output_modes": ("text/plain",),
        "skills": (AgentSkill(id="work", name="Work", description="Works.", tags=("test",)),),
    }
    return AgentCard(name=name, **{**fields, **changes})


def _with_history(task: Task, length: int | None) -> Task:
    if length is not None and length < 0:
        raise InvalidParamsError(f"historyLength is {length}; it is zero or more")
    if length is None or len(task.history) <= length:
        return task
    return task.model_copy(update={"history": task.history[-length:] if length else ()})
