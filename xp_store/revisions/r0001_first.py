"""The packs of version 0.1, with their steps, checks, lineage, ledger and vectors."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_CLAIMS = (
    "coalesce((SELECT group_concat(json_extract(value, '$.text'), char(10))"
    " FROM json_each({row}.why)), '')"
)
# Full text and guards, which were SQLite's alone.
_SQLITE = (
    """CREATE VIRTUAL TABLE xp_fts USING fts5(
        goal, situation, why, content='', tokenize='unicode61 remove_diacritics 2')""",
    "CREATE VIRTUAL TABLE xp_fts_terms USING fts5vocab(xp_fts, row)",
    f"""CREATE TRIGGER xp_pack_added AFTER INSERT ON xp_pack BEGIN
        INSERT INTO xp_fts (rowid, goal, situation, why)
        VALUES (new.row_id, new.goal, new.situation, {_CLAIMS.format(row="new")}); END""",
    f"""CREATE TRIGGER xp_pack_removed AFTER DELETE ON xp_pack BEGIN
        INSERT INTO xp_fts (xp_fts, rowid, goal, situation, why) VALUES
        ('delete', old.row_id, old.goal, old.situation, {_CLAIMS.format(row="old")});
        DELETE FROM xp_vector WHERE pack_row = old.row_id;
        DELETE FROM xp_outbox WHERE pack_row = old.row_id; END""",
    """CREATE TRIGGER xp_pack_immutable BEFORE UPDATE OF id, rev, digest, tenant, owner, kind,
        layer, family, goal, situation, why, how, checks, outcome, valid_from, valid_to,
        recorded_at, rights, origin, source ON xp_pack
        BEGIN SELECT RAISE(ABORT, 'a revision of a pack is immutable'); END""",
    """CREATE TRIGGER xp_step_immutable BEFORE UPDATE ON xp_step
        BEGIN SELECT RAISE(ABORT, 'a recorded step is immutable'); END""",
    """CREATE TRIGGER xp_ledger_append_only BEFORE UPDATE ON xp_ledger
        BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END""",
)


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "xp_check",
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("lang", sa.String(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("gates", sa.JSON(), nullable=False),
        sa.Column("weight", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("digest"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "xp_edge",
        sa.Column("parent", sa.String(), nullable=False),
        sa.Column("child", sa.String(), nullable=False),
        sa.Column("rel", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("parent", "child", "rel"),
        sqlite_with_rowid=False,
    )
    op.create_index("xp_edge_child", "xp_edge", ["child"])
    op.create_table(
        "xp_ledger",
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("at", sa.String(27), nullable=False),
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("verb", sa.String(), nullable=False),
        sa.Column("before", sa.String(), nullable=True),
        sa.Column("after", sa.String(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("policy_rev", sa.Integer(), nullable=False),
        sa.Column("span_id", sa.String(), nullable=True),
        sa.Column("prev_hash", sa.String(), nullable=False),
        sa.Column("hash", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "xp_outbox",
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("pack_row", sa.Integer(), nullable=False),
        sa.Column("tenant", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
    )
    op.create_table(
        "xp_pack",
        sa.Column("row_id", sa.Integer(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("rev", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("layer", sa.String(), nullable=False),
        sa.Column("family", sa.String(), nullable=False),
        sa.Column("goal", sa.Text(), nullable=False),
        sa.Column("situation", sa.Text(), nullable=False),
        sa.Column("why", sa.JSON(), nullable=False),
        sa.Column("how", sa.JSON(), nullable=False),
        sa.Column("checks", sa.JSON(), nullable=False),
        sa.Column("outcome", sa.JSON(), nullable=False),
        sa.Column("valid_from", sa.String(27), nullable=False),
        sa.Column("valid_to", sa.String(27), nullable=True),
        sa.Column("recorded_at", sa.String(27), nullable=False),
        sa.Column("rights", sa.JSON(), nullable=False),
        sa.Column("origin", sa.JSON(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("trust_a", sa.Float(), nullable=False),
        sa.Column("trust_b", sa.Float(), nullable=False),
        sa.Column("uses", sa.Integer(), nullable=False),
        sa.Column("wins", sa.Integer(), nullable=False),
        sa.Column("last_used_at", sa.String(27), nullable=True),
        sa.Column("current", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("row_id"),
        sa.UniqueConstraint("id", "rev"),
        sqlite_autoincrement=True,
    )
    op.create_index("xp_pack_digest", "xp_pack", ["digest"])
    op.create_index(
        "xp_pack_recall",
        "xp_pack",
        ["tenant", "current", "family", "status", "kind", "valid_from", "valid_to"],
    )
    op.create_table(
        "xp_step",
        sa.Column("pack_id", sa.String(), nullable=False),
        sa.Column("rev", sa.Integer(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("span_id", sa.String(), nullable=False),
        sa.Column("agent", sa.String(), nullable=False),
        sa.Column("at", sa.String(27), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("action", sa.JSON(), nullable=False),
        sa.Column("observation", sa.Text(), nullable=False),
        sa.Column("is_error", sa.Boolean(), nullable=False),
        sa.Column("reward", sa.Float(), nullable=True),
        sa.Column("alternatives", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("pack_id", "rev", "seq"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "xp_vector",
        sa.Column("pack_row", sa.Integer(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("vector", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("pack_row"),
    )
    op.create_table(
        "xp_verdict",
        sa.Column("row_id", sa.Integer(), nullable=False),
        sa.Column("pack_id", sa.String(), nullable=False),
        sa.Column("rev", sa.Integer(), nullable=False),
        sa.Column("check_digest", sa.String(), nullable=False),
        sa.Column("passed", sa.Boolean(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("at", sa.String(27), nullable=False),
        sa.PrimaryKeyConstraint("row_id"),
    )
    op.create_index("xp_verdict_pack", "xp_verdict", ["pack_id", "rev"])
    if op.get_context().dialect.name == "sqlite":
        for statement in _SQLITE:
            op.execute(statement)
