"""The Monday table: what was posted, what waits and what was refused, and the run's score."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from repertory.protocol import Task
from repertory.runtime import RunReport

FIELDS = ("vendor", "invoice_number", "date", "currency", "lines", "net", "tax", "total", "account")
_COLORS = {"posted": "green", "waiting": "yellow", "refused": "red"}
_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Row:
    """What became of one mail."""

    file: str
    decision: str
    reason: str
    sentence: str
    invoice: Mapping[str, Any] | None

    @property
    def amount(self) -> str:
        """The invoice's total for a person, empty where there is none."""
        if not self.invoice or not self.invoice["total"]:
            return ""
        return f"{self.invoice['currency'] or '?'} {Decimal(self.invoice['total']):,.2f}"


@dataclass(slots=True)
class Score:
    """How the rows compare with the true answers.

    wrong_postings: files that were posted and should not have been, or with a wrong
    amount; the number that must be zero. fields: right values of all that could be right.
    """

    files: int = 0
    decisions: int = 0
    reasons: int = 0
    fields_right: int = 0
    fields: int = 0
    wrong_postings: list[str] = field(default_factory=list)
    wrong_decisions: list[str] = field(default_factory=list)

    @property
    def field_accuracy(self) -> float:
        return self.fields_right / self.fields if self.fields else 0.0


def row_of(name: str, task: Task) -> Row:
    """A clerk's task as a row; one that did not get far enough waits for a person."""
    shown = [a for a in task.artifacts if a.artifact_id == "decision"]
    if shown and task.status.state.name in ("COMPLETED", "WORKING", "INPUT_REQUIRED"):
        data = shown[-1].parts[0].data
        assert isinstance(data, Mapping)
        return Row(**data)
    message = task.status.message
    return Row(name, "waiting", "failed", message.text if message else "it did not end", None)


def totals(rows: Sequence[Row]) -> dict[str, Decimal]:
    """What was posted, per currency."""
    sums: dict[str, Decimal] = {}
    for row in rows:
        if row.decision == "posted" and row.invoice:
            currency = row.invoice["currency"]
            sums[currency] = sums.get(currency, Decimal(0)) + Decimal(row.invoice["total"])
    return dict(sorted(sums.items()))


def load_truth(folder: Path) -> list[dict[str, Any]] | None:
    """The true answers that lie beside an inbox, if they do."""
    path = _HERE / (folder.name.replace("inbox", "truth") + ".json")
    if not folder.name.startswith("inbox") or not path.exists():
        return None
    answers: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return answers


def score(rows: Sequence[Row], truth: Sequence[Mapping[str, Any]]) -> Score:
    """Compare rows with the true answers.

    Of an invoice that was sent twice, either mail may be posted and the other refused.
    What waits for a person is as right when that person has decided; the policy sees to
    it that nothing above the limit is posted before.
    """
    result = Score()
    by_file = {row.file: row for row in rows}
    posted: Counter[str] = Counter()
    for answer in truth:
        row = by_file.get(answer["file"])
        if row is None:
            continue
        result.files += 1
        group = answer.get("duplicate_group")
        if group and row.decision == "posted":
            posted[group] += 1
        twin = group and (row.decision, row.reason) in (
            ("posted", "posted"),
            ("refused", "duplicate"),
        )
        by_person = answer["reason"] == "over_limit" and (row.decision, row.reason) in (
            ("posted", "posted"),
            ("refused", "not_approved"),
        )
        decided = row.decision == answer["decision"] or bool(twin) or by_person
        result.decisions += decided
        result.reasons += decided and (row.reason == answer["reason"] or bool(twin) or by_person)
        if not decided:
            result.wrong_decisions.append(row.file)
        right = _fields_right(row, answer)
        if right is not None:
            result.fields += len(FIELDS)
            result.fields_right += len(right)
        payable = answer["decision"] == "posted" or bool(group) or by_person
        if row.decision == "posted" and (
            not payable
            or right is None
            or len(right) < len(FIELDS)
            or (group and posted[group] > 1)
        ):
            result.wrong_postings.append(row.file)
    return result


def _fields_right(row: Row, answer: Mapping[str, Any]) -> set[str] | None:
    """The fields read as they are, or None where there was nothing to read."""
    true = answer["invoice"]
    if true is None or row.reason == "credit_note":
        return None
    read = row.invoice
    if read is None:
        return set()
    same = {name for name in FIELDS[1:4] if read[name] == true[name]}
    same |= {name for name in ("net", "tax", "total") if _money(read[name]) == _money(true[name])}
    if _plain(read["vendor"]) == _plain(true["vendor"]):
        same.add("vendor")
    if list(read["accounts"]) == [true["account"]]:
        same.add("account")
    amounts = [[_money(line["amount"]) for line in each["lines"]] for each in (read, true)]
    if amounts[0] == amounts[1]:
        same.add("lines")
    return same


def _money(amount: str | None) -> Decimal | None:
    return None if amount is None else Decimal(amount)


def _plain(name: str | None) -> str:
    return "".join(c for c in (name or "").lower() if c.isalnum())


def render(run: RunReport) -> RenderableType:
    """The table, the totals, and the score where the true answers are known."""
    rows = [row_of(outcome.name, outcome.task) for outcome in run.outcomes]
    table = Table(box=None, pad_edge=False)
    for column in ("mail", "decision", "vendor", "number", "total", "why"):
        table.add_column(column, justify="right" if column == "total" else "left")
    for row in sorted(rows, key=lambda row: (list(_COLORS).index(row.decision), row.file)):
        invoice = row.invoice or {}
        table.add_row(
            row.file,
            Text(row.decision, style=_COLORS[row.decision]),
            str(invoice.get("vendor") or ""),
            str(invoice.get("invoice_number") or ""),
            row.amount,
            f"{row.reason.replace('_', ' ')}: {row.sentence}",
        )
    counts = Counter(row.decision for row in rows)
    told = ", ".join(f"{counts[decision]} {decision}" for decision in _COLORS)
    sums = ", ".join(f"{currency} {total:,.2f}" for currency, total in totals(rows).items())
    parts: list[RenderableType] = [table, Text(), Text(f"{told}; posted {sums or 'nothing'}")]
    truth = load_truth(run.input) if run.input is not None else None
    if truth is not None:
        parts.append(Text(told_score(score(rows, truth))))
    return Group(*parts)


def told_score(result: Score) -> str:
    """The score in one sentence."""
    sentence = (
        f"score: {result.decisions} of {result.files} decisions right"
        f" ({result.reasons} with the right reason), {len(result.wrong_postings)} wrong postings,"
        f" {result.field_accuracy:.1%} of {result.fields} fields"
    )
    if result.wrong_decisions:
        sentence += f"; wrong: {', '.join(result.wrong_decisions)}"
    return sentence
