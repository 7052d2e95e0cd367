"""One contract, three wires: what a caller may count on, whatever carries his call."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from time import time

import orjson
import pytest
from anyio import fail_after

from repertory.protocol import (
    Budget,
    Call,
    CancelTaskRequest,
    DeadlineExceededError,
    GetTaskRequest,
    Link,
    ListTasksRequest,
    NumberedEvent,
    RemoteError,
    RepertoryError,
    SendMessageConfiguration,
    SendMessageRequest,
    StreamResponse,
    Task,
    TaskNotCancelableError,
    TaskNotFoundError,
    TaskState,
    UnsupportedOperationError,
    apply_event,
    new_id,
    user_message,
)
from repertory.protocol.envelope import _BY_REASON
from tests.claims import claim

CALL = Call()


def say(
    text: str, *, at_once: bool = False, task_id: str = "", context_id: str = ""
) -> SendMessageRequest:
    """A request to the obedient agent."""
    wants = SendMessageConfiguration(return_immediately=True) if at_once else None
    message = user_message(text, task_id=task_id, context_id=context_id)
    return SendMessageRequest(message=message, configuration=wants)


async def ask(link: Link, text: str, *, call: Call = CALL, at_once: bool = False) -> Task:
    """Send `text` and return the task."""
    response = await link.send_message(say(text, at_once=at_once), call)
    assert response.task is not None
    return response.task


async def numbered(
    stream: AsyncIterator[NumberedEvent | StreamResponse],
) -> list[NumberedEvent]:
    """Every event of a stream."""
    return [event async for event in stream if isinstance(event, NumberedEvent)]


def answer(task: Task) -> str:
    """The text of a task's first artifact."""
    return "".join(part.text or "" for part in task.artifacts[0].parts)


async def test_a_blocking_send_answers_with_the_ended_task(link: Link) -> None:
    """Spec: A2A 3.1.1, SendMessage waits for a terminal or interrupted state."""
    with fail_after(5):
        task = await ask(link, "shout hello")
    assert task.status.state is TaskState.COMPLETED
    assert answer(task) == "HELLO"


async def test_a_send_that_wants_no_wait_answers_with_a_task_under_way(link: Link) -> None:
    """Spec: A2A 3.2.2, returnImmediately."""
    with fail_after(5):
        task = await ask(link, "hang", at_once=True)
    assert task.status.state in (TaskState.SUBMITTED, TaskState.WORKING)


async def test_a_blocking_send_outlasts_the_time_a_request_is_held(link: Link) -> None:
    """Ours: the peer holds a request for a while only; the link reads on until the end."""
    stopper = say("hang")
    with fail_after(10):
        first = await link.send_message(
            stopper.model_copy(
                update={"configuration": SendMessageConfiguration(return_immediately=True)}
            ),
            CALL,
        )
        assert first.task is not None
        with pytest.raises(DeadlineExceededError):
            await link.send_message(stopper, CALL.within(0.8))
        await link.cancel_task(CancelTaskRequest(id=first.task.id), CALL)
        ended = await link.send_message(stopper, CALL)
    assert ended.task is not None
    assert ended.task.id == first.task.id
    assert ended.task.status.state is TaskState.CANCELED


async def test_the_same_message_twice_is_one_task(link: Link) -> None:
    """Ours: a message is accepted once per principal and messageId."""
    request = say("shout once")
    with fail_after(5):
        first = await link.send_message(request, CALL)
        second = await link.send_message(request, CALL)
    assert first.task is not None
    assert second.task is not None
    assert first.task.id == second.task.id


async def test_a_stream_begins_with_the_task_and_is_in_order(link: Link) -> None:
    """Spec: A2A 3.1.2, the Task first, then its updates, until a terminal state."""
    with fail_after(5):
        events = await numbered(link.send_streaming_message(say("shout in order"), CALL))
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    assert events[0].event.task is not None
    last = events[-1].event.status_update
    assert last is not None
    assert last.status.state is TaskState.COMPLETED


@claim("a2a:complete-streams")
async def test_a_burst_of_a_thousand_events_arrives_whole_and_in_order(link: Link) -> None:
    """Ours: pushes may be dropped, events may not."""
    with fail_after(20):
        events = await numbered(link.send_streaming_message(say("count 1000"), CALL))
    assert [event.sequence for event in events] == list(range(1, 1004))
    task = None
    for event in events:
        task = apply_event(task, event.event)
    assert task is not None
    assert answer(task) == "".join(str(number) for number in range(1000))


