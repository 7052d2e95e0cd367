"""The measures of behavior, each with its dimension, its unit and the way in which agents differ.

The five dimensions are HABD's (arXiv 2508.14415), whose paper names them and gives no
formula; the choice of measures is ours, the formulas are those that each docstring
names. All are computed from `Profiles` for all draws of a block bootstrap at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .profiles import BINS, Counts, Keys, Profiles, Tally, edges

DIMENSIONS = (
    "decision mechanism",
    "execution efficiency",
    "intention-behavior consistency",
    "behavioral inertia",
    "irrational patterns",
)
"""HABD's dimensions, by the names of arXiv 2508.14415."""

# Fewer gaps, pairs or failures than this say nothing about a share or a median.
FEWEST = 20
_QUARTER_HOURS = 6
_NIGHT = slice(0, 6)


@dataclass(frozen=True, slots=True)
class Measure:
    """One measured quantity.

    toward: +1 where agents lie above humans, -1 where below, 0 where it only tells.
    by_role: it hangs on the work done, so only peers of one role are compared. scale:
    how values are compared, "log" (log10), "share" (arcsine of the root) or "plain".
    floor: the least spread that counts, on that scale, so that a cohort of equals does
    not make every newcomer look strange.
    """

    key: str
    dimension: str
    unit: str
    toward: Literal[-1, 0, 1]
    by_role: bool
    scale: Literal["log", "share", "plain"]
    floor: float
    says: str

    def scaled(self, values: Counts) -> Counts:
        """Values on the scale on which they are compared."""
        with np.errstate(divide="ignore", invalid="ignore"):
            if self.scale == "log":
                return np.log10(np.maximum(values, 1e-4))
            if self.scale == "share":
                return np.arcsin(np.sqrt(np.clip(values, 0.0, 1.0)))
        return values


_DECISION, _EXECUTION, _INTENTION, _INERTIA, _IRRATIONAL = DIMENSIONS

MEASURES: tuple[Measure, ...] = (
    Measure("action_entropy", _DECISION, "bits", -1, True, "plain", 0.1, "variety of actions"),
    Measure(
        "next_entropy", _DECISION, "bits", -1, True, "plain", 0.1, "freedom of the next action"
    ),
    Measure(
        "determinism", _DECISION, "share", 1, True, "share", 0.05, "same action in the same state"
    ),
    Measure("median_gap", _EXECUTION, "s", -1, True, "log", 0.1, "median gap between actions"),
    Measure("fast_gaps", _EXECUTION, "share", 1, True, "share", 0.05, "gaps under 1 s"),
    Measure("pace", _EXECUTION, "1/h", 1, True, "log", 0.1, "actions in an active hour"),
    Measure("latency", _EXECUTION, "s", -1, True, "log", 0.1, "median reaction to others"),
    Measure(
        "overlap", _EXECUTION, "share", 1, True, "share", 0.05, "actions before the last ended"
    ),
    Measure(
        "hour_entropy",
        _EXECUTION,
        "bits",
        1,
        False,
        "plain",
        0.1,
        "spread over the hours of the day",
    ),
    Measure(
        "quiet_quarter",
        _EXECUTION,
        "share",
        1,
        False,
        "share",
        0.03,
        "share in the quietest 6 hours",
    ),
    Measure(
        "night_share", _EXECUTION, "share", 0, False, "share", 0.03, "share from 0 to 6 o'clock"
    ),
    Measure("burstiness", _EXECUTION, "", -1, False, "plain", 0.1, "burstiness of gaps"),
    Measure("self_repeat", _INERTIA, "share", 1, True, "share", 0.05, "same action again"),
    Measure(
        "mutual_information", _INERTIA, "bits", 1, True, "plain", 0.1, "hold of the last action"
    ),
    Measure("per_type", _INERTIA, "", 1, True, "log", 0.1, "actions per type of action"),
    Measure("switch_cost", _INERTIA, "decades", -1, True, "plain", 0.1, "delay at a switch"),
    Measure("memory", _INERTIA, "", 0, False, "plain", 0.05, "memory of gaps"),
    Measure("retry", _INERTIA, "share", 1, False, "share", 0.05, "identical retry after a failure"),
    Measure("plan_f1", _INTENTION, "", 0, True, "share", 0.05, "plan against action, F1"),
    Measure("unplanned", _INTENTION, "share", 0, True, "share", 0.05, "actions nobody planned"),
    Measure(
        "ev_consistency", _IRRATIONAL, "share", 1, False, "share", 0.05, "better gamble chosen"
    ),
    Measure(
        "intransitivity", _IRRATIONAL, "share", -1, False, "share", 0.05, "circular preferences"
    ),
    Measure("order_flips", _IRRATIONAL, "share", 0, False, "share", 0.05, "choice turned by order"),
)
"""Every measure that an event log or a choice log can give."""

