"""Recall: find packs by words and by meaning, after SQL has said which may be found at all.

Two arms look at the same filtered packs. Words: FTS5's BM25 over goal, situation and
claims, with the query's very common terms dropped, since they cost most and say
least. Meaning: cosines with the vectors kept beside the rows, exact while the filtered
set is small, otherwise through the index, overfetched, filtered in SQL, and exact after
all when the filter ate the hits. The arms are fused by reciprocal rank, k = 60
(`Hit.score` is that sum over its greatest possible value).

Ranks say which pack is nearest, not whether it is near. So a pack must also show
evidence: a cosine or an overlap of informative words above a floor. With none above
it, recall returns nothing.
"""

import math
import re
import sqlite3
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import orjson

from .hits import Hit, Reasons
from .index import Vectors
from .tables import PACK_COLUMNS, Pack, from_row
from .vectors import Rows, VectorCache

K = 60
ARM_LIMIT = 50
EXACT_LIMIT = 20_000
_MARGIN = 0.2
_MIN_OVERLAP = 0.5
_FEW = 16
_MAX_TERMS = 12
_MAX_POSTINGS = 5_000
_COMMON_SHARE = 0.2
_COMMON_FROM = 100
_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True, slots=True)
class Floor:
    """The evidence a pack must show: this cosine, or this share of the query's information."""

    cosine: float
    overlap: float


def floor_of(min_cosine: float) -> Floor:
    """The floor that suits an embedder, which knows above what cosine two texts are related.

    Recall sees the nearest of many packs, so a stranger has many chances to look
    near, and the bar stands above the embedder's own for a single pair. Measured on
    288 generated task descriptions of eight kinds that share names and numbers, with
    MiniLM (0.3): a bar of 0.5 finds a pack of the same wording for every query and a
    paraphrase for 59 of 100, and answers 44 of 100 queries whose kind is not stored
    at all; a bar of 0.4 does 92 and 75, one of 0.55 does 54 and 20.
    """
    return Floor(min_cosine + _MARGIN, _MIN_OVERLAP)


@dataclass(frozen=True, slots=True)
class Scope:
    """Which packs may be found; every clause is put to SQL before anything is ranked."""

    tenant: str
    at: str
    status: tuple[str, ...]
    family: str | None = None
    kinds: tuple[str, ...] | None = None

    def where(self) -> tuple[str, list[str]]:
        """The clause over `xp_pack p`, and its values."""
        clauses = [
            "p.tenant = ? AND p.current = 1",
            f"p.status IN ({_marks(self.status)})",
            "p.valid_from <= ? AND (p.valid_to IS NULL OR p.valid_to > ?)",
        ]
        values = [self.tenant, *self.status, self.at, self.at]
        if self.family is not None:
            clauses.append("p.family = ?")
            values.append(self.family)
        if self.kinds is not None:
            clauses.append(f"p.kind IN ({_marks(self.kinds)})")
            values.extend(self.kinds)
        return " AND ".join(clauses), values


@dataclass(frozen=True, slots=True)
class Term:
    """A word of the query: in how many packs it occurs, and what knowing it tells."""

    word: str
    packs: int
    weight: float


@dataclass(frozen=True, slots=True)
class Arms:
    """What the arms found, by row; `cosines` is None when the index must be asked."""

    terms: tuple[Term, ...]
    text: dict[int, float]
    cosines: dict[int, float] | None


def words(text: str) -> list[str]:
    """The words of a text as FTS5's unicode61 sees them: folded, without diacritics, once each."""
    if not text.isascii():
        spread = unicodedata.normalize("NFKD", text)
        text = "".join(each for each in spread if not unicodedata.combining(each))
    return list(dict.fromkeys(_WORD.findall(text.lower())))


def search(
    connection: sqlite3.Connection,
    query: str,
    vector: Vectors | None,
    cache: VectorCache,
    scope: Scope,
    exact_limit: int,
) -> Arms:
    """Run the arms that SQL alone can: words always, meaning while the set is small."""
    terms = _terms(connection, query)
    text = _by_words(connection, terms, scope)
    if vector is None:
        return Arms(terms, text, {})
    rows = _within(connection, scope, exact_limit + 1)
    if len(rows) > exact_limit:
        return Arms(terms, text, None)
    return Arms(terms, text, _nearest(connection, rows, vector, cache))


