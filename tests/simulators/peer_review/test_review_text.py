import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repertory.simulators.peer_review.review_text import clauses_of


def pieces(review: str) -> list[tuple[str, str]]:
    return [(c.section, review[c.start : c.end]) for c in clauses_of(review)]


def test_headings_open_sections_and_are_no_clauses() -> None:
    """Ours: as ACL's and ICLR's forms print them, on lines and before colons."""
    review = (
        "paper_summary\nIt parses.\nsummary_of_strengths\n- Clear.\nWeaknesses: Slow, as shown."
    )
    assert pieces(review) == [
        ("summary", "It parses."),
        ("strengths", "Clear."),
        ("weaknesses", "Slow,"),
        ("weaknesses", "as shown."),
    ]


def test_a_word_of_a_heading_within_a_sentence_opens_nothing() -> None:
    """Ours: "weakness" in running text is no heading."""
    assert {
        section for section, _ in pieces("A weakness of the paper is its summary of pros.")
    } == {"none"}


@pytest.mark.parametrize(
    "text", ["See Fig. 3 for it.", "As in Smith et al. (2016).", "See l. 221 there."]
)
def test_an_abbreviation_ends_no_sentence(text: str) -> None:
    """Ours: evidence names places, and places are abbreviated."""
    assert {c.sentence for c in clauses_of(text)} == {0}


def test_clauses_end_before_a_reason() -> None:
    """Ours: a claim and its evidence often share a sentence."""
    assert [text for _, text in pieces("The gain is small because one seed was run.")] == [
        "The gain is small",
        "because one seed was run.",
    ]


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=300))
def test_clauses_are_slices_in_order_of_any_text(text: str) -> None:
    """Ours: no text breaks it, no two clauses overlap, and none is empty."""
    end = 0
    for clause in clauses_of(text):
        assert end <= clause.start < clause.end <= len(text)
        end = clause.end
