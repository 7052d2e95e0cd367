"""BM25 over the engine's postings, with the statistics of one tenant's packs alone.

FTS5's own `bm25()` counts in how many rows of the whole table a word occurs, so one
tenant's ranks would tell of another's texts. Here the postings are FTS5's, or ours on PostgreSQL, and the
counts, the mean length and the ranks are of the tenant's present packs. The formula and
its constants (k1 = 1.2, b = 0.75) are those of SQLite's documentation of `bm25()`.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from . import fts5, postings
from .connection import Connection
from .members import Members
from .scope import Rows, Scope, among

_K1 = 1.2
_B = 0.75
_LEAST_WEIGHT = 1e-6
_SAMPLED = 500
# Rows of all tenants that a word is looked for in: only for a word that is in more, what
# others have bears on how a tenant is answered, and then in whether the word leads.
MOST_POSTINGS = 20_000
_SAMPLED_ROWS = 2_000
_FETCHED = 500
Floats = NDArray[np.float64]
_NOTHING: Rows = np.empty(0, dtype=np.int64)


class _Index(Protocol):
    """What the engines' modules offer."""

    def newest(self, connection: Connection, word: str, most: int, /) -> Rows: ...
    def lengths(
        self, connection: Connection, rows: Sequence[int], /
    ) -> Iterable[tuple[int, int]]: ...
    def postings(self, connection: Connection, word: str, /) -> tuple[Rows, Floats]: ...


def _index(connection: Connection) -> _Index:
    return fts5 if connection.dialect.engine == "sqlite" else postings


class Lengths:
    """How many words each row has, kept once read: a row's text never changes."""

    def __init__(self) -> None:
        self._words: NDArray[np.int32] = np.empty(0, dtype=np.int32)
        # Two readers may ask at once.
        self._lock = Lock()

    def of(self, connection: Connection, rows: Rows) -> Floats:
        """The lengths of `rows`."""
        if not len(rows):
            return np.empty(0, dtype=np.float64)
        with self._lock:
            self._reach(int(rows.max()) + 1)
            missing = rows[self._words[rows] < 0].tolist()
            for start in range(0, len(missing), _FETCHED):
                some = missing[start : start + _FETCHED]
                for row, length in _index(connection).lengths(connection, some):
                    self._words[row] = length
            return self._words[rows].astype(np.float64)

    def clear(self) -> None:
        """Forget all of it."""
        with self._lock:
            self._words = np.empty(0, dtype=np.int32)

    def _reach(self, rows: int) -> None:
        if rows > len(self._words):
            grown = np.full(rows + rows // 4, -1, dtype=np.int32)
            grown[: len(self._words)] = self._words
            self._words = grown


@dataclass(frozen=True, slots=True)
class Corpus:
    """A tenant's present packs, how many words they have, and how many one has on average.

    newest: the last row of any tenant's.
    """

    rows: Rows
    newest: int
    lengths: Lengths
    length: float

    @property
    def packs(self) -> int:
        """How many packs there are."""
        return len(self.rows)


class Corpora:
    """The tenants' packs, and what of them is remembered between questions."""

    def __init__(self, members: Members) -> None:
        self._members = members
        self._lengths = Lengths()

    def of(self, connection: Connection, tenant: str) -> Corpus:
        """The tenant's packs; of very many some tell how long one is on average."""
        rows = self._members.rows(connection, Scope.present(tenant))
        newest = connection.execute("SELECT coalesce(max(row_id), 0) FROM xp_pack").fetchone()[0]
        sizes = self._lengths.of(connection, rows[:: max(1, len(rows) // _SAMPLED)])
        return Corpus(rows, newest, self._lengths, float(sizes.mean()) if len(sizes) else 1.0)

    def clear(self) -> None:
        """Forget all of it."""
        self._lengths.clear()


def holding(connection: Connection, corpus: Corpus, word: str) -> tuple[int, bool]:
    """In how many of the tenant's packs `word` occurs, and whether in few rows of all tenants.

    Of a word in very many rows the newest are counted, and the rest estimated.
    """
    # Of the rows alone, without a look at the packs: that would cost ten times as much.
    rows = _index(connection).newest(connection, word, _SAMPLED_ROWS)
    own, total = int(among(rows, corpus.rows).sum()), len(rows)
    if total == _SAMPLED_ROWS:
        times = corpus.newest / (corpus.newest - int(rows.min()) + 1)
        own, total = round(own * times), round(total * times)
    return own, total <= MOST_POSTINGS


def weight_of(packs: int, held: int) -> float:
    """What knowing that a pack holds the word tells: its inverse document frequency, above 0."""
    return math.log(1.0 + (max(packs, held) - held + 0.5) / (held + 0.5))


def fits(
    connection: Connection,
    words: Sequence[tuple[str, int]],
    corpus: Corpus,
    rows: Rows,
) -> tuple[Rows, Floats]:
    """Those of `rows`, ascending, that hold one of `words`, and how well each fits.

    words: each with the number of the tenant's packs that hold it.
    """
    found: list[tuple[Rows, Floats]] = []
    for word, held in words:
        numbers, frequencies = _index(connection).postings(connection, word)
        kept = among(numbers, rows)
        numbers, frequencies = numbers[kept], frequencies[kept]
        lengths = corpus.lengths.of(connection, numbers)
        # As in SQLite: a word that most packs hold still counts a little.
        idf = math.log((corpus.packs - held + 0.5) / (held + 0.5)) if held else 0.0
        long = _K1 * (1 - _B + _B * lengths / max(corpus.length, 1.0))
        fit = max(idf, _LEAST_WEIGHT) * frequencies * (_K1 + 1) / (frequencies + long)
        found.append((numbers, fit))
    every = np.unique(np.concatenate([numbers for numbers, _ in found])) if found else _NOTHING
    total = np.zeros(len(every))
    for numbers, fit in found:
        total[np.searchsorted(every, numbers)] += fit
    return every, total
