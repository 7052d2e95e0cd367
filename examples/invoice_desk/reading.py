"""How an invoice is read out of a mail's text: spans by code, their meaning by the model.

A small model copies badly and compares well. So code finds every span that could be
an amount, a number or a date, the model scores what each means by the words around
it, and `choose_roles` takes the most likely reading of all spans together. A value that
does not stand in the mail cannot be read out of it. What has a form of its own is read
by code alone: account numbers, and companies by their legal form.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from itertools import combinations, permutations
from typing import Literal

from mails import Mail
from pydantic import BaseModel, ConfigDict

Scores = Mapping[str, float]
Kind = Literal["invoice", "credit_note", "reminder", "other"]

ROLES = ("item", "net", "tax", "total", "other")
CURRENCIES = {"€": "EUR", "euro": "EUR", "$": "USD", "£": "GBP"}
CURRENCIES |= {
    code: code
    for code in ["EUR", "USD", "GBP", "CHF", "SEK", "DKK", "NOK", "PLN", "JPY", "CAD", "AUD"]
}
_MONTHS: str = (
    "january february march april may june july august september october november december"
)
_MONTH = f"(?P<month>{_MONTHS.replace(' ', '|')})"
_DATES = [
    re.compile(rf"\b{pattern}\b", re.IGNORECASE)
    for pattern in (
        r"(?P<y>\d{4})-(?P<m>\d\d)-(?P<d>\d\d)",
        r"(?P<a>\d\d?)(?P<sign>[./])(?P<b>\d\d?)[./](?P<y>\d{4})",
        rf"{_MONTH} (?P<d>\d\d?),? (?P<y>\d{{4}})",
        rf"(?P<d>\d\d?)\.? {_MONTH} (?P<y>\d{{4}})",
    )
]
_AMOUNT = re.compile(
    r"(?<![\w/.,-])[$€£]?\s?(\d{1,3}(?:[ .,]\d{3})+[.,]\d{2}|\d+[.,]\d{2})(?![\d/%]|\s?%|[.,]\d)"
)
_NUMBER = re.compile(
    r"(?<![\w@./-])(?=[\w/-]*\d{2})(?:[A-Z0-9]{1,6}(?:[-/][A-Z0-9]+)+|[A-Z]{2,4}\d{4,})\b"
)
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]){11,30}\b")
_ROUTING = re.compile(
    r"routing(?: number)?:? (\d{9})\b[^\d]{0,24}account(?: number)?:? (\d{6,12})\b", re.IGNORECASE
)
_LEGAL = r"GmbH|LLC|Inc\.?|Ltd\.?|SARL|S\.r\.l\.|S\.L\.|B\.V\.|LLP|Co\.|Corp\.|KG|AG|SAS|Partners"
_WORD = r"[A-ZÀ-Ý][\w’'-]*|&|de|den|der|van|und|and|et"
_COMPANY = re.compile(
    rf"(?:(?<=\s)|(?<=^))[A-ZÀ-Ý][\w’'-]*(?: (?:{_WORD}))*,? (?:{_LEGAL})(?!\w)", re.MULTILINE
)
_SHOUTED = re.compile(r"^[A-Z][A-Z& ]+ (?:INC|LLC|LTD|LLP|CORP|CO)\b\.?", re.MULTILINE)
_KINDS: tuple[tuple[Kind, str], ...] = (
    ("credit_note", r"credit note|gutschrift|nota di credito|\bavoir\b|nota de cr[eé]dito"),
    (
        "reminder",
        r"payment reminder|friendly reminder|\bmahnung|zahlungserinnerung|still (?:open|unpaid)",
    ),
    ("other", r"\bpreventivo|our offer|\bangebot\b|\bquotation|unsubscribe|order confirmation"),
    ("invoice", r"invoice|rechnung|fattura|factura|facture|statement|amount due"),
)


class Line(BaseModel):
    """One thing that was sold."""

    model_config = ConfigDict(frozen=True)
    description: str
    amount: Decimal


class Invoice(BaseModel):
    """What an invoice says, amounts in its own currency; None for what could not be read."""

    model_config = ConfigDict(frozen=True)
    vendor: str | None
    invoice_number: str | None
    date: date | None
    currency: str | None
    lines: tuple[Line, ...] = ()
    net: Decimal | None = None
    tax: Decimal | None = None
    total: Decimal | None = None
    accounts: tuple[str, ...] = ()

    def missing(self) -> list[str]:
        """The names of the fields that a posting needs and the reading did not find."""
        needed = ("vendor", "invoice_number", "date", "currency", "lines", "net", "tax", "total")
        return [name for name in needed if getattr(self, name) in (None, ())]


@dataclass(frozen=True, slots=True)
class Span:
    """Something that stands in the mail, and its cue: the words beside it, without numbers."""

    text: str
    cue: str


@dataclass(frozen=True, slots=True)
class Roles:
    """What each amount is and how much. adds_up: lines make net, net and tax make total.

    likely: whether the model finds this reading about as likely as its favorite.
    favorite: whether it is the model's favorite, so that nothing had to be repaired.
    """

    roles: tuple[str, ...]
    values: tuple[Decimal, ...]
    adds_up: bool
    likely: bool
    favorite: bool


def kind_of(mail: Mail) -> Kind:
    """What a mail is, by its words; on this question the small model is at chance."""
    text = f"{mail.subject}\n{mail.text}".lower()
    for kind, words in _KINDS:
        if re.search(words, text):
            return kind
    return "other"


def amount_spans(mail: Mail) -> list[Span]:
    """Every line that ends in an amount, with the words that say what it is."""
    return [
        Span(found[-1], cue_of(line))
        for line in mail.text.splitlines()
        if (found := _AMOUNT.findall(_without_dates(line)))
    ]


def number_spans(mail: Mail) -> list[Span]:
    """What looks like a document's number, each once, the body before the subject."""
    return _distinct(
        Span(found, _beside(line, found))
        for line in (*mail.text.splitlines(), mail.subject)
        for found in _NUMBER.findall(_IBAN.sub(" ", _AMOUNT.sub(" ", _without_dates(line))))
    )


