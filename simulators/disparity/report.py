"""The report for security and governance: pages, JSON and the evidence pack, in one folder."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup

from repertory.simulators.pages import Bar, Site, clock, curves, distributions, heat_map
from repertory.simulators.pages import interval_bars as bars_of
from repertory.simulators.statistics import auc

from .analysis import Analysis, result_json
from .drift import Drift
from .events import EventTable
from .evidence import evidence_pack
from .lifecycle import StageResult
from .measures import DIMENSIONS, MEASURE
from .plans import PlanScore
from .profiles import edges
from .verdicts import ActorResult, Dimension

TEMPLATES = Path(__file__).with_name("templates")
_MOST_PAGES = 200
_MOST_ACTIONS = 14
_GAPS = 4000
_ONE_WORD = dict(
    zip(DIMENSIONS, ("decision", "execution", "intention", "inertia", "irrational"), strict=True)
)
_TONES = {"agent-like": "bad", "human-like": "good", "indeterminate": "warn"}
RESULT, EVIDENCE, INDEX = "result.json", "evidence.json", "index.html"


@dataclass
class Report:
    """All that a report is made of; `table` is None for a log read as a stream."""

    logs: Sequence[Path]
    analysis: Analysis
    names: Sequence[str]
    actions: Sequence[str]
    table: EventTable | None = None
    stages: Sequence[StageResult] = ()
    plans: Sequence[PlanScore] = ()
    drift: Sequence[Drift] = ()
    choices: Sequence[str] = ()
    since: str = ""
    title: str = "Who behaves like an agent?"
    at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def as_dict(self) -> dict[str, Any]:
        """The result for JSON."""
        return {
            "at": self.at.isoformat(timespec="seconds"),
            "logs": [path.name for path in self.logs],
            **result_json(self.analysis),
            "plans": [_plan_json(score) for score in self.plans],
            "stages": [
                {
                    "actor": s.actor,
                    "stage": s.stage,
                    "events": s.events,
                    "measures": {k: e.as_dict() for k, e in s.measures.items()},
                }
                for s in self.stages
            ],
            "drift": [vars(d) | {} for d in self.drift],
            "choices": list(self.choices),
        }


def _plan_json(score: PlanScore) -> dict[str, Any]:
    return {
        "actor": score.actor,
        "plan": score.plan,
        "f1": score.f1,
        "precision": score.precision,
        "recall": score.recall,
        "order": score.order,
        "exact": score.exact,
        "told": score.sentence,
    }


def write_report(report: Report, folder: Path) -> list[Path]:
    """Write `index.html`, a page for each actor that is not human-like, JSON and evidence.

    Raises:
        SimulatorError: The folder cannot be written.
    """
    site = Site(folder, TEMPLATES)
    result = report.as_dict()
    order = {"agent-like": 0, "indeterminate": 1, "human-like": 2}
    actors = sorted(
        report.analysis.actors, key=lambda a: (order[a.verdict], -_deviation(a), a.name)
    )
    shown = [a for a in actors if a.told][:_MOST_PAGES]
    links = {a.name: f"actors/{i:03d}.html" for i, a in enumerate(shown, 1)}
    pack = evidence_pack(report.logs, _findings(result), at=report.at)
    files: dict[str, str | bytes] = {
        INDEX: site.render(
            "analysis.html",
            report=report,
            actors=actors,
            links=links,
            tones=_TONES,
            dimensions=DIMENSIONS,
            measures=MEASURE,
            head=pack["head"],
            counts=_counts(actors),
            overview=_overview(actors),
            bar=lambda d: _small_bar(d, report.analysis.alpha),
            roc=_roc(report.analysis),
            plans=[p for p in report.plans if not p.exact][:50],
        ),
        RESULT: json.dumps(result, indent=2, ensure_ascii=False) + "\n",
        EVIDENCE: json.dumps(pack, indent=2, ensure_ascii=False) + "\n",
    }
    for actor in shown:
        files[links[actor.name]] = site.render(
            "actor.html",
            report=report,
            actor=actor,
            tones=_TONES,
            measures=MEASURE,
            pictures=_pictures(report, actor),
            five=_five(actor),
            stages=[s for s in report.stages if s.actor == actor.name],
            plans=[p for p in report.plans if p.actor == actor.name],
            drift=[d for d in report.drift if d.actor == actor.name],
        )
    return site.write(files)


def _findings(result: Mapping[str, Any]) -> list[tuple[str, str, Any]]:
    """What goes into the evidence: how it was judged, then each actor's verdict."""
    how = {key: result[key] for key in ("n_min", "alpha", "humans", "separation_auc", "notes")}
    found: list[tuple[str, str, Any]] = [("analyze", "how the log was judged", how)]
    found += [("judge", f"{a['actor']}: {a['verdict']}", a) for a in result["actors"]]
    if result["plans"]:
        found.append(("compare", "plans against actions", result["plans"]))
    if result["drift"]:
        found.append(("drift", "changes since the last analysis", result["drift"]))
    return found


def _counts(actors: Sequence[ActorResult]) -> dict[str, int]:
    return {v: sum(a.verdict == v for a in actors) for v in _TONES}


def _deviation(actor: ActorResult) -> float:
    there = [d.deviation.value for d in actor.dimensions if d.told]
    return max(there, default=float("-inf"))


def _overview(actors: Sequence[ActorResult]) -> Markup:
    shown = [a for a in actors if a.told][:30]
    if not shown:
        return Markup("")
    values = [[d.deviation.value if d.told else None for d in a.dimensions] for a in shown]
    # Cells of what cannot be told stay empty; the color turns at the humans' middle.
    return heat_map(
        [a.name for a in shown],
        [_ONE_WORD[d] for d in DIMENSIONS],
        values,
        title="Deviation towards agents by actor and dimension, in the humans' spread",
        domain=(-4.0, 4.0),
        middle=0.0,
        digits=1,
    )


