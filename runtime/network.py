"""A network at work: the composition root that opens everything a manifest names, and closes it.

`open_network` owns every task and connection of the network; nothing outlives
its block. Asking an agent is one path, whether it runs here or elsewhere.
"""

import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from repertory.agents import Agent, AgentNotFoundError, AgentSpec, ChatModel
from repertory.protocol import (
    DEFAULT_TENANT,
    LOCAL_PRINCIPAL,
    AgentCard,
    AgentService,
    Budget,
    Call,
    CancelTaskRequest,
    Message,
    NumberedEvent,
    RepertoryError,
    SendMessageConfiguration,
    SendMessageRequest,
    StreamResponse,
    Task,
    TaskNotFoundError,
    TaskState,
    is_terminal,
    open_link,
    user_message,
    wait_for_end,
)
from repertory.xp_store import (
    Checker,
    Embedder,
    PackStore,
    open_checker,
    open_database,
    open_pack_store,
)

from .cards import card_of_entry
from .errors import NetworkError, SupervisionError, did_you_mean, listed
from .host import AgentHost
from .journal import Journal, answer_message, open_journal, owned, question_of
from .kinds import load_kind, load_policy, load_reference
from .manifest import AgentEntry, Manifest, load_manifest
from .models import open_embedder, open_models
from .record import TaskRecord
from .spans import SpanStore
from .supervisor import Supervisor
from .telemetry import Telemetry, open_telemetry
from .tool_server import ToolServer
from .tools import ToolBox, open_tool_server

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

logger = logging.getLogger(__name__)

_Exits = MemoryObjectReceiveStream[tuple[str, Exception]]

# How often commands of other processes are looked for, in seconds.
_COMMAND_PERIOD = 0.25
# Ended tasks that stay in memory for those who ask again.
_REMEMBERED = 2048
# Seconds that running work is given to end when the network drains.
GRACE = 10.0


@dataclass(frozen=True, slots=True)
class NetworkEvent:
    """One event of one task, as `Network.watch` tells it."""

    task_id: str
    agent: str
    sequence: int
    event: StreamResponse
    at: datetime


@dataclass(frozen=True, slots=True)
class TaskSummary:
    """A task in a list. parent: the task on whose behalf it was asked, "" for none.

    waits_for: `person`, the ids of the tasks it waits for, or "".
    """

    id: str
    agent: str
    context_id: str
    state: TaskState
    created: datetime
    updated: datetime
    parent: str
    text: str
    attempts: int
    waits_for: str = ""
    question: Mapping[str, Any] | None = None


