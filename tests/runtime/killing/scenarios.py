"""What the driver runs: a small desk of ours, and the invoice desk with a scripted model."""

import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from .driver import Job
from .evidence import Evidence, faults_of_children

_DESK = Path(__file__).with_name("desk")
_LIMIT = 1000


def small_desk(folder: Path, mails: int) -> Job:
    """A copy of `desk` in `folder` with so many mails, every twelfth above the limit."""
    shutil.copytree(_DESK, folder, ignore=shutil.ignore_patterns("__pycache__"))
    inbox = folder / "inbox"
    inbox.mkdir()
    truth: dict[str, float] = {}
    for number in range(mails):
        total = 100.0 + number + (_LIMIT if number % 12 == 5 else 0)
        truth[f"R{number:03}"] = total
        text = f"Dear desk, here is the invoice number R{number:03} total {total:.2f}"
        (inbox / f"{number:03}.txt").write_text(text)
    books = folder / "books.db"

    def check(found: Evidence) -> Iterator[str]:
        yield from faults_of_children(found)
        for name, decision in found.decisions().items():
            if decision != "COMPLETED":
                yield f"{name} was not decided: {decision}"
        with closing(sqlite3.connect(books)) as ledger:
            if (said := ledger.execute("PRAGMA integrity_check").fetchone()[0]) != "ok":
                yield f"the books are damaged: {said}"
            posted = ledger.execute("SELECT number, total FROM posting").fetchall()
        for number, times in Counter(number for number, _ in posted).items():
            if times > 1:
                yield f"{number} is posted {times} times"
        if dict(posted) != truth:
            yield f"the books hold {dict(posted)}, not {truth}"

    store = folder / ".repertory" / "killing.db"
    return Job(folder, store, folder / "calls.txt", inbox, "desk", check, answer="approve")
