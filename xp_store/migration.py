"""What a store of an earlier version needs beyond new columns, in the commit that adds them.

Every step asks whether it is still to do, so that it may run at each opening.
"""

import orjson

from .connection import Connection
from .rights import key_of, shared


def upgrade(connection: Connection) -> None:
    """Bring the rows of a store of schema 1 to what schema 2 expects."""
    columns = {row[1] for row in connection.execute("PRAGMA table_info(xp_check)")}
    for gone in ("gates", "weight"):
        if gone in columns:
            connection.execute(f"ALTER TABLE xp_check DROP COLUMN {gone}")
    connection.execute("DROP INDEX IF EXISTS xp_pack_recall")
    old = connection.execute(
        "SELECT row_id, tenant, digest, rights FROM xp_pack WHERE rights_key = ''"
    ).fetchall()
    if not old:
        return
    connection.execute("DROP TRIGGER IF EXISTS xp_pack_immutable")
    for row, tenant, digest, text in old:
        rights = orjson.loads(text)
        held = shared(rights)
        connection.execute(
            "INSERT OR IGNORE INTO xp_rights (tenant, key, rights) VALUES (?, ?, ?)",
            (tenant, key_of(rights), orjson.dumps(held).decode()),
        )
        connection.execute(
            "UPDATE xp_verdict SET counted = 2 WHERE passed IS NOT NULL AND (pack_id, rev) ="
            " (SELECT id, rev FROM xp_pack WHERE row_id = ?)",
            (row,),
        )
        connection.execute(
            "UPDATE xp_pack SET rights_key = ?, retain_until = ?, trust_at = recorded_at"
            " WHERE row_id = ?",
            (key_of(rights), rights["retain_until"], row),
        )
        connection.executemany(
            "INSERT OR IGNORE INTO xp_subject (tenant, subject, digest) VALUES (?, ?, ?)",
            [(tenant, subject, digest) for subject in rights["subjects"]],
        )
