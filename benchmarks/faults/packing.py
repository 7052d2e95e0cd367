"""The owner of a vector index, in a process of its own: looks whether all is there, then records packs.

    packing.main() with the arguments FOLDER ROUND PACKS

It says what it does on its standard output, one line of JSON each, and writes the ids that it
finds in SQL and in the index into FOLDER. It ends only by being killed.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import Any

import anyio
import anyio.to_thread
import numpy as np
from numpy.typing import NDArray

from repertory.xp_store import (
    ChromaIndex,
    HashEmbedder,
    PackDraft,
    PackStore,
    open_database,
    open_pack_store,
)

TENANT = "default"
_FILL, _BATCH = 250, 50
# What one life records, so that thirty lives do not double what there is.
_BATCHES = 2
_ASKED = 20


def say(what: str, **facts: Any) -> None:
    """Tell the driver."""
    sys.stdout.write(json.dumps({"what": what, **facts}) + "\n")
    sys.stdout.flush()


class Index(ChromaIndex):
    """Chroma, which says when it is being written to."""

    def upsert(self, tenant: str, ids: Sequence[str], vectors: NDArray[np.float32]) -> None:
        say("upserting", packs=len(ids))
        super().upsert(tenant, ids, vectors)
        say("upserted")


def main() -> None:
    folder, number, packs = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    anyio.run(_work, folder, number, packs)


async def _work(folder: Path, number: int, packs: int) -> None:
    began = monotonic()
    index = Index(folder / "index")
    async with (
        open_database(f"sqlite:///{folder}/packs.db") as database,
        # Every question goes to the index, however few packs there are.
        open_pack_store(database, embedder=HashEmbedder(64), index=index, exact_limit=0) as store,
    ):
        if number:
            await _look(store, index, folder, number, began)
        recorded = await store.count()
        batch, until = (_BATCH, recorded + _BATCHES * _BATCH) if number else (_FILL, packs)
        while recorded < until:
            drafts = [_draft(number, recorded + each) for each in range(batch)]
            units = [store.unit(draft) for draft in drafts]
            refs = await database.transact(lambda c: [unit(c) for unit in units])  # noqa: B023 - it is over before the next
            recorded += len(refs)
            say("recorded", ids=[ref.id for ref in refs])
            store.wake()
        await store.wait_indexed()
        say("full")
        await anyio.sleep_forever()


def _draft(number: int, each: int) -> PackDraft:
    # Words that no other pack has, so that its own question has one best answer.
    words = " ".join(f"w{number}x{each}x{word}" for word in range(6))
    return PackDraft(TENANT, "me", words)


async def _look(store: PackStore, index: Index, folder: Path, number: int, began: float) -> None:
    """Say what is there, once every pack can be found by the index."""
    rebuilt = False
    await store.recall("is anything there")
    with anyio.fail_after(60):
        while store.index_state == "asleep":  # noqa: ASYNC110 - it is loaded when it is first needed
            await anyio.sleep(0.01)
        if store.index_state == "broken":
            say("broken", problem=store.index_problem)
            rebuilt = True
            await store.reindex()
        await store.wait_indexed()
    packs = await store.find(limit=1_000_000)
    (folder / f"sql-{number}.json").write_text(json.dumps([pack.id for pack in packs]))
    known = await anyio.to_thread.run_sync(index.ids, TENANT)
    (folder / f"index-{number}.json").write_text(json.dumps(sorted(known)))
    step = max(1, len(packs) // _ASKED)
    wrong = []
    for pack in packs[::step]:
        hits = await store.recall(pack.goal, limit=1, status=("candidate", "stable"))
        if [hit.pack.id for hit in hits] != [pack.id]:
            wrong.append(pack.id)
    asked = len(packs[::step])
    say(
        "looked",
        seconds=monotonic() - began,
        packs=len(packs),
        asked=asked,
        wrong=wrong,
        rebuilt=rebuilt,
        state=store.index_state,
    )
