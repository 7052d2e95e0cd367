"""An agent service that keeps its tasks in memory, for tests of whatever talks to one.

`MemoryService` keeps A2A's promises, as the contract tests over every link show:
one task per (principal, messageId), a log without gaps, tasks that only their
owner sees. It keeps nothing when the process ends; the runtime's journal does.

    async def shout(job: Job) -> None:
        await job.complete(job.message.text.upper())

    async with open_memory_service(shout) as service:
        ...

`obedient` is an agent that does what its message says; `python -m
repertory.protocol.testing` serves it on this process's pipes.
"""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final

import anyio
import anyio.lowlevel
import orjson
from anyio.abc import TaskGroup

from .cards import AgentCapabilities, AgentCard, AgentInterface, AgentSkill
from .envelope import BINDING_URI, error_from_wire, error_info
from .errors import (
    RepertoryError,
    TaskNotCancelableError,
    TaskNotFoundError,
    UnsupportedOperationError,
)
from .lifecycle import apply_event, is_interrupted, is_terminal, move
from .messages import Artifact, Message, Part, agent_message, new_id
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

_DEFAULT_PAGE: Final = 50


class Job:
    """What an agent function gets: the task it works on, and how to say how it goes."""

    def __init__(self, record: "_Record", message: Message, call: Call) -> None:
        self.message = message
        self.call = call
        self._record = record

    @property
    def task(self) -> Task:
        """The task as it stands."""
        return self._record.task

    async def working(self, note: str = "") -> None:
        """Say that the work goes on."""
        self._record.moved(TaskState.WORKING, note)

    async def artifact(
        self, text: str, *, artifact_id: str = "answer", append: bool = False, last: bool = False
    ) -> None:
        """Add an artifact, or with `append` a piece of one."""
        artifact = Artifact(artifact_id=artifact_id, parts=(Part(text=text),))
        task = self._record.task
        update = TaskArtifactUpdateEvent(
            task_id=task.id,
            context_id=task.context_id,
            artifact=artifact,
            append=append,
            last_chunk=last,
        )
        self._record.log(StreamResponse(artifact_update=update))

    async def complete(self, text: str = "") -> None:
        """End the task, with `text` as its artifact."""
        if text:
            await self.artifact(text, last=True)
        self._record.moved(TaskState.COMPLETED, "")

    async def fail(self, why: str) -> None:
        """End the task as failed."""
        self._record.moved(TaskState.FAILED, why)

    async def ask(self, question: str) -> Message:
        """Move the task to INPUT_REQUIRED and wait for the next message to it."""
        self._record.moved(TaskState.INPUT_REQUIRED, question)
        self.message = await self._record.next_message()
        return self.message


AgentFunction = Callable[[Job], Awaitable[None]]


async def obedient(job: Job) -> None:
    """Do what the message says, in a word and what follows it.

    shout TEXT: complete with TEXT in capitals. count N: complete with an
    artifact of N pieces. ask QUESTION: wait for an answer and complete with it.
    hang: work until canceled. fail WHY: fail. call: complete with what came
    along with the message, as JSON. process: complete with this process's id.
    """
    word, _, rest = job.message.text.partition(" ")
    await job.working()
    if word == "count":
        await job.artifact("0", append=False)
        for number in range(1, int(rest)):
            await job.artifact(str(number), append=True, last=number == int(rest) - 1)
        await job.complete()
    elif word == "ask":
        await job.complete((await job.ask(rest)).text)
    elif word == "hang":
        await anyio.sleep_forever()
    elif word == "fail":
        await job.fail(rest)
    elif word == "call":
        left = job.call.seconds_left()
        budget = job.call.budget
        came = {
            "principal": job.call.principal,
            "tenant": job.call.tenant,
            "seconds_left": left,
            "budget": [budget.tokens, budget.calls, budget.usd],
            "chain": list(job.call.chain),
            "traceparent": job.call.traceparent,
            "tracestate": job.call.tracestate,
        }
        await job.complete(orjson.dumps(came).decode())
    elif word == "process":
        await job.complete(str(os.getpid()))
    else:
        await job.complete(rest.upper())


