"""The fault table's harness at a tiny dose: real processes, a ledger outside, and a judge that can say no."""

from pathlib import Path
from random import Random

import pytest

from benchmarks.faults.fault import Bench, Fault, Outcome, Size
from benchmarks.faults.kills import out_of_order
from benchmarks.faults.ledger import Ledger
from benchmarks.faults.page import row_of, write_row
from benchmarks.faults.processes import open_starter
from benchmarks.faults.run import FAULTS
from benchmarks.faults.stores import SqliteStore

# Those that cost some seconds and need nothing that a machine may lack.
_CHEAP = ("F2", "F6", "F7", "F8")


@pytest.mark.slow
async def test_a_tiny_dose_of_the_cheap_faults_loses_nothing(tmp_path: Path) -> None:
    """Ours: what `just faults` does at length, so that the harness itself is tested."""
    with open_starter() as starter:
        for fault in (each for each in FAULTS if each.id in _CHEAP):
            folder = tmp_path / fault.id
            folder.mkdir()
            bench = Bench(
                folder, SqliteStore(), starter, Random(7), fault.doses["tiny"], "tiny", print
            )
            outcome = await fault.run(bench)
            assert outcome.wrong == []
            assert outcome.accepted > 0


def _ledger(folder: Path, *effects: tuple[str, str], accepted: tuple[str, ...] = ("t0",)) -> Ledger:
    ledger = Ledger(folder / "ledger.txt", {name: f"id of {name}" for name in accepted})
    for key, what in effects:
        ledger.ask(key, what)
        ledger.do(key, what)
    return ledger


def test_the_ledger_sees_what_was_lost(tmp_path: Path) -> None:
    """Ours: a test must be able to fail."""
    ledger = _ledger(tmp_path, ("k1", "t0/0"), accepted=("t0", "t1"))
    assert ledger.lost({"t0": "COMPLETED", "t1": "FAILED"}, {"t0": 1}) == []
    assert ledger.lost({"t0": "COMPLETED"}, {"t0": 2}) == [
        "t0/1 never happened",
        "task t1 is gone",
    ]


def test_the_ledger_sees_what_was_repeated(tmp_path: Path) -> None:
    """Ours: one effect under two keys is two effects; one key asked twice is one."""
    assert _ledger(tmp_path, ("k1", "t0/0"), ("k1", "t0/0")).repeated() == []
    assert _ledger(tmp_path, ("k1", "t0/0"), ("k2", "t0/0")).repeated() == ["t0/0"]


def test_the_ledger_sees_what_is_stuck(tmp_path: Path) -> None:
    """Ours: a task that works for ever is as bad as a lost one."""
    ledger = _ledger(tmp_path, accepted=("t0", "t1"))
    assert ledger.stuck({"t0": "COMPLETED", "t1": "WORKING"}) == ["t1"]


def test_the_ledger_sees_a_context_out_of_order(tmp_path: Path) -> None:
    """Ours: the messages of one context take effect as they were sent."""
    sent, steps = {"c": ["t0", "t1"]}, {"t0": 1, "t1": 1}
    right = _ledger(tmp_path, ("k0", "t0/0"), ("k1", "t1/0"))
    assert out_of_order(right, sent, steps) == []
    wrong = _ledger(tmp_path, ("k1", "t1/0"), ("k0", "t0/0"))
    assert len(out_of_order(wrong, sent, steps)) == 1


def test_a_row_names_what_went_wrong_and_what_was_not_run() -> None:
    """Ours: a fault that was skipped is no fault that was survived."""
    lost = row_of(FAULTS[0], "sqlite", Outcome(accepted=3, lost=["task t1 is gone"]), seed=1)
    assert "| 3 | 1 | 0 | 0 |" in lost
    skipped = row_of(FAULTS[0], "sqlite", Outcome(skipped="there is no `ip`"), seed=1)
    assert "not run: there is no `ip`" in skipped
    assert "| 0 |" not in skipped


def test_a_fault_that_is_done_again_replaces_its_own_row(tmp_path: Path) -> None:
    """Ours: a run that is interrupted keeps its rows, and one of a single fault the others'."""
    page = tmp_path / "faults.md"
    page.write_text("Above.\n\n<!-- ci -->\n<!-- /ci -->\n\n<!-- nightly -->\n<!-- /nightly -->\n")
    first, second = FAULTS[0], FAULTS[1]

    def write(fault: Fault, store: str, note: str, seed: int, size: Size = "ci") -> None:
        write_row(fault, store, Outcome(note=note, seconds=60), seed=seed, size=size, page=page)

    write(second, "sqlite", "a | pipe\nand a line", 1)
    write(first, "postgresql", "once", 1)
    write(first, "sqlite", "before", 1)
    write(first, "sqlite", "after", 2)
    write(first, "sqlite", "at night", 3, "nightly")
    by_day, _, by_night = page.read_text().partition("<!-- nightly -->")
    rows = [line for line in by_day.splitlines() if line.startswith("| F")]
    assert [row.split(" | ")[0] for row in rows] == ["| F1", "| F1", f"| {second.id}"]
    assert "once" in rows[0]
    assert "after" in rows[1]
    assert "seed 2," in rows[1]
    assert r"a \| pipe and a line" in rows[2]
    assert "together took 3 minutes" in by_day
    assert by_day.startswith("Above.")
    assert "at night" in by_night
    assert "before" not in page.read_text()
