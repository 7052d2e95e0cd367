from pathlib import Path

import pytest

from repertory.simulators import SimulatorInputError
from repertory.simulators.audience import load_scenario, read_scenario

GOOD = """
scenario: A move
speaker: Ida, head of the office
situation: The office moves to the other side of the river.
goal: Everybody comes along.
draft: We move in May. The new office has more light.
audiences:
  - {name: staff, weight: 60%}
  - {name: guests, weight: 0.4, segment: opposite}
"""


def test_a_scenario_is_read_with_weights_in_percent() -> None:
    """Ours: people write 60% and mean 0.6."""
    scenario = read_scenario(GOOD, "move.yaml")
    assert [each.weight for each in scenario.audiences] == [0.6, 0.4]
    assert read_scenario(str(scenario.wire()), "again") == scenario


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("weight: 60%", "weight: 50%", "sum to 0.9 and not to 1 (staff 0.5, guests 0.4)"),
        ("goal: Everybody comes along.", "goal: ' '", "'goal' is empty"),
        ("goal: Everybody comes along.", "", "'goal' is missing"),
        ("name: guests", "name: staff", "'staff' is named twice"),
        ("weight: 0.4", "weight: -0.4", "'audiences.2.weight' is -0.4"),
        ("speaker:", "speeker:", "'speaker' is missing"),
        ("draft:", "daft: x\ndraft:", "no key 'daft'"),
        ("  - {name: guests", "  - {name: guests, mood: bad", "no key 'audiences.2.mood'"),
        ("audiences:", "audiences: 3\nrest:", "'audiences' is 3"),
        ("goal:", "\tgoal:", "line"),
    ],
)
def test_what_is_wrong_with_a_scenario_is_said_in_one_sentence(
    old: str, new: str, said: str
) -> None:
    """Ours: the sentence names the file and the key, and is no traceback."""
    with pytest.raises(SimulatorInputError) as error:
        read_scenario(GOOD.replace(old, new, 1), "move.yaml")
    sentence = str(error.value)
    assert said in sentence
    assert "move.yaml" in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            "candidates:\n  - {name: mine, text: 'We move  in May. The new office has more light.'}",
            "'draft' and 'mine' say the same words",
        ),
        ("candidates:\n  - {name: draft, text: Hello.}", "'draft' is taken"),
        ("candidates:\n  - {name: x, text: Hello., advice: [2]}", "'x' follows advice 2"),
        ("ratings:\n  - {candidate: other, ratings: [4]}", "no candidate 'other'"),
        ("ratings:\n  - {candidate: draft, ratings: [4], audience: cats}", "no audience 'cats'"),
        ("ratings:\n  - {candidate: draft, ratings: []}", "'ratings.1.ratings'"),
        ("search: {largest_set: 0}", "'search.largest_set' is 0"),
    ],
)
def test_candidates_and_ratings_must_fit_each_other(more: str, said: str) -> None:
    """Ours: a rating of an unknown candidate or two equal candidates would make a false winner."""
    with pytest.raises(SimulatorInputError) as error:
        read_scenario(f"{GOOD}{more}\n", "move.yaml")
    assert said in str(error.value)


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "just words"])
def test_what_is_no_mapping_is_no_scenario(text: str) -> None:
    """Ours: the sentence says which keys there should be."""
    with pytest.raises(SimulatorInputError, match="holds no scenario"):
        read_scenario(text, "x.yaml")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Ours: a folder and bytes that are no text are told apart from a missing file."""
    broken = tmp_path / "broken.yaml"
    broken.write_bytes(b"\xff\xfe\x00")
    for path, said in ((tmp_path / "no.yaml", "No such file"), (broken, "no UTF-8 text")):
        with pytest.raises(SimulatorInputError, match=said):
            load_scenario(path)
