"""The store of Experience Packs, as agents and people ask it.

Packs are written by `record.pack_rows` in their tasks' own transactions; `outbox`
embeds them and keeps the vector index; `recall` finds them. This is where the three
meet, and every question is scoped to a tenant before anything is looked up.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import anyio
import anyio.to_thread

from .admission import AdmissionStatus, admission_rows
from .checks import CheckSpec, Verdict
from .connection import Connection
from .database import Database, Durability
from .derivation import DERIVATIONS, Derivation
from .digests import Clock, instant, utc_now
from .drafts import PackDraft, PackRef
from .embedder import Embedder, MiniLM
from .engines import open_database
from .errors import DraftInvalidError, PackNotFoundError
from .evidence import judge_rows, use_rows
from .finder import Finder
from .floor import Floor, floor_of
from .fusion import Wants
from .gates import Gates
from .governance import Governance
from .hits import Hit, Recall
from .index import ChromaIndex, VectorIndex
from .ledger import LedgerReport
from .licences import INTERNAL
from .outbox import Indexer
from .recall import EXACT_LIMIT
from .record import pack_rows
from .redaction import Redactor
from .reuse import Reuse, reuse_of
from .rights import Request, require, rights_of
from .schema import EXPERIENCE
from .scope import RECALL, Scope
from .tables import (
    ADMISSION_COLUMNS,
    CHECK_COLUMNS,
    EDGE_COLUMNS,
    LEDGER_COLUMNS,
    PACK_COLUMNS,
    STEP_COLUMNS,
    VERDICT_COLUMNS,
    Admission,
    Check,
    CheckVerdict,
    Edge,
    LedgerEntry,
    Pack,
    Row,
    Step,
    from_row,
)
from .trust import TrustRule
from .vectors import VectorCache
from .verification import verify

DEFAULT_TENANT = "default"
FINDABLE = ("stable", "candidate")
_HELD = "EXISTS (SELECT 1 FROM xp_pack h WHERE h.id = ? AND h.rev = ? AND h.tenant = ?)"
_BEGINNINGS = ("candidate", "quarantined")
DIVERSITY = 0.2

M = TypeVar("M", bound=Row)
T = TypeVar("T")


class PackStore:
    """Find, read, check and judge packs; open it with `open_pack_store`."""

    def __init__(
        self,
        database: Database,
        embedder: Embedder,
        indexer: Indexer,
        vectors: VectorCache,
        *,
        floor: Floor,
        clock: Clock,
        exact_limit: int,
        rule: TrustRule,
        index: Path | None = None,
        registry: Mapping[str, Derivation] = DERIVATIONS,
        redactor: Redactor | None = None,
    ) -> None:
        self._database = database
        self._indexer = indexer
        self._clock = clock
        self._rule = rule
        self._redactor = redactor
        self._finder = Finder(
            database,
            embedder,
            indexer,
            vectors,
            floor=floor,
            exact_limit=exact_limit,
            rule=rule,
        )
        self.govern = Governance(
            database,
            indexer,
            self.recall,
            clock=clock,
            rule=rule,
            registry=registry,
            index=index,
            forget_cache=self._finder.forget,
        )

    @property
    def index_state(self) -> str:
        """`absent`, `asleep` (not needed yet), `ready` or `broken`."""
        return self._indexer.state

    @property
    def index_problem(self) -> str:
        """Why the index is broken, as a sentence; empty when it is not."""
        return self._indexer.problem

    # -- record and check ----------------------------------------------------

    def unit(self, draft: PackDraft) -> Callable[[Connection], PackRef]:
        """Prepare `draft` as a unit for the caller's own transaction; call `wake` after it.

        Raises:
            DraftInvalidError: No pack can be made of it, or it says that it is stable,
                which only a change makes a pack.
        """
        if draft.status not in _BEGINNINGS:
            raise DraftInvalidError(
                f"a pack begins as {' or '.join(_BEGINNINGS)}, not as {draft.status!r}",
                status=draft.status,
            )
        if self._redactor is not None:
            draft = self._redactor.apply(draft)
        return pack_rows(draft, self._clock, rule=self._rule)

    async def record(self, draft: PackDraft) -> PackRef:
        """Write `draft` in a transaction of its own; it is durable when this returns.

        Raises:
            DraftInvalidError: No pack can be made of it.
            PackNotFoundError: It revises a pack that this tenant does not have.
        """
        # Reading a license's name loads the list of all of them, once.
        plain = draft.rights.licence == INTERNAL
        unit = self.unit(draft) if plain else await anyio.to_thread.run_sync(self.unit, draft)
        ref = await self._database.transact(unit)
        self.wake()
        return ref

    async def transact(self, unit: Callable[[Connection], T]) -> T:
        """Run a unit of work of this room in one transaction."""
        return await self._database.transact(unit)

    def now(self) -> datetime:
        """The present, by the store's clock."""
        return self._clock()

    def wake(self) -> None:
        """Say that packs were written, so that they are embedded soon; never waits."""
        self._indexer.notify()

    async def judge(
        self,
        ref: PackRef,
        checks: Sequence[CheckSpec],
        verdicts: Sequence[Verdict],
        *,
        tenant: str = DEFAULT_TENANT,
        actor: str = "local",
    ) -> Pack:
        """Add later verdicts to a pack: those of admitted checks that decided move its trust.

        Raises:
            PackNotFoundError: This tenant has no such revision.
        """
        unit = judge_rows(
            ref, tenant, checks, verdicts, actor=actor, clock=self._clock, rule=self._rule
        )
        await self._database.transact(unit)
        return await self.get(ref.id, tenant=tenant, rev=ref.rev)

    async def admit(
        self,
        spec: CheckSpec,
        gates: Gates,
        *,
        tenant: str = DEFAULT_TENANT,
        actor: str = "local",
    ) -> AdmissionStatus:
        """Keep what the gates found of a check; only an admitted one moves trust."""
        unit = admission_rows(spec, gates, tenant, actor=actor, clock=self._clock)
        return await self._database.transact(unit)

    async def admissions(self, *, tenant: str = DEFAULT_TENANT) -> list[Admission]:
        """What the gates found of the tenant's checks."""
        return await self._rows(
            Admission, ADMISSION_COLUMNS, "tenant = ? ORDER BY at, check_digest", (tenant,)
        )

    async def distrust_check(
        self, spec: CheckSpec, *, tenant: str = DEFAULT_TENANT, actor: str = "local"
    ) -> None:
        """Quarantine a check that proved flaky: it moves no trust any more."""
        held = {each.check_digest: each for each in await self.admissions(tenant=tenant)}
        known = held.get(spec.digest)
        gates = replace(Gates.parse(known.gates) if known else Gates(), deterministic=False)
        unit = admission_rows(
            spec, gates, tenant, actor=actor, status="quarantined", clock=self._clock
        )
        await self._database.transact(unit)

    async def mark_used(
        self, ids: Sequence[str], *, tenant: str = DEFAULT_TENANT, actor: str = "local"
    ) -> int:
        """Count that these packs were used; returns how many of them this tenant has.

        A draft's `used` counts by itself, in the transaction of its pack.
        """
        unit = use_rows(ids, tenant, actor=actor, kind="used", clock=self._clock)
        return await self._database.transact(unit)

    async def mark_outcome(
        self, ids: Sequence[str], *, won: bool, tenant: str = DEFAULT_TENANT, actor: str = "local"
    ) -> int:
        """Count whether work that used these packs succeeded; trust is not moved by it."""
        kind = "won" if won else "lost"
        unit = use_rows(ids, tenant, actor=actor, kind=kind, clock=self._clock)
        return await self._database.transact(unit)

    # -- recall --------------------------------------------------------------

    async def recall(
        self,
        query: str,
        *,
        tenant: str = DEFAULT_TENANT,
        family: str | None = None,
        kinds: Sequence[str] | None = None,
        status: Sequence[str] = FINDABLE,
        at: datetime | None = None,
        min_trust: float = 0.0,
        request: Request = RECALL,
        limit: int = 4,
        min_score: float = 0.0,
        tokens: int | None = None,
        diversity: float = DIVERSITY,
    ) -> list[Hit]:
        """The packs that fit `query`, best first, each with its reasons; may be empty.

        at: the moment the packs must be valid at, now by default. min_trust: the least
        trust they must have now, their evidence aged. request: who asks and
        what for, which the packs' rights must allow; nobody in particular, for nothing
        named, by default. tokens: what the
        packs may take of a prompt together, at four characters a token; one that does
        not fit is passed over. diversity: 0 for the best alone, more for hits that
        repeat each other less. A pack whose embedding is not made yet is found by its
        words; without an embedder that answers, so is every pack.
        """
        answer = await self.explain(
            query,
            tenant=tenant,
            family=family,
            kinds=kinds,
            status=status,
            at=at,
            min_trust=min_trust,
            request=request,
            limit=limit,
            min_score=min_score,
            tokens=tokens,
            diversity=diversity,
        )
        return list(answer.hits)

    async def explain(
        self,
        query: str,
        *,
        tenant: str = DEFAULT_TENANT,
        family: str | None = None,
        kinds: Sequence[str] | None = None,
        status: Sequence[str] = FINDABLE,
        at: datetime | None = None,
        min_trust: float = 0.0,
        request: Request = RECALL,
        limit: int = 4,
        min_score: float = 0.0,
        tokens: int | None = None,
        diversity: float = DIVERSITY,
    ) -> Recall:
        """As `recall`, with what was looked at and why each candidate was taken or left."""
        now = self._clock()
        scope = Scope(
            tenant=tenant,
            at=instant(at or now),
            now=instant(now),
            status=tuple(status),
            family=family,
            kinds=None if kinds is None else tuple(kinds),
            min_trust=min_trust,
            request=request,
            rule=self._rule,
        )
        wants = Wants(limit, now, min_score, tokens, diversity)
        return await self._finder.find(query, scope, wants)

    async def wait_indexed(self) -> None:
        """Wait until every pack recorded before this call is searchable by meaning.

        Raises:
            StoreError: The embedder failed; the packs are kept and tried again later.
        """
        await self._indexer.wait_idle()

    async def reindex(self) -> int:
        """Build the vector index and the full text anew from SQL; returns the number of packs.

        Recall goes on meanwhile. This also mends a broken index.

        Raises:
            IndexUnavailableError: The index cannot be built anew either.
        """
        await anyio.to_thread.run_sync(self._finder.forget)
        queued = await self._indexer.rebuild()
        await self._indexer.wait_idle()
        return queued

    # -- read ----------------------------------------------------------------

    async def get(
        self, pack_id: str, *, tenant: str = DEFAULT_TENANT, rev: int | None = None
    ) -> Pack:
        """One pack, in its newest revision or in `rev`.

        Raises:
            PackNotFoundError: This tenant has none; another tenant's answers exactly so.
        """
        which, values = ("current = 1", ()) if rev is None else ("rev = ?", (rev,))
        packs = await self._rows(
            Pack, PACK_COLUMNS, f"id = ? AND tenant = ? AND {which}", (pack_id, tenant, *values)
        )
        if not packs:
            revision = "" if rev is None else f" in revision {rev}"
            raise PackNotFoundError(
                f"no pack {pack_id!r}{revision}: `repertory xp find` lists what there is",
                id=pack_id,
                rev=rev,
            )
        return packs[0]

    async def find(
        self,
        *,
        tenant: str = DEFAULT_TENANT,
        family: str | None = None,
        kinds: Sequence[str] | None = None,
        status: Sequence[str] | None = None,
        limit: int = 50,
    ) -> list[Pack]:
        """Packs in their newest revisions, the newest first, without any ranking."""
        clauses, values = ["tenant = ? AND current = 1"], [tenant]
        if family is not None:
            clauses.append("family = ?")
            values.append(family)
        for column, wanted in (("kind", kinds), ("status", status)):
            if wanted is not None:
                clauses.append(f"{column} IN ({', '.join('?' * len(wanted))})")
                values.extend(wanted)
        where = " AND ".join(clauses)
        return await self._rows(
            Pack, PACK_COLUMNS, f"{where} ORDER BY row_id DESC LIMIT ?", (*values, limit)
        )

    async def steps(self, pack: Pack | PackRef, *, tenant: str = DEFAULT_TENANT) -> list[Step]:
        """The recorded steps of a pack's revision, in order; none of another tenant's."""
        return await self._rows(
            Step,
            STEP_COLUMNS,
            f"pack_id = ? AND rev = ? AND {_HELD} ORDER BY seq",
            (pack.id, pack.rev, pack.id, pack.rev, _tenant_of(pack, tenant)),
        )

    async def edges(self, pack: Pack | PackRef, *, tenant: str = DEFAULT_TENANT) -> list[Edge]:
        """The lineage lines that end or begin at a pack's revision; none of another tenant's."""
        return await self._rows(
            Edge,
            EDGE_COLUMNS,
            f"(child = ? OR parent = ?) AND {_HELD} ORDER BY rel, parent, child",
            (pack.digest, pack.digest, pack.id, pack.rev, _tenant_of(pack, tenant)),
        )

    async def checks(self, pack: Pack) -> list[Check]:
        """The checks that were attached to a pack."""
        marks = ", ".join("?" * len(pack.checks))
        return await self._rows(
            Check, CHECK_COLUMNS, f"digest IN ({marks}) ORDER BY name", tuple(pack.checks)
        )

    async def verdicts(
        self, pack: Pack | PackRef, *, tenant: str = DEFAULT_TENANT
    ) -> list[CheckVerdict]:
        """What checks have said of a pack's revision, oldest first; nothing of another tenant's."""
        return await self._rows(
            CheckVerdict,
            VERDICT_COLUMNS,
            f"pack_id = ? AND rev = ? AND {_HELD} ORDER BY row_id",
            (pack.id, pack.rev, pack.id, pack.rev, _tenant_of(pack, tenant)),
        )

    async def stats(
        self, *, tenant: str = DEFAULT_TENANT, family: str | None = None
    ) -> list[Reuse]:
        """How a tenant's packs were reused and what that did, by family."""
        return await self._database.read(lambda connection: reuse_of(connection, tenant, family))

    async def require(self, pack: Pack, request: Request) -> None:
        """Return when the pack's rights allow `request`.

        Raises:
            RightsError: They do not, with the reason.
        """
        asked = replace(request, at=self._clock())
        rights, what = rights_of(pack.rights), f"the pack {pack.id!r}"
        await anyio.to_thread.run_sync(require, rights, asked, what)

    async def count(self, *, tenant: str | None = None) -> int:
        """How many packs there are, in their newest revisions; of all tenants for None."""
        where, values = ("", ()) if tenant is None else (" AND tenant = ?", (tenant,))

        def counted(connection: Connection) -> int:
            sql = f"SELECT count(*) FROM xp_pack WHERE current = 1{where}"
            found: int = connection.execute(sql, values).fetchone()[0]
            return found

        return await self._database.read(counted)

    async def ledger(self, *, tenant: str = DEFAULT_TENANT, limit: int = 50) -> list[LedgerEntry]:
        """The newest entries of the ledger, newest first."""
        return await self._rows(
            LedgerEntry, LEDGER_COLUMNS, "tenant = ? ORDER BY seq DESC LIMIT ?", (tenant, limit)
        )

    async def verify_ledger(self) -> LedgerReport:
        """Walk the whole ledger, and compare with it every pack, step, verdict and standing."""
        return await self._database.read(lambda connection: verify(connection, self._rule))

    async def _rows(
        self, model: type[M], columns: Sequence[str], where: str, values: Sequence[Any]
    ) -> list[M]:
        sql = f"SELECT {', '.join(columns)} FROM {model.__tablename__} WHERE {where}"
        rows = await self._database.read(
            lambda connection: connection.execute(sql, values).fetchall()
        )
        return [from_row(model, row) for row in rows]


