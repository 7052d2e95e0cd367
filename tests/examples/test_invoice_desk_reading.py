"""The mails of the invoice desk, how they are read, checked and scored."""

import json
import sys
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from repertory.xp_store import open_checker

DESK = Path(__file__).parents[2] / "examples" / "invoice_desk"
BOXES = (("inbox", "truth.json"), ("inbox_next", "truth_next.json"))
MODULES = ("checks", "desk", "mails", "reading", "report")
ANSWERS = [
    (box, answer)
    for box, truth in BOXES
    for answer in json.loads((DESK / truth).read_text(encoding="utf-8"))
]
IDS = [f"{box}/{answer['file']}" for box, answer in ANSWERS]


def _import() -> SimpleNamespace:
    """The example's modules, without leaving their short names to other tests."""
    before = {name: sys.modules.pop(name) for name in MODULES if name in sys.modules}
    sys.path.insert(0, str(DESK))
    try:
        loaded = {name: __import__(name) for name in ("checks", "mails", "reading", "report")}
    finally:
        sys.path.remove(str(DESK))
        for name in MODULES:
            sys.modules.pop(name, None)
        sys.modules.update(before)
    return SimpleNamespace(**loaded)


desk = _import()


@pytest.fixture(params=ANSWERS, ids=IDS)
def case(request: pytest.FixtureRequest) -> tuple[Any, bytes]:
    box, answer = request.param
    return answer, (DESK / box / answer["file"]).read_bytes()


def _mail(box: str, file: str) -> Any:
    return desk.mails.read_mail((DESK / box / file).read_bytes())


def test_every_mail_has_a_true_answer_and_every_answer_a_mail() -> None:
    """Ours: a score over half an inbox would flatter."""
    for box, truth in BOXES:
        files = {path.name for path in (DESK / box).iterdir()}
        assert files == {a["file"] for a in json.loads((DESK / truth).read_text(encoding="utf-8"))}
    assert sum(box == "inbox" for box, _ in ANSWERS) >= 24


def test_true_sums_are_right_unless_the_answer_says_otherwise() -> None:
    """Ours: the truth must be consistent before anything is held against it."""
    for _, answer in ANSWERS:
        invoice = answer["invoice"]
        if invoice is None:
            continue
        net, tax, total = (Decimal(invoice[name]) for name in ("net", "tax", "total"))
        lines = sum(Decimal(line["amount"]) for line in invoice["lines"])
        right = lines == net and net + tax == total
        assert right == (answer["reason"] != "sum_mismatch"), answer["file"]


def test_every_mail_is_decoded_or_refused_with_a_sentence(case: tuple[Any, bytes]) -> None:
    """Ours: no mail may crash the desk, and only the garbled one is unreadable."""
    answer, content = case
    if answer["reason"] == "unreadable":
        with pytest.raises(desk.mails.UnreadableMailError, match="sent again"):
            desk.mails.read_mail(content)
        return
    mail = desk.mails.read_mail(content)
    assert "\ufffd" not in mail.text
    assert "<td" not in mail.text
    assert "track(" not in mail.text


def test_the_true_values_are_among_the_spans(case: tuple[Any, bytes]) -> None:
    """Ours: the model can only choose what code has found."""
    answer, content = case
    if answer["reason"] == "unreadable":
        return
    mail, invoice = desk.mails.read_mail(content), answer["invoice"]
    other = {"credit_note": "credit_note", "reminder": "reminder", "not_an_invoice": "other"}
    assert desk.reading.kind_of(mail) == other.get(answer["reason"], "invoice")
    if invoice is None:
        return
    american = invoice["currency"] == "USD"
    dates = {
        desk.reading.date_of(s.text, month_first=american) for s in desk.reading.date_spans(mail)
    }
    assert invoice["date"] in {str(day) for day in dates}
    assert invoice["invoice_number"] in {s.text for s in desk.reading.number_spans(mail)}
    assert desk.reading.currency_of(mail) == invoice["currency"]
    assert desk.reading.accounts_of(mail) == (invoice["account"],)
    assert len(desk.reading.amount_spans(mail)) >= len(invoice["lines"]) + 3


def test_quoted_older_messages_do_not_reach_the_reader() -> None:
    """Ours: last time's invoice in the thread is not this one."""
    assert "QP-7602" not in _mail("inbox", "10-quill.eml").text


def test_a_size_before_an_amount_is_not_part_of_it() -> None:
    """Ours: '120 x 90 149,00' is 149 in German, though 90 149,00 is an amount in French."""
    spans = desk.reading.amount_spans(_mail("inbox_next", "01-nordlicht.eml"))
    roles = desk.reading.choose_roles(spans, _scores("item", "item", "net", "tax", "total"))
    assert roles.adds_up
    assert roles.values[0] == Decimal("149.00")


def _scores(*roles: str) -> list[dict[str, float]]:
    return [{r: (0.0 if r == role else -3.0) for r in desk.reading.ROLES} for role in roles]


def _spans(*amounts: str) -> list[Any]:
    return [desk.reading.Span(amount, "words") for amount in amounts]


def test_a_likely_reading_that_adds_up_beats_a_favorite_that_does_not() -> None:
    """Ours: the one repair; the model swapped net and total."""
    spans = _spans("60.00", "40.00", "100.00", "19.00", "119.00")
    roles = desk.reading.choose_roles(spans, _scores("item", "item", "total", "tax", "net"))
    assert roles.roles == ("item", "item", "net", "tax", "total")
    assert roles.adds_up
    assert not roles.favorite


