"""Who did what, when and to what: one table of events, whatever log it came from.

The table holds columns of numbers and the words they stand for, ordered by actor and
then by time. What a log had to be forgiven (order, duplicates, holes, rows that say
too little) is counted and told in `notes`, a sentence each.
"""

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int32]

HOUR, DAY = 3600.0, 86400.0
# A hole in a whole log is a jump of its clock, or two logs in one, from this share on.
_HOLE = 0.5


class Event(NamedTuple):
    """One thing that an actor did.

    time, end: epoch seconds; end is `time` where the log knows moments only. zone:
    seconds that the actor's clock is ahead of UTC, so that hours of the day are the
    actor's own. object: what it was done to (a case, a task). plan: the plan it
    belongs to; `planned` says that it was only announced. role: the actor's, where
    the log says it. stage: of the network behavior lifecycle.
    """

    actor: str
    time: float
    action: str
    object: str = ""
    state: str = ""
    outcome: str = ""
    plan: str = ""
    stage: str = ""
    role: str = ""
    end: float = float("nan")
    zone: float = 0.0
    planned: bool = False


_WORDS = ("actor", "action", "object", "state", "outcome", "plan", "stage", "role")
FAILED = frozenset(
    {"error", "failed", "failure", "fail", "denied", "timeout", "rejected", "false", "0"}
)
"""Outcomes that count as failure, in small letters; whatever begins with 'error' does too."""


def actor_named(word: str) -> str:
    """An actor's name as a log or a label writes it; 112.0, as tables write numbers, is 112."""
    whole = word.removesuffix(".0")
    return whole if whole.isdigit() else word


def is_failure(outcome: str) -> bool:
    """Whether a log's word for an outcome means that the action failed."""
    word = outcome.lower()
    return word in FAILED or word.startswith("error")


@dataclass(frozen=True)
class EventTable:
    """Events as columns, ordered by actor and time; codes point into `words`.

    Shapes: every column is (n,). `words[name][code]` is the word; code 0 of every
    column but actor and action is "" (the log did not say).
    """

    words: dict[str, tuple[str, ...]]
    codes: dict[str, Codes]
    time: Floats
    end: Floats
    zone: Floats
    planned: npt.NDArray[np.bool_]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.time)

    @property
    def actors(self) -> tuple[str, ...]:
        """The names of all actors; the codes of the column `actor` point here."""
        return self.words["actor"]

    @property
    def starts(self) -> npt.NDArray[np.intp]:
        """Where each actor's events begin, and the end of the last: shape (actors + 1,)."""
        return np.searchsorted(self.codes["actor"], np.arange(len(self.actors) + 1))

    def has(self, column: str) -> bool:
        """Whether any event says something in `column`."""
        return bool((self.codes[column] > 0).any())

    def word(self, column: str, row: int) -> str:
        return self.words[column][int(self.codes[column][row])]

    def event(self, row: int) -> Event:
        """One row as an event again."""
        said = {name: self.word(name, row) for name in _WORDS}
        return Event(
            **said,
            time=float(self.time[row]),
            end=float(self.end[row]),
            zone=float(self.zone[row]),
            planned=bool(self.planned[row]),
        )

    def take(self, rows: npt.NDArray[Any]) -> "EventTable":
        """The same words over fewer rows: a mask, or row numbers in the table's order."""
        return replace(
            self,
            codes={name: column[rows] for name, column in self.codes.items()},
            time=self.time[rows],
            end=self.end[rows],
            zone=self.zone[rows],
            planned=self.planned[rows],
        )

    def with_times(self, time: Floats) -> "EventTable":
        """The same events at other times (seconds), put in order anew."""
        length = self.end - self.time
        moved = replace(self, time=time, end=time + length)
        return moved.take(np.lexsort((time, self.codes["actor"])))


