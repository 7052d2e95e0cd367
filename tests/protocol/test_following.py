from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import time

import pytest
from anyio import fail_after
from hypothesis import given, settings
from hypothesis import strategies as st

from repertory.protocol import (
    AgentCard,
    AgentService,
    Backoff,
    BusyError,
    Call,
    CancelTaskRequest,
    DeadlineExceededError,
    EventPage,
    GetTaskRequest,
    InvalidAgentResponseError,
    LinkError,
    ListTasksRequest,
    ListTasksResponse,
    NumberedEvent,
    SendMessageRequest,
    SendMessageResponse,
    StreamResponse,
    Task,
    TaskNotFoundError,
    TaskState,
    TaskStatus,
    TaskStatusUpdateEvent,
    agent_message,
    follow,
    user_message,
    wait_for_end,
)
from tests.claims import claim

SUBMITTED = Task(
    id="t",
    context_id="c",
    status=TaskStatus(state=TaskState.SUBMITTED),
    history=(user_message("q", message_id="q"),),
)
AT_ONCE = Backoff(first=0.0)


def log(length: int, *, ends: TaskState | None = TaskState.COMPLETED) -> list[NumberedEvent]:
    """A task's log: submitted, worked on, ended."""
    events = [StreamResponse(task=SUBMITTED)]
    for number in range(2, length + 1):
        last = number == length and ends is not None
        state = ends if last and ends is not None else TaskState.WORKING
        now = TaskStatus(state=state, message=agent_message(f"at {number}"))
        update = TaskStatusUpdateEvent(task_id="t", context_id="c", status=now)
        events.append(StreamResponse(status_update=update))
    return [NumberedEvent(sequence=at, event=each) for at, each in enumerate(events, 1)]


# What becomes of one read: the page as it is, or what a bad wire makes of it.
Fault = Callable[[list[NumberedEvent]], list[NumberedEvent]]


def breaks(_: list[NumberedEvent]) -> list[NumberedEvent]:
    raise LinkError("the wire broke")


def is_busy(_: list[NumberedEvent]) -> list[NumberedEvent]:
    raise BusyError("come back", retry_after=0.0)


FAULTS: dict[str, Fault] = {
    "none": lambda events: events,
    "breaks": breaks,
    "busy": is_busy,
    "loses the first": lambda events: events[1:],
    "loses the second": lambda events: events[:1] + events[2:],
    "loses all": lambda _: [],
    "cuts short": lambda events: events[:1],
    "repeats": lambda events: [each for event in events for each in (event, event)],
    "reverses": lambda events: events[::-1],
}


@dataclass
class ListService:
    """A log in a list, behind a wire that fails as its schedule says, and then no more."""

    events: Sequence[NumberedEvent]
    schedule: list[str] = field(default_factory=list)
    ends: bool = True
    repeats_old: bool = False
    reads: list[int] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)

    async def read_events(
        self, task_id: str, after_sequence: int, call: Call, *, wait: float = 0.0, limit: int = 256
    ) -> EventPage:
        if task_id != "t":
            raise TaskNotFoundError(f"no task {task_id!r}")
        self.reads.append(after_sequence)
        self.waits.append(wait)
        begin = 0 if self.repeats_old else after_sequence
        page = list(self.events[begin:limit])
        if self.schedule:
            page = FAULTS[self.schedule.pop(0)](page)
        return EventPage(events=tuple(page), last_sequence=len(self.events), ended=self.ends)

    async def get_agent_card(self, call: Call) -> AgentCard:
        raise NotImplementedError

    async def send_message(self, request: SendMessageRequest, call: Call) -> SendMessageResponse:
        raise NotImplementedError

    async def get_task(self, request: GetTaskRequest, call: Call) -> Task:
        raise NotImplementedError

    async def list_tasks(self, request: ListTasksRequest, call: Call) -> ListTasksResponse:
        raise NotImplementedError

    async def cancel_task(self, request: CancelTaskRequest, call: Call) -> Task:
        raise NotImplementedError


async def followed(service: AgentService, *, after: int = 0, call: Call | None = None) -> list[int]:
    with fail_after(5):
        return [
            each.sequence
            async for each in follow(
                service, "t", call or Call(), after_sequence=after, backoff=AT_ONCE
            )
        ]


