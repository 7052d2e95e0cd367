"""Rights: a hand-made table decides every cell, and no derivation loses a restriction."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repertory.xp_store import (
    Database,
    DraftInvalidError,
    PackDraft,
    PackStore,
    Request,
    Rights,
    RightsError,
    allowed_keys,
    inherit,
    permits,
)
from repertory.xp_store.licences import joined
from repertory.xp_store.rights import ACTIONS, CLASSIFICATIONS, NOBODY, Action
from tests.claims import claim

MakeDraft = Callable[..., PackDraft]
OpenStore = Callable[..., AbstractAsyncContextManager[PackStore]]
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
RAIL = "LicenseRef-scancode-bigscience-open-rail-m"

# Made by hand from the licences' texts. Columns: for each purpose, read recall derive export.
PURPOSES = ("billing", "commercial", "medical-advice")
COLUMNS: tuple[Action, ...] = ("read", "recall", "derive", "export")
TABLE = """
MIT                                  | -              | -       | yyyy yyyy yyyy
CC0-1.0                              | -              | -       | yyyy yyyy yyyy
CC-BY-4.0                            | -              | -       | yyyy yyyy yyyy
GPL-3.0-only                         | -              | -       | yyyy yyyy yyyy
CC-BY-SA-4.0                         | -              | -       | yyyy yyyy yyyy
CC-BY-NC-4.0                         | -              | -       | yyyy ynnn yyyy
CC-BY-ND-4.0                         | -              | -       | ynny ynny ynny
CC-BY-NC-ND-4.0                      | -              | -       | ynny ynnn ynny
BUSL-1.1                             | -              | -       | yyyn yyyn yyyn
LicenseRef-Internal                  | -              | -       | yyyn yyyn yyyn
LicenseRef-scancode-bigscience-open-rail-m | -        | -       | yyyy yyyy ynnn
MIT AND LicenseRef-Internal          | -              | -       | yyyn yyyn yyyn
MIT OR CC-BY-ND-4.0                  | -              | -       | yyyy yyyy yyyy
Apache-2.0 AND CC-BY-NC-4.0          | -              | -       | yyyy ynnn yyyy
GPL-3.0-only AND CC-BY-NC-4.0        | -              | -       | yyyn ynnn yyyn
MIT                                  | export         | -       | yyyn yyyn yyyn
MIT                                  | derive         | -       | yyny yyny yyny
MIT                                  | medical-advice | -       | yyyy yyyy ynnn
GPL-3.0-only                         | medical-advice | -       | yyyn yyyn ynnn
MIT                                  | -              | billing | yyyy ynnn ynnn
"""


def cells() -> list[tuple[Rights, Request, bool]]:
    """Every cell of the table: rights, what is asked, and whether it is allowed."""
    found: list[tuple[Rights, Request, bool]] = []
    for line in TABLE.strip().splitlines():
        licence, restrictions, purposes, told = (part.strip() for part in line.split("|"))
        rights = Rights(
            licence=licence,
            restrictions=frozenset({restrictions} - {"-"}),
            purposes=frozenset({purposes} - {"-"}),
        )
        # As it is stored: with what its licence implies.
        rights = inherit(rights, [])
        for purpose, letters in zip(PURPOSES, told.split(), strict=True):
            for action, letter in zip(COLUMNS, letters, strict=True):
                found.append((rights, Request(action, "clerk", purpose), letter == "y"))
    return found


@claim("together:matrix")
def test_every_cell_of_licence_purpose_and_action_is_decided_as_the_table_says() -> None:
    """Paper: Stronger Together's licence case: 0 missed and 0 false blocks over 240 cells."""
    missed = [(r.licence, q) for r, q, right in cells() if not right and permits(r, q).allowed]
    blocked = [(r.licence, q) for r, q, right in cells() if right and not permits(r, q).allowed]
    assert (len(cells()), missed, blocked) == (240, [], [])
    silent = [q for r, q, right in cells() if not right and not permits(r, q).reason]
    assert silent == [], "every refusal says why"


