"""What is counted of every actor, so that all measures and their intervals follow from counts.

Counts add up, so a log may be taken whole or piece by piece in constant memory, and a
bootstrap over blocks of time is a product of weights and counts. Each actor's events
fall into `BLOCKS` blocks by time (days dealt out in turn, so that a block is no season).
Gaps, latencies and switches are kept as histograms with 16 bins for each power of ten,
within which quantiles are interpolated on a log axis (error below 2 %).
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from .events import DAY, HOUR, Codes, EventTable, Floats, hole_after, is_failure

BLOCKS = 20
PER_DECADE = 16
_LOWEST, _HIGHEST = -4, 8
BINS = (_HIGHEST - _LOWEST) * PER_DECADE + 1
"""Bins of gaps: the first holds what is shorter than 0.1 ms, simultaneous events too."""

Counts = npt.NDArray[np.float64]
Keys = npt.NDArray[np.int64]

_SUMS = ("events", "active_hours", "gaps", "gap", "gap2", "fast", "overlaps", "spans")
_LAGS = ("lags", "x", "y", "xx", "yy", "xy")
_PAIRS = ("repeats", "pairs", "failures", "retries")
_BINNED = ("gap_bins", "switch_bins", "repeat_bins", "latency_bins")


def bin_of(seconds: Floats) -> npt.NDArray[np.intp]:
    """The bin of each duration."""
    with np.errstate(divide="ignore"):
        place = np.floor((np.log10(seconds) - _LOWEST) * PER_DECADE) + 1
    found: npt.NDArray[np.intp] = np.clip(np.nan_to_num(place, neginf=0), 0, BINS - 1).astype(
        np.intp
    )
    return found


def edges() -> Floats:
    """The lower edges of the bins in log10 seconds, and the upper one of the last: (BINS + 1,)."""
    inner = _LOWEST + np.arange(BINS) / PER_DECADE
    return np.concatenate([[_LOWEST - 1.0], inner])


@dataclass(frozen=True)
class Tally:
    """How often each tuple of codes was seen: `keys` (m, width) in order, `counts` (m,)."""

    keys: Keys
    counts: Counts

    def plus(self, columns: list[Codes | npt.NDArray[np.intp]]) -> "Tally":
        """The tally with more rows counted; columns: one of shape (n,) for each place of a key."""
        if not len(columns[0]):
            return self
        more = np.stack([np.asarray(column, dtype=np.int64) for column in columns], axis=1)
        keys = np.concatenate([self.keys, more])
        counts = np.concatenate([self.counts, np.ones(len(more))])
        order = np.lexsort(keys.T[::-1])
        keys, counts = keys[order], counts[order]
        first = np.concatenate([[True], (keys[1:] != keys[:-1]).any(axis=1)])
        return Tally(keys[first], np.add.reduceat(counts, np.flatnonzero(first)))

    def of(self, actor: int) -> "Tally":
        """The rows whose first place is `actor`, without that place."""
        low, high = np.searchsorted(self.keys[:, 0], [actor, actor + 1])
        return Tally(self.keys[low:high, 1:], self.counts[low:high])


def empty_tally(width: int) -> Tally:
    """A tally of keys with `width` places that has seen nothing."""
    return Tally(np.zeros((0, width), dtype=np.int64), np.zeros(0))


@dataclass(frozen=True)
class Piece:
    """Some events in order of actor and time, all of shape (n,), codes as in the whole log.

    latency: seconds since another actor's event on the same object, NaN without one.
    fresh: False for rows of an earlier piece that only say what came before.
    """

    actor: Codes
    time: Floats
    end: Floats
    zone: Floats
    action: Codes
    object: Codes
    state: Codes
    failed: npt.NDArray[np.bool_]
    latency: Floats
    fresh: npt.NDArray[np.bool_]


@dataclass
class Profiles:
    """The counts of `actors` actors; arrays begin with the shape (actors, BLOCKS).

    sums: events, hours with an event, gaps with their sum and sum of squares, gaps
    under 1 s, overlaps and events with a duration. lags: what the correlation of
    neighboring gaps needs. hours: events by hour of the actor's own day. singles and
    doubles: (actor, block, action) and (actor, block, action before, action).
    """

    actors: int
    origin: float
    width: float
    hole: float = float("inf")
    hours: Counts = field(init=False)
    sums: dict[str, Counts] = field(init=False)
    binned: dict[str, Counts] = field(init=False)
    singles: Tally = field(default_factory=lambda: empty_tally(3))
    doubles: Tally = field(default_factory=lambda: empty_tally(4))
    by_state: Tally = field(default_factory=lambda: empty_tally(4))

    def __post_init__(self) -> None:
        shape = (self.actors, BLOCKS)
        self.hours = np.zeros((*shape, 24))
        self.sums = {name: np.zeros(shape) for name in (*_SUMS, *_LAGS, *_PAIRS)}
        self.binned = {name: np.zeros((*shape, BINS), dtype=np.float64) for name in _BINNED}

    def take(self, piece: Piece) -> None:
        """Count a piece; its rows must follow what was counted of each actor before."""
        if not len(piece.time):
            return
        block = (np.floor((piece.time - self.origin) / self.width) % BLOCKS).astype(np.intp)
        cell = piece.actor.astype(np.intp) * BLOCKS + block
        self._take_moments(piece, cell, block)
        self._take_steps(piece, cell, block)

    def _add(self, name: str, cell: npt.NDArray[np.intp], weights: Floats | None = None) -> None:
        size = self.actors * BLOCKS
        self.sums[name] += np.bincount(cell, weights, size).reshape(self.actors, BLOCKS)

    def _bin(self, name: str, cell: npt.NDArray[np.intp], seconds: Floats) -> None:
        flat = np.bincount(cell * BINS + bin_of(seconds), minlength=self.binned[name].size)
        self.binned[name] += flat.reshape(self.binned[name].shape)

    def _take_moments(
        self, piece: Piece, cell: npt.NDArray[np.intp], block: npt.NDArray[np.intp]
    ) -> None:
        new = piece.fresh
        local = piece.time + piece.zone
        hour = (np.floor(local / HOUR) % 24).astype(np.intp)
        flat = np.bincount(cell[new] * 24 + hour[new], minlength=self.hours.size)
        self.hours += flat.reshape(self.hours.shape)
        self._add("events", cell[new])
        self._add("spans", cell[new & (piece.end > piece.time)])
        known = new & ~np.isnan(piece.latency)
        self._bin("latency_bins", cell[known], piece.latency[known])
        self.singles = self.singles.plus([piece.actor[new], block[new], piece.action[new]])
        said = new & (piece.state > 0)
        self.by_state = self.by_state.plus(
            [piece.actor[said], block[said], piece.state[said], piece.action[said]]
        )

    def _take_steps(
        self, piece: Piece, cell: npt.NDArray[np.intp], block: npt.NDArray[np.intp]
    ) -> None:
        follows = np.zeros(len(piece.time), dtype=bool)
        follows[1:] = piece.actor[1:] == piece.actor[:-1]
        follows[1:] &= np.diff(piece.time) < self.hole
        before = np.maximum(np.arange(len(piece.time)) - 1, 0)
        gap = np.where(follows, piece.time - piece.time[before], np.nan)
        step = follows & piece.fresh
        at, length = cell[step], gap[step]
        hour = np.floor((piece.time + piece.zone) / HOUR)
        began = piece.fresh & (~follows | (hour != hour[before]))
        self._add("active_hours", cell[began])
        self._add("gaps", at)
        self._add("gap", at, length)
        self._add("gap2", at, length**2)
        self._add("fast", cell[step & (gap < 1.0)])
        self._add("overlaps", cell[step & (piece.end[before] > piece.time)])
        self._bin("gap_bins", at, length)
        same = piece.action == piece.action[before]
        self._add("pairs", at)
        self._add("repeats", cell[step & same])
        self._bin("repeat_bins", cell[step & same], gap[step & same])
        self._bin("switch_bins", cell[step & ~same], gap[step & ~same])
        self.doubles = self.doubles.plus(
            [piece.actor[step], block[step], piece.action[before[step]], piece.action[step]]
        )
        after = step & piece.failed[before]
        self._add("failures", cell[after])
        again = after & same & (piece.object == piece.object[before])
        self._add("retries", cell[again])
        pair = step & follows[before]
        x, y = gap[before[pair]], gap[pair]
        for name, weights in zip(_LAGS, (np.ones(len(x)), x, y, x * x, y * y, x * y), strict=True):
            self._add(name, cell[pair], weights)


def profiles_of(table: EventTable, groups: Codes | None = None, count: int = 0) -> Profiles:
    """The counts of a whole table, of its actors or of `groups` (a code for each row, -1 for none).

    count: how many groups there are.
    """
    if groups is not None:
        table = _grouped(table, groups)
        kept = table.codes["actor"] >= 0
        table = table.take(np.flatnonzero(kept))
    actors = count if groups is not None else len(table.actors)
    origin = float(table.time.min()) if len(table) else 0.0
    span = float(np.ptp(table.time)) if len(table) else 0.0
    width = DAY if span >= BLOCKS * DAY else max(span / BLOCKS, 1e-6)
    profiles = Profiles(actors, origin, width, hole_after(table.time))
    profiles.take(piece_of(table))
    return profiles


def _grouped(table: EventTable, groups: Codes) -> EventTable:
    codes = {**table.codes, "actor": groups.astype(np.int32)}
    moved = EventTable(
        table.words, codes, table.time, table.end, table.zone, table.planned, table.notes
    )
    return moved.take(np.lexsort((table.time, groups)))


def piece_of(table: EventTable) -> Piece:
    """A table's executed events as one piece; what was only planned is not counted."""
    done = table.take(np.flatnonzero(~table.planned)) if table.planned.any() else table
    return Piece(
        done.codes["actor"],
        done.time,
        done.end,
        done.zone,
        done.codes["action"],
        done.codes["object"],
        done.codes["state"],
        failures_of(done),
        latencies_of(done),
        np.ones(len(done), dtype=bool),
    )


