"""What the run of a batch ends with: reports as JSON and as pages, and the batch told."""

from pathlib import Path

from anyio import to_thread

from repertory.protocol import TaskState
from repertory.simulators.commands import Run

from .agents import report_of
from .outcome import Outcome, Refused, load_report, row_of, stem_of, triage, write_report
from .pages import write_page, write_pages
from .report import Report
from .signing import load_signature


async def render(run: Run) -> Outcome:
    """Write the report of every manuscript of a run, the pages of the batch, and tell it."""
    return await to_thread.run_sync(_written, run)


def _written(run: Run) -> Outcome:
    folder = Path(str(run.options_of("desk").get("out") or "reviews"))
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
    return Outcome(str(folder), rows, tuple(refused))


def show_signature(path: Path) -> Path:
    """Write the page of the report at `path` again, with the signature that lies beside it.

    Raises:
        SimulatorInputError: There is no report.
        SimulatorError: The folder cannot be written.
    """
    return write_page(path.parent, load_report(path), path.stem, load_signature(path))
