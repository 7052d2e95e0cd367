"""The journal's tables: tasks, their event log, their steps, spans, and who shares them.

SQLModel is the schema and the query language; the hot path prepares its
statements from these tables once (see `journal`). Bodies are JSON text. A change here
needs a revision: docs/design.md, Revisions.
"""

from pathlib import Path
from typing import Any, ClassVar, Final

from sqlalchemy import Column, Index, Text, UniqueConstraint, text
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

from repertory.xp_store import Schema

from .revisions import HEAD

JOURNAL: Final = Schema(
    name="journal",
    folder=Path(__file__).parent / "revisions",
    head=HEAD,
    table="journal_version",
    oldest="task",
)
"""The journal's tables, and how a store comes to them."""


class JournalTable(SQLModel, registry=registry()):
    """The tables of one journal, apart from everybody else's."""


class TaskRow(JournalTable, table=True):
    """One accepted message and where its task stands.

    seconds: the working time allowed, None for no limit. sequence: the last
    event's, which is the row's optimistic version. park: what the task waits
    for, "" while it works. capabilities: what its caller may cause, as JSON.
    owner: the number of the process that works on it or ended it, 0 for none;
    every write for the task holds it. Times are seconds since the epoch.
    """

    __tablename__: ClassVar[Any] = "task"
    __table_args__ = (
        UniqueConstraint("tenant", "principal", "agent", "message_id"),
        Index("task_claim", "ended", "owner", "agent", "created_at"),
        Index("task_dialogue", "tenant", "context_id", "ended", "created_at"),
    )

    id: str = Field(primary_key=True)
    agent: str
    tenant: str
    principal: str
    message_id: str
    context_id: str
    parent_task: str
    message: str
    state: str
    sequence: int
    ended: int
    attempts: int
    seconds: float | None
    budget: str
    chain: str
    traceparent: str
    park: str
    text: str
    created_at: float
    updated_at: float = Field(index=True)
    capabilities: str = Field(default="[]", sa_column_kwargs={"server_default": "[]"})
    owner: int = Field(default=0, sa_column_kwargs={"server_default": "0"})


class ProcessRow(JournalTable, table=True):
    """A process that shares the journal.

    number: its fencing token, never given twice. pools: the pools whose agents it
    runs, as JSON; an empty list for a process that only serves. lease_until: by the
    database's clock, in seconds since the epoch, so that no machine's own matters;
    0 where a lock on the store's file says who lives.
    """

    __tablename__: ClassVar[Any] = "process"
    __table_args__ = ({"sqlite_autoincrement": True},)

    number: int | None = Field(default=None, primary_key=True)
    host: str
    pid: int
    pools: str
    started_at: float
    lease_until: float
    draining: int = Field(default=0)


class EventRow(JournalTable, table=True):
    """One numbered event of a task: a `StreamResponse` in ProtoJSON. Append-only."""

    __tablename__: ClassVar[Any] = "event"

    task_id: str = Field(primary_key=True)
    sequence: int = Field(primary_key=True)
    at: float
    body: str


class StepRow(JournalTable, table=True):
    """One effect of a turn, kept so that a resumed turn does not repeat it.

    key: kind, digest of the request, and how often the turn asked the same.
    result is "" while the outcome is unknown.
    """

    __tablename__: ClassVar[Any] = "step"

    task_id: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    number: int
    kind: str
    name: str
    request: str
    result: str
    is_error: int
    started_at: float
    ended_at: float | None
    span_id: str


class CommandRow(JournalTable, table=True):
    """An order given by another process to the one that works on a task: answer or cancel it."""

    __tablename__: ClassVar[Any] = "command"

    number: int | None = Field(default=None, primary_key=True)
    kind: str
    task_id: str
    body: str
    at: float
    outcome: str = Field(default="", index=True)


class DeadLetterRow(JournalTable, table=True):
    """A task that ended because its agent, or the process, died over its message too often.

    trace: the id of its trace. retried: the task that tries it again, "" for none.
    """

    __tablename__: ClassVar[Any] = "dead_letter"

    task_id: str = Field(primary_key=True)
    agent: str
    tenant: str
    attempts: int
    error: str
    trace: str
    at: float = Field(index=True)
    retried: str


class SuspectRow(JournalTable, table=True):
    """A task that is taken up again, and how many processes died while it was at work.

    at_work: the number of the process that works on it, 0 for none; who takes the task
    and finds another's number knows of a death.
    progress: events and steps that it had when that turn began.
    """

    __tablename__: ClassVar[Any] = "suspect"

    task_id: str = Field(primary_key=True)
    deaths: int
    progress: int
    at_work: int


