from pathlib import Path

import numpy as np
import pytest

from repertory.simulators import SimulatorInputError
from repertory.simulators.disparity.choices import (
    AnchoredEstimate,
    GambleChoice,
    Preference,
    Prospect,
    anchoring_index,
    choice_values,
    ev_consistency,
    fit_prospect,
    flips,
    intransitivity,
    load_choices,
    prospect_value,
)
from repertory.simulators.disparity.choosers import chooser, gambles
from tests.claims import claim

PROBLEMS = gambles(6000)


@claim("habd:choices")
@pytest.mark.parametrize(
    "known",
    [Prospect(1.0, 1.0, 1.0, 1.0, 10.0), Prospect(0.88, 0.88, 2.25, 0.65, 10.0)],
    ids=["no loss aversion", "Tversky and Kahneman's median"],
)
def test_a_prospect_theory_chooser_is_recovered(known: Prospect) -> None:
    """Paper: Tversky and Kahneman (1992): loss aversion, curvature and weighting within 5 %."""
    found = fit_prospect(chooser("x", PROBLEMS, known, seed=1), starts=1)
    assert found.lambda_ == pytest.approx(known.lambda_, rel=0.05)
    assert found.alpha == pytest.approx(known.alpha, rel=0.05)
    assert found.gamma == pytest.approx(known.gamma, rel=0.05)


def test_values_follow_the_published_example() -> None:
    """Paper: Tversky and Kahneman (1992): rank-dependent weights of gains and of losses apart."""
    by = Prospect(0.88, 0.88, 2.25, 0.61, 1.0)
    weight = 0.5**0.61 / (0.5**0.61 + 0.5**0.61) ** (1 / 0.61)
    x, p = np.array([[100.0, -100.0]]), np.array([[0.5, 0.5]])
    assert prospect_value(x, p, by)[0] == pytest.approx(weight * 100**0.88 * (1 - 2.25))
    sure = prospect_value(np.array([[50.0, 20.0]]), np.array([[0.5, 0.5]]), by)[0]
    assert sure == pytest.approx(20**0.88 + weight * (50**0.88 - 20**0.88))


def test_an_expected_value_agent_is_wholly_consistent() -> None:
    """Ours: consistency 1, and no sure sign of loss aversion or weighting."""
    choices = chooser("ev", PROBLEMS[:1000], Prospect(1, 1, 1, 1, 1e-3))
    assert ev_consistency(choices).value == 1
    found = fit_prospect(choices, starts=1)
    assert found.lambda_ == pytest.approx(1, rel=0.05)
    assert found.gamma == pytest.approx(1, rel=0.05)


def test_circles_flips_and_anchors_are_counted() -> None:
    """Ours: each from answers that were made for it."""
    circle = [Preference("x", *pair.split(">")) for pair in ("a>b", "b>c", "c>a", "a>d", "b>d")]
    assert intransitivity(circle).value == pytest.approx(1 / 2)
    gamble = ((1.0, 1.0),)
    asked = [
        GambleChoice("x", gamble, gamble, picked, problem, order, "gain")
        for problem, order, picked in (
            ("p", "ab", 0),
            ("p", "ba", 1),
            ("q", "ab", 0),
            ("q", "ba", 0),
        )
    ]
    assert flips(asked, "order").value == pytest.approx(1 / 2)
    assert flips(asked, "frame").n == 0
    moved = [AnchoredEstimate("x", "q", 10, 20), AnchoredEstimate("x", "q", 110, 70)]
    assert anchoring_index(moved).value == pytest.approx(0.5)
    assert np.isnan(anchoring_index([]).value)


def test_choices_are_read_and_what_is_none_is_counted(tmp_path: Path) -> None:
    """Ours: a row without a choice, or with chances that sum to more than 1, is left out and told."""
    path = tmp_path / "choices.jsonl"
    rows = [
        '{"actor": "x", "a": [[10, 1]], "b": [[30, 0.5], [0, 0.5]], "choice": "b"}',
        '{"actor": "x", "a": "tea", "b": "coffee", "choice": "A"}',
        '{"actor": "x", "question": "height", "anchor": 10, "estimate": 40}',
        '{"actor": "x", "a": [[10, 2]], "b": [[30, 1]], "choice": "a"}',
        "nonsense",
    ]
    path.write_text("\n".join(rows), encoding="utf-8")
    log = load_choices(path)
    assert [len(log.gambles), len(log.preferences), len(log.estimates)] == [1, 1, 1]
    assert log.notes == ["choices.jsonl: 2 rows are no choice and were left out"]
    path.write_text("nonsense", encoding="utf-8")
    with pytest.raises(SimulatorInputError, match="no choice in it"):
        load_choices(path)
    with pytest.raises(SimulatorInputError, match="1 choices are too few"):
        fit_prospect(log.gambles)


def test_choices_become_measures_of_their_actor(tmp_path: Path) -> None:
    """Ours: draws over choices, so that an actor with few is uncertain."""
    path = tmp_path / "choices.jsonl"
    row = '{"actor": "x", "a": [[10, 1]], "b": [[30, 0.5], [0, 0.5]], "choice": "b"}'
    path.write_text("\n".join([row] * 30), encoding="utf-8")
    values = choice_values(load_choices(path), 40)
    assert values["x"]["ev_consistency"].shape == (41,)
    assert values["x"]["ev_consistency"][0] == 1
