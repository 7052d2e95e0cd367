"""Tables as rows of numbers: totals that do not add up, rows and columns that repeat."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import combinations

from .findings import Findings, slice_anchor
from .manuscript import Manuscript, Unit
from .report import Anchor
from .structure import cells_of, is_numeric

_TOTAL = re.compile(
    r"(?:grand\s+|sub)?total\b.*|sum\b.*|all (?:groups|participants|patients|conditions)\b|Σ.*|n total\b.*",
    re.IGNORECASE,
)
_SUBTOTAL = re.compile(r"sub-?total", re.IGNORECASE)
_VALUE = re.compile(r"[-−–]?\d[\d,]*(?:\.\d+)?|[-−–]?\.\d+")
_FEWEST = 4


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table: its label, its numbers as printed (None for none), its slice of the page."""

    label: str
    cells: tuple[str | None, ...]
    start: int
    end: int


def rows_of(unit: Unit) -> list[Row]:
    """The rows of a table; the offsets are those of its page."""
    rows = []
    for line in re.finditer(r"[^\n]+", unit.text):
        cells = cells_of(line.group())
        if len(cells) < 2 or re.fullmatch(r"[|\s:+=-]+", line.group()):
            continue
        label, rest = (cells[0], cells[1:]) if not is_numeric(cells[0]) else ("", cells)
        numbers = tuple(_number(cell) for cell in rest)
        rows.append(Row(label, numbers, unit.start + line.start(), unit.start + line.end()))
    return rows


def _number(cell: str) -> str | None:
    """The number that a cell begins with, without marks; None where it holds none."""
    if not is_numeric(cell) or not re.search(r"\d", cell):
        return None
    found = _VALUE.search(cell)
    return found.group().replace(",", "").replace("−", "-").replace("–", "-") if found else None


def check_tables(manuscript: Manuscript) -> tuple[Findings, Findings]:
    """Totals against what they are of, and rows or columns with the same numbers."""
    sums, repeats = Findings("table_sum"), Findings("repeated_numbers")
    for unit in manuscript.units:
        if unit.kind != "table":
            continue
        rows = rows_of(unit)
        _row_totals(sums, manuscript, unit, rows)
        _column_totals(sums, manuscript, unit, rows)
        _repeats(repeats, manuscript, unit, rows)
    return sums, repeats


def _name(unit: Unit) -> str:
    return unit.label or f"the table on page {unit.page}"


def _anchors(manuscript: Manuscript, unit: Unit, row: Row) -> list[Anchor]:
    anchors = [slice_anchor(manuscript, unit.page, row.start, row.end)]
    if unit.label.startswith("Table"):
        anchors.append(Anchor(page=unit.page, kind="table", ref=unit.label, valid=True))
    return anchors


def _row_totals(sums: Findings, manuscript: Manuscript, unit: Unit, rows: Sequence[Row]) -> None:
    """A row that is called a total against the rows above it, column by column."""
    since = 0
    for index, total in enumerate(rows):
        if not _TOTAL.fullmatch(total.label.strip("*_ ")):
            continue
        # A row without numbers names the columns.
        above = [
            row
            for row in rows[since:index]
            if len(row.cells) == len(total.cells) and any(cell is not None for cell in row.cells)
        ]
        if _SUBTOTAL.search(total.label):
            since = index + 1
        for column, printed in enumerate(total.cells):
            parts = [row.cells[column] for row in above]
            numbers = [part for part in parts if part is not None]
            if printed is None or len(numbers) < 2 or len(numbers) < len(parts):
                continue
            sums.applied += 1
            if not _adds_up(numbers, printed):
                told = " + ".join(numbers)
                sums.flag(
                    "major",
                    0.3,
                    f"A total in {_name(unit)} is not the sum of its column.",
                    f"column {column + 1}: {told} = {sum(map(Decimal, numbers))}, printed as {printed}",
                    _anchors(manuscript, unit, total),
                )


