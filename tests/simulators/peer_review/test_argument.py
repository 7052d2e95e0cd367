from itertools import permutations

import pytest

from repertory.simulators.peer_review import (
    Issue,
    grounded_extension,
    load_profile,
    read_manuscript,
    review,
)
from repertory.simulators.peer_review.anchors import checked, is_valid
from repertory.simulators.peer_review.argument import map_arguments, mentions
from repertory.simulators.peer_review.claims import claim_kind
from repertory.simulators.peer_review.integrity import check_integrity
from repertory.simulators.peer_review.likeness import likeness
from repertory.simulators.peer_review.report import CATEGORIES, Anchor
from tests.claims import claim
from tests.simulators.peer_review.planting import Garden, manuscript


@claim("xpeerd:grounded")
def test_the_grounded_extension_is_that_of_the_textbook_in_every_order() -> None:
    """Paper: Dung 1995: a cycle of three is undecided, so are two that attack each other."""
    cycle = [("a", "b"), ("b", "c"), ("c", "a")]
    assert set(grounded_extension("abc", cycle).values()) == {"undecided"}
    assert grounded_extension("ab", [("a", "b"), ("b", "a")]) == {
        "a": "undecided",
        "b": "undecided",
    }
    chain = [("a", "b"), ("b", "c"), ("d", "e"), ("e", "d"), ("c", "e")]
    expected = {"a": "in", "b": "out", "c": "in", "d": "in", "e": "out"}
    for arguments in permutations("abcde"):
        assert grounded_extension(arguments, chain) == expected
    for attacks in permutations(chain):
        assert grounded_extension("abcde", attacks) == expected
    assert grounded_extension("a", [("a", "a")]) == {"a": "undecided"}


def _paper(results: str, abstract: str = "", extra: str = "") -> bytes:
    garden = Garden(21)
    abstract = abstract or garden.paragraph(3)
    return (
        f"A Study of Quiet Reservoirs\n\nAbstract\n\n{abstract}\n\n1 Introduction\n\n{garden.paragraph(12)}\f"
        f"2 Methods\n\n{garden.paragraph(12)} {extra}\n\n3 Results\n\n{results}\n\n"
        "Table 1: Levels.\nkind    first    second    third\nquiet    12.1    16.3    18.2\ncoarse    11.8    12.2    12.9\n\n"
        f"4 Discussion\n\n{garden.paragraph(10)}"
    ).encode()


def test_a_claim_is_supported_by_the_table_it_points_at_and_by_its_statistic() -> None:
    """Ours: supports carry the slice that they were read from."""
    manuscript_ = read_manuscript(
        "m.txt",
        _paper(
            "We found that quiet reservoirs were fuller than coarse ones (Table 1; t(30) = 2.75, p = .010)."
        ),
    )
    mapped = map_arguments(manuscript_, ())
    (found,) = [c for c in mapped.claims if "fuller" in c.text]
    assert len(found.evidence) == 2
    for edge in mapped.graph.edges:
        quote = manuscript_.page_text(edge.page)[edge.start : edge.end]
        assert quote
        if edge.target == found.id:
            assert quote in found.text


def test_a_wrong_statistic_a_missing_table_and_a_hollow_significance_attack_their_claims() -> None:
    """Ours: each attack is undefeated, so the claim is out of the grounded extension."""
    text = _paper(
        "We found that quiet reservoirs were significantly fuller than coarse ones, t(30) = 2.75, p = .34."
        " Our results show that this held in the north as well, as Table 7 and Table 1 show."
        " The levels differed significantly from week to week (p = .21)."
    ).replace(
        b"4 Discussion",
        b"Table 2: Weeks.\nweek    one    two\nfirst    1.2    2.2\nlast    1.4    2.9\n\n4 Discussion",
    )
    manuscript_ = read_manuscript("m.txt", text)
    flags, _ = check_integrity(manuscript_)
    mapped = map_arguments(manuscript_, flags)
    attacked = {
        e.target: e.source
        for e in mapped.graph.edges
        if e.kind == "attack" and e.target.startswith("c")
    }
    status = {node.id: node.status for node in mapped.graph.nodes}
    assert len(attacked) == 3
    assert all(
        status[target] == "out" and status[source] == "in" for target, source in attacked.items()
    )
    sources = " ".join(e.source for e in mapped.graph.edges if e.kind == "attack")
    assert "x-missing-table-7" in sources
    assert "x-significance" in sources
    assert "x-f1" in sources


