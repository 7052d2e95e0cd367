"""Recall: only what may be found, only with evidence, and with its reasons."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import anyio
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repertory.xp_store import (
    Asked,
    CheckSpec,
    Claim,
    Connection,
    Database,
    Embedder,
    Floor,
    FloorErrors,
    Gates,
    HashEmbedder,
    Hit,
    MemoryIndex,
    MiniLM,
    PackDraft,
    PackStore,
    Recall,
    Request,
    Rights,
    StoreError,
    Verdict,
    calibrated,
    errors_of,
    find_weights,
    open_database,
    open_pack_store,
)
from repertory.xp_store.bm25 import Corpora, fits, holding
from repertory.xp_store.members import Members
from repertory.xp_store.words import words
from tests.claims import claim

ADMITTED = Gates(True, True, True, 1.0, 12)

MakeDraft = Callable[..., PackDraft]
OpenStore = Callable[..., AbstractAsyncContextManager[PackStore]]
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
ANYTHING = Floor(cosine=-1.0, overlap=0.0)

TENANTS = ("one", "two")
FAMILIES = ("invoices", "refunds")
STATUSES = ("stable", "candidate", "quarantined", "retired")
KINDS = ("episode", "rule")
DAYS = st.integers(-2, 2)

packs = st.lists(
    st.fixed_dictionaries(
        {
            "tenant": st.sampled_from(TENANTS),
            "family": st.sampled_from(FAMILIES),
            "status": st.sampled_from(STATUSES),
            "kind": st.sampled_from(KINDS),
            "valid_from": DAYS.map(lambda days: NOW + timedelta(days=days)),
            "valid_to": st.none() | DAYS.map(lambda days: NOW + timedelta(days=days)),
        }
    ),
    min_size=1,
    max_size=8,
)
questions = st.fixed_dictionaries(
    {"tenant": st.sampled_from(TENANTS)},
    optional={
        "family": st.sampled_from(FAMILIES),
        "status": st.lists(st.sampled_from(STATUSES), min_size=1, unique=True),
        "kinds": st.lists(st.sampled_from(KINDS), min_size=1, unique=True),
        "at": DAYS.map(lambda days: NOW + timedelta(days=days)),
    },
)


def allowed(pack: dict[str, Any], question: dict[str, Any]) -> bool:
    """What the filters mean, said once more in plain words."""
    at = question.get("at", NOW)
    return (
        pack["tenant"] == question["tenant"]
        and pack["family"] == question.get("family", pack["family"])
        and pack["status"] in question.get("status", ("stable", "candidate"))
        and pack["kind"] in question.get("kinds", KINDS)
        and pack["valid_from"] <= at
        and (pack["valid_to"] is None or pack["valid_to"] > at)
    )


def standing(connection: Connection, pack: str, status: str) -> None:
    """Give a pack a standing that no change has given it."""
    connection.execute("UPDATE xp_pack SET status = ? WHERE id = ?", (status, pack))


@pytest.mark.both_engines
@pytest.mark.parametrize("exact_limit", [1000, 0], ids=["exact", "index"])
@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(given_packs=packs, question=questions)
async def test_exactly_what_may_be_found_is_found(
    make_draft: MakeDraft, exact_limit: int, given_packs: Any, question: Any
) -> None:
    """Ours: tenant, family, status, kind and validity, whichever way the vectors are searched."""
    async with (
        open_database("sqlite:///:memory:") as database,
        open_pack_store(
            database,
            embedder=HashEmbedder(64),
            index=MemoryIndex(),
            floor=ANYTHING,
            clock=lambda: NOW,
            exact_limit=exact_limit,
        ) as store,
    ):
        expected = set()
        for number, pack in enumerate(given_packs):
            given = {**pack, "status": "candidate"}
            ref = await store.record(make_draft(f"post invoice {number}", **given))
            await database.transact(partial(standing, pack=ref.id, status=pack["status"]))
            if allowed(pack, question):
                expected.add(ref.id)
        await store.wait_indexed()
        for query in ("post invoice", "nothing alike"):
            hits = await store.recall(query, limit=20, **question)
            assert {hit.pack.id for hit in hits} == expected


@pytest.mark.both_engines
async def test_another_tenants_packs_are_found_by_nothing(
    open_store: OpenStore, make_draft: MakeDraft
) -> None:
    """Ours: no question, however put, crosses the line between tenants."""
    async with open_store(floor=ANYTHING, index=MemoryIndex()) as store:
        theirs = await store.record(make_draft("the secret of Globex", tenant="theirs"))
        await store.wait_indexed()
        for query in ("the secret of Globex", "secret", '" OR tenant:theirs', "*", "", "theirs"):
            assert await store.recall(query, tenant="mine", limit=50) == []
        assert await store.find(tenant="mine") == []
        assert await store.count(tenant="mine") == 0
        assert await store.mark_used([theirs.id], tenant="mine") == 0


@pytest.mark.both_engines
async def test_a_hit_says_why_it_was_found(open_store: OpenStore, make_draft: MakeDraft) -> None:
    """Ours: ranks in both arms, the words, the likeness, trust and validity."""
    async with open_store() as store:
        await store.admit(make_draft().checks[0], ADMITTED)
        for vendor in ("Acme", "Globex", "Initech"):
            await store.record(make_draft(f"post the invoice of {vendor}"))
        await store.wait_indexed()
        hits = await store.recall("post the invoice of Globex")
    best = hits[0]
    assert best.pack.goal == "post the invoice of Globex"
    assert (best.score, best.reasons.text_rank, best.reasons.vector_rank) == (1.0, 1, 1)
    assert best.reasons.matched[0] == "globex"
    assert best.reasons.overlap == pytest.approx(1.0)
    assert best.reasons.cosine is not None
    assert best.reasons.trust == pytest.approx(2 / 3)
    assert best.reasons.valid_from == NOW.isoformat()
    assert "words globex" in str(best.reasons)
    again = Hit.parse(best.wire())
    assert (again.pack.digest, again.reasons, again.score) == (
        best.pack.digest,
        best.reasons,
        best.score,
    )
    assert again.wire() == best.wire()


@pytest.mark.both_engines
@pytest.mark.parametrize(
    "query", ["zebra quantum origami", "", "   ", "!?*()\"'", "AND OR NOT", "NEAR(a b)", "goal:x"]
)
async def test_recall_may_return_nothing(
    open_store: OpenStore, make_draft: MakeDraft, query: str
) -> None:
    """Paper: DMM's inhibition; a nearest pack is not yet a near one, and no query is a command."""
    async with open_store() as store:
        await store.record(make_draft())
        await store.wait_indexed()
        assert await store.recall(query) == []