@dataclass(eq=False)
class Network:
    """The agents of one manifest, running. Open it with `open_network`."""

    manifest: Manifest
    journal: Journal
    telemetry: Telemetry
    packs_or_none: PackStore | None = None
    resumed: set[str] = field(default_factory=set)
    _hosts: dict[str, AgentHost] = field(default_factory=dict)
    _remote: dict[str, AgentService] = field(default_factory=dict)
    _cards: dict[str, AgentCard] = field(default_factory=dict)
    _checker: Checker | None = None
    _models: Mapping[str, ChatModel] = field(default_factory=dict)
    _records: "OrderedDict[str, TaskRecord]" = field(default_factory=OrderedDict)
    _ended: "OrderedDict[str, None]" = field(default_factory=OrderedDict)
    _watchers: set[MemoryObjectSendStream[NetworkEvent]] = field(default_factory=set)
    _draining: bool = False
    _closing: bool = False
    _moved: anyio.Event | None = None
    _group: TaskGroup | None = None
    _exits: MemoryObjectSendStream[tuple[str, Exception]] | None = None

    # -- what there is -----------------------------------------------------------

    @property
    def name(self) -> str:
        return self.manifest.network

    @property
    def agents(self) -> tuple[str, ...]:
        """The names of all agents, here and elsewhere, as the manifest orders them."""
        return tuple(self.manifest.agents)

    @property
    def local_agents(self) -> tuple[str, ...]:
        """The names of the agents that run here."""
        return tuple(self._hosts)

    @property
    def models(self) -> Mapping[str, ChatModel]:
        """The manifest's models by name."""
        return self._models

    @property
    def packs(self) -> PackStore:
        """The experience store of this network."""
        if self.packs_or_none is None:
            raise NetworkError(f"network {self.name} was opened without its experience store")
        return self.packs_or_none

    def full_name(self, agent: str) -> str:
        """`network/agent`, as it stands in a call's chain."""
        return f"{self.name}/{agent}"

    def service(self, agent: str) -> AgentService:
        """The agent's A2A operations, near or far.

        Raises:
            AgentNotFoundError: No agent of that name is in the manifest.
        """
        host = self._hosts.get(agent)
        if host is not None:
            return host.service
        remote = self._remote.get(agent)
        if remote is not None:
            return remote
        raise AgentNotFoundError(
            f"no agent named {agent!r}; running: {listed(self.agents)};"
            f" {did_you_mean(agent, self.agents)}",
            name=agent,
        )

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

    async def checker(self) -> Checker:
        """What runs executable checks."""
        assert self._checker is not None, "opened with the network"
        return self._checker

    # -- messages ----------------------------------------------------------------

    async def ask(
        self,
        agent: str,
        content: str | Message | Mapping[str, Any],
        *,
        context_id: str = "",
        message_id: str | None = None,
        principal: str = LOCAL_PRINCIPAL,
        tenant: str = DEFAULT_TENANT,
        within: float | None = None,
        traceparent: str | None = None,
    ) -> Task:
        """Send `content` to `agent` and wait until its task has ended.

        Cancelling gives up the answer; the agent still finishes. within: working
        seconds for the task, beside what the manifest allows. traceparent: the
        caller's span; by default the one that is current.

        Raises:
            AgentNotFoundError: No agent of that name is in the manifest.
            NetworkClosedError: The network is draining.
        """
        with self.telemetry.workflow(
            self.name, parent=traceparent, conversation_id=context_id
        ) as span:
            task = await self._send(
                agent,
                _message(content, context_id, message_id),
                self._call(principal, tenant, within, span.traceparent),
                wait=True,
            )
            span.set("a2a.task.id", task.id)
            if not is_terminal(task.status.state):
                # It waits for a person, which may take longer than any call.
                reading = Call(principal=principal, tenant=tenant, traceparent=span.traceparent)
                task = await wait_for_end(self.service(agent), task, reading)
            if task.status.state is not TaskState.COMPLETED:
                span.set("error.type", task.status.state.name)
            return task

    async def tell(
        self,
        agent: str,
        content: str | Message | Mapping[str, Any],
        *,
        context_id: str = "",
        message_id: str | None = None,
        principal: str = LOCAL_PRINCIPAL,
        tenant: str = DEFAULT_TENANT,
        within: float | None = None,
    ) -> str:
        """Send `content` to `agent` and return its task's id once that is durable."""
        with self.telemetry.workflow(self.name, conversation_id=context_id) as span:
            task = await self._send(
                agent,
                _message(content, context_id, message_id),
                self._call(principal, tenant, within, span.traceparent),
            )
            span.set("a2a.task.id", task.id)
            return task.id

    async def _send(self, agent: str, message: Message, call: Call, *, wait: bool = False) -> Task:
        configuration = None if wait else SendMessageConfiguration(return_immediately=True)
        response = await self.service(agent).send_message(
            SendMessageRequest(message=message, configuration=configuration), call
        )
        if response.task is None:
            raise NetworkError(f"agent {agent} answered without a task", agent=agent)
        return response.task

    def _call(self, principal: str, tenant: str, within: float | None, traceparent: str) -> Call:
        budgets = self.manifest.budgets
        call = Call(
            principal=principal,
            tenant=tenant,
            budget=Budget(tokens=budgets.tokens, calls=budgets.calls, usd=budgets.usd),
            traceparent=traceparent,
        )
        return call.within(budgets.seconds).within(within)

    # -- tasks -------------------------------------------------------------------

    async def task(self, task_id: str) -> Task:
        """The task as its log says now.

        Raises:
            TaskNotFoundError: This network's journal has none of that id.
        """
        return (await self._require(task_id)).snapshot()

    async def has_message(
        self,
        agent: str,
        message_id: str,
        *,
        principal: str = LOCAL_PRINCIPAL,
        tenant: str = DEFAULT_TENANT,
    ) -> bool:
        """Whether `agent` has accepted a message of this id from this principal."""
        where = "agent=? AND message_id=? AND principal=? AND tenant=?"
        values = (agent, message_id, principal, tenant)
        _, count = await self.journal.select(where, values, limit=0)
        return count > 0

    async def tasks(
        self, *, state: TaskState | None = None, agent: str = "", limit: int = 200
    ) -> list[TaskSummary]:
        """The journal's tasks, newest change first."""
        return await list_tasks(self.journal, state=state, agent=agent, limit=limit)

    async def answer(self, task_id: str, text: str) -> Task:
        """Answer the question of a waiting task, or of the task that it waits for.

        Raises:
            TaskNotFoundError: No such task.
            InvalidParamsError: The answer is not one of the question's options.
            UnsupportedOperationError: The task has ended.
        """
        record = await self._waiting_below(await self._require(task_id))
        host = self._host_of(record)
        call = Call(principal=record.principal, tenant=record.tenant)
        request = SendMessageRequest(
            message=answer_message(record, text),
            configuration=SendMessageConfiguration(return_immediately=True),
        )
        response = await host.service.send_message(request, call)
        assert response.task is not None
        return response.task

    async def cancel(self, task_id: str) -> Task:
        """Cancel a task, and with it the tasks that it waits for.

        Raises:
            TaskNotFoundError: No such task.
            TaskNotCancelableError: It has ended.
        """
        record = await self._require(task_id)
        call = Call(principal=record.principal, tenant=record.tenant)
        return await self._host_of(record).service.cancel_task(
            CancelTaskRequest(id=record.id), call
        )

    async def cancel_quietly(self, service: AgentService, task_id: str, call: Call) -> None:
        """Cancel a callee's task for a caller that is itself being canceled."""
        with anyio.move_on_after(1.0, shield=True):
            try:
                await service.cancel_task(CancelTaskRequest(id=task_id), call)
            except RepertoryError as error:
                logger.info("task %s was not canceled with its caller: %s", task_id, error)

    async def watch(self, task_id: str | None = None) -> AsyncIterator[NetworkEvent]:
        """What happens, as it happens: one task from its beginning to its end, or everything."""
        send, receive = anyio.create_memory_object_stream[NetworkEvent](inf)
        self._watchers.add(send)
        try:
            seen = 0
            if task_id is not None:
                record = await self._require(task_id)
                for numbered in list(record.events):
                    seen = numbered.sequence
                    yield _told(record, numbered)
                if record.ended:
                    return
            async for told in receive:
                if task_id is not None and (told.task_id != task_id or told.sequence <= seen):
                    continue
                yield told
                if task_id is not None and _ends(told.event):
                    return
        finally:
            self._watchers.discard(send)
            send.close()
            receive.close()

    async def idle(self) -> None:
        """Wait until no task is at work: each has ended, or waits for a person."""
        while not all(self._rests(record) for record in self._pending()):
            await self._wait_for_move()

    def _rests(self, record: TaskRecord) -> bool:
        """Whether a task waits for a person, by itself or through those it asked, and has said so."""
        if not record.park or record.last_sequence < record.staged:
            return False
        asked = (self._records.get(each) for each in record.park.split(","))
        return all(task is None or (not task.ended and self._rests(task)) for task in asked)

    async def drain(self, grace: float = GRACE) -> None:
        """Take no new work, give running work `grace` seconds to end, and journal the rest."""
        self._draining = True
        with anyio.move_on_after(grace):
            while any(host.running for host in self._hosts.values()) and any(
                not record.park for record in self._pending() if self._runs(record)
            ):
                await self._wait_for_move()

    def takes_work(self, principal: str) -> bool:
        """Whether work of `principal` may begin: while draining only what running work needs."""
        return not self._draining or principal.startswith("agent:")

    def _pending(self) -> list[TaskRecord]:
        return [record for host in self._hosts.values() for record in host.pending.values()]

    def _runs(self, record: TaskRecord) -> bool:
        return record.id in self._hosts[record.agent].running

    # -- records -----------------------------------------------------------------

    async def find(self, task_id: str) -> TaskRecord | None:
        """A task's record, from memory or the journal."""
        record = self._records.get(task_id)
        if record is None:
            loaded = await self.journal.load(task_id)
            record = self.adopt(loaded) if loaded is not None else None
        return record

    def adopt(self, record: TaskRecord) -> TaskRecord:
        """Make a record the one that everybody here shares; an earlier one wins."""
        known = self._records.get(record.id)
        if known is not None:
            return known
        self._records[record.id] = record
        record.listener = self._published
        if record.ended:
            self.ended(record)
        elif record.events:
            self._published(record, record.events)
        return record

    def ended(self, record: TaskRecord) -> None:
        """Remember an ended task for a while."""
        self._ended[record.id] = None
        self._ended.move_to_end(record.id)
        while len(self._ended) > _REMEMBERED:
            old, _ = self._ended.popitem(last=False)
            self._records.pop(old, None)
        self.moved(record)

    def moved(self, _: TaskRecord | None = None) -> None:
        """Let those who wait for the network to be idle look again."""
        if self._moved is not None:
            self._moved.set()
            self._moved = None

    async def _wait_for_move(self) -> None:
        if self._moved is None:
            self._moved = anyio.Event()
        await self._moved.wait()

    def _published(self, record: TaskRecord, events: Sequence[NumberedEvent]) -> None:
        for watcher in self._watchers:
            for numbered in events:
                watcher.send_nowait(_told(record, numbered))

    async def _require(self, task_id: str) -> TaskRecord:
        record = await self.find(task_id)
        if record is None:
            raise TaskNotFoundError(
                f"no task {task_id!r} in network {self.name}; `repertory tasks` lists them",
                task_id=task_id,
            )
        return record

    async def _waiting_below(self, record: TaskRecord) -> TaskRecord:
        """The task whose question keeps `record` waiting, which may be `record` itself."""
        while record.park not in ("", "person"):
            record = await self._require(record.park.split(",")[0])
        return record

    def _host_of(self, record: TaskRecord) -> AgentHost:
        host = self._hosts.get(record.agent)
        if host is None:
            raise AgentNotFoundError(
                f"task {record.id} is {record.agent}'s, which does not run here; running:"
                f" {listed(self._hosts)}",
                name=record.agent,
            )
        return host

    # -- supervision ---------------------------------------------------------------

    async def exited(self, agent: str, error: BaseException) -> None:
        """Tell the supervisor that an agent crashed."""
        if self._closing or self._exits is None:
            return
        if not isinstance(error, Exception):
            raise error
        await self._exits.send((agent, error))

    async def _supervise(self, receive: _Exits) -> None:
        group = self._group
        assert group is not None
        config = self.manifest.supervision
        supervisor = Supervisor(
            {name: host.entry.restart for name, host in self._hosts.items()},
            strategy=config.strategy,
            intensity=config.intensity,
            period=config.period,
        )
        async for agent, error in receive:
            told = f"{type(error).__name__}: {error}"
            verdict = supervisor.exited(agent, abnormal=True)
            if verdict.exhausted:
                sentence = (
                    f"agent {agent} crashed more than {config.intensity} times in"
                    f" {config.period:g} s; the last time: {told}"
                )
                if config.escalate == "network":
                    raise SupervisionError(sentence, agent=agent) from error
                logger.error("%s; it stays down", sentence)
                await self._hosts[agent].give_up(sentence)
                continue
            restarted = listed(verdict.restart)
            logger.warning("agent %s crashed (%s); restarting %s", agent, told, restarted)
            for name in reversed(verdict.restart):
                await self._hosts[name].stop()
            for name in verdict.down:
                await self._hosts[name].stop()
                await self._hosts[name].give_up(f"agent {name} is down: {told}")
            for name in verdict.restart:
                await group.start(self._hosts[name].run)

    # -- life ----------------------------------------------------------------------

    async def _recover(self) -> None:
        """Take up every task that had not ended when this journal was last closed."""
        for record in await self.journal.unfinished(tuple(self._hosts)):
            self.adopt(record)
            self.resumed.add(record.id)
            self._hosts[record.agent].pending[record.id] = record

    async def _carry_out_commands(self) -> None:
        verbs: Mapping[str, Callable[[str, str], Awaitable[Task]]] = {
            "answer": self.answer,
            "cancel": lambda task_id, _: self.cancel(task_id),
        }
        while True:
            for command in await self.journal.pending_commands():
                try:
                    await verbs[command.kind](command.task_id, command.body)
                    outcome = "done"
                except RepertoryError as error:
                    outcome = error.sentence
                await self.journal.settle_command(command, outcome)
            await anyio.sleep(_COMMAND_PERIOD)

    async def _learn_card(self, agent: str) -> None:
        try:
            card = await self._remote[agent].get_agent_card(Call())
        except RepertoryError as error:
            logger.info("the card of %s could not be fetched yet: %s", agent, error)
        else:
            self._cards[agent] = card


