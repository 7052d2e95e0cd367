"""Layers: a pack moves up when its rule lets it, and keeps what was said of it."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta

import pytest

from repertory.xp_store import CheckSpec, Gates, LayerRule, PackDraft, PackStore, TrustRule

from .conftest import NOW

MakeDraft = Callable[..., PackDraft]
OpenStore = Callable[..., AbstractAsyncContextManager[PackStore]]


@pytest.mark.both_engines
async def test_a_pack_moves_up_as_a_new_revision_that_keeps_its_trust(
    open_store: OpenStore, make_draft: MakeDraft, sums: CheckSpec
) -> None:
    """Paper: GoalfyMax's layers; the earlier revision stays as it was."""
    now, rule = [NOW], TrustRule(half_life_days=10)
    moves = [LayerRule("working", "episodic", trust=0.6, verdicts=1, age_days=1)]
    async with open_store(clock=lambda: now[0], rule=rule) as store:
        await store.admit(sums, Gates(True, True, True, 1.0, 12))
        soon = NOW + timedelta(days=9)
        ref = await store.record(make_draft(layer="working", valid_to=soon))
        await store.record(make_draft("unchecked", layer="working", checks=(), verdicts=()))
        assert await store.govern.move_layers(moves, tenant="default", actor="x") == []
        now[0] = NOW + timedelta(days=2)
        (moved,) = await store.govern.move_layers(moves, tenant="default", actor="x")
        pack = await store.get(ref.id)
        assert (pack.rev, pack.layer, pack.valid_to) == (2, "episodic", None)
        assert rule.of(pack, now[0]) == rule.of(await store.get(ref.id, rev=1), now[0])
        assert [said.counted for said in await store.verdicts(moved)] == [1]
        assert (await store.get(ref.id, rev=1)).layer == "working"
        assert await store.govern.move_layers(moves, tenant="default", actor="x") == []
        assert len(await store.steps(moved)) == 2
        report = await store.verify_ledger()
        assert report.intact, report.problems


@pytest.mark.both_engines
@pytest.mark.parametrize("source", ["simulated", "generated"])
async def test_what_never_happened_does_not_move_up(
    store: PackStore, make_draft: MakeDraft, source: str
) -> None:
    """Ours: rule 3 of the design."""
    await store.record(make_draft(layer="working", source=source))
    rules = [LayerRule("working", "semantic")]
    assert await store.govern.move_layers(rules, tenant="default", actor="x") == []
