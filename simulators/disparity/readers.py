"""Logs of any of the known kinds into one table of events.

A log is told by what it holds, not only by its name: XES, CSV, JSON lines, OTLP's
JSON, each also compressed with gzip. A row that cannot be read is counted and left
out; a file that is none of these is refused with a sentence.
"""

import csv
import gzip
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

import orjson

from repertory.simulators.errors import SimulatorInputError

from .events import Event, EventColumns, EventTable, actor_named
from .spans import events_of_spans, rows_of_otlp, stage_named
from .times import read_time
from .xes import read_xes

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "actor": ("actor", "org:resource", "resource", "user", "agent", "user_id", "resource_id"),
    "time": (
        "time",
        "time:timestamp",
        "timestamp",
        "complete timestamp",
        "t",
        "completetime",
        "date",
        "datetime",
    ),
    "end": ("end", "end_time"),
    "action": ("action", "concept:name", "activity", "event", "task", "name", "activityname"),
    "transition": ("lifecycle:transition", "transition", "lifecycle"),
    "object": ("object", "case:concept:name", "case", "case id", "case_id", "caseid", "trace"),
    "state": ("state",),
    "outcome": ("outcome", "status", "result"),
    "plan": ("plan", "plan_id"),
    "planned": ("planned",),
    "stage": ("lifecycle.stage", "stage"),
    "role": ("role", "org:role", "org:group"),
}
"""The names that a column of a CSV file or a key of JSON lines may have, best first."""

_TRUE = frozenset({"true", "1", "yes"})


def load_events(paths: Sequence[Path], *, columns: Mapping[str, str] | None = None) -> EventTable:
    """The events of all `paths`, as one table.

    columns: the name that a column has in these files, in place of `COLUMNS`.

    Raises:
        SimulatorInputError: A file is missing, is no log of a known kind, or no
            event is left.
    """
    taken = EventColumns()
    for path in paths:
        taken.extend(read_events(path, taken.notes, columns=columns))
    return finished(taken, ", ".join(path.name for path in paths))


def finished(taken: EventColumns, name: str) -> EventTable:
    """The table of what was taken.

    Raises:
        SimulatorInputError: There is no event in it.
    """
    table = taken.table()
    if not len(table):
        told = "; ".join(table.notes) or "it is empty"
        raise SimulatorInputError(
            f"{name}: no event with an actor, an action and a time in it ({told})", file=name
        )
    return table


def read_events(
    path: Path, notes: list[str], *, columns: Mapping[str, str] | None = None
) -> Iterator[Event]:
    """The events of one file in its own order; `notes` gets a sentence about each oddity.

    Raises:
        SimulatorInputError: The file is missing, or no log of a known kind.
    """
    if not path.is_file():
        raise SimulatorInputError(f"{path}: no such file; a log is a file", file=str(path))
    with _opened(path) as stream:
        try:
            head = stream.read(4096).lstrip(b"\xef\xbb\xbf \r\n\t")
        except (OSError, EOFError):
            head = b""
    if not head:
        notes.append(f"{path.name}: it is empty")
        return
    with _opened(path) as stream:
        if head.startswith((b"<?xml", b"<log", b"<!--")):
            yield from _in_order(read_xes(stream, path.name, notes), path, notes, by_object=True)
        elif head.startswith((b"{", b"[")):
            yield from _in_order(_read_json(stream, path, notes, columns), path, notes)
        else:
            yield from _in_order(_read_csv(stream, path, notes, columns), path, notes)


def _opened(path: Path) -> BinaryIO:
    if path.suffix == ".gz":
        return cast(BinaryIO, gzip.open(path, "rb"))
    return path.open("rb")


def _in_order(
    events: Iterable[Event], path: Path, notes: list[str], *, by_object: bool = False
) -> Iterator[Event]:
    """The same events; says afterwards how the file's order and clock behaved.

    by_object: the file is ordered within each object (an XES trace), not as a whole.
    """
    count = back = 0
    first, last = "", float("-inf")
    within = ""
    for event in events:
        yield event
        count += 1
        if by_object and event.object != within:
            within, last = event.object, float("-inf")
        if event.time < last:
            back += 1
            first = first or f"event {count:,}, by {last - event.time:,.0f} s"
        last = event.time if event.time == event.time else last
    if not back:
        return
    if count >= 100 and back <= count / 100:
        notes.append(
            f"{path.name}: the clock went back {back} time{'s' * (back > 1)} (first at {first});"
            " events stand where their times say"
        )
    else:
        notes.append(f"{path.name}: not in order of time; {count:,} events were put in order")


# -- JSON ------------------------------------------------------------------------