class _Record:
    """One task: its log, what the log makes of it, and who waits for it."""

    def __init__(self, task: Task, owner: tuple[str, str]) -> None:
        self.owner = owner
        self.task = task
        self.events: list[NumberedEvent] = []
        self.cancel = anyio.CancelScope()
        self._changed = anyio.Event()
        self._answers: list[Message] = []
        self.log(StreamResponse(task=task))

    def log(self, event: StreamResponse) -> None:
        self.task = apply_event(self.task if self.events else None, event)
        self.events.append(NumberedEvent(sequence=len(self.events) + 1, event=event))
        self._wake()

    def moved(self, state: TaskState, note: str) -> None:
        task = self.task
        move(task.status.state, state)
        said = agent_message(note, context_id=task.context_id, task_id=task.id) if note else None
        status = TaskStatus(state=state, message=said, timestamp=datetime.now(UTC))
        update = TaskStatusUpdateEvent(task_id=task.id, context_id=task.context_id, status=status)
        self.log(StreamResponse(status_update=update))

    def answered(self, message: Message) -> None:
        """Go on with the task: it is told anew, since a task's stream carries no bare message."""
        task = self.task
        said = () if task.status.message is None else (task.status.message,)
        state = move(task.status.state, TaskState.WORKING)
        status = TaskStatus(state=state, timestamp=datetime.now(UTC))
        history = (*task.history, *said, message)
        anew = task.model_copy(update={"status": status, "history": history})
        self.log(StreamResponse(task=anew))
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

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()


class MemoryService:
    """An `AgentService` around one async function; open it with `open_memory_service`.

    `calls` lists every call a message came with, for tests of what arrives. A
    message whose metadata says `{"refuse": "BUSY"}` is refused with the error
    of that reason, for tests of what becomes of it.
    """

    def __init__(self, agent: AgentFunction, group: TaskGroup, card: AgentCard) -> None:
        self._agent = agent
        self._group = group
        self._card = card
        self._records: dict[str, _Record] = {}
        self._by_message: dict[tuple[str, str, str], _Record] = {}
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
        if not (wants and wants.return_immediately):
            while not (record.ended() or is_interrupted(record.task.status.state)):
                await record.changed()
        return SendMessageResponse(task=record.task)

    async def get_task(self, request: GetTaskRequest, call: Call) -> Task:
        """The task as its log says now."""
        return _with_history(self._own(request.id, call).task, request.history_length)

    async def list_tasks(self, request: ListTasksRequest, call: Call) -> ListTasksResponse:
        """The caller's tasks, newest status first."""
        owned = [
            record.task
            for record in self._records.values()
            if record.owner == (call.tenant, call.principal)
            and request.context_id in ("", record.task.context_id)
            and request.status in (None, record.task.status.state)
        ]
        owned.sort(key=lambda task: (task.status.timestamp or _EPOCH, task.id), reverse=True)
        start = int(request.page_token) if request.page_token.isdigit() else 0
        size = request.page_size or _DEFAULT_PAGE
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
        key = (call.tenant, call.principal, message.message_id)
        if (known := self._by_message.get(key)) is not None:
            return known
        if message.task_id:
            record = self._own(message.task_id, call)
            if record.ended():
                raise UnsupportedOperationError(
                    f"task {message.task_id} has ended and takes no more messages"
                )
            record.answered(message.model_copy(update={"context_id": record.task.context_id}))
        else:
            record = self._begin(message, call)
        self._by_message[key] = record
        self.calls.append(call)
        return record

    def _begin(self, message: Message, call: Call) -> _Record:
        task_id, context_id = new_id(), message.context_id or new_id()
        message = message.model_copy(update={"task_id": task_id, "context_id": context_id})
        status = TaskStatus(state=TaskState.SUBMITTED, timestamp=datetime.now(UTC))
        task = Task(id=task_id, context_id=context_id, status=status, history=(message,))
        record = _Record(task, (call.tenant, call.principal))
        self._records[task_id] = record
        self._group.start_soon(self._work, record, message, call)
        return record

    async def _work(self, record: _Record, message: Message, call: Call) -> None:
        with record.cancel:
            # Canceled before it began: the first thing it did would be an illegal move.
            await anyio.lowlevel.checkpoint_if_cancelled()
            try:
                await self._agent(Job(record, message, call))
                state, why = TaskState.COMPLETED, ""
            except RepertoryError as error:
                state, why = TaskState.FAILED, str(error)
            if not record.ended():
                record.moved(state, why)

    def _own(self, task_id: str, call: Call) -> _Record:
        record = self._records.get(task_id)
        if record is None or record.owner != (call.tenant, call.principal):
            raise TaskNotFoundError(f"no task {task_id!r}", task_id=task_id)
        return record


_EPOCH: Final = datetime.fromtimestamp(0, UTC)


@asynccontextmanager
async def open_memory_service(
    agent: AgentFunction, *, card: AgentCard | None = None
) -> AsyncIterator[MemoryService]:
    """Run `agent` as a service; its unfinished tasks are dropped when the block ends."""
    async with anyio.create_task_group() as group:
        yield MemoryService(agent, group, card or memory_card())
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
    if length is None or len(task.history) <= length:
        return task
    return task.model_copy(update={"history": task.history[-length:] if length else ()})


async def _serve() -> None:
    from .binding import agent_server, serve_stdio  # as a program, after the room's names exist

    async with open_memory_service(obedient) as service:
        card = memory_card("obedient", "stdio:")
        await serve_stdio(agent_server(service, lambda: card))


if __name__ == "__main__":
    anyio.run(_serve)
