"""Reading a task's log to its end: every event once and in order, whatever the wire does.

Links only have to answer `read_events`; what they lose, repeat or break off is
made good here, since the log is the truth and a page can always be read again.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from random import uniform

import anyio

from .errors import BusyError, DeadlineExceededError, InvalidAgentResponseError, LinkError
from .lifecycle import apply_event, is_terminal
from .operations import NumberedEvent
from .service import AgentService, Call
from .tasks import Task

# How long one read may be held open for an event to come, in seconds.
HOLD = 20.0
# Pages in a row that a service may answer with a gap before that is its fault.
_GAPS = 8


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to pause between tries, in seconds: `first`, doubling up to `longest`.

    Each pause is drawn from the upper half of its length, so that many callers
    of one broken link do not come back at once.
    """

    first: float = 0.05
    longest: float = 5.0

    def pause(self, failures: int) -> float:
        """Seconds to wait after the `failures`-th failure in a row, counted from 1."""
        length: float = min(self.longest, self.first * 2.0 ** min(failures - 1, 32))
        return uniform(length / 2, length)


async def follow(
    service: AgentService,
    task_id: str,
    call: Call,
    *,
    after_sequence: int = 0,
    backoff: Backoff = Backoff(),
) -> AsyncIterator[NumberedEvent]:
    """Yield the task's events above `after_sequence`, each once and in order, until it has ended.

    A link that fails and a peer that is busy are tried again until the call's
    deadline, or without one until the caller gives up.

    Raises:
        DeadlineExceededError: The deadline passed before the task ended.
        InvalidAgentResponseError: The service keeps skipping an event.
        TaskNotFoundError: This caller has no such task.
    """
    seen = after_sequence
    failures = gaps = 0
    broken: Exception | None = None
    while True:
        began = anyio.current_time()
        left = call.seconds_left()
        if left == 0.0:
            raise _too_late(task_id, seen) from broken
        hold = HOLD if left is None else min(HOLD, left)
        try:
            page = await service.read_events(task_id, seen, call, wait=hold)
        except (LinkError, BusyError) as error:
            if error.facts.get("final"):
                raise
            broken = error
            failures += 1
            await _pause(backoff.pause(failures), call, error)
            continue
        broken = None
        before = seen
        for numbered in page.events:
            if numbered.sequence == seen + 1:
                seen += 1
                yield numbered
        if page.ended and seen >= page.last_sequence:
            return
        missing = seen < max((each.sequence for each in page.events), default=seen) or page.ended
        if seen > before:
            failures = gaps = 0
        elif missing:
            gaps += 1
            if gaps >= _GAPS:
                raise InvalidAgentResponseError(
                    f"event {seen + 1} of task {task_id} is missing from its log",
                    task_id=task_id,
                    sequence=seen + 1,
                )
            await _pause(backoff.pause(gaps), call, None)
        elif anyio.current_time() - began < hold / 2:
            # The service does not hold reads open, so pacing them is left to us.
            failures += 1
            await _pause(backoff.pause(failures), call, None)


async def wait_for_end(service: AgentService, task: Task, call: Call) -> Task:
    """The task as its log has it when it has ended; `task` as it is when it had already.

    Interruptions are waited through: a person may take days to answer, so set
    a deadline on `call` or cancel the wait; the task itself goes on.

    Raises:
        DeadlineExceededError: The deadline passed before the task ended.
        InvalidAgentResponseError, IllegalMoveError: The log is not that of a task.
    """
    if is_terminal(task.status.state):
        return task
    folded: Task | None = None
    async for numbered in follow(service, task.id, call):
        folded = apply_event(folded, numbered.event)
    if folded is None or not is_terminal(folded.status.state):
        raise InvalidAgentResponseError(
            f"the log of task {task.id} ended before the task did", task_id=task.id
        )
    return folded


def _too_late(task_id: str, seen: int) -> DeadlineExceededError:
    return DeadlineExceededError(
        f"task {task_id} had not ended when the call's deadline passed; "
        f"its events up to {seen} were read",
        task_id=task_id,
        after_sequence=seen,
    )


async def _pause(seconds: float, call: Call, error: Exception | None) -> None:
    """Sleep, but not past the deadline, and as long as a busy peer asks for."""
    if isinstance(error, BusyError):
        seconds = max(seconds, float(error.facts.get("retry_after", 0.0)))
    left = call.seconds_left()
    await anyio.sleep(seconds if left is None else min(seconds, left))
