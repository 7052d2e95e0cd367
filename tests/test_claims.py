"""The registry of claims, checked in both directions."""

import pytest

from tests.claims import BEGIN, CLAIMS, END, README, SYSTEMS, claim, used_claims, with_table

ROOMS = {"protocol", "xp_store", "agents", "simulators", "runtime"}


def test_every_claim_has_a_test() -> None:
    """Ours: a sentence about a paper that nothing proves is not made."""
    proven = {identity for identity, _ in used_claims()}
    assert {known.id for known in CLAIMS} - proven == set()


def test_every_claim_that_a_test_carries_is_registered() -> None:
    """Ours: a proof of a claim that nobody makes is a misspelling."""
    registered = {known.id for known in CLAIMS}
    assert [(name, test) for name, test in used_claims() if name not in registered] == []


def test_every_claim_belongs_to_a_system_and_a_room() -> None:
    """Ours: the table shows a claim under its system, each once."""
    keys = [system.key for system in SYSTEMS]
    assert len(set(keys)) == len(keys)
    assert len({known.id for known in CLAIMS}) == len(CLAIMS)
    assert {known.system for known in CLAIMS} == set(keys)
    assert {known.room for known in CLAIMS} <= ROOMS


def test_an_unknown_claim_is_refused_where_it_is_written() -> None:
    """Ours: the file with the misspelling does not even load."""
    with pytest.raises(LookupError, match="goalfymax:no-such"):
        claim("goalfymax:no-such")


def test_the_readme_shows_the_table_of_today() -> None:
    """Ours: the README's table of systems is generated; `just docs` writes it."""
    text = README.read_text(encoding="utf-8")
    assert text.count(BEGIN) == text.count(END) == 1
    assert text == with_table(text), "the table is out of date: run `just docs`"