MEASURE: Mapping[str, Measure] = {each.key: each for each in MEASURES}

Values = dict[str, Counts]


def measures_of(profiles: Profiles, actor: int, weights: Counts) -> Values:
    """All measures of one actor, each of shape (draws,), NaN where the data cannot tell.

    weights: draws by blocks, as `block_weights` makes them.
    """
    sums = {name: weights @ counts[actor] for name, counts in profiles.sums.items()}
    binned = {name: weights @ counts[actor] for name, counts in profiles.binned.items()}
    hours = weights @ profiles.hours[actor]
    singles = _shares(profiles.singles.of(actor), weights)
    doubles = profiles.doubles.of(actor)
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = _entropy(singles)
        joint = _entropy(_shares(doubles, weights))
        before, after = (_entropy(_margin(doubles, weights, place)) for place in (1, 2))
        return {
            "action_entropy": _where(sums["events"], entropy),
            "next_entropy": _where(sums["pairs"], joint - before),
            "determinism": _determinism(profiles.by_state.of(actor), weights),
            "median_gap": _where(sums["gaps"], quantile(binned["gap_bins"], 0.5)),
            "fast_gaps": _where(sums["gaps"], sums["fast"] / sums["gaps"]),
            "pace": _where(sums["events"], sums["events"] / sums["active_hours"]),
            "latency": _where(
                binned["latency_bins"].sum(-1), quantile(binned["latency_bins"], 0.5)
            ),
            "overlap": _where(sums["spans"], sums["overlaps"] / sums["gaps"]),
            "hour_entropy": _where(sums["events"], _entropy(hours)),
            "quiet_quarter": _where(sums["events"], quiet_quarter(hours)),
            "night_share": _where(sums["events"], hours[:, _NIGHT].sum(-1) / hours.sum(-1)),
            "burstiness": _where(sums["gaps"], burstiness(sums["gaps"], sums["gap"], sums["gap2"])),
            "self_repeat": _where(sums["pairs"], sums["repeats"] / sums["pairs"]),
            "mutual_information": _where(sums["pairs"], before + after - joint),
            "per_type": _where(sums["events"], sums["events"] / (singles > 0).sum(-1)),
            "switch_cost": _switch_cost(binned),
            "memory": _where(sums["lags"], _memory(sums)),
            "retry": _where(sums["failures"], sums["retries"] / sums["failures"]),
        }


def _where(count: Counts, values: Counts) -> Counts:
    # A draw may leave out all of something that others hold, and divide by nothing.
    return np.where((count >= FEWEST) & np.isfinite(values), values, np.nan)


def _shares(tally: Tally, weights: Counts) -> Counts:
    """Weighted counts by key without its block, shape (draws, keys)."""
    return _summed(tally, weights, tally.keys[:, 1:])


def _margin(tally: Tally, weights: Counts, place: int) -> Counts:
    return _summed(tally, weights, tally.keys[:, place : place + 1])


def _summed(tally: Tally, weights: Counts, keys: Keys) -> Counts:
    if not len(tally.counts):
        return np.zeros((len(weights), 1))
    _, code = np.unique(keys, axis=0, return_inverse=True)
    code = code.reshape(-1)
    order = np.argsort(code, kind="stable")
    starts = np.flatnonzero(np.concatenate([[True], np.diff(code[order]) > 0]))
    weighed = weights[:, tally.keys[order, 0]] * tally.counts[order]
    return np.add.reduceat(weighed, starts, axis=1)


