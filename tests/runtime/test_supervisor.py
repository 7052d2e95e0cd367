"""Who is restarted after a crash, by OTP's rules."""

import pytest

from repertory.runtime.supervisor import Restart, Strategy, Supervisor, Verdict
from tests.claims import claim

_THREE: dict[str, Restart] = {"first": "permanent", "second": "permanent", "third": "permanent"}


class _Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@claim("otp:strategies")
@pytest.mark.parametrize(
    ("strategy", "restarted"),
    [
        ("one_for_one", ("second",)),
        ("one_for_all", ("first", "second", "third")),
        ("rest_for_one", ("second", "third")),
    ],
)
def test_a_strategy_decides_who_is_restarted_with_the_crashed_one(
    strategy: Strategy, restarted: tuple[str, ...]
) -> None:
    """Spec: Erlang/OTP supervisor, restart strategies."""
    supervisor = Supervisor(_THREE, strategy=strategy)
    assert supervisor.exited("second", abnormal=True) == Verdict(restart=restarted)


@claim("otp:restart-kinds")
@pytest.mark.parametrize(
    ("kind", "abnormal", "restarted"),
    [
        ("permanent", False, True),
        ("permanent", True, True),
        ("transient", False, False),
        ("transient", True, True),
        ("temporary", False, False),
        ("temporary", True, False),
    ],
)
def test_a_restart_kind_decides_whether_an_exit_is_answered(
    kind: Restart, abnormal: bool, restarted: bool
) -> None:
    """Spec: Erlang/OTP supervisor, permanent, transient and temporary children."""
    verdict = Supervisor({"only": kind}).exited("only", abnormal=abnormal)
    assert (verdict.restart == ("only",)) is restarted
    assert (verdict.down == ("only",)) is not restarted


@claim("otp:intensity")
def test_one_restart_more_than_the_intensity_within_the_period_is_too_many() -> None:
    """Spec: Erlang/OTP supervisor, maximum restart intensity."""
    clock = _Clock()
    supervisor = Supervisor(_THREE, intensity=2, period=5.0, clock=clock)
    assert not supervisor.exited("first", abnormal=True).exhausted
    assert not supervisor.exited("first", abnormal=True).exhausted
    assert supervisor.exited("first", abnormal=True).exhausted


def test_restarts_older_than_the_period_do_not_count() -> None:
    """Spec: Erlang/OTP supervisor, the intensity is per period."""
    clock = _Clock()
    supervisor = Supervisor(_THREE, intensity=1, period=5.0, clock=clock)
    for _ in range(4):
        assert not supervisor.exited("first", abnormal=True).exhausted
        clock.now += 5.1


def test_a_temporary_sibling_stopped_with_the_others_stays_down() -> None:
    """Spec: Erlang/OTP supervisor, temporary children are never restarted."""
    supervisor = Supervisor({"first": "permanent", "guest": "temporary"}, strategy="one_for_all")
    verdict = supervisor.exited("first", abnormal=True)
    assert verdict == Verdict(restart=("first",), down=("guest",))
    assert supervisor.exited("first", abnormal=True) == Verdict(restart=("first",))
