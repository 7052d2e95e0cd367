"""Record: a draft becomes rows, all of them or none."""

import sqlite3
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repertory.xp_store import (
    CheckSpec,
    Claim,
    Connection,
    Cost,
    Database,
    DraftInvalidError,
    Gates,
    Origin,
    Outcome,
    PackDraft,
    PackNotFoundError,
    PackStore,
    Rights,
    StepDraft,
    StoreError,
    TrustRule,
    Verdict,
    digest_of,
    pack_rows,
)
from tests.claims import claim

OpenStore = Callable[..., AbstractAsyncContextManager[PackStore]]
MakeDraft = Callable[..., PackDraft]
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
a_step = StepDraft({"kind": "tool", "name": "other"}, "seen", NOW, "clerk")

changes = st.one_of(
    st.fixed_dictionaries({"goal": texts}),
    st.fixed_dictionaries({"situation": texts}),
    st.fixed_dictionaries({"owner": texts}),
    st.fixed_dictionaries({"family": texts}),
    st.fixed_dictionaries({"kind": st.sampled_from(["episode", "rule", "note"])}),
    st.fixed_dictionaries({"source": st.sampled_from(["real", "simulated"])}),
    st.fixed_dictionaries({"how": st.dictionaries(texts, texts | st.floats(0, 9), min_size=1)}),
    st.fixed_dictionaries({"valid_to": st.just(NOW + timedelta(days=1))}),
    st.builds(lambda text: {"why": (Claim(text),)}, texts),
    st.builds(lambda text: {"steps": (replace(a_step, observation=text),)}, texts),
    st.builds(lambda score: {"outcome": Outcome("pass", score)}, st.floats(0, 1)),
    st.builds(lambda text: {"rights": Rights(restrictions=frozenset({text, "b"}))}, texts),
    st.builds(lambda text: {"origin": Origin(model=text)}, texts),
)


def write(connection: Connection, draft: PackDraft) -> str:
    """The digest under which a draft is recorded."""
    return pack_rows(draft, lambda: NOW)(connection).digest


@given(change=changes, other=changes)
def test_same_content_has_the_same_digest_and_any_change_another(
    connection: Connection, make_draft: MakeDraft, change: Any, other: Any
) -> None:
    """Ours: a pack's digest covers what it says, where it comes from and what may be done."""
    one, two = make_draft(**change), make_draft(**other)
    assert write(connection, one) == write(connection, make_draft(**change))
    assert (write(connection, one) == write(connection, two)) == (one == two)


@given(change=st.sampled_from([{"status": "stable"}, {"reason": "other"}, {"span_id": "s"}]))
def test_what_may_change_later_is_not_in_the_digest(
    connection: Connection, make_draft: MakeDraft, change: Any
) -> None:
    """Ours: status, trust and counters move while the content stays."""
    assert write(connection, make_draft(**change)) == write(connection, make_draft())


@pytest.mark.both_engines
async def test_a_pack_reads_back_as_it_was_recorded(
    store: PackStore, make_draft: MakeDraft
) -> None:
    """Ours: nothing is lost between a draft and a pack."""
    ref = await store.record(make_draft(origin=Origin(model="m", tool_versions={"a": "1"})))
    pack, steps = await store.get(ref.id), await store.steps(ref)
    assert (pack.id, pack.rev, pack.digest) == (ref.id, 1, ref.digest)
    assert pack.goal == "post the invoice of Acme"
    assert pack.why == [
        {"text": "the vendor is known", "evidence": [steps[0].digest], "confidence": 1}
    ]
    assert pack.how["steps"] == {"count": 2, "root": digest_of([each.digest for each in steps])}
    assert pack.outcome["verdict"] == "pass"
    assert pack.outcome["cost"]["tokens_in"] == 100
    assert (pack.recorded_at, pack.valid_from, pack.valid_to) == (NOW, NOW, None)
    assert pack.origin["tool_versions"] == {"a": "1"}
    assert [step.action["args"] for step in steps] == [{"number": 0}, {"number": 1}]
    assert [check.code for check in await store.checks(pack)] == ["assert subject['total'] == 12"]
    assert [verdict.passed for verdict in await store.verdicts(ref)] == [True]


@pytest.mark.both_engines
@claim("goalfymax:from-the-journal")
async def test_a_pack_is_written_with_what_its_task_writes_or_not_at_all(
    store: PackStore, database: Database, make_draft: MakeDraft
) -> None:
    """Ours: a task has ended if and only if its pack exists."""
    unit = store.unit(make_draft())

    def ends(connection: Connection) -> None:
        unit(connection)
        raise RuntimeError("the task's own write failed")

    with pytest.raises(RuntimeError, match="own write"):
        await database.transact(ends)
    report = await store.verify_ledger()
    assert (await store.count(), report.entries, report.problems) == (0, 0, ())


