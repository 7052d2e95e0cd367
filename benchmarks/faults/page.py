"""docs/faults.md: the table, each row written when its fault has ended.

A row is known by its fault, its store and its size, and says of which run it is: so `--only F4`
replaces F4's rows alone, and a run that is interrupted keeps what it has measured.
"""

import fcntl
import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from .fault import Fault, Outcome, Size

PAGE = Path(__file__).parents[2] / "docs" / "faults.md"
_COLUMNS = (
    "", "fault", "store", "dose", "accepted", "lost", "repeated", "stuck", "recovery", "note",
    "run",
)  # fmt: skip
_HEAD = f"| {' | '.join(_COLUMNS)} |\n|{'---|' * len(_COLUMNS)}"
_BLOCK = "<!-- {0} -->.*<!-- /{0} -->"
_ROW = re.compile(r"^\| (F\d+\w?) \|.*?\| (sqlite|postgresql) \|.*$", re.MULTILINE)
_ROOMS = ("protocol", "xp_store", "agents", "runtime")
_SECONDS = re.compile(r"([\d.]+) s \|$")


def write_row(
    fault: Fault, store: str, outcome: Outcome, *, seed: int, size: Size, page: Path = PAGE
) -> None:
    """Put one row in its place, and leave the others as they are."""
    with page.open("r+", encoding="utf-8") as file:
        # Several runs may write at the same time.
        fcntl.flock(file, fcntl.LOCK_EX)
        text = file.read()
        block = re.search(_BLOCK.format(size), text, re.DOTALL)
        if block is None:
            raise SystemExit(f"{page} has no block {size!r}")
        rows = {(match[1], match[2]): match[0] for match in _ROW.finditer(block[0])}
        rows[fault.id, store] = row_of(fault, store, outcome, seed=seed)
        ordered = [rows[key] for key in sorted(rows, key=_place)]
        words = "\n".join([f"<!-- {size} -->", _HEAD, *ordered, "", _summed(ordered)])
        new = f"{text[: block.start()]}{words}\n<!-- /{size} -->{text[block.end() :]}"
        file.seek(0)
        file.truncate()
        file.write(new)


def _place(key: tuple[str, str]) -> tuple[int, str, str]:
    name, store = key
    return int(re.sub(r"\D", "", name)), name, store


def _summed(rows: list[str]) -> str:
    seconds = sum(float(match[1]) for row in rows if (match := _SECONDS.search(row)))
    return f"The rows together took {seconds / 60:.0f} minutes, one after the other."


def row_of(fault: Fault, store: str, outcome: Outcome, *, seed: int) -> str:
    """One row of the table."""
    if outcome.skipped:
        cells = ["", "", "", "", "", f"not run: {outcome.skipped}"]
    else:
        counts = [outcome.accepted, len(outcome.lost), len(outcome.repeated), len(outcome.stuck)]
        wrong = "; ".join(["", *(f"**{words}**" for words in outcome.broken[:3])])
        cells = [*map(str, counts), outcome.recovery, outcome.note + wrong]
    run = (
        f"{datetime.now(UTC):%Y-%m-%d}, {commit()}, seed {seed}, {os.cpu_count()} cores at load"
        f" {os.getloadavg()[0]:.1f}, Python {platform.python_version()}, {outcome.seconds:.0f} s"
    )
    told = [fault.id, fault.done, store, outcome.dose, *cells, run]
    return "| " + " | ".join(word.replace("|", "\\|").replace("\n", " ") for word in told) + " |"


def commit() -> str:
    """The last commit of what faults are done to, with a `+` where it has changed since."""
    return (_git("log", "-1", "--format=%h") or "no repository") + "+" * bool(
        _git("status", "--porcelain")
    )


def _git(*words: str) -> str:
    return subprocess.run(
        ["git", *words, "--", *_ROOMS],
        cwd=PAGE.parents[1],
        check=False,
        capture_output=True,
        text=True,
    ).stdout.strip()