def _tenant_of(pack: Pack | PackRef, tenant: str) -> str:
    # A pack was read for its tenant; an address alone proves nothing.
    return pack.tenant if isinstance(pack, Pack) else tenant


@asynccontextmanager
async def open_pack_store(
    database: Database,
    *,
    embedder: Embedder,
    index: Path | str | VectorIndex | None = None,
    beside: Path | None = None,
    floor: Floor | None = None,
    rule: TrustRule = TrustRule(),
    clock: Clock = utc_now,
    exact_limit: int = EXACT_LIMIT,
    registry: Mapping[str, Derivation] = DERIVATIONS,
    redactor: Redactor | None = None,
) -> AsyncIterator[PackStore]:
    """Open the packs of `database`, and own the vector index while the block lasts.

    index: the folder of an embedded Chroma, an index of your own, or None for exact
    search alone (which is also how a second process may read; beside: the folder of the
    index that it must leave to its owner, whose vectors it may look at). floor: the evidence
    that recall demands, the embedder's own by default. rule: where trust begins and how it
    ages. registry: the derivations by which packs are made of packs.
    redactor: what is found and hashed or dropped before anything is stored.

    Raises:
        StoreOwnedError: Another process owns the index's folder, or an older version runs on
            a store that must be upgraded.
        StoreVersionError: A newer version wrote the store.
    """
    await database.upgrade(EXPERIENCE)
    folder = Path(index) if isinstance(index, (str, Path)) else None
    held = ChromaIndex(folder) if folder is not None else index
    assert not isinstance(held, (str, Path))
    indexer = Indexer(database, embedder, held)
    await indexer.own()
    failure: Exception | None = None
    try:
        async with anyio.create_task_group() as owner:
            owner.start_soon(indexer.run)
            try:
                yield PackStore(
                    database,
                    embedder,
                    indexer,
                    VectorCache(
                        embedder.name,
                        embedder.dimensions,
                        folder or beside,
                        owner=folder is not None,
                    ),
                    floor=floor or floor_of(embedder.min_cosine),
                    clock=clock,
                    exact_limit=exact_limit,
                    rule=rule,
                    index=folder or beside,
                    registry=registry,
                    redactor=redactor,
                )
            except Exception as error:  # noqa: BLE001  Raised again below, not wrapped in a group.
                failure = error
            owner.cancel_scope.cancel()
    finally:
        await indexer.aclose()
    if failure is not None:
        raise failure


@asynccontextmanager
async def open_store(
    url: str,
    *,
    embedder: Embedder | None = None,
    index: Path | str | VectorIndex | None = None,
    durability: Durability = "process",
    floor: Floor | None = None,
    rule: TrustRule = TrustRule(),
) -> AsyncIterator[PackStore]:
    """Open an experience store by itself: no network, no manifest, nothing else started.

    url: `sqlite:///FILE`, made if it is not there, or `sqlite:///:memory:`. embedder:
    MiniLM by default, whose weights `repertory models install` fetches; `HashEmbedder`
    needs none. index: as in `open_pack_store`; by default the vectors are searched
    exactly. A network may run on the same file at the same time, as long as only one of
    the two is given the index's folder.

    Raises:
        StoreError: The file cannot be opened as a store, or the URL names another engine.
        StoreOwnedError: Another process owns the index's folder.
    """
    async with (
        open_database(url, durability) as database,
        open_pack_store(
            database, embedder=embedder or MiniLM(), index=index, floor=floor, rule=rule
        ) as store,
    ):
        yield store
