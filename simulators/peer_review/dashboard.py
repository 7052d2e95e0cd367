"""The dashboard of a batch: the five figures of Study 1, and agreement with people beside them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from repertory.simulators.pages import (
    Bar,
    Point,
    boxes,
    curves,
    heat_map,
    interval_bars,
    scatter,
    stacked_bars,
)

from .corpus import Indicators, Row, Told
from .humans import VERDICTS, Agreement

_NAN = float("nan")


def dashboard_facts(found: Indicators) -> dict[str, Any]:
    """All that `dashboard.html` is given."""
    return {
        "found": found,
        "figures": [*_figures(found), *_more(found)] if found.rows else [],
        "agreement": _agreement(found.agreement) if found.agreement else None,
        "people": found.agreement,
        "shown": shown,
        "verdicts": VERDICTS,
    }


def _figures(found: Indicators) -> list[tuple[Markup, str]]:
    """The five figures of Study 1, of this batch."""
    rows = found.rows
    names = sorted({row.discipline for row in rows})
    counts = Counter(row.discipline for row in rows)
    return [
        (
            interval_bars(
                [Bar(n, counts[n]) for n in names],
                title="Manuscripts by discipline",
                unit="manuscripts",
            ),
            "1a. Manuscripts by discipline; Multidisciplinary where the classifier is uncertain.",
        ),
        (
            boxes(
                _samples(rows, "discipline", "confidence"),
                title="Confidence of the discipline",
                unit="confidence",
                domain=(0.0, 1.0),
            ),
            "1b. How sure the classifier is: every manuscript, the median and the middle half.",
        ),
        (
            stacked_bars(
                {
                    n: Counter(row.verdict for row in rows if row.discipline == n)
                    for n in names
                },
                VERDICTS,
                title="Recommendations by discipline",
            ),
            "2. Recommendations by discipline; their intervals are in the table below.",
        ),
        (
            scatter(
                [
                    Point(row.words, row.anchor_rate, row.name)
                    for row in rows
                    if row.anchor_rate is not None
                ],
                title="Length and anchors",
                x_label="words",
                y_label="anchored share of issues",
                y_domain=(0.0, 1.05),
            ),
            f"3. Length against anchored issues: ρ {shown(found.length_and_anchors)}.",
        ),
        (
            boxes(_samples(rows, "task", "issues"), title="Issues by task", unit="issues"),
            "4. Issues by task.",
        ),
        (
            interval_bars(
                [_bar(name, told) for name, told in found.compliance.items()],
                title="Study-1 compliance by discipline and by task",
                unit="share of compliant reports",
                domain=(0.0, 1.0),
            ),
            "5. Compliance by the rule of Study 1, with 95% intervals; a compatibility metric, not a mark of quality.",
        ),
    ]  # fmt: skip


def _more(found: Indicators) -> list[tuple[Markup, str]]:
    """Quality against length, and where the issues lie."""
    return [
        (
            scatter(
                [Point(row.words, row.S, row.name) for row in found.rows],
                title="Length and quality",
                x_label="words",
                y_label="S",
                y_domain=(0.0, 1.0),
            ),
            f"Length against quality S: ρ {shown(found.length_and_quality)}. A rule that read length would show here.",
        ),
        (
            interval_bars(
                [Bar(k.replace("_", " "), v) for k, v in found.issues_by_category.items()],
                title="Issues by category",
                unit="issues",
            ),
            "Issues by TRACE-R's categories.",
        ),
    ]


def _samples(rows: Sequence[Row], by: str, of: str) -> Mapping[str, list[float]]:
    names = sorted({str(getattr(row, by)) for row in rows})
    return {
        name: [float(getattr(r, of)) for r in rows if str(getattr(r, by)) == name]
        for name in names
    }  # fmt: skip


def _bar(label: str, told: Told) -> Bar:
    value, low, high = (
        _NAN if told[k] is None else float(told[k] or 0) for k in ("value", "low", "high")
    )
    return Bar(label, value, low, high, note=f"n = {told['n']}")


def _agreement(people: Agreement) -> list[tuple[Markup, str]]:
    """The confusion matrix against people, the calibration curve, and the figures with their chance."""
    drawn = [
        (
            heat_map(
                [f"people: {v}" for v in VERDICTS],
                [f"ours: {v}" for v in VERDICTS],
                [[float(n) for n in row] for row in people.confusion],
                title="Recommendations against people's decisions",
                digits=0,
            ),
            "People's decisions (rows) and our recommendations (columns).",
        ),
        (
            interval_bars(
                [
                    _bar("exact agreement", people.exact),
                    _bar("quadratic weighted κ", people.kappa),
                    _bar("AUC of S", people.auc),
                    _bar("balanced accuracy", people.balanced_accuracy),
                    _bar("ρ of S and mean rating", people.rho),
                    _bar("concerns recovered", people.recovery),
                    _bar("concerns, other papers' issues", people.shuffled_recovery),
                ],
                title="Agreement with people",
                domain=(-1.0, 1.0),
                reference=0.0,
            ),
            "Agreement with 95% intervals. Chance is 0 for κ and ρ, 0.5 for AUC and balanced accuracy; the last row is the control of the one above it.",
        ),
    ]
    if people.calibration:
        drawn.append(
            (
                curves(
                    {"share accepted by people": [(s, a) for s, a, _ in people.calibration]},
                    title="Calibration of S",
                    x_label="mean S of a bin",
                    y_label="accepted",
                    diagonal=True,
                    x_domain=(0.0, 1.0),
                    y_domain=(0.0, 1.0),
                ),
                "Calibration: of manuscripts with such an S, the share that people accepted.",
            )
        )
    return drawn


def shown(told: Told, digits: int = 2) -> str:
    """An estimate in words."""
    value, low, high = told["value"], told["low"], told["high"]
    if value is None:
        return "cannot tell"
    if low is None or high is None:
        return f"{value:.{digits}f}"
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