@pytest.mark.both_engines
@claim("goalfymax:trust")
@pytest.mark.parametrize(("passed", "trust"), [(True, (2, 1)), (False, (1, 2)), (None, (1, 1))])
async def test_only_a_decided_verdict_moves_trust(
    trusting: PackStore,
    make_draft: MakeDraft,
    sums: CheckSpec,
    passed: bool | None,
    trust: tuple[float, float],
) -> None:
    """Paper: GoalfyMax's CHECK; trust is a Beta posterior moved by verdicts alone."""
    verdict = Verdict("sum", passed, "", sums.digest)
    ref = await trusting.record(make_draft(verdicts=(verdict,)))
    pack = await trusting.get(ref.id)
    assert (pack.trust_a, pack.trust_b) == trust


@pytest.mark.both_engines
async def test_later_verdicts_move_trust_and_are_kept(
    trusting: PackStore, make_draft: MakeDraft
) -> None:
    """Ours: the evidence behind a posterior can be read."""
    store = trusting
    ref = await store.record(make_draft())
    check = CheckSpec("currency", "regex", "EUR")
    await store.admit(check, Gates(True, True, True, 1.0, 12))
    pack = await store.judge(ref, [check], [Verdict("currency", False, "USD", check.digest)])
    assert (pack.trust_a, pack.trust_b) == (2, 2)
    assert [each.passed for each in await store.verdicts(ref)] == [True, False]
    verbs = [entry.verb for entry in await store.ledger()]
    assert verbs == ["check", "admitted", "record", "admitted"]


@pytest.mark.both_engines
async def test_a_check_that_was_not_admitted_is_kept_and_moves_nothing(
    store: PackStore, make_draft: MakeDraft
) -> None:
    """Ours: whoever plants `assert True` beside a pack gains no trust by it."""
    easy = CheckSpec("easy", "python", "assert True")
    verdict = Verdict("easy", True, "", easy.digest)
    await store.admit(easy, Gates(False, True, True, 0.0, 12, ("the untouched start",)))
    ref = await store.record(make_draft(checks=(easy,), verdicts=(verdict,)))
    pack = await store.judge(ref, [easy], [verdict])
    assert (pack.trust_a, pack.trust_b) == (1, 1)
    assert [(each.passed, each.counted) for each in await store.verdicts(ref)] == [
        (True, 0),
        (True, 0),
    ]


@pytest.mark.both_engines
async def test_the_same_check_of_the_same_subject_is_evidence_once(
    trusting: PackStore, make_draft: MakeDraft, sums: CheckSpec
) -> None:
    """Ours: running a check a hundred times proves no more than running it once."""
    verdict = Verdict("sum", True, "", sums.digest, "subject")
    ref = await trusting.record(make_draft(verdicts=(verdict, verdict)))
    pack = await trusting.judge(ref, [sums], [verdict])
    assert (pack.trust_a, pack.trust_b) == (2, 1)
    other = Verdict("sum", True, "", sums.digest, "another subject")
    assert (await trusting.judge(ref, [sums], [other])).trust_a == 3


@pytest.mark.both_engines
@pytest.mark.parametrize("source", ["simulated", "generated"])
async def test_what_never_happened_is_no_evidence(
    trusting: PackStore, make_draft: MakeDraft, source: str
) -> None:
    """Paper: DreamGym's warning; simulated experience moves no trust."""
    ref = await trusting.record(make_draft(source=source))
    assert (await trusting.get(ref.id)).trust == 0.5


@pytest.mark.both_engines
async def test_evidence_ages_and_trust_returns_to_its_prior(
    open_store: OpenStore, make_draft: MakeDraft, sums: CheckSpec
) -> None:
    """Paper: the beta reputation with forgetting (Josang and Ismail)."""
    now, rule = [NOW], TrustRule(half_life_days=10)
    async with open_store(clock=lambda: now[0], rule=rule) as store:
        await store.admit(sums, Gates(True, True, True, 1.0, 12))
        ref = await store.record(make_draft())
        pack = await store.get(ref.id)
        assert rule.of(pack, NOW) == pytest.approx(2 / 3)
        assert rule.of(pack, NOW + timedelta(days=10)) == pytest.approx(1.5 / 2.5)
        assert rule.of(pack, NOW + timedelta(days=1000)) == pytest.approx(0.5)
        now[0] = NOW + timedelta(days=10)
        judged = await store.judge(ref, [sums], [Verdict("sum", True, "", sums.digest, "later")])
        assert (judged.trust_a, judged.trust_b) == (2.5, 1)


@pytest.mark.both_engines
async def test_a_models_opinion_lifts_trust_to_a_cap_and_lowers_it_freely(
    trusting: PackStore, make_draft: MakeDraft
) -> None:
    """Ours: no number of opinions stands for one check that ran."""
    rubric = CheckSpec("tone", "rubric", "Is the answer polite?")
    rule = TrustRule()
    plain = await trusting.record(make_draft(checks=(), verdicts=()))
    praised = [Verdict("tone", True, "", rubric.digest, str(n)) for n in range(500)]
    pack = await trusting.judge(plain, [rubric], praised)
    assert pack.trust == 0.5
    assert rule.of(pack, NOW) == rule.opinion_cap
    checked = await trusting.record(make_draft("another"))
    pack = await trusting.judge(checked, [rubric], praised)
    assert rule.of(pack, NOW) == pytest.approx(2 / 3)
    blamed = [Verdict("tone", False, "", rubric.digest, f"not {n}") for n in range(500)]
    assert rule.of(await trusting.judge(checked, [rubric], blamed), NOW) < 0.55


