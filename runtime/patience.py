"""How long a turn may work, and when its clock stands still.

Waiting for a person is not work: a turn all of whose effects wait for one, its
own or a peer's, is parked. Its deadline then stands still and its place of work
goes to others. After a restart the whole allowance begins again.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from math import inf
from time import time

import anyio

from repertory.protocol import (
    AgentService,
    Backoff,
    BusyError,
    Call,
    LinkError,
    NetworkClosedError,
    SendMessageRequest,
    SendMessageResponse,
)

# Seconds between two tries at a peer that is busy and does not say for how long.
_BUSY_SECONDS = 1.0
# How long a peer that is out of reach is tried again: its process may be starting anew.
_REACH_SECONDS = 30.0
_BACKOFF = Backoff(first=0.05, longest=1.0)


async def send_patiently(
    service: AgentService,
    request: SendMessageRequest,
    call: Call,
    *,
    leaving: Callable[[], bool] = lambda: False,
) -> SendMessageResponse:
    """Send a message, and again when the peer was busy, until the call's deadline has passed.

    A peer that closes or is out of reach is tried again for half a minute, where the same
    message may be sent again. It keeps its id, so it is one task however often it is sent.
    leaving: whether who sends it closes itself, so that nothing is tried again.
    """
    until = anyio.current_time() + _REACH_SECONDS
    failures = 0
    while True:
        try:
            return await service.send_message(request, call)
        except BusyError as busy:
            wait = float(busy.facts.get("retry_after", _BUSY_SECONDS))
            left = call.seconds_left()
            if left is not None and left <= wait:
                raise
            await anyio.sleep(wait)
        except (LinkError, NetworkClosedError) as error:
            again = isinstance(error, NetworkClosedError) or error.facts.get("repeatable")
            if not again or leaving() or anyio.current_time() > until:
                raise
            failures += 1
            await anyio.sleep(_BACKOFF.pause(failures))


class Patience:
    """The clock of one turn.

    seconds: working time allowed, None for no limit. on_park, on_go_on: called
    with what is waited for when the turn parks, and when it goes on.
    """

    def __init__(
        self,
        seconds: float | None,
        on_park: Callable[[str], Awaitable[None]],
        on_go_on: Callable[[], Awaitable[None]],
    ) -> None:
        self.scope = anyio.CancelScope()
        self._left = seconds
        self._since: float | None = None
        self._on_park = on_park
        self._on_go_on = on_go_on
        self._working = 0
        self._waiting: dict[int, str] = {}
        self._parked = False
        self._tickets = 0
        self._turn = anyio.Lock()

    def start(self) -> None:
        """Let the clock run; call it inside `scope`."""
        if self._left is not None:
            self._since = anyio.current_time()
            self.scope.deadline = self._since + self._left

    def seconds_left(self) -> float | None:
        """Working time left; None when there is no limit."""
        if self._left is None:
            return None
        spent = 0.0 if self._since is None else anyio.current_time() - self._since
        return max(0.0, self._left - spent)

    def deadline(self) -> float | None:
        """When the time is up if nothing parks, in seconds since the epoch."""
        left = self.seconds_left()
        return None if left is None else time() + left

    @property
    def expired(self) -> bool:
        """Whether the scope was cancelled because the time was up."""
        return self.scope.cancelled_caught and self.seconds_left() == 0.0

    @asynccontextmanager
    async def effect(self) -> AsyncIterator[None]:
        """Mark an effect as under way."""
        self._working += 1
        if self._parked:
            await self._settle()
        try:
            yield
        finally:
            self._working -= 1
        if self._waiting:
            await self._settle()

    async def begin_waiting(self, what: str) -> int:
        """Say that one of the effects under way waits for a person; returns its ticket."""
        self._tickets += 1
        ticket = self._tickets
        self._waiting[ticket] = what
        await self._settle()
        return ticket

    async def end_waiting(self, ticket: int) -> None:
        """Say that what `begin_waiting` gave the ticket for goes on."""
        del self._waiting[ticket]
        await self._settle()

    async def _settle(self) -> None:
        async with self._turn:
            idle = bool(self._waiting) and len(self._waiting) >= self._working
            if idle and not self._parked:
                self._parked = True
                if self._left is not None:
                    self._left, self._since = self.seconds_left(), None
                    self.scope.deadline = inf
                await self._on_park(",".join(sorted(set(self._waiting.values()))))
            elif not idle and self._parked:
                await self._on_go_on()
                self._parked = False
                self.start()
