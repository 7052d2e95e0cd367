"""The script that stands for the invoice desk's small model: words decide, at once and alike.

Copied beside the desk's manifest. Every call is written to `calls.txt` when it begins and
when it ends, outside of all that the runtime keeps.
"""

import json
import re
from hashlib import sha256
from pathlib import Path
from random import Random

from anyio import sleep

from repertory.agents import ScoreRequest

CALLS = Path(__file__).with_name("calls.txt")
_WORDS = {
    "tax": r"tax|vat|mwst|ust|tva|iva|btw",
    "net": r"net|netto|subtotal|zwischensumme|imponibile|base|before|without|excl|ht|hors",
    "total": r"total|gesamt\w*|summe|due|pay|payer|pagar|totale|amount",
    "invoice": r"invoice|rechnung\w*|facture|factura|fattura|number|nr|no",
    "issued": r"date|dated|issued|vom|datum|invoice|fecha|data|du",
}
_LIKELY = 2.0


def told(line: str) -> None:
    """Append one line in one write, whoever else appends."""
    with CALLS.open("a") as file:
        file.write(f"{line}\n")


async def score(request: ScoreRequest) -> dict[str, float]:
    """Find the label whose words stand in the text likely, all others unlikely."""
    digest = sha256(json.dumps(request.to_json(), sort_keys=True).encode()).hexdigest()
    told(f"chat begin {digest}")
    await sleep(0.002 + 0.02 * Random(digest).random())
    fits = [
        label
        for label, words in _WORDS.items()
        if label in request.labels and re.search(rf"\b({words})\b", request.text, re.IGNORECASE)
    ]
    favorite = fits[0] if fits else "item" if "item" in request.labels else "other"
    told(f"chat end {digest}")
    return {label: _LIKELY if label == favorite else 0.0 for label in request.labels}
