"""The hash-chained ledger: one entry per verb, in the transaction of what it tells of.

An entry's hash covers the entry and the hash before it, so nothing can be altered,
taken out, put in or moved without the chain breaking behind it. It keeps digests
and reasons, never content, and may therefore outlive what it tells of.
"""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from .digests import digest_of

CONTENT = (
    "tenant",
    "owner",
    "kind",
    "layer",
    "family",
    "goal",
    "situation",
    "why",
    "how",
    "checks",
    "outcome",
    "valid_from",
    "valid_to",
    "recorded_at",
    "rights",
    "origin",
    "source",
)
"""The columns that a pack's digest covers."""

JSON_CONTENT = frozenset({"why", "how", "checks", "outcome", "rights", "origin"})

STEP_CONTENT = (
    "seq",
    "span_id",
    "agent",
    "at",
    "state",
    "action",
    "observation",
    "is_error",
    "reward",
    "alternatives",
)
"""The columns that a step's digest covers."""

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
    "evidence",
)
_INSERT = (
    f"INSERT INTO xp_ledger ({', '.join(_FIELDS)}, hash)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
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
    evidence: str | None = None,
) -> str:
    """Append an entry inside the caller's transaction; returns its hash."""
    last = connection.execute(_LAST).fetchone()
    seq, prev_hash = (1, GENESIS) if last is None else (last[0] + 1, last[1])
    values = (
        *(seq, at, tenant, actor, verb, before, after, reason, policy_rev, span_id),
        *(prev_hash, evidence),
    )
    entry_hash = _hash(values)
    connection.execute(_INSERT, (*values, entry_hash))
    return entry_hash


def _hash(values: Sequence[Any]) -> str:
    content = dict(zip(_FIELDS, values, strict=True))
    if content["evidence"] is None:
        # As entries were hashed before there was evidence, so that old chains still hold.
        del content["evidence"]
    return digest_of(content)


def content_digest(content: Mapping[str, Any], salt: str) -> str:
    """The digest of a pack: of its content, with its salt where it has one."""
    return digest_of({**content, "salt": salt} if salt else content)


def chain_problems(connection: sqlite3.Connection) -> tuple[int, str, list[str]]:
    """Walk the chain: how many entries, the last hash, and every break as a sentence."""
    problems: list[str] = []
    expected_seq, previous = 1, GENESIS
    rows = connection.execute(f"SELECT {', '.join(_FIELDS)}, hash FROM xp_ledger ORDER BY seq")
    count = 0
    for row in rows:
        count += 1
        seq, prev_hash, found = row[0], row[-3], row[-1]
        if seq != expected_seq:
            problems.append(f"entry {expected_seq} is missing before entry {seq}")
        elif prev_hash != previous:
            problems.append(f"entry {seq} does not follow entry {seq - 1}")
        if _hash(row[:-1]) != found:
            problems.append(f"entry {seq} was altered after it was written")
        expected_seq, previous = seq + 1, found
    issued = connection.execute(
        "SELECT seq FROM sqlite_sequence WHERE name = 'xp_ledger'"
    ).fetchone()
    if issued is not None and issued[0] >= expected_seq:
        problems.append(f"entries {expected_seq} to {issued[0]} are missing at the end")
    return count, previous, problems


def verify(connection: sqlite3.Connection) -> LedgerReport:
    """Walk the chain, and compare every pack and step with its digest and its entry."""
    entries, head, problems = chain_problems(connection)
    recorded = {
        row[0] for row in connection.execute("SELECT after FROM xp_ledger WHERE after IS NOT NULL")
    }
    packs = 0
    columns = ", ".join(CONTENT)
    for pack_id, rev, digest, salt, *values in connection.execute(
        f"SELECT id, rev, digest, salt, {columns} FROM xp_pack ORDER BY row_id"
    ):
        packs += 1
        content = {
            name: orjson.loads(value) if name in JSON_CONTENT else value
            for name, value in zip(CONTENT, values, strict=True)
        }
        where = f"pack {pack_id} rev {rev}"
        if digest not in recorded:
            problems.append(f"{where} has no entry in the ledger")
        if content_digest(content, salt) != digest:
            problems.append(f"{where} was altered after it was recorded")
        problems += _step_problems(connection, pack_id, rev, content["how"].get("steps"), where)
    return LedgerReport(entries, packs, head, tuple(problems))


def _step_problems(
    connection: sqlite3.Connection, pack_id: str, rev: int, held: Any, where: str
) -> list[str]:
    problems: list[str] = []
    digests: list[str] = []
    for digest, *values in connection.execute(
        f"SELECT digest, {', '.join(STEP_CONTENT)} FROM xp_step"
        " WHERE pack_id = ? AND rev = ? ORDER BY seq",
        (pack_id, rev),
    ):
        content = dict(zip(STEP_CONTENT, values, strict=True))
        content["action"] = orjson.loads(content["action"])
        content["alternatives"] = orjson.loads(content["alternatives"])
        content["is_error"] = bool(content["is_error"])
        if digest_of(content) != digest:
            problems.append(f"step {content['seq']} of {where} was altered after it was recorded")
        digests.append(digest)
    if not held or held["root"] != digest_of(digests):
        problems.append(f"the steps of {where} are not those it was recorded with")
    return problems
