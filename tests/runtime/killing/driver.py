"""Real processes of `repertory run`, killed at seeded moments and started again until all is done.

The driver remembers what it gave and what it saw; nothing of its judgment rests on what the
runtime says of itself (the ledger method). What is judged is in `evidence`, what is run in
`scenarios`.
"""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Literal

from .evidence import (
    Evidence,
    faults_at_rest,
    faults_between,
    faults_of_repetition,
    read_evidence,
)

PROGRAM = (sys.executable, "-c", "from repertory.runtime.launch import main; main()")
_LOOK_SECONDS = 0.005
_PATIENCE_SECONDS = 180.0
_ORPHAN_SECONDS = 15.0
# A start that was never seen is taken to be this long.
_FIRST_START = 4.0


@dataclass(frozen=True, slots=True)
class Moment:
    """When to kill: a part of the start, so many lines into the work, or when all is decided."""

    where: Literal["start", "work", "end"]
    amount: float
    delay: float


def moments(dice: Random, longest: int) -> Iterator[Moment]:
    """Moments without end: a quarter in the start, most in the work, some at the end."""
    while True:
        where = dice.choices(("start", "work", "end"), (25, 68, 7))[0]
        delay = dice.uniform(0.0, 0.04 if where == "work" else 0.3)
        if where == "start":
            yield Moment("start", dice.uniform(0.05, 1.0), 0.0)
        elif where == "work":
            yield Moment("work", dice.randint(1, longest), delay)
        else:
            yield Moment("end", 0, delay)


@dataclass(frozen=True, slots=True)
class Job:
    """What is run and killed.

    folder: the manifest's, to write in. store: its SQLite file, or a server's URL. calls: the file that
    the scripted model and the tools append to; lines of `chat begin DIGEST` and
    `tool begin KEY` are checked against the journal. entry: the agent that is given
    the files. check: what else must hold at the end. answer: what waiting persons
    answer, "" to let them wait. recorders: the agents that leave packs, None for all.
    """

    folder: Path
    store: Path | str
    calls: Path
    inbox: Path
    entry: str
    check: Callable[[Evidence], Iterator[str]]
    answer: str = ""
    recorders: frozenset[str] | None = None

    @property
    def log(self) -> Path:
        """Where what a run says is kept."""
        return self.folder / "run.log"

    def given(self) -> list[str]:
        """The names of the files that are given."""
        return sorted(path.name for path in self.inbox.iterdir())

    def lines(self) -> list[str]:
        """The whole lines of `calls` so far."""
        if not self.calls.exists():
            return []
        return self.calls.read_text().rpartition("\n")[0].splitlines()


@dataclass(slots=True)
class Tally:
    """What the kills did, over all rounds."""

    kills: Counter[str] = field(default_factory=Counter)
    rounds: int = 0
    lives: int = 0
    recoveries: list[float] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    repeated: Counter[str] = field(default_factory=Counter)
    worst: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def killed(self) -> int:
        """How many kills there were."""
        return self.kills.total()