def exact(
    connection: sqlite3.Connection, vector: Vectors, cache: VectorCache, scope: Scope
) -> dict[int, float]:
    """The nearest of all packs in scope, scored one by one."""
    return _nearest(connection, _within(connection, scope, -1), vector, cache)


def _within(connection: sqlite3.Connection, scope: Scope, limit: int) -> Rows:
    where, values = scope.where()
    cursor = connection.execute(
        f"SELECT p.row_id FROM xp_pack p WHERE {where} LIMIT ?", (*values, limit)
    )
    return np.fromiter((row for (row,) in cursor), dtype=np.int64)


def _nearest(
    connection: sqlite3.Connection, rows: Rows, vector: Vectors, cache: VectorCache
) -> dict[int, float]:
    found, cosines = cache.cosines(connection, rows, vector)
    if len(found) > ARM_LIMIT:
        top = np.argpartition(-cosines, ARM_LIMIT - 1)[:ARM_LIMIT]
        found, cosines = found[top], cosines[top]
    return dict(zip(found.tolist(), cosines.tolist(), strict=True))


def admit(
    connection: sqlite3.Connection, found: Sequence[tuple[str, float]], scope: Scope
) -> dict[int, float]:
    """Filter what the index found: the rows of those packs that are in scope, nearest first."""
    where, values = scope.where()
    rows: dict[str, int] = {}
    ids = [each for each, _ in found]
    for start in range(0, len(ids), 500):
        some = ids[start : start + 500]
        rows.update(
            connection.execute(
                f"SELECT p.id, p.row_id FROM xp_pack p WHERE p.id IN ({_marks(some)}) AND {where}",
                (*some, *values),
            )
        )
    kept = [(rows[each], cosine) for each, cosine in found if each in rows]
    return dict(kept[:ARM_LIMIT])


def fuse(
    connection: sqlite3.Connection,
    arms: Arms,
    cosines: dict[int, float],
    vector: Vectors | None,
    cache: VectorCache,
    *,
    floor: Floor,
    limit: int,
    min_score: float,
) -> list[Hit]:
    """Join the arms by reciprocal rank, ask each pack for its evidence, and give reasons."""
    ranks = (_ranks(arms.text), _ranks(cosines))
    fused = {
        row: sum(1.0 / (K + ranked[row]) for ranked in ranks if row in ranked)
        for row in ranks[0] | ranks[1]
    }
    trust = _trust(connection, list(fused))
    best = sorted(trust, key=lambda row: (-fused[row], -trust[row], row))
    best = [row for row in best if fused[row] * (K + 1) / 2 >= min_score]
    chosen: dict[int, _Evidence] = {}
    # Most questions are answered by the first few, so texts are read a few at a time.
    for start in range(0, len(best), _FEW):
        for row, evidence in _evidence(
            connection, best[start : start + _FEW], arms.terms, cosines, vector, cache
        ):
            if len(chosen) < limit and evidence.suffices(floor):
                chosen[row] = evidence
        if len(chosen) == limit:
            break
    packs = {pack.row_id: pack for pack in load_packs(connection, list(chosen))}
    return [
        Hit(
            packs[row],
            fused[row] * (K + 1) / 2,
            Reasons(
                text_rank=ranks[0].get(row),
                vector_rank=ranks[1].get(row),
                matched=evidence.matched,
                overlap=evidence.overlap,
                cosine=evidence.cosine,
                fused=fused[row],
                trust=trust[row],
                valid_from=packs[row].valid_from.isoformat(),
                valid_to=_iso(packs[row].valid_to),
            ),
        )
        for row, evidence in chosen.items()
    ]


@dataclass(frozen=True, slots=True)
class _Evidence:
    matched: tuple[str, ...]
    overlap: float
    cosine: float | None

    def suffices(self, floor: Floor) -> bool:
        near = self.cosine is not None and self.cosine >= floor.cosine
        return near or self.overlap >= floor.overlap


