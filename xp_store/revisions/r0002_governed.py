"""Rights, gates, changes, and text search on PostgreSQL.

Stores of revision 1 were changed by hand-written code before their revisions were kept, so
a store may have all of this, or a part; whatever is there stays.
"""

from typing import Any

import orjson
import sqlalchemy as sa
from alembic import op

from repertory.xp_store.rights import key_of, shared

revision = "0002"
down_revision = "0001"


_GUARDED = (
    "id, rev, digest, tenant, owner, kind, layer, family, goal, situation, why, how, checks, outcome,"
    " valid_from, valid_to, recorded_at, rights, origin, source, salt, rights_key, retain_until"
)
_SQLITE = (
    "DROP TABLE IF EXISTS xp_fts_terms",
    "CREATE VIRTUAL TABLE IF NOT EXISTS xp_fts_places USING fts5vocab(xp_fts, instance)",
    f"""CREATE TRIGGER xp_pack_immutable BEFORE UPDATE OF {_GUARDED} ON xp_pack
        BEGIN SELECT RAISE(ABORT, 'a revision of a pack is immutable'); END""",
)
# What SQLite's own tables tell of the last number is in `xp_issued`, and the postings of
# `postings` stand for FTS5.
_POSTGRESQL = (
    """CREATE TABLE IF NOT EXISTS xp_posting (word TEXT COLLATE "C" NOT NULL,
        pack_row BIGINT NOT NULL, frequency DOUBLE PRECISION NOT NULL,
        PRIMARY KEY (word, pack_row) INCLUDE (frequency))""",
    "CREATE INDEX IF NOT EXISTS xp_posting_pack ON xp_posting (pack_row)",
    "CREATE TABLE IF NOT EXISTS xp_text (pack_row BIGINT PRIMARY KEY, words BIGINT NOT NULL)",
    'CREATE TABLE IF NOT EXISTS xp_issued (name TEXT COLLATE "C" PRIMARY KEY, seq BIGINT NOT NULL)',
    """CREATE OR REPLACE FUNCTION xp_refused() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION '%', TG_ARGV[0] USING ERRCODE = 'integrity_constraint_violation';
        END $$""",
    """CREATE OR REPLACE FUNCTION xp_pack_gone() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        DELETE FROM xp_posting WHERE pack_row = OLD.row_id;
        DELETE FROM xp_text WHERE pack_row = OLD.row_id;
        DELETE FROM xp_vector WHERE pack_row = OLD.row_id;
        DELETE FROM xp_outbox WHERE pack_row = OLD.row_id;
        RETURN NULL; END $$""",
    """CREATE OR REPLACE FUNCTION xp_ledger_issued() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO xp_issued VALUES ('xp_ledger', NEW.seq)
        ON CONFLICT (name) DO UPDATE SET seq = greatest(xp_issued.seq, excluded.seq);
        RETURN NULL; END $$""",
    """CREATE OR REPLACE TRIGGER xp_pack_removed AFTER DELETE ON xp_pack
        FOR EACH ROW EXECUTE FUNCTION xp_pack_gone()""",
    f"""CREATE TRIGGER xp_pack_immutable BEFORE UPDATE OF {_GUARDED} ON xp_pack
        FOR EACH ROW EXECUTE FUNCTION xp_refused('a revision of a pack is immutable')""",
    """CREATE OR REPLACE TRIGGER xp_step_immutable BEFORE UPDATE ON xp_step
        FOR EACH ROW EXECUTE FUNCTION xp_refused('a recorded step is immutable')""",
    """CREATE OR REPLACE TRIGGER xp_ledger_append_only BEFORE UPDATE ON xp_ledger
        FOR EACH ROW EXECUTE FUNCTION xp_refused('the ledger is append-only')""",
    """CREATE OR REPLACE TRIGGER xp_ledger_numbered AFTER INSERT ON xp_ledger
        FOR EACH ROW EXECUTE FUNCTION xp_ledger_issued()""",
)


def _add(table: str, column: "sa.Column[Any]") -> None:
    if column.name not in _columns(table):
        op.add_column(table, column)


def _columns(table: str) -> set[str]:
    return {each["name"] for each in sa.inspect(op.get_bind()).get_columns(table)}