class Driver:
    """Runs one job to its end, killing it on the way."""

    def __init__(self, job: Job, dice: Random, tally: Tally, say: Callable[[str], None]) -> None:
        self.job = job
        self.dice = dice
        self.tally = tally
        self.say = say
        self.start_seconds = _FIRST_START
        self.known: list[Evidence] = []
        self.begun: list[Counter[str]] = []
        self.children: set[int] = set()

    def run(self, kills: int, *, longest: int = 12) -> None:
        """Kill `kills` times at most, let it end, and put what is wrong into the tally."""
        self.tally.rounds += 1
        wanted = self.tally.killed + kills
        asked = over = False
        for moment in moments(self.dice, longest):
            undisturbed = over or self.tally.killed >= wanted
            finished = self._live(None if undisturbed else moment, wait=asked)
            if finished is None:
                # A run that has nothing left to do is no target for further kills.
                over = moment.where == "end"
                continue
            if finished not in (0, 1, 3):
                self.tally.faults.append(f"the run ended with status {finished}: {self._words()}")
                break
            waiting = read_evidence(self.job.store).waiting() if self.job.answer else []
            if waiting and not asked:
                asked, over = True, False
                for task in waiting:
                    self._answer(task)
            elif undisturbed or moment.where != "start":
                break
        self._judge()

    # -- lives -------------------------------------------------------------------

    def _live(self, moment: Moment | None, *, wait: bool) -> int | None:
        """One life of the process: its exit status, or None when it was killed."""
        self.known.append(read_evidence(self.job.store))
        before = len(self.job.lines())
        began = time.monotonic()
        with self.job.log.open("wb") as log:
            process = self._spawn(
                ["run", "network.yaml", "--input", str(self.job.inbox), "--json"]
                + ["--wait"] * wait,
                log,
            )
        self.tally.lives += 1
        try:
            self._wait_for(moment, process, began, before)
            status = process.poll()
        finally:
            if process.poll() is None:
                self.children |= descendants(process.pid)
                process.kill()
            process.wait()
        fresh = self.job.lines()[before:]
        self.begun.append(begun(fresh))
        if status is None and moment is not None:
            self.tally.kills[moment.where] += 1
            self.say(
                f"killed at {moment.where} ({time.monotonic() - began:.1f} s, {len(fresh)} lines)"
            )
        return status

    def _spawn(
        self, arguments: Sequence[str], log: "int | subprocess._FILE"
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*PROGRAM, *arguments],
            cwd=self.job.folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )

    def _wait_for(
        self, moment: Moment | None, process: subprocess.Popen[bytes], began: float, before: int
    ) -> None:
        """Return at the moment, or when the process has ended."""
        deadline = began + _PATIENCE_SECONDS
        first: float | None = None
        while process.poll() is None:
            now = time.monotonic()
            lines = len(self.job.lines()) - before
            if lines and first is None:
                first = now - began
                self.start_seconds = min(first, self.start_seconds * 1.5)
                if self.tally.lives > 1:
                    self.tally.recoveries.append(first)
            if moment is not None and self._is_due(moment, now - began, lines):
                time.sleep(moment.delay)
                return
            if now > deadline:
                self.tally.faults.append(f"no end after {_PATIENCE_SECONDS:g} s: {self._words()}")
                return
            time.sleep(_LOOK_SECONDS)

    def _is_due(self, moment: Moment, seconds: float, lines: int) -> bool:
        if moment.where == "start":
            return seconds >= moment.amount * self.start_seconds
        if moment.where == "work":
            return lines >= moment.amount
        return self._all_decided()

    def _all_decided(self) -> bool:
        try:
            with contextlib.closing(
                sqlite3.connect(f"file:{self.job.store}?mode=ro", uri=True)
            ) as store:
                rows = store.execute(
                    "SELECT count(*) FROM task WHERE agent=? AND parent_task=''"
                    " AND (ended=1 OR park<>'' OR state='TASK_STATE_INPUT_REQUIRED')",
                    (self.job.entry,),
                )
                return int(rows.fetchone()[0]) >= len(self.job.given())
        except sqlite3.OperationalError:
            return False

    def _answer(self, task: str) -> None:
        """Leave a person's answer for the next life."""
        with (self.job.folder / "answer.log").open("wb") as log:
            process = self._spawn(
                ["answer", task, self.job.answer, "--later", "-m", "network.yaml"], log
            )
            if process.wait(_PATIENCE_SECONDS):
                self.tally.faults.append(f"answer to {task} ended with {process.returncode}")

    def _words(self) -> str:
        return self.job.log.read_text(errors="replace").strip()[-2000:]

    # -- judgment ----------------------------------------------------------------

    def _judge(self) -> None:
        final = read_evidence(self.job.store)
        faults = self.tally.faults
        faults.extend(faults_at_rest(final, self.job.given(), self.job.recorders))
        for earlier in self.known:
            faults.extend(faults_between(earlier, final))
        faults.extend(faults_of_repetition(self.begun, self.known, final))
        faults.extend(self.job.check(final))
        faults.extend(self._orphans())
        self._count(final)

    def _count(self, final: Evidence) -> None:
        """Count the calls, and those made more often than the journal has results."""
        total: Counter[str] = Counter()
        for life in self.begun:
            total += life
        for call, times in total.items():
            kind = call.partition(" ")[0]
            self.tally.calls[kind] += times
            self.tally.repeated[kind] += max(0, times - final.effects[call])
        lost = [
            (calls - (after.effects - before.effects)).total()
            for calls, before, after in zip(
                self.begun, self.known, [*self.known[1:], final], strict=True
            )
        ]
        self.tally.worst = max(self.tally.worst, *lost)

    def _orphans(self) -> Iterator[str]:
        """Children that outlived the process that had started them."""
        deadline = time.monotonic() + _ORPHAN_SECONDS
        left = self.children
        while left and time.monotonic() < deadline:
            left = {pid for pid in left if _lives(pid)}
            time.sleep(_LOOK_SECONDS)
        for pid in left:
            yield f"process {pid} outlived the runtime that had started it"
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def begun(lines: Sequence[str]) -> Counter[str]:
    """Calls that began, as `chat DIGEST` and `tool KEY`."""
    words = [line.split() for line in lines]
    return Counter(f"{kind} {what}" for kind, when, what in words if when == "begin")


@contextlib.contextmanager
def running(job: Job, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A command of ours at work, its words going to `run.log`."""
    command = [*PROGRAM, *(arguments or ("run", "network.yaml", "--input", "inbox"))]
    with job.log.open("wb") as log:
        process = subprocess.Popen(command, cwd=job.folder, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Look again and again until `condition` holds.

    Raises:
        TimeoutError: The process ended, or the patience did, before it held.
    """
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            raise TimeoutError(f"process {process.pid} has status {process.returncode}")
        time.sleep(_LOOK_SECONDS)


def descendants(pid: int) -> set[int]:
    """The children of a process and theirs; on Linux, else none are known."""
    found: set[int] = set()
    for thread in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, thread.read_text().split()):
                found |= {child} | descendants(child)
    return found


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in ("Z", "X")
