"""Which events weigh most in a verdict: those that the humans make least likely.

An event's weight is log2(P(own) / P(humans)) of the feature that the telling measures
look at: its hour, its gap, or its action after the one before. The definition is ours.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt

from .events import HOUR, EventTable
from .measures import DIMENSIONS, MEASURE
from .profiles import Counts, Profiles, bin_of
from .verdicts import ActorResult, Weighty

_HOURS = frozenset({"hour_entropy", "quiet_quarter", "night_share"})
_GAPS = frozenset({"median_gap", "fast_gaps", "pace", "burstiness", "latency", "overlap"})
_MOST = 3


def weighty_events(
    actor: ActorResult, table: EventTable, profiles: Profiles, humans: Sequence[str]
) -> ActorResult:
    """The actor with the three events that weigh most for the dimension furthest out."""
    there = [d for d in actor.dimensions if d.told]
    if actor.verdict == "human-like" or not there:
        return actor
    worst = min(there, key=lambda d: (d.adjusted, -d.deviation.value))
    i = table.actors.index(actor.name)
    start, stop = table.starts[i], table.starts[i + 1]
    rows = np.arange(start, stop)[~table.planned[start:stop]]
    others = [table.actors.index(name) for name in humans if name != actor.name]
    weights = _weights(worst.measure, table, profiles, i, others, rows)
    best = np.argsort(-weights, kind="stable")[:_MOST]
    told = tuple(
        Weighty(int(rows[k]), f"{_told(table, int(rows[k]))} ({weights[k]:+.1f} bits)")
        for k in best
        if weights[k] > 0
    )
    return replace(actor, weighty=told)


def _weights(
    measure: str,
    table: EventTable,
    profiles: Profiles,
    actor: int,
    others: Sequence[int],
    rows: npt.NDArray[np.intp],
) -> Counts:
    if measure in _HOURS:
        hour = (np.floor((table.time[rows] + table.zone[rows]) / HOUR) % 24).astype(int)
        counts = profiles.hours.sum(1)
        return np.asarray(_ratio(counts[actor], counts[others].sum(0))[hour])
    if measure in _GAPS:
        gap = np.concatenate([[1e8], np.diff(table.time[rows])])
        counts = profiles.binned["gap_bins"].sum(1)
        return np.asarray(_ratio(counts[actor], counts[others].sum(0))[bin_of(gap)])
    actions = table.codes["action"][rows]
    size = len(table.words["action"])
    own = np.bincount(actions, minlength=size).astype(np.float64)
    theirs = np.bincount(
        table.codes["action"][np.isin(table.codes["actor"], others)], minlength=size
    ).astype(np.float64)
    if MEASURE[measure].dimension == DIMENSIONS[3]:
        repeat = np.concatenate([[False], actions[1:] == actions[:-1]])
        return np.asarray(np.where(repeat, 1.0, 0.0) + _ratio(own, theirs)[actions] / 10)
    return np.asarray(_ratio(own, theirs)[actions])


def _ratio(own: Counts, theirs: Counts) -> Counts:
    """log2 of the shares' ratio, each with half an event added to every place."""
    p = (own + 0.5) / (own + 0.5).sum()
    q = (theirs + 0.5) / (theirs + 0.5).sum()
    ratio: Counts = np.log2(p / q)
    return ratio


def _told(table: EventTable, row: int) -> str:
    at = datetime.fromtimestamp(0, UTC) + timedelta(
        seconds=float(table.time[row]) + float(table.zone[row])
    )
    thing = table.word("object", row)
    return f"{at:%Y-%m-%d %H:%M:%S} {table.word('action', row)}" + (f" on {thing}" if thing else "")
