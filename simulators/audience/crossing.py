"""Judging texts of debates that a judge was not trained on, debate by debate or from another folder."""

import numpy as np
import numpy.typing as npt

from .corpus import Corpus
from .linear import LinearModel
from .training import Vectors, train

Floats = npt.NDArray[np.float64]


def judged(
    model: LinearModel, corpus: Corpus, vectors: Vectors | None = None, segment: str = ""
) -> Floats:
    """Each text's score by `model`, every topic being a company of its own."""
    scores = np.zeros(len(corpus.texts))
    for topic in np.unique(corpus.topics):
        rows = np.flatnonzero(corpus.topics == topic)
        texts = [corpus.texts[i] for i in rows]
        seen = vectors.texts[rows] if vectors is not None else None
        asked = vectors.questions[rows[0]] if vectors is not None else None
        scores[rows] = model.parts(model.matrix(texts, seen, asked), segment).sum(1)
    return scores


def across_debates(
    corpus: Corpus, vectors: Vectors | None = None, *, segments: tuple[str, ...] = ("",)
) -> dict[str, Floats]:
    """Scores by segment, each debate judged by a judge that was trained on all the others."""
    scores = {segment: np.zeros(len(corpus.texts)) for segment in segments}
    for debate in np.unique(corpus.debates):
        out = corpus.debates == debate
        rest = corpus.only(list(np.unique(corpus.topics[~out])))
        model = train(rest, vectors.where(~out) if vectors else None, segments=segments)
        part = corpus.only(list(np.unique(corpus.topics[out])))
        seen = vectors.where(out) if vectors else None
        for segment in segments:
            scores[segment][out] = judged(model, part, seen, segment)
    return scores