def _small_bar(dimension: Dimension, alpha: float) -> Markup:
    """A dimension as a bar for a table's cell: from -3 to 7 of the humans' spread, 0 marked."""

    def x(value: float) -> float:
        return 10 * (min(max(value, -3.0), 7.0) + 3)

    start, end = sorted((x(0.0), x(dimension.deviation.value)))
    kind = "b out" if dimension.adjusted <= alpha else "b"
    whisker = Markup("")
    if np.isfinite([dimension.deviation.low, dimension.deviation.high]).all():
        whisker = Markup('<line class="w" x1="{:.1f}" x2="{:.1f}" y1="5" y2="5"/>').format(
            x(dimension.deviation.low), x(dimension.deviation.high)
        )
    return Markup(
        '<svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="{}" x="{:.1f}" y="1.5" width="{:.1f}" height="7"/>{}'
        '<line class="z" x1="30" x2="30" y1="0" y2="10"/></svg>'
    ).format(kind, start, max(end - start, 0.6), whisker)


def _five(actor: ActorResult) -> Markup:
    bars = [
        Bar(
            d.name,
            d.deviation.value,
            d.deviation.low,
            d.deviation.high,
            f"p {d.adjusted:.2g}" if d.told else "",
            mark=d.told and d.adjusted <= 0.05,
        )
        for d in actor.dimensions
    ]
    return bars_of(
        bars,
        title=f"{actor.name}: deviation towards agents in five dimensions",
        unit="in the humans' spread; 0 is their middle",
        reference=0.0,
    )


def _roc(analysis: Analysis) -> tuple[Markup, str] | None:
    labelled = [a for a in analysis.actors if a.label in ("human", "agent") and a.told]
    truth = np.array([a.label == "agent" for a in labelled], dtype=bool)
    if not truth.any() or truth.all():
        return None
    scores = np.array([_deviation(a) for a in labelled])
    order = np.argsort(-scores, kind="stable")
    true = np.concatenate([[0], np.cumsum(truth[order])]) / truth.sum()
    false = np.concatenate([[0], np.cumsum(~truth[order])]) / (~truth).sum()
    line = list(zip(false.tolist(), true.tolist(), strict=True))
    picture = curves(
        {"labelled actors": line},
        title="ROC on the labelled actors",
        x_label="humans called agents",
        y_label="agents found",
        diagonal=True,
        x_domain=(0.0, 1.0),
        y_domain=(0.0, 1.0),
    )
    told = f"AUC {auc(truth, scores):.3f} over {truth.sum()} agents and {(~truth).sum()} humans."
    return picture, f"{told} Each labelled human is measured without himself."


def _pictures(report: Report, actor: ActorResult) -> list[tuple[Markup, str]]:
    """Gaps, the clock and the transitions of one actor, over those of the humans."""
    index = list(report.names).index(actor.name)
    profiles = report.analysis.profiles
    humans = [int(h) for h in report.analysis.null.humans if int(h) != index]
    bins = profiles.binned["gap_bins"].sum(1)
    hours = profiles.hours.sum(1)
    found = []
    own, theirs = _gap_sample(bins[index]), _gap_sample(bins[humans].sum(0))
    if len(own) > 1 and len(theirs) > 1:
        picture = distributions(
            {actor.name: own, "humans": theirs},
            title=f"Gaps of {actor.name} and of the humans",
            x_label="gap between actions, s (log)",
            log=True,
        )
        found.append((picture, "Gaps between actions, each as shares of its own."))
    series = {actor.name: hours[index].tolist(), "humans": hours[humans].sum(0).tolist()}
    if sum(series["humans"]) > 0:
        picture = clock(series, title=f"Hours of the day of {actor.name} and of the humans")
        found.append((picture, "Events by hour of the actor's own clock."))
    matrix = _transitions(report, index)
    if matrix is not None:
        found.append((matrix, "From the row's action to the column's, as shares of the row."))
    return found


def _gap_sample(counts: np.ndarray) -> list[float]:
    """A sample of gaps that has the shape of binned counts; what is under 0.1 ms stands there."""
    if not counts.sum():
        return []
    ends = edges()
    middles = 10 ** ((ends[:-1] + ends[1:]) / 2)
    middles[0] = 1e-4
    repeats = np.round(counts * min(1.0, _GAPS / counts.sum())).astype(int)
    return [float(v) for v in np.repeat(middles, repeats)]


def _short(word: str, most: int = 16) -> str:
    return word if len(word) <= most else word[: most - 1] + "…"


def _transitions(report: Report, index: int) -> Markup | None:
    tally = report.analysis.profiles.doubles.of(index)
    if not len(tally.counts):
        return None
    size = len(report.actions)
    counts = np.zeros((size, size)) if size <= 2000 else None
    if counts is None:
        return None
    np.add.at(counts, (tally.keys[:, 1], tally.keys[:, 2]), tally.counts)
    often = counts.sum(0) + counts.sum(1)
    first = np.argsort(-often, kind="stable")[:_MOST_ACTIONS]
    most = [int(i) for i in first if often[i] > 0]
    shares = counts[np.ix_(most, most)] / np.maximum(counts[most].sum(1, keepdims=True), 1)
    labels = [_short(report.actions[i]) for i in most]
    values: list[list[float | None]] = [[float(v) for v in row] for row in shares]
    return heat_map(
        labels, labels, values, title="Transitions between actions", domain=(0.0, 1.0), digits=2
    )
