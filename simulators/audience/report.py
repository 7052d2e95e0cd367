"""What is told when a run is over: a folder of pages for each scenario, and a table on the screen."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import anyio.to_thread
import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from repertory.protocol import Task, TaskState
from repertory.simulators.commands import Run
from repertory.simulators.pages import Site
from repertory.simulators.statistics import wilson

from .exports import as_docx, as_json, as_markdown
from .pages import TEMPLATES, label, scenario_facts, verdict_sentence

_OUT = "audience-reports"
_HIGH = 0.6


@dataclass(frozen=True, slots=True)
class Told:
    """The outcome of a run: a row per scenario, and where its pages are."""

    rows: Sequence[Mapping[str, Any]]
    failed: Sequence[str]
    folder: str
    agreement: str = ""

    def __rich__(self) -> RenderableType:
        parts: list[RenderableType] = []
        for row in self.rows:
            parts.append(Text(f"{row['name']}: {row['verdict']}", style="bold"))
            parts.append(Text(f"  {row['sentence']}"))
            table = Table(box=None, padding=(0, 2), show_header=False)
            for place, each in enumerate(row["shortlist"], 1):
                table.add_row(f"{place}.", each["label"], each["score"], _short(each["text"]))
            parts.append(table)
            parts += [Text(f"  {sentence}", style="dim") for sentence in row["controls"]]
            parts.append(Text(f"  {row['page']}"))
        parts += [Text(sentence) for sentence in self.failed]
        parts += [Text(self.agreement)] if self.agreement else []
        return Group(*parts)


async def render(run: Run) -> Told:
    """Write the pages of every scenario that was decided, and tell them on the screen."""
    options = run.options_of("moderator")
    folder = Path(str(options.get("out") or _OUT))
    results = [
        (outcome.name, found)
        for outcome in run.outcomes
        if (found := result_of_run(outcome.task)) is not None
    ]
    failed = [
        f"{outcome.name or 'scenario'}: {words}"
        for outcome in run.outcomes
        if outcome.task.status.state is not TaskState.COMPLETED
        and (words := _last_words(outcome.task))
    ]
    rows = await anyio.to_thread.run_sync(write_reports, folder, [r for _, r in results])
    return Told(rows, failed, str(folder), _agreement([r for _, r in results]))


def result_of_run(task: Task) -> Mapping[str, Any] | None:
    """The result of a run's task, None where there is none."""
    for artifact in task.artifacts:
        if artifact.artifact_id == "result" and artifact.parts[0].has_data:
            found: Mapping[str, Any] = artifact.parts[0].data
            return found
    return None


def write_reports(folder: Path, results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Write the folder: a page and its exports for each result, and an index for several.

    Raises:
        SimulatorError: The folder cannot be written.
    """
    site = Site(folder, TEMPLATES)
    rows: list[dict[str, Any]] = []
    for result in results:
        name = _folder_name(result["scenario"]["scenario"], [row["folder"] for row in rows])
        provenance = {
            "made by": f"repertory {version('repertory')}",
            "on": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
            "scenario (SHA-256)": result["provenance"]["scenario_sha256"][:16],
        }
        facts = scenario_facts(result, provenance)
        page = site.render("scenario.html", **facts, audience_rows=_audience_rows(result))
        site.write(
            {
                f"{name}/index.html": page,
                f"{name}/report.md": as_markdown(result, provenance),
                f"{name}/report.docx": as_docx(result, provenance),
                f"{name}/result.json": as_json(result, provenance),
            }
        )
        rows.append(_row(result, facts, name, folder))
    if len(rows) > 1:
        figures = [(len(rows), "scenarios")]
        page = site.render(
            "scenarios.html", rows=rows, figures=figures, agreement=_agreement(results)
        )
        site.write({"index.html": page})
    return rows


def _row(
    result: Mapping[str, Any], facts: Mapping[str, Any], name: str, folder: Path
) -> dict[str, Any]:
    by_name = {each["id"]: each for each in result["candidates"]}
    shortlist = [by_name[each] for each in result["shortlist"]]
    return {
        "name": result["scenario"]["scenario"],
        "folder": name,
        "page": str(folder / name / "index.html"),
        "verdict": result["verdict"],
        "tone": facts["verdict_tone"],
        "sentence": verdict_sentence(result),
        "first": label(shortlist[0]),
        "ties": len(result["tie_set"]),
        "length": result["controls"]["length"]["value"],
        "shortlist": [
            {
                "id": each["id"],
                "label": label(each),
                "score": f"{each['score']:.2f} [{each['low']:.2f}, {each['high']:.2f}]",
                "text": each["text"],
            }
            for each in shortlist
        ],
        "controls": result["controls"]["sentences"],
    }


def _audience_rows(result: Mapping[str, Any]) -> list[list[Any]]:
    def share(value: float | None) -> str:
        return "–" if value is None else f"{value:.0%}"

    return [
        [
            each["name"],
            share(each["weight"]),
            each["judge"],
            f"{each['pairs']:,}",
            f"{each['questions']:,}",
            share(each["position_consistency"]),
            share(each["first_share"]),
            share(each["cyclic_share"]),
        ]
        for each in result["audiences"]
    ]


def _agreement(results: Sequence[Mapping[str, Any]]) -> str:
    """In how many scenarios with ratings the scores agree highly, beside the length control."""
    rated = [result["agreement"] for result in results if result["agreement"]]
    if not rated:
        return ""
    judge = sum((each["pearson"]["value"] or 0) > _HIGH for each in rated)
    length = sum((each["length_pearson"]["value"] or 0) > _HIGH for each in rated)
    best = sum(each["best_rated"] == each["best_scored"] for each in rated)
    share = wilson(judge, len(rated))
    return (
        f"Agreement with people above {_HIGH}: {judge} of {len(rated)} scenarios"
        f" ({share.low:.0%} to {share.high:.0%}), by length alone {length}; the best scored was"
        f" the best rated in {best}.{_against_baselines(rated)}"
    )


def _against_baselines(rated: Sequence[Mapping[str, Any]]) -> str:
    """How often people preferred the pick to the baselines: sign test, and Wilcoxon's by ranks."""
    from scipy.stats import binomtest, wilcoxon

    gaps = [
        each["pick_rating"] - each["baseline_rating"]
        for each in rated
        if each["pick_rating"] is not None and each["baseline_rating"] is not None
    ]
    apart = [gap for gap in gaps if gap]
    if not apart:
        return ""
    won = sum(gap > 0 for gap in apart)
    sign = float(binomtest(won, len(apart)).pvalue)
    ranks = float(np.asarray(wilcoxon(apart))[1])
    return (
        f" People rated the pick above the mean of the baselines in {won} of {len(apart)}"
        f" (sign test p = {sign:.3f}, Wilcoxon p = {ranks:.3f})."
    )


def _folder_name(name: str, taken: Sequence[str]) -> str:
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:60] or "scenario"
    found, number = plain, 2
    while found in taken:
        found, number = f"{plain}-{number}", number + 1
    return found


def _last_words(task: Task) -> str:
    return task.status.message.text if task.status.message is not None else ""


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 90 else f"{line[:87]}..."
