"""A task in memory: its facts, the events published so far, and who waits for more."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import anyio

from repertory.protocol import (
    EVERYTHING,
    Budget,
    Call,
    Capabilities,
    EventPage,
    Message,
    NumberedEvent,
    Role,
    StreamResponse,
    Task,
    TaskState,
    apply_event,
    is_interrupted,
    is_terminal,
    move,
)

# Keys of ours in A2A metadata; docs/binding.md lists them.
INPUT_KEY = "dev.repertory/input"
STEP_KEY = "dev.repertory/step"
USAGE_KEY = "dev.repertory/usage"
WAITING_KEY = "dev.repertory/waiting"
REASON_KEY = "dev.repertory/reason"
QUESTION_KEY = "dev.repertory/question"
PLAN_KEY = "dev.repertory/plan"


def state_of(event: StreamResponse) -> TaskState | None:
    """The state that an event moves its task to, None for artifacts."""
    if event.task is not None:
        return event.task.status.state
    if event.status_update is not None:
        return event.status_update.status.state
    return None


def text_of(event: StreamResponse) -> str:
    """The words of an event that a list of tasks shows."""
    update = event.status_update
    if update is not None and update.status.message is not None:
        return update.status.message.text[:400]
    return ""


def park_of(event: StreamResponse, park: str) -> str:
    """What the task waits for after the event: `person`, the ids of tasks, or ""."""
    if event.status_update is None:
        return park
    metadata = event.status_update.metadata or {}
    if state_of(event) in (TaskState.INPUT_REQUIRED, TaskState.AUTH_REQUIRED):
        return "person"
    return str(metadata.get(WAITING_KEY, ""))


@dataclass(slots=True, eq=False, weakref_slot=True)
class TaskRecord:
    """One accepted message and its event log, shared by its turn and its readers.

    seconds: working time allowed; waiting for a person does not count.
    """

    id: str
    agent: str
    tenant: str
    principal: str
    context_id: str
    message: Message
    parent_task: str = ""
    seconds: float | None = None
    budget: Budget = field(default_factory=Budget)
    chain: tuple[str, ...] = ()
    traceparent: str = ""
    capabilities: Capabilities = EVERYTHING
    attempts: int = 0
    created_at: float = 0.0
    updated_at: float = 0.0
    park: str = ""
    text: str = ""
    state: TaskState | None = None
    staged: int = 0
    events: list[NumberedEvent] = field(default_factory=list)
    cancel_requested: bool = False
    refused: Exception | None = None
    listener: "Callable[[TaskRecord, Sequence[NumberedEvent]], None] | None" = None
    _folded: Task | None = None
    _folded_to: int = 0
    _changed: anyio.Event | None = None

    @property
    def ended(self) -> bool:
        """Whether the last published event is terminal."""
        return bool(self.events) and self.last_sequence == self.staged and is_terminal(self.now)

    @property
    def now(self) -> TaskState:
        """The state after the last staged event."""
        return self.state or TaskState.SUBMITTED

    @property
    def last_sequence(self) -> int:
        """The sequence of the last published event, 0 before the first."""
        return self.events[-1].sequence if self.events else 0

    def belongs_to(self, call: Call) -> bool:
        """Whether the call may see this task."""
        return self.tenant == call.tenant and self.principal == call.principal

    def stage(self, event: StreamResponse) -> NumberedEvent:
        """Number an event that is about to be journaled, if the move is legal.

        Raises:
            IllegalMoveError: The task cannot go there from its present state.
        """
        to = state_of(event)
        if to is not None:
            self.state = move(self.state, to)
        self.staged += 1
        return NumberedEvent(sequence=self.staged, event=event)

    def unstage(self) -> None:
        """Go back to what is published, after a write that was refused."""
        self.staged = self.last_sequence
        states = (state_of(numbered.event) for numbered in reversed(self.events))
        self.state = next((state for state in states if state is not None), None)

    def follow(self, events: Iterable[NumberedEvent]) -> None:
        """Show what another process journaled, as far as it is new here."""
        fresh = [event for event in events if event.sequence > self.last_sequence]
        for numbered in fresh:
            self.text = text_of(numbered.event) or self.text
            self.park = park_of(numbered.event, self.park)
        self.staged = fresh[-1].sequence if fresh else self.staged
        self.state = next(
            (state for each in reversed(fresh) if (state := state_of(each.event)) is not None),
            self.state,
        )
        self.publish(fresh)

    def raise_refused(self) -> None:
        """Tell, once, that a write which nobody waited for was refused."""
        if self.refused is not None:
            error, self.refused = self.refused, None
            raise error

    def publish(self, events: Iterable[NumberedEvent]) -> None:
        """Show journaled events to whoever reads."""
        fresh = tuple(events)
        self.events.extend(fresh)
        if self.listener is not None:
            self.listener(self, fresh)
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    def snapshot(self) -> Task:
        """The task as its published log says."""
        task = self._folded
        for numbered in self.events[self._folded_to :]:
            task = apply_event(task, numbered.event)
            task = _with_input(task, numbered.event)
        assert task is not None, "the first event of a log is the task itself"
        self._folded, self._folded_to = task, len(self.events)
        return task

    def page(self, after_sequence: int, limit: int) -> EventPage:
        """Published events above `after_sequence`; a log has no gaps, so it is a slice."""
        events = tuple(self.events[max(0, after_sequence) :][:limit])
        last = events[-1].sequence if events else min(after_sequence, self.last_sequence)
        return EventPage(
            events=events,
            last_sequence=self.last_sequence,
            ended=self.ended and last == self.last_sequence,
        )

    async def wait_beyond(self, sequence: int) -> None:
        """Wait until an event above `sequence` is published, or the task has ended."""
        while self.last_sequence <= sequence and not self.ended:
            if self._changed is None:
                self._changed = anyio.Event()
            await self._changed.wait()

    def dialogue(self) -> list[Message]:
        """What caller and agent said, in order: the message, questions with answers, the result.

        Who sent a message decides its role, whatever it says of itself. Reports
        on the way are left out.
        """
        spoken = [self.message.model_copy(update={"role": Role.USER})]
        for numbered in self.events:
            update = numbered.event.status_update
            if update is None:
                continue
            state = update.status.state
            if update.metadata and INPUT_KEY in update.metadata:
                given = Message.parse(update.metadata[INPUT_KEY])
                spoken.append(given.model_copy(update={"role": Role.USER}))
            if is_terminal(state):
                spoken.extend(self._artifact_messages())
            message = update.status.message
            speaks = is_terminal(state) or is_interrupted(state)
            # An agent may say its artifact once more when it completes.
            if message is not None and speaks and message.parts != spoken[-1].parts:
                spoken.append(message)
        return spoken

    def _artifact_messages(self) -> list[Message]:
        return [
            Message(message_id=artifact.artifact_id, role=Role.AGENT, parts=artifact.parts)
            for artifact in self.snapshot().artifacts
        ]

    def inputs(self) -> dict[str, Message]:
        """What persons and callers answered, by the question's step key ("" for unasked)."""
        found: dict[str, Message] = {}
        for numbered in self.events:
            update = numbered.event.status_update
            if update is not None and update.metadata and INPUT_KEY in update.metadata:
                key = str(update.metadata.get(STEP_KEY, ""))
                found[key] = Message.parse(update.metadata[INPUT_KEY])
        return found

    def emitted(self) -> set[str]:
        """The step keys whose events are already in the log."""
        found: set[str] = set()
        for numbered in self.events:
            update = numbered.event.status_update or numbered.event.artifact_update
            if update is not None and update.metadata and STEP_KEY in update.metadata:
                found.add(str(update.metadata[STEP_KEY]))
        return found


def _with_input(task: Task, event: StreamResponse) -> Task:
    """Put the message that an input event carries into the task's history."""
    update = event.status_update
    if update is None or not update.metadata or INPUT_KEY not in update.metadata:
        return task
    message = Message.parse(update.metadata[INPUT_KEY])
    return task.model_copy(update={"history": (*task.history, message)})
