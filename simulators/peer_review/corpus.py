"""The indicators of a batch: decisions by discipline, anchors, issues, length, redundancy.

What Study 1 (Saqr, arXiv 2510.02027) reports of its corpus, with intervals, and with
p-values corrected for their number; and what it does not: how alike the reviewers are.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from math import isfinite
from typing import Any

import numpy as np

from repertory.simulators.statistics import (
    Estimate,
    benjamini_hochberg,
    bootstrap,
    correlation,
    wilson,
)

from .audit import study1_of
from .discipline import Placed
from .humans import VERDICTS, Agreement
from .manuscript import Frozen
from .report import Report

Told = dict[str, float | int | None]


class Test(Frozen):
    """A test over the groups of a batch. p: null where there is nothing to compare; q: corrected."""

    name: str
    kind: str
    statistic: float | None
    p: float | None
    q: float | None


class Row(Frozen):
    """One manuscript in numbers."""

    name: str
    task: str
    discipline: str
    confidence: float
    verdict: str
    words: int
    issues: int
    majors: int
    anchor_rate: float | None
    study1_fraction: float
    study1_compliant: bool
    S: float
    r_f: float


class Indicators(Frozen):
    """A batch in numbers. Estimates are `{value, low, high, level, n}`; null cannot be told.

    decisions: share of each verdict by discipline, with Wilson intervals. compliance: Study
    1's, by discipline and by task, a compatibility metric. redundancy: mean share of one
    reviewer's issues that another reviewer of the manuscript raised as well, by words.
    """

    manuscripts: int
    rows: tuple[Row, ...]
    decisions: dict[str, dict[str, Told]]
    anchor_rate: Told
    compliance: dict[str, Told]
    issues_by_task: dict[str, Told]
    issues_by_category: dict[str, int]
    length_and_anchors: Told
    length_and_quality: Told
    redundancy: Told
    tests: tuple[Test, ...]
    agreement: Agreement | None = None
    notes: tuple[str, ...] = ()


def indicators(
    reports: Sequence[Report],
    placed: Sequence[Placed],
    *,
    agreement: Agreement | None = None,
    notes: Sequence[str] = (),
) -> Indicators:
    """The indicators of reports, each with the discipline of its manuscript."""
    rows = [_row(r, p) for r, p in zip(reports, placed, strict=True)]
    by_discipline, by_task = _grouped(rows, "discipline"), _grouped(rows, "task")
    words = [row.words for row in rows]
    return Indicators(
        manuscripts=len(rows),
        rows=tuple(rows),
        decisions={
            name: {
                v: wilson(sum(r.verdict == v for r in group), len(group)).as_dict()
                for v in VERDICTS
            }
            for name, group in by_discipline.items()
        },
        anchor_rate=_mean([r.anchor_rate for r in rows if r.anchor_rate is not None]),
        compliance={
            name: wilson(sum(r.study1_compliant for r in group), len(group)).as_dict()
            for name, group in (*by_discipline.items(), *by_task.items())
        },
        issues_by_task={name: _mean([r.issues for r in g]) for name, g in by_task.items()},
        issues_by_category=dict(
            sorted(Counter(i.category for r in reports for i in r.issues).items())
        ),
        length_and_anchors=_correlated(words, [r.anchor_rate for r in rows]),
        length_and_quality=_correlated(words, [r.S for r in rows]),
        redundancy=_mean([v for r in reports if (v := redundancy(r)) is not None]),
        tests=_tests(by_discipline, by_task),
        agreement=agreement,
        notes=tuple(notes),
    )


def _row(report: Report, placed: Placed) -> Row:
    majors = sum(i.severity == "major" for i in report.issues)
    study = study1_of(as_text(report))
    return Row(
        name=report.manuscript.name,
        task=report.task,
        discipline=placed.discipline,
        confidence=placed.confidence,
        verdict=report.decision.verdict,
        words=report.manuscript.words,
        issues=len(report.issues),
        majors=majors,
        anchor_rate=report.anchor_rate,
        study1_fraction=study.fraction,
        study1_compliant=study.compliant,
        S=report.scores.S,
        r_f=report.scores.r_f,
    )


def as_text(report: Report) -> str:
    """The issues of a report as sentences with their severity and place, for text metrics."""
    lines = []
    for issue in report.issues:
        anchor = next((a for a in issue.anchors if a.valid), None)
        at = f" (page {anchor.page})" if anchor else ""
        lines.append(f"{issue.severity} issue{at}: {issue.text.rstrip('.').replace('. ', '; ')}.")
    return "\n".join(lines)


def _grouped(rows: Sequence[Row], key: str) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[str(getattr(row, key))].append(row)
    return dict(sorted(groups.items()))


def _mean(values: Sequence[Any]) -> Told:
    if not values:
        return Estimate(float("nan"), float("nan"), float("nan"), 0).as_dict()
    return bootstrap(lambda v: float(np.mean(v)), values).as_dict()


def _correlated(x: Sequence[float], y: Sequence[float | None]) -> Told:
    kept = [(a, b) for a, b in zip(x, y, strict=True) if b is not None]
    if len(kept) < 3:
        return Estimate(float("nan"), float("nan"), float("nan"), len(kept)).as_dict()
    return correlation([a for a, _ in kept], [b for _, b in kept]).as_dict()


def redundancy(report: Report, *, alike: float = 0.5) -> float | None:
    """The mean share of a reviewer's issues that another of the manuscript's raised too.

    Two issues are the same where the Jaccard index of their words reaches `alike` (ours).
    None with fewer than two reviewers.
    """
    by: dict[str, list[set[str]]] = defaultdict(list)
    for issue in report.issues:
        by[issue.reviewer].append({w.lower() for w in issue.text.split() if len(w) > 3})
    shares = []
    for a, b in combinations(by.values(), 2):
        for one, other in ((a, b), (b, a)):
            again = sum(any(_jaccard(x, y) >= alike for y in other) for x in one)
            shares.append(again / len(one))
    return float(np.mean(shares)) if shares else None


def _jaccard(a: set[str], b: set[str]) -> float:
    return len(a & b) / len(a | b) if a | b else 0.0


def _tests(
    by_discipline: Mapping[str, Sequence[Row]], by_task: Mapping[str, Sequence[Row]]
) -> tuple[Test, ...]:
    told: list[tuple[str, str, float, float]] = []
    for name, groups in (("discipline", by_discipline), ("task", by_task)):
        counts = [[sum(r.verdict == v for r in g) for v in VERDICTS] for g in groups.values()]
        told.append((f"decision by {name}", "χ²", *_chi_squared(counts)))
        measures: tuple[tuple[str, Any], ...] = (
            ("compliance", lambda r: float(r.study1_compliant)),
            ("major issues", lambda r: float(r.majors)),
            ("issues", lambda r: float(r.issues)),
        )
        for measure, of in measures:
            samples = [[of(r) for r in g] for g in groups.values()]
            told.append((f"{measure} by {name}", "Kruskal–Wallis", *_kruskal(samples)))
    corrected = benjamini_hochberg([p for *_, p in told])
    return tuple(
        Test(name=n, kind=k, statistic=_known(s), p=_known(p), q=_known(float(q)))
        for (n, k, s, p), q in zip(told, corrected, strict=True)
    )


def _chi_squared(counts: Sequence[Sequence[int]]) -> tuple[float, float]:
    """Pearson's χ² of a table, without empty rows and columns; NaN where one is left."""
    from scipy.stats import chi2_contingency

    table = np.asarray(counts, dtype=float)
    if table.size:
        table = table[table.sum(1) > 0][:, table.sum(0) > 0]
    if min(table.shape, default=0) < 2:
        return float("nan"), float("nan")
    found: Any = chi2_contingency(table, correction=False)
    return float(found.statistic), float(found.pvalue)


def _kruskal(samples: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Kruskal and Wallis 1952; NaN for one group, or where nothing varies."""
    from scipy.stats import kruskal

    if len(samples) < 2 or len({v for s in samples for v in s}) < 2:
        return float("nan"), float("nan")
    found: Any = kruskal(*samples)
    return float(found.statistic), float(found.pvalue)


def _known(value: float) -> float | None:
    return value if isfinite(value) else None
