"""The two arms of recall, over packs that SQL has already filtered: by words and by meaning.

Words: FTS5's BM25 over goal, situation and claims, with the query's very common terms
dropped, since they cost most and say least. Meaning: cosines with the vectors kept
beside the rows, exact while the filtered set is small; what happens when it is not is
`finder`'s. How the arms are joined is `fusion`'s.
"""

import math
import re
import sqlite3
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .index import Vectors
from .scope import Rows, Scope, admitted
from .vectors import VectorCache

ARM_LIMIT = 50
EXACT_LIMIT = 12_000
_MAX_TERMS = 12
_MAX_WORDS = 200
# BM25 costs about a microsecond and a half for each pack that holds a term.
_MAX_POSTINGS = 2_000
_COMMON_SHARE = 0.2
_COMMON_FROM = 100
_WIDE_TEXT = 200
_MOST_KNOWN = 20_000
# Words that only join others: one that no pack happens to hold would otherwise count as
# the rarest of all. Other languages have theirs weighed down by how common they are.
_JOINING = frozenset(
    [
        "a",
        "an",
        "and",
        "are",
        "as",
        "at",
        "be",
        "been",
        "but",
        "by",
        "can",
        "could",
        "did",
        "do",
        "does",
        "for",
        "from",
        "had",
        "has",
        "have",
        "how",
        "i",
        "if",
        "in",
        "into",
        "is",
        "it",
        "its",
        "me",
        "my",
        "no",
        "not",
        "of",
        "on",
        "or",
        "our",
        "so",
        "that",
        "the",
        "their",
        "them",
        "then",
        "there",
        "these",
        "they",
        "this",
        "those",
        "to",
        "us",
        "was",
        "we",
        "were",
        "what",
        "when",
        "where",
        "which",
        "who",
        "why",
        "will",
        "with",
        "would",
        "you",
        "your",
    ]
)
_WORD = re.compile(r"[^\W_]+")


@dataclass(frozen=True, slots=True)
class Term:
    """A word of the query: in how many packs it occurs, what knowing it tells, whether it led.

    asked: whether the search by words went after it; the others were too common.
    """

    word: str
    packs: int
    weight: float
    asked: bool = False


@dataclass(frozen=True, slots=True)
class Arms:
    """What the arms found, by row. rows: the filtered set, None when it is large.

    cosines: None when the index must be asked.
    """

    terms: tuple[Term, ...]
    rows: Rows | None
    text: dict[int, float]
    cosines: dict[int, float] | None


class Frequencies:
    """In how many packs a word occurs, remembered: FTS5 counts a common word's packs one by one."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, int]] = {}

    def of(self, connection: sqlite3.Connection, word: str, packs: int) -> int:
        """The packs that hold `word`; at most a tenth of the packs later than the truth."""
        holding, when = self._known.get(word, (0, -1))
        if when < 0 or not when <= packs <= when + when // 10:
            found = connection.execute(
                "SELECT doc FROM xp_fts_terms WHERE term = ?", (word,)
            ).fetchone()
            holding = 0 if found is None else int(found[0])
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            # A small store is counted anew each time it grows.
            self._known[word] = holding, packs
        return holding

    def clear(self) -> None:
        """Forget all words."""
        self._known.clear()


def words(text: str) -> list[str]:
    """The words of a text as FTS5's unicode61 sees them: folded, without diacritics, once each."""
    if not text.isascii():
        spread = unicodedata.normalize("NFKD", text)
        text = "".join(each for each in spread if not unicodedata.combining(each))
    return list(dict.fromkeys(_WORD.findall(text.lower())))