def _column_totals(sums: Findings, manuscript: Manuscript, unit: Unit, rows: Sequence[Row]) -> None:
    """A last column that is called a total against the cells before it, row by row."""
    head = next((line for line in unit.text.splitlines() if len(cells_of(line)) >= 3), "")
    names = cells_of(head)
    if not names or not _TOTAL.fullmatch(names[-1].strip("*_ ")):
        return
    found = [
        (row, [c for c in row.cells[:-1] if c is not None], row.cells[-1])
        for row in rows
        if len(row.cells) >= 3
        and None not in row.cells
        and len(row.cells) in {len(names), len(names) - 1}
    ]
    right = sum(_adds_up(parts, total) for _, parts, total in found if total is not None)
    # Where hardly any row adds up, the last column is a total of something else.
    if len(found) < 2 or right < 0.5 * len(found):
        return
    for row, parts, total in found:
        sums.applied += 1
        if total is not None and not _adds_up(parts, total):
            sums.flag(
                "major",
                0.3,
                f"A total in {_name(unit)} is not the sum of its row.",
                f"{row.label or 'row'}: {' + '.join(parts)} = {sum(map(Decimal, parts))}, printed as {total}",
                _anchors(manuscript, unit, row),
            )


def _adds_up(numbers: Sequence[str], printed: str) -> bool:
    """Whether a total can be the sum of numbers that were rounded as they are printed.

    Also true where it is plainly none: within the range of the numbers (an average), far
    from the sum (a total of more than is shown), or the sum without a part of the rows
    (which then are parts of others).
    """
    values = [Decimal(number) for number in numbers]
    total = Decimal(printed)
    places = max(len(n.partition(".")[2]) for n in (*numbers, printed))
    slack = Decimal(1).scaleb(-places) / 2 * (len(values) + 1) if places else Decimal(0)
    exact = sum(values)
    if abs(exact - total) <= slack or min(values) <= total <= max(values):
        return True
    if exact == 0 or not Decimal("0.6") <= total / exact <= Decimal("1.67"):
        return True
    if len(values) > 3:
        for size in (1, 2):
            for left in combinations(values, size):
                if sum(left) and abs(exact - sum(left) - total) <= slack:
                    return True
    return False


def _repeats(repeats: Findings, manuscript: Manuscript, unit: Unit, rows: Sequence[Row]) -> None:
    """Rows with other names and the same numbers, and columns alike."""
    full = [row for row in rows if len(row.cells) >= _FEWEST and None not in row.cells]
    if len(full) < 2:
        return
    repeats.applied += 1
    for first, second in combinations(full, 2):
        if first.cells == second.cells and first.label != second.label and _telling(first.cells):
            repeats.flag(
                "major",
                0.35,
                f"Two rows of {_name(unit)} have the same {len(first.cells)} numbers.",
                f"“{first.label}” and “{second.label}”: {', '.join(c or '' for c in first.cells)}",
                [
                    *_anchors(manuscript, unit, second),
                    slice_anchor(manuscript, unit.page, first.start, first.end),
                ],
            )
    width = len(full[0].cells)
    same = [row for row in full if len(row.cells) == width]
    if len(same) < _FEWEST:
        return
    columns = [tuple(row.cells[c] for row in same) for c in range(width)]
    for a, b in combinations(range(width), 2):
        if columns[a] == columns[b] and _telling(columns[a]):
            repeats.flag(
                "major",
                0.35,
                f"Two columns of {_name(unit)} have the same {len(same)} numbers.",
                f"columns {a + 1} and {b + 1}: {', '.join(c or '' for c in columns[a])}",
                [
                    *_anchors(manuscript, unit, same[0]),
                    slice_anchor(manuscript, unit.page, same[-1].start, same[-1].end),
                ],
            )


def _telling(cells: Sequence[str | None]) -> bool:
    """Whether numbers are so many and so precise that chance does not repeat them."""
    digits = [len(re.sub(r"\D", "", c or "").lstrip("0")) for c in cells]
    return len(set(cells)) >= 3 and sum(d >= 2 for d in digits) >= _FEWEST and sum(digits) >= 10
