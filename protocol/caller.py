"""The calling half of the binding: an agent elsewhere, met as an `AgentService`.

`CarriedLink` says what the operations are as MCP requests and puts what is pushed
back in order; how requests travel is its carrier's (`carriers`, `pipes`).
Links are opened in `links`.
"""

import logging
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import replace
from typing import Any, Final, TypeVar

import anyio
import orjson

from .cards import AgentCard
from .carriers import Carrier, Push
from .envelope import (
    CANCEL_TASK,
    CARD_RESOURCE,
    GET_EXTENDED_AGENT_CARD,
    GET_TASK,
    LIST_TASKS,
    READ_TASK_EVENTS,
    SEND_MESSAGE,
    SEND_STREAMING_MESSAGE,
    SUBSCRIBE_TO_TASK,
    call_meta,
)
from .errors import (
    DeadlineExceededError,
    InvalidAgentResponseError,
    InvalidParamsError,
    LinkError,
    RepertoryError,
)
from .following import HOLD, Backoff
from .lifecycle import apply_event, is_interrupted, is_terminal
from .messages import Message
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
from .tasks import StreamResponse, Task
from .wire import WireModel

_Answer = TypeVar("_Answer", bound=WireModel)

# Times in a row that a broken wire is tried again before its error is the caller's.
_TRIES: Final = 6
_BACKOFF: Final = Backoff(first=0.05, longest=1.0)
_PAGE: Final = 256
# How long a caller whose patience ended still asks what became of its message, and how far back.
_LATE_SECONDS: Final = 2.0
_LOOKED_AT: Final = 20

_log = logging.getLogger(__name__)


