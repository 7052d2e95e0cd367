"""The hash-chained ledger: one entry per verb, in the transaction of what it tells of.

An entry's hash covers the entry and the hash before it, so nothing can be altered,
taken out, put in or moved without the chain breaking behind it. It keeps digests
and reasons, never content, and may therefore outlive what it tells of.
"""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from .digests import digest_of

GENESIS = "0" * 64
_FIELDS = (
    "seq",
    "at",
    "tenant",
    "actor",
    "verb",
    "before",
    "after",
    "reason",
    "policy_rev",
    "span_id",
    "prev_hash",
)
_INSERT = (
    f"INSERT INTO xp_ledger ({', '.join(_FIELDS)}, hash)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_LAST = "SELECT seq, hash FROM xp_ledger ORDER BY seq DESC LIMIT 1"


@dataclass(frozen=True, slots=True)
class LedgerReport:
    """What `verify_ledger` found; `problems` are sentences, empty when all is sound."""

    entries: int
    packs: int
    head: str
    problems: tuple[str, ...]

    @property
    def intact(self) -> bool:
        return not self.problems


def append_entry(
    connection: sqlite3.Connection,
    *,
    at: str,
    tenant: str,
    actor: str,
    verb: str,
    reason: str,
    before: str | None = None,
    after: str | None = None,
    policy_rev: int = 0,
    span_id: str | None = None,
) -> str:
    """Append an entry inside the caller's transaction; returns its hash."""
    last = connection.execute(_LAST).fetchone()
    seq, prev_hash = (1, GENESIS) if last is None else (last[0] + 1, last[1])
    values = (seq, at, tenant, actor, verb, before, after, reason, policy_rev, span_id, prev_hash)
    entry_hash = digest_of(dict(zip(_FIELDS, values, strict=True)))
    connection.execute(_INSERT, (*values, entry_hash))
    return entry_hash


def chain_problems(connection: sqlite3.Connection) -> tuple[int, str, list[str]]:
    """Walk the chain: how many entries, the last hash, and every break as a sentence."""
    problems: list[str] = []
    expected_seq, previous = 1, GENESIS
    rows = connection.execute(f"SELECT {', '.join(_FIELDS)}, hash FROM xp_ledger ORDER BY seq")
    count = 0
    for row in rows:
        count += 1
        seq, prev_hash, found = row[0], row[-2], row[-1]
        if seq != expected_seq:
            problems.append(f"entry {expected_seq} is missing before entry {seq}")
        elif prev_hash != previous:
            problems.append(f"entry {seq} does not follow entry {seq - 1}")
        if digest_of(dict(zip(_FIELDS, row[:-1], strict=True))) != found:
            problems.append(f"entry {seq} was altered after it was written")
        expected_seq, previous = seq + 1, found
    issued = connection.execute(
        "SELECT seq FROM sqlite_sequence WHERE name = 'xp_ledger'"
    ).fetchone()
    if issued is not None and issued[0] >= expected_seq:
        problems.append(f"entries {expected_seq} to {issued[0]} are missing at the end")
    return count, previous, problems


def pack_problems(
    connection: sqlite3.Connection, contents: Iterator[tuple[str, int, str, dict[str, Any]]]
) -> tuple[int, list[str]]:
    """Compare packs, given as (id, rev, digest, content), with their digests and the ledger."""
    recorded = {
        row[0] for row in connection.execute("SELECT after FROM xp_ledger WHERE after IS NOT NULL")
    }
    problems: list[str] = []
    count = 0
    for pack_id, rev, digest, content in contents:
        count += 1
        if digest not in recorded:
            problems.append(f"pack {pack_id} rev {rev} has no entry in the ledger")
        if digest_of(content) != digest:
            problems.append(f"pack {pack_id} rev {rev} was altered after it was recorded")
    return count, problems
