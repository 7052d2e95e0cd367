"""The five agents of the invoice desk. Read this first.

A clerk takes one mail and asks the others in order: the intake reads it, the checker
compares it with the books, the approver decides or asks a person, the bookkeeper posts.
Each is plain code over its `Turn`: what it asks, calls and checks is journaled
there, so a handler that is begun again after a kill goes on where it stopped.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import checks
import reading
from mails import Mail, UnreadableMailError, read_mail
from pydantic import BaseModel, ConfigDict, TypeAdapter

from repertory.agents import (
    Agent,
    AgentSpec,
    PolicyDeniedError,
    Question,
    ScoreRequest,
    TaskFailedError,
    ToolServerError,
    Turn,
)
from repertory.protocol import Artifact, Message, Part, Role, Task, TaskState, agent_message
from repertory.xp_store import Hit

Data = dict[str, Any]
_MAIL = TypeAdapter(Mail)

# Few-shot examples: the words beside a span, and what it is. Recalled packs add more.
ROLE_EXAMPLES = (
    *(("Steel shelves", "item"), ("Subtotal", "net"), ("Sales tax", "tax"), ("Total due", "total")),
    *(("Window cleaning, monthly", "item"), ("Your last payment was received", "other")),
    *(("MwSt.", "tax"), ("Fenster putzen", "item"), ("Summe netto", "net")),
    *(("Gesamtsumme", "total"), ("Delivery charge", "item"), ("VAT", "tax")),
    *(("Amount to pay", "total"), ("Order today and save", "other"), ("Net", "net")),
    *(("Consulting hours", "item"), ("Total without VAT", "net"), ("Insurance surcharge", "item")),
    *(("Total with VAT", "total"), ("TVA", "tax"), ("Montant net", "net")),
    ("Total à payer", "total"),
)
NUMBER_EXAMPLES = (
    *(("Invoice number", "invoice"), ("Your order", "other"), ("Rechnung Nr.", "invoice")),
    *(("Customer no.", "other"), ("Shipment", "other"), ("Invoice of", "invoice")),
    *(("Contract", "other"), ("Facture n°", "invoice"), ("your project", "other")),
    *(("Bestellung", "other"), ("Rechnungsnummer", "invoice"), ("Reference", "other")),
)
DATE_EXAMPLES = (
    *(("Invoice date", "issued"), ("Pay before", "other"), ("Rechnung vom", "issued")),
    *(("Sent", "other"), ("Delivered on", "other"), ("Issued", "issued")),
    *(("valid until", "other"), ("Invoice dated", "issued"), ("Received: Monday", "other")),
)


class IntakeOptions(BaseModel):
    """company: our own name, which is never the vendor. examples: which packs stand as examples.

    `farthest` takes the least fitting pack instead of the best: the control that
    shows whether it matters which experience is recalled.
    """

    model_config = ConfigDict(extra="forbid")
    company: str
    examples: str = "nearest"


class Intake(Agent):
    """Read a mail into a typed invoice."""

    def __init__(self, spec: AgentSpec) -> None:
        super().__init__(spec)
        self.options = IntakeOptions.model_validate(dict(spec.options))

    async def handle(self, turn: Turn) -> None:
        mail = _MAIL.validate_python(turn.message.data)
        number = await self._pick(turn, reading.number_spans(mail), "invoice", NUMBER_EXAMPLES)
        dated = await self._pick(turn, reading.date_spans(mail), "issued", DATE_EXAMPLES)
        spans = reading.amount_spans(mail)
        roles = await self._roles(turn, mail, spans)
        invoice = reading.invoice_of(mail, number, dated, spans, roles, self.options.company)
        subject: Data = {"invoice": invoice.model_dump(mode="json"), "text": _all_text(mail)}
        if not invoice.missing():
            for check in (checks.GROUNDED, checks.SUMS):
                await turn.check(check, subject)
        pairs = zip(spans, roles.roles, strict=True)
        await _end(
            turn,
            {
                "invoice": subject["invoice"],
                "missing": invoice.missing(),
                "repaired": not roles.favorite,
                "read_as": [[span.cue, role] for span, role in pairs],
            },
        )

    async def _roles(self, turn: Turn, mail: Mail, spans: Sequence[reading.Span]) -> reading.Roles:
        examples = (*ROLE_EXAMPLES, *await self._recalled(turn, mail))
        scores = []
        for span in spans:
            request = ScoreRequest(
                text=span.cue,
                labels=reading.ROLES,
                examples=examples,
                text_name="Line",
                label_name="Kind",
            )
            scores.append((await turn.score(request)).scores)
        roles = reading.choose_roles(spans, scores)
        if not roles.favorite:
            await turn.note("the model's favorite reading did not add up; the next best does")
        return roles

    async def _recalled(self, turn: Turn, mail: Mail) -> tuple[tuple[str, str], ...]:
        """How the amounts of an earlier mail like this were read, if its checks passed.

        Recall may be silent, and a pack that failed a check, then or since, is no example:
        then the mail is read without one.
        """
        if self.options.examples == "none":
            return ()
        hits = await turn.recall(turn.message.text, family=turn.agent, limit=16)
        sound = [hit for hit in hits if _passed(hit)]
        if not sound:
            await turn.use()
            return ()
        used = sound[0 if self.options.examples == "nearest" else -1]
        await turn.use(used)
        await turn.note("an earlier mail like this one was read, and its sums were right")
        chosen = used.pack.how
        # A pack is data from outside: only words and known roles are taken from it.
        pairs = (chosen.get("result") or {}).get("read_as", [])
        return tuple((str(cue)[:80], role) for cue, role in pairs if role in reading.ROLES)

    async def _pick(
        self,
        turn: Turn,
        spans: Sequence[reading.Span],
        label: str,
        examples: tuple[tuple[str, str], ...],
    ) -> str | None:
        """The span whose cue the model finds most like `label`; a single one needs no model."""
        if len(spans) < 2:
            return spans[0].text if spans else None
        margins = []
        for span in spans:
            request = ScoreRequest(text=span.cue, labels=(label, "other"), examples=examples)
            margins.append((await turn.score(request)).margin(label))
        return spans[margins.index(max(margins))].text


class Checker(Agent):
    """Compare an invoice with the books by executable checks."""

    async def handle(self, turn: Turn) -> None:
        given = turn.message.data
        assert isinstance(given, Mapping)
        invoice = given["invoice"]
        vendor = await _tool(turn, "ledger.find_vendor", name=invoice["vendor"] or "")
        posted: Data = {"found": False}
        if vendor["found"] and invoice["invoice_number"]:
            asked = {"vendor_id": vendor["vendor_id"], "invoice_number": invoice["invoice_number"]}
            posted = await _tool(turn, "ledger.find_invoice", **asked)
        currencies = list(self.spec.options.get("currencies", ("EUR", "USD")))
        subject = {**given, "vendor": vendor, "posted": posted, "currencies": currencies}
        wanted = checks.ALWAYS if given["missing"] else (*checks.ALWAYS, *checks.WHEN_COMPLETE)
        verdicts = {
            check.name: await turn.check(check, subject, judges="input") for check in wanted
        }
        found = [n for n in checks.OUTCOME if n in verdicts and verdicts[n].passed is False]
        failed = [(*checks.OUTCOME[name], verdicts[name].detail) for name in found]
        unknown = [v.name for v in verdicts.values() if v.passed is None]
        if not failed and unknown:
            failed = [("waiting", "unchecked", f"could not be checked: {', '.join(unknown)}")]
        why = failed[0][2] if failed else "the books hold nothing against it"
        await turn.note(why, about=found[0] if found else "")
        await _end(turn, {"failed": failed[:1], "vendor": vendor})


class Approver(Agent):
    """Approve what is within the limit; ask a person about the rest."""

    async def handle(self, turn: Turn) -> None:
        given = turn.message.data
        assert isinstance(given, Mapping)
        invoice = given["invoice"]
        limit = float(self.spec.options["limit"])
        if float(invoice["total"]) <= limit:
            await turn.note(f"{_sum_of(invoice)} is within the limit of {limit:,.0f}")
            await _end(turn, {"approved": True, "by": "within the limit"})
            return
        amount = _sum_of(invoice)
        await turn.note(f"{amount} is above the limit of {limit:,.0f}, so a person decides")
        answer = await turn.ask_person(
            Question(
                f"{invoice['vendor']} asks for {amount}, above the limit of {limit:,.0f}."
                f" Post invoice {invoice['invoice_number']}?",
                options=("approve", "refuse"),
                context=dict(given),
            )
        )
        approved = answer.text.strip() == "approve"
        await _end(turn, {"approved": approved, "by": "a person"})


class Bookkeeper(Agent):
    """Post an approved invoice, once."""

    async def handle(self, turn: Turn) -> None:
        given = turn.message.data
        assert isinstance(given, Mapping)
        invoice = given["invoice"]
        posting = {
            "vendor_id": given["vendor_id"],
            "invoice_number": invoice["invoice_number"],
            "invoice_date": invoice["date"],
            "currency": invoice["currency"],
            "lines": invoice["lines"],
            **{name: float(invoice[name]) for name in ("net", "tax", "total")},
            "source": given["file"],
            "approved_by": given["approved_by"],
        }
        try:
            await _end(turn, await _tool(turn, "ledger.post_invoice", **posting))
        except PolicyDeniedError as error:
            await _end(turn, {"posted": False, "denied": error.sentence})


class Clerk(Agent):
    """Take one mail and see it through to a decision: posted, waiting or refused."""

    async def handle(self, turn: Turn) -> None:
        part = turn.message.parts[0]
        file = part.filename or "mail"
        content = part.raw if part.raw is not None else (part.text or "").encode()
        try:
            mail = read_mail(content)
        except UnreadableMailError as error:
            await self._decide(turn, file, "refused", "unreadable", error.sentence)
            return
        kind = reading.kind_of(mail)
        if kind != "invoice":
            await self._decide(turn, file, *NOT_AN_INVOICE[kind])
            return
        read = _answer(await turn.ask("intake", _mail_message(mail)))
        invoice = read["invoice"]
        facts = {"file": file, **read, "text": _all_text(mail), "received": str(mail.received)}
        checked = _answer(await turn.ask("checker", _order("Check", facts)))
        if checked["failed"]:
            decision, reason, sentence = checked["failed"][0]
            await self._decide(turn, file, decision, reason, sentence, invoice)
            return
        about = {"file": file, "invoice": invoice}
        await self._show(turn, file, "waiting", "over_limit", "waits for approval", invoice)
        approval = _answer(await turn.ask("approver", _order("Approve", about)))
        if not approval["approved"]:
            await self._decide(turn, file, "refused", "not_approved", "a person refused", invoice)
            return
        order = {**about, "vendor_id": checked["vendor"]["vendor_id"]}
        order["approved_by"] = approval["by"]
        posting = _answer(await turn.ask("bookkeeper", _order("Post", order)))
        if posting["posted"]:
            sentence = f"posted as number {posting['posting_id']}"
            await self._decide(turn, file, "posted", "posted", sentence, invoice)
        elif "denied" in posting:
            await self._decide(turn, file, "waiting", "denied", posting["denied"], invoice)
        else:
            sentence = f"posted before, as number {posting['duplicate_of']}"
            await self._decide(turn, file, "refused", "duplicate", sentence, invoice)

    async def _decide(
        self,
        turn: Turn,
        file: str,
        decision: str,
        reason: str,
        sentence: str,
        invoice: Data | None = None,
    ) -> None:
        await self._show(turn, file, decision, reason, sentence, invoice)
        await turn.complete(f"{decision}: {sentence}")

    async def _show(
        self,
        turn: Turn,
        file: str,
        decision: str,
        reason: str,
        sentence: str,
        invoice: Data | None,
    ) -> None:
        """Say how the mail stands; a later artifact of the same id takes this one's place."""
        data = {"file": file, "decision": decision, "reason": reason, "sentence": sentence}
        parts = (Part(data={**data, "invoice": invoice}),)
        await turn.add_artifact(Artifact(artifact_id="decision", name="decision", parts=parts))