def _entropy(counts: Counts) -> Counts:
    """Shannon's entropy in bits by row, with the correction of Miller and Madow (1955).

    The correction, (types - 1) / 2n in nats, stays within what so many types can hold.
    """
    total = counts.sum(-1, keepdims=True)
    share = counts / total
    plain = -np.where(share > 0, share * np.log2(np.where(share > 0, share, 1)), 0.0).sum(-1)
    types = (counts > 0).sum(-1)
    corrected = plain + (types - 1) / (2 * total[..., 0]) / np.log(2)
    bound = np.log2(np.maximum(types, 1))
    entropy: Counts = np.minimum(corrected, bound)
    return entropy


def _determinism(tally: Tally, weights: Counts) -> Counts:
    """Mean over events of max P(a | state): 1 where a state always leads to one action."""
    if tally.counts.sum() < FEWEST:
        return np.full(len(weights), np.nan)
    states, code = np.unique(tally.keys[:, 1], return_inverse=True)
    best = np.zeros((len(weights), len(states)))
    for i in range(len(states)):
        rows = code == i
        best[:, i] = _shares(Tally(tally.keys[rows], tally.counts[rows]), weights).max(-1)
    total = weights[:, tally.keys[:, 0]] @ tally.counts
    share: Counts = best.sum(-1) / total
    return share


def quantile(bins: Counts, share: float) -> Counts:
    """A quantile in seconds of binned durations by row, interpolated on the log axis."""
    total = bins.sum(-1)
    rank = share * total
    reached = np.cumsum(bins, axis=-1)
    place = np.minimum((reached < rank[..., None]).sum(-1), BINS - 1)
    inside = np.take_along_axis(bins, place[..., None], -1)[..., 0]
    below = np.take_along_axis(reached, place[..., None], -1)[..., 0] - inside
    with np.errstate(divide="ignore", invalid="ignore"):
        part = np.where(inside > 0, (rank - below) / inside, 0.5)
    low, high = edges()[place], edges()[place + 1]
    seconds: Counts = 10 ** (low + part * (high - low))
    return np.where(total > 0, seconds, np.nan)


def quiet_quarter(hours: Counts) -> Counts:
    """The share of events in the quietest 6 hours in a row of the day; ours.

    People sleep, whatever their shift and time zone, so theirs is near 0; a night
    shift moves the quiet hours and does not fill them. Uniform work gives .25.
    """
    around = np.concatenate([hours, hours[..., : _QUARTER_HOURS - 1]], axis=-1)
    windows = np.lib.stride_tricks.sliding_window_view(around, _QUARTER_HOURS, axis=-1)
    share: Counts = windows.sum(-1).min(-1) / hours.sum(-1)
    return share


def burstiness(count: Counts, total: Counts, squares: Counts) -> Counts:
    """Burstiness of `count` gaps for finite sizes (Kim and Jo 2016, equation 22).

    B_n = (sqrt(n+1) r - sqrt(n-1)) / ((sqrt(n+1) - 2) r + sqrt(n-1)) with r = sigma/mu
    over n gaps: -1 for a clock, 0 for a Poisson process, towards 1 for bursts.
    """
    mean = total / count
    r = np.sqrt(np.maximum(squares / count - mean**2, 0.0)) / mean
    up, down = np.sqrt(count + 1), np.sqrt(count - 1)
    ratio: Counts = (up * r - down) / ((up - 2) * r + down)
    return ratio


def _memory(sums: Mapping[str, Counts]) -> Counts:
    """The correlation of neighboring gaps, M of Goh and Barabási (2008)."""
    n = sums["lags"]
    cover = sums["xy"] / n - sums["x"] * sums["y"] / n**2
    spread = (sums["xx"] / n - (sums["x"] / n) ** 2) * (sums["yy"] / n - (sums["y"] / n) ** 2)
    ratio: Counts = cover / np.sqrt(spread)
    return np.where(spread > 0, ratio, np.nan)


def _switch_cost(binned: Mapping[str, Counts]) -> Counts:
    """How much longer the median gap is at a switch of action than at a repeat, in decades; ours."""
    switch, repeat = binned["switch_bins"], binned["repeat_bins"]
    enough = np.minimum(switch.sum(-1), repeat.sum(-1))
    return _where(enough, np.log10(quantile(switch, 0.5) / quantile(repeat, 0.5)))
