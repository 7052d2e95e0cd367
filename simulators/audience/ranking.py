"""From what audiences said of pairs to scores, intervals, a tie set and a verdict.

Scores are Bradley–Terry per audience; the overall score is their weighted sum. A judge
that gives its confidence splits a win accordingly, and the interval resamples an
audience's pairs and draws each answer from that split: it is as wide as if one person
of the audience had been asked about each pair once. A verdict is a winner, a set that
cannot be told apart, or no signal. All of this is ours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from .bradley_terry import bradley_terry, win_matrix
from .comparing import Pair, consistency

Floats = npt.NDArray[np.float64]

_DRAWS = 200
# Below this share of pairs with one answer in both orders, position decided more than words.
LEAST_CONSISTENT = 0.5


@dataclass(frozen=True, slots=True)
class Ranking:
    """What came out, in the candidates' order.

    by_audience: scores in logits, shape (audiences, n). overall, low, high: shape (n,).
    drawn: overall scores of resampled answers, shape (draws, n).
    order: candidates from best to worst. ties: those whose interval meets the best's.
    """

    by_audience: Floats
    overall: Floats
    low: Floats
    high: Floats
    drawn: Floats
    order: tuple[int, ...]
    ties: tuple[int, ...]
    verdict: Literal["winner", "tie set", "no signal"]
    why: str


def rank(
    pairs: Sequence[Sequence[Pair]], weights: Sequence[float], n: int, *, seed: int = 0
) -> Ranking:
    """Rank n candidates by what each audience said; `pairs` and `weights` are by audience."""
    shares = [_Heard(each, n) for each in pairs]
    by_audience = np.array([each.scores() for each in shares]).reshape(len(shares), n)
    overall = np.asarray(weights, float) @ by_audience
    drawn = _drawn(shares, np.asarray(weights, float), n, seed)
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    low, high = np.minimum(low, overall), np.maximum(high, overall)
    order = tuple(int(i) for i in np.lexsort((np.arange(n), -overall)))
    ties = tuple(i for i in order if high[i] >= low[order[0]])
    verdict, why = _verdict(pairs, overall, low, high, order, ties)
    return Ranking(by_audience, overall, low, high, drawn, order, ties, verdict, why)


class _Heard:
    """One audience's pairs as arrays."""

    def __init__(self, pairs: Sequence[Pair], n: int) -> None:
        self.n = n
        self.a = np.array([pair.a for pair in pairs], np.intp)
        self.b = np.array([pair.b for pair in pairs], np.intp)
        share = np.array([pair.share for pair in pairs], float)
        sure = np.array([pair.confidence for pair in pairs], float)
        self.tied = share == 0.5
        self.share = np.where(self.tied, 0.5, share * sure + (1 - share) * (1 - sure))

    def scores(self) -> Floats:
        return bradley_terry(win_matrix(self.a, self.b, self.share, self.n))

    def drawn(self, rng: np.random.Generator) -> Floats:
        rows = rng.integers(0, len(self.a), len(self.a))
        said = (rng.random(len(rows)) < self.share[rows]).astype(float)
        share = np.where(self.tied[rows], 0.5, said)
        return bradley_terry(win_matrix(self.a[rows], self.b[rows], share, self.n))


def _drawn(heard: Sequence[_Heard], weights: Floats, n: int, seed: int) -> Floats:
    rng = np.random.default_rng(seed)
    draws = np.zeros((_DRAWS, n))
    for draw in draws if n > 1 else ():
        for weight, each in zip(weights, heard, strict=True):
            draw += weight * each.drawn(rng)
    return draws


def _verdict(
    pairs: Sequence[Sequence[Pair]],
    overall: Floats,
    low: Floats,
    high: Floats,
    order: tuple[int, ...],
    ties: tuple[int, ...],
) -> tuple[Literal["winner", "tie set", "no signal"], str]:
    if len(order) < 2:
        return "no signal", "there is nothing to compare a single candidate with"
    steady = consistency([pair for each in pairs for pair in each])
    if steady < LEAST_CONSISTENT:
        return "no signal", (
            f"only {steady:.0%} of the pairs got the same answer in both orders:"
            " the place decided, not the words"
        )
    if float(np.ptp(overall)) < 1e-9:
        return "no signal", "every candidate was judged the same"
    best, worst = order[0], order[-1]
    if low[best] <= high[worst]:
        return "no signal", "the best and the worst candidate cannot be told apart"
    if len(ties) == 1:
        return "winner", "its interval lies above all others"
    return "tie set", f"{len(ties)} candidates cannot be told from the best"


def cyclic_share(pairs: Sequence[Pair], n: int) -> float:
    """Transitivity violations: cycles among the triples whose three pairs all have a winner.

    NaN where there is no such triple. By traces of the cubed matrix of wins.
    """
    beats = np.zeros((n, n))
    for pair in pairs:
        if pair.share != 0.5:
            winner, loser = (pair.a, pair.b) if pair.share > 0.5 else (pair.b, pair.a)
            beats[winner, loser] = 1.0
    met = beats + beats.T
    triples = float(np.trace(met @ met @ met)) / 6
    cycles = float(np.trace(beats @ beats @ beats)) / 3
    return cycles / triples if triples else float("nan")


def weight_sensitivity(
    by_audience: Floats, weights: Mapping[str, float], *, change: float = 0.5
) -> dict[str, int]:
    """The winner's position under equal weights, and with each weight up or down by `change`.

    Weights are made to sum to 1 again. by_audience: in the order of `weights`.
    """
    given = np.array(list(weights.values()), float)
    cases = {"as given": given, "equal weights": np.ones(len(given))}
    for i, name in enumerate(weights):
        for sign, word in ((1 + change, "more"), (1 - change, "less")):
            changed = given.copy()
            changed[i] *= sign
            cases[f"{name} {change:.0%} {word}"] = changed
    found = {}
    for name, case in cases.items():
        total = case.sum()
        if total > 0:
            found[name] = int(np.argmax((case / total) @ by_audience))
    return found
