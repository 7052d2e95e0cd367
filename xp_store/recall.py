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
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import orjson

from .hits import Hit, Reasons
from .index import Vectors
from .tables import PACK_COLUMNS, Pack, from_row

K = 60
ARM_LIMIT = 50
EXACT_LIMIT = 20_000
_MARGIN = 0.2
_MIN_OVERLAP = 0.5
_CHUNK = 4096
_MAX_TERMS = 12
_MAX_POSTINGS = 20_000
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
    model: str,
    scope: Scope,
    exact_limit: int,
) -> Arms:
    """Run the arms that SQL alone can: words always, meaning while the set is small."""
    terms = _terms(connection, query)
    text = _by_words(connection, terms, scope)
    if vector is None:
        return Arms(terms, text, {})
    where, values = scope.where()
    within = connection.execute(
        f"SELECT count(*) FROM (SELECT 1 FROM xp_pack p WHERE {where} LIMIT ?)",
        (*values, exact_limit + 1),
    ).fetchone()[0]
    if within > exact_limit:
        return Arms(terms, text, None)
    return Arms(terms, text, exact(connection, vector, model, scope))


def exact(
    connection: sqlite3.Connection, vector: Vectors, model: str, scope: Scope
) -> dict[int, float]:
    """The nearest of all packs in scope, scored one by one in bounded memory."""
    where, values = scope.where()
    cursor = connection.execute(
        "SELECT p.row_id, v.vector FROM xp_pack p JOIN xp_vector v ON v.pack_row = p.row_id"
        f" WHERE {where} AND v.model = ?",
        (*values, model),
    )
    best: list[tuple[float, int]] = []
    while rows := cursor.fetchmany(_CHUNK):
        cosines = _stack(blob for _, blob in rows) @ vector
        top = np.argpartition(-cosines, min(ARM_LIMIT, len(rows)) - 1)[:ARM_LIMIT]
        best.extend((float(cosines[at]), rows[at][0]) for at in top)
        best = sorted(best, key=lambda each: (-each[0], each[1]))[:ARM_LIMIT]
    return {row: cosine for cosine, row in best}


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
    model: str,
    *,
    floor: Floor,
    limit: int,
    min_score: float,
) -> list[Hit]:
    """Join the arms by reciprocal rank, ask each pack for its evidence, and give reasons."""
    text_rank = _ranks(arms.text)
    vector_rank = _ranks(cosines)
    fused = {
        row: sum(1.0 / (K + ranks[row]) for ranks in (text_rank, vector_rank) if row in ranks)
        for row in text_rank | vector_rank
    }
    texts = _texts(connection, list(fused))
    known = dict(cosines)
    if vector is not None:
        known |= _cosines_of(connection, [row for row in fused if row not in known], vector, model)
    total = sum(term.weight for term in arms.terms)
    best = sorted(texts, key=lambda row: (-fused[row], -texts[row].trust, row))
    chosen: dict[int, tuple[float, list[Term], float]] = {}
    for row in best:
        matched = _matched(texts[row].text, arms.terms)
        overlap = sum(term.weight for term in matched) / total if total else 0.0
        cosine = known.get(row)
        score = fused[row] * (K + 1) / 2
        near = (cosine is not None and cosine >= floor.cosine) or overlap >= floor.overlap
        if near and score >= min_score:
            chosen[row] = (score, matched, overlap)
        if len(chosen) == limit:
            break
    packs = {pack.row_id: pack for pack in load_packs(connection, list(chosen))}
    hits: list[Hit] = []
    for row, (score, matched, overlap) in chosen.items():
        pack = packs[row]
        reasons = Reasons(
            text_rank=text_rank.get(row),
            vector_rank=vector_rank.get(row),
            matched=tuple(term.word for term in matched),
            overlap=overlap,
            cosine=known.get(row),
            fused=fused[row],
            trust=pack.trust,
            valid_from=pack.valid_from.isoformat(),
            valid_to=None if pack.valid_to is None else pack.valid_to.isoformat(),
        )
        hits.append(Hit(pack, score, reasons))
    return hits


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


@dataclass(frozen=True, slots=True)
class _Text:
    text: str
    trust: float


def _texts(connection: sqlite3.Connection, rows: Sequence[int]) -> dict[int, _Text]:
    found = connection.execute(
        "SELECT row_id, goal, situation, why, trust_a / (trust_a + trust_b) FROM xp_pack"
        f" WHERE row_id IN ({_marks(rows)})",
        rows,
    )
    return {
        row: _Text(
            "\n".join([goal, situation, *(each["text"] for each in orjson.loads(why))]), trust
        )
        for row, goal, situation, why, trust in found
    }


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


def _matched(text: str, terms: Sequence[Term]) -> list[Term]:
    held = set(words(text))
    return [term for term in terms if term.word in held]


def _cosines_of(
    connection: sqlite3.Connection, rows: Sequence[int], vector: Vectors, model: str
) -> dict[int, float]:
    found = connection.execute(
        f"SELECT pack_row, vector FROM xp_vector WHERE model = ? AND pack_row IN ({_marks(rows)})",
        (model, *rows),
    ).fetchall()
    if not found:
        return {}
    cosines = _stack(blob for _, blob in found) @ vector
    return {row: float(cosine) for (row, _), cosine in zip(found, cosines, strict=True)}


def _stack(blobs: Iterable[bytes]) -> Vectors:
    parts = list(blobs)
    return np.frombuffer(b"".join(parts), dtype=np.float32).reshape(len(parts), -1)


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))
