"""The pages of a batch: a report for each manuscript, and the triage that leads to them.

Facts for the templates `report.html` and `triage.html`. Every anchor leads to a mark in
the page's own text, which stands beside the report; nothing needs a script.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from repertory.simulators.pages import Edge, Node, Site, graph

from .manuscript import Manuscript
from .report import Anchor, Report, Signature

TEMPLATES = Path(__file__).with_name("templates")
_LAYER = {"evidence": 0, "claim": 1, "critique": 2}
_MOST_NODES = 36
TONE = {"accept": "good", "revise": "warn", "reject": "bad"}


@dataclass(frozen=True, slots=True)
class Place:
    """An anchor as a link: `href` leads to its mark, "" where the anchor does not hold."""

    label: str
    quote: str
    href: str


@dataclass(frozen=True, slots=True)
class _Mark:
    start: int
    end: int
    id: str
    back: str


class Marks:
    """The places of a manuscript that a report points to, numbered as they are asked for."""

    def __init__(self, manuscript: Manuscript) -> None:
        self._manuscript = manuscript
        self._marks: dict[int, list[_Mark]] = defaultdict(list)
        self._count = 0

    def place(self, anchor: Anchor, back: str) -> Place:
        """The link for `anchor`; `back` is the id of what points there."""
        what = anchor.ref if anchor.kind != "quote" else ""
        label = f"p. {anchor.page}" + (f", {what}" if what else "")
        page = self._manuscript.page_text(anchor.page)
        if not anchor.valid or not page:
            return Place(label, anchor.quote, "")
        start, end = anchor.start, anchor.end
        if start is None or end is None or not 0 <= start < end <= len(page):
            return Place(label, anchor.quote, f"#page-{anchor.page}")
        self._count += 1
        name = f"at-{self._count}"
        self._marks[anchor.page].append(_Mark(start, end, name, back))
        return Place(label, anchor.quote, f"#{name}")

    def pages(self) -> list[tuple[int, Markup]]:
        """Every page's text with its marks, by number."""
        return [
            (page.number, marked(page.text, self._marks.get(page.number, [])))
            for page in self._manuscript.pages
        ]


def marked(text: str, marks: Sequence[_Mark]) -> Markup:
    """`text`, escaped, with each mark's slice marked; marks may overlap."""
    cuts = sorted({0, len(text), *(m.start for m in marks), *(m.end for m in marks)})
    parts: list[Markup] = []
    for left, right in pairwise(cuts):
        for mark in (m for m in marks if m.start == left):
            parts.append(
                Markup('<a class="back" id="{}" href="#{}" title="back to {}">{}</a>').format(
                    mark.id, mark.back, mark.back, mark.back.rpartition("-")[2]
                )
            )
        inside = any(m.start <= left and right <= m.end for m in marks)
        piece = escape(text[left:right])
        parts.append(Markup("<mark>{}</mark>").format(piece) if inside else piece)
    return Markup("").join(parts)


def argument_picture(report: Report) -> tuple[Markup | None, int]:
    """The argument graph as a picture, and how many of its nodes it leaves out.

    Nodes without an edge say nothing in a picture. Of more than fit, those that attack or
    are attacked come first.
    """
    edges = report.graph.edges
    attacked = {n for e in edges if e.kind == "attack" for n in (e.source, e.target)}
    linked = {n for e in edges for n in (e.source, e.target)}
    nodes = [n for n in report.graph.nodes if n.id in linked]
    nodes.sort(key=lambda n: n.id not in attacked)
    drawn = nodes[:_MOST_NODES]
    if not drawn:
        return None, 0
    boxes = [
        Node(
            id=n.id,
            label=n.ref if n.kind == "evidence" and n.ref else n.text,
            layer=_LAYER[n.kind],
            series=_LAYER[n.kind],
            text=f"{n.kind} on page {n.page}, {n.status}: {n.text}",
            href=f"#page-{n.page}",
            faded=n.status == "out",
        )
        for n in drawn
    ]
    arrows = [Edge(e.source, e.target, e.kind, e.reason) for e in edges]
    title = f"The argument graph: {len(drawn)} nodes; evidence, claims, critiques"
    return graph(boxes, arrows, title=title), len(nodes) - len(drawn)


