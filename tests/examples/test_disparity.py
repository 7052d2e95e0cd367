import json
import re
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner, Result

from repertory.runtime import load_manifest
from repertory.runtime.manifest import parse_manifest
from repertory.runtime.runner import NetworkRunner
from repertory.simulators.disparity import load_events
from repertory.simulators.disparity.command import add

EXAMPLE = Path(__file__).parents[2] / "examples" / "disparity"
README = (EXAMPLE / "README.md").read_text("utf-8")


@pytest.fixture
def command() -> Callable[..., Result]:
    app = typer.Typer()
    add(app, NetworkRunner())
    return lambda *words: CliRunner().invoke(
        app, [str(word) for word in words], env={"COLUMNS": "100"}
    )


def _block(language: str, part: str) -> str:
    """The README's block of a language that contains `part`."""
    blocks = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    (found,) = (block for block in blocks if part in block)
    return str(found)


def test_the_readme_shows_what_the_desks_log_gives(
    tmp_path: Path, command: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours: the desk's real log beside scripted humans gives the verdicts that are shown."""
    write = runpy.run_path(str(EXAMPLE / "scripted_humans.py"))["main"]
    write(tmp_path / "scripted_humans.jsonl")
    log = EXAMPLE / "desk.jsonl"
    words = ("--labels", EXAMPLE / "labels.csv", "--n-min", 30, "-o", tmp_path / "report")
    done = command("disparity", log, tmp_path / "scripted_humans.jsonl", *words)
    assert done.exit_code == 0, done.output
    result = json.loads((tmp_path / "report" / "result.json").read_text("utf-8"))
    shown = dict(re.findall(r"^\| `(\w+)` \| ([\w-]+) \|", README, re.MULTILINE))
    assert shown == {a["actor"]: a["verdict"] for a in result["actors"] if a["label"] == "agent"}
    people = [a["verdict"] for a in result["actors"] if a["label"] == "human"]
    assert people.count("agent-like") == 0
    assert f"none of the {len(people)} scripted people" in README


def test_the_scripted_log_says_so_of_itself(tmp_path: Path) -> None:
    """Ours: nobody takes what a program drew for what people did."""
    write = runpy.run_path(str(EXAMPLE / "scripted_humans.py"))["main"]
    write(tmp_path / "humans.jsonl")
    lines = (tmp_path / "humans.jsonl").read_text("utf-8").splitlines()
    assert all(json.loads(line)["scripted"] for line in lines)
    assert all(n.startswith("scripted") for n in load_events([tmp_path / "humans.jsonl"]).actors)


def test_the_red_and_blue_network_is_sound_and_the_snippet_fits_the_desk() -> None:
    """Ours: what the README tells a user to add is a manifest."""
    assert load_manifest(EXAMPLE / "network.yaml").entry == "umpire"
    desk = EXAMPLE.parent / "invoice_desk"
    whole = yaml.safe_load((desk / "network.yaml").read_text("utf-8"))
    more = yaml.safe_load(_block("yaml", "oversight"))
    whole["agents"].update(more["agents"])
    whole["oversight"] = more["oversight"]
    manifest = parse_manifest(yaml.safe_dump(whole), folder=desk)
    assert manifest.oversight is not None
    assert manifest.oversight.agent == "guard"