class SpendingRow(JournalTable, table=True):
    """What a tenant's work at one agent has spent in one window; see `tenants`.

    since: when the window began, in seconds since the epoch. seconds: of model and
    tool calls.
    """

    __tablename__: ClassVar[Any] = "spending"

    tenant: str = Field(primary_key=True)
    since: int = Field(primary_key=True)
    agent: str = Field(primary_key=True)
    tokens: int
    calls: int
    usd: float
    seconds: float


class StandingRow(JournalTable, table=True):
    """What a running network says of an agent or a model that is not well; see `standing`."""

    __tablename__: ClassVar[Any] = "standing"

    kind: str = Field(primary_key=True)
    name: str = Field(primary_key=True)
    process: int = Field(primary_key=True, sa_column_kwargs={"server_default": "0"})
    detail: str
    at: float


class StopRow(JournalTable, table=True):
    """A stop that stands: all work of a network (name ""), an agent or a tenant rests."""

    __tablename__: ClassVar[Any] = "stop"

    kind: str = Field(primary_key=True)
    name: str = Field(primary_key=True)
    reason: str
    by: str
    at: float


class ToolPinRow(JournalTable, table=True):
    """A tool's definition as it was approved, and the one that waits for approval, as JSON.

    tool: "" for the command that starts the server. pending, pending_digest: ""
    while the tool is as it was approved.
    """

    __tablename__: ClassVar[Any] = "tool_pin"

    server: str = Field(primary_key=True)
    tool: str = Field(primary_key=True)
    digest: str
    definition: str
    pending_digest: str
    pending: str
    approved_at: float


class SecretRow(JournalTable, table=True):
    """A secret that the processes over one store share, as hexadecimal text."""

    __tablename__: ClassVar[Any] = "secret"

    name: str = Field(primary_key=True)
    value: str


class KeyRow(JournalTable, table=True):
    """An API key: the hash of its secret, whom it stands for, and what it may ask and use.

    capabilities: a JSON list, "" for everything. Times are seconds since the epoch.
    """

    __tablename__: ClassVar[Any] = "api_key"

    id: str = Field(primary_key=True)
    name: str = Field(index=True)
    tenant: str
    digest: str
    capabilities: str
    created_at: float
    expires_at: float | None
    revoked_at: float | None


class AuditRow(JournalTable, table=True):
    """One refusal, or one decision of a person about who may do what. Append-only.

    what: `denied`, `unauthenticated`, `refused`, `approved`, ... chain: the agents
    through whom it came, outermost first, as JSON. missed: how many rows before
    this one were left out, because there were too many of them.
    """

    __tablename__: ClassVar[Any] = "audit"

    number: int | None = Field(default=None, primary_key=True)
    at: float
    what: str = Field(index=True)
    principal: str
    tenant: str
    agent: str
    target: str
    chain: str
    reason: str
    missed: int


class WebhookRow(JournalTable, table=True):
    """Where a task's events are pushed, and up to which one they were delivered."""

    __tablename__: ClassVar[Any] = "webhook"

    agent: str = Field(primary_key=True)
    task_id: str = Field(primary_key=True)
    config_id: str = Field(primary_key=True)
    tenant: str
    principal: str
    config: str
    sent: int
    done: int = Field(index=True)
    version: str
    owner: int = Field(default=0, sa_column_kwargs={"server_default": "0"})


def _text() -> Any:
    return Field(sa_column=Column(Text, nullable=False))


class SpanTable(JournalTable, table=True):
    """Spans as `spans` keeps them: ids in lowercase hex, times in epoch nanoseconds."""

    __tablename__: ClassVar[Any] = "span"
    __table_args__ = (
        UniqueConstraint("trace_id", "span_id"),
        Index("span_by_parent", "trace_id", "parent_id"),
        Index(
            "span_by_task",
            "task_id",
            sqlite_where=text("task_id != ''"),
            postgresql_where=text("task_id != ''"),
        ),
    )

    id: int | None = Field(default=None, primary_key=True)
    trace_id: str = _text()
    span_id: str = _text()
    parent_id: str = _text()
    name: str = _text()
    kind: str = _text()
    start_ns: int
    end_ns: int | None
    status: str = _text()
    attributes: str = _text()
    task_id: str = _text()
