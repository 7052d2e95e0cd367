import json
from pathlib import Path

import pytest

from repertory.simulators import SimulatorInputError
from repertory.simulators.peer_review import Report, load_profile, read_manuscript
from repertory.simulators.peer_review.humans import (
    HumanReviews,
    agreement,
    calibration,
    concerns_of,
    read_humans,
    recovered,
)
from repertory.simulators.peer_review.reviewing import review
from repertory.simulators.statistics import quadratic_weighted_kappa
from tests.claims import claim

FILL = "The manuscript goes on with words that say nothing more of it. " * 10


def made(name: str, verdict: str, quality: float) -> Report:
    text = f"# {name}\n\n## Results\n\nWe show that it improves by 5% in Table 1.\n" + FILL
    report = review(read_manuscript(name, text.encode()), load_profile("journal"))
    return report.model_copy(
        update={
            "decision": report.decision.model_copy(update={"verdict": verdict}),
            "scores": report.scores.model_copy(update={"S": quality}),
        }
    )


@pytest.fixture(scope="module")
def reports() -> list[Report]:
    verdicts = ["accept", "accept", "revise", "reject", "reject", "revise"]
    return [made(f"p{i}.md", v, 0.9 - 0.15 * i) for i, v in enumerate(verdicts)]


def test_agreement_is_that_of_the_counts(reports: list[Report]) -> None:
    """Ours: kappa, exact, error, AUC and balanced accuracy from a table worked out by hand."""
    theirs = ["accept", "revise", "accept", "reject", "reject", "reject"]
    humans = {
        r.manuscript.name: HumanReviews(decision=d, ratings=[8.0 - i])  # type: ignore[arg-type]
        for i, (r, d) in enumerate(zip(reports, theirs, strict=True))
    }
    found = agreement(reports, humans)
    assert found.confusion == ((2, 1, 0), (0, 0, 1), (0, 1, 1))
    assert found.exact["value"] == pytest.approx(3 / 6)
    assert found.mae["value"] == pytest.approx(3 / 6)
    assert found.kappa["value"] == pytest.approx(
        quadratic_weighted_kappa([2, 1, 2, 0, 0, 0], [2, 2, 1, 0, 0, 1], [0, 1, 2])
    )
    assert found.rho["value"] == pytest.approx(1.0)
    assert found.auc["value"] == pytest.approx(7 / 8)
    assert found.balanced_accuracy["value"] == pytest.approx((1 / 2 + 3 / 4) / 2)
    assert found.recovery["value"] is None


@claim("xpeerd:concerns")
def test_concerns_are_matched_one_to_one(reports: list[Report]) -> None:
    """Paper: TRACE-R's Hungarian matching; one issue answers one concern."""
    concern = "The sample size is not justified by a power analysis."
    assert recovered([concern, concern], [concern]) == 1
    assert recovered([concern], ["Captions are short.", concern]) == 1
    assert recovered([concern], ["Figures lack axis labels."]) == 0
    assert recovered(["the of and"], ["of the"]) == 0
    assert recovered([], [concern]) == 0


@claim("xpeerd:concerns")
def test_recovery_stands_beside_its_control(reports: list[Report]) -> None:
    """Ours: another manuscript's issues recover what is said of any paper."""
    own = [
        r.model_copy(update={"issues": tuple(i.model_copy(update={"text": f"{w} is missing from {w} entirely"}) for i in r.issues[:1])})
        for r, w in zip(reports, ("variance", "consent", "code", "ablation", "power", "baseline"), strict=True)
    ]  # fmt: skip
    humans = {
        r.manuscript.name: HumanReviews(texts=[f"Weaknesses:\n- Well, {i.text} here."])
        for r in own
        for i in r.issues
    }
    found = agreement(own, humans)
    assert found.recovery["value"] == 1.0
    assert found.shuffled_recovery["value"] == 0.0


def test_concerns_are_what_stands_under_weaknesses_or_is_negative() -> None:
    """Ours: forms have headings, free reviews have negative claims."""
    form = "Strengths:\nThe paper is clearly and well written.\nWeaknesses:\nNo variance is reported in any table."
    assert concerns_of(form) == ["No variance is reported in any table."]
    free = "The paper is well written overall. The evaluation is not convincing at all to me."
    assert concerns_of(free) == ["The evaluation is not convincing at all to me."]


def test_calibration_bins_hold_all_and_are_in_order() -> None:
    """Ours: equal bins; too few give none."""
    bins = calibration([0.1 * i for i in range(10)], [i >= 5 for i in range(10)])
    assert sum(n for *_, n in bins) == 10
    assert [s for s, _, _ in bins] == sorted(s for s, _, _ in bins)
    assert (bins[0][1], bins[-1][1]) == (0.0, 1.0)
    assert calibration([0.5], [True]) == ()


def test_a_human_review_of_no_manuscript_is_named(tmp_path: Path) -> None:
    """Ours: a clear line each, and the others count."""
    rows = [
        {"manuscript": "P1", "rating": 4, "review": "Weak."},
        {"manuscript": "p1.md", "decision": "Major revision"},
        {"manuscript": "other.pdf", "rating": 4},
        {"manuscript": "p1", "rating": "four"},
        {"manuscript": "p1", "decision": "maybe"},
        {"rating": 4},
    ]
    path = tmp_path / "humans.jsonl"
    path.write_text("\n".join([*map(json.dumps, rows), "no"]), encoding="utf-8")
    found, left = read_humans(path, ["p1.md"])
    assert found["p1.md"] == HumanReviews(["Weak."], [4.0], "revise")
    assert [line.split(": ", 1)[1] for line in left] == [
        "no manuscript 'other.pdf' in this batch; the review is left out",
        "`rating` is 'four', not a number; left out",
        "`decision` is 'maybe'; it may be accept, revise or reject; left out",
        "is no object {manuscript, review, rating, decision}; left out",
        "is not JSON; left out",
    ]
    with pytest.raises(SimulatorInputError, match="cannot be read"):
        read_humans(tmp_path / "none.jsonl", [])
