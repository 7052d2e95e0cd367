"""Processes that share a journal, identity, stops, dead letters, budgets, pins and webhooks.

Stores of revision 1 were changed by hand-written code before their revisions were kept, so
a store may have all of this, or a part; whatever is there stays.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def _add(table: str, column: "sa.Column[Any]") -> None:
    if column.name not in _columns(table):
        op.add_column(table, column)


def _columns(table: str) -> set[str]:
    return {each["name"] for each in sa.inspect(op.get_bind()).get_columns(table)}


def upgrade() -> None:
    """Add what is missing."""
    bind = op.get_bind()
    if sa.inspect(bind).has_table("standing") and "process" not in _columns("standing"):
        # It says what is not well now, and is written again by whoever runs.
        op.drop_table("standing")
    op.create_table(
        "api_key",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("capabilities", sa.String(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=True),
        sa.Column("revoked_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        if_not_exists=True,
    )
    op.create_index("ix_api_key_name", "api_key", ["name"], if_not_exists=True)
    op.create_table(
        "audit",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("what", sa.String(), nullable=False),
        sa.Column("principal", sa.String(), nullable=False),
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("agent", sa.String(), nullable=False),
        sa.Column("target", sa.String(), nullable=False),
        sa.Column("chain", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("missed", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
        if_not_exists=True,
    )
    op.create_index("ix_audit_what", "audit", ["what"], if_not_exists=True)
    op.create_table(
        "dead_letter",
        sa.Column("task_id", sa.String(), nullable=False),
        sa.Column("agent", sa.String(), nullable=False),
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("error", sa.String(), nullable=False),
        sa.Column("trace", sa.String(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("retried", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("task_id"),
        if_not_exists=True,
    )
    op.create_index("ix_dead_letter_at", "dead_letter", ["at"], if_not_exists=True)
    op.create_table(
        "process",
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("pools", sa.String(), nullable=False),
        sa.Column("started_at", sa.Float(), nullable=False),
        sa.Column("lease_until", sa.Float(), nullable=False),
        sa.Column("draining", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
        sqlite_autoincrement=True,
        if_not_exists=True,
    )
    op.create_table(
        "secret",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("value", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
        if_not_exists=True,
    )
    op.create_table(
        "spending",
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("since", sa.Integer(), nullable=False),
        sa.Column("agent", sa.String(), nullable=False),
        sa.Column("tokens", sa.Integer(), nullable=False),
        sa.Column("calls", sa.Integer(), nullable=False),
        sa.Column("usd", sa.Float(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "since", "agent"),
        if_not_exists=True,
    )
    op.create_table(
        "standing",
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("process", sa.Integer(), server_default="0", nullable=False),
        sa.Column("detail", sa.String(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "name", "process"),
        if_not_exists=True,
    )
    op.create_table(
        "stop",
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("by", sa.String(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "name"),
        if_not_exists=True,
    )
    op.create_table(
        "suspect",
        sa.Column("task_id", sa.String(), nullable=False),
        sa.Column("deaths", sa.Integer(), nullable=False),
        sa.Column("progress", sa.Integer(), nullable=False),
        sa.Column("at_work", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("task_id"),
        if_not_exists=True,
    )
    op.create_table(
        "tool_pin",
        sa.Column("server", sa.String(), nullable=False),
        sa.Column("tool", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("definition", sa.String(), nullable=False),
        sa.Column("pending_digest", sa.String(), nullable=False),
        sa.Column("pending", sa.String(), nullable=False),
        sa.Column("approved_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("server", "tool"),
        if_not_exists=True,
    )
    op.create_table(
        "webhook",
        sa.Column("agent", sa.String(), nullable=False),
        sa.Column("task_id", sa.String(), nullable=False),
        sa.Column("config_id", sa.String(), nullable=False),
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("principal", sa.String(), nullable=False),
        sa.Column("config", sa.String(), nullable=False),
        sa.Column("sent", sa.Integer(), nullable=False),
        sa.Column("done", sa.Integer(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("owner", sa.Integer(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("agent", "task_id", "config_id"),
        if_not_exists=True,
    )
    _add("webhook", sa.Column("owner", sa.Integer(), server_default="0", nullable=False))
    op.create_index("ix_webhook_done", "webhook", ["done"], if_not_exists=True)
    _add("task", sa.Column("capabilities", sa.String(), server_default="[]", nullable=False))
    _add("task", sa.Column("owner", sa.Integer(), server_default="0", nullable=False))
    op.drop_index("task_context", table_name="task", if_exists=True)
    op.drop_index("task_open", table_name="task", if_exists=True)
    op.create_index(
        "task_claim", "task", ["ended", "owner", "agent", "created_at"], if_not_exists=True
    )
    op.create_index(
        "task_dialogue", "task", ["tenant", "context_id", "ended", "created_at"], if_not_exists=True
    )
    op.create_table(
        "span",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("trace_id", sa.Text(), nullable=False),
        sa.Column("span_id", sa.Text(), nullable=False),
        sa.Column("parent_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("start_ns", sa.Integer(), nullable=False),
        sa.Column("end_ns", sa.Integer(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("attributes", sa.Text(), nullable=False),
        sa.Column("task_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("trace_id", "span_id"),
        if_not_exists=True,
    )
    op.create_index("span_by_parent", "span", ["trace_id", "parent_id"], if_not_exists=True)
    op.create_index(
        "span_by_task",
        "span",
        ["task_id"],
        sqlite_where=sa.text("task_id != ''"),
        postgresql_where=sa.text("task_id != ''"),
        if_not_exists=True,
    )
    if bind.dialect.name == "postgresql":
        # They were made in the database's own collation.
        for column in sorted(_columns("span") - {"id", "start_ns", "end_ns"}):
            op.execute(f'ALTER TABLE span ALTER COLUMN {column} TYPE TEXT COLLATE "C"')
