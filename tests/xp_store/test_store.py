"""The store: what is recorded becomes searchable, whatever is killed or broken between."""

import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from repertory.xp_store import (
    Database,
    Floor,
    HashEmbedder,
    MemoryIndex,
    PackDraft,
    PackNotFoundError,
    PackStore,
    StoreOwnedError,
    open_database,
    open_pack_store,
)

MakeDraft = Callable[..., PackDraft]
OpenStore = Callable[..., AbstractAsyncContextManager[PackStore]]
ANYTHING = Floor(cosine=-1.0, overlap=0.0)

# A process that records five packs and kills itself at a named point of the outbox's way.
KILLED = """
import os, signal, sys
from pathlib import Path
import anyio
from repertory.xp_store import ChromaIndex, HashEmbedder, PackDraft, open_database, open_pack_store

folder, point = Path(sys.argv[1]), sys.argv[2]

def die():
    os.kill(os.getpid(), signal.SIGKILL)

class Index(ChromaIndex):
    def upsert(self, tenant, ids, vectors):
        if point == "before the index":
            die()
        super().upsert(tenant, ids, vectors)
        if point == "after the index":
            die()

class Embedder(HashEmbedder):
    async def embed(self, texts):
        if point == "before the vectors":
            die()
        return await super().embed(texts)

async def main():
    async with open_database(f"sqlite:///{folder}/store.db") as database:
        async with open_pack_store(
            database, embedder=Embedder(64), index=Index(folder / "index")
        ) as store:
            units = [store.unit(PackDraft("default", "me", f"goal {n}")) for n in range(5)]
            # In one transaction: the outbox has all of them or none.
            await database.transact(lambda connection: [unit(connection) for unit in units])
            store.wake()
            await store.wait_indexed()

anyio.run(main)
"""


async def ids_in(store: PackStore, query: str = "goal") -> set[str]:
    """Every pack that a question finds."""
    return {hit.pack.id for hit in await store.recall(query, limit=50)}


