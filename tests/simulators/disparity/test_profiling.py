from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser

from repertory.simulators.disparity.outcome import DuelOutcome, by_policy
from repertory.simulators.disparity.profiling import (
    LENGTH,
    POLICIES,
    SWITCH,
    WINDOW,
    Act,
    Profiler,
    SessionResult,
    judge,
    session,
)
from tests.claims import claim


@pytest.fixture(scope="module")
def results() -> list[SessionResult]:
    profiler = Profiler(training=8)
    found = []
    for policy in POLICIES:
        for seed in range(10):
            acts = session(policy, seed)
            found.append(judge(policy, seed, acts, profiler.read(acts)))
    return found


def test_sessions_are_the_same_again_and_in_order_of_time() -> None:
    """Ours: drawn by seeds, in virtual time."""
    for policy in POLICIES:
        acts = session(policy, 3)
        assert acts == session(policy, 3)
        assert acts != session(policy, 4)
        assert len(acts) == LENGTH
        assert all(a.at < b.at for a, b in pairwise(acts))
    switched = {a.identity for a in session("profile-switching", 3)[:SWITCH]}
    assert switched.isdisjoint(a.identity for a in session("profile-switching", 3)[SWITCH:])


@claim("habd:switching")
def test_switching_profiles_misleads_attribution(results: list[SessionResult]) -> None:
    """Paper: arXiv 2508.14415: an attacker who switches profiles misleads who profiles him."""
    by_name = {p.policy: p for p in by_policy(results)}
    switching, human = by_name["profile-switching"], by_name["human"]
    assert switching.before.value > 0.9
    assert switching.fall.low > 0.2
    assert not human.fall.excludes(0) or human.fall.value < 0.05


def test_machines_are_detected_and_humans_rarely_are(results: list[SessionResult]) -> None:
    """Ours: detection, its time, what delays cost it, and false alarms on the control."""
    by_name = {p.policy: p for p in by_policy(results)}
    assert by_name["scripted"].detected.value == 1
    assert by_name["model-like"].detected.value == 1
    assert by_name["human"].detected.value <= 0.2
    assert by_name["delayed"].acts > 3 * by_name["scripted"].acts
    assert by_name["delayed"].detection.value < by_name["scripted"].detection.value + 1e-9
    told = "\n".join(DuelOutcome(results, 2, None).sentences())
    assert "attribution falls from" in told
    assert "2 sessions failed" in told


def test_the_duel_has_a_page(
    results: list[SessionResult], tmp_path: Path, chromium: Browser
) -> None:
    """Ours: every policy with its intervals, and what follows in words."""
    DuelOutcome(results, 0, tmp_path).write(tmp_path)
    page = chromium.new_page()
    page.goto((tmp_path / "duel.html").as_uri())
    assert page.locator("tbody tr").count() == len(POLICIES)
    assert "attribution falls from" in page.locator("main").inner_text()
    assert page.locator("svg.chart").count() == 1


def test_a_reading_looks_at_acts_and_never_at_the_truth() -> None:
    """Ours: the negative control: with the identities taken off, readings stay the same."""
    profiler = Profiler(training=4)
    acts = session("scripted", 1)
    blank = [Act(a.at, a.act) for a in acts]
    assert profiler.read(acts) == profiler.read(blank)
    assert profiler.read([]) == []
    shuffled = [Act(a.at, b) for a, b in zip(acts, _shuffled(acts), strict=True)]
    assert profiler.read(shuffled)[-1].evidence != profiler.read(acts)[-1].evidence
    assert WINDOW < SWITCH


def _shuffled(acts: list[Act]) -> list[str]:
    order = np.random.default_rng(0).permutation(len(acts))
    return [acts[int(i)].act for i in order]