NAMES = ("MIT", "CC0-1.0", "CC-BY-NC-4.0", "LicenseRef-Internal", RAIL)
COPYLEFT = ("GPL-2.0-only", "GPL-3.0-only", "AGPL-3.0-only", "MPL-2.0", "CC-BY-SA-4.0")
# Row takes column in, or the other way round; from the licences' own words on compatibility.
MIXES = {
    "GPL-2.0-only": "ynnyn",
    "GPL-3.0-only": "nyyyy",
    "AGPL-3.0-only": "nyyyy",
    "MPL-2.0": "yyyyn",
    "CC-BY-SA-4.0": "nyyny",
}


@claim("together:matrix")
def test_licences_mix_as_they_allow_themselves() -> None:
    """Paper: Stronger Together: a derivative's licence must be derivable from its parents'."""
    wrong = []
    for one, letters in MIXES.items():
        for two, letter in zip(COPYLEFT, letters, strict=True):
            try:
                mixed = "y" if set(joined([one, two]).split(" AND ")) == {one, two} else "?"
            except RightsError:
                mixed = "n"
            if mixed != letter:
                wrong.append((one, two, mixed))
    assert wrong == []
    for name in NAMES:
        for other in (*NAMES, *COPYLEFT):
            assert joined([name, other]) == joined([other, name])
        with pytest.raises(RightsError, match="allows nothing to be derived"):
            joined([name, "CC-BY-ND-4.0"])


@pytest.mark.parametrize(
    ("rights", "request_", "allowed"),
    [
        (Rights(audience=("clerk",)), Request("recall", "clerk"), True),
        (Rights(audience=("clerk",)), Request("recall", "critic"), False),
        (Rights(audience=("clerk",)), Request("recall"), False),
        (Rights(audience=(NOBODY,)), Request("read", "clerk"), False),
        (Rights(classification="secret"), Request("read", clearance="confidential"), False),
        (Rights(classification="public"), Request("read", clearance="public"), True),
        (Rights(retain_until=NOW), Request("recall", at=NOW), False),
        (Rights(retain_until=NOW), Request("recall", at=NOW - timedelta(seconds=1)), True),
        (Rights(retain_until=NOW), Request("read", at=NOW), True),
    ],
)
def test_audience_class_and_retention_decide_too(
    rights: Rights, request_: Request, allowed: bool
) -> None:
    """Ours: who, how secret, how long; what is due to be deleted can be read until it is."""
    assert permits(rights, request_).allowed is allowed


some_rights = st.builds(
    Rights,
    licence=st.sampled_from([*NAMES, "GPL-3.0-only", "MIT OR CC-BY-ND-4.0", "MPL-2.0"]),
    restrictions=st.frozensets(st.sampled_from(["export", "medical-advice", "training"])),
    purposes=st.frozensets(st.sampled_from(["billing", "commercial", "training"])),
    audience=st.sampled_from([(), ("clerk",), ("critic",), ("clerk", "critic")]),
    classification=st.sampled_from(CLASSIFICATIONS),
    subjects=st.sampled_from([(), ("a",), ("a", "b")]),
    retain_until=st.sampled_from([None, NOW, NOW + timedelta(days=9)]),
    policy_rev=st.integers(0, 3),
)
requests = st.builds(
    Request,
    action=st.sampled_from(ACTIONS),
    principal=st.sampled_from(["clerk", "critic", ""]),
    purpose=st.sampled_from([*PURPOSES, "training", ""]),
    clearance=st.sampled_from(CLASSIFICATIONS),
    at=st.sampled_from([None, NOW, NOW + timedelta(days=1)]),
)


@settings(max_examples=300, deadline=None)
@given(
    chain=st.lists(st.lists(some_rights, min_size=1, max_size=3), min_size=1, max_size=4),
    asked=requests,
)
@claim("together:inheritance")
def test_no_chain_of_derivations_loses_a_restriction(
    chain: list[list[Rights]], asked: Request
) -> None:
    """Paper: Stronger Together: derivatives carry at minimum the same restrictions."""
    every: list[Rights] = []
    child = inherit(chain[0][0], [])
    for parents in chain:
        above = [inherit(each, []) for each in parents]
        try:
            child = inherit(child, above)
        except RightsError:
            # A chain that may not go on loses nothing.
            break
        every += above
    for each in every:
        assert child.restrictions >= each.restrictions
        assert set(child.subjects) >= set(each.subjects)
        if permits(child, asked).allowed:
            assert permits(each, asked).allowed, (each, child, asked)


