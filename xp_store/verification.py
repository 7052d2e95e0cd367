"""Verify: the chain, and whether packs, steps, verdicts, trust and standing are what it tells.

An entry's hash covers the entry; what it tells of is covered by digests in it. So a
pack that was changed, taken away or put in beside the ledger is found, a verdict that
was turned as well, and so is a pack that stands higher than anything promoted it to.
"""

from collections.abc import Iterator
from typing import Any

import orjson

from .connection import Connection
from .digests import digest_of
from .ledger import (
    CONTENT,
    JSON_CONTENT,
    STEP_CONTENT,
    LedgerReport,
    chain_problems,
    content_digest,
)
from .rebuild import counted, trust_anew
from .trust import TrustRule

_STANDING = {
    "promote": "stable",
    "rollback": "retired",
    "retire": "retired",
    "quarantine": "quarantined",
    "restore": "candidate",
}
_RECORDS = ("record", "import")
_NEAR = 1e-6


def verify(connection: Connection, rule: TrustRule | None = None) -> LedgerReport:
    """Walk the chain, and compare everything else with it; with a `rule`, trust as well."""
    entries, head, problems = chain_problems(connection)
    recorded = {
        row[0] for row in connection.execute("SELECT after FROM xp_ledger WHERE after IS NOT NULL")
    }
    standing = _standings(connection)
    packs = 0
    columns = ", ".join(dict.fromkeys((*CONTENT, "status", "salt")))
    cursor = connection.execute(f"SELECT id, rev, digest, {columns} FROM xp_pack ORDER BY row_id")
    names = [each[0] for each in cursor.description]
    for values in cursor.fetchall():
        packs += 1
        row = dict(zip(names, values, strict=True))
        where = f"pack {row['id']} rev {row['rev']}"
        content = {
            name: orjson.loads(row[name]) if name in JSON_CONTENT else row[name] for name in CONTENT
        }
        if row["digest"] not in recorded:
            problems.append(f"{where} has no entry in the ledger")
        if content_digest(content, row["salt"]) != row["digest"]:
            problems.append(f"{where} was altered after it was recorded")
        problems += _step_problems(connection, row, content["how"].get("steps"), where)
        problems += _standing_problems(row, standing.get(row["digest"]), where)
        problems += _evidence_problems(connection, row, where)
        if rule is not None:
            problems += _sum_problems(connection, row, rule, where)
    problems += _missing(connection)
    return LedgerReport(entries, packs, head, tuple(problems))


def _missing(connection: Connection) -> Iterator[str]:
    marks = ", ".join("?" * len(_RECORDS))
    for seq, digest in connection.execute(
        f"SELECT min(seq), after FROM xp_ledger WHERE verb IN ({marks}) AND after NOT IN"
        " (SELECT digest FROM xp_pack) AND after NOT IN"
        " (SELECT before FROM xp_ledger WHERE verb = 'forget') GROUP BY after",
        _RECORDS,
    ):
        yield f"the pack of entry {seq} ({digest[:12]}) is gone, and nobody forgot it"


def _standings(connection: Connection) -> dict[str, str]:
    marks = ", ".join("?" * len(_STANDING))
    return {
        digest: _STANDING[verb]
        for verb, digest in connection.execute(
            f"SELECT verb, after FROM xp_ledger WHERE verb IN ({marks}) ORDER BY seq",
            tuple(_STANDING),
        )
    }


def _standing_problems(row: dict[str, Any], told: str | None, where: str) -> Iterator[str]:
    if told is not None and row["status"] != told:
        yield f"{where} is {row['status']}, but the ledger left it {told}"
    if told is None and row["status"] == "stable":
        yield f"{where} is stable, and nothing promoted it"


def _evidence_problems(connection: Connection, row: dict[str, Any], where: str) -> Iterator[str]:
    verdicts: dict[str, list[list[Any]]] = {}
    for at, *told in connection.execute(
        "SELECT at, check_digest, passed, subject, counted FROM xp_verdict"
        " WHERE pack_id = ? AND rev = ? ORDER BY row_id",
        (row["id"], row["rev"]),
    ):
        told[1] = None if told[1] is None else bool(told[1])
        verdicts.setdefault(at, []).append(told)
    for seq, at, evidence in connection.execute(
        "SELECT seq, at, evidence FROM xp_ledger WHERE after = ? AND evidence IS NOT NULL"
        " AND verb IN ('record', 'check') ORDER BY seq",
        (row["digest"],),
    ).fetchall():
        said = verdicts.get(at, [])
        # Several entries may be of one moment; each took the next of its verdicts.
        for end in range(1, len(said) + 1):
            if digest_of(said[:end]) == evidence:
                del said[:end]
                break
        else:
            yield f"the verdicts of {where} are not those of entry {seq}"


def _sum_problems(
    connection: Connection, row: dict[str, Any], rule: TrustRule, where: str
) -> Iterator[str]:
    old = connection.execute(
        "SELECT 1 FROM xp_verdict WHERE pack_id = ? AND rev = ? AND counted = 2 LIMIT 1",
        (row["id"], row["rev"]),
    ).fetchone()
    names = ("trust_a", "trust_b", "opinion_a", "opinion_b", "uses", "wins")
    held = dict(
        zip(
            names,
            connection.execute(
                f"SELECT {', '.join(names)} FROM xp_pack WHERE id = ? AND rev = ?",
                (row["id"], row["rev"]),
            ).fetchone(),
            strict=True,
        )
    )
    sums = {**trust_anew(connection, row, rule), **counted(connection, row["id"], row["rev"])}
    for what, part in (("trust", names[:4]), ("uses", names[4:])):
        if not old and any(abs(held[name] - sums[name]) > _NEAR for name in part):
            yield f"the {what} of {where} is not what its {'verdicts' if what == 'trust' else 'uses'} make"


def _step_problems(
    connection: Connection, row: dict[str, Any], held: Any, where: str
) -> Iterator[str]:
    digests: list[str] = []
    for digest, *values in connection.execute(
        f"SELECT digest, {', '.join(STEP_CONTENT)} FROM xp_step"
        " WHERE pack_id = ? AND rev = ? ORDER BY seq",
        (row["id"], row["rev"]),
    ):
        content = dict(zip(STEP_CONTENT, values, strict=True))
        content["action"] = orjson.loads(content["action"])
        content["alternatives"] = orjson.loads(content["alternatives"])
        content["is_error"] = bool(content["is_error"])
        if digest_of(content) != digest:
            yield f"step {content['seq']} of {where} was altered after it was recorded"
        digests.append(digest)
    if not held or held["root"] != digest_of(digests):
        yield f"the steps of {where} are not those it was recorded with"
