"""A ledger in SQLite, offered as an MCP server: `python ledger.py ledger.db [vendors.csv]`.

An invoice is posted once, whatever happens: the caller's idempotency key (in the
request's `_meta`) and the posting are written in one transaction, so a repeated call
gets its first answer again, and a unique index refuses the same invoice under
another key. The file is in WAL mode with full synchronization: what was answered
is on the disk.
"""

import csv
import json
import re
import sqlite3
import sys
import unicodedata
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError

KEY = "dev.repertory/idempotency-key"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS vendors (
    vendor_id TEXT PRIMARY KEY, name TEXT NOT NULL, aliases TEXT NOT NULL,
    currency TEXT NOT NULL, account TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS postings (
    posting_id INTEGER PRIMARY KEY AUTOINCREMENT,
    vendor_id TEXT NOT NULL REFERENCES vendors, invoice_number TEXT NOT NULL,
    invoice_date TEXT NOT NULL, currency TEXT NOT NULL,
    net_cents INTEGER NOT NULL, tax_cents INTEGER NOT NULL, total_cents INTEGER NOT NULL,
    account TEXT NOT NULL, lines TEXT NOT NULL, source TEXT NOT NULL, approved_by TEXT NOT NULL,
    CHECK (net_cents + tax_cents = total_cents), UNIQUE (vendor_id, invoice_number));
CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY, request TEXT NOT NULL, answer TEXT NOT NULL);
"""
_LEGAL_FORM = re.compile(
    r"\b(gmbh|llc|inc|ltd|sarl|srl|sl|bv|llp|co|corp|kg|ag|sas|limited|incorporated)\b"
)


def open_ledger(path: Path | str, vendors: Path | None = None) -> sqlite3.Connection:
    """Open the ledger, make its tables where they are missing, and learn new vendors."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    ledger = sqlite3.connect(path, isolation_level=None, timeout=30, check_same_thread=False)
    ledger.row_factory = sqlite3.Row
    for setting in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
        ledger.execute(f"PRAGMA {setting}")
    ledger.executescript(_SCHEMA)
    if vendors is not None:
        with vendors.open(encoding="utf-8", newline="") as file:
            rows = [tuple(row.values()) for row in csv.DictReader(file)]
        ledger.executemany("INSERT OR IGNORE INTO vendors VALUES (?, ?, ?, ?, ?)", rows)
    return ledger


def name_key(name: str) -> str:
    """A company's name without legal form, accents, case and punctuation."""
    plain = unicodedata.normalize("NFKD", name.lower().replace("ü", "ue").replace("&", " and "))
    plain = "".join(c for c in plain if not unicodedata.combining(c)).replace(".", "")
    return " ".join(_LEGAL_FORM.sub(" ", re.sub(r"[^\w]+", " ", plain)).split())


def cents(amount: float | str) -> int:
    """An amount of money as whole cents.

    Raises:
        ToolError: It is no amount, or finer than a cent.
    """
    try:
        exact = Decimal(str(amount)) * 100
        whole = int(exact)
    except (ArithmeticError, ValueError):
        raise ToolError(f"{amount!r} is no amount of money") from None
    if whole != exact:
        raise ToolError(f"{amount} is finer than a cent")
    return whole


