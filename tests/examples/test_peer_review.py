import json
import re
from collections import Counter
from pathlib import Path

import pytest

from examples.peer_review import write
from repertory.runtime.cli import run_cli
from repertory.simulators.peer_review import load_profile, read_manuscript, review

EXAMPLE = Path(write.__file__).parent
EXPECTED = json.loads((EXAMPLE / "expected.json").read_text("utf-8"))


@pytest.mark.parametrize("kind", ["manuscripts/{}.txt", "printed/{}.pdf"])
@pytest.mark.parametrize("name", list(EXPECTED))
def test_what_must_be_found_is_found_in_text_and_in_print(name: str, kind: str) -> None:
    """Ours: the sound one is accepted, the planted errors and the hidden prompt are flagged."""
    path = EXAMPLE / kind.format(name)
    report = review(read_manuscript(path.name, path.read_bytes()), load_profile("journal"))
    assert report.decision.verdict == EXPECTED[name]["verdict"]
    assert Counter(flag.check for flag in report.flags) == EXPECTED[name]["flags"]
    assert report.anchor_rate == 1.0
    assert "positive review" not in report.summary + "".join(
        p.text for p in report.manuscript.pages
    )


def test_the_manuscripts_are_those_that_the_program_writes() -> None:
    """Ours: print and text cannot drift apart."""
    sound = write.SOUND.format(title=write.TITLE)
    wrong = write.planted().format(title=write.TITLE)
    texts = {"sound": sound, "planted": wrong, "hidden": write.hidden_as_text(sound)}
    for name, text in texts.items():
        assert (EXAMPLE / "manuscripts" / f"{name}.txt").read_text("utf-8") == text


def test_the_readme_shows_what_a_run_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Ours: the block under the command is a real run's output."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    assert run_cli(["review", str(EXAMPLE / "manuscripts")]) == 0
    said = [line.rstrip() for line in capfd.readouterr().out.splitlines() if line.strip()]
    blocks = re.findall(r"```\n(.*?)```", (EXAMPLE / "README.md").read_text("utf-8"), re.DOTALL)
    shown = next(block for block in blocks if block.startswith("manuscript"))
    assert [line.rstrip() for line in shown.splitlines()] == said
    assert len(list((tmp_path / "reviews").glob("*.json"))) == 3
    assert (tmp_path / "reviews" / "index.html").is_file()
