"""How well scores agree with what people said, and the controls beside every figure.

Longer wins, the first wins, shuffled labels, what people agree among themselves: a
judge that is not reported next to them tells nothing. Rows of one topic belong
together, so intervals resample topics. The figures are those of the data's authors
(Habernal and Gurevych 2016) where they have one; the rest is ours.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from repertory.simulators.statistics import (
    Estimate,
    bootstrap,
    paired_difference,
    pearson,
    spearman,
)

from .corpus import Corpus, Pairs
from .training import scores_of

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

HIGH = 0.6
# Two texts are of about equal length when one is at most a tenth longer.
_ABOUT_EQUAL = np.log(1.1)
_LEAST = 5


def hits(pairs: Pairs, scores: Floats) -> Floats:
    """Of each strict pair, 1 where the winner scores higher, ½ for equal scores, shape (n,)."""
    gap = scores[pairs.first] - scores[pairs.second]
    right: Floats = np.where(gap == 0, 0.5, (gap > 0) == (pairs.share == 1.0)).astype(float)
    return right


def accuracy(corpus: Corpus, scores: Floats, mask: Mask | None = None) -> Estimate:
    """Pair accuracy on the strict labels, or on those of a mask."""
    pairs = corpus.strict if mask is None else corpus.strict.where(mask)
    return bootstrap(_mean, hits(pairs, scores), groups=_topics_of(corpus, pairs))


def about_equal(corpus: Corpus, widest: float = float(_ABOUT_EQUAL)) -> Mask:
    """The strict pairs whose texts differ in length by no more than `widest` in logarithm."""
    lengths = np.log(np.maximum(corpus.lengths, 1.0))
    gap = lengths[corpus.strict.first] - lengths[corpus.strict.second]
    return np.asarray(np.abs(gap) <= widest)


def gain(corpus: Corpus, scores: Floats, control: Floats, mask: Mask | None = None) -> Estimate:
    """The difference in pair accuracy, scores less control, pair by pair."""
    pairs = corpus.strict if mask is None else corpus.strict.where(mask)
    return paired_difference(
        hits(pairs, scores), hits(pairs, control), groups=_topics_of(corpus, pairs)
    )


def win_rates(corpus: Corpus, votes: Mask | None = None) -> Floats:
    """The share of votes that each text won, ties half; NaN where nobody voted."""
    pairs = corpus.votes if votes is None else corpus.votes.where(votes)
    n = len(corpus.texts)
    won = np.bincount(pairs.first, pairs.share, n) + np.bincount(pairs.second, 1 - pairs.share, n)
    cast = np.bincount(pairs.first, minlength=n) + np.bincount(pairs.second, minlength=n)
    with np.errstate(invalid="ignore"):
        rates: Floats = won / cast
    return rates


def by_topic(corpus: Corpus, x: Floats, y: Floats, *, ranks: bool = False) -> dict[str, float]:
    """The correlation of x and y within each topic; topics with too few texts are left out."""
    found = {}
    for topic in np.unique(corpus.topics):
        rows = (corpus.topics == topic) & np.isfinite(x) & np.isfinite(y)
        if rows.sum() >= _LEAST:
            found[str(topic)] = (spearman if ranks else pearson)(x[rows], y[rows])
    return found


def mean_of(correlations: Mapping[str, float]) -> Estimate:
    """The mean over topics with its interval."""
    return bootstrap(_mean, list(correlations.values()))


def split_half(corpus: Corpus, *, draws: int = 20, seed: int = 0) -> float:
    """How random halves of the votes agree: Pearson's r within topics, the mean over draws."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(draws):
        half = rng.random(len(corpus.votes)) < 0.5
        rates = by_topic(corpus, win_rates(corpus, half), win_rates(corpus, ~half))
        found.append(np.mean(list(rates.values())))
    return float(np.mean(found))


def spearman_brown(half: float) -> float:
    """The reliability of the whole from that of its halves."""
    return 2 * half / (1 + half)


def ceiling(corpus: Corpus) -> Estimate:
    """Pair accuracy of Bradley–Terry scores of the very votes: nobody can do better by scores."""
    return accuracy(corpus, scores_of(corpus))


def shuffled(corpus: Corpus, scores: Floats, *, draws: int = 200, seed: int = 0) -> Estimate:
    """Pair accuracy when winners are drawn by lot: the mean and the middle 95% of the draws."""
    rng = np.random.default_rng(seed)
    pairs = corpus.strict
    drawn = [
        hits(Pairs(pairs.first, pairs.second, rng.integers(0, 2, len(pairs)).astype(float)), scores)
        for _ in range(draws)
    ]
    means = np.array([each.mean() for each in drawn])
    low, high = np.quantile(means, [0.025, 0.975])
    return Estimate(float(means.mean()), float(low), float(high), draws)