def _fill() -> None:
    """Give the packs of version 0.1 the rights that recall filters by."""
    bind = op.get_bind()
    old = bind.execute(
        sa.text("SELECT row_id, id, rev, tenant, digest, rights FROM xp_pack WHERE rights_key = ''")
    ).all()
    for row, pack, rev, tenant, digest, text in old:
        rights = orjson.loads(text)
        values = {"row": row, "pack": pack, "rev": rev, "tenant": tenant, "digest": digest}
        values |= {"key": key_of(rights), "until": rights["retain_until"]}
        values["rights"] = orjson.dumps(shared(rights)).decode()
        for statement in (
            "INSERT INTO xp_rights (tenant, key, rights) VALUES (:tenant, :key, :rights)"
            " ON CONFLICT DO NOTHING",
            # Counted as version 0.1 did, which did not age what it had.
            "UPDATE xp_verdict SET counted = 2"
            " WHERE passed IS NOT NULL AND pack_id = :pack AND rev = :rev",
            "UPDATE xp_pack SET rights_key = :key, retain_until = :until, trust_at = recorded_at"
            " WHERE row_id = :row",
        ):
            bind.execute(sa.text(statement), values)
        for subject in rights["subjects"]:
            bind.execute(
                sa.text(
                    "INSERT INTO xp_subject (tenant, subject, digest)"
                    " VALUES (:tenant, :subject, :digest) ON CONFLICT DO NOTHING"
                ),
                {"tenant": tenant, "subject": subject, "digest": digest},
            )


def upgrade() -> None:
    """Add what is missing, and the rights of packs that have none."""
    sqlite = op.get_context().dialect.name == "sqlite"
    op.create_table(
        "xp_admission",
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("check_digest", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("gates", sa.JSON(), nullable=False),
        sa.Column("at", sa.String(27), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "check_digest"),
        sqlite_with_rowid=False,
        if_not_exists=True,
    )
    op.create_table(
        "xp_change",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("packs", sa.JSON(), nullable=False),
        sa.Column("thresholds", sa.JSON(), nullable=False),
        sa.Column("result", sa.JSON(), nullable=False),
        sa.Column("opened_at", sa.String(27), nullable=False),
        sa.Column("closed_at", sa.String(27), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sqlite_with_rowid=False,
        if_not_exists=True,
    )
    op.create_table(
        "xp_rights",
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("rights", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "key"),
        sqlite_with_rowid=False,
        if_not_exists=True,
    )
    op.create_table(
        "xp_subject",
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "subject", "digest"),
        sqlite_with_rowid=False,
        if_not_exists=True,
    )
    op.create_index("xp_subject_digest", "xp_subject", ["digest"], if_not_exists=True)
    op.create_table(
        "xp_use",
        sa.Column("row_id", sa.Integer(), nullable=False),
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("pack_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("by", sa.String(), nullable=False),
        sa.Column("at", sa.String(27), nullable=False),
        sa.Column("rev", sa.Integer(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("row_id"),
        if_not_exists=True,
    )
    _add("xp_use", sa.Column("rev", sa.Integer(), server_default="0", nullable=False))
    op.create_index("xp_use_by", "xp_use", ["by"], if_not_exists=True)
    op.create_index("xp_use_pack", "xp_use", ["pack_id"], if_not_exists=True)
    for gone in _columns("xp_check") & {"gates", "weight"}:
        op.drop_column("xp_check", gone)
    _add("xp_ledger", sa.Column("evidence", sa.String(), nullable=True))
    _add("xp_pack", sa.Column("salt", sa.String(), server_default="", nullable=False))
    _add("xp_pack", sa.Column("rights_key", sa.String(), server_default="", nullable=False))
    _add("xp_pack", sa.Column("retain_until", sa.String(27), nullable=True))
    _add("xp_pack", sa.Column("trust_at", sa.String(27), nullable=True))
    _add("xp_pack", sa.Column("opinion_a", sa.Float(), server_default="0", nullable=False))
    _add("xp_pack", sa.Column("opinion_b", sa.Float(), server_default="0", nullable=False))
    _add("xp_pack", sa.Column("recalled", sa.Integer(), server_default="0", nullable=False))
    _add("xp_pack", sa.Column("helped", sa.Integer(), server_default="0", nullable=False))
    _add("xp_pack", sa.Column("harmed", sa.Integer(), server_default="0", nullable=False))
    op.drop_index("xp_pack_recall", table_name="xp_pack", if_exists=True)
    op.create_index(
        "xp_pack_scope",
        "xp_pack",
        [
            "tenant",
            "current",
            "family",
            "status",
            "kind",
            "valid_from",
            "valid_to",
            "retain_until",
            "rights_key",
        ],
        if_not_exists=True,
    )
    _add("xp_verdict", sa.Column("subject", sa.String(), server_default="", nullable=False))
    _add("xp_verdict", sa.Column("counted", sa.Integer(), server_default="0", nullable=False))
    op.execute(f"DROP TRIGGER IF EXISTS xp_pack_immutable{'' if sqlite else ' ON xp_pack'}")
    _fill()
    for statement in _SQLITE if sqlite else _POSTGRESQL:
        op.execute(statement)