async def list_tasks(
    journal: Journal, *, state: TaskState | None = None, agent: str = "", limit: int = 200
) -> list[TaskSummary]:
    """The tasks of a journal, newest change first, also of one that another process owns."""
    where, values = ["1"], list[Any]()
    if state is not None:
        where.append("state=?")
        values.append(state.value)
    if agent:
        where.append("agent=?")
        values.append(agent)
    rows, _ = await journal.select(" AND ".join(where), values, limit=limit)
    found: list[TaskSummary] = []
    for row in rows:
        question = None
        if row.state is TaskState.INPUT_REQUIRED:
            full = await journal.load(row.id)
            question = question_of(full) if full is not None else None
        found.append(
            TaskSummary(
                id=row.id,
                agent=row.agent,
                context_id=row.context_id,
                state=row.now,
                created=datetime.fromtimestamp(row.created_at, UTC),
                updated=datetime.fromtimestamp(row.updated_at, UTC),
                parent=row.parent_task,
                text=row.text,
                attempts=row.attempts,
                waits_for=row.park,
                question=question,
            )
        )
    return found


@asynccontextmanager
async def open_network(
    manifest: Manifest | str | Path,
    *,
    store_url: str | None = None,
    tracer_provider: "TracerProvider | None" = None,
    meter_provider: "MeterProvider | None" = None,
    models: Mapping[str, ChatModel] | None = None,
    embedder: Embedder | None = None,
    kinds: Mapping[str, type[Agent]] | None = None,
) -> AsyncIterator[Network]:
    """Run the network of a manifest until the block ends; unfinished work stays in its journal.

    store_url: in place of the manifest's. tracer_provider, meter_provider: the
    host program's own. models, kinds: ready-made models and agent classes by
    name, in place of what the manifest says (for embedding and tests).

    Raises:
        ManifestError: The manifest is not one.
        StoreOwnedError: Another process runs a network on this store.
        StoreVersionError: A newer version wrote the store.
        SupervisionError: An agent crashed more often than the manifest allows.
    """
    if not isinstance(manifest, Manifest):
        manifest = await anyio.to_thread.run_sync(load_manifest, manifest)
    url = store_url or manifest.store_url
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(owned(url))
        database = await stack.enter_async_context(open_database(url, manifest.store.durability))
        journal = await stack.enter_async_context(open_journal(database))
        spans = SpanStore(database) if manifest.telemetry.spans else None
        telemetry = await stack.enter_async_context(
            open_telemetry(
                network=manifest.network,
                tracer_provider=tracer_provider,
                meter_provider=meter_provider,
                store=spans,
                content=manifest.telemetry.content,
                spans=manifest.telemetry.spans or tracer_provider is not None,
                otlp=manifest.telemetry.otlp,
            )
        )
        database.on_batch = telemetry.journal_batch
        network = Network(manifest, journal, telemetry)
        index = manifest.index_path if store_url is None else _index_beside(url)
        network.packs_or_none = await stack.enter_async_context(
            open_pack_store(database, embedder=embedder or open_embedder(manifest), index=index)
        )
        network._checker = await stack.enter_async_context(open_checker())
        servers: dict[str, ToolServer] = {}
        for name, config in manifest.tools.items():
            servers[name] = await stack.enter_async_context(
                open_tool_server(name, config, manifest.folder)
            )
        network._models = await stack.enter_async_context(open_models(manifest, models or {}))
        for name, entry in manifest.agents.items():
            if entry.url is not None:
                network._remote[name] = await stack.enter_async_context(open_link(entry.url))
        _make_hosts(network, servers, kinds or {})
        await network._recover()
        try:
            async with anyio.create_task_group() as group:
                send, receive = anyio.create_memory_object_stream[tuple[str, Exception]](inf)
                stack.enter_context(send)
                stack.enter_context(receive)
                network._exits = send
                await _start(network, group, receive)
                yield network
                network._closing = True
                group.cancel_scope.cancel()
        except BaseExceptionGroup as failures:
            raise _single(failures) from None
        finally:
            network._closing = True


