"""A store of schema 1, as version 0.1 wrote it, opens and goes on."""

import sqlite3
from pathlib import Path

from repertory.xp_store import HashEmbedder, Rights, open_database, open_pack_store

# The tables whose columns changed, word for word, and one pack with its ledger entry.
SCHEMA_1 = """
CREATE TABLE xp_pack (row_id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, id VARCHAR NOT NULL,
    rev INTEGER NOT NULL, digest VARCHAR NOT NULL, tenant VARCHAR NOT NULL, owner VARCHAR NOT NULL,
    kind VARCHAR NOT NULL, layer VARCHAR NOT NULL, family VARCHAR NOT NULL, goal TEXT NOT NULL,
    situation TEXT NOT NULL, why JSON NOT NULL, how JSON NOT NULL, checks JSON NOT NULL,
    outcome JSON NOT NULL, valid_from VARCHAR(27) NOT NULL, valid_to VARCHAR(27),
    recorded_at VARCHAR(27) NOT NULL, rights JSON NOT NULL, origin JSON NOT NULL,
    source VARCHAR NOT NULL, status VARCHAR NOT NULL, trust_a FLOAT NOT NULL,
    trust_b FLOAT NOT NULL, uses INTEGER NOT NULL, wins INTEGER NOT NULL,
    last_used_at VARCHAR(27), current BOOLEAN NOT NULL, UNIQUE (id, rev));
CREATE INDEX xp_pack_recall ON xp_pack (tenant, current, family, status, kind, valid_from, valid_to);
CREATE TABLE xp_check (digest VARCHAR NOT NULL PRIMARY KEY, name VARCHAR NOT NULL,
    lang VARCHAR NOT NULL, code TEXT NOT NULL, gates JSON NOT NULL, weight FLOAT NOT NULL)
    WITHOUT ROWID;
CREATE TABLE xp_verdict (row_id INTEGER NOT NULL PRIMARY KEY, pack_id VARCHAR NOT NULL,
    rev INTEGER NOT NULL, check_digest VARCHAR NOT NULL, passed BOOLEAN, detail TEXT NOT NULL,
    at VARCHAR(27) NOT NULL);
CREATE TABLE xp_ledger (seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, at VARCHAR(27) NOT NULL,
    tenant VARCHAR NOT NULL, actor VARCHAR NOT NULL, verb VARCHAR NOT NULL, before VARCHAR,
    after VARCHAR, reason TEXT NOT NULL, policy_rev INTEGER NOT NULL, span_id VARCHAR,
    prev_hash VARCHAR NOT NULL, hash VARCHAR NOT NULL);
INSERT INTO xp_check VALUES ('c', 'sum', 'regex', '12', '{}', 1.0);
INSERT INTO xp_pack VALUES (1, 'p', 1, 'DIGEST', 'default', 'bookkeeper', 'episode', 'episodic',
    'invoices', 'post the invoice of Acme', '', '[]', '{"steps":{"count":0,"root":"ROOT"}}', '[]',
    '{}', '2026-11-22T12:00:00.000000Z', NULL, '2026-11-22T12:00:00.000000Z', 'RIGHTS', '{}',
    'real', 'candidate', 2, 1, 0, 0, NULL, 1);
PRAGMA user_version = 1;
"""


async def test_a_store_of_schema_1_gains_columns_and_keeps_its_packs(tmp_path: Path) -> None:
    """Ours: an upgrade loses nothing, and old packs have rights that recall can filter by."""
    file = tmp_path / "old.db"
    rights = Rights(subjects=("s",)).wire()
    old = sqlite3.connect(file)
    old.executescript(
        SCHEMA_1.replace("RIGHTS", str(rights).replace("'", '"').replace("None", "null"))
    )
    old.close()
    for _ in range(2):
        async with (
            open_database(f"sqlite:///{file}") as database,
            open_pack_store(database, embedder=HashEmbedder(64)) as store,
        ):
            pack = await store.get("p")
            assert (pack.goal, pack.trust, pack.trust_at) == (
                "post the invoice of Acme",
                2 / 3,
                pack.recorded_at,
            )
            held = await database.read(
                lambda connection: connection.execute(
                    "SELECT r.key, s.digest FROM xp_rights r JOIN xp_subject s USING (tenant)"
                ).fetchall()
            )
            assert held == [(pack.rights_key, "DIGEST")]
            await store.wait_indexed()
            assert [hit.pack.id for hit in await store.recall("the invoice of Acme")] == ["p"]
