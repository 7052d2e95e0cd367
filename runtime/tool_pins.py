"""What tools say of themselves, pinned in the store: believed at first use, and when a person approves.

An outside server may change a tool after people and policies have decided on it
(MCP security: rug pull). The approved definition is what agents see; calls of a
tool that offers another one are refused until `repertory tools approve`.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import time
from typing import Any, Protocol

import orjson

from repertory.xp_store import Connection, Database

from .audit import Audit, AuditEntry

COMMAND = ""
"""The name under which a server's own command is pinned."""

_SELECT = "SELECT server, tool, digest, definition, pending_digest, pending FROM tool_pin"
_ORDER = "ORDER BY server, tool"


@dataclass(frozen=True, slots=True)
class ToolPin:
    """An approved definition, and the one that waits for approval; None for none."""

    server: str
    tool: str
    digest: str
    definition: Mapping[str, Any]
    pending: Mapping[str, Any] | None = None

    @property
    def changed(self) -> str:
        """Which parts differ, in words; "" for none."""
        if self.pending is None:
            return ""
        return changed_parts(self.definition, self.pending)


class Pins(Protocol):
    """Where a tool server finds what was approved of its tools."""

    async def approved(
        self, server: str, offered: Mapping[str, Mapping[str, Any]]
    ) -> Mapping[str, Mapping[str, Any]]:
        """The approved definitions of the tools that are offered; new ones are approved thereby."""
        ...


class MemoryPins:
    """Pins that live as long as the object; for servers without a store."""

    def __init__(self) -> None:
        self._approved: dict[tuple[str, str], Mapping[str, Any]] = {}

    async def approved(
        self, server: str, offered: Mapping[str, Mapping[str, Any]]
    ) -> Mapping[str, Mapping[str, Any]]:
        return {
            name: self._approved.setdefault((server, name), definition)
            for name, definition in offered.items()
        }


class StoredPins:
    """Pins in a network's store."""

    def __init__(self, database: Database, audit: Audit) -> None:
        self._database = database
        self._audit = audit

    async def approved(
        self, server: str, offered: Mapping[str, Mapping[str, Any]]
    ) -> Mapping[str, Mapping[str, Any]]:
        rows = {
            name: (digest_of(definition), _dump(definition)) for name, definition in offered.items()
        }

        def unit(connection: Connection) -> tuple[dict[str, Any], list[ToolPin]]:
            found: dict[str, Any] = {}
            fresh: list[ToolPin] = []
            for name, (digest, definition) in rows.items():
                connection.execute(
                    "INSERT INTO tool_pin (server, tool, digest, definition,"
                    " pending_digest, pending, approved_at) VALUES (?, ?, ?, ?, '', '', ?)"
                    " ON CONFLICT DO NOTHING",
                    (server, name, digest, definition, time()),
                )
                where = f"{_SELECT} WHERE server=? AND tool=?"
                row = connection.execute(where, (server, name)).fetchone()
                same, known = row[2] == digest, row[4] == digest
                if not (same and not row[4]) and not known:
                    connection.execute(
                        "UPDATE tool_pin SET pending_digest=?, pending=? WHERE server=? AND tool=?",
                        ("", "", server, name) if same else (digest, definition, server, name),
                    )
                    if not same:
                        fresh.append(_pin((*row[:4], digest, definition)))
                found[name] = orjson.loads(row[3])
            return found, fresh

        found, fresh = await self._database.transact(unit)
        for pin in fresh:
            await self._audit.note(
                AuditEntry(
                    "tool changed",
                    target=f"{server}.{pin.tool}",
                    reason=f"{pin.changed}; refused until it is approved",
                )
            )
        return found

    async def command(self, server: str, argv: Sequence[str]) -> None:
        """Keep by which command a server is started, and note in the audit when that is another."""
        definition = {"command": list(argv)}
        digest, text = digest_of(definition), _dump(definition)

        def unit(connection: Connection) -> str | None:
            where = f"{_SELECT} WHERE server=? AND tool=?"
            row = connection.execute(where, (server, COMMAND)).fetchone()
            if row is not None and row[2] == digest:
                return None
            connection.execute(
                "INSERT INTO tool_pin (server, tool, digest, definition,"
                " pending_digest, pending, approved_at) VALUES (?, ?, ?, ?, '', '', ?)"
                " ON CONFLICT (server, tool) DO UPDATE SET digest = excluded.digest,"
                " definition = excluded.definition, pending_digest = '', pending = '',"
                " approved_at = excluded.approved_at",
                (server, COMMAND, digest, text, time()),
            )
            return "" if row is None else str(row[3])

        before = await self._database.transact(unit)
        if before is not None:
            told = f"was {before}" if before else "by the manifest of whoever starts the network"
            await self._audit.note(
                AuditEntry("command", target=server, reason=f"{' '.join(argv)}; {told}")
            )


async def pins_of(database: Database) -> list[ToolPin]:
    """Every pinned tool, by server and name."""

    def unit(connection: Connection) -> list[ToolPin]:
        rows = connection.execute(f"{_SELECT} WHERE tool<>'' {_ORDER}")
        return [_pin(row) for row in rows.fetchall()]

    return await database.read(unit)


async def approve(database: Database, name: str) -> list[ToolPin]:
    """Approve what waits of `server` or `server.tool`; the pins as they were before."""
    server, _, tool = name.partition(".")

    def unit(connection: Connection) -> list[ToolPin]:
        where = "server=? AND pending_digest<>''" + (" AND tool=?" if tool else "")
        values = (server, tool) if tool else (server,)
        waiting = [
            _pin(row) for row in connection.execute(f"{_SELECT} WHERE {where} {_ORDER}", values)
        ]
        connection.execute(
            "UPDATE tool_pin SET digest=pending_digest, definition=pending, pending_digest='',"
            f" pending='', approved_at=? WHERE {where}",
            (time(), *values),
        )
        return waiting

    return await database.transact(unit)


def digest_of(definition: Mapping[str, Any]) -> str:
    """The SHA-256 of what a tool says of itself."""
    return hashlib.sha256(_dump(definition).encode()).hexdigest()


def changed_parts(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Which parts of a definition differ, as a sentence says it; "" for none."""
    parts = [part for part in before if before[part] != after.get(part)]
    return f"its {' and '.join(parts)} changed" if parts else ""


def _dump(definition: Mapping[str, Any]) -> str:
    return orjson.dumps(definition, option=orjson.OPT_SORT_KEYS).decode()


def _pin(row: Sequence[Any]) -> ToolPin:
    server, tool, digest, definition, _, pending = row
    waits = orjson.loads(pending) if pending else None
    return ToolPin(server, tool, digest, orjson.loads(definition), waits)