@pytest.mark.both_engines
async def test_trust_decides_between_packs_that_fit_alike(
    open_store: OpenStore, make_draft: MakeDraft
) -> None:
    """Ours: of two that fit alike, the one whose checks passed comes first."""
    base = make_draft()
    failed = Verdict("sum", False, "", base.checks[0].digest)
    async with open_store(index=MemoryIndex()) as store:
        await store.admit(base.checks[0], ADMITTED)
        await store.record(make_draft(verdicts=(failed,)))
        good = await store.record(make_draft())
        await store.wait_indexed()
        hits = await store.recall(base.goal)
    assert hits[0].pack.id == good.id
    assert hits[0].reasons.trust > hits[1].reasons.trust


@pytest.mark.both_engines
async def test_claims_are_searched_too_and_diacritics_do_not_matter(
    open_store: OpenStore, make_draft: MakeDraft
) -> None:
    """Paper: GoalfyMax's WHY is part of what is found."""
    async with open_store() as store:
        ref = await store.record(make_draft(why=(Claim("the supplier's café moved to Zürich"),)))
        await store.wait_indexed()
        hits = await store.recall("cafe zurich")
    assert [hit.pack.id for hit in hits] == [ref.id]
    assert set(hits[0].reasons.matched) == {"cafe", "zurich"}


