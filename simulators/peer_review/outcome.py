"""What a run of reviews leaves: a JSON report for each manuscript, and the batch in a table."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from repertory.simulators.errors import SimulatorInputError

from .guards import require_exportable
from .report import Report


@dataclass(frozen=True, slots=True)
class Row:
    """A reviewed manuscript in one line of the triage. report: the path of its JSON."""

    name: str
    verdict: str
    S: float
    r_f: float
    major: int
    minor: int
    flags: int
    anchor_rate: float | None
    digest: str
    report: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A file that got no report, and the sentence that says why."""

    name: str
    why: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """The batch by integrity risk, what was refused, and the folder of the reports.

    notes: what else is to be told of the batch, one sentence each.
    """

    folder: str
    reviewed: tuple[Row, ...]
    refused: tuple[Refused, ...]
    notes: tuple[str, ...] = ()

    def __rich__(self) -> RenderableType:
        table = Table(box=None, pad_edge=False)
        for heading in ("manuscript", "recommendation"):
            table.add_column(heading)
        for heading in ("S", "risk", "major", "minor", "flags"):
            table.add_column(heading, justify="right")
        for row in self.reviewed:
            counts = map(str, (row.major, row.minor, row.flags))
            table.add_row(row.name, row.verdict, f"{row.S:.2f}", f"{row.r_f:.2f}", *counts)
        parts: list[RenderableType] = [table] if self.reviewed else []
        parts.extend(Text(f"not reviewed: {each.why}") for each in self.refused)
        parts.extend(map(Text, self.notes))
        count = len(self.reviewed)
        said = f"{count} report{'s' if count != 1 else ''} in {Path(self.folder) / 'index.html'}"
        parts.append(Text(f"{said}; each is advisory until a person signs it"))
        return Group(*parts)


def row_of(report: Report, path: Path) -> Row:
    """The line of a report that was written to `path`."""
    majors = sum(issue.severity == "major" for issue in report.issues)
    return Row(
        name=report.manuscript.name,
        verdict=report.decision.verdict,
        S=report.scores.S,
        r_f=report.scores.r_f,
        major=majors,
        minor=len(report.issues) - majors,
        flags=len(report.flags),
        anchor_rate=report.anchor_rate,
        digest=report.digest(),
        report=str(path),
    )


def triage(reports: Sequence[Report]) -> list[Report]:
    """The reports by integrity risk, then by quality, the worst first."""
    return sorted(reports, key=lambda r: (-r.scores.r_f, r.scores.S, r.manuscript.name))


def stem_of(report: Report) -> str:
    """The name of a report's files: the manuscript's, and eight digits of its hash."""
    name = re.sub(r"[^\w.-]+", "-", report.manuscript.name).strip("-.")[:80]
    return f"{name}-{report.manuscript.sha256[:8]}"


def write_report(report: Report, folder: Path) -> Path:
    """Write a report's JSON at once or not at all.

    Raises:
        ExportRefusedError: A guard does not hold.
        SimulatorInputError: The folder cannot be written to.
    """
    require_exportable(report)
    path = folder / f"{stem_of(report)}.json"
    partial = path.with_suffix(".part")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(report.to_json())
        partial.replace(path)
    except OSError as error:
        sentence = f"{path}: the report cannot be written: {error.strerror}"
        raise SimulatorInputError(sentence, path=str(path)) from None
    return path


def load_report(path: Path) -> Report:
    """A report that `write_report` wrote.

    Raises:
        SimulatorInputError: There is no such file, or it is no report.
    """
    try:
        return Report.model_validate_json(path.read_bytes())
    except OSError as error:
        raise SimulatorInputError(
            f"{path}: it cannot be read: {error.strerror}", path=str(path)
        ) from None
    except ValueError:
        raise SimulatorInputError(
            f"{path}: this is no report of a review", path=str(path)
        ) from None