async def _start(network: Network, group: TaskGroup, receive: _Exits) -> None:
    network._group = group
    group.start_soon(network._supervise, receive)
    for name in network.manifest.start_order():
        if name in network._hosts:
            await group.start(network._hosts[name].run)
    group.start_soon(network._carry_out_commands)
    for name in network._remote:
        group.start_soon(network._learn_card, name)
    network.telemetry.watch_mailboxes(
        lambda: {name: host.mailbox.depth for name, host in network._hosts.items()}
    )


def _make_hosts(
    network: Network, servers: Mapping[str, ToolServer], kinds: Mapping[str, type[Agent]]
) -> None:
    manifest = network.manifest
    policy = load_policy(manifest)
    for name in manifest.start_order():
        entry = manifest.agents[name]
        if entry.is_remote:
            continue
        kind = kinds.get(name) or load_kind(manifest, name)
        spec = _spec(manifest, name, entry)
        model = network._models.get(manifest.model_of(name)) if network._models else None
        network._hosts[name] = AgentHost(
            network,
            name,
            entry,
            lambda kind=kind, spec=spec: kind(spec),  # type: ignore[misc]  # bound per agent
            model=model,
            toolbox=ToolBox(servers, entry.tools),
            policy=policy,
            telemetry=network.telemetry,
        )