@pytest.mark.both_engines
async def test_very_common_words_do_not_lead_the_search(
    open_store: OpenStore, make_draft: MakeDraft
) -> None:
    """Ours: what every pack says tells packs apart by nothing, and costs most."""
    async with open_store() as store:
        for number in range(120):
            await store.record(make_draft(f"invoice of vendor{number}"))
        hits = await store.recall("invoice of vendor77 two lines in euro", limit=50)
    assert [hit.pack.goal for hit in hits if hit.reasons.text_rank] == ["invoice of vendor77"]


@pytest.mark.both_engines
async def test_what_other_tenants_hold_bears_on_no_answer(
    open_store: OpenStore, make_draft: MakeDraft
) -> None:
    """Ours: counts, weights, ranks and the words that lead are of the asking tenant's packs."""
    asked = "refund a broken lamp of Helios"
    told = ("refund a lamp", "a broken invoice", "a lamp of Helios, a lamp of Helios", "post it")

    def seen(answer: Recall) -> list[Any]:
        considered = [
            (each.goal, each.score, each.reasons.overlap, each.reasons.text_rank)
            for each in answer.considered
        ]
        return [answer.terms, considered, answer.silence]

    async with open_store(floor=ANYTHING, index=None) as store:
        for goal in told:
            await store.record(make_draft(goal, tenant="mine"))
        await store.wait_indexed()
        before = seen(await store.explain(asked, tenant="mine"))
        for number in range(60):
            goal = f"refund lamp {number}" if number % 2 else f"Helios {number}"
            await store.record(make_draft(goal, tenant="theirs"))
        await store.wait_indexed()
        after = seen(await store.explain(asked, tenant="mine"))
        theirs = await store.explain(asked, tenant="theirs")
    assert before == after
    assert {word: packs for word, packs, _ in before[0]}["helios"] == 1
    assert {word: packs for word, packs, _ in theirs.terms}["helios"] == 30


async def test_ranks_by_words_are_those_of_sqlite_where_there_is_one_tenant(
    open_store: OpenStore, make_draft: MakeDraft, database: Database
) -> None:
    """Spec: FTS5's bm25() with these weights gives the same order and the same scores."""
    goals = [f"lamp {'lamp ' * (n % 4)}{'of Helios ' * (n % 3)}number{n}" for n in range(30)]
    async with open_store(floor=ANYTHING, index=None) as store:
        for goal in goals:
            await store.record(make_draft(goal))

        def both(connection: Connection) -> tuple[Any, Any]:
            corpus = Corpora(Members()).of(connection, "default")
            terms = [(word, holding(connection, corpus, word)[0]) for word in ("lamp", "helios")]
            ours = fits(connection, terms, corpus, np.arange(100, dtype=np.int64))
            theirs = connection.execute(
                "SELECT rowid, -bm25(xp_fts, 3.0, 2.0, 1.0) FROM xp_fts"
                " WHERE xp_fts MATCH 'lamp OR helios' ORDER BY rowid"
            ).fetchall()
            return ours, theirs

        (rows, fit), theirs = await database.read(both)
    assert rows.tolist() == [row for row, _ in theirs]
    assert fit.tolist() == pytest.approx([score for _, score in theirs], rel=1e-6)


@pytest.mark.both_engines
async def test_a_small_score_can_be_refused(open_store: OpenStore, make_draft: MakeDraft) -> None:
    """Ours: the caller may ask for the best alone."""
    async with open_store(floor=ANYTHING) as store:
        for vendor in ("Acme", "Globex", "Initech"):
            await store.record(make_draft(f"post the invoice of {vendor}"))
        await store.wait_indexed()
        assert len(await store.recall("invoice of Acme")) == 3
        assert len(await store.recall("invoice of Acme", min_score=0.999)) == 1
        assert len(await store.recall("invoice of Acme", limit=2)) == 2


