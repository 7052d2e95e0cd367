"""Event logs in XES (IEEE 1849), read as a stream; a file cut in the middle gives what it holds.

Keys: `org:resource` is the actor, `concept:name` with `lifecycle:transition` the
action, the trace's `concept:name` the object. Entities are refused, so a log
cannot blow up in memory.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import BinaryIO
from xml.parsers import expat

from .events import Event
from .times import read_time

_CHUNK = 1 << 18
_ACTORS = ("org:resource", "resource", "org:user", "actor")
_ROLES = ("org:role", "role", "org:group")
_STATES = ("state", "lifecycle:state")
_OUTCOMES = ("outcome", "status")
_PLANS = ("plan", "plan_id", "lifecycle:plan")
_STAGES = ("lifecycle.stage", "stage")


class _XesParser:
    """Collects the events of a log from expat's calls; `taken` is emptied by who reads."""

    def __init__(self) -> None:
        self.taken: list[Event] = []
        self._parser = expat.ParserCreate()
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.EntityDeclHandler = self._entity
        self._trace: dict[str, str] = {}
        self._event: dict[str, str] | None = None
        self._path: list[str] = []
        self._zones: dict[str, tuple[float, float]] = {}

    def feed(self, data: bytes, final: bool) -> None:
        self._parser.Parse(data, final)

    def _entity(self, *_: object) -> None:
        raise expat.ExpatError("it declares entities, which no event log needs")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._path.append(name)
        if name == "event":
            self._event = {}
        elif name == "trace":
            self._trace = {}
        elif len(self._path) > 1 and "key" in attributes:
            above = self._path[-2]
            if above == "event" and self._event is not None:
                self._event[attributes["key"]] = attributes.get("value", "")
            elif above == "trace":
                self._trace[attributes["key"]] = attributes.get("value", "")

    def _end(self, name: str) -> None:
        self._path.pop()
        if name == "event" and self._event is not None:
            self.taken.append(_event_of(self._event, self._trace))
            self._event = None


def _event_of(said: Mapping[str, str], trace: Mapping[str, str]) -> Event:
    first = _first(said)
    transition = said.get("lifecycle:transition", "")
    action = said.get("concept:name", "") or said.get("action", "")
    if transition and transition.lower() != "complete":
        action = f"{action}+{transition.lower()}"
    stamp = said.get("time:timestamp", "") or said.get("timestamp", "")
    time, zone = read_time(stamp) if stamp else (float("nan"), 0.0)
    return Event(
        actor=first(_ACTORS),
        time=time,
        action=action,
        object=trace.get("concept:name", ""),
        state=first(_STATES),
        outcome=first(_OUTCOMES),
        plan=first(_PLANS),
        stage=first(_STAGES),
        role=first(_ROLES),
        zone=zone,
    )


def _first(said: Mapping[str, str]) -> Callable[[tuple[str, ...]], str]:
    return lambda keys: next((said[key] for key in keys if said.get(key)), "")


def read_xes(stream: BinaryIO, name: str, notes: list[str]) -> Iterator[Event]:
    """The events of an XES log in the file's order; `notes` is told where the file is broken."""
    parser = _XesParser()
    count = 0
    while True:
        try:
            data = stream.read(_CHUNK)
        except (EOFError, OSError) as error:
            notes.append(f"{name}: its compression is cut or broken ({error}); read up to there")
            data = b""
        try:
            parser.feed(data, not data)
        except expat.ExpatError as error:
            yield from parser.taken
            count += len(parser.taken)
            notes.append(
                f"{name}: the XES is cut or broken after {count:,} events ({error}); they are used"
            )
            return
        yield from parser.taken
        count += len(parser.taken)
        parser.taken.clear()
        if not data:
            return
