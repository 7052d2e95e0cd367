from collections.abc import Mapping

import numpy as np
import pytest
from scipy.stats import norm

from repertory.simulators.disparity.events import Event, EventColumns, EventTable
from repertory.simulators.disparity.measures import measures_of
from repertory.simulators.disparity.profiles import block_weights, profiles_of
from repertory.simulators.disparity.synthetic import MONDAY, chain, renewal

ONE = block_weights(0, 0)
N = 40_000


def _table(events: list[Event]) -> EventTable:
    columns = EventColumns()
    columns.extend(events)
    return columns.table()


def _measured(events: list[Event]) -> Mapping[str, float]:
    found = measures_of(profiles_of(_table(events)), 0, ONE)
    return {key: float(value[0]) for key, value in found.items()}


def _renewal(gaps: np.ndarray) -> Mapping[str, float]:
    return _measured(list(renewal("a", gaps, ["x"] * len(gaps))))


def test_a_clock_a_poisson_process_and_bursts_have_their_burstiness() -> None:
    """Paper: Goh and Barabási (2008), Kim and Jo (2016): -1, 0, and above 0 for heavy tails."""
    rng = np.random.default_rng(1)
    sigma = 1.0
    # Quantiles in random order: a sample whose spread is the distribution's own.
    normal = norm.ppf((rng.permutation(N) + 0.5) / N)
    r = np.sqrt(np.exp(sigma**2) - 1)
    assert _renewal(np.full(N, 60.0))["burstiness"] == pytest.approx(-1, abs=0.05)
    assert _renewal(rng.exponential(60, N))["burstiness"] == pytest.approx(0, abs=0.05)
    lognormal = _renewal(np.exp(3 + sigma * normal))
    assert lognormal["burstiness"] == pytest.approx((r - 1) / (r + 1), rel=0.05)
    assert lognormal["median_gap"] == pytest.approx(np.exp(3), rel=0.05)
    assert lognormal["memory"] == pytest.approx(0, abs=0.05)


def test_a_poisson_process_has_its_pace_and_its_share_of_fast_gaps() -> None:
    """Ours: with rate 1/5 s, P(gap < 1 s) is 1 - exp(-1/5) and the median is 5 ln 2."""
    found = _renewal(np.random.default_rng(2).exponential(5, N))
    assert found["fast_gaps"] == pytest.approx(1 - np.exp(-0.2), rel=0.05)
    assert found["median_gap"] == pytest.approx(5 * np.log(2), rel=0.05)
    assert found["pace"] == pytest.approx(720, rel=0.05)


def test_a_markov_chain_has_its_entropies() -> None:
    """Ours: H(a), H(next | last), mutual information and repeats of a known chain, within 5 %."""
    stay = 0.7
    matrix = np.full((4, 4), (1 - stay) / 3)
    np.fill_diagonal(matrix, stay)
    path = chain(matrix, N, np.random.default_rng(3))
    found = _measured(list(renewal("a", np.full(N, 9.0), [f"s{i}" for i in path])))
    following = -(stay * np.log2(stay) + (1 - stay) * np.log2((1 - stay) / 3))
    assert found["action_entropy"] == pytest.approx(2, rel=0.05)
    assert found["next_entropy"] == pytest.approx(following, rel=0.05)
    assert found["mutual_information"] == pytest.approx(2 - following, rel=0.05)
    assert found["self_repeat"] == pytest.approx(stay, rel=0.05)


def test_small_samples_do_not_look_more_determined_than_they_are() -> None:
    """Paper: Miller and Madow (1955): 200 draws from 16 equal actions keep nearly 4 bits."""
    rng = np.random.default_rng(4)
    found = [
        _measured(
            list(renewal("a", np.full(200, 9.0), [f"s{i}" for i in rng.integers(0, 16, 200)]))
        )
        for _ in range(20)
    ]
    assert np.mean([f["action_entropy"] for f in found]) == pytest.approx(4, rel=0.02)


def test_retries_switches_and_determinism_are_counted() -> None:
    """Ours: each follows from events that were made for it."""
    events = []
    for i in range(400):
        at = MONDAY + i * 100.0
        events += [
            Event("a", at, "try", "thing", state="low", outcome="error"),
            Event("a", at + 2, "try", "thing" if i % 4 else "other", state="low"),
            Event("a", at + 42, "read" if i % 2 else "write", "thing", state="high"),
        ]
    found = _measured(events)
    assert found["retry"] == pytest.approx(0.75, rel=0.02)
    assert found["determinism"] == pytest.approx((1 + 1 + 0.5) / 3, rel=0.02)
    # A repeat follows after 2 s; half of the switches wait 40 s and half 58 s.
    assert found["switch_cost"] == pytest.approx(np.log10(np.sqrt(40 * 58) / 2), rel=0.05)


def test_sleep_shows_whatever_the_shift_and_the_zone() -> None:
    """Ours: a night shift leaves 6 hours quiet like a day shift; work around the clock does not."""
    rng = np.random.default_rng(5)

    def at_hours(first: int, last: int, zone: float = 0.0) -> Mapping[str, float]:
        hours = rng.uniform(first, last, 4000) + 24 * rng.integers(0, 60, 4000)
        return _measured([Event("a", MONDAY + h * 3600, "x", zone=zone) for h in np.sort(hours)])

    day, night, clock = at_hours(8, 18), at_hours(20, 30), at_hours(0, 24)
    moved = at_hours(8, 18, zone=-9 * 3600.0)
    assert day["quiet_quarter"] == night["quiet_quarter"] == moved["quiet_quarter"] == 0
    assert clock["quiet_quarter"] == pytest.approx(0.25, rel=0.1)
    assert night["night_share"] > 0.5 > day["night_share"]
    assert night["hour_entropy"] == pytest.approx(np.log2(10), rel=0.05)


def test_other_units_and_other_days_change_no_dimensionless_measure() -> None:
    """Ours: time in minutes, or ten weeks later, leaves entropies, memory and burstiness alone."""
    rng = np.random.default_rng(6)
    gaps = rng.lognormal(3, 1, 4000)
    actions = [f"s{i}" for i in rng.integers(0, 5, 4000)]
    plain = _measured(list(renewal("a", gaps, actions)))
    later = _measured(list(renewal("a", gaps, actions, MONDAY + 70 * 86400)))
    minutes = _measured(list(renewal("a", gaps * 60, actions)))
    free = [
        "action_entropy",
        "next_entropy",
        "mutual_information",
        "self_repeat",
        "burstiness",
        "memory",
        "per_type",
        "switch_cost",
    ]
    for key in free:
        assert later[key] == pytest.approx(plain[key], rel=1e-6)
        assert minutes[key] == pytest.approx(plain[key], rel=0.05, abs=0.01)
    for key in ("hour_entropy", "quiet_quarter", "night_share"):
        assert later[key] == pytest.approx(plain[key])