def _evidence(
    connection: sqlite3.Connection,
    rows: Sequence[int],
    terms: Sequence[Term],
    cosines: dict[int, float],
    vector: Vectors | None,
    cache: VectorCache,
) -> Iterator[tuple[int, _Evidence]]:
    known = dict(cosines)
    unknown = [row for row in rows if row not in known]
    if vector is not None and unknown:
        numbers, found = cache.cosines(connection, np.array(unknown, dtype=np.int64), vector)
        known |= dict(zip(numbers.tolist(), found.tolist(), strict=True))
    total = sum(term.weight for term in terms)
    texts = _texts(connection, rows)
    for row in rows:
        held = set(words(texts[row]))
        matched = [term for term in terms if term.word in held]
        overlap = sum(term.weight for term in matched) / total if total else 0.0
        yield row, _Evidence(tuple(term.word for term in matched), overlap, known.get(row))


def _texts(connection: sqlite3.Connection, rows: Sequence[int]) -> dict[int, str]:
    found = connection.execute(
        f"SELECT row_id, goal, situation, why FROM xp_pack WHERE row_id IN ({_marks(rows)})", rows
    )
    return {
        row: "\n".join([goal, situation, *(claim["text"] for claim in orjson.loads(why))])
        for row, goal, situation, why in found
    }


def _trust(connection: sqlite3.Connection, rows: Sequence[int]) -> dict[int, float]:
    return dict(
        connection.execute(
            "SELECT row_id, trust_a / (trust_a + trust_b) FROM xp_pack"
            f" WHERE row_id IN ({_marks(rows)})",
            rows,
        )
    )


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _ranks(scores: dict[int, float]) -> dict[int, int]:
    # Equals share a rank, so that trust can decide between them.
    ranks: dict[int, int] = {}
    rank, last = 0, None
    for place, row in enumerate(sorted(scores, key=lambda row: -scores[row]), start=1):
        score = round(scores[row], 6)
        if score != last:
            rank, last = place, score
        ranks[row] = rank
    return ranks


def load_packs(connection: sqlite3.Connection, rows: Sequence[int]) -> list[Pack]:
    """The packs of these rows, in no order."""
    cursor = connection.execute(
        f"SELECT {', '.join(PACK_COLUMNS)} FROM xp_pack WHERE row_id IN ({_marks(rows)})", rows
    )
    return [from_row(Pack, row) for row in cursor]


def _terms(connection: sqlite3.Connection, query: str) -> tuple[Term, ...]:
    packs = connection.execute("SELECT coalesce(max(row_id), 0) FROM xp_pack").fetchone()[0]
    terms: list[Term] = []
    for word in words(query)[:200]:
        found = connection.execute(
            "SELECT doc FROM xp_fts_terms WHERE term = ?", (word,)
        ).fetchone()
        holding = 0 if found is None else found[0]
        weight = math.log(1.0 + (max(packs, holding) - holding + 0.5) / (holding + 0.5))
        terms.append(Term(word, holding, weight))
    return tuple(sorted(terms, key=lambda term: -term.weight))


def _by_words(
    connection: sqlite3.Connection, terms: Sequence[Term], scope: Scope
) -> dict[int, float]:
    asked = _telling(terms, connection)
    if not asked:
        return {}
    where, values = scope.where()
    match = " OR ".join(f'"{term.word}"' for term in asked)
    return dict(
        connection.execute(
            "SELECT p.row_id, -bm25(xp_fts, 3.0, 2.0, 1.0) AS fit"
            " FROM xp_fts JOIN xp_pack p ON p.row_id = xp_fts.rowid"
            f" WHERE xp_fts MATCH ? AND {where} ORDER BY fit DESC, p.row_id LIMIT ?",
            (match, *values, ARM_LIMIT),
        )
    )


def _telling(terms: Sequence[Term], connection: sqlite3.Connection) -> list[Term]:
    # Rarest first, until the terms are many or would visit too many packs; the rarest always.
    packs = connection.execute("SELECT coalesce(max(row_id), 0) FROM xp_pack").fetchone()[0]
    chosen: list[Term] = []
    visited = 0
    for term in (each for each in terms if each.packs):
        visited += term.packs
        common = packs >= _COMMON_FROM and term.packs > packs * _COMMON_SHARE
        if chosen and (common or visited > _MAX_POSTINGS or len(chosen) == _MAX_TERMS):
            break
        chosen.append(term)
    return chosen


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))
