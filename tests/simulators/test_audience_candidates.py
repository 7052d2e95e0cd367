from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repertory.simulators import SimulatorInputError
from repertory.simulators.audience import expected_count, read_scenario
from repertory.simulators.audience.candidates import composed_candidates, subsets
from repertory.simulators.audience.exploring import choose, distinct, diversity, library
from repertory.simulators.audience.facts import unknown_facts
from repertory.simulators.audience.scenario import Advice
from repertory.xp_store import HashEmbedder
from tests.claims import claim

SCENARIO = """
scenario: A launch
speaker: Mira Okafor of Larkfield
situation: The launch was promised for 1 March.
goal: People order the battery.
facts: [The battery stores 10 kWh, It costs 6900 euros, Delivery begins on 3 May]
draft: Our battery is here. It costs 6,900 euros. It stores 10 kWh. Order the battery in May.
audiences: [{name: Buyers, weight: 1}]
"""


@claim("egs:candidates")
def test_four_pieces_in_sets_of_two_with_three_each_are_thirty() -> None:
    """Paper: EGS, three candidates for every set of advice; the sets' size is ours."""
    assert expected_count(4, 2, 3) == 30
    scenario = read_scenario(SCENARIO, "s")
    made = composed_candidates(scenario, library()[:4])
    assert len(made) == 30
    assert len({each.text for each in made}) == 30
    assert len({each.id for each in made}) == 30
    assert {each.advice for each in made} == set(subsets(4, 2))


@given(pieces=st.integers(0, 8), largest=st.integers(1, 8), per_set=st.integers(1, 4))
def test_the_count_is_exact_for_every_search(pieces: int, largest: int, per_set: int) -> None:
    """Ours: r times the sum of C(k+m, j), also where there is less advice than the sets may hold."""
    total = sum(comb(pieces, j) for j in range(1, largest + 1))
    assert expected_count(pieces, largest, per_set) == per_set * total
    assert len(subsets(pieces, largest)) == total


def test_every_piece_of_the_library_makes_candidates_that_differ() -> None:
    """Ours: without a model the whole library must work on a draft of a few sentences."""
    scenario = read_scenario(SCENARIO + "search: {largest_set: 2}\n", "s")
    made = composed_candidates(scenario, library())
    assert len(made) == expected_count(len(library()), 2, 3)


def test_advice_without_enough_sentences_is_refused() -> None:
    """Ours: fewer candidates than promised would be a silent loss."""
    scenario = read_scenario(SCENARIO, "s")
    advice = [Advice(text="Be kind.", sentences=("Please.",))]
    with pytest.raises(SimulatorInputError, match="3 candidates of a set need 3 different"):
        composed_candidates(scenario, advice)


def test_without_draft_and_facts_there_is_nothing_to_compose() -> None:
    """Ours: nothing is invented, so nothing is made."""
    bare = SCENARIO.replace("draft: Our", "constraints: [Our").replace("in May.\n", "in May.]\n")
    bare = bare.replace("facts: [", "channel: none\n#")
    with pytest.raises(SimulatorInputError, match="neither a draft nor facts"):
        composed_candidates(read_scenario(bare, "s"), library()[:2])


async def test_advice_that_says_the_same_is_dropped_and_what_a_person_gave_stays() -> None:
    """Ours: near-duplicates make the search look wider than it is."""
    given_ = [Advice(text="Thank them for waiting so long.")]
    more = [Advice(text="Thank them for waiting so long!"), Advice(text="Name the price first.")]
    advice, dropped, spread = await choose([given_, more], 2, 0, HashEmbedder(256))
    assert [each.text for each in advice] == [given_[0].text, "Name the price first."]
    assert dropped == ["Thank them for waiting so long!"]
    assert spread is not None
    assert 0.5 < spread <= 1.0


async def test_the_search_takes_as_many_of_each_kind_as_it_asks_for() -> None:
    """Paper: EGS asks for standard and for unorthodox advice."""
    advice, _, _ = await choose([[], library()], 3, 2, HashEmbedder(256))
    assert [each.kind for each in advice] == ["standard"] * 3 + ["unorthodox"] * 2


def test_diversity_is_one_less_the_mean_similarity() -> None:
    """Ours: strangers are 1 apart, twins 0, and one piece has no diversity."""
    import numpy as np

    assert diversity(np.eye(3)) == 1.0
    assert diversity(np.ones((3, 3))) == 0.0
    assert diversity(np.eye(1)) is None
    assert distinct(np.array([[1.0, 0.9], [0.9, 1.0]])) == [0]


@claim("egs:facts")
@pytest.mark.parametrize(
    ("text", "flags"),
    [
        ("It costs 6.900 or 6,900 euros and stores 10 kWh.", ["number '6.900'"]),
        ("It stores ten kWh, not twelve.", ["number 'twelve'"]),
        ("Twenty-five thousand people wait.", ["number 'Twenty five thousand'"]),
        ("Delivery begins on May 3rd, not on 4 June.", ["date '4 June'"]),
        ("We promised 1 March.", ["date '1 March'"]),
        ("Come on Monday.", ["date 'Monday'"]),
        ("Ask Mira Okafor or Peter Schmidt.", ["name 'Peter'", "name 'Schmidt'"]),
        ("Larkfield's Buyers are one of us. I am glad.", []),
        ("Mr. Okafor said: The battery is here.", []),
        ("", []),
    ],
)
def test_what_no_fact_knows_is_flagged(text: str, flags: list[str]) -> None:
    """Ours: the answer to invented facts, which EGS's reviewers found in its candidates."""
    found = unknown_facts(text, read_scenario(SCENARIO, "s"))
    assert [f"{flag.kind} {flag.text!r}" for flag in found] == flags


def test_what_only_the_situation_says_is_flagged_as_such() -> None:
    """Ours: a number of the situation may be true and is still no fact to be said."""
    (flag,) = unknown_facts("We promised 1 March.", read_scenario(SCENARIO, "s"))
    assert flag.known
    assert str(flag).endswith("only in the situation")