async def test_a_subscriber_begins_in_the_middle(link: Link) -> None:
    """Ours: SubscribeToTask with afterSequence replays what the log holds after it."""
    with fail_after(5):
        task = await ask(link, "count 10")
        events = await numbered(link.subscribe_to_task(task.id, CALL, after_sequence=5))
    assert [event.sequence for event in events] == list(range(6, 14))


async def test_a_subscriber_without_a_number_gets_the_task_as_it_stands(link: Link) -> None:
    """Spec: A2A 3.1.6, the first event is the current Task; a terminal task is refused."""
    with fail_after(5):
        task = await ask(link, "ask what?")
        assert task.status.state is TaskState.INPUT_REQUIRED
        seen: list[NumberedEvent] = []
        async with aclosing(link.subscribe_to_task(task.id, CALL)) as events:
            async for event in events:
                seen.append(event)
                if len(seen) == 1:
                    await link.send_message(say("this", at_once=True, task_id=task.id), CALL)
        snapshot = seen[0].event.task
        assert snapshot is not None
        assert snapshot.status.state is TaskState.INPUT_REQUIRED
        assert [event.sequence for event in seen] == list(
            range(seen[0].sequence, seen[0].sequence + len(seen))
        )
        with pytest.raises(UnsupportedOperationError):
            await numbered(link.subscribe_to_task(task.id, CALL))


@claim("a2a:resumed-streams")
async def test_a_reader_who_left_comes_back_without_loss_or_repeat(link: Link) -> None:
    """Ours: who left a stream goes on after the last number he saw."""
    with fail_after(20):
        seen: list[NumberedEvent] = []
        async with aclosing(link.send_streaming_message(say("count 300"), CALL)) as stream:
            async for event in stream:
                assert isinstance(event, NumberedEvent)
                seen.append(event)
                if len(seen) == 40:
                    break
        first = seen[0].event.task
        assert first is not None
        seen += await numbered(link.subscribe_to_task(first.id, CALL, after_sequence=40))
    assert [event.sequence for event in seen] == list(range(1, 304))


async def test_a_task_is_canceled_once(link: Link) -> None:
    """Spec: A2A 3.1.5, CancelTask; a task that has ended cannot be canceled."""
    with fail_after(5):
        task = await ask(link, "hang", at_once=True)
        canceled = await link.cancel_task(CancelTaskRequest(id=task.id), CALL)
        assert canceled.status.state is TaskState.CANCELED
        with pytest.raises(TaskNotCancelableError):
            await link.cancel_task(CancelTaskRequest(id=task.id), CALL)


async def test_tasks_are_listed_by_pages(link: Link) -> None:
    """Spec: A2A 3.1.4, cursors until an empty nextPageToken, artifacts only when asked for."""
    context = new_id()
    with fail_after(5):
        for number in range(5):
            await link.send_message(say(f"shout {number}", context_id=context), CALL)
        seen: list[str] = []
        token = ""
        while True:
            page = await link.list_tasks(
                ListTasksRequest(context_id=context, page_size=2, page_token=token), CALL
            )
            seen += [task.id for task in page.tasks]
            assert all(not task.artifacts for task in page.tasks)
            token = page.next_page_token
            if not token:
                break
    assert len(seen) == len(set(seen)) == 5
    assert page.total_size == 5


async def test_history_is_cut_to_what_was_asked_for(link: Link) -> None:
    """Spec: A2A 3.2.4, historyLength 0 is none."""
    with fail_after(5):
        task = await ask(link, "shout short")
        cut = await link.get_task(GetTaskRequest(id=task.id, history_length=0), CALL)
    assert task.history
    assert cut.history == ()


async def test_an_absent_task_is_not_found_by_any_operation(link: Link) -> None:
    """Spec: A2A 3.3.2, TaskNotFoundError."""
    absent = new_id()
    with fail_after(5):
        with pytest.raises(TaskNotFoundError):
            await link.get_task(GetTaskRequest(id=absent), CALL)
        with pytest.raises(TaskNotFoundError):
            await link.cancel_task(CancelTaskRequest(id=absent), CALL)
        with pytest.raises(TaskNotFoundError):
            await link.read_events(absent, 0, CALL)
        with pytest.raises(TaskNotFoundError):
            await numbered(link.subscribe_to_task(absent, CALL, after_sequence=0))
        with pytest.raises(TaskNotFoundError):
            await link.send_message(say("shout", task_id=absent), CALL)


