"""What the driver runs: a small desk of ours, and the invoice desk with a scripted model."""

import json
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import yaml

from .driver import Job
from .evidence import Evidence, faults_of_children

_HERE = Path(__file__).parent
_DESK = _HERE / "desk"
_INVOICE_DESK = _HERE.parents[2] / "examples" / "invoice_desk"
_LIMIT = 1000


def small_desk(folder: Path, mails: int, *, above: bool = True, first: int = 5) -> Job:
    """A copy of `desk` in `folder` with so many mails, every twelfth above the limit if any is.

    first: the number of the first of those.
    """
    shutil.copytree(_DESK, folder, ignore=shutil.ignore_patterns("__pycache__"))
    inbox = folder / "inbox"
    inbox.mkdir()
    truth: dict[str, float] = {}
    for number in range(mails):
        total = 100.0 + number + (_LIMIT if above and number % 12 == first else 0)
        truth[f"R{number:03}"] = total
        text = f"Dear desk, here is the invoice number R{number:03} total {total:.2f}"
        (inbox / f"{number:03}.txt").write_text(text)
    books = folder / "books.db"

    def check(found: Evidence) -> Iterator[str]:
        yield from faults_of_children(found)
        for name, decision in found.decisions().items():
            if decision != "COMPLETED":
                yield f"{name} was not decided: {decision}"
        posted = _rows(books, "SELECT number, total FROM posting")
        for number, times in Counter(number for number, _ in posted).items():
            if times > 1:
                yield f"{number} is posted {times} times"
        if dict(posted) != truth:
            yield f"the books hold {dict(posted)}, not {truth}"

    store = folder / ".repertory" / "killing.db"
    return Job(folder, store, folder / "calls.txt", inbox, "desk", check, answer="approve")


def invoice_desk(folder: Path) -> Job:
    """A copy of the example in `folder`, its models replaced by a script, held against its truth."""
    shutil.copytree(
        _INVOICE_DESK, folder, ignore=shutil.ignore_patterns("__pycache__", ".repertory")
    )
    shutil.copy(_HERE / "scripted.py", folder)
    manifest = yaml.safe_load((folder / "network.yaml").read_text())
    script = {"engine": "function", "function": "scripted:score"}
    manifest["models"] = dict.fromkeys(manifest["models"], script)
    manifest["embedder"] = {"engine": "hash"}
    (folder / "network.yaml").write_text(yaml.safe_dump(manifest, sort_keys=False))
    truth = json.loads((folder / "truth.json").read_text())

    def check(found: Evidence) -> Iterator[str]:
        yield from faults_of_children(found)
        for name, decision in found.decisions().items():
            if decision != "COMPLETED":
                yield f"{name} was not decided: {decision}"
        decided = {
            task.file: str(said["decision"])
            for task in found.roots()
            if (said := found.artifact(task.id, "decision"))
        }
        yield from _faults_of_postings(folder / ".repertory" / "ledger.db", decided, truth)

    return Job(
        folder,
        folder / ".repertory" / "invoice-desk.db",
        folder / "calls.txt",
        folder / "inbox",
        manifest["entry"],
        check,
        answer="approve",
        recorders=frozenset(
            name
            for name, agent in manifest["agents"].items()
            if agent.get("memory", {}).get("record", True)
        ),
    )


def _faults_of_postings(
    ledger: Path, decided: dict[str, str], truth: list[dict[str, Any]]
) -> Iterator[str]:
    """What the ledger holds that it should not, or the other way round.

    Whoever is above the limit was approved. Of an invoice that came twice either is posted.
    """
    for row in truth:
        wanted = "posted" if row["reason"] == "over_limit" else row["decision"]
        got = decided.get(row["file"], "nothing")
        if got != wanted and not row.get("duplicate_group"):
            yield f"{row['file']} was decided as {got}, not {wanted}"
    posted = _rows(ledger, "SELECT source, vendor_id, invoice_number FROM postings")
    for invoice, times in Counter(row[1:] for row in posted).items():
        if times > 1:
            yield f"invoice {invoice} is posted {times} times"
    said = sorted(file for file, decision in decided.items() if decision == "posted")
    if said != sorted(row[0] for row in posted):
        yield f"posted by the desk's word: {said}; by the ledger's: {sorted(posted)}"
    groups = {row["duplicate_group"] for row in truth if row.get("duplicate_group")}
    for group in groups:
        twins = [row["file"] for row in truth if row.get("duplicate_group") == group]
        if sum(file in said for file in twins) != 1:
            yield f"of {' and '.join(twins)} not exactly one was posted"


def _rows(ledger: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(ledger)) as books:
        said = books.execute("PRAGMA integrity_check").fetchone()[0]
        assert said == "ok", f"{ledger} is damaged: {said}"
        return list(books.execute(query))
