"""The ledger of the invoice desk: once per key, once per invoice, whole after a kill."""

import os
import signal
import sqlite3
import subprocess
import sys
from importlib import util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from anyio import fail_after
from mcp import Client, StdioServerParameters
from mcp.server.mcpserver.exceptions import ToolError

DESK = Path(__file__).parents[2] / "examples" / "invoice_desk"

_LOOP = """
import sys
sys.path.insert(0, sys.argv[1])
from ledger import Ledger, open_ledger
ledger = Ledger(open_ledger(sys.argv[2]))
invoice = {"vendor_id": "V001", "invoice_date": "2026-11-03", "currency": "EUR", "lines": [],
           "net": 100.0, "tax": 19.0, "total": 119.0, "source": "a", "approved_by": ""}
for n in range(int(sys.argv[3]), 10_000):
    answer = ledger.post_invoice({**invoice, "invoice_number": f"N{n}"}, f"key-{n}")
    print(n, answer["posting_id"], flush=True)
"""


def _load() -> ModuleType:
    spec = util.spec_from_file_location("invoice_desk_ledger", DESK / "ledger.py")
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


ledger = _load()


def _invoice(**changes: Any) -> dict[str, Any]:
    return {
        "vendor_id": "V001",
        "invoice_number": "RE-1",
        "invoice_date": "2026-11-03",
        "currency": "EUR",
        "lines": [{"description": "Paper", "amount": "100.00"}],
        "net": 100.0,
        "tax": 19.0,
        "total": 119.0,
        "source": "a.eml",
        "approved_by": "within the limit",
        **changes,
    }


@pytest.fixture
def books(tmp_path: Path) -> Any:
    connection = ledger.open_ledger(tmp_path / "ledger.db", DESK / "vendors.csv")
    yield ledger.Ledger(connection)
    connection.close()


def test_the_same_key_posts_once_and_gives_the_same_answer_again(books: Any) -> None:
    """Ours: a resumed run repeats its call, and must not repeat the payment."""
    first = books.post_invoice(_invoice(), "key-1")
    assert books.post_invoice(_invoice(), "key-1") == first == {"posted": True, "posting_id": 1}
    assert books.balance("EUR") == {"currency": "EUR", "postings": 1, "total": "119.00"}


def test_another_key_cannot_post_the_same_invoice(books: Any) -> None:
    """Ours: the unique index guards besides the key."""
    books.post_invoice(_invoice(), "key-1")
    assert books.post_invoice(_invoice(), "key-2") == {"posted": False, "duplicate_of": 1}
    assert len(books.list_postings()["postings"]) == 1


def test_a_key_is_not_lent_to_another_invoice(books: Any) -> None:
    """Ours: answering for the wrong invoice would hide a payment."""
    books.post_invoice(_invoice(), "key-1")
    with pytest.raises(ToolError, match="another invoice"):
        books.post_invoice(_invoice(invoice_number="RE-2"), "key-1")


@pytest.mark.parametrize(
    "changes", [{"total": 120.0}, {"vendor_id": "V999"}, {"net": 100.001}, {"tax": "much"}]
)
def test_what_breaks_a_rule_is_refused_and_leaves_nothing(
    books: Any, changes: dict[str, Any]
) -> None:
    """Ours: sums, vendors and cents are the ledger's own rules."""
    with pytest.raises(ToolError):
        books.post_invoice(_invoice(**changes), "key-1")
    assert books.list_postings() == {"postings": []}
    assert books.post_invoice(_invoice(), "key-1")["posted"]


@pytest.mark.parametrize("name", ["BRIGHTWATER CLEANING", "Brightwater Cleaning Services, LLC"])
def test_a_vendor_is_found_by_name_and_alias(books: Any, name: str) -> None:
    """Ours: legal form, case and punctuation do not make another company."""
    assert books.find_vendor(name)["vendor_id"] == "V002"
    assert books.find_vendor("Brightwater Marine") == {"found": False}
    assert books.find_vendor("GmbH") == {"found": False}


def test_every_posting_that_was_answered_survives_kill_9(tmp_path: Path) -> None:
    """Ours: after kill -9 nothing answered is lost, and a repeated key posts nothing new."""
    path, answered, next_number = tmp_path / "ledger.db", 0, 0
    ledger.open_ledger(path, DESK / "vendors.csv").close()
    for _ in range(2):
        argv = [sys.executable, "-c", _LOOP, str(DESK), str(path), str(max(0, next_number - 1))]
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for line in process.stdout:
            number, _ = line.split()
            answered = int(number)
            if answered >= next_number + 4:
                os.kill(process.pid, signal.SIGKILL)
                break
        process.stdout.close()
        process.wait()
        next_number = answered + 1
    with sqlite3.connect(path) as connection:
        numbers = [row[0] for row in connection.execute("SELECT invoice_number FROM postings")]
    connection.close()
    assert {f"N{n}" for n in range(answered + 1)} <= set(numbers)
    assert len(numbers) == len(set(numbers))


async def test_the_key_arrives_in_the_meta_of_an_mcp_call(tmp_path: Path) -> None:
    """Spec: MCP lets a request carry vendor keys in `_meta`; over real stdio."""
    argv = [str(DESK / "ledger.py"), str(tmp_path / "l.db"), str(DESK / "vendors.csv")]
    server = StdioServerParameters(command=sys.executable, args=argv)
    meta: Any = {ledger.KEY: "key-7"}
    with fail_after(60):
        async with Client(server) as client:
            told = [await client.call_tool("post_invoice", _invoice(), meta=meta) for _ in range(2)]
            unkeyed = await client.call_tool("post_invoice", _invoice())
    assert told[0].structured_content == told[1].structured_content
    assert told[0].structured_content == {"posted": True, "posting_id": 1}
    assert unkeyed.structured_content == {"posted": False, "duplicate_of": 1}