def date_spans(mail: Mail) -> list[Span]:
    """Every full date of the text, each once."""
    return _distinct(
        Span(found.group(0), _beside(line, found.group(0)))
        for line in mail.text.splitlines()
        for pattern in _DATES
        for found in pattern.finditer(line)
    )


def _beside(line: str, span: str) -> str:
    """The three words before a span, or those after it where it begins the line."""
    before, _, after = line.partition(span)
    return cue_of(" ".join(before.split()[-3:])) or cue_of(" ".join(after.split()[:3]))


def _distinct(spans: Iterator[Span]) -> list[Span]:
    return list({span.text: span for span in reversed(list(spans))}.values())[::-1]


def _without_dates(line: str) -> str:
    for pattern in _DATES:
        line = pattern.sub(" ", line)
    return line


def cue_of(line: str) -> str:
    """A line without its numbers, currency and ornaments: the words the model judges."""
    line = _AMOUNT.sub(" ", _without_dates(line))
    line = re.sub(r"[€$£]|\b(EUR|USD|GBP|CHF|euro)\b|[\d.,]+ ?%", " ", line)
    line = re.sub(r"\( *\)", " ", line)
    return " ".join(re.sub(r"^[-*•(\d ]+\s*|[\s|:.\-=,)(]+$", "", line).split())


def choose_roles(spans: Sequence[Span], scores: Sequence[Scores], margin: float = 6.0) -> Roles:
    """The likeliest reading that adds up, if one does; else the likeliest of all.

    Exactly one amount is the net, one the tax and one the total; the others are
    items or beside the point. margin: how much less likely than the model's favorite
    (in nats) a reading may be that is taken because it adds up.
    """
    whole = tuple(decimal_of(span.text) for span in spans)
    # "90 149,00" may be one French amount, or a size and a German one.
    parted = tuple(decimal_of(span.text.split(" ")[-1]) for span in spans)
    if len(spans) < 4:
        return Roles(("other",) * len(spans), whole, adds_up=False, likely=False, favorite=False)
    best = max(_favorites(scores))
    for values in dict.fromkeys((whole, parted)):
        if sound := max(_sound(values, scores), default=None):
            likely = best[0] - sound[0] <= margin
            return Roles(sound[1], values, True, likely, favorite=sound[1] == best[1])
    return Roles(best[1], whole, adds_up=False, likely=True, favorite=True)


