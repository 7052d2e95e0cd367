"""The API keys of a network, in its store: their hashes, and whom they stand for."""

from collections.abc import Callable
from time import monotonic, time
from typing import Any, Final

import orjson

from repertory.protocol import KeyRecord, new_key
from repertory.xp_store import Connection, Database, prepared_insert

from .errors import InputError
from .tables import KeyRow

# A key that was revoked by another process is refused after so many seconds at most.
_KEPT_SECONDS: Final = 2.0
_MOST_KEPT: Final = 1024
_SELECT: Final = (
    "SELECT id, name, tenant, digest, capabilities, expires_at, revoked_at FROM api_key"
)
_INSERT, _COLUMNS = prepared_insert(KeyRow)


class Keyring:
    """Implements `repertory.protocol.KeyRecords` over a store."""

    def __init__(self, database: Database, *, clock: Callable[[], float] = monotonic) -> None:
        self._database = database
        self._clock = clock
        self._kept: dict[str, tuple[float, KeyRecord | None]] = {}

    async def find(self, key_id: str) -> KeyRecord | None:
        """The record of that id, as it was a moment ago at most."""
        until, record = self._kept.get(key_id, (0.0, None))
        if until <= self._clock():
            found = await self._select("WHERE id=?", key_id)
            record = found[0] if found else None
            if len(self._kept) >= _MOST_KEPT:
                self._kept.clear()
            self._kept[key_id] = (self._clock() + _KEPT_SECONDS, record)
        return record

    async def records(self) -> list[KeyRecord]:
        """Every key, oldest first, revoked ones too."""
        return await self._select("ORDER BY created_at, id")

    async def add(
        self,
        name: str,
        *,
        tenant: str,
        capabilities: tuple[str, ...] | None = None,
        expires_at: float | None = None,
    ) -> tuple[str, KeyRecord]:
        """Make a key; its text is the only copy of its secret.

        Raises:
            InputError: A key of that name is in use.
        """
        text, record = new_key(
            name, tenant=tenant, capabilities=capabilities, expires_at=expires_at
        )
        values = {
            "id": record.id,
            "name": name,
            "tenant": tenant,
            "digest": record.digest,
            "capabilities": "" if capabilities is None else orjson.dumps(capabilities).decode(),
            "created_at": time(),
            "expires_at": expires_at,
            "revoked_at": None,
        }
        row = tuple(values[column] for column in _COLUMNS)

        def unit(connection: Connection) -> bool:
            used = "SELECT 1 FROM api_key WHERE name=? AND revoked_at IS NULL"
            if connection.execute(used, (name,)).fetchone() is not None:
                return False
            connection.execute(_INSERT, row)
            return True

        if not await self._database.transact(unit):
            raise InputError(
                f"there is a key named {name!r}; revoke it first: repertory keys revoke {name}"
            )
        return text, record

    async def revoke(self, name: str) -> int:
        """Take back the keys of that name or id; returns how many there were."""
        values = (time(), name, name)

        def unit(connection: Connection) -> int:
            return connection.execute(
                "UPDATE api_key SET revoked_at=? WHERE (name=? OR id=?) AND revoked_at IS NULL",
                values,
            ).rowcount

        return await self._database.transact(unit)

    async def _select(self, where: str, *values: Any) -> list[KeyRecord]:
        def unit(connection: Connection) -> list[KeyRecord]:
            return [_record(row) for row in connection.execute(f"{_SELECT} {where}", values)]

        return await self._database.read(unit)


def _record(row: tuple[Any, ...]) -> KeyRecord:
    key_id, name, tenant, digest, capabilities, expires_at, revoked_at = row
    return KeyRecord(
        id=key_id,
        name=name,
        tenant=tenant,
        digest=digest,
        capabilities=tuple(orjson.loads(capabilities)) if capabilities else None,
        expires_at=expires_at,
        revoked=revoked_at is not None,
    )
