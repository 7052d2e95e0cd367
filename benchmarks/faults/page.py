"""docs/faults.md: the table, written by the run that measured it."""

import os
import platform
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from .fault import Fault, Outcome

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"
_HEAD = (
    "| | fault | store | dose | accepted | lost | repeated | stuck | recovery | note |\n"
    "|---|---|---|---|---|---|---|---|---|---|"
)
_BLOCK = re.compile(r"<!-- faults -->.*<!-- /faults -->", re.DOTALL)
_ROW = re.compile(r"^\| (F\d+) \|.*?\| (sqlite|postgresql) \|", re.MULTILINE)


def write_page(
    faults: Sequence[Fault], found: Mapping[tuple[str, str], Outcome], *, seed: int, size: str
) -> None:
    """Replace the rows that were measured, and leave the others as they are."""
    page = PAGE.read_text(encoding="utf-8")
    block = _BLOCK.search(page)
    if block is None:
        raise SystemExit(f"{PAGE} has no block 'faults'")
    rows = {
        (match[1], match[2]): line
        for line in block[0].splitlines()
        if (match := _ROW.match(line)) is not None
    }
    for fault in faults:
        for store in fault.stores:
            if (outcome := found.get((fault.id, store))) is not None:
                rows[fault.id, store] = row_of(fault, store, outcome)
    ordered = [rows[key] for key in sorted(rows, key=lambda each: (int(each[0][1:]), each[1]))]
    ordered.sort(key=lambda line: int(line[3:5].strip(" |")))
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    which = (
        "" if len(found) > len(faults) / 2 else f" of {', '.join(sorted({i for i, _ in found}))}"
    )
    told = (
        f"Last run{which}: {datetime.now(UTC):%Y-%m-%d}, dose {size}, seed {seed},"
        f" {sum(outcome.seconds for outcome in found.values()):.0f} s, {os.cpu_count()} cores,"
        f" Python {platform.python_version()}, load {load} at the end."
    )
    text = "\n".join(["<!-- faults -->", _HEAD, *ordered, "", told, "<!-- /faults -->"])
    PAGE.write_text(_BLOCK.sub(lambda _: text, page), encoding="utf-8")


def row_of(fault: Fault, store: str, outcome: Outcome) -> str:
    """One row of the table."""
    if outcome.skipped:
        cells = ["", "", "", "", "", f"not run: {outcome.skipped}"]
    else:
        counts = [outcome.accepted, len(outcome.lost), len(outcome.repeated), len(outcome.stuck)]
        wrong = "; ".join(["", *outcome.broken[:3]]) if outcome.broken else ""
        cells = [*map(str, counts), outcome.recovery, outcome.note + wrong]
    return "| " + " | ".join([fault.id, fault.done, store, outcome.dose, *cells]) + " |"
