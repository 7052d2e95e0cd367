"""Measure the desk: a first run, then new mails with packs, with unfitting packs and without.

    python examples/invoice_desk/measure.py [--write]

Every run is the command line's own, in a temporary copy of this folder. The three
second runs begin from the same store and ledger, as the first run left them. With
`--write` the table takes the place of the marked block in README.md.
"""

import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from types import SimpleNamespace
from typing import Any

import report

HERE = Path(__file__).parent
ARMS = (
    ("second run, with packs", "nearest"),
    ("second run, with unfitting packs", "farthest"),
    ("second run, without packs", "none"),
)
_HEAD = "| run | decisions right | wrong postings | fields right | read at once | model calls | tokens (cached) | seconds |"
_BEGIN, _END = "<!-- measured -->", "<!-- /measured -->"


def run_desk(folder: Path, inbox: str) -> dict[str, Any]:
    """Run the desk over one inbox of the copy in `folder`, and say what came of it."""
    store = folder / ".repertory" / "invoice-desk.db"
    before = _spent(store)
    command = [sys.executable, "-m", "repertory.runtime.cli", "run", "network.yaml"]
    began = monotonic()
    done = subprocess.run(
        [*command, "--input", inbox, "--json"], cwd=folder, stdout=subprocess.PIPE, check=False
    )
    seconds = monotonic() - began
    if not done.stdout:
        raise SystemExit(f"the run over {inbox} gave no result (exit status {done.returncode})")
    rows = [_row(outcome) for outcome in json.loads(done.stdout)["outcomes"]]
    truth = report.load_truth(HERE / inbox)
    assert truth is not None
    spent = [after - earlier for after, earlier in zip(_spent(store), before, strict=True)]
    return {"score": report.score(rows, truth), "spent": spent, "seconds": seconds}


def _row(outcome: dict[str, Any]) -> report.Row:
    shown = [a for a in outcome["artifacts"] if a["artifactId"] == "decision"]
    if not shown:
        return report.Row(outcome["name"], "waiting", "failed", outcome["text"], None)
    return report.Row(**shown[-1]["parts"][0]["data"])


def _spent(store: Path) -> list[int]:
    """Model calls, tokens, tokens from the cache, mails read, mails read without a repair."""
    if not store.exists():
        return [0] * 5
    with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as connection:
        asked = "SELECT result FROM step WHERE kind IN ('chat', 'text_completion')"
        answers = [json.loads(row[0]) for row in connection.execute(asked) if row[0]]
        packs = "SELECT how FROM xp_pack WHERE family = 'intake' AND current = 1"
        reads = [json.loads(row[0]).get("result") for row in connection.execute(packs)]
    tokens = sum(each["tokens_in"] + each["tokens_out"] for each in answers)
    cached = sum(each["cached_tokens"] for each in answers)
    sound = [each for each in reads if each]
    return [len(answers), tokens, cached, len(sound), sum(not r["repaired"] for r in sound)]


def line(name: str, measured: SimpleNamespace) -> str:
    """One row of the table."""
    score, (calls, tokens, cached, read, at_once) = measured.score, measured.spent
    return (
        f"| {name} | {score.decisions} of {score.files} | {len(score.wrong_postings)}"
        f" | {score.field_accuracy:.1%} | {at_once} of {read} | {calls}"
        f" | {tokens:,} ({cached:,}) | {measured.seconds:.0f} |"
    )


def main() -> None:
    lines = [_HEAD, "|---" * 8 + "|"]
    with TemporaryDirectory(prefix="invoice-desk-") as temporary:
        first = Path(temporary) / "first"
        shutil.copytree(HERE, first, ignore=shutil.ignore_patterns(".repertory", "__pycache__"))
        lines.append(line("first run", SimpleNamespace(**run_desk(first, "inbox"))))
        print("\n".join(lines), flush=True)
        for name, examples in ARMS:
            folder = Path(temporary) / examples
            shutil.copytree(first, folder)
            manifest = folder / "network.yaml"
            text = manifest.read_text(encoding="utf-8")
            manifest.write_text(text.replace("examples: nearest", f"examples: {examples}"))
            lines.append(line(name, SimpleNamespace(**run_desk(folder, "inbox_next"))))
            print(lines[-1], flush=True)
    if "--write" in sys.argv:
        readme = HERE / "README.md"
        head, _, rest = readme.read_text(encoding="utf-8").partition(_BEGIN)
        tail = rest.partition(_END)[2]
        table = "\n".join(lines)
        readme.write_text(f"{head}{_BEGIN}\n{table}\n{_END}{tail}", encoding="utf-8")


if __name__ == "__main__":
    main()
