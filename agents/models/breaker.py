"""When to stop asking a server that fails: a circuit breaker as a table, without I/O.

         failures reached             rest passed
CLOSED ───────────────────▶ OPEN ───────────────────▶ HALF_OPEN
   ▲                          ▲                           │ one trial
   │                          └────────── FAILED ─────────┤
   └────────────────────────────────── SUCCEEDED ─────────┘
"""

from collections.abc import Callable, Mapping
from enum import Enum
from time import monotonic
from types import MappingProxyType
from typing import NewType

Permit = NewType("Permit", int)
"""Leave to ask once; it counts only while the breaker is in the state that gave it."""


class BreakerState(Enum):
    """What the breaker does with the next request: let it go, stop it, or try with one."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class BreakerEvent(Enum):
    """What moves the breaker."""

    TRIPPED = "failures reached"
    WAITED = "rest passed"
    SUCCEEDED = "trial succeeded"
    FAILED = "trial failed"


BREAKER_MOVES: Mapping[tuple[BreakerState, BreakerEvent], BreakerState] = MappingProxyType(
    {
        (BreakerState.CLOSED, BreakerEvent.TRIPPED): BreakerState.OPEN,
        (BreakerState.OPEN, BreakerEvent.WAITED): BreakerState.HALF_OPEN,
        (BreakerState.HALF_OPEN, BreakerEvent.SUCCEEDED): BreakerState.CLOSED,
        (BreakerState.HALF_OPEN, BreakerEvent.FAILED): BreakerState.OPEN,
    }
)


class CircuitBreaker:
    """Count failures in a row, and stop asking for a while when there are too many.

    failures: how many in a row open it. rest: for how many seconds it then stops
    everything, before it lets one trial through. clock: seconds, monotonic.

    Every permit ends in exactly one of `succeeded`, `failed` and `abandoned`.
    """

    def __init__(
        self,
        *,
        failures: int = 5,
        rest: float = 10.0,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._limit = failures
        self._rest = rest
        self._clock = clock
        self._state = BreakerState.CLOSED
        self._in_a_row = 0
        self._since = clock()
        self._on_trial = False
        self._era = 0

    @property
    def state(self) -> BreakerState:
        """The state now; an open breaker whose time has passed is half-open."""
        if self._state is BreakerState.OPEN and self.seconds_left() == 0.0:
            self._move(BreakerEvent.WAITED)
        return self._state

    def seconds_left(self) -> float:
        """How long nothing goes through yet; 0.0 unless open."""
        if self._state is not BreakerState.OPEN:
            return 0.0
        return max(0.0, self._since + self._rest - self._clock())

    def admit(self) -> Permit | None:
        """Leave to ask once, or None: it is open, or its one trial is on its way."""
        state = self.state
        if state is BreakerState.OPEN or (state is BreakerState.HALF_OPEN and self._on_trial):
            return None
        self._on_trial = state is BreakerState.HALF_OPEN
        return Permit(self._era)

    def succeeded(self, permit: Permit) -> None:
        """The server answered, were it with a refusal."""
        if permit != self._era:
            return
        self._in_a_row = 0
        if self._state is BreakerState.HALF_OPEN:
            self._move(BreakerEvent.SUCCEEDED)

    def failed(self, permit: Permit) -> None:
        """The server did not answer, or answered that it cannot."""
        if permit != self._era:
            return
        self._in_a_row += 1
        if self._state is BreakerState.HALF_OPEN:
            self._move(BreakerEvent.FAILED)
        elif self._in_a_row >= self._limit:
            self._move(BreakerEvent.TRIPPED)

    def abandoned(self, permit: Permit) -> None:
        """Nothing was learned of the server: the caller gave up, or was asked to come later."""
        if permit == self._era:
            self._on_trial = False

    def _move(self, event: BreakerEvent) -> None:
        self._state = BREAKER_MOVES[self._state, event]
        self._since = self._clock()
        self._in_a_row = 0
        self._on_trial = False
        # What began before the move says nothing about the server after it.
        self._era += 1
