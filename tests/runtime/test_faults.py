"""The fault table's harness at a tiny dose: real processes, a ledger outside, and a judge that can say no."""

from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from benchmarks.faults.fault import Bench, Fault, Outcome, Size, SkippedError
from benchmarks.faults.kills import out_of_order
from benchmarks.faults.ledger import Ledger
from benchmarks.faults.page import row_of, write_row
from benchmarks.faults.power import Call, Disk, calls_of
from benchmarks.faults.processes import open_starter
from benchmarks.faults.run import FAULTS
from benchmarks.faults.stores import PostgresStore, SqliteStore, Store
from tests.cluster import Cluster

# Those that cost some seconds.
_CHEAP = ("F2", "F6", "F7", "F8", "F9r", "F13", "F15")
_SHARED = ("F11", "F12", "F20")


async def _do(names: tuple[str, ...], store: Store, folder: Path) -> None:
    with open_starter() as starter:
        for fault in (each for each in FAULTS if each.id in names and store.name in each.stores):
            (folder / fault.id).mkdir()
            bench = Bench(
                folder / fault.id, store, starter, Random(7), fault.doses["tiny"], "tiny", print
            )
            with suppress(SkippedError):
                outcome = await fault.run(bench)
                assert outcome.wrong == []
                assert outcome.accepted > 0


@pytest.mark.slow
async def test_a_tiny_dose_of_the_cheap_faults_loses_nothing(tmp_path: Path) -> None:
    """Ours: what `just faults` does at length, so that the harness itself is tested."""
    await _do(_CHEAP, SqliteStore(), tmp_path)


@pytest.mark.slow
async def test_a_tiny_dose_over_a_server_loses_nothing(postgres: Cluster, tmp_path: Path) -> None:
    """Ours: cuts, sleeping workers and killed backends, of a server with `fsync` off."""
    await _do(_SHARED, PostgresStore(postgres), tmp_path)


def test_a_log_of_system_calls_is_read_also_where_threads_interrupt_each_other(
    tmp_path: Path,
) -> None:
    """Ours: a sync covers what had been written when it began, and is over when it has ended."""
    log, path = tmp_path / "log", "".join(f"\\x{byte:02x}" for byte in b"/s/a")
    log.write_text(
        f'7  10.000000 pwrite64(4<{path}>, "\\x61\\x62", 2, 0) = 2 <0.000010>\n'
        f"8  10.100000 fdatasync(4<{path}> <unfinished ...>\n"
        f'7  10.200000 pwrite64(4<{path}>, "\\x63", 1, 2) = 1 <0.000010>\n'
        "8  10.300000 <... fdatasync resumed>) = 0 <0.200000>\n"
        f"7  10.400000 fdatasync(4<{path}>) = -1 EIO (Input/output error) <0.000010>\n"
        "7  10.500000 +++ killed by SIGKILL +++\n"
    )
    calls = calls_of(log)
    assert [(call.name, call.result) for call in calls] == [
        ("pwrite64", 2),
        ("pwrite64", 1),
        ("fdatasync", 0),
        ("fdatasync", -1),
    ]
    disk = Disk()
    for call in calls:
        disk.take(call)
    state = disk.files[Path("/s/a")]
    assert state.found(None) == b"ab"
    assert {state.found(Random(seed)) for seed in range(9)} == {b"ab", b"abc"}


def test_a_power_cut_takes_what_was_not_synced_and_may_bring_back_what_was_removed(
    tmp_path: Path,
) -> None:
    """Ours: of a file that was removed everything is found until its folder is synced."""

    def call(name: str, arguments: str, at: float) -> Call:
        return Call(name, arguments, 0 if name != "pwrite64" else 2, at, at + 0.5)

    disk = Disk()
    disk.take(call("pwrite64", '4</s/a>, "\\x61\\x62", 2, 0', 1))
    disk.lay_out(Path("/s"), tmp_path / "one", None)
    assert not (tmp_path / "one" / "a").exists()
    disk.take(call("fdatasync", "4</s/a>", 2))
    disk.take(call("ftruncate", "4</s/a>, 1", 3))
    disk.take(call("unlink", '"\\x2f\\x73\\x2f\\x61"', 4))
    disk.lay_out(Path("/s"), tmp_path / "two", None)
    assert (tmp_path / "two" / "a").read_bytes() == b"ab"
    disk.take(call("fsync", "5</s>", 5))
    disk.lay_out(Path("/s"), tmp_path / "three", None)
    assert not (tmp_path / "three" / "a").exists()


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
