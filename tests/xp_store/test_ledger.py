"""The ledger: no tampering stays hidden."""

from collections.abc import Callable
from functools import partial

import pytest

from repertory.xp_store import Connection, Database, PackDraft, PackStore
from tests.claims import claim

MakeDraft = Callable[..., PackDraft]


def execute(connection: Connection, statement: str) -> None:
    """One statement, as a tamperer with the file in hand would run it."""
    connection.execute(statement)


async def fill(store: PackStore, make_draft: MakeDraft) -> None:
    """Five packs of two tenants, and some use of them."""
    refs = [
        await store.record(make_draft(f"post {number}", tenant=tenant))
        for number, tenant in enumerate(["default", "other", "default", "other", "default"])
    ]
    await store.mark_used([refs[0].id])


@pytest.mark.both_engines
async def test_a_ledger_nobody_touched_is_intact(store: PackStore, make_draft: MakeDraft) -> None:
    """Ours: one entry for each verb, chained."""
    await fill(store, make_draft)
    report = await store.verify_ledger()
    assert (report.entries, report.packs, report.problems) == (6, 5, ())
    entries = await store.ledger(limit=9)
    assert [entry.verb for entry in entries] == ["use", "record", "record", "record"]
    assert report.head == entries[0].hash


@pytest.mark.both_engines
@pytest.mark.parametrize(
    ("tampering", "found"),
    [
        (["UPDATE xp_ledger SET reason = 'x' WHERE seq = 3"], "entry 3 was altered"),
        (["UPDATE xp_ledger SET hash = 'x' WHERE seq = 3"], "entry 4 does not follow entry 3"),
        (["DELETE FROM xp_ledger WHERE seq = 3"], "entry 3 is missing before entry 4"),
        (["DELETE FROM xp_ledger WHERE seq >= 5"], "entries 5 to 6 are missing at the end"),
        (["DELETE FROM xp_ledger"], "entries 1 to 6 are missing at the end"),
        (
            [
                (
                    "INSERT INTO xp_ledger SELECT 7, at, tenant, actor, verb, before, after, reason,"
                    " policy_rev, span_id, prev_hash, hash, evidence FROM xp_ledger WHERE seq = 6"
                )
            ],
            "entry 7 does not follow entry 6",
        ),
        (
            [
                "UPDATE xp_ledger SET seq = 99 WHERE seq = 2",
                "UPDATE xp_ledger SET seq = 2 WHERE seq = 3",
                "UPDATE xp_ledger SET seq = 3 WHERE seq = 99",
            ],
            "entry 2 does not follow entry 1",
        ),
        (["UPDATE xp_pack SET goal = 'x' WHERE row_id = 2"], "rev 1 was altered"),
        (["UPDATE xp_pack SET digest = 'x' WHERE row_id = 2"], "has no entry in the ledger"),
        (["UPDATE xp_step SET observation = 'x' WHERE seq = 1"], "step 1 of pack"),
        (["DELETE FROM xp_step WHERE seq = 1"], "are not those it was recorded with"),
        (["DELETE FROM xp_pack WHERE row_id = 2"], "is gone, and nobody forgot it"),
        (["UPDATE xp_pack SET status = 'stable' WHERE row_id = 1"], "and nothing promoted it"),
        (["UPDATE xp_pack SET trust_a = 99 WHERE row_id = 1"], "is not what its verdicts make"),
        (["UPDATE xp_pack SET uses = 99 WHERE row_id = 1"], "is not what its uses make"),
        (["UPDATE xp_verdict SET passed = 0 WHERE row_id = 1"], "are not those of entry 1"),
        (["UPDATE xp_verdict SET counted = 1 WHERE row_id = 1"], "are not those of entry 1"),
    ],
)
@claim("dmm:ledger")
async def test_tampering_is_found(
    store: PackStore,
    database: Database,
    make_draft: MakeDraft,
    tampering: list[str],
    found: str,
) -> None:
    """Ours: flip, delete, insert, reorder, and the packs behind the entries."""
    await fill(store, make_draft)
    of = {
        "xp_ledger_append_only": "xp_ledger",
        "xp_pack_immutable": "xp_pack",
        "xp_step_immutable": "xp_step",
    }
    on = database.dialect.engine == "postgresql"
    guards = [f"DROP TRIGGER {guard}{f' ON {table}' if on else ''}" for guard, table in of.items()]
    for statement in [*guards, *tampering]:
        await database.transact(partial(execute, statement=statement))
    report = await store.verify_ledger()
    assert not report.intact
    assert any(found in problem for problem in report.problems), report.problems