def _favorites(scores: Sequence[Scores]) -> Iterator[tuple[float, tuple[str, ...]]]:
    """The best reading for each choice of net, tax and total, whatever the numbers say."""
    for triple in permutations(range(len(scores)), 3):
        rest = (i for i in range(len(scores)) if i not in triple)
        yield _weighed(triple, [i for i in rest if scores[i]["item"] >= scores[i]["other"]], scores)


def _sound(
    values: Sequence[Decimal], scores: Sequence[Scores]
) -> Iterator[tuple[float, tuple[str, ...]]]:
    """Every reading whose items make the net, and whose net and tax make the total."""
    for triple in permutations(range(len(values)), 3):
        net, tax, total = (values[i] for i in triple)
        if net + tax != total:
            continue
        rest = [i for i in range(len(values)) if i not in triple]
        for size in range(1, len(rest) + 1):
            for items in combinations(rest, size):
                if sum(values[i] for i in items) == net:
                    yield _weighed(triple, items, scores)


def _weighed(
    triple: tuple[int, ...], items: Sequence[int], scores: Sequence[Scores]
) -> tuple[float, tuple[str, ...]]:
    named = dict(zip(triple, ("net", "tax", "total"), strict=True))
    roles = tuple(named.get(i, "item" if i in items else "other") for i in range(len(scores)))
    return sum(score[role] for score, role in zip(scores, roles, strict=True)), roles


def decimal_of(amount: str) -> Decimal:
    """An amount as written, American or European, as a number."""
    return Decimal(re.sub(r"\D", "", amount)) / 100


def date_of(text: str, *, month_first: bool) -> date | None:
    """A date as written; with slashes the country decides which number is the month."""
    for pattern in _DATES:
        if not (found := pattern.fullmatch(text)):
            continue
        parts = found.groupdict()
        if parts.get("month"):
            month = _MONTHS.split().index(parts["month"].lower()) + 1
            day = int(parts["d"])
        elif parts.get("a"):
            first, second = int(parts["a"]), int(parts["b"])
            american = (month_first and parts["sign"] == "/" and first <= 12) or second > 12
            month, day = (first, second) if american else (second, first)
        else:
            month, day = int(parts["m"]), int(parts["d"])
        try:
            return date(int(parts["y"]), month, day)
        except ValueError:
            return None
    return None


def currency_of(mail: Mail) -> str | None:
    """The one currency that stands in the mail; None when there are several or none."""
    found = {
        code
        for sign, code in CURRENCIES.items()
        if re.search(rf"\b{sign}\b" if sign.isalpha() else re.escape(sign), mail.text)
    }
    return found.pop() if len(found) == 1 else None


def accounts_of(mail: Mail) -> tuple[str, ...]:
    """Every bank account the mail names: IBANs whose checksum holds, and routing/account."""
    ibans = [re.sub(r"\s", "", found) for found in _IBAN.findall(mail.text)]
    accounts = [iban for iban in ibans if _iban_holds(iban)]
    accounts += [f"{routing}/{account}" for routing, account in _ROUTING.findall(mail.text)]
    return tuple(dict.fromkeys(accounts))


def _iban_holds(iban: str) -> bool:
    turned = iban[4:] + iban[:4]
    return int("".join(str(int(c, 36)) for c in turned)) % 97 == 1


def vendor_of(mail: Mail, ourselves: str) -> str | None:
    """The company that writes, by its legal form, else the sender's own name."""
    found = [*_COMPANY.findall(mail.text), *_SHOUTED.findall(mail.text), mail.sender]
    return next((name for name in found if ourselves.lower() not in name.lower()), None)


def invoice_of(
    mail: Mail, number: str | None, dated: str | None, spans: Sequence[Span], roles: Roles, us: str
) -> Invoice:
    """The typed invoice of a reading; amounts are None when no role was likely enough."""
    currency = currency_of(mail)
    amounts: dict[str, Decimal | None] = {"net": None, "tax": None, "total": None}
    lines: list[Line] = []
    for span, role, value in zip(spans, roles.roles, roles.values, strict=True):
        if role == "item":
            lines.append(Line(description=span.cue, amount=value))
        elif role in amounts and roles.likely:
            amounts[role] = value
    return Invoice(
        vendor=vendor_of(mail, us),
        invoice_number=number,
        date=date_of(dated, month_first=currency == "USD") if dated else None,
        currency=currency,
        lines=tuple(lines) if roles.likely else (),
        **amounts,
        accounts=accounts_of(mail),
    )
