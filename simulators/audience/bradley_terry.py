"""Scores from paired comparisons (Bradley and Terry 1952), with a weak prior.

Ties count half a win for each side. The prior is ours: a normal one with mean 0 on
every score, so that a candidate that won everything has a finite score, and one
that was never compared has 0.
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_STEPS = 60
_STILL = 1e-9


def win_matrix(
    first: npt.NDArray[np.intp], second: npt.NDArray[np.intp], share: Floats, n: int
) -> Floats:
    """Wins of row over column, shape (n, n), from comparisons of shape (m,).

    share: what went to the first of each: 1, 0, or ½ for a tie.
    """
    wins = np.zeros((n, n))
    np.add.at(wins, (first, second), share)
    np.add.at(wins, (second, first), 1.0 - share)
    return wins


def bradley_terry(wins: Floats, *, prior: float = 0.1) -> Floats:
    """The scores, shape (n,), in logits: sigmoid(a - b) is how often a beats b.

    wins: of row over column, shape (n, n). prior: the precision of the normal prior on
    each score; 0.1 weighs as much as about two fifths of one comparison. By Newton's method,
    halving a step that would not raise the likelihood.
    """
    scores = np.zeros(len(wins))
    played = wins + wins.T
    best = _log_posterior(wins, scores, prior)
    for _ in range(_STEPS):
        chance = _sigmoid(scores[:, None] - scores[None, :])
        slope = (wins - played * chance).sum(1) - prior * scores
        curve = -played * chance * (1 - chance)
        np.fill_diagonal(curve, prior - curve.sum(1) + np.diag(curve))
        step = np.linalg.solve(curve, slope)
        while (reached := _log_posterior(wins, scores + step, prior)) < best:
            step /= 2
            if np.abs(step).max() < _STILL:
                return scores
        scores, best = scores + step, reached
        if np.abs(step).max() < _STILL:
            break
    return scores


def _log_posterior(wins: Floats, scores: Floats, prior: float) -> float:
    gaps = scores[:, None] - scores[None, :]
    return float(-(wins * np.logaddexp(0.0, -gaps)).sum() - prior * (scores**2).sum() / 2)


def _sigmoid(x: Floats) -> Floats:
    value: Floats = 0.5 * (1.0 + np.tanh(x / 2))
    return value
