"""What the run of a batch ends with: reports as JSON and as pages, and the batch told."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from anyio import to_thread

from repertory.protocol import TaskState
from repertory.simulators.commands import Run
from repertory.simulators.pages import Site

from .agents import report_of
from .corpus import Indicators, indicators
from .dashboard import dashboard_facts
from .discipline import Placed, place_all
from .humans import agreement, read_humans
from .outcome import Outcome, Refused, load_report, row_of, stem_of, triage, write_report
from .pages import TEMPLATES, write_page, write_pages
from .report import Report
from .signing import load_signature


async def render(run: Run) -> Outcome:
    """Write the report of every manuscript of a run, the pages of the batch, and tell it."""
    options = run.options_of("desk")
    folder = Path(str(options.get("out") or "reviews"))
    reports, told = await to_thread.run_sync(_written, run, folder)
    found = await write_dashboard(folder, reports, str(options.get("humans") or ""))
    people = found.agreement.lines if found.agreement else ()
    return replace(told, notes=(*found.notes, *people))


def _written(run: Run, folder: Path) -> tuple[list[Report], Outcome]:
    reports: list[Report] = []
    refused: list[Refused] = []
    for outcome in run.outcomes:
        report = report_of(outcome.task)
        if report is not None and outcome.task.status.state is TaskState.COMPLETED:
            reports.append(report)
            continue
        message = outcome.task.status.message
        words = message.text if message is not None and message.text else "it is not finished"
        why = words if words.startswith(outcome.name) else f"{outcome.name}: {words}"
        refused.append(Refused(outcome.name, why))
    reports = triage(reports)
    rows = tuple(row_of(report, write_report(report, folder)) for report in reports)
    stems = [(report, stem_of(report)) for report in reports]
    signed = {stem: load_signature(folder / f"{stem}.json") for _, stem in stems}
    signatures = {stem: signature for stem, signature in signed.items() if signature}
    write_pages(folder, stems, [(each.name, each.why) for each in refused], signatures)
    return reports, Outcome(str(folder), rows, tuple(refused))


async def write_dashboard(folder: Path, reports: Sequence[Report], humans: str = "") -> Indicators:
    """Write the dashboard and its figures. humans: a file of human reviews, or "".

    Raises:
        SimulatorInputError: The human reviews cannot be read.
        SimulatorError: The folder cannot be written.
    """
    placed, note = await place_all([report.manuscript for report in reports])
    return await to_thread.run_sync(_write_dashboard, folder, reports, placed, note, humans)


def _write_dashboard(
    folder: Path, reports: Sequence[Report], placed: Sequence[Placed], note: str, humans: str
) -> Indicators:
    people = None
    if humans:
        names = [report.manuscript.name for report in reports]
        reviews, left = read_humans(Path(humans), names)
        people = agreement(reports, reviews, left)
    found = indicators(reports, placed, agreement=people, notes=[note] if note else [])
    site = Site(folder, TEMPLATES)
    page = site.render("dashboard.html", **dashboard_facts(found))
    figures = found.model_dump_json(indent=1) + "\n"
    site.write({"batch/indicators.json": figures, "dashboard.html": page})
    return found


def show_signature(path: Path) -> Path:
    """Write the page of the report at `path` again, with the signature that lies beside it.

    Raises:
        SimulatorInputError: There is no report.
        SimulatorError: The folder cannot be written.
    """
    return write_page(path.parent, load_report(path), path.stem, load_signature(path))
