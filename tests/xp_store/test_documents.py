"""What docs say of the store and of testing with it: run, or held to the tests that it names."""

import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
TESTING = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
EXPERIENCE = (ROOT / "docs" / "experience.md").read_text(encoding="utf-8")
HELD = re.findall(r"\| `(test_\w+)`: `(\w+)` \|", EXPERIENCE)


async def test_the_example_of_testing_with_experience_runs() -> None:
    """Ours: an example that nobody runs is wrong by the next release."""
    section = TESTING.partition("## With experience")[2]
    (code,) = re.findall(r"```python\n(.*?)```", section.partition("\n## ")[0], re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code, "docs/testing.md", "exec"), names)
    await names["test_an_earlier_task_is_found_and_a_stranger_is_not"]()


def test_every_kind_of_bad_input_of_the_page_has_its_test() -> None:
    """Ours: the table of docs/experience.md names a test in every row."""
    table = EXPERIENCE.partition("## When something is wrong")[2]
    assert len(HELD) == len([line for line in table.splitlines() if line.startswith("| ")]) - 1


@pytest.mark.parametrize(("module", "name"), HELD)
def test_a_test_that_the_page_names_is_there(module: str, name: str) -> None:
    """Ours: a renamed test is renamed there too."""
    (file,) = (ROOT / "tests").rglob(f"{module}.py")
    assert f"def test_{name}(" in file.read_text(encoding="utf-8")
