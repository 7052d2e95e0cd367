"""The two arms of recall, over packs that SQL has already filtered: by words and by meaning.

Words: BM25 over goal, situation and claims (`bm25`), with the query's very common terms
dropped, since they cost most and say least. Meaning: cosines with the vectors kept
beside the rows, exact while the filtered set is small; what happens when it is not is
`finder`'s. How the arms are joined is `fusion`'s.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .bm25 import Corpus, fits, holding, weight_of
from .connection import Connection
from .index import Vectors
from .scope import Rows
from .vectors import VectorCache
from .words import words

ARM_LIMIT = 50
EXACT_LIMIT = 25_000
_MAX_TERMS = 12
_MAX_WORDS = 200
# BM25 costs about a microsecond and a half for each pack that holds a term.
_MAX_POSTINGS = 2_000
_COMMON_SHARE = 0.2
_COMMON_FROM = 100
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
    """What the arms found, by row. rows: the filtered set.

    cosines: None when the index must be asked.
    """

    terms: tuple[Term, ...]
    rows: Rows
    text: dict[int, float]
    cosines: dict[int, float] | None


def terms_of(connection: Connection, query: str, corpus: Corpus) -> tuple[Term, ...]:
    """The query's words, the most telling first, and which of them lead the search."""
    packs = corpus.packs
    terms: list[Term] = []
    few: dict[str, bool] = {}
    asked = words(query)[:_MAX_WORDS]
    for word in [each for each in asked if each not in _JOINING] or asked:
        held, few[word] = holding(connection, corpus, word)
        terms.append(Term(word, held, weight_of(packs, held)))
    terms.sort(key=lambda term: -term.weight)
    leading = _leading(terms, packs, few)
    return tuple(Term(term.word, term.packs, term.weight, term.word in leading) for term in terms)


def _leading(terms: Sequence[Term], packs: int, few: Mapping[str, bool]) -> frozenset[str]:
    # Rarest first, until the terms are many or would visit too many packs; the rarest always.
    chosen: list[str] = []
    visited = 0
    for term in (each for each in terms if each.packs):
        visited += term.packs
        common = packs >= _COMMON_FROM and term.packs > packs * _COMMON_SHARE
        if chosen and (common or visited > _MAX_POSTINGS or len(chosen) == _MAX_TERMS):
            break
        if not chosen or few[term.word]:
            chosen.append(term.word)
    return frozenset(chosen)


def by_words(
    connection: Connection,
    terms: Sequence[Term],
    corpus: Corpus,
    rows: Rows,
) -> dict[int, float]:
    """The packs in scope, which are `rows`, that hold a leading term, best BM25 first."""
    asked = [(term.word, term.packs) for term in terms if term.asked]
    if not asked:
        return {}
    numbers, fit = fits(connection, asked, corpus, rows)
    first = np.lexsort((numbers, -fit))[:ARM_LIMIT]
    return dict(zip(numbers[first].tolist(), fit[first].tolist(), strict=True))


def nearest(
    connection: Connection, rows: Rows, vector: Vectors, cache: VectorCache
) -> dict[int, float]:
    """The rows nearest to `vector`, scored one by one, nearest first."""
    found, cosines = cache.cosines(connection, rows, vector)
    if len(found) > ARM_LIMIT:
        top = np.argpartition(-cosines, ARM_LIMIT - 1)[:ARM_LIMIT]
        found, cosines = found[top], cosines[top]
    order = np.argsort(-cosines, kind="stable")
    return dict(zip(found[order].tolist(), cosines[order].tolist(), strict=True))
