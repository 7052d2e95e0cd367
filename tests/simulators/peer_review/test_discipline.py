import pytest

from repertory.simulators.peer_review import Manuscript, Page
from repertory.simulators.peer_review.discipline import (
    DISCIPLINES,
    Discipline,
    place,
    place_all,
)

ABSTRACTS: dict[Discipline, str] = {
    "Life": "Gene expression in bacteria and plants: proteins, cells and the evolution of species in soil.",
    "Physical": "A neural network algorithm with a theorem on its training energy, and quantum materials.",
    "Health": "A randomized clinical trial of a cancer treatment in 200 patients; mortality and symptoms.",
    "Social": "A survey of households and firms on income, labor market policy, and economic behavior.",
    "Humanities": "Poetry, religion and philosophy in the literary archives of the eighteenth century.",
}


@pytest.mark.parametrize("discipline", DISCIPLINES)
def test_an_abstract_with_the_words_of_one_field_belongs_to_it(discipline: Discipline) -> None:
    """Paper: Study 1's five supergroups; the abstracts are ours."""
    placed = place(ABSTRACTS[discipline])
    assert placed.discipline == discipline
    assert sum(placed.shares.values()) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("text", ["", "Nothing of any field.", "Genes and income."])
def test_a_text_of_no_field_or_of_two_is_uncertain(text: str) -> None:
    """Paper: uncertain where the best is weak, near the next, or all is flat."""
    placed = place(text)
    assert placed.uncertain
    assert placed.discipline == "Multidisciplinary"


def test_embeddings_move_what_keywords_leave_open() -> None:
    """Paper: the hybrid of keywords and cosines."""
    told = place("Nothing of any field.", [0.1, 0.1, 0.6, 0.1, 0.1])
    assert told.discipline == "Health"
    assert told.by == "keywords and embeddings"


async def test_without_weights_the_report_says_that_keywords_judged(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    """Ours: no fallback that pretends."""
    monkeypatch.setenv("REPERTORY_CACHE", str(tmp_path))
    paper = Manuscript(
        name="a", sha256="0", format="text", title="", pages=(Page(number=1, text=ABSTRACTS["Life"]),)
    )  # fmt: skip
    (placed,), note = await place_all([paper])
    if placed.by == "keywords":
        assert "keywords alone" in note
    else:
        assert note == ""
    assert placed.discipline == "Life"