def report_facts(report: Report, stem: str, signature: Signature | None = None) -> dict[str, Any]:
    """All that `report.html` is given."""
    marks = Marks(report.manuscript)
    issues = [
        (issue, [marks.place(a, f"issue-{issue.id}") for a in issue.anchors])
        for issue in report.issues
    ]
    strengths = [
        (s, [marks.place(a, f"strength-{s.id}") for a in s.anchors]) for s in report.strengths
    ]
    flags = [(f, [marks.place(a, f"flag-{f.id}") for a in f.anchors]) for f in report.flags]
    picture, left_out = argument_picture(report)
    return {
        "report": report,
        "stem": stem,
        "tone": TONE[report.decision.verdict],
        "issues": issues,
        "strengths": strengths,
        "flags": flags,
        "loose": report.ungrounded,
        "checks": [
            (c.check.replace("_", " "), c.applied, c.flagged) for c in report.checks if c.applied
        ],
        "picture": picture,
        "left_out": left_out,
        "pages": marks.pages(),
        "signature": signature,
        "digest": report.digest(),
    }


def triage_facts(
    reports: Sequence[tuple[Report, str]], refused: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    """All that `triage.html` is given; reports come in the order of the table."""
    verdicts = [report.decision.verdict for report, _ in reports]
    rates = [r.anchor_rate for r, _ in reports if r.anchor_rate is not None]
    return {
        "rows": [
            {
                "report": report,
                "href": f"{stem}.html",
                "tone": TONE[report.decision.verdict],
                "majors": sum(i.severity == "major" for i in report.issues),
                "minors": sum(i.severity == "minor" for i in report.issues),
                "worst": max(report.flags, key=lambda f: f.weight).text if report.flags else "",
            }
            for report, stem in reports
        ],
        "refused": refused,
        "counts": {v: verdicts.count(v) for v in ("accept", "revise", "reject")},
        "anchored": sum(rates) / len(rates) if rates else None,
    }


def write_pages(
    folder: Path,
    reports: Sequence[tuple[Report, str]],
    refused: Sequence[tuple[str, str]],
    signatures: dict[str, Signature],
) -> Path:
    """Write a page for each report and the triage, and return the triage's path.

    reports: with the stems of their files, in the triage's order. signatures: by stem.

    Raises:
        SimulatorError: The folder cannot be written.
    """
    for report, stem in reports:
        write_page(folder, report, stem, signatures.get(stem))
    site = Site(folder, TEMPLATES)
    page = site.render("triage.html", **triage_facts(reports, refused))
    return site.write({"triage.csv": triage_csv(reports), "index.html": page})[-1]


def write_page(folder: Path, report: Report, stem: str, signature: Signature | None) -> Path:
    """Write the page of one report, and return its path.

    Raises:
        SimulatorError: The folder cannot be written.
    """
    site = Site(folder, TEMPLATES)
    text = site.render("report.html", **report_facts(report, stem, signature))
    return site.write({f"{stem}.html": text})[0]


def triage_csv(reports: Sequence[tuple[Report, str]]) -> str:
    """The triage for a spreadsheet; cells that one would take for a formula are quoted by a mark."""
    import csv
    from io import StringIO

    out = StringIO()
    write = csv.writer(out, lineterminator="\n")
    write.writerow(
        ["name", "recommendation", "rule", "S", "r_f", "major", "minor", "flags", "anchor_rate", "digest"]
    )  # fmt: skip
    for report, _ in reports:
        majors = sum(i.severity == "major" for i in report.issues)
        name = report.manuscript.name
        write.writerow(
            [
                f"'{name}" if name[:1] in "=+-@\t" else name,
                report.decision.verdict,
                report.decision.rule,
                f"{report.scores.S:.4f}",
                f"{report.scores.r_f:.4f}",
                majors,
                len(report.issues) - majors,
                len(report.flags),
                "" if report.anchor_rate is None else f"{report.anchor_rate:.4f}",
                report.digest(),
            ]
        )
    return out.getvalue()