@pytest.mark.both_engines
async def test_what_used_a_pack_inherits_its_rights_when_it_is_recorded(
    store: PackStore, make_draft: MakeDraft
) -> None:
    """Ours: the runtime records what was used, and nobody has to remember to tighten."""
    strict = Rights("MIT", frozenset({"export"}), classification="secret", subjects=("abc",))
    parent = await store.record(make_draft(rights=strict))
    child = await store.record(make_draft("uses it", used=(parent,)))
    grandchild = await store.govern.derive("tally", [child], tenant="default", owner="learner")
    assert grandchild is not None
    for ref in (child, grandchild):
        held = (await store.get(ref.id)).rights
        assert held["licence"] == "LicenseRef-Internal AND MIT"
        assert held["classification"] == "secret"
        assert (held["restrictions"], held["subjects"]) == (["export"], ["abc"])
    assert (await store.verify_ledger()).intact


@pytest.mark.both_engines
async def test_what_may_not_be_derived_from_is_not(store: PackStore, make_draft: MakeDraft) -> None:
    """Ours: enforced where the pack is made, with the reason."""
    fixed = await store.record(make_draft(rights=Rights("CC-BY-ND-4.0")))
    kept = await store.record(make_draft("kept", rights=Rights(audience=("clerk",))))
    for ref, reason in ((fixed, "allows nothing to be derived"), (kept, "not in its audience")):
        with pytest.raises(RightsError, match=reason):
            await store.govern.derive("tally", [ref], tenant="default", owner="learner")
    with pytest.raises(RightsError, match="allows nothing to be derived"):
        await store.record(make_draft("uses it", used=(fixed,)))
    assert await store.count() == 2


@pytest.mark.both_engines
@pytest.mark.parametrize(
    ("rights", "sentence"),
    [
        (Rights("GPL-9.0"), r"unknown licence 'GPL-9.0' \(Unknown license key"),
        (Rights("MIT AND"), "unknown licence 'MIT AND'"),
        (Rights(""), "the licence is empty: 'LicenseRef-Internal' is for what stays inside"),
        (
            Rights(classification="top"),
            "unknown classification 'top'; known: public, internal, confidential, secret",
        ),
    ],
)
async def test_rights_that_are_none_are_refused_and_nothing_is_written(
    store: PackStore, make_draft: MakeDraft, rights: Rights, sentence: str
) -> None:
    """Ours: one sentence that says what was there and what may be."""
    with pytest.raises(RightsError, match=sentence):
        await store.record(make_draft(rights=rights))
    assert (await store.count(), (await store.verify_ledger()).entries) == (0, 0)


@pytest.mark.both_engines
async def test_a_parent_that_is_none_is_refused(store: PackStore, make_draft: MakeDraft) -> None:
    """Ours: lineage that leads nowhere would hide where rights come from."""
    theirs = await store.record(make_draft(tenant="other"))
    for digest in (theirs.digest, "0" * 64):
        with pytest.raises(DraftInvalidError, match="which is no pack or step here"):
            await store.record(make_draft(parents=((digest, "derived_from"),)))


@pytest.mark.both_engines
async def test_recall_filters_by_few_keys_of_rights(
    store: PackStore, database: Database, make_draft: MakeDraft
) -> None:
    """Ours: packs with the same rights share a key, whomever they are about."""
    for number in range(6):
        await store.record(make_draft(f"open {number}", rights=Rights(subjects=(str(number),))))
    closed = await store.record(make_draft("closed", rights=Rights(audience=("critic",))))
    keys = [(await store.get(closed.id)).rights_key, (await store.find(limit=9))[-1].rights_key]
    assert len(set(keys)) == 2
    ask = Request("recall", "clerk")
    allowed = await database.read(lambda each: allowed_keys(each, "default", ask))
    assert allowed == keys[1:]
    everyone = replace(ask, principal="critic")
    assert await database.read(lambda each: allowed_keys(each, "default", everyone)) is None
