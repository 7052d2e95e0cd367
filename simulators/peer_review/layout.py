"""Reading order: from runs of text with their places on a page to lines as they are read.

A run is what a typesetter set in one go: characters on one baseline without a wide
gap. Columns are found by the gutter that the fewest characters cross; what crosses it
(a title, a wide table) divides the page into bands, and each band is read column by
column. Nothing here knows PDF.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

_GAP = 1.1  # A wider gap than this times the size divides two cells or two columns.
_ALIKE = 0.45  # Baselines nearer than this times the size are one line: sub- and superscripts.
_PROSE = 0.6  # A run this wide, as a share of its column, is a line of prose.
_MIDDLE = (0.3, 0.7)
_MARGIN = 0.08
# Shares of a page's characters that cross its gutter: with few it is one, with many it is none.
_FEW, _MANY = 0.25, 0.6


@dataclass(frozen=True, slots=True)
class Run:
    """Characters on one baseline, from `left` to `right`; lengths in points, y upwards."""

    text: str
    left: float
    right: float
    baseline: float
    size: float
    bold: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """A line as it is read. opens: whether a paragraph begins here."""

    text: str
    left: float
    right: float
    baseline: float
    size: float
    bold: bool = False
    opens: bool = False


def lines_of(runs: Sequence[Run]) -> list[Line]:
    """The lines of a page in reading order."""
    runs = [run for run in runs if run.text.strip()]
    if not runs:
        return []
    runs = _without_line_numbers(runs)
    lines: list[Line] = []
    for column in _columns(runs):
        lines.extend(_paragraphs(_joined(column)))
    return lines


def without_margins(
    pages: Sequence[Sequence[Line]], height: float, size: float
) -> list[list[Line]]:
    """The pages without running headers, footers and page numbers.

    A line in the outer margins, or among the two outermost of its page, goes if the same
    words stand there on several pages, or if it is a number alone; what is set larger than
    the text is no running header. height: of a page, size: of its text, in points.
    """

    def outer(page: Sequence[Line], index: int) -> bool:
        line = page[index]
        near = line.baseline > height * (1 - _MARGIN) or line.baseline < height * _MARGIN
        return near or index < 2 or index >= len(page) - 2

    seen = Counter(
        key
        for page in pages
        for key in {_shape(page[index].text) for index in range(len(page)) if outer(page, index)}
    )
    often = max(2, min(3, len(pages) // 2))

    def stays(page: Sequence[Line], index: int) -> bool:
        text = page[index].text
        if not outer(page, index) or page[index].size > 1.2 * size:
            return True
        return seen[_shape(text)] < often and not re.fullmatch(r"[\divxlIVX\W]{1,8}", text)

    return [[line for index, line in enumerate(page) if stays(page, index)] for page in pages]


def _shape(text: str) -> str:
    return re.sub(r"\d+", "#", " ".join(text.split())).lower()


def _without_line_numbers(runs: Sequence[Run]) -> list[Run]:
    """The runs without the numbers of lines that review copies have in their margins."""
    numbers = [run for run in runs if re.fullmatch(r"\d{1,4}", run.text.strip())]
    gone: set[int] = set()
    for side in (0, 1):
        edges = Counter(round((run.right if side == 0 else run.left) / 4) for run in numbers)
        for edge, _ in edges.most_common(4):
            found = sorted(
                (
                    run
                    for run in numbers
                    if abs(round((run.right if side == 0 else run.left) / 4) - edge) <= 1
                ),
                key=lambda run: -run.baseline,
            )
            values = [int(run.text) for run in found]
            steps = Counter(b - a for a, b in pairwise(values))
            if len(found) < 8 or not steps:
                continue
            step, times = steps.most_common(1)[0]
            if step in {1, 5} and times >= 0.8 * (len(found) - 1):
                gone.update(id(run) for run in found)
    return [run for run in runs if id(run) not in gone]


def _columns(runs: Sequence[Run]) -> list[list[Run]]:
    """The runs of each column of each band, in reading order."""
    gutter = _gutter(runs)
    if gutter is None:
        return [list(runs)]
    left_edge, right_edge = min(r.left for r in runs), max(r.right for r in runs)
    crossing = sorted(
        (r for r in runs if r.left < gutter - 3 and r.right > gutter + 3),
        key=lambda r: -r.baseline,
    )
    inside = [r for r in runs if not (r.left < gutter - 3 and r.right > gutter + 3)]
    pieces: list[tuple[list[Run], bool]] = []
    upper = float("inf")
    for run in crossing:
        # Half a line up: what stands beside a crossing run belongs to its band.
        bound = run.baseline + _ALIKE * run.size
        band = [r for r in inside if bound < r.baseline <= upper]
        if band:
            pieces.append((band, False))
        pieces.append(([run], True))
        upper = min(upper, bound)
    pieces.append(([r for r in inside if r.baseline <= upper], False))
    columns: list[list[Run]] = []
    rows: list[Run] = []
    for band, crosses in pieces:
        sides = _sides(band, gutter, left_edge, right_edge) if not crosses else None
        if sides is None:
            rows.extend(band)
            continue
        if rows:
            columns.append(rows)
            rows = []
        columns.extend(side for side in sides if side)
    if rows:
        columns.append(rows)
    return columns


def _gutter(runs: Sequence[Run]) -> float | None:
    """The x that the fewest characters cross, if prose stands on both of its sides."""
    left_edge, right_edge = min(r.left for r in runs), max(r.right for r in runs)
    width = right_edge - left_edge
    if width < 100:
        return None
    best, gutter = (float("inf"), 0.0), left_edge
    centre = (left_edge + right_edge) / 2
    steps = int(width * (_MIDDLE[1] - _MIDDLE[0]) / 2)
    for step in range(steps + 1):
        x = left_edge + width * _MIDDLE[0] + 2 * step
        crossed = sum(len(r.text) for r in runs if r.left < x - 3 and r.right > x + 3)
        rank = (crossed, abs(x - centre))
        if rank < best:
            best, gutter = rank, x
    share = best[0] / sum(len(r.text) for r in runs)
    inside = [r for r in runs if not (r.left < gutter - 3 and r.right > gutter + 3)]
    sides = _sides(inside, gutter, left_edge, right_edge, at_least=4)
    if sides is None or share > _MANY:
        return None
    return gutter if share < _FEW or _aligned(sides[1], right_edge - gutter) else None


def _sides(
    band: Sequence[Run], gutter: float, left_edge: float, right_edge: float, at_least: int = 1
) -> tuple[list[Run], list[Run]] | None:
    """The runs on both sides of the gutter; None where they are rows of a table instead."""
    left = [r for r in band if (r.left + r.right) / 2 < gutter]
    right = [r for r in band if (r.left + r.right) / 2 >= gutter]

    def prose(side: Sequence[Run], width: float) -> int:
        return sum(r.right - r.left > _PROSE * width for r in side)

    on_left = prose(left, gutter - left_edge)
    on_right = prose(right, right_edge - gutter)
    if at_least > 1:
        return (left, right) if min(on_left, on_right) >= at_least else None
    if not left or not right or max(on_left, on_right) >= 2:
        return left, right
    return None


def _aligned(side: Sequence[Run], width: float) -> bool:
    """Whether most prose of the right side begins at one edge, as a column does."""
    edges = Counter(round(r.left / 4) for r in side if r.right - r.left > _PROSE * width)
    edge, _ = edges.most_common(1)[0]
    near = sum(edges[e] for e in (edge - 1, edge, edge + 1))
    return near >= 0.6 * edges.total()


def _joined(runs: Sequence[Run]) -> list[Line]:
    """The lines of one column, from top to bottom."""
    rows: list[list[Run]] = []
    for run in sorted(runs, key=lambda r: (-r.baseline, r.left)):
        row = rows[-1] if rows else None
        near = row is not None and abs(row[0].baseline - run.baseline) <= _ALIKE * max(
            run.size, row[0].size
        )
        if near and row is not None:
            row.append(run)
        else:
            rows.append([run])
    return [_line(sorted(row, key=lambda r: r.left)) for row in rows]


def _line(row: Sequence[Run]) -> Line:
    text = row[0].text.strip()
    for before, run in pairwise(row):
        gap = run.left - before.right
        size = max(before.size, run.size)
        if gap > _GAP * size:
            text += "  "
        elif gap > 0.12 * size or before.text.endswith(" ") or run.text.startswith(" "):
            text += " "
        text += run.text.strip()
    main = max(row, key=lambda r: len(r.text))
    baseline = main.baseline
    return Line(text, row[0].left, max(r.right for r in row), baseline, main.size, main.bold)


def _paragraphs(lines: Sequence[Line]) -> list[Line]:
    """The lines with their paragraphs' beginnings: a wider gap, an indent, another size."""
    if not lines:
        return []
    leads = [a.baseline - b.baseline for a, b in pairwise(lines) if a.baseline > b.baseline]
    lead = median(leads) if leads else 12.0
    edges = Counter(round(line.left) for line in lines)
    edge = float(edges.most_common(1)[0][0])
    right = max(line.right for line in lines)
    opened = []
    for index, line in enumerate(lines):
        before = lines[index - 1] if index else None
        opens = before is not None and (
            before.baseline - line.baseline > 1.35 * lead
            or before.baseline < line.baseline
            or abs(line.size - before.size) > 0.08 * before.size
            or line.bold != before.bold
            or (
                0.8 * line.size < line.left - edge < 4 * line.size
                and before.left - edge < 0.4 * line.size
                and (
                    before.right < right - 2 * line.size
                    or before.text.rstrip().endswith((".", ":", "?", "!", ")"))
                )
            )
        )
        opened.append(
            Line(line.text, line.left, line.right, line.baseline, line.size, line.bold, opens)
        )
    return opened
