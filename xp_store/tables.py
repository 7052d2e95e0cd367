"""The tables of the experience store, on a registry of their own.

They are the schema and the form in which packs are read; the hot
path of recording writes the same columns by prepared statements (`record`). The
full-text index, its triggers and the guards on immutable columns are in `revisions`
alone, and a change here needs one (docs/design.md, Revisions).
Moments are UTC text of one width, so they sort as text in any database.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, ClassVar, TypeVar, cast

import orjson
from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Dialect,
    Float,
    Index,
    Integer,
    LargeBinary,
    String,
    Text,
    UniqueConstraint,
    inspect,
)
from sqlalchemy.orm import configure_mappers, registry
from sqlalchemy.types import TypeDecorator
from sqlmodel import Field, SQLModel

from .digests import instant
from .drafts import PackRef


class Instant(TypeDecorator[datetime]):
    """A moment, kept as the text that `digests.instant` writes."""

    impl = String(27)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:
        return None if value is None else instant(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> datetime | None:
        return None if value is None else moment(value)


def moment(text: str) -> datetime:
    """Read back what `digests.instant` wrote."""
    return datetime.fromisoformat(text)


def _json() -> Any:
    return Field(sa_column=Column(JSON, nullable=False))


def _moment(*, nullable: bool = False, default: Any = ...) -> Any:
    return Field(default=default, sa_column=Column(Instant, nullable=nullable))


def _text() -> Any:
    return Field(sa_column=Column(Text, nullable=False))


# Columns that came later have a default in the database too, by which they were added.
def _count() -> Any:
    return Field(default=0, sa_column=Column(Integer, nullable=False, server_default="0"))


def _weight() -> Any:
    return Field(default=0.0, sa_column=Column(Float, nullable=False, server_default="0"))


def _word(*, key: bool = False) -> Any:
    column: Column[str] = Column(String, nullable=False, server_default="", primary_key=key)
    return Field(default="", sa_column=column)


class Row(SQLModel, registry=registry()):
    """The common root, so that the store's tables have a MetaData of their own."""


class Pack(Row, table=True):
    """One immutable revision of an Experience Pack: WHY, HOW, CHECK, and what became of it.

    `digest` covers every column after it up to `source`, and `salt` where there is one:
    packs about persons have one, so that what the ledger keeps of them tells nothing
    once they are forgotten. Only `status`, the trust posterior Beta(a, b) as of
    `trust_at`, the opinions beside it, the counters and `current` (is this the newest
    revision) may change, and a trigger holds the rest. rights_key: of `xp_rights`,
    the same for packs that may be used alike, so that recall filters by few keys.
    """

    __tablename__: ClassVar[Any] = "xp_pack"
    __table_args__ = (
        UniqueConstraint("id", "rev"),
        # All that recall filters by, so that it reads the index alone.
        Index(
            "xp_pack_scope",
            "tenant",
            "current",
            "family",
            "status",
            "kind",
            "valid_from",
            "valid_to",
            "retain_until",
            "rights_key",
        ),
        Index("xp_pack_digest", "digest"),
        # A row's number is never given twice, so what is cached by it stays true.
        {"sqlite_autoincrement": True},
    )

    row_id: int | None = Field(default=None, primary_key=True)
    id: str
    rev: int
    digest: str
    tenant: str
    owner: str
    kind: str
    layer: str
    family: str
    goal: str = _text()
    situation: str = _text()
    why: list[dict[str, Any]] = _json()
    how: dict[str, Any] = _json()
    checks: list[str] = _json()
    outcome: dict[str, Any] = _json()
    valid_from: datetime = _moment()
    valid_to: datetime | None = _moment(nullable=True, default=None)
    recorded_at: datetime = _moment()
    rights: dict[str, Any] = _json()
    origin: dict[str, Any] = _json()
    source: str
    status: str
    trust_a: float
    trust_b: float
    uses: int = 0
    wins: int = 0
    last_used_at: datetime | None = _moment(nullable=True, default=None)
    current: bool = True
    salt: str = _word()
    rights_key: str = _word()
    retain_until: datetime | None = _moment(nullable=True, default=None)
    trust_at: datetime | None = _moment(nullable=True, default=None)
    opinion_a: float = _weight()
    opinion_b: float = _weight()
    recalled: int = _count()
    helped: int = _count()
    harmed: int = _count()

    @property
    def trust(self) -> float:
        """The mean of the posterior as of `trust_at`: how often a check is expected to pass."""
        return self.trust_a / (self.trust_a + self.trust_b)

    @property
    def ref(self) -> PackRef:
        """This revision's address."""
        return PackRef(self.id, self.rev, self.digest)


