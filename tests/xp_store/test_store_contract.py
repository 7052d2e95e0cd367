"""The store's contract, over every way to open one; who writes another store runs it here."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from repertory.xp_store import (
    Floor,
    HashEmbedder,
    MemoryIndex,
    PackDraft,
    PackNotFoundError,
    PackStore,
    Request,
    Rights,
    StoreError,
    StoreOwnedError,
    export_packs,
    import_packs,
    open_store,
)
from tests.claims import claim

MakeDraft = Callable[..., PackDraft]
ANYTHING = Floor(cosine=-1.0, overlap=0.0)

OPENED: dict[str, Callable[[Path], tuple[str, dict[str, Any]]]] = {
    "memory": lambda folder: ("sqlite:///:memory:", {"index": MemoryIndex()}),
    "file": lambda folder: (f"sqlite:///{folder}/store.db", {}),
    "file and chroma": lambda folder: (
        f"sqlite:///{folder}/store.db",
        {"index": folder / "index"},
    ),
}


@pytest.fixture(params=sorted(OPENED))
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[PackStore]:
    """An empty store, opened in one of the ways."""
    url, options = OPENED[request.param](tmp_path)
    async with open_store(url, embedder=HashEmbedder(128), floor=ANYTHING, **options) as opened:
        yield opened


async def test_what_is_recorded_is_read_back_whole(store: PackStore, make_draft: MakeDraft) -> None:
    """Ours: a pack, its steps, its checks, its verdicts and its lineage."""
    first = await store.record(make_draft())
    ref = await store.record(make_draft("later", parents=((first.digest, "derived_from"),)))
    pack = await store.get(ref.id)
    assert (pack.goal, pack.digest, pack.rev) == ("later", ref.digest, 1)
    assert [step.seq for step in await store.steps(pack)] == [0, 1]
    assert [check.name for check in await store.checks(pack)] == ["sum"]
    assert [verdict.passed for verdict in await store.verdicts(pack)] == [True]
    assert [edge.parent for edge in await store.edges(pack)] == [first.digest]
    assert (await store.verify_ledger()).intact


async def test_a_revision_takes_the_place_of_the_one_before(
    store: PackStore, make_draft: MakeDraft
) -> None:
    """Ours: revisions are immutable, and only the newest is found."""
    first = await store.record(make_draft("old words"))
    second = await store.record(make_draft("new words", id=first.id))
    await store.wait_indexed()
    assert (second.id, second.rev) == (first.id, 2)
    assert [hit.pack.rev for hit in await store.recall("words", limit=9)] == [2]
    assert (await store.get(first.id, rev=1)).goal == "old words"
    assert [pack.rev for pack in await store.find()] == [2]


async def test_recall_is_the_same_before_and_after_a_reindex(
    store: PackStore, make_draft: MakeDraft
) -> None:
    """Ours: whatever searches the vectors, SQL is the truth."""
    for number in range(6):
        await store.record(make_draft(f"goal {number}"))
    await store.wait_indexed()
    before = [hit.pack.id for hit in await store.recall("goal 3", limit=6)]
    assert (await store.reindex(), len(before)) == (6, 6)
    assert [hit.pack.id for hit in await store.recall("goal 3", limit=6)] == before


async def test_absent_and_foreign_are_the_same(store: PackStore, make_draft: MakeDraft) -> None:
    """Ours: another tenant's pack does not exist, by any verb."""
    theirs = await store.record(make_draft(tenant="theirs"))
    await store.wait_indexed()
    sentences = set()
    for wanted in (theirs.id, "01920000-0000-7000-8000-000000000000"):
        with pytest.raises(PackNotFoundError) as caught:
            await store.get(wanted, tenant="mine")
        sentences.add(str(caught.value).replace(wanted, "ID"))
    assert len(sentences) == 1
    assert await store.recall("post the invoice", tenant="mine") == []
    assert await store.find(tenant="mine") == []
    assert await store.stats(tenant="mine") == []
    assert await store.mark_used([theirs.id], tenant="mine") == 0


async def test_uses_are_counted_and_shown(store: PackStore, make_draft: MakeDraft) -> None:
    """Ours: recalled, used, and what became of it."""
    ref = await store.record(make_draft())
    await store.record(make_draft("next", recalled=(ref,), used=(ref,)))
    pack = await store.get(ref.id)
    assert (pack.recalled, pack.uses, pack.wins) == (1, 1, 1)
    (family,) = await store.stats()
    assert (family.recalled, family.used, family.with_packs.tasks) == (1, 1, 1)


@claim("goalfymax:reuse")
async def test_the_same_question_in_both_arms_says_whether_a_pack_helped(
    store: PackStore, make_draft: MakeDraft
) -> None:
    """Ours: passed with and failed without is help; the reverse is harm; equal is neither."""
    ref = await store.record(make_draft("the pack"))
    check = make_draft().checks[0]

    async def asked(goal: str, *, given: bool, passed: bool) -> None:
        from repertory.xp_store import Outcome, Verdict

        await store.record(
            make_draft(
                goal,
                recalled=(ref,) if given else (),
                withheld=() if given else (ref,),
                verdicts=(Verdict("sum", passed, "", check.digest),),
                outcome=Outcome("pass" if passed else "fail"),
            )
        )

    for goal, with_it, without in (("a", True, False), ("b", False, True), ("c", True, True)):
        await asked(goal, given=False, passed=without)
        await asked(goal, given=True, passed=with_it)
    await asked("d", given=True, passed=True)
    pack = await store.get(ref.id)
    assert (pack.recalled, pack.helped, pack.harmed) == (4, 1, 1)
    (family,) = await store.stats()
    assert (family.with_packs.passed, family.with_packs.tasks) == (3, 4)
    assert (family.without.passed, family.without.tasks) == (2, 3)
    gap = family.difference
    assert gap is not None
    assert gap[0] == pytest.approx(3 / 4 - 2 / 3)
    assert gap[1] < 0 < gap[2]


async def test_packs_move_between_stores(
    store: PackStore, make_draft: MakeDraft, tmp_path: Path
) -> None:
    """Ours: whatever holds a store, its bundles are the same."""
    await store.record(make_draft(rights=Rights(licence="CC-BY-4.0")))
    bundle = await export_packs(store, await store.find(), request=Request("export"))
    async with open_store(f"sqlite:///{tmp_path}/other.db", embedder=HashEmbedder(64)) as other:
        assert len((await import_packs(other, bundle.data, source="them")).ids) == 1
        assert [pack.status for pack in await other.find()] == ["quarantined"]


async def test_a_second_owner_of_an_index_is_refused_at_once(tmp_path: Path) -> None:
    """Ours: with its pid, instead of a hang; without the index it may read beside."""
    url = f"sqlite:///{tmp_path}/store.db"
    async with open_store(url, embedder=HashEmbedder(64), index=tmp_path / "index"):
        with pytest.raises(StoreOwnedError, match="belongs to process"):
            async with open_store(url, embedder=HashEmbedder(64), index=tmp_path / "index"):
                pass
        async with open_store(url, embedder=HashEmbedder(64)) as beside:
            assert await beside.count() == 0


async def test_another_engine_is_named_in_the_refusal(tmp_path: Path) -> None:
    """Ours: the password of a URL is not repeated."""
    with pytest.raises(StoreError, match="engine 'mysql' is not supported") as caught:
        async with open_store("mysql://ann:secret@localhost/x", embedder=HashEmbedder()):
            pass
    assert "secret" not in str(caught.value)
