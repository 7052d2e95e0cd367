"""Two cohorts of actors compared in each dimension, by permuting who belongs to which.

Labels are permuted within roles, and what hangs on the work is centered by role first,
so that cohorts of other roles do not differ for that. The statistic is ours: the
largest difference of means over a dimension's measures, in pooled standard deviations.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from repertory.simulators.statistics import benjamini_hochberg, permutation_p

from .measures import DIMENSIONS, MEASURES, Values
from .null import KEYS, scaled_of
from .profiles import Counts

_FEWEST = 4


@dataclass(frozen=True)
class Difference:
    """How two cohorts differ in a dimension: the measure, the effect (d), p and adjusted p."""

    dimension: str
    measure: str
    effect: float
    p: float
    adjusted: float


def compare_cohorts(
    measured: Sequence[Values],
    roles: Sequence[str],
    first: Sequence[bool],
    *,
    permutations: int = 999,
    seed: int = 0,
) -> list[Difference]:
    """Compare the actors in `first` with the others, in every dimension that can be told.

    measured: each actor's draws by measure; only their values count here.
    """
    member = np.array(first, dtype=bool)
    values = _centered(measured, np.array(roles, dtype=np.str_))
    shuffles = _shuffles(member, np.array(roles, dtype=np.str_), permutations, seed)
    found = []
    for dimension in DIMENSIONS:
        rows = [i for i, m in enumerate(MEASURES) if m.dimension == dimension]
        told = [i for i in rows if _enough(values[i], member)]
        if not told:
            continue
        effects = np.array([_effect(values[i], shuffles) for i in told])
        largest = np.abs(effects).max(0)
        best = int(np.abs(effects[:, 0]).argmax())
        p = permutation_p(float(largest[0]), largest[1:])
        found.append(Difference(dimension, KEYS[told[best]], float(effects[best, 0]), p, p))
    adjusted = benjamini_hochberg([d.p for d in found])
    return [
        Difference(d.dimension, d.measure, d.effect, d.p, float(a))
        for d, a in zip(found, adjusted, strict=True)
    ]


def _centered(measured: Sequence[Values], roles: npt.NDArray[np.str_]) -> Counts:
    values = np.array([[float(scaled_of(m, key)[0]) for m in measured] for key in KEYS])
    for row, measure in enumerate(MEASURES):
        if measure.by_role:
            for role in np.unique(roles):
                of = roles == role
                known = values[row, of][~np.isnan(values[row, of])]
                values[row, of] -= known.mean() if len(known) else 0.0
    return values


def _enough(values: Counts, member: npt.NDArray[np.bool_]) -> bool:
    known = ~np.isnan(values)
    varies = known.any() and float(np.nanstd(values)) > 0
    return bool(min((known & member).sum(), (known & ~member).sum()) >= _FEWEST and varies)


def _shuffles(
    member: npt.NDArray[np.bool_], roles: npt.NDArray[np.str_], permutations: int, seed: int
) -> npt.NDArray[np.bool_]:
    """Memberships, the true one first: (1 + permutations, actors)."""
    rng = np.random.default_rng(seed)
    rows = np.tile(member, (permutations + 1, 1))
    for role in np.unique(roles):
        of = np.flatnonzero(roles == role)
        rows[1:, of] = rng.permuted(rows[1:, of], axis=1)
    return rows


def _effect(values: Counts, members: npt.NDArray[np.bool_]) -> Counts:
    known = ~np.isnan(values)
    filled = np.where(known, values, 0.0)
    ones, others = (members & known).sum(1), (~members & known).sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = members @ filled / ones - (~members) @ filled / others
    return np.asarray(np.nan_to_num(gap / float(values[known].std())))
