"""The owner of the outbox: embeds new packs, keeps their vectors, tells the index, in this order.

One task runs `Indexer.run`. A row leaves the outbox only when all is done, and every
step may be done again, so whatever a kill interrupts is done at the next start. A
vector that is in SQL is never computed twice. When the index fails, packs still get
their vectors and stay findable by exact search; the failure is in `problem`.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeAlias

import anyio
import anyio.to_thread
import numpy as np

from . import postings
from .connection import Connection
from .crash_points import crash_point
from .database import Database
from .embedder import Embedder
from .errors import IndexUnavailableError, StoreError
from .fts5 import REBUILD_TEXT
from .index import VectorIndex, Vectors

_log = logging.getLogger("repertory.xp_store")
_BATCH = 256
_TEXT_LIMIT = 2000
_LINGER_SECONDS = 0.5
State: TypeAlias = Literal["absent", "asleep", "ready", "broken"]


@dataclass(frozen=True, slots=True)
class _Waiting:
    seq: int
    row: int
    tenant: str
    id: str
    text: str
    vector: bytes | None


async def embed_texts(embedder: Embedder, texts: Sequence[str]) -> Vectors:
    """Embed `texts`; whatever an embedder raises becomes a sentence of ours.

    Raises:
        StoreError: The embedder failed, or its answer has the wrong shape.
    """
    try:
        made = await embedder.embed(texts)
        vectors = np.ascontiguousarray(made, dtype=np.float32)
    except StoreError:
        raise
    except Exception as error:
        raise StoreError(f"the embedder {embedder.name} failed: {error}") from error
    if vectors.shape != (len(texts), embedder.dimensions):
        raise StoreError(
            f"the embedder {embedder.name} answered {vectors.shape} for {len(texts)} texts",
            shape=vectors.shape,
        )
    return vectors


class Indexer:
    """Drain the outbox of `database` into its vectors and into `index`, if there is one."""

    def __init__(self, database: Database, embedder: Embedder, index: VectorIndex | None) -> None:
        self.state: State = "absent" if index is None else "asleep"
        self.problem = ""
        self._database = database
        self._embedder = embedder
        self._index = index
        self._turn = anyio.Lock()
        self._news = anyio.Event()
        self._hurry = anyio.Event()
        self._round = anyio.Event()
        self._failure = ""
        self._index_wanted = False
        self._started = anyio.Event()

    def notify(self) -> None:
        """Say that the outbox may hold something; from the event loop's thread."""
        self._news.set()

    async def own(self) -> None:
        """Take the index, so that a second owner is refused before anything else happens.

        Raises:
            StoreOwnedError: Another process owns it.
        """
        if self._index is None:
            return
        try:
            await anyio.to_thread.run_sync(self._index.own)
        except IndexUnavailableError as error:
            self._broke(error)

    async def run(self) -> None:
        """Serve the outbox until cancelled."""
        model = self._embedder.name
        await self._database.transact(lambda connection: _queue_unembedded(connection, model))
        self._started.set()
        while True:
            self._news, self._hurry = anyio.Event(), anyio.Event()
            try:
                async with self._turn:
                    await self._drain()
                self._failure = ""
            except StoreError as error:
                # The packs are safe in SQL; whoever waits is told, and the next news tries again.
                self._failure = f"packs wait to be embedded: {error}"
                _log.warning(self._failure)
            done, self._round = self._round, anyio.Event()
            done.set()
            await self._news.wait()
            # One pack costs the index as much as a hundred, so a moment's packs go together.
            with anyio.move_on_after(_LINGER_SECONDS):
                await self._hurry.wait()

    async def wait_idle(self) -> None:
        """Wait until everything recorded before this call is searchable.

        Raises:
            StoreError: The embedder failed; the packs are kept and tried again later.
        """
        await self._started.wait()
        while await self._database.read(_waiting_count):
            finished = self._round
            self.notify()
            self._hurry.set()
            await finished.wait()
            if self._failure:
                raise StoreError(self._failure)

    async def nearest(self, tenant: str, vector: Vectors, limit: int) -> list[tuple[str, float]]:
        """Ask the index; nothing while it is absent, broken or not yet loaded."""
        if self._index is None or self.state != "ready":
            if self.state == "asleep":
                self._index_wanted = True
                self.notify()
            return []
        try:
            return await anyio.to_thread.run_sync(self._index.nearest, tenant, vector, limit)
        except IndexUnavailableError as error:
            self._broke(error)
            return []

    async def rebuild(self) -> int:
        """Make the index and the full text anew from SQL; returns the number of packs queued.

        Raises:
            IndexUnavailableError: The index cannot be made anew either.
        """
        async with self._turn:
            if self._index is not None:
                await anyio.to_thread.run_sync(self._index.clear, self._embedder.name)
                self.state, self.problem = "ready", ""
            crash_point("after-clear")
            queued = await self._database.transact(_queue_all)
            crash_point("after-rebuild")
        self.notify()
        return queued

    async def scrub(self) -> None:
        """Leave nothing in the index's files that is no vector of a pack.

        Raises:
            IndexUnavailableError: The index cannot be opened again.
        """
        if self._index is not None:
            async with self._turn:
                await anyio.to_thread.run_sync(self._index.scrub)

    async def aclose(self) -> None:
        """Let the index go; its own trouble at the end is nobody's."""
        if self._index is None:
            return
        with anyio.CancelScope(shield=True):
            try:
                await anyio.to_thread.run_sync(self._index.close)
            except IndexUnavailableError as error:
                self._broke(error)

    async def _open(self) -> None:
        # Loading Chroma costs seconds, so it waits for the first pack or the first wide question.
        if self._index is None or self.state != "asleep":
            return
        try:
            await anyio.to_thread.run_sync(self._index.open, self._embedder.name)
            await self._reconcile(self._index)
        except IndexUnavailableError as error:
            self._broke(error)
        else:
            self.state = "ready"

    async def _reconcile(self, index: VectorIndex) -> None:
        # Someone may have removed the index's folder, or a failure kept packs out of it.
        for tenant in await self._database.read(_tenants):
            known = await anyio.to_thread.run_sync(index.ids, tenant)
            await self._database.transact(partial(_queue_unknown, tenant=tenant, known=known))

    async def _drain(self) -> None:
        while True:
            waiting = await self._database.read(
                lambda connection: _waiting(connection, self._embedder.name)
            )
            if waiting:
                crash_point("before-vectors")
            vectors = await self._vectors(waiting)
            if waiting or self._index_wanted:
                await self._open()
            if not waiting:
                return
            await self._tell_index(waiting, vectors)
            await self._database.transact(partial(_strike, waiting=waiting))
            crash_point("after-outbox")

    async def _vectors(self, waiting: Sequence[_Waiting]) -> dict[int, Vectors]:
        vectors = {
            each.row: np.frombuffer(each.vector, dtype=np.float32)
            for each in waiting
            if each.vector is not None
        }
        new = {each.row: each.text for each in waiting if each.row not in vectors}
        if new:
            made = await embed_texts(self._embedder, list(new.values()))
            fresh = dict(zip(new, made, strict=True))
            rows = [(row, self._embedder.name, vector.tobytes()) for row, vector in fresh.items()]
            await self._database.transact(
                lambda connection: connection.executemany(
                    "INSERT INTO xp_vector (pack_row, model, vector)"
                    " SELECT row_id, ?2, ?3 FROM xp_pack WHERE row_id = ?1"
                    " ON CONFLICT (pack_row) DO UPDATE SET model = excluded.model,"
                    " vector = excluded.vector",
                    rows,
                )
            )
            crash_point("after-vectors")
            vectors |= fresh
        return vectors

    async def _tell_index(self, waiting: Sequence[_Waiting], vectors: dict[int, Vectors]) -> None:
        index = self._index
        if index is None or self.state != "ready":
            return
        by_tenant: dict[str, dict[str, Vectors]] = {}
        for each in waiting:
            by_tenant.setdefault(each.tenant, {})[each.id] = vectors[each.row]
        try:
            for tenant, found in by_tenant.items():
                await anyio.to_thread.run_sync(
                    index.upsert, tenant, list(found), np.stack(list(found.values()))
                )
        except IndexUnavailableError as error:
            self._broke(error)

    def _broke(self, error: IndexUnavailableError) -> None:
        self.state, self.problem = "broken", str(error)
        _log.warning(self.problem)


