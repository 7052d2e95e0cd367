"""The few statistics that every simulator reports: agreement, its interval and its controls.

Everything here is plain numbers in and out; seeds are explicit, so a figure can be
had again. What scipy and scikit-learn have is theirs; they load when a function is
first called, because a manifest that names no simulator must not wait for them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Numbers = npt.ArrayLike

_DRAWS = 1000
_LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its interval: `value` within `low` to `high` at `level`, from `n` units.

    Not a number (NaN) where the data cannot tell. n counts what was resampled: rows,
    or groups where rows of a group belong together.
    """

    value: float
    low: float
    high: float
    n: int
    level: float = _LEVEL

    def excludes(self, value: float) -> bool:
        """Whether the interval lies wholly on one side of `value`."""
        return self.low > value or self.high < value

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"

    def as_dict(self) -> dict[str, float | int | None]:
        """The estimate for JSON, in which what cannot be told is null."""
        told = {"value": self.value, "low": self.low, "high": self.high, "level": self.level}
        finite = {key: float(v) if np.isfinite(v) else None for key, v in told.items()}
        return {**finite, "n": self.n}


def bootstrap(
    statistic: Callable[..., float],
    *arrays: Numbers,
    groups: Numbers | None = None,
    draws: int = _DRAWS,
    seed: int = 0,
    level: float = _LEVEL,
) -> Estimate:
    """The statistic of `arrays` with its percentile interval (Efron 1979).

    arrays: of the same length n; they are resampled together. groups: of length n; rows
    with the same value are drawn together, as rows of one topic or one person must be.
    Draws in which the statistic is not finite are left out; the interval is NaN when
    fewer than half of them are left.

    Raises:
        ValueError: The arrays differ in length, or there is none.
    """
    columns = [np.asarray(a) for a in arrays]
    if not columns or len({len(c) for c in columns}) != 1:
        raise ValueError("bootstrap takes one or more arrays of the same length")
    units = _units(len(columns[0]), groups)
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(draws if len(units) > 1 else 0):
        rows = np.concatenate([units[i] for i in rng.integers(0, len(units), len(units))])
        drawn.append(float(statistic(*(column[rows] for column in columns))))
    value = float(statistic(*columns)) if len(columns[0]) else float("nan")
    return _estimate(value, drawn, len(units), level)


def _units(n: int, groups: Numbers | None) -> list[npt.NDArray[np.intp]]:
    if groups is None:
        return [np.array([i]) for i in range(n)]
    _, codes = np.unique(np.asarray(groups), return_inverse=True)
    if len(codes) != n:
        raise ValueError(f"groups has {len(codes)} rows where the arrays have {n}")
    order = np.argsort(codes, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(codes[order])) + 1) if n else []


def _estimate(value: float, drawn: Sequence[float], n: int, level: float) -> Estimate:
    kept = np.asarray([d for d in drawn if np.isfinite(d)])
    if len(kept) == 0 or len(kept) < len(drawn) / 2:
        return Estimate(value, float("nan"), float("nan"), n, level)
    low, high = np.quantile(kept, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(value, float(low), float(high), n, level)


def auc(labels: Numbers, scores: Numbers) -> float:
    """The area under the ROC curve: how often a positive outranks a negative, ties half.

    labels: truth values, shape (n,). scores: higher for positives, shape (n,). NaN when
    there are not both kinds. The Mann-Whitney statistic over the number of pairs.
    """
    from scipy.stats import rankdata

    positive = np.asarray(labels, dtype=bool)
    ranks = rankdata(np.asarray(scores, dtype=float))
    n1, n0 = int(positive.sum()), int((~positive).sum())
    if not n1 or not n0:
        return float("nan")
    return float((ranks[positive].sum() - n1 * (n1 + 1) / 2) / (n1 * n0))


def wilson(successes: int, n: int, *, level: float = _LEVEL) -> Estimate:
    """A share with its score interval (Wilson 1927); NaN when `n` is 0."""
    from scipy.stats import norm

    if n == 0:
        return Estimate(float("nan"), float("nan"), float("nan"), 0, level)
    z = float(norm.ppf((1 + level) / 2))
    share = successes / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    low, high = max(0.0, float(middle - half)), min(1.0, float(middle + half))
    # Rounding must not push an end past the share itself.
    return Estimate(share, min(low, share), max(high, share), n, level)


def correlation(
    x: Numbers,
    y: Numbers,
    *,
    kind: Literal["spearman", "pearson"] = "spearman",
    groups: Numbers | None = None,
    draws: int = _DRAWS,
    seed: int = 0,
    level: float = _LEVEL,
) -> Estimate:
    """A correlation with its bootstrap interval; NaN where a side does not vary."""
    of = spearman if kind == "spearman" else pearson
    return bootstrap(of, x, y, groups=groups, draws=draws, seed=seed, level=level)


def pearson(x: Numbers, y: Numbers) -> float:
    """Pearson's r; NaN where a side does not vary or there are fewer than two rows."""
    a, b = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    if len(a) < 2:
        return float("nan")
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum() / scale) if scale > 0 else float("nan")


