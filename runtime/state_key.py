"""The key that seals what MCP clients carry between two rounds of a call, one for all replicas.

It keeps clients from changing what they carry. Whoever reads the store reads the
tasks themselves, so there the key is not worse placed than what it protects;
REPERTORY_STATE_KEY takes its place where the environment holds the secrets.
"""

import os
import secrets
from hashlib import sha256
from typing import Final

from repertory.xp_store import Connection, Database

VARIABLE: Final = "REPERTORY_STATE_KEY"
_NAME: Final = "request state"


async def state_key(database: Database) -> bytes:
    """The 32 bytes of the store, made when they are first needed, or of the environment."""
    told = os.environ.get(VARIABLE, "")
    if told:
        return sha256(told.encode()).digest()

    def unit(connection: Connection) -> bytes:
        connection.execute(
            "INSERT INTO secret (name, value) VALUES (?, ?) ON CONFLICT DO NOTHING",
            (_NAME, secrets.token_hex(32)),
        )
        found = connection.execute("SELECT value FROM secret WHERE name=?", (_NAME,)).fetchone()
        return bytes.fromhex(found[0])

    return await database.transact(unit)
