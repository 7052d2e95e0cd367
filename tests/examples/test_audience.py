"""The example of the audience simulator, run as its README says."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from repertory.simulators.audience import load_scenario

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "audience"
SCENARIOS = sorted((EXAMPLE / "scenarios").glob("*.yaml"))
CLI = [sys.executable, "-c", "from repertory.runtime.cli import main; main()"]


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_the_scenarios_are_sound(path: Path) -> None:
    """Ours: whoever copies one starts from a file that is read."""
    scenario = load_scenario(path)
    assert scenario.draft
    assert all(len(each.sentences) == 3 for each in scenario.advice)


@pytest.mark.model
@pytest.mark.slow
def test_the_readme_shows_what_a_run_gives(tmp_path: Path) -> None:
    """Ours: the same words; figures within the rounding of another processor's vectors."""
    shutil.copytree(EXAMPLE, tmp_path / "audience")
    command = [*CLI, "run", "audience/network.yaml", "--input", "audience/scenarios/white_lie.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (shown,) = re.findall(
        r"```\n(A white lie.*?)```", (EXAMPLE / "README.md").read_text("utf-8"), re.DOTALL
    )
    told, given = (
        [line.rstrip() for line in text.strip().splitlines()] for text in (shown, done.stdout)
    )
    number = re.compile(r"-?\d+\.\d+")
    assert [number.sub("#", line) for line in told] == [number.sub("#", line) for line in given]
    for one, other in zip(told, given, strict=True):
        assert [float(x) for x in number.findall(one)] == pytest.approx(
            [float(x) for x in number.findall(other)], abs=0.05
        )
    names = {path.name for path in (tmp_path / "audience-reports" / "a-white-lie").iterdir()}
    assert names == {"index.html", "report.docx", "report.md", "result.json"}


@pytest.mark.model
@pytest.mark.slow
def test_the_command_runs_a_scenario_and_refuses_what_is_none(tmp_path: Path) -> None:
    """Ours: `repertory audience` without meaning, a broken file beside a sound one, no traceback."""
    sound = EXAMPLE / "scenarios" / "domestic_conflict.yaml"
    broken = tmp_path / "broken.yaml"
    broken.write_text(sound.read_text("utf-8").replace("weight: 70%", "weight: 50%"))
    command = [*CLI, "audience", str(sound), str(broken), "--no-meaning", "--out", "out", "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "sum to 0.8 and not to 1" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert (tmp_path / "out" / "a-domestic-conflict" / "index.html").is_file()