def spearman(x: Numbers, y: Numbers) -> float:
    """Spearman's rank correlation, with midranks for ties."""
    from scipy.stats import rankdata

    return pearson(rankdata(np.asarray(x)), rankdata(np.asarray(y)))


def paired_difference(
    a: Numbers,
    b: Numbers,
    *,
    groups: Numbers | None = None,
    draws: int = _DRAWS,
    seed: int = 0,
    level: float = _LEVEL,
) -> Estimate:
    """The mean of a - b over pairs, with its bootstrap interval."""
    gap = np.asarray(a, dtype=float) - np.asarray(b, dtype=float)
    return bootstrap(_mean, gap, groups=groups, draws=draws, seed=seed, level=level)


def _mean(values: Floats) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


def permutation_p(
    observed: float,
    null: Numbers,
    *,
    tail: Literal["greater", "less", "both"] = "greater",
) -> float:
    """How often the null is as extreme as `observed`, counting the observation itself.

    (1 + extreme) / (1 + draws), which is never 0 (Phipson and Smyth 2010). "both"
    doubles the smaller tail, at most 1.
    """
    draws = np.asarray(null, dtype=float)
    greater = (1 + int((draws >= observed).sum())) / (1 + len(draws))
    less = (1 + int((draws <= observed).sum())) / (1 + len(draws))
    if tail == "both":
        return min(1.0, 2 * min(greater, less))
    return greater if tail == "greater" else less


def benjamini_hochberg(p: Numbers) -> Floats:
    """The p-values adjusted for their number (Benjamini and Hochberg 1995); NaN stays NaN."""
    values = np.asarray(p, dtype=float)
    adjusted = np.full(len(values), np.nan)
    known = np.flatnonzero(~np.isnan(values))
    if len(known):
        order = known[np.argsort(values[known], kind="stable")]
        scaled = values[order] * len(order) / np.arange(1, len(order) + 1)
        adjusted[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 1.0)
    return adjusted


def quadratic_weighted_kappa(
    a: Sequence[Any], b: Sequence[Any], categories: Sequence[Any]
) -> float:
    """Cohen's kappa with squared weights (Cohen 1968) over ordered `categories`.

    NaN when both raters use one category only, where chance explains everything.

    Raises:
        ValueError: The raters differ in length, or use a category that is not named.
    """
    if len(a) != len(b):
        raise ValueError(
            f"the raters judged {len(a)} and {len(b)} items; kappa needs the same ones"
        )
    place = {category: i for i, category in enumerate(categories)}
    unknown = {x for x in (*a, *b) if x not in place}
    if unknown:
        raise ValueError(f"no category {min(unknown, key=str)!r}; known: {list(categories)}")
    seen = np.zeros((len(place), len(place)))
    for x, y in zip(a, b, strict=True):
        seen[place[x], place[y]] += 1
    index = np.arange(len(place))
    weights = (index[:, None] - index[None, :]) ** 2
    chance = np.outer(seen.sum(1), seen.sum(0)) / max(len(a), 1)
    expected = float((weights * chance).sum())
    return 1.0 - float((weights * seen).sum()) / expected if expected > 0 else float("nan")


def cliffs_delta(a: Numbers, b: Numbers) -> float:
    """How much more often a value of `a` exceeds one of `b` than the reverse, -1 to 1 (Cliff 1993)."""
    x, y = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if not len(x) or not len(y):
        return float("nan")
    labels = np.concatenate([np.ones(len(x)), np.zeros(len(y))])
    return 2 * auc(labels, np.concatenate([x, y])) - 1