def _waiting_count(connection: Connection) -> int:
    count: int = connection.execute("SELECT count(*) FROM xp_outbox").fetchone()[0]
    return count


def _waiting(connection: Connection, model: str) -> list[_Waiting]:
    rows = connection.execute(
        "SELECT o.seq, p.row_id, p.tenant, p.id, substr(p.goal || ? || p.situation, 1,"
        f" {_TEXT_LIMIT}), v.vector FROM xp_outbox o JOIN xp_pack p ON p.row_id = o.pack_row"
        " LEFT JOIN xp_vector v ON v.pack_row = p.row_id AND v.model = ?"
        " ORDER BY o.seq LIMIT ?",
        ("\n", model, _BATCH),
    )
    return [_Waiting(*row) for row in rows]


def _strike(connection: Connection, waiting: Sequence[_Waiting]) -> None:
    connection.executemany("DELETE FROM xp_outbox WHERE seq = ?", [(each.seq,) for each in waiting])
    crash_point("in-outbox")


def _tenants(connection: Connection) -> list[str]:
    return [row[0] for row in connection.execute("SELECT DISTINCT tenant FROM xp_pack")]


def _queue_unembedded(connection: Connection, model: str) -> None:
    connection.execute(
        "INSERT INTO xp_outbox (pack_row, tenant)"
        " SELECT row_id, tenant FROM xp_pack p WHERE p.current = 1"
        " AND NOT EXISTS (SELECT 1 FROM xp_vector v WHERE v.pack_row = p.row_id AND v.model = ?)"
        " AND NOT EXISTS (SELECT 1 FROM xp_outbox o WHERE o.pack_row = p.row_id)",
        (model,),
    )


def _queue_unknown(connection: Connection, tenant: str, known: set[str]) -> None:
    rows = connection.execute(
        "SELECT row_id, id FROM xp_pack WHERE tenant = ? AND current = 1"
        " AND row_id NOT IN (SELECT pack_row FROM xp_outbox)",
        (tenant,),
    ).fetchall()
    connection.executemany(
        "INSERT INTO xp_outbox (pack_row, tenant) VALUES (?, ?)",
        [(row, tenant) for row, pack in rows if pack not in known],
    )


def _queue_all(connection: Connection) -> int:
    if connection.dialect.engine == "sqlite":
        for statement in REBUILD_TEXT:
            connection.execute(statement)
    else:
        postings.rebuild(connection)
    connection.execute("DELETE FROM xp_outbox")
    queued = connection.execute(
        "INSERT INTO xp_outbox (pack_row, tenant)"
        " SELECT row_id, tenant FROM xp_pack WHERE current = 1"
    ).rowcount
    crash_point("in-rebuild")
    return queued
