"""The executable checks of the desk: they run in a process of their own and join the pack.

Each is the body of a Python function of `subject`: the invoice as JSON, the mail's
`text` and date of receipt, what the ledger knows of the vendor and whether the
invoice is posted. A failed assertion is the sentence that a person reads.
`OUTCOME` says what becomes of an invoice that fails one, gravest first.
"""

from repertory.xp_store import CheckSpec

_MONEY = """
from decimal import Decimal
def money(name):
    return Decimal(subject["invoice"][name])
lines = [Decimal(line["amount"]) for line in subject["invoice"]["lines"]]
"""

COMPLETE = CheckSpec(
    "every field was read",
    "python",
    """
missing = subject["missing"]
assert not missing, "could not be read from the mail: " + ", ".join(missing)
""",
)
VENDOR_KNOWN = CheckSpec(
    "the vendor is in the books",
    "python",
    """
assert subject["vendor"]["found"], f"no vendor {subject['invoice']['vendor']!r} in the books"
""",
)
ACCOUNT = CheckSpec(
    "the account is the vendor's",
    "python",
    """
known = subject["vendor"].get("account")
strange = [a for a in subject["invoice"]["accounts"] if known and a != known]
assert not strange, f"asks for payment to {strange[0]}, but the vendor's account is {known}"
""",
)
NOT_POSTED = CheckSpec(
    "it is not posted yet",
    "python",
    """
earlier = subject["posted"]
assert not earlier["found"], f"posted before, as number {earlier.get('posting_id')}"
""",
)
SUMS = CheckSpec(
    "the sums are right",
    "python",
    _MONEY
    + """
assert sum(lines) == money("net"), f"the lines make {sum(lines)}, the mail says {money('net')}"
total = money("net") + money("tax")
assert total == money("total"), f"net and tax make {total}, the mail says {money('total')}"
""",
)
DATE = CheckSpec(
    "the date is plausible",
    "python",
    """
from datetime import date
day, received = (date.fromisoformat(d) for d in (subject["invoice"]["date"], subject["received"]))
assert -370 <= (day - received).days <= 3, f"dated {day}, but received on {received}"
""",
)
CURRENCY = CheckSpec(
    "the currency is one we keep",
    "python",
    """
currency = subject["invoice"]["currency"]
assert currency in subject["currencies"], f"{currency} is no currency of our books"
""",
)
GROUNDED = CheckSpec(
    "every value stands in the mail",
    "python",
    """
import re
text, invoice = subject["text"], subject["invoice"]
amounts = [invoice[name] for name in ("net", "tax", "total")]
amounts += [line["amount"] for line in invoice["lines"]]
for amount in amounts:
    assert re.fullmatch(r"[0-9]+([.][0-9]+)?", amount), f"{amount!r} is no amount"
    # As it is written there, whatever stands between its digits, and nothing less.
    whole, _, cents = amount.partition(".")
    forms = [whole + cents.ljust(2, "0"), *([whole] if not cents.strip("0") else [])]
    written = "|".join("[ .,'\\xa0\\u202f]?".join(form) for form in forms)
    there = re.search(f"(?<![0-9])({written})(?![0-9])", text)
    assert there, f"{amount} does not stand in the mail"
number = invoice["invoice_number"]
there = number and re.search(rf"(?<!\\w){re.escape(number)}(?!\\w)", text)
assert there, "the number does not stand in the mail"
""",
)

OUTCOME: dict[str, tuple[str, str]] = {
    ACCOUNT.name: ("refused", "account_mismatch"),
    VENDOR_KNOWN.name: ("waiting", "unknown_vendor"),
    NOT_POSTED.name: ("refused", "duplicate"),
    COMPLETE.name: ("waiting", "unclear_reading"),
    GROUNDED.name: ("waiting", "unclear_reading"),
    CURRENCY.name: ("waiting", "currency_unknown"),
    DATE.name: ("refused", "date_implausible"),
    SUMS.name: ("refused", "sum_mismatch"),
}
# Those that only the ledger can answer, and those that the invoice answers for itself.
ALWAYS = (ACCOUNT, VENDOR_KNOWN, NOT_POSTED, COMPLETE)
WHEN_COMPLETE = (GROUNDED, CURRENCY, DATE, SUMS)
