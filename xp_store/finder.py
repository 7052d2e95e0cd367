"""Recall from a question to an answer: which way the vectors are searched, and what is said of it.

A small filtered set is scored exactly on the vectors beside the rows. A large one goes
to the index, overfetched, and what comes back is filtered, nearest first, so the first
of those kept are the nearest of the set; when too few remain, the index is asked for
more, and in the end the set is scored exactly after all. So it is while the index has
not shown that it finds what exact search finds (`audit`): on vectors without any
structure an approximate index finds half of it.
"""

import logging
from collections.abc import Sequence
from functools import partial

import numpy as np

from . import recall as arms
from .audit import Audit
from .bm25 import Corpora
from .connection import Connection
from .database import Database
from .embedder import Embedder
from .errors import StoreError
from .floor import Floor
from .fusion import Wants, fuse
from .hits import Candidate, Hit, Recall
from .index import Vectors
from .members import Members
from .outbox import Indexer, embed_texts
from .scope import Rows, Scope, among, marks
from .trust import TrustRule
from .vectors import VectorCache

_FIRST_ASKED = 100
_MOST_ASKED = 1000
_ENOUGH = 20
_HELD = 10
_NAMED = 500
_log = logging.getLogger("repertory.xp_store")


class Finder:
    """Answers questions of one store."""

    def __init__(
        self,
        database: Database,
        embedder: Embedder,
        indexer: Indexer,
        cache: VectorCache,
        *,
        floor: Floor,
        exact_limit: int,
        rule: TrustRule,
    ) -> None:
        self._database = database
        self._embedder = embedder
        self._indexer = indexer
        self._cache = cache
        self._floor = floor
        self._exact_limit = exact_limit
        self._rule = rule
        self._members = Members()
        self._corpora = Corpora(self._members)
        self._audit = Audit()

    def forget(self) -> None:
        """Drop all that is remembered of the packs."""
        self._corpora.clear()
        self._members.clear()
        self._audit.clear()
        self._cache.clear()

    async def find(self, query: str, scope: Scope, wants: Wants) -> Recall:
        """The packs in `scope` that fit `query`, and how they were found."""
        vector = await self._vector(query)

        def join(
            connection: Connection,
            found: arms.Arms,
            cosines: dict[int, float],
            allowed: Scope,
        ) -> tuple[list[Hit], list[Candidate]]:
            return fuse(
                connection,
                found,
                cosines,
                vector,
                self._cache,
                self._floor,
                wants,
                self._rule,
                allowed,
            )

        def search(
            connection: Connection,
        ) -> tuple[Scope, arms.Arms, tuple[list[Hit], list[Candidate]] | None]:
            allowed = scope.resolved(connection)
            found = self._search(connection, query, vector, allowed)
            if found.cosines is None:
                return allowed, found, None
            return allowed, found, join(connection, found, found.cosines, allowed)

        allowed, found, answer = await self._database.read(search)
        if answer is not None:
            how = _said(found.rows, vector)
            await self._held_against(vector, allowed, found)
        else:
            assert vector is not None, "only a vector is asked for in the index"
            cosines, how = await self._from_index(vector, allowed, found.rows, wants.limit)
            answer = await self._database.read(
                partial(join, found=found, cosines=cosines, allowed=allowed)
            )
        hits, considered = answer
        return Recall(
            tuple(hits),
            query,
            tuple((term.word, term.packs, term.asked) for term in found.terms),
            how,
            tuple(considered),
            self._floor,
            _why_nothing(hits, considered, self._floor),
        )

    def _search(
        self,
        connection: Connection,
        query: str,
        vector: Vectors | None,
        scope: Scope,
    ) -> arms.Arms:
        corpus = self._corpora.of(connection, scope.tenant)
        terms = arms.terms_of(connection, query, corpus)
        rows = self._members.rows(connection, scope)
        text = arms.by_words(connection, terms, corpus, rows)
        if vector is None:
            return arms.Arms(terms, rows, text, {})
        if len(rows) > self._exact_limit and self._audit.serves(scope.tenant):
            return arms.Arms(terms, rows, text, None)
        return arms.Arms(terms, rows, text, arms.nearest(connection, rows, vector, self._cache))

    async def _held_against(self, vector: Vectors | None, scope: Scope, found: arms.Arms) -> None:
        """Hold the index against an exact answer, where that is due."""
        exact, tenant = found.cosines, scope.tenant
        wide = len(found.rows) > self._exact_limit
        if vector is None or not exact or not wide or not self._audit.due(tenant):
            return
        near = await self._indexer.nearest(tenant, vector, _FIRST_ASKED)
        if not near:
            return
        kept = await self._database.read(partial(_kept, near=near, rows=found.rows))
        # Beyond its last answer the index was not asked.
        nearest = [row for row, cosine in list(exact.items())[:_HELD] if cosine >= near[-1][1]]
        if nearest:
            self._audit.note(tenant, sum(row in kept for row in nearest) / len(nearest))

    async def _from_index(
        self, vector: Vectors, scope: Scope, rows: Rows, limit: int
    ) -> tuple[dict[int, float], str]:
        needed = max(limit, _ENOUGH)
        asked = _FIRST_ASKED
        while True:
            near = await self._indexer.nearest(scope.tenant, vector, asked)
            kept = await self._database.read(partial(_kept, near=near, rows=rows))
            everything = len(near) < asked
            if near and (len(kept) >= needed or (everything and len(kept) == len(near))):
                first = dict(list(kept.items())[: arms.ARM_LIMIT])
                return first, f"the index gave {len(near)}, of which {len(kept)} pass the filter"
            if everything or asked == _MOST_ASKED:
                break
            share = max(len(kept), 1) / len(near)
            asked = min(_MOST_ASKED, max(2 * asked, round(1.5 * needed / share)))
        # The filter ate the index's answers, or there was no index to ask.
        cosines = await self._database.read(
            lambda connection: arms.nearest(connection, rows, vector, self._cache)
        )
        told = "too few pass the filter" if near else "the index gave nothing"
        return cosines, f"every pack in scope was scored, since {told}"

    async def _vector(self, query: str) -> Vectors | None:
        if not query.strip():
            return None
        try:
            made = await embed_texts(self._embedder, [query])
        except StoreError as error:
            _log.warning("recall goes on by words alone: %s", error)
            return None
        vector: Vectors = made[0]
        return vector


