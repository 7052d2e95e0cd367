"""A log of any length in constant memory: events are counted as they pass and not kept.

What must be known of the past is bounded: the last two events of each actor, the last
event of the latest objects, and words up to a limit, beyond which they count as
"(other)". The file must be in order of time. Events that weigh most, plans and stages
need the events themselves and are left out.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from repertory.simulators.errors import SimulatorInputError

from .events import DAY, Event, is_failure
from .profiles import Piece, Profiles

ACTORS, ACTIONS, STATES, OBJECTS = 1000, 1000, 256, 100_000
OTHER = "(other)"
CHUNK = 20_000
# Out of order by more than this share, a log's gaps would be wrong.
_MOST_BACK = 0.01


@dataclass
class Words:
    """Codes of words up to a limit; code 0 is "" where `blank`."""

    limit: int
    blank: bool = True
    index: dict[str, int] = field(default_factory=dict)
    cut: int = 0

    def __post_init__(self) -> None:
        if self.blank:
            self.index[""] = 0

    def code(self, word: str) -> int:
        """The word's code; that of "(other)" for words beyond the limit."""
        found = self.index.get(word)
        if found is not None:
            return found
        if len(self.index) >= self.limit:
            self.cut += 1
            word = OTHER
            if word in self.index:
                return self.index[word]
        return self.index.setdefault(word, len(self.index))

    @property
    def words(self) -> tuple[str, ...]:
        return tuple(self.index)


@dataclass
class Stream:
    """The counts of a stream; `profiles` are over `ACTORS` places, most of them empty."""

    profiles: Profiles
    actors: Words
    actions: Words
    roles: dict[str, str]
    events: int
    notes: list[str]


def read_stream(events: Iterable[Event], notes: list[str], *, actors: int = ACTORS) -> Stream:
    """Count a stream of events that is in order of time.

    Raises:
        SimulatorInputError: It is empty, or more than 1 % of it is out of order.
    """
    counter = _Counter(actors)
    for chunk in _chunks(events):
        counter.take(chunk)
    if counter.profiles is None:
        raise SimulatorInputError(f"no event with an actor, an action and a time ({notes})")
    if counter.back > _MOST_BACK * counter.events:
        raise SimulatorInputError(
            f"{counter.back:,} of {counter.events:,} events stand before their predecessor: a"
            " stream must be in order of time; without --stream the log is put in order"
        )
    if counter.back:
        notes.append(f"{counter.back:,} events out of order of time left out")
    for words, what in ((counter.actors, "actors"), (counter.actions, "kinds of action")):
        if words.cut:
            notes.append(f"events of {what} beyond the first {words.limit:,} count as {OTHER}")
    notes.append("read as a stream: no single events, plans or stages are told")
    return Stream(
        counter.profiles, counter.actors, counter.actions, counter.roles, counter.events, notes
    )


def _chunks(events: Iterable[Event]) -> Iterator[list[Event]]:
    chunk: list[Event] = []
    for event in events:
        if event.actor and event.action and event.time == event.time and not event.planned:
            chunk.append(event)
        if len(chunk) >= CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


class _Counter:
    """Turns chunks of events into pieces, each behind the last two events of its actors."""

    def __init__(self, actors: int) -> None:
        self.profiles: Profiles | None = None
        self.actors = Words(actors, blank=False)
        self.actions = Words(ACTIONS, blank=False)
        self.roles: dict[str, str] = {}
        self.events = self.back = 0
        self._states = Words(STATES)
        self._objects: OrderedDict[str, tuple[float, int, int]] = OrderedDict()
        self._named = 0
        self._tails: dict[int, list[tuple[float, ...]]] = {}
        self._now = float("-inf")

    def take(self, chunk: Sequence[Event]) -> None:
        rows = [row for event in chunk if (row := self._row(event)) is not None]
        if not rows:
            return
        if self.profiles is None:
            self.profiles = Profiles(self.actors.limit + 1, rows[0][1], DAY)
        old = [tail for who in {int(r[0]) for r in rows} for tail in self._tails.get(who, ())]
        table = np.array([*old, *rows], dtype=np.float64)
        fresh = np.concatenate([np.zeros(len(old), bool), np.ones(len(rows), bool)])
        order = np.lexsort((np.arange(len(table)), table[:, 1], table[:, 0]))
        table, fresh = table[order], fresh[order]
        actor, action, thing, state = (table[:, k].astype(np.int32) for k in (0, 4, 5, 6))
        self.profiles.take(
            Piece(
                actor,
                table[:, 1],
                table[:, 2],
                table[:, 3],
                action,
                thing,
                state,
                table[:, 7] > 0,
                table[:, 8],
                fresh,
            )
        )
        ends = np.flatnonzero(np.diff(table[:, 0], append=-1.0) != 0)
        for end in ends:
            who = int(table[end, 0])
            first = end - 1 if end and table[end - 1, 0] == who else end
            self._tails[who] = [tuple(row) for row in table[first : end + 1]]

    def _row(self, event: Event) -> tuple[float, ...] | None:
        self.events += 1
        if event.time < self._now:
            self.back += 1
            return None
        self._now = event.time
        actor = self.actors.code(event.actor)
        if event.role and event.actor not in self.roles and event.actor in self.actors.index:
            self.roles[event.actor] = event.role
        latency, thing = self._seen(event, actor)
        end = event.end if event.end == event.end and event.end > event.time else event.time
        return (
            float(actor),
            event.time,
            end,
            event.zone,
            float(self.actions.code(event.action)),
            float(thing),
            float(self._states.code(event.state)),
            float(is_failure(event.outcome)),
            latency,
        )

    def _seen(self, event: Event, actor: int) -> tuple[float, int]:
        """The latency after another actor's event on the object, and a number for the object."""
        if not event.object:
            return float("nan"), 0
        known = self._objects.pop(event.object, None)
        if known is None:
            # Numbers come round again after far more objects than are remembered.
            self._named = self._named % (10 * OBJECTS) + 1
            known = (event.time, actor, self._named)
            latency = float("nan")
        else:
            latency = event.time - known[0] if known[1] != actor else float("nan")
        self._objects[event.object] = (event.time, actor, known[2])
        if len(self._objects) > OBJECTS:
            self._objects.popitem(last=False)
        return latency, known[2]
