"""One inquiry from logs to report, as the command line gives it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from repertory.simulators.commands import Runner
from repertory.simulators.errors import SimulatorInputError
from repertory.simulators.pages import Site

from .analysis import Settings, analyze, analyze_profiles
from .choices import choice_values, load_choices, patterns
from .drift import drifts
from .events import EventColumns, EventTable
from .labels import Labels, load_labels
from .lifecycle import stage_notes, stages_of
from .measures import Values
from .plans import plan_values, plans_of
from .readers import finished, read_events
from .report import INDEX, RESULT, TEMPLATES, Report, write_report
from .spans import events_of_spans
from .streaming import read_stream

_MANIFESTS = (".yaml", ".yml")
_SHOWN = 20


@dataclass(frozen=True)
class Inquiry:
    """What is asked: logs, what is known of their actors, and where the report goes."""

    logs: tuple[Path, ...]
    labels: Path | None
    choices: Path | None
    out: Path
    settings: Settings
    columns: Mapping[str, str]
    stream: bool = False
    store: str = ""
    events: Path | None = None


def inquire(inquiry: Inquiry, runner: Runner) -> Report:
    """Read, judge, and write the report.

    Raises:
        SimulatorInputError: A log, or the labels, cannot be used.
        SimulatorError: The folder cannot be written.
    """
    labels = load_labels(inquiry.labels) if inquiry.labels else None
    earlier = _earlier(inquiry.out / RESULT)
    report = _streamed(inquiry, labels) if inquiry.stream else _whole(inquiry, labels, runner)
    if earlier:
        report.since = str(earlier.get("at", "the last analysis"))[:16].replace("T", " ")
        report.drift = drifts(earlier, report.analysis.actors, alpha=inquiry.settings.alpha)
    write_report(report, inquiry.out)
    return report


def _whole(inquiry: Inquiry, labels: Labels | None, runner: Runner) -> Report:
    columns = EventColumns()
    for path in inquiry.logs:
        if path.suffix in _MANIFESTS:
            columns.extend(events_of_spans(runner.spans(path, store=inquiry.store)))
        else:
            columns.extend(read_events(path, columns.notes, columns=inquiry.columns))
    table = finished(columns, ", ".join(str(path) for path in inquiry.logs))
    if inquiry.events is not None:
        write_events(table, inquiry.events)
    plans = plans_of(table)
    extra: dict[str, Values] = plan_values(plans, inquiry.settings.draws, inquiry.settings.seed)
    told: list[str] = []
    notes: list[str] = []
    if inquiry.choices:
        log = load_choices(inquiry.choices)
        notes += log.notes
        for actor, values in choice_values(log, inquiry.settings.draws).items():
            extra[actor] = {**extra.get(actor, {}), **values}
        told = [
            f"{actor}: " + "; ".join(f"{k} {e}" for k, e in patterns(log.of(actor)).items() if e.n)
            for actor in log.actors
        ]
        strange = sorted(set(log.actors) - set(table.actors))
        if strange:
            notes.append(f"choices of actors who are not in the log: {', '.join(strange[:5])}")
    analysis = analyze(table, labels, inquiry.settings, extra=extra)
    analysis.notes += [*stage_notes(table), *notes]
    return Report(
        inquiry.logs,
        analysis,
        table.actors,
        table.words["action"],
        table,
        stages_of(table, inquiry.settings),
        plans,
        choices=told,
    )


def write_events(table: EventTable, path: Path) -> None:
    """Write a table's events as JSON lines, in order of time, that `read_events` reads again.

    Raises:
        SimulatorError: The file cannot be written.
    """
    lines = []
    for row in np.argsort(table.time, kind="stable"):
        event = table.event(int(row))
        said = event._asdict().items()
        plain = {key: value for key, value in said if value is not False and value != ""}
        del plain["zone"]
        ahead = timezone(timedelta(seconds=event.zone))
        plain["time"] = datetime.fromtimestamp(event.time, ahead).isoformat()
        if event.end > event.time:
            plain["end"] = datetime.fromtimestamp(event.end, ahead).isoformat()
        else:
            del plain["end"]
        lines.append(json.dumps(plain, ensure_ascii=False))
    Site(path.parent, TEMPLATES).write({path.name: "\n".join(lines) + "\n"})


def _streamed(inquiry: Inquiry, labels: Labels | None) -> Report:
    if len(inquiry.logs) != 1 or inquiry.choices or inquiry.logs[0].suffix in _MANIFESTS:
        raise SimulatorInputError("--stream takes one log file, and no choices")
    notes: list[str] = []
    (path,) = inquiry.logs
    stream = read_stream(read_events(path, notes, columns=inquiry.columns), notes)
    names, actions = stream.actors.words, stream.actions.words
    analysis = analyze_profiles(
        stream.profiles, names, actions, labels, inquiry.settings, {}, stream.roles
    )
    analysis.notes += stream.notes
    return Report(inquiry.logs, analysis, names, actions)


def _earlier(path: Path) -> Mapping[str, Any] | None:
    """The result of the last analysis in this folder; None without one that can be read."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return value if isinstance(value, Mapping) and "actors" in value else None


def told(report: Report, out: Path) -> RenderableType:
    """The outcome for a terminal."""
    table = Table(box=None, pad_edge=False)
    for heading in ("actor", "label", "events", "verdict", "why"):
        table.add_column(heading, justify="right" if heading == "events" else "left")
    order = {"agent-like": 0, "indeterminate": 1, "human-like": 2}
    actors = sorted(report.analysis.actors, key=lambda a: (order[a.verdict], a.name))
    for actor in actors[:_SHOWN]:
        table.add_row(
            actor.name, actor.label or "–", f"{actor.events:,}", actor.verdict, actor.reason
        )
    counts = {verdict: sum(a.verdict == verdict for a in actors) for verdict in order}
    parts: list[RenderableType] = [Text(note) for note in report.analysis.notes]
    parts.append(table)
    if len(actors) > _SHOWN:
        parts.append(Text(f"and {len(actors) - _SHOWN} more"))
    if report.drift:
        parts.append(Text(f"{len(report.drift)} measures have moved since {report.since}"))
    said = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    parts.append(Text(f"{said}; the pages begin at {out / INDEX}"))
    return Group(*parts)