@claim("a2a:complete-streams")
@settings(max_examples=80, deadline=None, database=None)
@given(
    st.integers(1, 8),
    st.lists(st.sampled_from(sorted(FAULTS)), max_size=7),
    st.integers(0, 8),
    st.booleans(),
)
async def test_every_event_comes_once_and_in_order_whatever_the_wire_does(
    length: int, schedule: list[str], after: int, repeats_old: bool
) -> None:
    """Ours: push is a hint and the log is the truth; over schedules of faults."""
    after = min(after, length)
    service = ListService(log(length), list(schedule), repeats_old=repeats_old)
    assert await followed(service, after=after) == list(range(after + 1, length + 1))


async def test_reading_goes_on_after_the_last_event_that_was_seen() -> None:
    """Ours: nothing is transferred twice unless it was lost."""
    service = ListService(log(5), ["cuts short", "breaks", "cuts short"])
    assert await followed(service) == [1, 2, 3, 4, 5]
    assert service.reads == [0, 1, 1, 2]


async def test_a_log_that_keeps_skipping_an_event_is_the_services_fault() -> None:
    """Ours: numbers run 1, 2, 3 without gaps, and a reader must not wait forever for one."""
    events = log(4)
    del events[1]
    with pytest.raises(InvalidAgentResponseError, match="event 2 of task t is missing") as caught:
        await followed(ListService(events, repeats_old=True))
    assert caught.value.sequence == 2


async def test_a_task_that_is_not_there_is_not_waited_for() -> None:
    """Ours: only the wire's failures are tried again, the peer's answers are final."""
    with fail_after(5), pytest.raises(TaskNotFoundError):
        async for _ in follow(ListService(log(1)), "other", Call()):
            pass


async def test_a_broken_wire_is_tried_until_the_deadline() -> None:
    """Ours: the call's deadline bounds all of it, and the error keeps what was the matter."""
    service = ListService(log(3), ["none"] + ["breaks"] * 10_000, ends=False)
    with pytest.raises(DeadlineExceededError) as caught:
        await followed(service, call=Call(deadline=time() + 0.05))
    assert caught.value.after_sequence == 3
    assert isinstance(caught.value.__cause__, LinkError)


async def test_a_deadline_that_has_passed_reads_nothing() -> None:
    """Ours: a callee inherits what is left, which may be nothing."""
    service = ListService(log(3))
    with pytest.raises(DeadlineExceededError):
        await followed(service, call=Call(deadline=time() - 1))
    assert service.reads == []


async def test_a_read_is_held_no_longer_than_the_deadline_leaves() -> None:
    """Ours: so that the deadline is met to the moment."""
    service = ListService(log(1))
    await followed(service, call=Call(deadline=time() + 3))
    assert 0 < service.waits[0] <= 3
    await followed(service)
    assert service.waits[1] > 3


async def test_a_service_that_does_not_hold_reads_open_is_not_hammered() -> None:
    """Ours: empty pages that come at once are paced by the backoff."""
    service = ListService(log(1, ends=None), ends=False)
    slow = Backoff(first=60.0, longest=60.0)
    with fail_after(5), pytest.raises(DeadlineExceededError):
        async for _ in follow(service, "t", Call(deadline=time() + 0.05), backoff=slow):
            pass
    assert service.reads == [0, 1]


def test_pauses_double_up_to_the_longest() -> None:
    """Ours: bounded exponential backoff, drawn from the upper half so that callers spread."""
    backoff = Backoff(first=0.1, longest=1.0)
    for failures, length in [(1, 0.1), (2, 0.2), (4, 0.8), (5, 1.0), (10_000, 1.0)]:
        assert length / 2 <= backoff.pause(failures) <= length


async def test_waiting_for_the_end_gives_the_task_that_the_log_makes() -> None:
    """Ours: the task is rebuilt from its events, not from what the sender remembers."""
    with fail_after(5):
        task = await wait_for_end(ListService(log(4)), SUBMITTED, Call())
    assert task.status.state is TaskState.COMPLETED
    assert [message.text for message in task.history] == ["q", "at 2", "at 3"]


async def test_a_task_that_has_ended_is_not_read_again() -> None:
    """Ours: the answer to a short task often is its end."""
    ended = SUBMITTED.model_copy(update={"status": TaskStatus(state=TaskState.FAILED)})
    service = ListService([])
    assert await wait_for_end(service, ended, Call()) is ended
    assert service.reads == []


async def test_a_log_that_ends_before_its_task_is_refused() -> None:
    """Ours: `ended` without a terminal state is a broken service, not a result."""
    with fail_after(5), pytest.raises(InvalidAgentResponseError, match="before the task did"):
        await wait_for_end(ListService(log(3, ends=None)), SUBMITTED, Call())