def test_what_a_manuscript_concedes_answers_the_critique_of_its_causal_words() -> None:
    """Paper: Dung 1995: an attacker that is attacked does not count; a concession reinstates the claim."""
    causal = "We found that the kind of gate caused fuller reservoirs in the survey of 40 owners (p = .01)."
    design = "This was a cross-sectional survey with a questionnaire."
    conceded = "Since the data are observational, we cannot establish causal relations."
    bare = read_manuscript("m.txt", _paper(causal, extra=design))
    open_ = read_manuscript("m.txt", _paper(causal, extra=f"{design} {conceded}"))
    told = {}
    for name, text in (("bare", bare), ("open", open_)):
        mapped = map_arguments(text, ())
        (claim_,) = [c for c in mapped.claims if "caused" in c.text]
        told[name] = next(n.status for n in mapped.graph.nodes if n.id == claim_.id)
    assert told == {"bare": "out", "open": "in"}


def test_a_number_that_only_the_abstract_prints_is_a_critique() -> None:
    """Ours: what is said in front must be shown behind."""
    abstract = "We show that quiet reservoirs are 48.3% fuller than coarse ones. We found that 16.3 was the second level."
    report = review(
        read_manuscript("m.txt", _paper(Garden(5).paragraph(40), abstract)), load_profile("journal")
    )
    texts = [issue.text for issue in report.issues if "printed nowhere else" in issue.text]
    assert len(texts) == 1
    assert "48.3" in texts[0]


def test_claims_are_sentences_that_say_what_was_found() -> None:
    """Ours: by their cue; a plan, a question and what others found are none."""
    assert claim_kind("We propose a quiet gate for reservoirs.") == "novelty"
    assert claim_kind("Our gate outperforms the best gauge by 3 points.") == "comparison"
    assert claim_kind("The results show a steady level.") == "result"
    assert claim_kind("Rain leads to fuller reservoirs in the north.") == "causal"
    assert claim_kind("The reservoirs lie in the north.") is None
    assert mentions("see Tables 2 and 3, Figs. 1-3, and Eq. (4)")[0][0] == "table 2"
    assert [label for label, _, _ in mentions("see Tables 2 and 3, Figs. 1-3, and Eq. (4)")] == [
        "table 2", "table 3", "figure 1", "figure 2", "figure 3", "(4)",
    ]  # fmt: skip


@claim("xpeerd:anchors")
def test_an_anchor_holds_only_if_its_page_has_its_quote_or_its_label() -> None:
    """Ours: page exists ∧ (quote on that page ∨ label on it); what was said before is not believed."""
    read = read_manuscript("m.txt", _paper("We found levels as Table 1 shows."))
    quote = "quiet    12.1    16.3"
    assert is_valid(Anchor(page=2, kind="quote", quote=quote), read)
    assert is_valid(Anchor(page=2, kind="quote", quote="Quiet 12.1 16.3"), read)
    assert not is_valid(Anchor(page=1, kind="quote", quote=quote, valid=True), read)
    assert not is_valid(Anchor(page=9, kind="quote", quote=quote, valid=True), read)
    assert not is_valid(Anchor(page=2, kind="quote", quote="", valid=True), read)
    assert is_valid(Anchor(page=2, kind="table", ref="Table 1"), read)
    assert not is_valid(Anchor(page=2, kind="table", ref="Table 11", valid=True), read)
    assert not is_valid(Anchor(page=2, kind="figure", ref="Figure 1", valid=True), read)
    assert is_valid(Anchor(page=2, kind="section", ref="2 Methods"), read)
    invented = Issue(
        id="x",
        severity="major",
        category="statistics",
        text="t",
        action="a",
        reviewer="r",
        anchors=(Anchor(page=1, kind="quote", quote="never said", valid=True),),
    )
    assert not checked(invented, read).grounded


def test_every_issue_of_a_review_is_anchored_and_says_what_to_do() -> None:
    """Ours: on 20 manuscripts with planted errors, over all profiles."""
    for seed in range(20):
        text = manuscript(
            seed, frozenset({"p_t", "table_total", "duplicated_passage", "zero_width"})
        ).text
        report = review(
            read_manuscript("m.txt", text.encode()),
            load_profile(("neurips", "iclr", "acl", "journal")[seed % 4]),
        )
        assert report.issues
        assert report.ungrounded == ()
        assert report.anchor_rate == 1.0
        for issue in report.issues:
            assert issue.action.endswith(".")
            assert issue.category in CATEGORIES
            assert any(is_valid(anchor, report.manuscript) for anchor in issue.anchors)
        assert len({issue.id for issue in report.issues}) == len(report.issues)


def test_likeness_is_that_of_the_library_s_vectorizer() -> None:
    """Ours: written out for the sake of the start-up, and held against scikit-learn's."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    garden = Garden(8)
    texts, others = garden.paragraph(5).split(". "), garden.paragraph(7).split(". ")
    vectors = TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True)
    matrix = vectors.fit_transform([*texts, *others])
    wanted = (matrix[: len(texts)] @ matrix[len(texts) :].T).toarray()
    for row, told in zip(likeness(texts, others), wanted, strict=True):
        assert row == pytest.approx(list(told), abs=1e-9)
