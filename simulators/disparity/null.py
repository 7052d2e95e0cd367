"""The human null: how far each human lies from the other humans, and where an actor lies in that.

Every deviation is measured in units of the spread among humans (of the role, where
the measure hangs on the work), towards where agents lie. Each human in turn is left
out of the yardstick, and he and everybody else are measured by what is left: so a
pair of actor and human is compared by a yardstick that holds neither, and labels
without meaning give no preference to either side. Definitions are ours; p-values
follow Phipson and Smyth (2010), and beyond the largest human, where ranks cannot tell,
the tail of Knijnenburg and others (2009) with a shape that is never lighter than theirs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from repertory.simulators.statistics import permutation_p

from .measures import DIMENSIONS, MEASURE, MEASURES, Values
from .profiles import Counts

FEWEST_PEERS = 8
"""Peers that a role needs before what hangs on the work is compared."""
# A tail is fitted to at least so many humans, of whom the upper fifth makes it.
_TAIL_FROM = 20
_TAIL_SHARE = 0.2
_LIGHTEST, _HEAVIEST = 0.1, 0.5
# Some dozens of humans say nothing of what one in more than this many would do.
_LEAST = 1e-5
# Of more humans than this, so many are left out in turn.
_MOST_LEFT_OUT = 300

KEYS = tuple(m.key for m in MEASURES)
SIGNED = {
    name: np.array([m.dimension == name and m.toward != 0 for m in MEASURES]) for name in DIMENSIONS
}
"""Which measures count towards a dimension's deviation, by dimension: (measures,)."""


@dataclass(frozen=True)
class Yardstick:
    """The humans by measure: middle and spread for each actor, shape (measures, actors)."""

    middle: Counts
    spread: Counts


@dataclass(frozen=True)
class Null:
    """Everybody's measures, and everybody's deviations as each human is left out.

    values, errors: (measures, actors), on the measures' scales, NaN where not told.
    humans: numbers of the actors that make the yardstick. left_out: those of them
    that were left out in turn. deviations: (left out, measures, actors). scale: what
    a deviation of 1 is by the yardstick of all humans, with the sign towards agents,
    (measures, actors).
    """

    values: Counts
    errors: Counts
    roles: npt.NDArray[np.str_]
    humans: npt.NDArray[np.intp]
    left_out: npt.NDArray[np.intp]
    deviations: Counts
    scale: Counts

    def own(self, actor: int) -> Counts:
        """An actor's deviations by measure, by a yardstick without him: (measures,)."""
        if actor in self.left_out:
            place = int(np.flatnonzero(self.left_out == actor)[0])
            return np.asarray(self.deviations[place, :, actor])
        if not len(self.left_out):
            return np.full(len(KEYS), np.nan)
        with np.errstate(invalid="ignore"):
            return np.asarray(np.median(self.deviations[:, :, actor], axis=0))

    def against(self, actor: int, told: npt.NDArray[np.bool_]) -> tuple[Counts, Counts]:
        """The actor's deviation and the left-out human's, for each of them: two of (left out,).

        told: the measures that count, (measures,).
        """
        others = self.left_out != actor
        rows = np.flatnonzero(others)
        theirs = self.deviations[rows, :, self.left_out[rows]]
        mine = self.deviations[rows, :, actor]
        if actor in self.left_out:
            mine = np.broadcast_to(self.own(actor), mine.shape)
        known = ~np.isnan(theirs[:, told]).all(axis=1) if told.any() else np.zeros(len(rows), bool)
        return furthest(mine[known][:, told].T), furthest(theirs[known][:, told].T)

    def scores(self, deviations: Counts) -> Counts:
        """The largest deviation over all dimensions; deviations: (measures, n) -> (n,)."""
        with np.errstate(invalid="ignore"):
            return np.asarray(
                np.fmax.reduce([furthest(deviations[mask]) for mask in SIGNED.values()])
            )