@pytest.mark.both_engines
@pytest.mark.slow
@pytest.mark.parametrize("point", ["before the vectors", "before the index", "after the index"])
async def test_a_kill_between_sql_and_the_index_loses_nothing(tmp_path: Path, point: str) -> None:
    """Ours: the outbox row leaves only when the index knows, and everything may be repeated."""
    killed = await anyio.run_process(
        [sys.executable, "-c", KILLED, str(tmp_path), point], check=False
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    async with (
        open_database(f"sqlite:///{tmp_path}/store.db") as database,
        open_pack_store(
            database,
            embedder=HashEmbedder(64),
            index=tmp_path / "index",
            floor=ANYTHING,
            exact_limit=0,
        ) as store,
    ):
        await store.wait_indexed()
        assert store.index_state == "ready"
        recorded = {pack.id for pack in await store.find()}
        assert len(recorded) == 5
        assert await ids_in(store) == recorded
        assert await anyio.to_thread.run_sync(store._indexer._index.ids, "default") == recorded  # type: ignore[union-attr]  # what Chroma itself knows


@pytest.mark.both_engines
async def test_reindexing_finds_the_same_packs(
    open_store: OpenStore, make_draft: MakeDraft, tmp_path: Path
) -> None:
    """Ours: the index is rebuilt from SQL by one call."""
    async with open_store(index=tmp_path / "index", floor=ANYTHING, exact_limit=0) as store:
        for number in range(7):
            await store.record(make_draft(f"goal {number}", tenant="default"))
        await store.wait_indexed()
        before = await ids_in(store)
        assert await store.reindex() == 7
        assert (await ids_in(store), store.index_state) == (before, "ready")
    assert len(before) == 7


@pytest.mark.both_engines
@pytest.mark.parametrize("damage", ["removed", "broken"])
async def test_without_its_index_the_store_still_finds_and_can_be_mended(
    open_store: OpenStore, make_draft: MakeDraft, tmp_path: Path, damage: str
) -> None:
    """Ours: SQL is the truth; a lost index heals by itself, a broken one by a reindex."""
    folder = tmp_path / "index"
    options: dict[str, Any] = {"index": folder, "floor": ANYTHING, "exact_limit": 0}
    async with open_store(**options) as store:
        for number in range(4):
            await store.record(make_draft(f"goal {number}"))
        await store.wait_indexed()
        before = await ids_in(store)
    await anyio.to_thread.run_sync(shutil.rmtree, folder)
    if damage == "broken":
        await anyio.Path(folder / "000001").mkdir(parents=True)
        await anyio.Path(folder / "000001" / "chroma.sqlite3").write_bytes(b"no database" * 999)
    async with open_store(**options) as store:
        await store.record(make_draft("goal 4"))
        await store.wait_indexed()
        assert store.index_state == ("ready" if damage == "removed" else "broken")
        assert await ids_in(store) > before
        await store.reindex()
        assert (store.index_state, store.index_problem) == ("ready", "")
        assert len(await ids_in(store)) == 5


@pytest.mark.both_engines
async def test_a_second_store_on_the_same_folder_is_refused(
    open_store: OpenStore, tmp_path: Path
) -> None:
    """Ours: one process owns the index; without one, reading beside it is allowed."""
    async with open_store(index=tmp_path / "index"):
        with pytest.raises(StoreOwnedError, match="belongs to process"):
            async with open_store(index=tmp_path / "index"):
                pass
        async with open_store() as reader:
            assert await reader.count() == 0


@pytest.mark.both_engines
async def test_chroma_is_not_loaded_before_it_is_needed(tmp_path: Path) -> None:
    """Ours: loading Chroma costs seconds that a question to few packs need not pay."""
    code = (
        "import sys, anyio\n"
        "from repertory.xp_store import HashEmbedder, open_database, open_pack_store\n"
        "async def main():\n"
        "    async with open_database('sqlite:///' + sys.argv[1] + '/s.db') as database:\n"
        "        async with open_pack_store(database, embedder=HashEmbedder(),"
        " index=sys.argv[1] + '/i') as store:\n"
        "            await store.wait_indexed()\n"
        "            print(await store.recall('anything'), store.index_state,"
        " 'chromadb' in sys.modules)\n"
        "anyio.run(main)\n"
    )
    done = await anyio.run_process([sys.executable, "-c", code, str(tmp_path)])
    assert done.stdout == b"[] asleep False\n"


@pytest.mark.both_engines
async def test_a_new_embedding_model_embeds_everything_anew(
    open_store: OpenStore, make_draft: MakeDraft
) -> None:
    """Ours: vectors of two models are never compared."""
    index = MemoryIndex()
    async with open_store(index=index) as store:
        await store.record(make_draft())
        await store.wait_indexed()
    async with open_store(index=index, embedder=HashEmbedder(32)) as store:
        await store.wait_indexed()
        hits = await store.recall("post the invoice of Acme two lines in euro")
    assert hits[0].reasons.cosine == pytest.approx(1.0, abs=0.2)
    assert index.nearest("default", (await HashEmbedder(32).embed(["x"]))[0], 1)


@pytest.mark.both_engines
async def test_packs_recorded_elsewhere_are_embedded_when_the_store_is_woken(
    store: PackStore, database: Database, make_draft: MakeDraft
) -> None:
    """Ours: the runtime writes packs in its own transactions."""
    await database.transact(store.unit(make_draft()))
    store.wake()
    await store.wait_indexed()
    hits = await store.recall("post the invoice of Acme")
    assert hits[0].reasons.cosine is not None


@pytest.mark.both_engines
async def test_an_embedder_that_comes_back_catches_up(
    open_store: OpenStore, make_draft: MakeDraft
) -> None:
    """Ours: what could not be embedded waits, and is not lost."""

    class Flaky(HashEmbedder):
        fails = True

        async def embed(self, texts: Sequence[str]) -> Any:
            if self.fails:
                raise OSError("away")
            return await super().embed(texts)

    embedder = Flaky()
    async with open_store(embedder=embedder) as store:
        await store.record(make_draft())
        with pytest.raises(Exception, match="away"):
            await store.wait_indexed()
        embedder.fails = False
        await store.wait_indexed()
        hits = await store.recall("post the invoice of Acme")
    assert hits[0].reasons.cosine is not None


@pytest.mark.both_engines
async def test_absent_and_foreign_packs_answer_alike(
    store: PackStore, make_draft: MakeDraft
) -> None:
    """Ours: what another tenant has cannot be told from what is not there."""
    ref = await store.record(make_draft(tenant="theirs"))
    sentences = set()
    for wanted in (ref.id, "absent"):
        with pytest.raises(PackNotFoundError) as caught:
            await store.get(wanted)
        sentences.add(str(caught.value).replace(wanted, "ID"))
    assert len(sentences) == 1


@pytest.mark.both_engines
async def test_packs_are_listed_newest_first(store: PackStore, make_draft: MakeDraft) -> None:
    """Ours: without any ranking."""
    for number in range(3):
        await store.record(make_draft(f"goal {number}", family=f"family {number % 2}"))
    assert [pack.goal for pack in await store.find()] == ["goal 2", "goal 1", "goal 0"]
    assert [pack.goal for pack in await store.find(family="family 0", limit=1)] == ["goal 2"]
    assert await store.find(kinds=["rule"]) == []
    assert len(await store.find(status=["candidate"])) == 3


@pytest.mark.both_engines
async def test_an_error_in_the_block_is_raised_as_it_is(open_store: OpenStore) -> None:
    """Ours: the owner's task group wraps nobody else's errors."""
    with pytest.raises(PackNotFoundError):
        async with open_store() as store:
            await store.get("absent")