def stance_gap(corpus: Corpus, *, draws: int = 20, seed: int = 0) -> dict[str, Estimate]:
    """How people for and against agree, beside the same votes parted at random.

    observed: the mean correlation over topics of the two sides' win rates. votes, people:
    the mean when the sides' names are dealt anew, in each topic as many as there were, to
    single votes or to whole voters (whose votes hang together, so halves differ more).
    gap, gap_people: random less observed, topic by topic.
    """
    rng = np.random.default_rng(seed)
    sides = (corpus.stances == "same", corpus.stances == "opposite")
    seen = by_topic(corpus, win_rates(corpus, sides[0]), win_rates(corpus, sides[1]))
    found = {"observed": mean_of(seen)}
    for unit, gap in (("votes", "gap"), ("people", "gap_people")):
        nulls: dict[str, list[float]] = {topic: [] for topic in seen}
        for _ in range(draws):
            same, opposite = deal(corpus, rng, people=unit == "people")
            rates = win_rates(corpus, same), win_rates(corpus, opposite)
            for topic, r in by_topic(corpus, *rates).items():
                nulls.setdefault(topic, []).append(r)
        means = {topic: float(np.mean(rs)) for topic, rs in nulls.items() if topic in seen and rs}
        found[unit] = mean_of(means)
        found[gap] = bootstrap(_mean, [means[topic] - seen[topic] for topic in means])
    return found


def deal(corpus: Corpus, rng: np.random.Generator, *, people: bool = True) -> tuple[Mask, Mask]:
    """The votes of both sides with the sides dealt at random within topics, to people or votes."""
    sides = np.isin(corpus.stances, ("same", "opposite"))
    dealt = np.zeros((2, len(corpus.votes)), bool)
    topics = corpus.topics[corpus.votes.first]
    for topic in np.unique(topics):
        rows = np.flatnonzero(sides & (topics == topic))
        units = corpus.voters[rows] if people else rows
        known, place = np.unique(units, return_inverse=True)
        order = rng.permutation(len(known))
        # Units are dealt until the first side has about as many votes as it had.
        votes = np.cumsum(np.bincount(place, minlength=len(known))[order])
        wanted = int((corpus.stances[rows] == "same").sum())
        first = np.isin(place, order[: int(np.searchsorted(votes, wanted, side="right"))])
        dealt[0, rows[first]] = True
        dealt[1, rows[~first]] = True
    return dealt[0], dealt[1]


def table(corpus: Corpus, scores: Floats) -> dict[str, Any]:
    """A judge's figures on a corpus, each beside its controls."""
    length, near = corpus.lengths, about_equal(corpus)
    rates = win_rates(corpus)
    judge_r, length_r = by_topic(corpus, scores, rates), by_topic(corpus, length, rates)
    judge_rank = by_topic(corpus, scores, rates, ranks=True)
    length_rank = by_topic(corpus, length, rates, ranks=True)
    half = split_half(corpus)
    return {
        "pairs": len(corpus.strict),
        "topics": len(judge_r),
        "pair accuracy": {
            "judge": accuracy(corpus, scores),
            "longer wins": accuracy(corpus, length),
            "gain over longer wins": gain(corpus, scores, length),
            "shown first wins": bootstrap(
                _mean, corpus.strict.share, groups=_topics_of(corpus, corpus.strict)
            ),
            "shuffled labels": shuffled(corpus, scores),
            "Bradley-Terry on the votes (ceiling)": ceiling(corpus),
        },
        "pairs of about equal length": {
            "pairs": int(near.sum()),
            "judge": accuracy(corpus, scores, near),
            "longer wins": accuracy(corpus, length, near),
            "gain over longer wins": gain(corpus, scores, length, near),
        },
        "correlation with win rates": {
            "judge": mean_of(judge_r),
            "longer wins": mean_of(length_r),
            "judge, noise-corrected": mean_of(judge_r).value / np.sqrt(spearman_brown(half)),
            "topics above .6, judge": sum(r > HIGH for r in judge_r.values()),
            "topics above .6, longer wins": sum(r > HIGH for r in length_r.values()),
            "topics above .6 by ranks, judge": sum(r > HIGH for r in judge_rank.values()),
            "topics above .6 by ranks, longer wins": sum(r > HIGH for r in length_rank.values()),
            "split-half of the votes": half,
            "reliability (Spearman-Brown)": spearman_brown(half),
        },
    }


def _topics_of(corpus: Corpus, pairs: Pairs) -> npt.NDArray[np.str_]:
    return corpus.topics[pairs.first]


def _mean(values: Floats) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