class Ledger:
    """What may be asked of the ledger; every method is one transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection

    def find_vendor(self, name: str) -> dict[str, Any]:
        """Find the vendor whose name or alias this is; `{"found": false}` if there is none."""
        wanted = name_key(name)
        for row in self.connection.execute("SELECT * FROM vendors ORDER BY vendor_id"):
            known = [row["name"], *row["aliases"].split(";")]
            if wanted and wanted in map(name_key, known):
                return {"found": True, **{k: v for k, v in dict(row).items() if k != "aliases"}}
        return {"found": False}

    def find_invoice(self, vendor_id: str, invoice_number: str) -> dict[str, Any]:
        """Find a posted invoice; `{"found": false}` if it is not posted."""
        row = self.connection.execute(
            "SELECT posting_id, source FROM postings WHERE vendor_id = ? AND invoice_number = ?",
            (vendor_id, invoice_number),
        ).fetchone()
        return {"found": True, **dict(row)} if row else {"found": False}

    def post_invoice(self, invoice: dict[str, Any], key: str = "") -> dict[str, Any]:
        """Post an invoice once; `{"posted": false}` names the earlier posting of a duplicate.

        Raises:
            ToolError: The key was used for another invoice, or the invoice breaks a rule.
        """
        request = json.dumps(invoice, sort_keys=True)
        with closing(self.connection.cursor()) as cursor:
            cursor.execute("BEGIN IMMEDIATE")
            try:
                answer = self._post(cursor, invoice, key, request)
            except BaseException:
                cursor.execute("ROLLBACK")
                raise
            cursor.execute("COMMIT")
        return answer

    def _post(
        self, cursor: sqlite3.Cursor, invoice: dict[str, Any], key: str, request: str
    ) -> dict[str, Any]:
        known = cursor.execute(
            "SELECT request, answer FROM answers WHERE key = ?", (key,)
        ).fetchone()
        if key and known:
            if known["request"] != request:
                raise ToolError("this idempotency key belongs to another invoice")
            return dict(json.loads(known["answer"]))
        earlier = self.find_invoice(invoice["vendor_id"], invoice["invoice_number"])
        if earlier["found"]:
            answer = {"posted": False, "duplicate_of": earlier["posting_id"]}
        else:
            try:
                cursor.execute(
                    "INSERT INTO postings VALUES (NULL, ?, ?, ?, ?, ?, ?, ?,"
                    " (SELECT account FROM vendors WHERE vendor_id = ?), ?, ?, ?)",
                    (
                        *(
                            invoice[name]
                            for name in ("vendor_id", "invoice_number", "invoice_date")
                        ),
                        invoice["currency"],
                        *(cents(invoice[name]) for name in ("net", "tax", "total")),
                        invoice["vendor_id"],
                        json.dumps(invoice["lines"]),
                        invoice["source"],
                        invoice["approved_by"],
                    ),
                )
            except sqlite3.IntegrityError as error:
                raise ToolError(f"the ledger refuses the invoice: {error}") from None
            answer = {"posted": True, "posting_id": cursor.lastrowid}
        if key:
            cursor.execute(
                "INSERT INTO answers VALUES (?, ?, ?)", (key, request, json.dumps(answer))
            )
        return answer

    def balance(self, currency: str) -> dict[str, Any]:
        """Sum what is posted in one currency."""
        count, total = self.connection.execute(
            "SELECT COUNT(*), COALESCE(SUM(total_cents), 0) FROM postings WHERE currency = ?",
            (currency,),
        ).fetchone()
        return {"currency": currency, "postings": count, "total": f"{Decimal(total) / 100:.2f}"}

    def list_postings(self) -> dict[str, Any]:
        """List every posting, oldest first."""
        rows = self.connection.execute(
            "SELECT posting_id, vendor_id, invoice_number, invoice_date, currency,"
            " total_cents / 100.0 AS total, account, source, approved_by"
            " FROM postings ORDER BY posting_id"
        )
        return {"postings": [dict(row) for row in rows]}


def server(ledger: Ledger) -> MCPServer:
    """The ledger's tools as an MCP server."""
    mcp = MCPServer("ledger", version="1.0", instructions="The books of Lindqvist Interiors.")
    mcp.tool()(ledger.find_vendor)
    mcp.tool()(ledger.find_invoice)
    mcp.tool()(ledger.balance)
    mcp.tool()(ledger.list_postings)

    @mcp.tool()
    async def post_invoice(
        vendor_id: str,
        invoice_number: str,
        invoice_date: str,
        currency: str,
        lines: list[dict[str, Any]],
        net: float,
        tax: float,
        total: float,
        source: str,
        ctx: Context,
        approved_by: str = "",
    ) -> dict[str, Any]:
        """Post an invoice to the books, to be paid to the account in the vendor's record."""
        given = {k: v for k, v in locals().items() if k not in ("ctx", "ledger")}
        meta = ctx.request_context.meta or {}
        return ledger.post_invoice(given, str(meta.get(KEY, "")))

    return mcp


if __name__ == "__main__":
    _vendors = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(__file__).with_name("vendors.csv")
    server(Ledger(open_ledger(sys.argv[1], _vendors))).run()
