"""A network as any process over its journal serves it: what it reads, follows and orders.

A `Replica` runs no agent, no model and no tool; a `Network` is one that does. Either
way a task that another process works on is followed through the journal: its record
here grows with the log, whoever waits for it is woken, and what changes it (an answer,
a cancellation) is left as an order for the process that has it (`orders`). A new
message is accepted by any process and claimed by one (`claims`).
"""

import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakValueDictionary

import anyio
import anyio.to_thread

from repertory.protocol import (
    AgentCard,
    AgentService,
    BusyError,
    Call,
    DeadlineExceededError,
    Task,
)
from repertory.xp_store import StoreError, open_database

from .audit import Audit
from .cards import card_of_entry
from .claims import Claims
from .journal import Journal, command_outcome, open_journal
from .lease import LOGS, Lease, runners
from .manifest import Manifest
from .orders import order_body, outcome_of
from .record import TaskRecord
from .service import JournalService
from .spans import SpanStore
from .state_key import state_key
from .stops import Stops
from .telemetry import Telemetry, open_telemetry
from .tenants import Tenants, unclaimed_of

if TYPE_CHECKING:
    from .host import AgentHost

_log = logging.getLogger(__name__)
# How often the journal is looked at while somebody waits for it, and else, in seconds.
LOOK_SECONDS: Final = 0.02
_IDLE_SECONDS: Final = 0.1
_TOLD_SECONDS: Final = 0.1
_OUT_SECONDS: Final = 0.5
_RETRY_SECONDS: Final = 5.0
_KNOWN_SECONDS: Final = 1.0
# Ended tasks that stay in memory for those who ask again.
_REMEMBERED: Final = 2048