class Step(Row, table=True):
    """One recorded step of a pack's HOW; append-only."""

    __tablename__: ClassVar[Any] = "xp_step"
    __table_args__ = {"sqlite_with_rowid": False}

    pack_id: str = Field(primary_key=True)
    rev: int = Field(primary_key=True)
    seq: int = Field(primary_key=True)
    digest: str
    span_id: str
    agent: str
    at: datetime = _moment()
    state: str = _text()
    action: dict[str, Any] = _json()
    observation: str = _text()
    is_error: bool
    reward: float | None = None
    alternatives: list[dict[str, Any]] = _json()


class Check(Row, table=True):
    """A check, known by the digest of its name, language and code."""

    __tablename__: ClassVar[Any] = "xp_check"
    __table_args__ = {"sqlite_with_rowid": False}

    digest: str = Field(primary_key=True)
    name: str
    lang: str
    code: str = _text()


class Admission(Row, table=True):
    """What the gates found of a check for a tenant; only admitted checks move trust.

    status: admitted, refused, or quarantined (it was flaky after all). gates: the
    wire form of `gates.Gates`.
    """

    __tablename__: ClassVar[Any] = "xp_admission"
    __table_args__ = {"sqlite_with_rowid": False}

    tenant: str = Field(primary_key=True)
    check_digest: str = Field(primary_key=True)
    status: str
    gates: dict[str, Any] = _json()
    at: datetime = _moment()


class CheckVerdict(Row, table=True):
    """What a check said of a pack and when: the evidence behind the trust posterior.

    subject: the digest of what was checked; the same check on the same subject is the
    same evidence, however often it runs. counted: 1 when it moved trust, 2 when it did
    so in a store of schema 1, which did not age what it had.
    """

    __tablename__: ClassVar[Any] = "xp_verdict"
    __table_args__ = (Index("xp_verdict_pack", "pack_id", "rev"),)

    row_id: int | None = Field(default=None, primary_key=True)
    pack_id: str
    rev: int
    check_digest: str
    passed: bool | None
    detail: str = _text()
    at: datetime = _moment()
    subject: str = _word()
    counted: int = _count()


class Edge(Row, table=True):
    """One line of the lineage between digests of packs and steps."""

    __tablename__: ClassVar[Any] = "xp_edge"
    __table_args__ = (Index("xp_edge_child", "child"), {"sqlite_with_rowid": False})

    parent: str = Field(primary_key=True)
    child: str = Field(primary_key=True)
    rel: str = Field(primary_key=True)


class Use(Row, table=True):
    """One time a pack was recalled, used, or its use was judged; the counters are its sums.

    kind: recalled, used, won, lost, helped or harmed. by: the digest of the pack
    that tells of it, or the id of a task; so that forgetting that one takes this along.
    """

    __tablename__: ClassVar[Any] = "xp_use"
    __table_args__ = (Index("xp_use_pack", "pack_id"), Index("xp_use_by", "by"))

    row_id: int | None = Field(default=None, primary_key=True)
    tenant: str
    pack_id: str
    kind: str
    by: str
    at: datetime = _moment()
    rev: int = _count()


class RightsRow(Row, table=True):
    """Rights that packs of a tenant have in common: all of `drafts.Rights` but whom and how long."""

    __tablename__: ClassVar[Any] = "xp_rights"
    __table_args__ = {"sqlite_with_rowid": False}

    tenant: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    rights: dict[str, Any] = _json()