@pytest.mark.both_engines
async def test_a_revision_leaves_the_earlier_one_as_it_was(
    store: PackStore, make_draft: MakeDraft
) -> None:
    """Ours: revisions are immutable, and recall knows only the newest."""
    first = await store.record(make_draft())
    second = await store.record(make_draft("post the invoice of Globex", id=first.id))
    assert (second.id, second.rev) == (first.id, 2)
    assert (await store.get(first.id)).goal == "post the invoice of Globex"
    assert (await store.get(first.id, rev=1)).digest == first.digest
    assert await store.count() == 1
    newest = (await store.ledger())[0]
    assert (newest.before, newest.after) == (first.digest, second.digest)


@pytest.mark.both_engines
async def test_a_revision_of_anothers_pack_is_no_pack(
    store: PackStore, make_draft: MakeDraft
) -> None:
    """Ours: foreign and absent answer alike."""
    ref = await store.record(make_draft())
    with pytest.raises(PackNotFoundError) as foreign:
        await store.record(make_draft(id=ref.id, tenant="other"))
    with pytest.raises(PackNotFoundError) as absent:
        await store.record(make_draft(id="absent", tenant="other"))
    assert str(foreign.value).replace(ref.id, "absent") == str(absent.value)


@pytest.mark.both_engines
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE xp_pack SET goal = 'x'",
        "UPDATE xp_pack SET digest = 'x'",
        "UPDATE xp_step SET observation = 'x'",
        "UPDATE xp_ledger SET reason = 'x'",
    ],
)
async def test_what_was_recorded_cannot_be_updated(
    store: PackStore, database: Database, make_draft: MakeDraft, statement: str
) -> None:
    """Ours: the database itself refuses, also to code that forgot."""
    await store.record(make_draft())
    with pytest.raises((StoreError, sqlite3.IntegrityError)):
        await database.transact(lambda connection: connection.execute(statement))


@pytest.mark.both_engines
async def test_used_packs_are_linked_and_counted(store: PackStore, make_draft: MakeDraft) -> None:
    """Ours: reuse is counted in the transaction of the pack that used it."""
    used = await store.record(make_draft())
    ref = await store.record(
        make_draft("post another", used=(used, used), outcome=Outcome("pass", None, Cost()))
    )
    pack = await store.get(used.id)
    assert (pack.uses, pack.wins, pack.last_used_at) == (1, 1, NOW)
    edges = await store.edges(used)
    assert [(each.parent, each.child, each.rel) for each in edges] == [
        (used.digest, ref.digest, "used_by")
    ]


@pytest.mark.both_engines
async def test_uses_and_outcomes_are_counted_for_the_tenants_own_packs(
    store: PackStore, make_draft: MakeDraft
) -> None:
    """Ours: counters say how often a pack was used and how often it helped."""
    mine = await store.record(make_draft())
    theirs = await store.record(make_draft(tenant="other"))
    assert await store.mark_used([mine.id, theirs.id, "absent"]) == 1
    assert await store.mark_outcome([mine.id], won=True) == 1
    assert await store.mark_outcome([mine.id], won=False) == 1
    pack = await store.get(mine.id)
    assert (pack.uses, pack.wins) == (1, 1)
    assert (await store.get(theirs.id, tenant="other")).uses == 0


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"why": (Claim("unsupported", (2,)),)}, "cites step 2; the draft has 2"),
        ({"checks": ()}, "verdicts of checks it does not hold: sum"),
        ({"situation": "x" * 5_000_000}, "a pack may have 4194304"),
        ({"how": {"set": {1, 2}}}, "no pack can be made"),
    ],
)
def test_a_draft_that_makes_no_pack_is_refused(
    make_draft: MakeDraft, change: Any, sentence: str
) -> None:
    """Paper: Early Experience: a claim without executed evidence is refused."""
    with pytest.raises(DraftInvalidError, match=sentence):
        pack_rows(make_draft(**change))


@pytest.mark.both_engines
async def test_what_a_tool_answered_never_keeps_a_task_from_being_recorded(
    store: PackStore, make_draft: MakeDraft
) -> None:
    """Ours: large integers, NaN and half characters are put into words JSON has."""
    odd = StepDraft(
        {"kind": "tool", "name": "odd", "args": {"big": 2**60, "nan": float("nan")}},
        "half \ud800",
        NOW,
        "clerk",
    )
    ref = await store.record(make_draft(steps=(odd,)))
    step = (await store.steps(ref))[0]
    assert step.action["args"] == {"big": str(2**60), "nan": None}
    assert step.observation == "half \ufffd"
    assert (await store.verify_ledger()).intact
