"""Death at every named commit: nothing lost, no effect twice, whatever was half done."""

import re
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import yaml

import repertory
from repertory.runtime import open_network
from repertory.runtime.manifest import parse_manifest
from repertory.xp_store import CRASH_POINTS, GOVERNING_POINTS, StoreError
from tests.runtime.killing.driver import PROGRAM, begun
from tests.runtime.killing.evidence import (
    Evidence,
    faults_at_rest,
    faults_between,
    faults_of_children,
    faults_of_repetition,
    read_evidence,
)

HERE = Path(__file__).parent / "killing"
ROOT = HERE.parents[2]
FILES = ["0.txt", "1.txt"]
KILLED = -9
Live = Callable[[Path, str], int]


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Books served over HTTP by a process that no crash reaches: their URL and folder."""
    folder = tmp_path_factory.mktemp("books")
    shutil.copy(HERE / "desk" / "books.py", folder)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port, handle = listener.getsockname()[1], listener.fileno()
        command = [sys.executable, "books.py", str(handle)]
        with _process(command, folder, handle):
            yield f"http://127.0.0.1:{port}/mcp", folder


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    """Live once in a folder with a crash point armed; how the process ended."""
    command = [sys.executable, "-m", "tests.runtime.killing.nursery"]
    with _process(command, ROOT) as nursery:
        assert nursery.stdin is not None
        assert nursery.stdout is not None
        lives, ends = nursery.stdin, nursery.stdout

        def one(folder: Path, point: str) -> int:
            lives.write(f"{folder} {point}\n".encode())
            lives.flush()
            return int(ends.readline())

        yield one


@contextmanager
def _process(
    command: list[str], folder: Path, *handles: int
) -> Iterator["subprocess.Popen[bytes]"]:
    process = subprocess.Popen(
        command, cwd=folder, pass_fds=handles, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _desk(folder: Path, url: str, *, index: bool = True) -> Path:
    shutil.copytree(HERE / "desk", folder, ignore=shutil.ignore_patterns("__pycache__"))
    manifest = yaml.safe_load((folder / "network.yaml").read_text())
    manifest["tools"] = {"books": {"url": url, "idempotent": ["post"]}}
    manifest["agents"]["desk"]["memory"] = {"recall": 0}
    if not index:
        # Chroma costs most of a life, and only the outbox's points are about it.
        manifest["store"] = {"index": "books.py/index"}
    (folder / "network.yaml").write_text(yaml.safe_dump(manifest))
    return folder


class Ledger:
    """What was given, called and posted, as it stands outside of the runtime."""

    def __init__(self, folder: Path, books: Path) -> None:
        self.folder = folder
        self.books = books
        self.known: list[Evidence] = []
        self.begun: list[Counter[str]] = []

    def live(self, live: Live, point: str) -> int:
        """One life, with the store before it and the calls that began in it."""
        self.known.append(read_evidence(self.folder / ".repertory" / "killing.db"))
        places = [self.folder / "calls.txt", self.books / "calls.txt"]
        before = [_lines(place) for place in places]
        status = live(self.folder, point)
        self.begun.append(
            begun(
                [
                    line
                    for p, old in zip(places, before, strict=True)
                    for line in _lines(p)[len(old) :]
                ]
            )
        )
        return status

    def faults(self) -> list[str]:
        """Everything that is lost, repeated or stuck after the last life."""
        final = read_evidence(self.folder / ".repertory" / "killing.db")
        return [
            *faults_at_rest(final, FILES),
            *(fault for earlier in self.known for fault in faults_between(earlier, final)),
            *faults_of_repetition(self.begun, self.known, final),
            *faults_of_children(final),
            *self._lost(final),
            *self._posted(),
            *(f"{file} was {end}" for file, end in final.decisions().items() if end != "COMPLETED"),
        ]

    def _lost(self, final: Evidence) -> Iterator[str]:
        for line in _lines(self.folder / "ledger.txt"):
            file, task = line.split()
            if task not in final.tasks:
                yield f"{file} was acknowledged as task {task}, which is gone"

    def _posted(self) -> Iterator[str]:
        with closing(sqlite3.connect(self.books / "books.db")) as store:
            rows = store.execute(
                "SELECT number FROM posting WHERE number LIKE ?", (f"{self.folder.name}R%",)
            ).fetchall()
        if sorted(number for (number,) in rows) != [f"{self.folder.name}R{n}" for n in (0, 1)]:
            yield f"the books hold {rows}"


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


@pytest.mark.parametrize("point", CRASH_POINTS)
def test_a_death_at_a_commit_loses_nothing_and_repeats_no_effect(
    point: str, live: Live, books: tuple[str, Path], tmp_path: Path
) -> None:
    """Ours: fault F3; DBOS kills itself at named places like these, the ledger decides."""
    url, place = books
    folder = _desk(tmp_path / point, url, index="outbox" in point or "vectors" in point)
    ledger = Ledger(folder, place)
    assert ledger.live(live, point) == KILLED, (folder / "run.log").read_text()
    assert ledger.live(live, "-") == 0, (folder / "run.log").read_text()
    assert ledger.faults() == []


def test_every_crash_point_stands_once_in_the_code_or_by_its_two_moments() -> None:
    """Ours: a name that nothing comes by, or that is not listed, would test nothing."""
    package = Path(repertory.__file__).parent
    used = set()
    for file in package.glob("*/*.py"):
        used |= set(re.findall(r'crash_point\(f?"([^"]+)"\)', file.read_text()))
        used |= set(
            re.findall(r'crash_point\(\s*"([^"]+)" if [^"]+ else "[^"]+"', file.read_text())
        )
        used |= set(
            re.findall(r'crash_point\(\s*"[^"]+" if [^"]+ else "([^"]+)"', file.read_text())
        )
    moments = {"append", "end", "result", "begin"}
    meant = {
        name.replace("{moment}", moment)
        for name in used
        for moment in (moments if "{" in name else {""})
    }
    assert not set(CRASH_POINTS) & set(GOVERNING_POINTS)
    known = {*CRASH_POINTS, *GOVERNING_POINTS}
    assert known <= meant
    assert {name for name in used if "{" not in name} <= known


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("afer-effect", "no crash point 'afer-effect'; there are: before-accept, in-accept"),
        ("after-effect:0", "counts '0' at 'after-effect'; write after-effect:1"),
        ("after-effect:two", "counts 'two' at 'after-effect'"),
    ],
)
async def test_a_crash_point_that_is_none_is_refused_before_anything_is_opened(
    value: str, sentence: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Ours: a misspelled name must not look like a run that survived."""
    monkeypatch.setenv("REPERTORY_CRASH_AT", value)
    manifest = parse_manifest("network: n\nagents: {a: {kind: human}}", folder=tmp_path)
    with pytest.raises(StoreError, match=re.escape(sentence)):
        async with open_network(manifest):
            pass
    assert list(tmp_path.iterdir()) == []


def test_the_command_line_dies_where_the_environment_says(
    tmp_path: Path, books: tuple[str, Path]
) -> None:
    """Ours: `REPERTORY_CRASH_AT=after-accept repertory run` is killed, and the task is there."""
    folder = _desk(tmp_path / "desk", books[0])
    (folder / "mail.txt").write_text("number X1 total 1.00")
    command = [*PROGRAM, "run", "network.yaml", "--input", "mail.txt"]
    environment = {"REPERTORY_CRASH_AT": "after-accept", "PATH": "/usr/bin:/bin"}
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False)
    assert ended.returncode == KILLED, ended.stderr
    (task,) = read_evidence(folder / ".repertory" / "killing.db").roots()
    assert task.state == "TASK_STATE_SUBMITTED"
