"""`repertory xp check, promote, diff, rollback, forget, verify, card`: as their user types them."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from repertory.runtime.cli import run_cli
from repertory.runtime.exits import Exit
from tests.claims import claim

DESK = """\
from repertory.agents import Agent
from repertory.xp_store import CheckSpec

TOTAL = CheckSpec(
    "the total is right", "python", "assert subject['total'] == str(sum(map(int, subject['parts'])))"
)


class Desk(Agent):
    async def handle(self, turn):
        await turn.recall(turn.message.text)
        await turn.note("the parts are added up")
        parts = [word for word in turn.message.text.split() if word.isdecimal()]
        subject = {"parts": parts, "total": str(sum(map(int, parts)))}
        looked = turn.message.text.startswith("look")
        await turn.check(TOTAL, subject, judges="input" if looked else "result")
        await turn.complete(f"the total is {subject['total']}")


class Clerk(Agent):
    async def handle(self, turn):
        task = await turn.ask("desk", turn.message.text)
        await turn.note("the desk had added it up")
        await turn.complete(task.status.message.text)


def model(request):
    return "x"
"""

MANIFEST = r"""
network: trial
models:
  fake: {engine: function, function: "desk:model"}
embedder: {engine: hash}
agents:
  desk: {kind: "desk:Desk"}
  clerk: {kind: "desk:Clerk", peers: [desk]}
experience:
  rights: {licence: MIT, keep_days: 30}
  redact:
    - {find: email}
    - {find: secret, do: drop}
  checks:
    total:
      use: "desk:TOTAL"
      start: {parts: ["1", "2"], total: ""}
      reference: {parts: ["1", "2"], total: "3"}
      about: [total]
      other: {parts: ["4"], total: "4"}
    anything:
      lang: python
      code: assert True
      start: {}
      reference: {total: "1"}
  promote:
    - {from: episodic, to: semantic, verdicts: 1, uses: 99}
  thresholds: {replays: 2, gain: -0.5}
  charter:
    - {value: Every total is right, checks: [total]}
    - {value: Everybody is treated fairly}
"""
TEXTS = ("add 1 and 2", "add 20 and 22 for jane@mail.example", "add 3 and 4", "add 5 and 6")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A network that has added up four times, once for a person."""
    (tmp_path / "desk.py").write_text(DESK)
    (tmp_path / "network.yaml").write_text(MANIFEST)
    monkeypatch.chdir(tmp_path)
    for text in TEXTS:
        assert run_cli(["ask", "desk", text]) == Exit.DONE
    return tmp_path


