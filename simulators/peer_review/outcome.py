"""What a run of reviews leaves: a JSON report for each manuscript, and the batch in a table."""

import re
from collections.abc import Sequence
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from repertory.simulators.errors import SimulatorInputError

from .guards import require_exportable
from .report import Report


class Outcome:
    """The reports of a run, the files that got none, and where the reports lie."""

    def __init__(
        self,
        reports: Sequence[Report],
        refused: Sequence[tuple[str, str]],
        folder: Path,
        seconds: float,
    ) -> None:
        self.reports = triage(reports)
        self.refused = refused
        self.folder = folder
        self.seconds = seconds

    def __rich__(self) -> RenderableType:
        table = Table(box=None, pad_edge=False)
        for heading in ("manuscript", "recommendation", "S", "risk", "major", "minor", "flags"):
            table.add_column(
                heading, justify="left" if heading in {"manuscript", "recommendation"} else "right"
            )
        for report in self.reports:
            majors = sum(issue.severity == "major" for issue in report.issues)
            table.add_row(
                report.manuscript.name,
                report.decision.verdict,
                f"{report.scores.S:.2f}",
                f"{report.scores.r_f:.2f}",
                str(majors),
                str(len(report.issues) - majors),
                str(len(report.flags)),
            )
        parts: list[RenderableType] = [table] if self.reports else []
        parts.extend(Text(f"not reviewed: {sentence}") for _, sentence in self.refused)
        count = len(self.reports)
        said = f"{count} report{'s' if count != 1 else ''} in {self.folder / 'index.html'}"
        parts.append(Text(f"{said}; each is advisory until a person signs it"))
        return Group(*parts)

    def as_dict(self) -> dict[str, object]:
        """The outcome for `--json`."""
        return {
            "folder": str(self.folder),
            "reviewed": [
                {
                    "name": report.manuscript.name,
                    "verdict": report.decision.verdict,
                    "S": report.scores.S,
                    "r_f": report.scores.r_f,
                    "issues": len(report.issues),
                    "flags": len(report.flags),
                    "anchor_rate": report.anchor_rate,
                    "digest": report.digest(),
                    "report": str(self.folder / f"{stem_of(report)}.json"),
                }
                for report in self.reports
            ],
            "refused": [{"name": name, "why": why} for name, why in self.refused],
        }


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
