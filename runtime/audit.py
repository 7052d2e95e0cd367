"""The audit: who was refused what, through whom, and what persons decided about it.

Rows are the journal's and only ever added. Refusals may come as fast as an attacker
sends them, so above a rate they are counted and no longer written one by one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import monotonic, time
from typing import Final

import orjson

from repertory.xp_store import Connection, Database

_BURST: Final = 100
_PER_SECOND: Final = 5.0
_LONGEST: Final = 500

# Written out, so that who stops a network need not load the tables (`tables.AuditRow`).
_INSERT: Final = (
    "INSERT INTO audit (at, what, principal, tenant, agent, target, chain, reason, missed)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One row of the audit; see `tables.AuditRow`."""

    what: str
    principal: str = ""
    tenant: str = ""
    agent: str = ""
    target: str = ""
    chain: tuple[str, ...] = ()
    reason: str = ""
    at: float = 0.0
    missed: int = 0


class Audit:
    """Writes and reads the audit of one journal."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._room = float(_BURST)
        self._seen = monotonic()
        self._missed = 0

    async def note(self, entry: AuditEntry) -> None:
        """Add `entry`, durable when this returns; above the rate it is only counted."""
        now = monotonic()
        self._room = min(_BURST, self._room + (now - self._seen) * _PER_SECOND)
        self._seen = now
        if self._room < 1.0:
            self._missed += 1
            return
        self._room -= 1.0
        missed, self._missed = self._missed, 0
        await write_audit(self._database, entry, missed)


async def write_audit(database: Database, entry: AuditEntry, missed: int = 0) -> None:
    """Add one entry, stamped with the present time; its texts are cut to a bound."""
    await database.transact(audited(entry, missed))


def audited(entry: AuditEntry, missed: int = 0) -> Callable[[Connection], None]:
    """What adds one entry, for the transaction of what it is about."""
    row = (
        time(),
        entry.what,
        entry.principal[:_LONGEST],
        entry.tenant[:_LONGEST],
        entry.agent[:_LONGEST],
        entry.target[:_LONGEST],
        orjson.dumps(entry.chain).decode(),
        entry.reason[:_LONGEST],
        missed,
    )

    def unit(connection: Connection) -> None:
        connection.execute(_INSERT, row)

    return unit


async def read_audit(database: Database, *, limit: int = 100) -> Sequence[AuditEntry]:
    """The newest entries, newest first."""

    def unit(connection: Connection) -> list[AuditEntry]:
        rows = connection.execute(
            "SELECT what, principal, tenant, agent, target, chain, reason, at, missed FROM audit"
            " ORDER BY number DESC LIMIT ?",
            (limit,),
        )
        return [
            AuditEntry(
                what=row[0],
                principal=row[1],
                tenant=row[2],
                agent=row[3],
                target=row[4],
                chain=tuple(orjson.loads(row[5])),
                reason=row[6],
                at=row[7],
                missed=row[8],
            )
            for row in rows.fetchall()
        ]

    return await database.read(unit)
