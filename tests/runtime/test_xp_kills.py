"""`kill -9` while packs are governed: nothing half written, and whatever was begun can be repeated."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from repertory.runtime.cli import run_cli
from repertory.runtime.exits import Exit
from repertory.xp_store import GOVERNING_POINTS, ChromaIndex, HashEmbedder
from tests.runtime.test_xp_govern import DESK, MANIFEST, TEXTS, packs_of

pytestmark = pytest.mark.slow
KILLED = -9
PERSON = "jane@mail.example"
SAID = "20 and 22"
VERBS = {
    "import": ("in-import", "after-import"),
    "reindex": ("in-clear", "after-clear", "in-rebuild", "after-rebuild"),
    "forget": ("in-forget", "after-forget", "before-compact", "before-certify"),
    "promote": ("after-propose", "in-promote", "after-promote"),
}


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that has added up four times, once for a person, and a bundle of all of it."""
    folder = tmp_path_factory.mktemp("desk")
    (folder / "desk.py").write_text(DESK)
    (folder / "network.yaml").write_text(MANIFEST)
    home = Path.cwd()
    os.chdir(folder)
    try:
        for text in TEXTS:
            assert run_cli(["ask", "desk", text]) == Exit.DONE
        assert run_cli(["xp", "export", "packs.zip"]) == Exit.DONE
        assert run_cli(["xp", "reindex"]) == Exit.DONE
    finally:
        os.chdir(home)
    return folder


@pytest.fixture
def folder(desk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, to be killed in."""
    shutil.copytree(desk, tmp_path / "desk")
    monkeypatch.chdir(tmp_path / "desk")
    return tmp_path / "desk"


@pytest.fixture
def said(folder: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run a command and give its document."""

    def run(*arguments: str, status: int = Exit.DONE) -> Any:
        capsys.readouterr()
        found = run_cli([*arguments, "--json"])
        told = capsys.readouterr()
        assert found == status, told.err + told.out
        return json.loads(told.out)

    return run


def killed(point: str, *arguments: str) -> None:
    """Run a command in a process of its own that dies at `point`."""
    command = [sys.executable, "-m", "repertory.runtime.cli", *arguments]
    environment = {**os.environ, "REPERTORY_CRASH_AT": point}
    ended = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert ended.returncode == KILLED, ended.stdout + ended.stderr


def holding(folder: Path, text: str) -> Iterator[Path]:
    """The files of the store and its index that hold `text`."""
    for file in (folder / ".repertory").rglob("*"):
        if file.is_file() and text.encode() in file.read_bytes():
            yield file


@pytest.mark.parametrize("point", VERBS["import"])
def test_a_bundle_is_taken_in_whole_or_not_at_all_and_can_be_given_again(
    folder: Path, said: Any, point: str
) -> None:
    """Ours: one transaction, and a pack that arrived is known."""
    bundle = ("xp", "import", "packs.zip", "--source", "globex", "--tenant", "other")
    killed(point, *bundle)
    assert said("xp", "verify")["problems"] == []
    before = [pack for pack in packs_of(folder) if pack["tenant"] == "other"]
    assert len(before) == (0 if point == "in-import" else len(TEXTS))
    again = said(*bundle)
    assert len(again["imported"]) + again["known"] == len(TEXTS)
    after = [pack for pack in packs_of(folder) if pack["tenant"] == "other"]
    assert [pack["status"] for pack in after] == ["quarantined"] * len(TEXTS)
    assert said("xp", "verify")["problems"] == []


@pytest.mark.parametrize("point", VERBS["reindex"])
def test_packs_are_found_after_a_death_in_a_rebuild_which_can_be_begun_again(
    folder: Path, said: Any, point: str
) -> None:
    """Ours: the index is never the truth, so recall does not wait for it."""
    killed(point, "xp", "reindex")
    assert said("xp", "verify")["problems"] == []
    assert said("xp", "find", "add 3 and 4", "--limit", "1")["hits"][0]["goal"] == "add 3 and 4"
    assert said("xp", "reindex")["packs"] == len(TEXTS)
    index = ChromaIndex(folder / ".repertory" / "trial-index")
    index.open(HashEmbedder().name)
    assert index.ids("default") == {pack["id"] for pack in packs_of(folder)}
    index.close()


@pytest.mark.parametrize("point", VERBS["forget"])
def test_a_forget_that_was_interrupted_is_told_and_finished(
    folder: Path, said: Any, point: str
) -> None:
    """Paper: DMM-Gov's unlearning; deleted rows whose bytes are left are not forgotten yet."""
    killed(point, "xp", "forget", "--subject", PERSON, "--yes")
    report = said("xp", "verify")
    assert report["problems"] == []
    if point == "in-forget":
        assert (report["unfinished"], len(packs_of(folder))) == ([], len(TEXTS))
        assert run_cli(["xp", "forget", "--unfinished", "--yes"]) == Exit.USAGE
        issued = said("xp", "forget", "--subject", PERSON, "--yes")
    else:
        assert report["unfinished"], "the operator is told what to do"
        issued = said("xp", "forget", "--unfinished", "--yes")
        assert set(report["unfinished"]) <= set(issued["closure"])
        assert any("was interrupted before its certificate" in note for note in issued["notes"])
    assert (issued["residue_scan"], issued["rebuild_digest_equal"]) == ({}, True)
    assert list(holding(folder, PERSON)) == list(holding(folder, SAID)) == []
    assert said("xp", "verify")["unfinished"] == []


@pytest.mark.parametrize("point", VERBS["promote"])
def test_a_change_is_made_whole_or_not_at_all(folder: Path, said: Any, point: str) -> None:
    """Paper: DMM-Gov's change gates; what was proposed is in the ledger whatever comes after."""
    pack = packs_of(folder)[0]["id"]
    killed(point, "xp", "promote", pack)
    assert said("xp", "verify")["problems"] == []
    stable = point == "after-promote"
    assert packs_of(folder)[0]["status"] == ("stable" if stable else "candidate")
    if not stable:
        assert said("xp", "promote", pack)["promoted"] is True
    assert packs_of(folder)[0]["status"] == "stable"
    assert said("xp", "verify")["problems"] == []


def test_every_governing_point_is_one_where_a_test_dies() -> None:
    """Ours: a point that no test comes by proves nothing."""
    assert sorted(GOVERNING_POINTS) == sorted(name for each in VERBS.values() for name in each)