def terms_of(
    connection: sqlite3.Connection, query: str, frequencies: Frequencies
) -> tuple[Term, ...]:
    """The query's words, the most telling first, and which of them lead the search."""
    packs = connection.execute("SELECT coalesce(max(row_id), 0) FROM xp_pack").fetchone()[0]
    terms: list[Term] = []
    asked = words(query)[:_MAX_WORDS]
    for word in [each for each in asked if each not in _JOINING] or asked:
        holding = frequencies.of(connection, word, packs)
        weight = math.log(1.0 + (max(packs, holding) - holding + 0.5) / (holding + 0.5))
        terms.append(Term(word, holding, weight))
    terms.sort(key=lambda term: -term.weight)
    leading = _leading(terms, packs)
    return tuple(Term(term.word, term.packs, term.weight, term.word in leading) for term in terms)


def _leading(terms: Sequence[Term], packs: int) -> frozenset[str]:
    # Rarest first, until the terms are many or would visit too many packs; the rarest always.
    chosen: list[str] = []
    visited = 0
    for term in (each for each in terms if each.packs):
        visited += term.packs
        common = packs >= _COMMON_FROM and term.packs > packs * _COMMON_SHARE
        if chosen and (common or visited > _MAX_POSTINGS or len(chosen) == _MAX_TERMS):
            break
        chosen.append(term.word)
    return frozenset(chosen)


def by_words(
    connection: sqlite3.Connection, terms: Sequence[Term], scope: Scope, rows: Rows | None
) -> dict[int, float]:
    """The packs in scope that hold a leading term, best BM25 first; rows: those in scope if known."""
    match = " OR ".join(f'"{term.word}"' for term in terms if term.asked)
    if not match:
        return {}
    if rows is not None:
        found = connection.execute(
            "SELECT rowid, -bm25(xp_fts, 3.0, 2.0, 1.0) FROM xp_fts WHERE xp_fts MATCH ?",
            (match,),
        ).fetchall()
        numbers = np.array([row for row, _ in found], dtype=np.int64)
        fits = np.array([fit for _, fit in found], dtype=np.float64)
        kept = _among(numbers, rows)
        numbers, fits = numbers[kept], fits[kept]
        order = np.lexsort((numbers, -fits))[:ARM_LIMIT]
        return dict(zip(numbers[order].tolist(), fits[order].tolist(), strict=True))
    best = connection.execute(
        "SELECT rowid, -bm25(xp_fts, 3.0, 2.0, 1.0) AS fit FROM xp_fts"
        " WHERE xp_fts MATCH ? ORDER BY fit DESC, rowid LIMIT ?",
        (match, _WIDE_TEXT),
    ).fetchall()
    kept_rows = admitted(connection, "row_id", [row for row, _ in best], scope)
    text = {row: fit for row, fit in best if row in kept_rows}
    if len(text) >= ARM_LIMIT or len(best) < _WIDE_TEXT:
        return dict(list(text.items())[:ARM_LIMIT])
    where, values = scope.where_of_few()
    return dict(
        connection.execute(
            "SELECT p.row_id, -bm25(xp_fts, 3.0, 2.0, 1.0) AS fit"
            " FROM xp_fts JOIN xp_pack p ON p.row_id = xp_fts.rowid"
            f" WHERE xp_fts MATCH ? AND {where} ORDER BY fit DESC, p.row_id LIMIT ?",
            (match, *values, ARM_LIMIT),
        )
    )


def _among(numbers: Rows, rows: Rows) -> NDArray[np.bool_]:
    # `rows` ascend; np.isin would first sort both.
    if not len(rows):
        return np.zeros(len(numbers), dtype=np.bool_)
    places = np.minimum(np.searchsorted(rows, numbers), len(rows) - 1)
    among: NDArray[np.bool_] = rows[places] == numbers
    return among


def nearest(
    connection: sqlite3.Connection, rows: Rows, vector: Vectors, cache: VectorCache
) -> dict[int, float]:
    """The rows nearest to `vector`, scored one by one, nearest first."""
    found, cosines = cache.cosines(connection, rows, vector)
    if len(found) > ARM_LIMIT:
        top = np.argpartition(-cosines, ARM_LIMIT - 1)[:ARM_LIMIT]
        found, cosines = found[top], cosines[top]
    order = np.argsort(-cosines, kind="stable")
    return dict(zip(found[order].tolist(), cosines[order].tolist(), strict=True))