def null_of(
    measured: Sequence[Values], roles: Sequence[str], humans: Sequence[int], *, seed: int = 0
) -> Null:
    """The null that the actors numbered `humans` make; measured: every actor's draws."""
    values = np.array([[_first(m, key) for m in measured] for key in KEYS])
    errors = np.array([[error_of(m, key) for m in measured] for key in KEYS])
    known = np.array(humans, dtype=np.intp)
    chosen = known
    if len(known) > _MOST_LEFT_OUT:
        drawn = np.random.default_rng(seed).choice(known, _MOST_LEFT_OUT, replace=False)
        chosen = np.sort(drawn)
    named = np.array(roles, dtype=np.str_)
    signs = np.array([m.toward or 1 for m in MEASURES], dtype=np.float64)[:, None]
    deviations = np.empty((len(chosen), *values.shape))
    for place, out in enumerate(chosen):
        by = yardstick(values, named, known[known != out])
        deviations[place] = signs * (values - by.middle) / np.hypot(by.spread, errors)
    scale = signs * np.hypot(yardstick(values, named, known).spread, errors)
    return Null(values, errors, named, known, chosen, deviations, scale)


def yardstick(
    values: Counts, roles: npt.NDArray[np.str_], humans: npt.NDArray[np.intp]
) -> Yardstick:
    """Middle and spread of the humans that each actor is compared with, by measure.

    The spread is the larger of the scaled MAD and half the standard deviation, with
    the measure's floor; NaN where fewer than `FEWEST_PEERS` humans can be told.
    """
    middle, spread = np.full(values.shape, np.nan), np.full(values.shape, np.nan)
    groups: list[tuple[npt.NDArray[np.bool_], npt.NDArray[np.intp]]] = []
    for role in np.unique(roles):
        if role:
            groups.append((roles == role, humans[roles[humans] == role]))
    everybody = [(np.ones(values.shape[1], dtype=bool), humans)]
    for row, measure in enumerate(MEASURES):
        for of, peers in groups if measure.by_role else everybody:
            known = values[row, peers]
            known = known[~np.isnan(known)]
            if len(known) < FEWEST_PEERS - 1:
                continue
            center = float(np.median(known))
            wide = max(1.4826 * float(np.median(np.abs(known - center))), 0.5 * float(known.std()))
            middle[row, of] = center
            spread[row, of] = np.hypot(wide, measure.floor)
    return Yardstick(middle, spread)


def scaled_of(values: Values, key: str) -> Counts:
    """The draws of a measure on its scale; one NaN where the actor has no such measure."""
    found = values.get(key)
    return np.array([np.nan]) if found is None else MEASURE[key].scaled(found)


def _first(values: Values, key: str) -> float:
    return float(scaled_of(values, key)[0])


def error_of(values: Values, key: str) -> float:
    """The standard error of a bootstrapped value on its scale, 0 where it cannot be told."""
    draws = scaled_of(values, key)
    drawn = draws[1:][~np.isnan(draws[1:])]
    return float(drawn.std()) if len(drawn) > 1 else 0.0


def furthest(deviations: Counts) -> Counts:
    """How far a dimension lies towards agents: (measures, n) -> (n,), NaN where none can tell.

    The mean of the two largest deviations, so that one odd habit of a human makes no
    agent of him; the one deviation where there is but one. Ours.
    """
    if not len(deviations):
        return np.full(deviations.shape[1], np.nan)
    ordered = np.sort(np.nan_to_num(deviations, nan=-np.inf), axis=0)[-2:]
    first = ordered[-1]
    second = np.where(np.isfinite(ordered[0]), ordered[0], first)
    return np.where(np.isfinite(first), (first + second) / 2, np.nan)


def tail_p(observed: Counts, null: Counts, *, tail: bool = True) -> float:
    """How often a human lies as far out as the actor; observed, null: pairs of shape (n,).

    By rank, (1 + as far out) / (1 + humans). Beyond the largest human of 20 or more
    the rank says no more than that, and a generalized Pareto tail over the upper
    fifth takes over, fitted by moments with its shape held within .1 to .5, never
    below 1e-5. tail: False keeps the rank.
    """
    rank = permutation_p(0.0, null - observed)
    typical = float(np.median(observed))
    if not tail or len(null) < _TAIL_FROM or typical <= null.max():
        return rank
    ordered = np.sort(null)
    count = max(10, round(_TAIL_SHARE * len(ordered)))
    start = ordered[-count - 1]
    over = ordered[-count:] - start
    mean, variance = float(over.mean()), float(over.var())
    if mean <= 0:
        return rank
    shape = _LIGHTEST
    if variance > 0:
        shape = float(np.clip((1 - mean**2 / variance) / 2, _LIGHTEST, _HEAVIEST))
    scale = mean * (1 - shape)
    share = count / len(ordered)
    far = share * (1 + shape * (typical - start) / scale) ** (-1 / shape)
    return float(min(rank, max(far, _LEAST)))