def _spec(manifest: Manifest, name: str, entry: AgentEntry) -> AgentSpec:
    schema: Mapping[str, Any] | None = None
    output_type: type[Any] | None = None
    if isinstance(entry.output, str):
        loaded: Any = load_reference(manifest, entry.output)
        output_type, schema = loaded, loaded.model_json_schema()
    elif entry.output is not None:
        schema = entry.output
    return AgentSpec(
        name=name,
        description=entry.description,
        instructions=entry.instructions,
        output_schema=schema,
        output_type=output_type,
        skills=tuple(skill.model_dump() for skill in entry.skills),
        options=entry.options,
        recall=entry.memory.recall,
        family=entry.memory.family or name,
        folder=str(manifest.folder),
    )


def _index_beside(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///") + "-index")


def _message(
    content: str | Message | Mapping[str, Any], context_id: str, message_id: str | None
) -> Message:
    if isinstance(content, Message):
        changes = {"context_id": context_id or content.context_id}
        if message_id is not None:
            changes["message_id"] = message_id
        return content.model_copy(update=changes)
    return user_message(content, context_id=context_id, message_id=message_id)


def _told(record: TaskRecord, numbered: NumberedEvent) -> NetworkEvent:
    update = numbered.event.status_update
    at = update.status.timestamp if update is not None else None
    return NetworkEvent(
        record.id, record.agent, numbered.sequence, numbered.event, at or datetime.now(UTC)
    )


def _ends(event: StreamResponse) -> bool:
    update = event.status_update
    return update is not None and is_terminal(update.status.state)


def _single(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one error that a task group wrapped, or the group itself."""
    inner = group.exceptions
    if len(inner) != 1:
        return group
    return _single(inner[0]) if isinstance(inner[0], BaseExceptionGroup) else inner[0]