@pytest.mark.both_engines
async def test_an_answer_keeps_within_its_budget_and_says_what_it_left(
    open_store: OpenStore, make_draft: MakeDraft
) -> None:
    """Ours: a prompt has room for so much; what is too long is passed over for what fits."""
    async with open_store(floor=ANYTHING) as store:
        long = await store.record(make_draft("post the invoice of Acme", situation="words " * 400))
        short = await store.record(make_draft("post the invoice of Globex"))
        await store.wait_indexed()
        answer = await store.explain("post the invoice of Acme", tokens=200, limit=2)
        assert [hit.pack.id for hit in answer.hits] == [short.id]
        fates = {each.id: each.fate for each in answer.considered}
        assert fates == {long.id: "over budget", short.id: "chosen"}
        assert await store.recall("post the invoice of Acme", tokens=1) == []


@pytest.mark.both_engines
async def test_one_story_told_often_does_not_fill_the_answer(
    open_store: OpenStore, make_draft: MakeDraft
) -> None:
    """Paper: Carbonell and Goldstein's maximal marginal relevance; the first stays the first."""
    async with open_store(floor=ANYTHING) as store:
        for _ in range(4):
            await store.record(make_draft("post the invoice of Acme", why=()))
        other = await store.record(make_draft("post the invoice of Globex and Initech", why=()))
        await store.wait_indexed()
        query = "post the invoice of Acme"
        plain = await store.recall(query, limit=3, diversity=0.0)
        varied = await store.recall(query, limit=3, diversity=0.5)
    assert other.id not in [hit.pack.id for hit in plain]
    assert other.id in [hit.pack.id for hit in varied]
    assert varied[0].pack.goal == query


@pytest.mark.both_engines
@claim("dmm:inhibition")
async def test_an_answer_explains_itself(open_store: OpenStore, make_draft: MakeDraft) -> None:
    """Paper: DMM's inhibition; the words that led, the way of the search, and why none is given."""
    async with open_store() as store:
        await store.record(make_draft("post the invoice of Acme"))
        await store.wait_indexed()
        answer = await store.explain("invoice of Acme")
        assert answer.how == "all 1 packs in scope were scored"
        assert {word: asked for word, _, asked in answer.terms}["acme"] is True
        assert (answer.silence, answer.considered[0].fate) == ("", "chosen")
        silent = await store.explain("an invoice for zebra, quantum and origami")
        assert silent.hits == ()
        assert silent.silence.startswith(
            "nothing here supports this: the nearest of 1 has a cosine"
        )
        assert silent.considered[0].fate == "no evidence"
        nothing = await store.explain("zebra", family="elsewhere")
        assert nothing.silence == "nothing in scope shares a word or a meaning with this"


@pytest.mark.both_engines
@pytest.mark.parametrize("exact_limit", [1000, 0], ids=["exact", "index"])
async def test_rights_decide_before_anything_is_ranked(
    open_store: OpenStore, make_draft: MakeDraft, exact_limit: int
) -> None:
    """Ours: purpose, audience, class and retention, whichever way the vectors are searched."""
    rights = {
        "open": Rights(),
        "purpose": Rights(purposes=frozenset({"support"})),
        "audience": Rights(audience=("ann",)),
        "secret": Rights(classification="secret"),
        "no recall": Rights(restrictions=frozenset({"recall"})),
        "kept too long": Rights(retain_until=NOW - timedelta(days=1)),
    }
    async with open_store(index=MemoryIndex(), floor=ANYTHING, exact_limit=exact_limit) as store:
        for goal, held in rights.items():
            await store.record(make_draft(goal, rights=held))
        await store.wait_indexed()

        async def found(**asks: Any) -> set[str]:
            hits = await store.recall("post", request=Request("recall", **asks), limit=20)
            return {hit.pack.goal for hit in hits}

        assert await found() == {"open", "secret"}
        assert await found(purpose="support") == {"open", "secret", "purpose"}
        assert await found(principal="ann") == {"open", "secret", "audience"}
        assert await found(clearance="internal") == {"open"}