@pytest.fixture
def said(folder: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run a command and give its document."""
    capsys.readouterr()

    def run(*arguments: str, status: int = Exit.DONE) -> Any:
        found = run_cli([*arguments, "--json"])
        told = capsys.readouterr()
        assert found == status, told.err + told.out
        return json.loads(told.out)

    return run


def packs_of(folder: Path) -> list[dict[str, Any]]:
    """The newest revisions in the store, oldest first, as the tables hold them."""
    store = sqlite3.connect(folder / ".repertory" / "trial.db")
    store.row_factory = sqlite3.Row
    rows = store.execute("SELECT * FROM xp_pack WHERE current = 1 ORDER BY row_id").fetchall()
    store.close()
    return [dict(row) for row in rows]


def test_what_the_manifest_says_is_what_packs_are_recorded_with(folder: Path, said: Any) -> None:
    """Ours: rights, redaction and admitted checks, without a line of code."""
    packs = packs_of(folder)
    assert [pack["goal"][:13] for pack in packs] == [text[:13] for text in TEXTS]
    assert "jane@" not in json.dumps(packs)
    assert [pack["trust_a"] for pack in packs] == [2, 2, 2, 2], "an admitted check has passed"
    rights = [json.loads(pack["rights"]) for pack in packs]
    assert {each["licence"] for each in rights} == {"MIT"}
    assert len(rights[1]["subjects"]) == 1
    found = said("xp", "check", status=Exit.FAILED)
    assert {each["name"]: each["status"] for each in found} == {
        "total": "admitted",
        "anything": "refused",
    }
    again = said("xp", "check", packs[0]["id"])
    assert (again["checks"][0]["verdict"], round(again["trust"], 2)) == ("passed", 0.67)
    assert said("xp", "verify")["problems"] == []


@claim("dmm:forget")
def test_a_person_is_forgotten_with_tasks_and_spans_and_the_certificate_holds(
    folder: Path, said: Any
) -> None:
    """Paper: DMM-Gov; journal, spans and logs of the same network are in the scan."""
    look = said("xp", "forget", "--subject", "jane@mail.example", "--dry-run")
    assert len(look["meant"]) == 1
    said_no = run_cli(["xp", "forget", "--subject", "jane@mail.example"])
    assert said_no == Exit.USAGE, "without a terminal it must be said with --yes"
    issued = said(
        *("xp", "forget", "--subject", "jane@mail.example", "--yes"),
        *("--certificate", "out.json"),
    )
    assert (issued["residue_scan"], issued["rebuild_digest_equal"]) == ({}, True)
    assert issued["tasks"] == len(look["tasks"]) >= 1
    assert issued["deleted"] == len(look["closure"])
    left = [path for path in folder.rglob("*") if path.is_file()]
    assert len(left) > 5
    holding = [path for path in left if b"jane@mail" in path.read_bytes()]
    assert holding == []
    assert said("xp", "verify", "--certificate", "out.json")["problems"] == []
    altered = {**issued, "deleted": 0}
    (folder / "altered.json").write_text(json.dumps(altered))
    told = said("xp", "verify", "--certificate", "altered.json", status=Exit.FAILED)
    assert told["problems"] == ["altered.json was altered after it was signed"]
    assert run_cli(["ask", "desk", "add 7 and 8"]) == Exit.DONE


def test_the_look_before_a_forget_tells_all_that_would_go(folder: Path, said: Any) -> None:
    """Ours: a pack's task goes with its caller's, and so does the caller's pack."""
    said("ask", "clerk", "add 40 and 2 for the fair")
    (pack,) = [
        each for each in packs_of(folder) if each["family"] == "desk" and "fair" in each["goal"]
    ]
    look = said("xp", "forget", pack["id"], "--dry-run")
    assert (len(look["meant"]), len(look["closure"]), len(look["tasks"])) == (1, 2, 2)
    assert len(packs_of(folder)) == 6, "looking has forgotten nothing"
    issued = said("xp", "forget", pack["id"], "--yes")
    assert (issued["deleted"], issued["tasks"], issued["residue_scan"]) == (2, 2, {})
    assert len(packs_of(folder)) == 4


def test_a_pack_is_shown_so_that_a_person_can_read_it(
    folder: Path, said: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ours: JSON becomes words, and a part that is empty says so."""
    said("ask", "clerk", "add 40 and 2 for the fair")
    (pack,) = [each for each in packs_of(folder) if each["family"] == "clerk"]
    assert run_cli(["xp", "show", pack["id"]]) == Exit.DONE
    shown = " ".join(capsys.readouterr().out.split())
    assert "why: the desk had added it up (step 1)" in shown
    assert "1 clerk message desk add 40 and 2 for the fair" in shown
    assert "checks: none ran on its result" in shown
    assert "lineage: it came of no other pack" in shown
    assert "{" not in shown


@claim("dmm:release")
def test_a_pack_is_promoted_by_replays_compared_and_rolled_back(folder: Path, said: Any) -> None:
    """Paper: DMM-Gov; retained tasks run again on a copy, with the pack and without."""
    pack = packs_of(folder)[0]
    finding = said("xp", "promote", pack["id"])
    assert finding["promoted"], finding
    assert (finding["with_packs"], finding["without"]) == (1.0, 1.0)
    assert finding["replays"] == 3
    assert len(packs_of(folder)) == 4, "what replays leave stays in their copy"
    rows = said("xp", "diff", "2020-01-01")
    assert [(row["sign"], row["pack"]) for row in rows] == [("+", pack["id"])]
    assert pack["digest"] in said("xp", "rollback", "--change", finding["change"])
    assert said("xp", "diff", "2020-01-01") == []
    assert said("xp", "verify")["problems"] == []


def test_cards_and_layers_come_from_what_is_stored(
    folder: Path, said: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Paper: Stronger Together: documentation that is generated cannot drift."""
    pack = packs_of(folder)[0]
    card = said("xp", "card", pack["id"])["card"]
    assert "the total is right: passed" in card
    assert "record by desk" in card
    assert run_cli(["ask", "desk", "look at 1 and 2", "--json"]) == Exit.DONE
    capsys.readouterr()
    charter = said("xp", "card", "--charter")["card"]
    held = "4 passed, 0 failed; 1 passed, 0 failed, asked of what came in"
    assert f"check 'total', admitted: {held}" in charter
    assert "a statement only: no check holds it" in charter
    assert "4 pass" in said("xp", "card", "--agent", "desk")["card"]
    assert "MIT" in said("xp", "card", "--data")["card"]
    assert said("xp", "promote", "--layers") == []
    (folder / "network.yaml").write_text(MANIFEST.replace("uses: 99", "uses: 0"))
    moved = said("xp", "promote", "--layers")
    assert pack["id"] in moved
    assert {each["layer"] for each in packs_of(folder) if each["id"] in moved} == {"semantic"}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["forget"], "say what to forget: a pack's id, --subject"),
        (["forget", "--since", "Friday", "--yes"], "'Friday' is no moment: write 'now', a date"),
        (["promote"], "name the packs to promote, or say --layers"),
        (["rollback"], "name one: a pack, --change or --source"),
        (["rollback", "--change", "x"], "no promoted change 'x'"),
        (["forget", "--subject", "no@one.example", "--yes"], "no pack is meant by"),
        (["card", "--agent", "clerc"], "no pack is of agent 'clerc'; there are packs of: desk"),
        (["card", "--model", "gpt"], "no pack is of model 'gpt'; there are packs of: none"),
        (["card"], "name one: a pack, --agent, --model, --data or --charter"),
        (["verify", "--certificate", "desk.py"], "desk.py is no certificate of a forget"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    """Ours: never a traceback at a user, and nothing half done."""
    capsys.readouterr()
    assert run_cli(["xp", *arguments, *(["--yes"] if arguments == ["forget"] else [])]) != Exit.DONE
    told = capsys.readouterr()
    assert sentence in told.err + told.out
    assert "Traceback" not in told.err


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("rights: {licence: GPL-9}", "unknown licence 'GPL-9'"),
        ("charter: [{value: x, checks: [totl]}]", "names the check 'totl'"),
        ("checks: {a: {reference: 1}}", "needs either 'use', or 'lang' and 'code'"),
        ("promote: [{from: semantic, to: working}]", "moves from semantic to working"),
    ],
)
def test_a_manifest_that_asks_for_what_is_not_is_told_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, sentence: str
) -> None:
    """Ours: file, line, what was there and what may be."""
    text = MANIFEST.partition("experience:")[0] + f"experience:\n  {line}\n"
    (tmp_path / "network.yaml").write_text(text)
    assert run_cli(["check", str(tmp_path / "network.yaml")]) == Exit.USAGE
    told = capsys.readouterr()
    assert sentence in told.err + told.out
