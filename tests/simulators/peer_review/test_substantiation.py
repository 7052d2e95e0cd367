import json
from pathlib import Path

import numpy as np
import pytest

from repertory.simulators import SimulatorInputError
from repertory.simulators.peer_review.substantiation import (
    Finder,
    Group,
    linked_evidence,
    packaged_finder,
)
from repertory.simulators.peer_review.substantiation_agreement import (
    f1,
    keyword_reading,
    overlap,
)
from repertory.simulators.peer_review.substantiation_training import (
    Annotated,
    Span,
    annotated,
    fit_finder,
)
from repertory.simulators.statistics import spearman
from tests.claims import claim

REVIEW = (
    "Strengths:\n- The paper is well written.\nWeaknesses:\n"
    "- The evaluation is not convincing. For example, Table 2 reports a single seed, and no"
    " variance is given for any of the baselines."
)


@claim("substanreview:claims")
def test_claims_are_found_with_their_polarity_and_evidence() -> None:
    """Paper: Guo et al. 2023; a claim evaluates, evidence of the same review says why."""
    claims = packaged_finder().read(REVIEW).claims
    told = {REVIEW[c.start : c.end]: c for c in claims}
    praise = told["The paper is well written."]
    blame = told["The evaluation is not convincing."]
    assert (praise.polarity, praise.supported) == ("positive", False)
    assert (blame.polarity, blame.supported) == ("negative", True)
    assert "single seed" in REVIEW[slice(*blame.evidence[0])]
    assert blame.support > praise.support


@pytest.mark.parametrize("review", ["", "   \n", "?!", "Strengths:\nWeaknesses:\n"])
def test_a_review_that_says_nothing_has_no_claims_and_no_score(review: str) -> None:
    """Ours: nothing found is not a score of zero."""
    reading = packaged_finder().read(review)
    assert reading.claims == ()
    assert reading.expected is None


def test_evidence_belongs_to_the_nearest_claim_of_its_side() -> None:
    """Ours: rather to one before it, and to none out of reach."""
    kinds = ["claim-negative", "claim-positive", "evidence-negative", "none", "claim-negative"]
    groups = [Group(0, 0, "negative"), Group(1, 1, "positive"), Group(4, 4, "negative")]
    assert linked_evidence(kinds, groups) == [((2, 2),), (), ()]
    far = ["claim-negative", *["none"] * 12, "evidence-negative"]
    assert linked_evidence(far, [Group(0, 0, "negative")]) == [()]


def made_reviews(n: int) -> list[Annotated]:
    rng = np.random.default_rng(0)
    rows = []
    for i in range(n):
        supported = bool(rng.integers(2))
        head, claim = f"It studies case {i}. ", "The method is dull. "
        why = "This follows from table nine." if supported else "We read all of it."
        at = len(head)
        spans = [Span(at, at + len(claim) - 1, "claim", "negative", "1")]
        if supported:
            spans.append(Span(at + len(claim), at + len(claim + why), "evidence", "negative", "1"))
        rows.append(Annotated(str(i), head + claim + why, tuple(spans)))
    return rows


def test_a_finder_learns_what_its_annotators_marked_and_comes_back_from_json() -> None:
    """Ours: on reviews whose evidence has a wording of its own, nothing is left to find."""
    rows = made_reviews(60)
    finder = fit_finder(rows[:40])
    again = Finder.from_json(finder.as_json())
    for row in rows[40:]:
        reading = finder.read(row.review)
        assert [c.supported for c in reading.claims] == [bool(row.supported)]
        assert [c.evidence for c in again.read(row.review).claims] == [
            c.evidence for c in reading.claims
        ]
    found = [finder.read(row.review) for row in rows[40:]]
    counted = [overlap(row, r, "claim") for row, r in zip(rows[40:], found, strict=True)]
    assert f1(counted) == 1.0


def test_the_packaged_finder_follows_its_annotators_better_than_keywords(data_folder: Path) -> None:
    """Ours: on reviews it was fitted on; benchmarks/peer_review.py has the held-out figures."""
    lines = (
        (data_folder / "substanreview" / "reviews.jsonl").read_text(encoding="utf-8").split("\n")
    )
    rows = [annotated(json.loads(line), "reviews") for line in lines[:80] if line]
    ours = [packaged_finder().read(row.review) for row in rows]
    words = [keyword_reading(row.review) for row in rows]
    for kind in ("claim-negative", "evidence"):
        assert f1([overlap(a, b, kind) for a, b in zip(rows, ours, strict=True)]) > f1(
            [overlap(a, b, kind) for a, b in zip(rows, words, strict=True)]
        )
    known = [i for i, row in enumerate(rows) if row.claims and ours[i].expected is not None]
    score = [ours[i].expected or 0.0 for i in known]
    assert spearman(score, [rows[i].share for i in known]) > 0.4


def test_the_keyword_baseline_takes_a_reason_of_the_next_sentence() -> None:
    """Ours: a baseline that could not link would be no control."""
    (claim,) = keyword_reading("The results are weak. For example, one seed was run.").claims
    assert claim.polarity == "negative"
    assert claim.supported


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"id": 1, "review": "x"}, "needs `review`"),
        ({"id": 1, "review": "x", "label": [[0, 1, "Evil_pos_1"]]}, "is not .start, end, name."),
        ({"id": 1, "review": "x", "label": [["a", 1, "Major_claim"]]}, "is not .start, end, name."),
    ],
)
def test_a_row_that_is_not_annotated_says_so(row: dict[str, object], sentence: str) -> None:
    """Ours: with its place."""
    with pytest.raises(SimulatorInputError, match=f"^file:3: .*{sentence}"):
        annotated(row, "file:3")


def test_too_few_reviews_fit_nothing() -> None:
    """Ours: a rule fitted on nothing would look like one."""
    with pytest.raises(SimulatorInputError, match="at least 6 reviews"):
        fit_finder(made_reviews(3))