@dataclass
class EventColumns:
    """Where a reader puts its events; `table()` orders them and says what was wrong.

    Bounded only by the number of events: about 70 bytes each.
    """

    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._index: dict[str, dict[str, int]] = {
            name: {} if name in ("actor", "action") else {"": 0} for name in _WORDS
        }
        self._codes = {name: array("i") for name in _WORDS}
        self._time, self._end, self._zone = array("d"), array("d"), array("d")
        self._planned = array("b")
        self._incomplete: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._time)

    def add(self, event: Event) -> None:
        """Take an event; one without actor, action or time is counted and left out."""
        if not event.actor or not event.action or event.time != event.time:
            lacks = (
                "actor" if not event.actor else "action" if not event.action else "readable time"
            )
            self._incomplete[lacks] = self._incomplete.get(lacks, 0) + 1
            return
        for name in _WORDS:
            index = self._index[name]
            self._codes[name].append(index.setdefault(getattr(event, name), len(index)))
        self._time.append(event.time)
        self._end.append(event.end)
        self._zone.append(event.zone)
        self._planned.append(event.planned)

    def extend(self, events: Iterable[Event]) -> None:
        for event in events:
            self.add(event)

    def table(self) -> EventTable:
        """The events in order of actor and time, without exact duplicates."""
        codes = {name: np.array(column, dtype=np.int32) for name, column in self._codes.items()}
        time = np.array(self._time, dtype=np.float64)
        end = np.array(self._end, dtype=np.float64)
        notes = list(self.notes)
        for lacks, count in self._incomplete.items():
            notes.append(f"{_count(count, 'event')} without {lacks} left out")
        table = EventTable(
            {name: tuple(index) for name, index in self._index.items()},
            codes,
            time,
            np.where(np.isnan(end) | (end < time), time, end),
            np.array(self._zone, dtype=np.float64),
            np.array(self._planned, dtype=np.bool_),
        )
        # Clerks are coded by name, so that results do not hang on the order of the file.
        table = _by_name(table)
        table = table.take(np.lexsort((table.time, table.codes["actor"])))
        table, repeated = _without_duplicates(table)
        if repeated:
            notes.append(f"{_count(repeated, 'exact duplicate')} left out")
        return replace(table, notes=(*notes, *_clock_notes(table)))


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _by_name(table: EventTable) -> EventTable:
    words, codes = dict(table.words), dict(table.codes)
    for name in ("actor", "action"):
        order = sorted(range(len(words[name])), key=words[name].__getitem__)
        new = np.empty(len(order), dtype=np.int32)
        new[order] = np.arange(len(order), dtype=np.int32)
        words[name] = tuple(words[name][i] for i in order)
        codes[name] = new[codes[name]] if order else codes[name]
    return replace(table, words=words, codes=codes)


def _without_duplicates(table: EventTable) -> tuple[EventTable, int]:
    """Drop rows that repeat another wholly: same actor, time, action, object, state, outcome, plan."""
    if len(table) < 2:
        return table, 0
    keys = ("action", "object", "state", "outcome", "plan")
    columns = [table.codes[name] for name in keys]
    order = np.lexsort((*columns, table.planned, table.time, table.codes["actor"]))
    # A plan may name one step twice; what was done twice at one moment is written twice.
    same = ~table.planned[order][1:]
    for column in (*columns, table.planned, table.end, table.time, table.codes["actor"]):
        same &= column[order][1:] == column[order][:-1]
    if not same.any():
        return table, 0
    keep = np.ones(len(table), dtype=bool)
    keep[order[1:][same]] = False
    return table.take(keep), int(same.sum())


def _clock_notes(table: EventTable) -> Sequence[str]:
    notes = []
    if len(table) > 2:
        time = np.sort(table.time)
        gaps, span = np.diff(time), time[-1] - time[0]
        if gaps.max() > max(_HOLE * span, DAY):
            days = gaps.max() / DAY
            notes.append(
                f"nothing happened for {days:,.0f} days in the middle of the log: its clock jumped,"
                " or two logs were put together; gaps over the hole are left out"
            )
    zones = np.unique(table.zone)
    if len(zones) and zones.max() - zones.min() > HOUR:
        told = ", ".join(f"{zone / HOUR:+g} h" for zone in zones)
        notes.append(
            f"times in {len(zones)} zones ({told}); hours of the day are each event's own clock's"
        )
    return notes


def hole_after(time: Floats) -> float:
    """The gap from which on a silence is a hole of the log, in seconds; infinite without one."""
    if len(time) < 3:
        return float("inf")
    ordered = np.sort(time)
    gaps, span = np.diff(ordered), ordered[-1] - ordered[0]
    widest = float(gaps.max())
    return widest if widest > max(_HOLE * span, DAY) else float("inf")