@dataclass(eq=False, kw_only=True)
class Replica:
    """A network as this process serves it. Open it with `open_replica`."""

    manifest: Manifest
    journal: Journal
    telemetry: Telemetry
    audit: Audit
    url: str
    state_key: bytes
    lease: Lease
    hosts: "dict[str, AgentHost]" = field(default_factory=dict)
    # The tasks whose steps are looked up when they begin here.
    resumed: set[str] = field(default_factory=set)
    claims: Claims = field(init=False)
    tenants: Tenants = field(init=False)
    stops: Stops = field(default_factory=Stops)
    _cards: dict[str, AgentCard] = field(default_factory=dict)
    _services: dict[str, AgentService] = field(default_factory=dict)
    # What this process works on, and what ended lately.
    _records: "OrderedDict[str, TaskRecord]" = field(default_factory=OrderedDict)
    _ended: "OrderedDict[str, None]" = field(default_factory=OrderedDict)
    # What others work on; held by those who wait, so what nobody waits for is not kept.
    _followed: "WeakValueDictionary[str, TaskRecord]" = field(default_factory=WeakValueDictionary)
    _lives_until: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.claims = Claims(self.journal.database, self.lease)
        self.tenants = Tenants(self.manifest.tenants)

    @property
    def name(self) -> str:
        return self.manifest.network

    @property
    def agents(self) -> tuple[str, ...]:
        """The names of all agents, here and elsewhere, as the manifest orders them."""
        return tuple(self.manifest.agents)

    @property
    def local_agents(self) -> tuple[str, ...]:
        """The names of the network's own agents, whichever of its processes runs them."""
        return tuple(name for name, entry in self.manifest.agents.items() if not entry.is_remote)

    def full_name(self, agent: str) -> str:
        """`network/agent`, as it stands in a call's chain."""
        return f"{self.name}/{agent}"

    def service(self, agent: str) -> AgentService:
        """The agent's A2A operations, at whichever process it works."""
        service = self._services.get(agent)
        if service is None:
            service = self._services[agent] = JournalService(self, agent)
        return service

    def card_of(self, agent: str) -> AgentCard:
        """The agent's card; a remote agent's own once it has been fetched."""
        card = self._cards.get(agent)
        if card is None:
            card = self._cards[agent] = card_of_entry(self.manifest, agent)
        return card

    def replace_card(self, agent: str, card: AgentCard) -> None:
        """Give an agent another card: a fetched one, or one with the address it is served at."""
        self._cards[agent] = card

    def now(self) -> datetime:
        """The time that goes into statuses, in UTC."""
        return datetime.now(UTC)

    def takes_work(self, principal: str) -> bool:
        """Whether work of `principal` may begin."""
        return True

    async def drain(self) -> None:
        """Nothing is at work here that another process would have to finish."""

    async def admit(self, tenant: str, retry_after: float = _RETRY_SECONDS) -> None:
        """Return when another message of a tenant from outside may come in here.

        Raises:
            BusyError: Too many of its messages wait, or came within a second.
            BudgetExceededError: Its window's budget is spent.
        """
        await self.tenants.load(self.journal.database, tenant)
        await self.tenants.admit(tenant, partial(self.waiting_of, tenant), retry_after)

    async def waiting_of(self, tenant: str) -> int:
        """How many messages of a tenant from outside wait here, or for any process."""
        return await unclaimed_of(self.journal.database, tenant)

    # -- records -----------------------------------------------------------------

    def works_on(self, record: TaskRecord) -> bool:
        """Whether the task is this process's, so that it may write to it."""
        host = self.hosts.get(record.agent)
        return host is not None and host.pending.get(record.id) is record

    async def find(self, task_id: str) -> TaskRecord | None:
        """A task's record, as it stands now at whichever process has it."""
        return await self._find(task_id, None)

    async def find_for(self, task_id: str, agent: str, call: Call) -> TaskRecord | None:
        """The record of a task of `agent` that is this caller's; a foreign one is not looked up."""
        return await self._find(task_id, (agent, call.tenant, call.principal))

    async def _find(self, task_id: str, owner: tuple[str, str, str] | None) -> TaskRecord | None:
        record = self._records.get(task_id)
        if record is None and (record := self._followed.get(task_id)) is not None:
            await self.catch_up(record)
        if record is not None:
            whose = (record.agent, record.tenant, record.principal)
            return record if owner in (None, whose) else None
        loaded = await self.journal.load(task_id, owner=owner)
        return None if loaded is None else self.meet(loaded)

    def meet(self, record: TaskRecord) -> TaskRecord:
        """The record of a loaded task that everybody here shares."""
        known = self._records.get(record.id) or self._followed.get(record.id)
        if known is not None:
            return known
        if record.ended:
            return self.adopt(record)
        self._followed[record.id] = record
        return record

    def adopt(self, record: TaskRecord) -> TaskRecord:
        """Keep a task that is this process's, or has ended; an earlier record of it wins."""
        known = self._records.get(record.id)
        if known is not None:
            return known
        followed = self._followed.pop(record.id, None)
        if followed is not None and followed is not record:
            followed.follow(record.events)
            followed.created_at, followed.attempts = record.created_at, record.attempts
            record = followed
        self._records[record.id] = record
        if record.ended:
            self.ended(record)
        return record

    def let_go(self, record: TaskRecord) -> None:
        """From here on follow a task that was this process's; who waits for it goes on waiting."""
        self.journal.forget(record)
        if self._records.pop(record.id, None) is not None and not record.ended:
            self._followed[record.id] = record

    def ended(self, record: TaskRecord) -> None:
        """Remember an ended task for a while."""
        self._ended[record.id] = None
        self._ended.move_to_end(record.id)
        while len(self._ended) > _REMEMBERED:
            old, _ = self._ended.popitem(last=False)
            self._records.pop(old, None)

    async def lose(self, record: TaskRecord) -> None:
        """Stop work on a task that another process has taken, and follow it from here on."""
        self.let_go(record)

    # -- following ---------------------------------------------------------------

    async def catch_up(self, record: TaskRecord) -> None:
        """Publish what another process wrote to a task's log since the last look."""
        events = await self.journal.events_after(record.id, record.last_sequence)
        if events and record.id in self._followed:
            record.follow(events)

    async def follow(self) -> bool:
        """Let followed tasks' records grow with their logs; whether anybody waits for one."""
        seen = {task_id: record.last_sequence for task_id, record in self._followed.items()}
        if not seen:
            return False
        for task_id in await self.journal.grown(seen):
            if (record := self._followed.get(task_id)) is not None:
                await self.catch_up(record)
        return True

    async def keep_following(self) -> None:
        """Follow until cancelled; a database that is away is asked again."""
        # On a server those who end a task say so; a file is looked at more often instead.
        waited = _TOLD_SECONDS if self.lease.shared else LOOK_SECONDS
        with self.journal.database.listen(LOGS) as news:
            while True:
                try:
                    pause = waited if await self.follow() else _IDLE_SECONDS
                except StoreError as error:
                    _log.warning("the journal cannot be read now: %s", error)
                    pause = _OUT_SECONDS
                with anyio.move_on_after(pause):
                    await news.wait()

    def told_unclaimed(self) -> None:
        """Learn that a task was accepted that no process has taken yet."""

    def moved(self, _: TaskRecord | None = None) -> None:
        """Learn that a task ended, began or parked."""

    # -- orders ------------------------------------------------------------------

    async def order(
        self, kind: str, record: TaskRecord, request: Mapping[str, Any], call: Call
    ) -> Task:
        """Leave an order for the process that has the task, and wait for its outcome.

        Raises:
            BusyError: No process runs the agent now; nothing was ordered.
            DeadlineExceededError: The call's deadline passed; the order stands.
            RepertoryError: What the operation answered instead.
        """
        await self.require_runner(record.agent)
        body = order_body(record.agent, request, call)
        number = await self.journal.post(kind, record.id, body)
        with anyio.move_on_after(call.seconds_left()):
            while True:
                outcome = await command_outcome(self.journal.database, number)
                if outcome:
                    await self.catch_up(record)
                    return outcome_of(outcome)
                await anyio.sleep(LOOK_SECONDS)
        raise DeadlineExceededError(
            "the call's deadline passed before its order was carried out; the same message may be"
            " sent again"
        )

    async def require_runner(self, agent: str) -> None:
        """Return when a living process runs the agent.

        Raises:
            BusyError: None does.
        """
        if agent in self.hosts:
            return
        pool = self.manifest.agents[agent].pool
        now = anyio.current_time()
        if now < self._lives_until.get(pool, 0.0):
            return
        if not await self._is_run(pool):
            told = f"network {self.name}" if not self.lease.shared else f"pool {pool!r}"
            raise BusyError(
                f"no process runs {told} now, so nothing new is taken up; what was accepted is in"
                " the journal",
                retry_after=_RETRY_SECONDS,
            )
        self._lives_until[pool] = now + _KNOWN_SECONDS

    async def _is_run(self, pool: str) -> bool:
        known = await runners(self.journal.database)
        return any(pool in each.pools and not each.draining for each in known)

    async def require_room(self, agent: str) -> None:
        """Return when a message for an agent that runs elsewhere may be accepted here.

        Raises:
            BusyError: As many as its mailbox holds wait for a process already.
        """
        most = self.manifest.agents[agent].mailbox
        if await self.claims.depth(agent) >= most:
            raise BusyError(
                f"{most} messages wait for {agent} already; try again", retry_after=_RETRY_SECONDS
            )


