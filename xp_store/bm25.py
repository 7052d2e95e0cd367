"""BM25 over the engine's postings, with the statistics of one tenant's packs alone.

FTS5's own `bm25()` counts in how many rows of the whole table a word occurs, so one
tenant's ranks would tell of another's texts. Here the postings are FTS5's, or ours on PostgreSQL, and the
counts, the mean length and the ranks are of the tenant's present packs. The formula and
its constants (k1 = 1.2, b = 0.75) are those of SQLite's documentation of `bm25()`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from . import fts5, postings
from .connection import Connection
from .scope import Rows

_K1 = 1.2
_B = 0.75
_LEAST_WEIGHT = 1e-6
_SAMPLED = 500
_MOST_KNOWN = 20_000
# Rows of all tenants that a word is looked for in: only for a word that is in more, what
# others have bears on how a tenant is answered, and then in whether the word leads.
MOST_POSTINGS = 20_000
_SAMPLED_ROWS = 2_000
_NOTHING: Rows = np.empty(0, dtype=np.int64)


class _Index(Protocol):
    """What the engines' modules offer."""

    def counted(
        self, connection: Connection, tenant: str, word: str, most: int, /
    ) -> tuple[int, int, int]: ...
    def lengths(self, connection: Connection, tenant: str, every: int, /) -> list[int]: ...
    def postings(self, connection: Connection, word: str, /) -> list[tuple[int, float, int]]: ...


def _index(connection: Connection) -> _Index:
    return fts5 if connection.dialect.engine == "sqlite" else postings


@dataclass(frozen=True, slots=True)
class Corpus:
    """How many packs a tenant has, and how many words one holds on average."""

    packs: int
    length: float


class Frequencies:
    """In how many packs words occur, remembered by tenant: FTS5 counts them one by one."""

    def __init__(self) -> None:
        self._corpora: dict[str, tuple[int, Corpus]] = {}
        self._holding: dict[tuple[str, str], tuple[int, tuple[int, bool]]] = {}

    def corpus(self, connection: Connection, tenant: str) -> Corpus:
        """The tenant's packs; at most a tenth of them, or a thousandth of all, later than the truth."""
        newest = _newest(connection)
        when, corpus = self._corpora.get(tenant, (-1, Corpus(0, 1.0)))
        if not self._fresh(when, newest, corpus):
            corpus = _corpus_of(connection, tenant)
            self._corpora[tenant] = newest, corpus
        return corpus

    def of(self, connection: Connection, tenant: str, word: str) -> tuple[int, bool]:
        """In how many of the tenant's packs `word` occurs, and whether in few rows of all tenants.

        Of a word in very many rows the newest are counted, and the rest estimated.
        """
        newest = _newest(connection)
        when, found = self._holding.get((tenant, word), (-1, (0, True)))
        if not self._fresh(when, newest, self.corpus(connection, tenant)):
            rows, own, oldest = _index(connection).counted(connection, tenant, word, _SAMPLED_ROWS)
            if rows == _SAMPLED_ROWS:
                times = newest / (newest - oldest + 1)
                rows, own = round(rows * times), round(own * times)
            found = own, rows <= MOST_POSTINGS
            if len(self._holding) >= _MOST_KNOWN:
                self._holding.clear()
            self._holding[tenant, word] = newest, found
        return found

    def clear(self) -> None:
        """Forget all of it."""
        self._corpora.clear()
        self._holding.clear()

    def _fresh(self, when: int, newest: int, corpus: Corpus) -> bool:
        # Of a small store nothing is remembered; counting in a large one costs milliseconds.
        return 0 <= when <= newest <= when + max(corpus.packs // 10, newest // 1000)


def _newest(connection: Connection) -> int:
    newest: int = connection.execute("SELECT coalesce(max(row_id), 0) FROM xp_pack").fetchone()[0]
    return newest


def _corpus_of(connection: Connection, tenant: str) -> Corpus:
    packs = connection.execute(
        "SELECT count(*) FROM xp_pack WHERE tenant = ? AND current = 1", (tenant,)
    ).fetchone()[0]
    sizes = _index(connection).lengths(connection, tenant, max(1, packs // _SAMPLED))
    return Corpus(packs, sum(sizes) / len(sizes) if sizes else 1.0)


def weight_of(packs: int, holding: int) -> float:
    """What knowing that a pack holds the word tells: its inverse document frequency, above 0."""
    return math.log(1.0 + (max(packs, holding) - holding + 0.5) / (holding + 0.5))


def fits(
    connection: Connection,
    words: Sequence[tuple[str, int]],
    corpus: Corpus,
    rows: Rows,
) -> tuple[Rows, NDArray[np.float64]]:
    """Those of `rows`, ascending, that hold one of `words`, and how well each fits.

    words: each with the number of the tenant's packs that hold it.
    """
    found: list[tuple[Rows, NDArray[np.float64]]] = []
    for word, holding in words:
        numbers, frequencies, lengths = _postings(connection, word, rows)
        # As in SQLite: a word that most packs hold still counts a little.
        idf = math.log((corpus.packs - holding + 0.5) / (holding + 0.5)) if holding else 0.0
        long = _K1 * (1 - _B + _B * lengths / max(corpus.length, 1.0))
        fit = max(idf, _LEAST_WEIGHT) * frequencies * (_K1 + 1) / (frequencies + long)
        found.append((numbers, fit))
    every = np.unique(np.concatenate([numbers for numbers, _ in found])) if found else _NOTHING
    total = np.zeros(len(every))
    for numbers, fit in found:
        total[np.searchsorted(every, numbers)] += fit
    return every, total


def _postings(
    connection: Connection, word: str, rows: Rows
) -> tuple[Rows, NDArray[np.float64], NDArray[np.float64]]:
    """Of `rows` those that hold `word`: how often, weighed by column, and their lengths."""
    found = _index(connection).postings(connection, word)
    numbers = np.array([row for row, _, _ in found], dtype=np.int64)
    kept = among(numbers, rows)
    mine = [each for each, inside in zip(found, kept.tolist(), strict=True) if inside]
    return (
        numbers[kept],
        np.array([frequency for _, frequency, _ in mine], dtype=np.float64),
        np.array([length for _, _, length in mine], dtype=np.float64),
    )


def among(numbers: Rows, rows: Rows) -> NDArray[np.bool_]:
    """Which of `numbers` are in `rows`, which ascend; np.isin would first sort both."""
    if not len(rows):
        return np.zeros(len(numbers), dtype=np.bool_)
    places = np.minimum(np.searchsorted(rows, numbers), len(rows) - 1)
    found: NDArray[np.bool_] = rows[places] == numbers
    return found