def failures_of(table: EventTable) -> npt.NDArray[np.bool_]:
    """Which events failed, by their outcome's word: (n,)."""
    failing = np.array([is_failure(word) for word in table.words["outcome"]], dtype=bool)
    return failing[table.codes["outcome"]]


def latencies_of(table: EventTable) -> Floats:
    """Seconds since another actor's event on the same object, NaN where there is none: (n,)."""
    latency = np.full(len(table), np.nan)
    thing = table.codes["object"]
    order = np.lexsort((table.time, thing))
    order = order[thing[order] > 0]
    if len(order) < 2:
        return latency
    later, earlier = order[1:], order[:-1]
    other = (thing[later] == thing[earlier]) & (
        table.codes["actor"][later] != table.codes["actor"][earlier]
    )
    latency[later[other]] = table.time[later[other]] - table.time[earlier[other]]
    return latency


def block_weights(draws: int, seed: int) -> Counts:
    """How often each block is drawn, shape (1 + draws, BLOCKS); the first row is the data itself."""
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(BLOCKS, np.full(BLOCKS, 1 / BLOCKS), size=draws)
    return np.concatenate([np.ones((1, BLOCKS)), drawn.astype(np.float64)])


def distribution(tally: Tally, size: int) -> Counts:
    """The shares of actions in an actor's singles, shape (size,); zeros without an event."""
    shares: Counts = np.zeros(size)
    np.add.at(shares, tally.keys[:, 1], tally.counts / max(tally.counts.sum(), 1.0))
    return shares
