"""Govern: derive, promote, roll back and forget packs, each with its entry in the ledger.

`PackStore.govern` is one of these. Every call is for one tenant, and one actor is told
to the ledger. What a verb writes is in the module of its name; here they meet the
files, the index and the embedder.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import anyio.to_thread

from .cards import agent_card, charter_card, data_statement, model_card, pack_card
from .certificate import ForgetCertificate, Interval
from .changes import (
    Case,
    Finding,
    Replay,
    Thresholds,
    close_rows,
    judged,
    open_rows,
    retained_cases,
    rollback_rows,
    stable_at,
    status_rows,
)
from .connection import Connection
from .crash_points import crash_point
from .database import Database
from .derivation import Derivation, Recipe, derive_rows
from .digests import Clock, digest_of, instant, pack_id
from .drafts import PackRef, Status
from .errors import PackNotFoundError
from .forgetting import Forgotten, Purge, Reach, forget_rows, reach_of
from .fts5 import OPTIMIZE_TEXT
from .hits import Hit
from .keys import Keys, load_keys
from .layers import LayerRule, layer_rows
from .ledger import append_entry, chain_problems
from .lineage import Selector
from .outbox import Indexer
from .rebuild import rebuilt_digest, store_digest
from .residue import Residue, Traces, files_of, scan
from .tables import CHANGE_COLUMNS, ChangeRow, Pack, from_row
from .trust import TrustRule
from .utility import utility

_METHOD = (
    "rows of the closure deleted in one transaction, with secure_delete on",
    "counters, trust and derived packs made anew from what is left",
    "full text optimized, write-ahead log truncated, file rewritten by VACUUM",
    "vector index built anew in a new folder, the old one removed, unused parts zeroed",
    "files read through for pieces of every deleted text and vector",
)


_SERVER_METHOD = (
    "rows of the closure deleted in one transaction",
    "counters, trust and derived packs made anew from what is left",
    "every table of this role rewritten by VACUUM FULL, so that no dead row is left in them",
    "vector index built anew in a new folder, the old one removed, unused parts zeroed",
    "every text and vector column of the tables asked for what was deleted",
)
_SERVER_NOTES = (
    "the server's write-ahead log (pg_wal), its archive, its replicas, backups and logs are not"
    " reached: what they hold ends with their own retention",
    "blocks that the rewrite gave back to the file system were not overwritten",
)
_INTERRUPTED = (
    "{} of these were deleted by a forget that was interrupted before its certificate: what they"
    " said is known no more, so every file was purged, and none could be searched for them"
)


class Recall(Protocol):
    """What the probes ask: a recall for one tenant."""

    async def __call__(self, query: str, *, tenant: str, limit: int) -> list[Hit]: ...


class Governance:
    """What may change a store's past and its packs' standing; made by `open_pack_store`."""

    def __init__(
        self,
        database: Database,
        indexer: Indexer,
        recall: Recall,
        *,
        clock: Clock,
        rule: TrustRule,
        registry: Mapping[str, Derivation],
        index: Path | None,
        forget_cache: Callable[[], None],
    ) -> None:
        self._database = database
        self._indexer = indexer
        self._recall = recall
        self._clock = clock
        self._rule = rule
        self._registry = registry
        self._index = index
        self._forget_cache = forget_cache
        self._keys: Keys | None = None

    async def keys(self) -> Keys:
        """The store's key, made when it is first needed."""
        if self._keys is None:
            self._keys = await anyio.to_thread.run_sync(lambda: load_keys(self._database.key_base))
        return self._keys

    # -- derive --------------------------------------------------------------

    async def derive(
        self,
        name: str,
        parents: Sequence[PackRef],
        *,
        tenant: str,
        owner: str,
        params: Mapping[str, Any] | None = None,
        purpose: str = "",
    ) -> PackRef | None:
        """Make a pack of others by the derivation `name`; None when it makes none of them.

        Raises:
            DraftInvalidError: There is no such derivation.
            PackNotFoundError: The tenant lacks a parent.
            RightsError: A parent may not be derived from, or licences do not mix.
        """
        recipe = Recipe(
            name, tuple(each.digest for each in parents), tenant, owner, params or {}, purpose
        )
        unit = derive_rows(recipe, self._clock(), registry=self._registry, rule=self._rule)
        ref = await self._database.transact(unit)
        self._indexer.notify()
        return ref

    # -- lineage -------------------------------------------------------------

    async def meant(self, selector: Selector, *, tenant: str, purge: Purge | None = None) -> Reach:
        """What `selector` means, all that came of it, and with `purge` the tasks that hold it."""
        return await self._database.read(
            lambda connection: reach_of(connection, tenant, selector, purge)
        )

    # -- change --------------------------------------------------------------

    async def release(
        self,
        packs: Sequence[Pack],
        thresholds: Thresholds,
        replay: Replay,
        *,
        tenant: str,
        actor: str,
        cases: Sequence[Case] | None = None,
    ) -> Finding:
        """Promote packs to stable if retained replays with and without them say so.

        What must be reached is in the ledger before the first replay. cases: the
        retained tasks; those of the packs' families by default.

        Raises:
            ChangeError: A pack may not be promoted whatever is measured: it is not a
                candidate, did not really run, or no admitted check passed on it.
        """
        change = pack_id()
        digests = [pack.digest for pack in packs]
        now = self._clock()
        await self._database.transact(
            open_rows(change, tenant, digests, thresholds, actor=actor, now=now, rule=self._rule)
        )
        crash_point("after-propose")
        if cases is None:
            cases = await self.retained(packs, tenant=tenant)
        without = await replay(cases, False) if cases else []
        with_packs = await replay(cases, True) if cases else []
        finding = judged(change, thresholds, with_packs, without)
        await self._database.transact(close_rows(finding, tenant, actor=actor, now=self._clock()))
        crash_point("after-promote")
        return finding

    async def retained(self, packs: Sequence[Pack], *, tenant: str, most: int = 20) -> list[Case]:
        """The newest decided episodes of the packs' families, the packs themselves left out."""

        def read(connection: Connection) -> list[Case]:
            return retained_cases(connection, tenant, packs, most)

        return await self._database.read(read)

    async def rollback(
        self,
        *,
        tenant: str,
        actor: str,
        change: str = "",
        selector: Selector | None = None,
        reason: str = "rolled back",
    ) -> list[str]:
        """Retire the packs of a change, or of a selector, and all that came of them; their digests.

        Raises:
            ChangeError: There is no such change.
        """
        return await self._database.transact(
            rollback_rows(
                tenant,
                actor=actor,
                reason=reason,
                now=self._clock(),
                change=change,
                selector=selector,
            )
        )

    async def set_status(
        self, pack: Pack, status: Status, *, tenant: str, actor: str, reason: str
    ) -> None:
        """Quarantine or retire a pack, or let it be a candidate again.

        Raises:
            ChangeError: Another status was asked for: only a change makes a pack stable.
        """
        await self._database.transact(
            status_rows(tenant, pack.digest, status, actor=actor, reason=reason, now=self._clock())
        )

    async def stable_at(self, when: datetime, *, tenant: str) -> dict[str, str]:
        """The digests that were stable at a moment, each with the reason of its promotion."""
        return await self._database.read(lambda connection: stable_at(connection, tenant, when))

    async def changes(self, *, tenant: str) -> list[ChangeRow]:
        """The tenant's changes, the newest first."""

        def read(connection: Connection) -> list[ChangeRow]:
            rows = connection.execute(
                f"SELECT {', '.join(CHANGE_COLUMNS)} FROM xp_change WHERE tenant = ?"
                " ORDER BY opened_at DESC, id DESC",
                (tenant,),
            ).fetchall()
            return [from_row(ChangeRow, row) for row in rows]

        return await self._database.read(read)

    async def move_layers(
        self, rules: Sequence[LayerRule], *, tenant: str, actor: str
    ) -> list[PackRef]:
        """Move up every pack that a rule lets; the new revisions."""
        moved = await self._database.transact(
            layer_rows(rules, tenant, actor=actor, now=self._clock(), rule=self._rule)
        )
        if moved:
            self._indexer.notify()
        return moved

    # -- cards and the ledger -------------------------------------------------

    async def has_entry(self, entry_hash: str) -> bool:
        """Whether the ledger has an entry of this hash."""
        query = "SELECT 1 FROM xp_ledger WHERE hash = ?"
        return await self._database.read(
            lambda connection: connection.execute(query, (entry_hash,)).fetchone() is not None
        )

    async def pack_card(self, pack: Pack) -> str:
        """The card of one pack's revision, in Markdown."""
        now = self._clock()
        return await self._database.read(
            lambda connection: pack_card(connection, pack, self._rule, now)
        )

    async def agent_card(self, agent: str, *, tenant: str) -> str:
        """The card of an agent as its packs tell it, in Markdown."""
        return await self._database.read(lambda connection: agent_card(connection, tenant, agent))

    async def model_card(self, model: str, *, tenant: str) -> str:
        """The card of a model as the packs tell it that were made with it, in Markdown."""
        return await self._database.read(lambda connection: model_card(connection, tenant, model))

    async def data_statement(self, *, tenant: str) -> str:
        """What is kept for a tenant, in Markdown."""
        return await self._database.read(lambda connection: data_statement(connection, tenant))

    async def charter_card(
        self, charter: Sequence[tuple[str, Mapping[str, str]]], *, tenant: str
    ) -> str:
        """Values with their checks (names by digest) and what these said, in Markdown."""
        return await self._database.read(
            lambda connection: charter_card(connection, tenant, charter)
        )

    # -- forget --------------------------------------------------------------

    async def forget(
        self,
        selector: Selector,
        *,
        tenant: str,
        actor: str,
        reason: str = "asked for",
        purge: Purge | None = None,
        also_scan: Sequence[Path] = (),
    ) -> ForgetCertificate:
        """Forget what `selector` means and all that came of it, purge the files, and prove it.

        purge: of what else holds it, such as the journal. also_scan: more files and
        folders to look through, such as logs. The certificate is issued whatever the
        scan found; `complete` says whether nothing did.

        Raises:
            PackNotFoundError: Nothing is meant by the selector.
            StoreError: The files cannot be rewritten, for example while another process
                reads them; what was deleted stays deleted, and forgetting again goes on.
        """
        requested = self._clock()
        interrupted = await self.unfinished(tenant=tenant)
        before = await self._database.read(lambda connection: utility(connection, tenant))
        forgotten = await self._database.transact(
            forget_rows(
                selector,
                tenant,
                actor=actor,
                reason=reason,
                rule=self._rule,
                registry=self._registry,
                purge=purge,
                clock=self._clock,
            )
        )
        if not forgotten.closure and not forgotten.tasks and not interrupted:
            what = str(selector) or "an empty selector"
            raise PackNotFoundError(f"no pack is meant by {what}; nothing was forgotten")
        crash_point("after-forget")
        await self._purge_index()
        crash_point("before-compact")
        after = await self._database.read(lambda connection: utility(connection, tenant))
        probes = await self._probe(forgotten.traces, tenant)
        await self._database.compact(
            OPTIMIZE_TEXT if self._database.dialect.engine == "sqlite" else ()
        )
        crash_point("before-certify")
        residue, digest, rebuilt = await self._prove(forgotten.traces, tenant, also_scan)
        return await self._certify(
            selector,
            forgotten,
            interrupted,
            residue,
            tenant=tenant,
            actor=actor,
            requested=requested,
            digests=(digest, rebuilt),
            probes=probes,
            utilities=(before, after),
        )

    async def unfinished(self, *, tenant: str | None = None) -> list[str]:
        """The digests that a forget deleted which ended before its certificate; oldest first.

        Their bytes may still be in the files. Any later `forget` of the tenant, be it of
        nothing, purges them. tenant: None for all.
        """
        query = (
            "SELECT f.before FROM xp_ledger f WHERE f.verb = 'forget' AND f.seq > coalesce("
            "(SELECT max(c.seq) FROM xp_ledger c WHERE c.verb = 'certify' AND c.tenant = f.tenant), 0)"
            f"{'' if tenant is None else ' AND f.tenant = ?'} ORDER BY f.seq"
        )
        values = () if tenant is None else (tenant,)
        return await self._database.read(
            lambda connection: [row[0] for row in connection.execute(query, values)]
        )

    async def _purge_index(self) -> None:
        await anyio.to_thread.run_sync(self._forget_cache)
        await self._indexer.rebuild()
        await self._indexer.wait_idle()
        await self._indexer.scrub()

    async def _probe(self, traces: Traces, tenant: str) -> dict[str, int | None]:
        """Ask the store for it in its own words, and in another order of them."""
        pieces = traces.texts[:3]
        answers: dict[str, int | None] = {"verbatim": 0, "paraphrase": 0, "agent": None}
        for text in pieces:
            turned = " ".join(reversed(text.split()))
            for probe, query in (("verbatim", text), ("paraphrase", turned)):
                hits = await self._recall(query, tenant=tenant, limit=10)
                held = sum(
                    any(name in f"{hit.pack.goal}\n{hit.pack.situation}" for name in traces.names)
                    for hit in hits
                )
                answers[probe] = (answers[probe] or 0) + held
        return answers

    async def _prove(
        self, traces: Traces, tenant: str, also_scan: Sequence[Path]
    ) -> tuple[Residue, str, str]:
        file = self._database.file
        store = ":memory:" if file is None else str(file)
        files = await anyio.to_thread.run_sync(files_of, store, self._index, tuple(also_scan))

        def read(connection: Connection) -> tuple[Residue, str, str]:
            return (
                scan(connection, traces, files),
                store_digest(connection, tenant),
                rebuilt_digest(connection, tenant, self._rule, self._registry),
            )

        return await self._database.read(read)

    async def _certify(
        self,
        selector: Selector,
        forgotten: Forgotten,
        interrupted: Sequence[str],
        residue: Residue,
        *,
        tenant: str,
        actor: str,
        requested: datetime,
        digests: tuple[str, str],
        probes: dict[str, int | None],
        utilities: tuple[Interval | None, Interval | None],
    ) -> ForgetCertificate:
        keys = await self.keys()
        request = pack_id()
        found = digest_of([residue.found, *digests])

        def write(connection: Connection) -> tuple[int, str]:
            append_entry(
                connection,
                at=instant(self._clock()),
                tenant=tenant,
                actor=actor,
                verb="certify",
                reason=f"forget {request}: {residue.total} left in {residue.files} files",
                evidence=found,
            )
            entries, head, _ = chain_problems(connection)
            return entries, head

        entries, head = await self._database.transact(write)
        notes = [
            "copies that were made before (backups, exports, other machines) are not reached",
            "what the medium itself keeps of overwritten blocks is not reached",
            "the memory of processes that still run is not reached; it ends with them",
            *(() if self._database.dialect.engine == "sqlite" else _SERVER_NOTES),
            *([_INTERRUPTED.format(len(interrupted))] if interrupted else []),
        ]
        return ForgetCertificate(
            request_id=request,
            tenant=tenant,
            actor=actor,
            selector=str(selector),
            closure=[*interrupted, *forgotten.closure],
            deleted=len(interrupted) + len(forgotten.closure) - len(forgotten.rederived),
            rederived=len(forgotten.rederived),
            retained=forgotten.retained,
            tasks=len(forgotten.tasks),
            requested_at=instant(requested),
            completed_at=instant(self._clock()),
            method=list(_METHOD if self._database.dialect.engine == "sqlite" else _SERVER_METHOD),
            traces=forgotten.traces.count,
            files=residue.files,
            bytes_read=residue.bytes_read,
            residue_scan=residue.found,
            explained=residue.kept,
            store_digest=digests[0],
            rebuild_digest_equal=digests[0] == digests[1],
            probes=probes,
            utility_before=utilities[0],
            utility_after=utilities[1],
            ledger_entries=entries,
            ledger_hash=head,
            notes=notes,
        ).signed(keys)