@pytest.mark.both_engines
async def test_rules_that_contradict_each_other_are_shown_together(
    open_store: OpenStore, make_draft: MakeDraft
) -> None:
    """Ours: the most trusted first, then the newest; the reader sees both and that they disagree."""
    base = make_draft()
    failed = Verdict("sum", False, "", base.checks[0].digest)
    async with open_store(floor=Floor(0.5, 0.9)) as store:
        old = await store.record(
            make_draft("pay invoices of Acme at once", kind="rule", verdicts=(failed,))
        )
        new = await store.record(
            make_draft("wait thirty days", kind="rule", parents=((old.digest, "contradicts"),))
        )
        theirs = await store.record(make_draft("theirs", tenant="theirs"))
        await store.wait_indexed()
        hits = await store.recall("pay invoices of Acme at once", limit=1)
    assert {hit.pack.id for hit in hits} == {old.id, new.id}
    assert hits[0].reasons.trust >= hits[1].reasons.trust
    assert {hit.pack.id: hit.reasons.contradicts for hit in hits} == {
        old.id: (new.id,),
        new.id: (old.id,),
    }
    assert "contradicts" in str(hits[0].reasons)
    assert theirs.id not in {hit.pack.id for hit in hits}


@pytest.mark.both_engines
async def test_a_new_embedding_model_is_built_while_words_still_find(
    open_store: OpenStore, make_draft: MakeDraft
) -> None:
    """Ours: a changed model costs a rebuild, and no moment in which nothing is found."""

    class Slow(HashEmbedder):
        go = anyio.Event()

        async def embed(self, texts: Sequence[str]) -> Any:
            if len(texts) > 1:
                await self.go.wait()
            return await super().embed(texts)

    index = MemoryIndex()
    async with open_store(index=index) as store:
        for vendor in ("Acme", "Globex", "Initech"):
            await store.record(make_draft(f"post the invoice of {vendor}"))
        await store.wait_indexed()
    slow = Slow(128)
    slow.go = anyio.Event()
    async with open_store(index=index, embedder=slow) as store:
        meanwhile = await store.recall("post the invoice of Globex")
        assert meanwhile[0].pack.goal == "post the invoice of Globex"
        assert meanwhile[0].reasons.cosine is None
        slow.go.set()
        await store.wait_indexed()
        after = await store.recall("post the invoice of Globex")
        assert after[0].reasons.cosine is not None


@pytest.mark.both_engines
async def test_too_little_trust_is_not_found(open_store: OpenStore, make_draft: MakeDraft) -> None:
    """Ours: who asks may demand evidence that a pack works."""
    async with open_store(floor=ANYTHING) as store:
        await store.record(make_draft())
        await store.wait_indexed()
        trust = (await store.recall("invoice"))[0].reasons.trust
        assert len(await store.recall("invoice", min_trust=trust)) == 1
        assert await store.recall("invoice", min_trust=trust + 0.01) == []


@pytest.mark.both_engines
@pytest.mark.parametrize("exact_limit", [0, 1000])
async def test_demanded_trust_is_the_trust_of_today(
    open_store: OpenStore, make_draft: MakeDraft, sums: CheckSpec, exact_limit: int
) -> None:
    """Ours: evidence that has aged away no longer carries a pack over the bar."""
    today = [NOW]
    async with open_store(
        floor=ANYTHING, clock=lambda: today[0], exact_limit=exact_limit, index=MemoryIndex()
    ) as store:
        await store.admit(sums, ADMITTED)
        await store.record(make_draft())
        await store.wait_indexed()
        assert (await store.recall("invoice"))[0].reasons.trust > 0.6
        assert len(await store.recall("invoice", min_trust=0.6)) == 1
        today[0] = NOW + timedelta(days=400)
        assert await store.recall("invoice", min_trust=0.6) == []
        assert len(await store.recall("invoice", min_trust=0.5)) == 1