def _passed(hit: Hit) -> bool:
    """Whether a pack's own checks passed, and none that ran later has lowered its trust."""
    return hit.pack.outcome.get("verdict") == "pass" and hit.reasons.trust >= _TRUSTED


# Where trust begins; only a failed check takes it below.
_TRUSTED = 0.5

NOT_AN_INVOICE = {
    "credit_note": ("waiting", "credit_note", "a credit note; set it off by hand"),
    "reminder": ("refused", "reminder", "a reminder; the invoice itself decides"),
    "other": ("refused", "not_an_invoice", "no invoice"),
}


def _mail_message(mail: Mail) -> Message:
    """The mail as text, by which its pack will be found, and as data."""
    words = f"{mail.sender}: {mail.subject}\n{mail.text}"
    data = _MAIL.dump_python(mail, mode="json")
    return Message(message_id="mail", role=Role.USER, parts=(Part(text=words), Part(data=data)))


def _order(verb: str, data: Data) -> Message:
    """What is to be done with an invoice: in words, by which its pack will be found, and as data."""
    invoice = data["invoice"]
    number, vendor = invoice["invoice_number"], invoice["vendor"]
    words = f"{verb} invoice {number or 'without a number'} of {vendor or 'an unknown vendor'}"
    if invoice["total"]:
        words += f" over {_sum_of(invoice)}"
    parts = (Part(text=words), Part(data=dict(data)))
    return Message(message_id=verb.lower(), role=Role.USER, parts=parts)


def _sum_of(invoice: Data) -> str:
    return f"{invoice['currency'] or ''} {float(invoice['total']):,.2f}".strip()


def _all_text(mail: Mail) -> str:
    return f"{mail.sender}\n{mail.subject}\n{mail.text}"


def _answer(task: Task) -> Data:
    """The data a peer ended its task with."""
    message = task.status.message
    if task.status.state is not TaskState.COMPLETED or message is None:
        why = message.text if message is not None else "it gave no reason"
        raise TaskFailedError(f"the mail could not be decided: {why}", task=task)
    return dict(message.data or {})


async def _tool(turn: Turn, tool: str, /, **arguments: Any) -> Data:
    result = await turn.call_tool(tool, arguments)
    if result.is_error or not isinstance(result.structured, Mapping):
        raise ToolServerError(f"{tool} failed: {result.content}", tool=tool)
    return dict(result.structured)


async def _end(turn: Turn, data: Mapping[str, Any]) -> None:
    await turn.complete(agent_message(data))
