"""A simulated network of three agents over a bad network: every seed ends well, and replays."""

import os
import re
import subprocess
import sys
from pathlib import Path
from random import SystemRandom

import pytest

ROOT = Path(__file__).parents[2]
# What fits into CI; `just simulate` runs a thousand.
SEEDS = 60


def _simulate(*arguments: str, hash_seed: int = 0) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "tests.runtime.simulating.run", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": str(hash_seed)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_every_seed_ends_with_nothing_lost_and_nothing_twice_and_replays_to_the_same_trace() -> (
    None
):
    """Ours: FoundationDB's method: drops, repeats, delays and deaths are a function of the seed."""
    first = int(os.environ.get("REPERTORY_SIMULATION_SEED") or SystemRandom().randrange(10**6))
    whole = _simulate("--first", str(first), "--seeds", str(SEEDS), "--digest")
    assert whole.returncode == 0, whole.stdout + whole.stderr
    again = _simulate("--first", str(first + 5), "--seeds", "5", "--digest", hash_seed=77)
    assert again.stdout.splitlines() == whole.stdout.splitlines()[5:10]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bug", "fault"),
    [("early-ack", "was acknowledged; then: no task"), ("rename", "was posted 2 times")],
)
def test_a_known_bug_fails_a_seed(bug: str, fault: str) -> None:
    """Ours: a proof must be able to fail: acknowledged before the commit, resent under a new id."""
    found = _simulate("--first", "1", "--seeds", "30", "--bug", bug)
    assert found.returncode == 1, found.stderr
    assert re.search(f"seed [0-9]+ FAILED: .*({fault})", found.stdout), found.stdout