def test_a_floor_is_calibrated_on_questions_with_known_answers() -> None:
    """Ours: the fewest false silences within the share of false answers that one accepts."""
    known = [Asked(True, ((cosine, 0.2),)) for cosine in (0.9, 0.8, 0.7, 0.4)]
    strange = [Asked(False, ((cosine, 0.1),)) for cosine in (0.75, 0.5, 0.3, 0.2)]
    strict = calibrated([*known, *strange], 0.0)
    assert errors_of(strict, [*known, *strange]) == FloorErrors(0, 4, 2, 4)
    lenient = calibrated([*known, *strange], 0.25)
    assert errors_of(lenient, [*known, *strange]) == FloorErrors(1, 4, 1, 4)
    assert 0.5 < lenient.cosine <= 0.7
    with pytest.raises(ValueError, match="with an answer and without"):
        calibrated(known, 0.1)


@pytest.mark.both_engines
async def test_the_index_is_asked_and_what_the_filter_eats_is_searched_exactly(
    open_store: OpenStore, make_draft: MakeDraft
) -> None:
    """Ours: overfetching loses recall under a filter, so the exact search stands behind it."""

    class Nearsighted(MemoryIndex):
        asked = 0

        def nearest(self, tenant: str, vector: Any, limit: int) -> list[tuple[str, float]]:
            self.asked += 1
            return super().nearest(tenant, vector, 3)

    index = Nearsighted()
    async with open_store(index=index, floor=ANYTHING, exact_limit=4) as store:
        for number in range(10):
            await store.record(make_draft(f"post invoice {number}", family="common"))
        for number in range(6):
            await store.record(make_draft(f"odd {number}", family="rare"))
        await store.wait_indexed()
        hits = await store.recall("post invoice 3", family="rare", limit=6)
    assert index.asked == 1
    assert len(hits) == 6


@pytest.mark.both_engines
async def test_a_failing_embedder_leaves_the_words(
    open_store: OpenStore, make_draft: MakeDraft
) -> None:
    """Ours: the parts of recall fail apart from each other."""

    class Failing(HashEmbedder):
        async def embed(self, texts: Sequence[str]) -> Any:
            raise OSError("no weights")

    async with open_store(embedder=Failing()) as store:
        ref = await store.record(make_draft())
        with pytest.raises(StoreError, match="no weights"):
            await store.wait_indexed()
        hits = await store.recall("invoice of Acme")
    assert [hit.pack.id for hit in hits] == [ref.id]
    assert hits[0].reasons.cosine is None


def test_words_are_split_as_the_index_splits_them(connection: Any) -> None:
    """Ours: a word that only one side knows could never match."""
    text = "Zürich's CAFÉ no_7: ﬁve 12.50€, naïve—co-op"
    connection.execute(
        "CREATE VIRTUAL TABLE temp.probe USING fts5(t, tokenize='unicode61 remove_diacritics 2')"
    )
    connection.execute("CREATE VIRTUAL TABLE temp.probe_terms USING fts5vocab(probe, row)")
    connection.execute("INSERT INTO temp.probe VALUES (?)", (text.replace("ﬁ", "fi"),))
    terms = {row[0] for row in connection.execute("SELECT term FROM temp.probe_terms")}
    assert set(words(text)) == terms


@pytest.mark.both_engines
@pytest.mark.model
@pytest.mark.skipif(find_weights("minilm-int8") is None, reason="no weights here")
async def test_a_paraphrase_is_found_by_meaning(
    open_store: OpenStore, make_draft: MakeDraft
) -> None:
    """Ours: with MiniLM, words need not be shared, and what is foreign stays out."""
    embedder: Embedder = MiniLM(threads=1)
    async with open_store(embedder=embedder) as store:
        goals = (
            "give the customer the money back for a broken lamp",
            "find out where the parcel of the order is",
            "unlock the account of a colleague who forgot the password",
        )
        for goal in goals:
            await store.record(make_draft(goal, situation="", why=()))
        await store.wait_indexed()
        hits = await store.recall("refund a client whose light arrived damaged")
        assert [hit.pack.goal for hit in hits] == [goals[0]]
        assert await store.recall("bake sourdough bread in a cast iron pot") == []
