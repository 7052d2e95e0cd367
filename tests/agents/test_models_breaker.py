from itertools import product

import pytest

from repertory.agents import CircuitBreaker
from repertory.agents.models import BreakerState


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def tripped(clock: Clock) -> CircuitBreaker:
    """A breaker that opened just now, for ten seconds."""
    breaker = CircuitBreaker(failures=1, rest=10.0, clock=clock)
    permit = breaker.admit()
    assert permit is not None
    breaker.failed(permit)
    return breaker


def test_failures_in_a_row_open_it() -> None:
    """Ours: as many as were named, and a success between them starts the count anew."""
    breaker = CircuitBreaker(failures=3, clock=Clock())
    for outcome in ("failed", "failed", "succeeded", "failed", "failed"):
        permit = breaker.admit()
        assert permit is not None
        getattr(breaker, outcome)(permit)
        assert breaker.state is BreakerState.CLOSED
    permit = breaker.admit()
    assert permit is not None
    breaker.failed(permit)
    assert breaker.state is BreakerState.OPEN


def test_open_it_admits_nothing_until_its_rest_is_over() -> None:
    """Ours: the server is left alone for exactly the time that was named."""
    clock = Clock()
    breaker = tripped(clock)
    clock.now += 9.5
    assert breaker.admit() is None
    assert breaker.seconds_left() == 0.5
    clock.now += 0.5
    assert breaker.state is BreakerState.HALF_OPEN


def test_half_open_it_admits_one_trial_at_a_time() -> None:
    """Ours: a recovering server meets one question and not the crowd."""
    clock = Clock()
    breaker = tripped(clock)
    clock.now += 10.0
    trial = breaker.admit()
    assert trial is not None
    assert breaker.admit() is None
    breaker.abandoned(trial)
    assert breaker.admit() is not None


@pytest.mark.parametrize(
    ("outcome", "state"), [("succeeded", BreakerState.CLOSED), ("failed", BreakerState.OPEN)]
)
def test_the_trial_decides(outcome: str, state: BreakerState) -> None:
    """Ours: a success closes it, a failure begins a whole rest again."""
    clock = Clock()
    breaker = tripped(clock)
    clock.now += 10.0
    trial = breaker.admit()
    assert trial is not None
    getattr(breaker, outcome)(trial)
    assert breaker.state is state
    assert breaker.seconds_left() == (10.0 if state is BreakerState.OPEN else 0.0)


def test_what_began_before_a_move_says_nothing_after_it() -> None:
    """Ours: a late answer of the old days neither closes nor opens the breaker."""
    for late, then in product(("succeeded", "failed", "abandoned"), repeat=2):
        clock = Clock()
        breaker = CircuitBreaker(failures=1, rest=10.0, clock=clock)
        first, second, third = breaker.admit(), breaker.admit(), breaker.admit()
        assert first is not None
        assert second is not None
        assert third is not None
        breaker.failed(first)
        getattr(breaker, late)(second)
        assert breaker.admit() is None
        clock.now += 10.0
        trial = breaker.admit()
        assert trial is not None
        getattr(breaker, then)(third)
        assert breaker.state is BreakerState.HALF_OPEN
        assert breaker.admit() is None