class CarriedLink:
    """An agent reached over a wire.

    It sends a call's deadline, budget, chain and trace along, and keeps the
    deadline here too: when it passes the caller gets `DeadlineExceededError`
    and the task goes on. Cancelling a call closes its stream, not its task.
    """

    def __init__(self, carrier: Carrier, *, extensions: Sequence[str] = ()) -> None:
        self._carrier = carrier
        self._extensions = tuple(extensions)

    async def get_agent_card(self, call: Call) -> AgentCard:
        """The agent's card; the extended one where the agent has one."""
        with patience(call):
            result = await self._carrier.request(
                "resources/read", {"uri": CARD_RESOURCE}, call_meta(call, self._extensions)
            )
            card = _card(result)
            if card.capabilities is None or not card.capabilities.extended_agent_card:
                return card
            return _parsed(AgentCard, await self._ask(GET_EXTENDED_AGENT_CARD, {}, call))

    async def send_message(self, request: SendMessageRequest, call: Call) -> SendMessageResponse:
        """Send a message and wait until its task ends or is interrupted.

        The peer holds the request for some seconds only; the rest of the wait
        reads the task's events, so a wait of hours holds no request for long.
        """
        task: Task | None = None
        with anyio.move_on_after(call.seconds_left()):
            response = _parsed(
                SendMessageResponse, await self._ask(SEND_MESSAGE, request.wire(), call)
            )
            task, wants = response.task, request.configuration
            if task is None or _settled(task) or (wants and wants.return_immediately):
                return response
            settled = await self._until_settled(task, call)
            if wants and wants.history_length is not None:
                asked = GetTaskRequest(id=task.id, history_length=wants.history_length)
                settled = await self.get_task(asked, call)
            return SendMessageResponse(task=settled)
        raise await self._what_became(request.message, task, call)

    async def _what_became(
        self, message: Message, task: Task | None, call: Call
    ) -> DeadlineExceededError:
        """The error for a caller whose patience ended, with what the peer says of the message."""
        late = replace(call, deadline=None)
        became: Task | None = None
        asked = False
        with anyio.move_on_after(_LATE_SECONDS):
            try:
                if task is not None:
                    became = await self.get_task(GetTaskRequest(id=task.id), late)
                else:
                    wanted = ListTasksRequest(context_id=message.context_id, page_size=_LOOKED_AT)
                    page = await self.list_tasks(wanted, late)
                    became = next((each for each in page.tasks if _begun_by(each, message)), None)
                asked = True
            except RepertoryError as error:
                _log.info("what became of message %s is unknown: %s", message.message_id, error)
        if became is not None:
            return DeadlineExceededError(
                f"the call's deadline passed; its task {became.id} is"
                f" {became.status.state.name} and goes on",
                task_id=became.id,
                state=became.status.state.name,
            )
        known = "and the peer has no task for it" if asked else "and the peer does not say"
        return DeadlineExceededError(
            f"the call's deadline passed before its answer came, {known}; the same message may be"
            " sent again",
            message_id=message.message_id,
        )

    async def get_task(self, request: GetTaskRequest, call: Call) -> Task:
        """The task as its log says now."""
        with patience(call):
            return _parsed(Task, await self._ask(GET_TASK, request.wire(), call))

    async def list_tasks(self, request: ListTasksRequest, call: Call) -> ListTasksResponse:
        """The caller's tasks, newest status first, by pages."""
        with patience(call):
            return _parsed(ListTasksResponse, await self._ask(LIST_TASKS, request.wire(), call))

    async def cancel_task(self, request: CancelTaskRequest, call: Call) -> Task:
        """Ask a task to end."""
        with patience(call):
            return _parsed(Task, await self._ask(CANCEL_TASK, request.wire(), call))

    async def read_events(
        self,
        task_id: str,
        after_sequence: int,
        call: Call,
        *,
        wait: float = 0.0,
        limit: int = _PAGE,
    ) -> EventPage:
        """Events above `after_sequence`; a wait is cut into requests of at most 20 s."""
        with patience(call):
            until = anyio.current_time() + wait
            while True:
                asked = anyio.current_time()
                left = until - asked
                page = _parsed(
                    EventPage,
                    await self._ask(
                        READ_TASK_EVENTS,
                        {"id": task_id},
                        call,
                        afterSequence=after_sequence,
                        waitSeconds=min(HOLD, max(0.0, left)),
                        limit=limit,
                    ),
                )
                # A peer that answers much too early would be asked in a tight loop.
                early = anyio.current_time() - asked < HOLD / 2
                if page.events or page.ended or left <= HOLD or early:
                    return page

    def send_streaming_message(
        self, request: SendMessageRequest, call: Call
    ) -> AsyncGenerator[NumberedEvent | StreamResponse, None]:
        """Send a message and yield its task's events in order until the task has ended.

        An agent that answers without a task yields one `StreamResponse` with its
        message. Otherwise the first event is the task. Close the generator
        (`contextlib.aclosing`) to stop listening; the task goes on.
        """
        return self._in_order(SEND_STREAMING_MESSAGE, request.wire(), call, "", None)

    async def subscribe_to_task(
        self, task_id: str, call: Call, *, after_sequence: int | None = None
    ) -> AsyncGenerator[NumberedEvent, None]:
        """Yield a task's events, each once and in order, until the task has ended.

        Without `after_sequence` the first is the task as it stands now, and a
        task that has ended is refused, as A2A says; with it, what the log holds
        after that number comes first, also when the task has ended.
        """
        events = self._in_order(SUBSCRIBE_TO_TASK, {"id": task_id}, call, task_id, after_sequence)
        async with aclosing(events):
            async for event in events:
                if isinstance(event, NumberedEvent):
                    yield event

    async def aclose(self) -> None:
        """Let go of the wire; calls under way end with `LinkError`."""
        await self._carrier.aclose()

    async def _ask(
        self, method: str, request: dict[str, Any], call: Call, **beside: Any
    ) -> dict[str, Any]:
        result = await self._carrier.request(
            method, {"request": request, **beside}, call_meta(call, self._extensions)
        )
        response = result.get("response")
        if not isinstance(response, dict):
            raise InvalidAgentResponseError(f"the answer to {method} has no 'response'")
        return response

    async def _until_settled(self, task: Task, call: Call) -> Task:
        """The task as its log has it once it ends or waits for someone."""
        folded: Task | None = None
        seen = failures = 0
        while True:
            try:
                page = await self.read_events(task.id, seen, call, wait=HOLD)
            except LinkError as error:
                failures += 1
                await _pause(failures, error)
                continue
            failures = 0
            for numbered in page.events:
                if numbered.sequence == seen + 1:
                    folded = apply_event(folded, numbered.event)
                    seen = numbered.sequence
            # Only the end of the log says how the task stands; an older INPUT_REQUIRED does not.
            if folded is not None and seen >= page.last_sequence and _settled(folded):
                return folded

    async def _in_order(
        self, method: str, request: dict[str, Any], call: Call, task_id: str, after: int | None
    ) -> AsyncGenerator[NumberedEvent | StreamResponse, None]:
        """Deliver a task's events once and in order out of pushes that promise neither."""
        seen: int | None = after
        failures = 0
        while True:
            beside = {} if seen is None else {"afterSequence": seen}
            pushes = self._carrier.stream(
                method, {"request": request, **beside}, call_meta(call, self._extensions)
            )
            try:
                async with aclosing(pushes):
                    while True:
                        with patience(call):
                            item = await anext(pushes, None)
                        if not isinstance(item, Push):
                            break
                        task_id = item.task_id
                        # The first push says where the stream begins.
                        begin = item.sequence - 1 if seen is None else seen
                        async for event in self._missing(task_id, begin, item.sequence - 1, call):
                            seen = event.sequence
                            yield event
                        if seen is None or item.sequence > seen:
                            seen = item.sequence
                            yield _event(item)
                        failures = 0
                if item is None:
                    raise LinkError(f"the stream of {method} ended without an answer")
            except LinkError as error:
                failures += 1
                await _pause(failures, error)
                if task_id and seen is not None:
                    # What was begun is not begun again: the log says how it went on.
                    method, request = SUBSCRIBE_TO_TASK, {"id": task_id}
                continue
            if isinstance(message := _message_of(item), StreamResponse):
                yield message
                return
            last = item.get("lastSequence")
            if not isinstance(last, int):
                raise InvalidAgentResponseError(f"the answer to {method} has no 'lastSequence'")
            task_id = item.get("taskId") or task_id
            async for event in self._missing(task_id, seen or 0, last, call):
                yield event
            return

    async def _missing(
        self, task_id: str, seen: int, last: int, call: Call
    ) -> AsyncGenerator[NumberedEvent, None]:
        """Pull the events above `seen` up to `last` that the pushes left out."""
        while seen < last:
            page = await self.read_events(task_id, seen, call, limit=min(_PAGE, last - seen))
            for numbered in page.events:
                if seen < numbered.sequence <= last:
                    if numbered.sequence != seen + 1:
                        break
                    seen = numbered.sequence
                    yield numbered
            if not page.events or page.events[0].sequence > seen + 1:
                raise InvalidAgentResponseError(
                    f"event {seen + 1} of task {task_id} is missing from its log",
                    task_id=task_id,
                    sequence=seen + 1,
                )


