"""Ctrl-C and its like with real processes: no traceback, nothing lost, and the next run goes on."""

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from random import Random, SystemRandom

import pytest

from tests.runtime.killing.driver import Job, begun, running, wait_until
from tests.runtime.killing.evidence import faults_at_rest, read_evidence
from tests.runtime.killing.scenarios import small_desk

INTERRUPTED = 130
PATIENCE = 120
GRACE = 10


def finish(job: Job) -> None:
    """Run undisturbed, and find every mail decided once."""
    with running(job, "run", "network.yaml", "--input", "inbox", "--wait") as process:
        assert process.wait(PATIENCE) == 0, job.log.read_text()
    found = read_evidence(job.store)
    assert [*faults_at_rest(found, job.given()), *job.check(found)] == []


def quiet(job: Job) -> str:
    """What a command said, which is no traceback."""
    said = job.log.read_text()
    assert "Traceback" not in said
    return said


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_a_signal_in_mid_work_lets_running_work_end_and_the_next_run_go_on(
    tmp_path: Path, number: signal.Signals
) -> None:
    """Ours: drained means that no call was begun in vain, and no new mail was begun at all."""
    job = small_desk(tmp_path / "desk", 40, above=False)
    with running(job) as process:
        wait_until(lambda: len(job.lines()) > 8, process)
        process.send_signal(number)
        assert process.wait(PATIENCE) == INTERRUPTED
    assert "the same command goes on where this one stopped" in quiet(job)
    left = [task for task in read_evidence(job.store).roots() if not task.ended]
    assert left
    finish(job)
    assert set(begun(job.lines()).values()) == {1}


@pytest.mark.slow
def test_a_second_ctrl_c_stops_at_once_and_loses_nothing(tmp_path: Path) -> None:
    """Ours: who cannot wait for the work to end need not."""
    job = small_desk(tmp_path / "desk", 3, above=False)
    hold = job.folder / "hold"
    hold.touch()
    with running(job) as process:
        wait_until(lambda: any(line.startswith("tool") for line in job.lines()), process)
        process.send_signal(signal.SIGINT)
        wait_until(lambda: b"once more stops now" in job.log.read_bytes(), process)
        process.send_signal(signal.SIGINT)
        # One signal alone would wait this long for the held call, and then close.
        assert process.wait(GRACE) == INTERRUPTED
    quiet(job)
    hold.unlink()
    finish(job)


@pytest.mark.slow
def test_ctrl_c_at_any_moment_of_the_start_is_no_error(tmp_path: Path) -> None:
    """Ours: a person who changes their mind sees no traceback."""
    seed = int(os.environ.get("REPERTORY_KILL_SEED") or SystemRandom().randrange(10**6))
    print(f"REPERTORY_KILL_SEED={seed}")  # noqa: T201 - pytest shows it with a failure
    dice = Random(seed)
    job = small_desk(tmp_path / "desk", 2, above=False)
    for _ in range(3):
        with running(job) as process:
            try:
                process.wait(dice.uniform(0.5, 4.0))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGINT)
            # A start that was quick enough has done all the work before.
            assert process.wait(PATIENCE) in (INTERRUPTED, 0), job.log.read_text()
        quiet(job)
    finish(job)


# Sends itself the signal when the first heavy library is looked for.
INTERRUPTED_IMPORT = """
import os, signal, sys

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == "typer":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
from repertory.runtime.launch import main
main()
"""


def test_ctrl_c_while_the_libraries_load_is_no_traceback() -> None:
    """Ours: the first fraction of a second belongs to Ctrl-C at any time, too."""
    command = [sys.executable, "-c", INTERRUPTED_IMPORT]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (INTERRUPTED, "", "")


@pytest.mark.slow
def test_ctrl_c_while_the_input_is_still_being_given_keeps_the_rest_for_the_next_run(
    tmp_path: Path,
) -> None:
    """Ours: a full mailbox makes the giver wait; an interrupt must not become its error."""
    job = small_desk(tmp_path / "desk", 20, above=False)
    manifest = job.folder / "network.yaml"
    manifest.write_text(manifest.read_text().replace("  desk:\n", "  desk:\n    mailbox: 1\n"))
    with running(job) as process:
        wait_until(lambda: len(job.lines()) > 8, process)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == INTERRUPTED, job.log.read_text()
    quiet(job)
    accepted = Counter(task.file for task in read_evidence(job.store).roots())
    assert 0 < accepted.total() < 20
    finish(job)


@pytest.mark.slow
def test_a_server_that_is_told_to_end_has_done_its_work(tmp_path: Path) -> None:
    """Ours: serving ends with a signal and no other way, so that is its success."""
    job = small_desk(tmp_path / "desk", 1, above=False)
    with running(job, "serve", "network.yaml", "--port", "0") as process:
        wait_until(lambda: b"is served at" in job.log.read_bytes(), process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
    quiet(job)
