"""The hash-chained ledger: one entry per verb, in the transaction of what it tells of.

An entry's hash covers the entry and the hash before it, so nothing can be altered,
taken out, put in or moved without the chain breaking behind it. It keeps digests
and reasons, never content, and may therefore outlive what it tells of.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .connection import Connection
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
_ISSUED = {
    "sqlite": "SELECT seq FROM sqlite_sequence WHERE name = 'xp_ledger'",
    "postgresql": "SELECT seq FROM xp_issued WHERE name = 'xp_ledger'",
}
_LAST = "SELECT seq, hash FROM xp_ledger ORDER BY seq DESC LIMIT 1"


@dataclass(frozen=True, slots=True)
class LedgerReport:
    """What `verification.verify` found; `problems` are sentences, empty when all is sound."""

    entries: int
    packs: int
    head: str
    problems: tuple[str, ...]

    @property
    def intact(self) -> bool:
        return not self.problems


def hold_ledger(connection: Connection) -> None:
    """Let no other process change packs until the commit; before what is changed is read."""
    connection.hold("ledger")


def append_entry(
    connection: Connection,
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
    hold_ledger(connection)
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


def chain_problems(connection: Connection) -> tuple[int, str, list[str]]:
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
    issued = connection.execute(_ISSUED[connection.dialect.engine]).fetchone()
    if issued is not None and issued[0] >= expected_seq:
        problems.append(f"entries {expected_seq} to {issued[0]} are missing at the end")
    return count, previous, problems