def _read_json(
    stream: BinaryIO, path: Path, notes: list[str], columns: Mapping[str, str] | None
) -> Iterator[Event]:
    """JSON lines of events or of OTLP requests, or one JSON value of either."""
    bad, first_bad = 0, 0
    otlp: list[Mapping[str, Any]] = []
    rest: list[bytes] = []
    # Where the columns of a row are, by its keys: most rows of a log have the same.
    shapes: dict[tuple[str, ...], dict[str, Any]] = {}
    try:
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            if rest or (number == 1 and not _parsed(line)):
                # Not a line of its own: one value that is printed over many lines.
                rest.append(line)
                continue
            value = _parsed(line)
            if value is None:
                bad, first_bad = bad + 1, first_bad or number
                continue
            yield from _events_of_json(value, otlp, columns, shapes)
    except (EOFError, OSError) as error:
        notes.append(f"{path.name}: its compression is cut or broken ({error}); read up to there")
    if rest:
        value = _parsed(b"".join(rest))
        if value is None:
            raise SimulatorInputError(
                f"{path}: neither JSON nor JSON lines; a log is XES, CSV, JSON lines of events"
                " {actor, time, action, ...} or OTLP's JSON",
                file=str(path),
            )
        yield from _events_of_json(value, otlp, columns, shapes)
    if bad:
        notes.append(
            f"{path.name}: {bad:,} line{'s' * (bad > 1)} of no valid JSON left out, first line"
            f" {first_bad:,}"
        )
    yield from events_of_spans(otlp)


def _parsed(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return None


def _events_of_json(
    value: Any,
    otlp: list[Mapping[str, Any]],
    columns: Mapping[str, str] | None,
    shapes: dict[tuple[str, ...], dict[str, Any]],
) -> Iterator[Event]:
    for each in value if isinstance(value, list) else [value]:
        if not isinstance(each, Mapping):
            yield Event("", float("nan"), "")
        elif "resourceSpans" in each:
            otlp.extend(rows_of_otlp(each))
        elif "span_id" in each and "attributes" in each:
            otlp.append(each)
        else:
            shape = tuple(each)
            if shape not in shapes:
                keys = {str(key).lower(): key for key in each}
                shapes[shape] = _columns_of(keys, columns)
            yield _event_of(shapes[shape], each)


# -- CSV -------------------------------------------------------------------------


def _read_csv(
    stream: BinaryIO, path: Path, notes: list[str], columns: Mapping[str, str] | None
) -> Iterator[Event]:
    with io.TextIOWrapper(stream, encoding="utf-8-sig", errors="replace", newline="") as text:
        sample = text.readline()
        delimiter = max(",;\t|", key=sample.count)
        header = next(csv.reader([sample], delimiter=delimiter), [])
        found = _columns_of({name.strip().lower(): i for i, name in enumerate(header)}, columns)
        _require(found, header, path)
        reader = csv.reader(text, delimiter=delimiter)
        try:
            for row in reader:
                if row:
                    row += [""] * (len(header) - len(row))
                    yield _event_of(found, row)
        except (csv.Error, EOFError, OSError) as error:
            notes.append(f"{path.name}: it cannot be read further ({error}); read up to there")


def _require(found: Mapping[str, Any], header: Sequence[str], path: Path) -> None:
    missing = [name for name in ("actor", "time", "action") if name not in found]
    if missing:
        told = "; ".join(f"{name}: {', '.join(COLUMNS[name][:4])}" for name in missing)
        raise SimulatorInputError(
            f"{path}: no column for {' and '.join(missing)} in its header"
            f" ({', '.join(header)[:200]}); known names are {told}; --column"
            f" {missing[0]}=NAME says another",
            file=str(path),
        )


def _columns_of(keys: Mapping[str, Any], columns: Mapping[str, str] | None) -> dict[str, Any]:
    """Where each column is: the user's word for it, or the first known name."""
    found = {}
    for name, known in COLUMNS.items():
        wanted = (columns or {}).get(name)
        for each in (wanted.lower(),) if wanted else known:
            if each in keys:
                found[name] = keys[each]
                break
    return found


def _event_of(found: Mapping[str, Any], row: Any) -> Event:
    def said(name: str) -> str:
        key = found.get(name)
        value = None if key is None else row[key]
        return "" if value is None else str(value).strip()

    time, zone = _time_of(found, row, "time")
    end, _ = _time_of(found, row, "end")
    action, transition = said("action"), said("transition").lower()
    if transition and transition != "complete":
        action = f"{action}+{transition}"
    stage = said("stage")
    return Event(
        actor_named(said("actor")),
        time,
        action,
        said("object"),
        said("state"),
        said("outcome"),
        said("plan"),
        stage_named(stage) if stage else "",
        said("role"),
        end,
        zone,
        said("planned").lower() in _TRUE,
    )


def _time_of(found: Mapping[str, Any], row: Any, name: str) -> tuple[float, float]:
    key = found.get(name)
    value = None if key is None else row[key]
    if value is None or value == "" or isinstance(value, bool | list | dict):
        return float("nan"), 0.0
    return read_time(value)
