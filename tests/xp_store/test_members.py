"""Rows of a scope remembered: always the rows that SQL would give."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from repertory.xp_store import Connection, Database, PackDraft, PackStore, Selector
from repertory.xp_store.audit import Audit
from repertory.xp_store.digests import instant
from repertory.xp_store.members import Members
from repertory.xp_store.scope import Scope, rows_within

MakeDraft = Callable[..., PackDraft]
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)

deeds = st.lists(
    st.sampled_from(
        (
            "record",
            "revise",
            "foreign",
            "passing",
            "future",
            "retire",
            "restore",
            "forget",
            "wait",
            "rollback",
        )
    ),
    min_size=1,
    max_size=10,
)


@pytest.mark.both_engines
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(done=deeds)
async def test_what_is_remembered_is_what_sql_would_say(
    store: PackStore, database: Database, make_draft: MakeDraft, done: list[str]
) -> None:
    """Ours: after any verb and at any later moment, remembered rows are the filter's rows."""
    members, now = Members(), NOW
    scopes: list[dict[str, Any]] = [
        {"status": ("candidate", "stable")},
        {"status": ("retired",), "family": "invoices"},
    ]

    def same(connection: Connection) -> None:
        asked = [Scope("default", instant(now), instant(now), **fields) for fields in scopes]
        for scope in (*asked, Scope.present("default")):
            remembered = members.rows(connection, scope).tolist()
            assert remembered == rows_within(connection, scope, -1).tolist(), (done, scope)

    await database.read(same)
    for number, deed in enumerate(done):
        held = [pack for pack in await store.find() if pack.status in ("candidate", "retired")]
        if deed == "record" or not held:
            await store.record(make_draft(f"invoice {number}"))
        elif deed == "revise":
            await store.record(make_draft(f"again {number}", id=held[0].id))
        elif deed == "foreign":
            await store.record(make_draft(tenant="theirs"))
        elif deed == "passing":
            await store.record(make_draft(valid_to=now + timedelta(hours=1)))
        elif deed == "future":
            await store.record(make_draft(valid_from=now + timedelta(hours=1)))
        elif deed in ("retire", "restore"):
            status: Any = "retired" if deed == "retire" else "candidate"
            await store.govern.set_status(
                held[0], status, tenant="default", actor="me", reason="because"
            )
        elif deed == "forget":
            chosen = Selector(ids=(held[0].id,))
            await store.govern.forget(chosen, tenant="default", actor="me")
        elif deed == "rollback":
            chosen = Selector(ids=(held[-1].id,))
            await store.govern.rollback(tenant="default", actor="me", selector=chosen)
        else:
            now += timedelta(hours=2)
        await database.read(same)


def test_an_index_serves_once_it_has_found_what_exact_search_finds() -> None:
    """Ours: not before it was held against eight answers, never at half of the neighbors."""
    good, bad = Audit(), Audit()
    served = []
    for _ in range(200):
        for audit, share in ((good, 1.0), (bad, 0.5)):
            if not audit.serves("mine"):
                if audit.due("mine"):
                    audit.note("mine", share)
            else:
                served.append(audit)
    assert bad not in served
    assert served.count(good) == pytest.approx(200 - 8 - 200 // 64, abs=1)
    assert not good.serves("theirs")