def test_a_reading_the_model_finds_absurd_is_not_taken_for_its_sums() -> None:
    """Ours: then the mail waits for a person."""
    spans = _spans("60.00", "40.00", "100.00", "19.00", "119.00")
    scores = [
        {r: s * 10 for r, s in each.items()} for each in _scores(*("total", "net") * 2, "tax")
    ]
    assert not desk.reading.choose_roles(spans, scores).likely


def test_a_wrong_sum_stays_as_the_model_read_it() -> None:
    """Ours: no reading adds up, so the mail is wrong and not its reader."""
    spans = _spans("60.00", "41.00", "100.00", "19.00", "119.00")
    roles = desk.reading.choose_roles(spans, _scores("item", "item", "net", "tax", "total"))
    assert roles.roles == ("item", "item", "net", "tax", "total")
    assert roles.likely
    assert not roles.adds_up


def _subject(**changes: Any) -> dict[str, Any]:
    lines = [{"description": "Paper", "amount": "1000.00"}]
    invoice = {
        "vendor": "A GmbH",
        "invoice_number": "RE-11",
        "date": "2026-11-03",
        "currency": "EUR",
        "lines": lines,
        "net": "1000.00",
        "tax": "190.00",
        "total": "1190.00",
        "accounts": ["DE1"],
    }
    read = {k: v for k, v in changes.items() if k in invoice and k != "vendor"}
    return {
        "invoice": {**invoice, **read},
        "text": "RE-11\nPaper 1.000,00\nNetto 1.000,00 190,00 und 1.190,00",
        "received": "2026-11-04",
        "vendor": {"found": True, "account": "DE1"},
        "posted": {"found": False},
        "missing": [],
        "currencies": ["EUR", "USD"],
        **{k: v for k, v in changes.items() if k not in read},
    }


BROKEN: dict[str, dict[str, Any]] = {
    "ACCOUNT": {"accounts": ["DE1", "DE2"]},
    "VENDOR_KNOWN": {"vendor": {"found": False}},
    "NOT_POSTED": {"posted": {"found": True, "posting_id": 3}},
    "COMPLETE": {"missing": ["tax"]},
    "GROUNDED": {"tax": "191.00"},
    "CURRENCY": {"currency": "GBP"},
    "DATE": {"date": "2062-11-03"},
    "SUMS": {"total": "1191.00"},
}


async def test_each_check_passes_what_is_right_and_names_what_is_wrong() -> None:
    """Ours: a check that cannot fail, or that fails without a sentence, checks nothing."""
    async with open_checker() as checker:
        for name, changes in BROKEN.items():
            check = getattr(desk.checks, name)
            right = await checker.run(check, _subject())
            assert right.passed is True, right.detail
            wrong = await checker.run(check, _subject(**changes))
            assert wrong.passed is False, name
            assert wrong.detail, name


def test_every_check_has_an_outcome() -> None:
    """Ours: a failure nobody has decided about would be posted."""
    every = {check.name for check in (*desk.checks.ALWAYS, *desk.checks.WHEN_COMPLETE)}
    assert every == set(desk.checks.OUTCOME)


def _row(answer: Any, **changes: Any) -> Any:
    invoice = answer["invoice"] and {
        **answer["invoice"],
        "accounts": [answer["invoice"]["account"]],
    }
    told = {name: answer[name] for name in ("file", "decision", "reason")}
    return desk.report.Row(**{**told, "sentence": "", "invoice": invoice, **changes})


def test_the_truth_scores_itself_perfectly_and_a_wrong_amount_is_a_wrong_posting() -> None:
    """Ours: the number that must be zero has to notice a cent."""
    truth = [answer for box, answer in ANSWERS if box == "inbox"]
    rows = [_row(answer) for answer in truth]
    result = desk.report.score(rows, truth)
    assert result.decisions == result.reasons == len(truth)
    assert result.field_accuracy == 1.0
    assert result.wrong_postings == []
    rows[0] = _row(truth[0], invoice={**rows[0].invoice, "total": "650.11"})
    assert desk.report.score(rows, truth).wrong_postings == [truth[0]["file"]]


def test_of_an_invoice_sent_twice_only_one_may_be_posted() -> None:
    """Ours: which of the two came first is chance; that both are paid is not allowed."""
    truth = [a for box, a in ANSWERS if box == "inbox" and a.get("duplicate_group")]
    swapped = [_row(truth[0], decision="refused", reason="duplicate")]
    swapped.append(_row(truth[1], decision="posted", reason="posted"))
    assert desk.report.score(swapped, truth).decisions == 2
    both = [_row(answer, decision="posted", reason="posted") for answer in truth]
    assert len(desk.report.score(both, truth).wrong_postings) == 1


def test_what_waited_for_a_person_is_right_when_that_person_has_decided() -> None:
    """Ours: an approval is what the limit is for, not a mistake."""
    truth = [a for box, a in ANSWERS if box == "inbox" and a["reason"] == "over_limit"]
    for decision, reason in (("posted", "posted"), ("refused", "not_approved")):
        result = desk.report.score([_row(truth[0], decision=decision, reason=reason)], truth)
        assert result.decisions == result.reasons == 1
        assert result.wrong_postings == []