class Subject(Row, table=True):
    """A person that a pack is about, as the keyed hash that `redaction` makes."""

    __tablename__: ClassVar[Any] = "xp_subject"
    __table_args__ = (Index("xp_subject_digest", "digest"), {"sqlite_with_rowid": False})

    tenant: str = Field(primary_key=True)
    subject: str = Field(primary_key=True)
    digest: str = Field(primary_key=True)


class ChangeRow(Row, table=True):
    """A change to memory as a release: what it must reach was written before it was tried.

    state: open, promoted, refused or rolled_back.
    """

    __tablename__: ClassVar[Any] = "xp_change"
    __table_args__ = {"sqlite_with_rowid": False}

    id: str = Field(primary_key=True)
    tenant: str
    actor: str
    state: str
    packs: list[str] = _json()
    thresholds: dict[str, Any] = _json()
    result: dict[str, Any] = _json()
    opened_at: datetime = _moment()
    closed_at: datetime | None = _moment(nullable=True, default=None)


class LedgerEntry(Row, table=True):
    """One entry of the hash-chained ledger: digests and reasons, never content.

    evidence: the digest of what the verb wrote beside the pack (verdicts, uses).
    """

    __tablename__: ClassVar[Any] = "xp_ledger"
    __table_args__ = {"sqlite_autoincrement": True}

    seq: int | None = Field(default=None, primary_key=True)
    at: datetime = _moment()
    tenant: str
    actor: str
    verb: str
    before: str | None = None
    after: str | None = None
    reason: str = _text()
    policy_rev: int = 0
    span_id: str | None = None
    prev_hash: str
    hash: str
    evidence: str | None = None


class OutboxRow(Row, table=True):
    """A pack that the vector index has still to learn of; deleted once it has."""

    __tablename__: ClassVar[Any] = "xp_outbox"

    seq: int | None = Field(default=None, primary_key=True)
    pack_row: int
    tenant: str


class VectorRow(Row, table=True):
    """A pack's embedding, float32 and of unit length, beside the row and not in it.

    It is apart so that filtering packs does not read through the vectors.
    """

    __tablename__: ClassVar[Any] = "xp_vector"

    pack_row: int = Field(primary_key=True)
    model: str
    vector: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


metadata = Row.metadata
PACK_COLUMNS = tuple(column.name for column in metadata.tables["xp_pack"].columns)
STEP_COLUMNS = tuple(column.name for column in metadata.tables["xp_step"].columns)
EDGE_COLUMNS = tuple(column.name for column in metadata.tables["xp_edge"].columns)
CHECK_COLUMNS = tuple(column.name for column in metadata.tables["xp_check"].columns)
VERDICT_COLUMNS = tuple(column.name for column in metadata.tables["xp_verdict"].columns)
ADMISSION_COLUMNS = tuple(column.name for column in metadata.tables["xp_admission"].columns)
CHANGE_COLUMNS = tuple(column.name for column in metadata.tables["xp_change"].columns)
LEDGER_COLUMNS = tuple(column.name for column in metadata.tables["xp_ledger"].columns)

_Model = TypeVar("_Model", bound=Row)


def from_row(model: type[_Model], row: Sequence[Any]) -> _Model:
    """Build a table's object from a row that a plain connection read, all columns in order."""
    table = metadata.tables[str(model.__tablename__)]
    values: dict[str, Any] = {}
    for column, value in zip(table.columns, row, strict=True):
        if value is None:
            values[column.name] = None
        elif isinstance(column.type, JSON):
            values[column.name] = orjson.loads(value)
        elif isinstance(column.type, Instant):
            values[column.name] = moment(value)
        elif isinstance(column.type, Boolean):
            values[column.name] = bool(value)
        else:
            values[column.name] = value
    # As the ORM builds what it has read; `model(**values)` costs ten times as much.
    configure_mappers()
    read = inspect(model).class_manager.new_instance()
    vars(read).update(values)
    for name, held in (("fields_set", set(values)), ("extra", None), ("private", None)):
        object.__setattr__(read, f"__pydantic_{name}__", held)
    return cast("_Model", read)