@contextmanager
def patience(call: Call) -> Iterator[None]:
    """Run a block for as long as the call's deadline leaves.

    Raises:
        DeadlineExceededError: It has passed; whatever was begun at the peer goes on there.
    """
    left = call.seconds_left()
    if left is None:
        yield
        return
    with anyio.move_on_after(left) as scope:
        yield
    if scope.cancelled_caught:
        raise DeadlineExceededError(
            "the call's deadline passed before its answer came; what was begun goes on"
        )


def _begun_by(task: Task, message: Message) -> bool:
    return any(each.message_id == message.message_id for each in task.history)


def _settled(task: Task) -> bool:
    return is_terminal(task.status.state) or is_interrupted(task.status.state)


async def _pause(failures: int, error: LinkError) -> None:
    if failures >= _TRIES or error.facts.get("final"):
        raise error
    await anyio.sleep(_BACKOFF.pause(failures))


def _event(push: Push) -> NumberedEvent:
    return _parsed(NumberedEvent, {"sequence": push.sequence, "event": push.event})


def _message_of(result: Mapping[str, Any]) -> StreamResponse | None:
    response = result.get("response")
    if isinstance(response, dict) and "message" in response:
        return _parsed(StreamResponse, response)
    return None


def _card(result: Mapping[str, Any]) -> AgentCard:
    contents = result.get("contents")
    first = contents[0] if isinstance(contents, list) and contents else None
    text = first.get("text") if isinstance(first, dict) else None
    if not isinstance(text, str):
        raise InvalidAgentResponseError(f"the resource {CARD_RESOURCE} has no text")
    try:
        return _parsed(AgentCard, orjson.loads(text))
    except orjson.JSONDecodeError as error:
        raise InvalidAgentResponseError(f"the resource {CARD_RESOURCE} is no JSON") from error


def _parsed(model: type[_Answer], data: Any) -> _Answer:
    """Read the peer's answer; what is wrong with it is the peer's fault, not the caller's."""
    try:
        return model.parse(data)
    except (InvalidParamsError, TypeError, ValueError) as error:
        raise InvalidAgentResponseError(
            f"the peer's answer is no {model.__name__}: {error}", path=getattr(error, "path", "")
        ) from error
