"""PostgreSQL's postings against SQLite's FTS5: two indexes, one answer."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from repertory.xp_store import (
    Connection,
    HashEmbedder,
    PackDraft,
    PackStore,
    StoreError,
    open_database,
    open_pack_store,
    rebuilt_digest,
    store_digest,
)
from repertory.xp_store.derivation import DERIVATIONS
from repertory.xp_store.trust import TrustRule
from tests.cluster import Cluster

MakeDraft = Callable[..., PackDraft]
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
GOALS = [
    "post the invoice of Müller GmbH, 12 chairs",
    "post the invoice of Acme: 12 lamps, 3 chairs",
    "Straße und Ärger — naïve café №5",
    "日本語のテスト and x_y-z 1e5 e-mail@example.org",
    "chairs chairs chairs",
    "a\0b " + "w" * 300,
]
QUESTIONS = [
    "invoice chairs",
    "muller",
    "strasse cafe",
    "1e5 example",
    "lamps of Acme",
    "日本語のテスト",
]


async def test_both_engines_give_the_same_hits_scores_and_digests(
    tmp_path: Path, postgres: Cluster, make_draft: MakeDraft
) -> None:
    """Ours: a store that moves to a server finds what it found, in the same order, as the same."""
    told: list[object] = []
    for url in (f"sqlite:///{tmp_path}/store.db", postgres.new_store()):
        async with (
            open_database(url) as database,
            open_pack_store(database, embedder=HashEmbedder(64), clock=lambda: NOW) as store,
        ):
            for goal in GOALS:
                await store.record(make_draft(goal))
            await store.wait_indexed()
            answers = [await _asked(store, each) for each in QUESTIONS]

            def digests(connection: Connection) -> tuple[str, ...]:
                rebuilt = rebuilt_digest(connection, "default", TrustRule(), DERIVATIONS)
                rows = connection.execute("SELECT digest FROM xp_pack ORDER BY row_id").fetchall()
                assert store_digest(connection, "default") == rebuilt
                return tuple(row[0] for row in rows)

            told.append((answers, await database.read(digests)))
            assert (await store.verify_ledger()).problems == ()
            # Rebuilt, the index says the same.
            await store.reindex()
            assert [await _asked(store, each) for each in QUESTIONS] == answers
    assert told[0] == told[1]


async def _asked(store: PackStore, question: str) -> list[tuple[str, float]]:
    answer = await store.explain(question, limit=6)
    return [(each.pack.digest, round(each.score, 9)) for each in answer.hits]


@pytest.mark.both_engines
@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("UPDATE xp_pack SET goal = 'x'", "a revision of a pack is immutable"),
        ("UPDATE xp_step SET observation = 'x'", "a recorded step is immutable"),
        ("UPDATE xp_ledger SET reason = 'x'", "the ledger is append-only"),
    ],
)
async def test_what_was_recorded_cannot_be_changed_in_sql(
    store: PackStore, make_draft: MakeDraft, change: str, told: str
) -> None:
    """Ours: the guards are in the database, below every code of ours."""
    await store.record(make_draft())
    with pytest.raises(StoreError, match=told):
        await store.transact(lambda connection: connection.execute(change))
