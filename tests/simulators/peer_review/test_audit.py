import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from repertory.simulators import SimulatorInputError
from repertory.simulators.peer_review.audit import (
    audit_review,
    audit_rows,
    read_reviews,
    study1_of,
)
from repertory.simulators.peer_review.audit_command import add_audit
from tests.claims import claim

REVIEW = (
    "The paper is well written. The evaluation is not convincing. For example, Table 2 on page 5"
    " reports a single seed, and no variance is given for any of the baselines."
)


def test_an_audit_counts_claims_support_and_places() -> None:
    """Ours: every span is a slice of the review, and the shares follow from the counts."""
    found = audit_review("r", REVIEW)
    assert found.claims == len(found.spans) == found.negative + found.positive
    assert found.supported == sum(bool(s.evidence) for s in found.spans) == 1
    assert found.share == pytest.approx(1 / found.claims)
    assert found.anchored == 1
    assert found.places == 2
    for span in found.spans:
        assert REVIEW[span.start : span.end] == span.text
        for evidence in span.evidence:
            assert REVIEW[evidence["start"] : evidence["end"]] == evidence["text"]


@pytest.mark.parametrize(
    ("review", "issues", "anchored", "compliant"),
    [
        ("A serious flaw on page 3. Minor typos.", 2, 1, True),
        ("A serious flaw. " * 5 + "A minor one in Table 2.", 6, 1, False),
        ("All fine on page 2.", 1, 0, False),
    ],
)
@claim("xpeerd:study1")
def test_study_1_compliance_is_a_fifth_of_issues_with_a_place(
    review: str, issues: int, anchored: int, compliant: bool
) -> None:
    """Paper: Saqr, arXiv 2510.02027, evaluation code; without an issue there is one dummy."""
    found = study1_of(review)
    assert (found.issues, found.anchored, found.compliant) == (issues, anchored, compliant)


def test_human_reviews_comply_with_study_1_about_as_often_as_was_measured(
    data_folder: Path,
) -> None:
    """Ours: .120 of SubstanReview's 550 reviews, by another hand; this part has 440."""
    rows, _ = read_reviews(data_folder / "substanreview" / "reviews.jsonl")
    found = [study1_of(review) for _, review in rows]
    assert sum(s.compliant for s in found) / len(found) == pytest.approx(0.12, abs=0.02)
    assert sum(s.fraction for s in found) / len(found) == pytest.approx(0.071, abs=0.01)


def test_a_corpus_without_claims_cannot_tell() -> None:
    """Ours: null, never zero."""
    corpus = audit_rows([("a", "We study cats.")]).corpus
    assert corpus.reviews == 1
    assert corpus.substantiation["value"] is None
    assert corpus.supported_share["value"] is None
    assert corpus.study1_compliance["value"] == 0.0


def test_lines_that_hold_no_review_are_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    """Ours: one sentence each, with the line."""
    path = tmp_path / "reviews.jsonl"
    rows = ['{"id": 1, "review": "Good."}', "no", "[]", '{"review": "x"}', '{"id": 2}']
    rows += ['{"id": "e", "review": " "}', '{"id": "1", "review": "Again."}', ""]
    path.write_text("\n".join(rows), encoding="utf-8")
    kept, skipped = read_reviews(path)
    assert kept == [("1", "Good.")]
    assert [line.split(": ", 1)[1] for line in skipped] == [
        "is not JSON; left out",
        "is list, not an object {id, review}; left out",
        "has no `id` (text or a whole number); left out",
        "`review` of 2 is NoneType, not text; left out",
        "`review` of 'e' is empty; left out",
        "id '1' was there before; left out",
    ]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(b"", "no line holds a review"), (b"\xff\xfe", "not UTF-8"), (None, "cannot be read")],
)
def test_a_file_without_reviews_is_refused_in_a_sentence(
    tmp_path: Path, content: bytes | None, sentence: str
) -> None:
    """Ours: what was there instead."""
    path = tmp_path / "reviews.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SimulatorInputError, match=sentence):
        read_reviews(path)


def test_the_command_prints_json_and_a_table(tmp_path: Path) -> None:
    """Ours: `repertory review audit REVIEWS.jsonl --json` is the whole audit."""
    path = tmp_path / "reviews.jsonl"
    path.write_text(json.dumps({"id": "a", "review": REVIEW}) + "\nnot json\n", encoding="utf-8")
    app = typer.Typer()
    add_audit(app)
    runner = CliRunner()
    told = json.loads(runner.invoke(app, [str(path), "--json"]).stdout)
    assert told["corpus"]["reviews"] == 1
    assert told["reviews"][0]["supported"] == 1
    assert told["skipped"] == ["reviews.jsonl:2: is not JSON; left out"]
    plain = runner.invoke(app, [str(path)])
    assert "1 reviews, 2 claims" in plain.stdout
    assert "reviews.jsonl:2" in plain.stderr