@claim("a2a:errors-by-reason")
@pytest.mark.parametrize("reason", sorted(_BY_REASON))
async def test_an_error_keeps_its_class_by_its_reason(link: Link, reason: str) -> None:
    """Ours: errors are told apart by reason; -32001 is also a time-out of the MCP SDK."""
    message = user_message("shout", metadata={"refuse": reason})
    with fail_after(5), pytest.raises(RepertoryError) as caught:
        await link.send_message(SendMessageRequest(message=message), CALL)
    assert type(caught.value) is _BY_REASON[reason]
    assert reason in str(caught.value)


async def test_an_unknown_reason_is_kept_in_a_remote_error(link: Link) -> None:
    """Ours: what a peer calls its failure survives even where we have no class for it."""
    message = user_message("shout", metadata={"refuse": "OUT_OF_PAPER"})
    with fail_after(5), pytest.raises(RemoteError) as caught:
        await link.send_message(SendMessageRequest(message=message), CALL)
    assert caught.value.remote_reason == "OUT_OF_PAPER"


async def test_a_task_that_asks_goes_on_with_the_answer(link: Link) -> None:
    """Spec: A2A 3.4.3, INPUT_REQUIRED ends the wait, and a message to the task goes on with it."""
    with fail_after(5):
        asked = await ask(link, "ask which color?")
        assert asked.status.state is TaskState.INPUT_REQUIRED
        assert asked.status.message is not None
        assert asked.status.message.text == "which color?"
        answered = await link.send_message(say("green", task_id=asked.id), CALL)
    assert answered.task is not None
    assert answered.task.status.state is TaskState.COMPLETED
    assert answer(answered.task) == "green"


async def test_a_task_that_ended_takes_no_message(link: Link) -> None:
    """Spec: A2A 3.1.1, a message to a terminal task is an UnsupportedOperationError."""
    with fail_after(5):
        task = await ask(link, "shout done")
        with pytest.raises(UnsupportedOperationError):
            await link.send_message(say("more", task_id=task.id), CALL)


@claim("mcp:trace-context")
async def test_what_a_call_carries_arrives(link: Link) -> None:
    """Ours: deadline, budget, chain and trace travel; principal and tenant are the peer's to say."""
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    call = Call(
        deadline=time() + 30,
        budget=Budget(tokens=1000, usd=0.5),
        chain=("desk/intake", "desk/checker"),
        traceparent=trace,
        tracestate="vendor=1",
    )
    with fail_after(5):
        came = orjson.loads(answer(await ask(link, "call", call=call)))
    assert 20 < came.pop("seconds_left") <= 30
    assert came == {
        "principal": "local",
        "tenant": "default",
        "budget": [1000, None, 0.5],
        "chain": ["desk/intake", "desk/checker"],
        "traceparent": trace,
        "tracestate": "vendor=1",
    }


async def test_a_deadline_ends_the_wait_and_not_the_task(link: Link) -> None:
    """Ours: the caller stops waiting, the task goes on."""
    request = say("hang")
    with fail_after(5):
        with pytest.raises(DeadlineExceededError):
            await link.send_message(request, CALL.within(0.2))
        at_once = SendMessageConfiguration(return_immediately=True)
        again = await link.send_message(request.model_copy(update={"configuration": at_once}), CALL)
    assert again.task is not None
    assert again.task.status.state is TaskState.WORKING


async def test_a_stream_ends_with_its_deadline(link: Link) -> None:
    """Ours: a stream waits no longer than its call."""
    with fail_after(5), pytest.raises(DeadlineExceededError):
        await numbered(link.send_streaming_message(say("hang"), CALL.within(0.3)))


async def test_the_card_is_extended_for_its_reader(link: Link) -> None:
    """Spec: A2A 3.1.11, GetExtendedAgentCard."""
    with fail_after(5):
        card = await link.get_agent_card(CALL)
    assert card.description.endswith("(for local)")
