"""Learning a deterministic judge from judged pairs: ridge on Bradley–Terry scores.

A text's score in its topic is Bradley and Terry's on all votes; linear functions of its
features are fitted to it under a fixed grid of penalties, and their weights averaged, so
nothing is chosen by looking at results. What the function is and how it is used is
`linear`'s. The procedure is ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from repertory.xp_store import Embedder

from .bradley_terry import bradley_terry, win_matrix
from .corpus import Corpus
from .features import surface_matrix
from .linear import MEANING, Head, LinearModel, meaning_matrix, standardized

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

_PRIOR = 0.5
# Of standardized surface features, and of the directions of unit vectors.
_SURFACE_PENALTIES = (100.0, 300.0, 1000.0, 3000.0)
_MEANING_PENALTIES = (1.0, 3.0, 10.0, 30.0, 100.0)
# A segment is a head of its own; "" is everybody who voted.
SEGMENTS = ("", "same", "opposite")


@dataclass(frozen=True, slots=True)
class Vectors:
    """Embeddings of a corpus: of its texts and of their questions, each of shape (n, d)."""

    name: str
    texts: Floats
    questions: Floats

    def where(self, mask: Mask) -> "Vectors":
        """The rows that `mask` keeps."""
        return Vectors(self.name, self.texts[mask], self.questions[mask])


def scores_of(corpus: Corpus, votes: Mask | None = None, *, prior: float = _PRIOR) -> Floats:
    """Bradley–Terry scores of all texts within their topics, from all votes or those of a mask."""
    pairs = corpus.votes if votes is None else corpus.votes.where(votes)
    wins = win_matrix(pairs.first, pairs.second, pairs.share, len(corpus.texts))
    scores = np.zeros(len(corpus.texts))
    for topic in np.unique(corpus.topics):
        rows = np.flatnonzero(corpus.topics == topic)
        scores[rows] = bradley_terry(wins[np.ix_(rows, rows)], prior=prior)
    return scores


def train(
    corpus: Corpus, vectors: Vectors | None = None, *, segments: Sequence[str] = SEGMENTS
) -> LinearModel:
    """Fit a judge on all of `corpus`; without `vectors` it knows surface features only."""
    raw = raw_matrix(corpus, vectors)
    surface = surface_matrix(corpus.texts).shape[1]
    mean, scale = raw.mean(0), raw.std(0)
    # Meaning keeps its own length: its directions are already of one kind.
    scale[surface + len(MEANING) :] = 1.0
    scale[scale < 1e-9] = 1.0
    matrix = within(standardized(raw, mean, scale), corpus.topics)
    is_meaning = np.arange(raw.shape[1]) >= surface + len(MEANING)
    targets = {segment: scores_of(corpus, _votes_of(corpus, segment)) for segment in segments}
    slope = _slope(_left_out(matrix, targets[segments[0]], is_meaning, corpus), corpus)
    heads = {
        segment: Head(weights=tuple(_averaged(matrix, target, is_meaning)), slope=slope)
        for segment, target in targets.items()
    }
    return LinearModel(
        embedder=vectors.name if vectors is not None else "",
        mean=tuple(mean),
        scale=tuple(scale),
        heads=heads,
    )


def raw_matrix(corpus: Corpus, vectors: Vectors | None) -> Floats:
    """Features of all texts as they are, each topic being the company its texts are seen in."""
    raw = surface_matrix(corpus.texts)
    if vectors is None:
        return raw
    meaning = np.zeros((len(raw), len(MEANING) + vectors.texts.shape[1]))
    for topic in np.unique(corpus.topics):
        rows = corpus.topics == topic
        meaning[rows] = meaning_matrix(vectors.texts[rows], vectors.questions[rows][0])
    return np.hstack([raw, meaning])


def within(matrix: Floats, topics: npt.NDArray[np.str_]) -> Floats:
    """The matrix with each topic's mean taken away: texts are compared within a topic only."""
    out = matrix.copy()
    for topic in np.unique(topics):
        out[topics == topic] -= out[topics == topic].mean(0)
    return out


def _votes_of(corpus: Corpus, segment: str) -> Mask | None:
    return corpus.stances == segment if segment else None


def _averaged(matrix: Floats, target: Floats, is_meaning: Mask) -> Floats:
    """The mean of the ridge weights over the grid of penalties."""
    moment, goal = matrix.T @ matrix, matrix.T @ (target - target.mean())
    grid = product(_SURFACE_PENALTIES, _MEANING_PENALTIES if is_meaning.any() else (1.0,))
    found = [
        np.linalg.solve(moment + np.diag(np.where(is_meaning, meaning, surface)), goal)
        for surface, meaning in grid
    ]
    return np.asarray(np.mean(found, axis=0), float)


def _left_out(matrix: Floats, target: Floats, is_meaning: Mask, corpus: Corpus) -> Floats:
    """Each text's score as a fit on the other debates has it."""
    scores = np.zeros(len(matrix))
    for debate in np.unique(corpus.debates):
        out = corpus.debates == debate
        if out.all():
            return matrix @ _averaged(matrix, target, is_meaning)
        scores[out] = matrix[out] @ _averaged(matrix[~out], target[~out], is_meaning)
    return scores


def _slope(scores: Floats, corpus: Corpus) -> float:
    """What turns a difference of scores into logits of a single vote, by maximum likelihood."""
    from scipy.optimize import minimize_scalar

    gap = scores[corpus.votes.first] - scores[corpus.votes.second]

    def loss(slope: float) -> float:
        share = corpus.votes.share
        lost = share * np.logaddexp(0, -slope * gap) + (1 - share) * np.logaddexp(0, slope * gap)
        return float(lost.mean())

    found: Any = minimize_scalar(loss, bounds=(0.0, 20.0), method="bounded")
    return float(found.x)


async def embedded(corpus: Corpus, embedder: Embedder) -> Vectors:
    """The vectors of a corpus: of its texts, and of its topics' questions."""
    titles = corpus.titles()
    distinct = list(dict.fromkeys(titles))
    texts = (await embedder.embed(corpus.texts)).astype(float)
    asked = (await embedder.embed(distinct)).astype(float)
    places = [distinct.index(title) for title in titles]
    return Vectors(embedder.name, texts, asked[places])