def _kept(
    connection: Connection, near: Sequence[tuple[str, float]], rows: Rows
) -> dict[int, float]:
    """Of the packs that the index named, nearest first, those whose newest revision is in `rows`."""
    numbers: dict[str, int] = {}
    for start in range(0, len(near), _NAMED):
        some = [each for each, _ in near[start : start + _NAMED]]
        # From the index of ids alone; whether they are in scope is known already.
        found = connection.execute(
            f"SELECT id, row_id FROM xp_pack WHERE id IN ({marks(some)})", some
        ).fetchall()
        inside = among(np.array([row for _, row in found], dtype=np.int64), rows)
        numbers |= {each: row for (each, row), held in zip(found, inside, strict=True) if held}
    return {numbers[each]: cosine for each, cosine in near if each in numbers}


def _said(rows: Rows, vector: Vectors | None) -> str:
    if vector is None:
        return "by words alone: the question could not be embedded"
    return f"all {len(rows)} packs in scope were scored"


def _why_nothing(hits: list[Hit], considered: list[Candidate], floor: Floor) -> str:
    if hits:
        return ""
    if not considered:
        return "nothing in scope shares a word or a meaning with this"
    if all(each.fate != "no evidence" for each in considered):
        return "what fits does not fit into the budget, or scores too low"
    near = max((each.reasons.cosine or 0.0 for each in considered), default=0.0)
    overlap = max((each.reasons.overlap for each in considered), default=0.0)
    return (
        f"nothing here supports this: the nearest of {len(considered)} has a cosine of {near:.2f}"
        f" (needed: {floor.cosine:.2f}) and the most words shared tell {overlap:.0%} of the"
        f" question (needed: {floor.overlap:.0%})"
    )