@asynccontextmanager
async def open_replica(
    manifest: Manifest, *, store_url: str | None = None
) -> AsyncIterator[Replica]:
    """Serve beside the processes that run the network of `manifest`, over the same store.

    Raises:
        StoreError: The store cannot be opened.
    """
    url = store_url or manifest.store_url
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        database = await enter(open_database(url, manifest.store.durability))
        journal = await enter(open_journal(database))
        telemetry = await enter(
            open_telemetry(
                network=manifest.network,
                store=SpanStore(database) if manifest.telemetry.spans else None,
                content=manifest.telemetry.content,
                spans=manifest.telemetry.spans,
                otlp=manifest.telemetry.otlp,
            )
        )
        lease = await enter(held_lease(journal, (), manifest.store.lease))
        replica = Replica(
            manifest=manifest,
            journal=journal,
            telemetry=telemetry,
            audit=Audit(database),
            url=url,
            state_key=await state_key(database),
            lease=lease,
        )
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lease.run)
            tasks.start_soon(replica.keep_following)
            yield replica
            tasks.cancel_scope.cancel()


@asynccontextmanager
async def held_lease(
    journal: Journal, pools: tuple[str, ...], seconds: float
) -> AsyncIterator[Lease]:
    """This process's place among those over the journal; inside, somebody must `run` it."""
    lease = Lease(journal.database, pools=pools, seconds=seconds)
    await lease.begin()
    journal.lease = lease
    try:
        yield lease
    finally:
        with anyio.CancelScope(shield=True):
            try:
                await lease.end()
            except StoreError as error:
                # The lease lapses by itself; the others wait for that.
                _log.warning("the others were not told that this process ends: %s", error)
