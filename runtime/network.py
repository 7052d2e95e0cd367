"""A network at work: what it can be asked, and how its agents are kept alive.

Asking an agent is one path, whether it runs here or elsewhere. Everything that a
network is made of is opened and closed by `opening`.
"""

import logging
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from os import getpid
from typing import TYPE_CHECKING, Any, Final, Literal

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from repertory.agents import AgentNotFoundError, ChatModel, use_of
from repertory.protocol import (
    DEFAULT_TENANT,
    LOCAL_PRINCIPAL,
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
    user_message,
    wait_for_end,
)
from repertory.xp_store import (
    Checker,
    PackStore,
    StoreError,
    crash_point,
)

from .dead_letters import DeadLetter, dead_letters, require_retryable
from .errors import NetworkError, did_you_mean, listed
from .heap import resting_collector
from .journal import Command, answer_message
from .lease import WORK
from .model_use import keep_use
from .orders import ORDERS, carry_out
from .patience import send_patiently
from .record import TaskRecord
from .replica import Replica
from .service import JournalService
from .standing import Standing, write_standing
from .stops import STOP_SECONDS, Stop, lift_stop, put_stop, subject_of
from .summaries import TaskSummary, list_tasks
from .supervision import Supervision
from .suspects import Suspects
from .tenants import counts
from .tool_server import ToolServer

if TYPE_CHECKING:
    from .host import AgentHost

logger = logging.getLogger(__name__)

# Events that wait for one reader of everything that happens.
_MOST_TOLD: Final = 4_096
# How often commands of other processes are looked for, in seconds.
_COMMAND_PERIOD = 0.25
# The same for some seconds after a replica has left one: others will follow.
_ORDER_PERIOD = 0.02
_HURRIED = 10.0
# Seconds that running work is given to end when the network drains.
GRACE = 10.0


@dataclass(frozen=True, slots=True)
class NetworkEvent:
    """One event of one task, as `Network.watch` tells it.

    missed: how many came before it and were not told, because the reader was slow.
    """

    task_id: str
    agent: str
    sequence: int
    event: StreamResponse
    at: datetime
    missed: int = 0


class _Reader:
    """One reader of everything: a bounded queue that forgets its oldest events, and counts them."""

    def __init__(self) -> None:
        self._events: deque[NetworkEvent] = deque(maxlen=_MOST_TOLD)
        self._missed = 0
        self._arrived = anyio.Event()

    def tell(self, event: NetworkEvent) -> None:
        """Keep an event for the reader; never waits."""
        self._missed += len(self._events) == _MOST_TOLD
        self._events.append(event)
        self._arrived.set()

    async def next(self) -> NetworkEvent:
        """The oldest event that is kept."""
        while not self._events:
            self._arrived = anyio.Event()
            await self._arrived.wait()
        event, missed, self._missed = self._events.popleft(), self._missed, 0
        return replace(event, missed=missed) if missed else event


@dataclass(eq=False, kw_only=True)
class Network(Replica):
    """The agents of one manifest, running. Open it with `open_network`."""

    packs: PackStore
    checker: Checker
    models: Mapping[str, ChatModel]
    remote: Mapping[str, AgentService]
    tool_servers: Mapping[str, ToolServer] = field(default_factory=dict)
    # Agents that were given up on, and why.
    down: dict[str, str] = field(default_factory=dict)
    suspects: Suspects = field(init=False)
    supervision: Supervision = field(init=False)
    _said: Standing = field(default_factory=dict)
    _heeded: set[str] = field(default_factory=set)
    # In the order in which they came: a set of objects would be told in another order each time.
    _readers: dict[_Reader, None] = field(default_factory=dict)
    _draining: bool = False
    _moved: anyio.Event | None = None
    # Tasks that this process stopped working on and has yet to give back.
    _left: set[str] = field(default_factory=set)
    # Whether something may be this process's that it does not know of, or the reverse.
    _doubts: bool = False
    _look: anyio.Event = field(default_factory=anyio.Event)
    # Agents to be roused.
    _called: "list[AgentHost]" = field(default_factory=list)
    _calls: anyio.Event = field(default_factory=anyio.Event)
    _more: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.suspects = Suspects(self.journal.database, self.lease.number, self._root_of)
        self.supervision = Supervision(self.hosts, self.manifest.supervision, self.journal.database)

    # -- what there is -----------------------------------------------------------

    def service(self, agent: str) -> AgentService:
        """The agent's A2A operations, near or far.

        Raises:
            AgentNotFoundError: No agent of that name is in the manifest.
        """
        remote = self.remote.get(agent)
        if remote is not None:
            return remote
        if agent in self.manifest.agents:
            return super().service(agent)
        raise AgentNotFoundError(
            f"no agent named {agent!r}; running: {listed(self.agents)};"
            f" {did_you_mean(agent, self.agents)}",
            name=agent,
        )

    def agent_of(self, task_id: str) -> str:
        """The agent whose task it is, "" for a task that is not in memory."""
        record = self._records.get(task_id)
        return record.agent if record is not None else ""

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
        response = await send_patiently(
            self.service(agent),
            SendMessageRequest(message=message, configuration=configuration),
            call,
            leaving=lambda: self._draining,
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
        call = Call(principal=record.principal, tenant=record.tenant)
        request = SendMessageRequest(
            message=answer_message(record, text),
            configuration=SendMessageConfiguration(return_immediately=True),
        )
        response = await self._service_of(record).send_message(request, call)
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
        return await self._service_of(record).cancel_task(CancelTaskRequest(id=record.id), call)

    async def dead_letters(self, *, agent: str = "", limit: int = 200) -> list[DeadLetter]:
        """Messages that were given up on and not tried again, newest first."""
        found, _ = await dead_letters(self.journal.database, agent=agent, limit=limit)
        return found

    async def retry(self, task_id: str) -> Task:
        """Try the message of a task that ended badly again, as a new task; the same one each time.

        Raises:
            TaskNotFoundError: No such task.
            UnsupportedOperationError: It has not ended, or it ended well.
            StoppedError: Its agent or its tenant was stopped.
        """
        record = await self._require(task_id)
        require_retryable(record)
        self._service_of(record)
        return (await JournalService(self, record.agent).retry(record)).snapshot()

    # -- the kill switch -----------------------------------------------------------

    async def stop(
        self, *, agent: str = "", tenant: str = "", reason: str = "", by: str = LOCAL_PRINCIPAL
    ) -> bool:
        """Stop all work of the network, an agent or a tenant, durably, until `resume`.

        Turns at work end where they stand and their tasks stay in the journal; tool
        servers that only stopped agents use are hung up. Whether all turns had ended
        within two seconds: a handler that shields itself, or computes without
        awaiting, cannot be ended from outside.

        Raises:
            AgentNotFoundError: No agent of that name is in the manifest.
            ValueError: Both an agent and a tenant are named.
        """
        kind, name = subject_of(agent, tenant)
        if agent:
            self.service(agent)
        await put_stop(self.journal.database, kind, name, reason=reason, by=by)
        return await self.obey_stops()

    async def resume(self, *, agent: str = "", tenant: str = "", by: str = LOCAL_PRINCIPAL) -> bool:
        """Lift a stop, and let go on what it held; whether there was one."""
        kind, name = subject_of(agent, tenant)
        lifted = await lift_stop(self.journal.database, kind, name, by=by)
        await self.obey_stops()
        return lifted

    async def obey_stops(self) -> bool:
        """Do what the stops in the journal say now; whether every stopped turn has ended."""
        await self.stops.refresh(self.journal.database)
        return await self._heed()

    async def _heed(self) -> bool:
        """Halt what the known stops hold back, and let go on what none does any more."""
        heeded = {stop.key for stop in self.stops}
        for host in self.hosts.values():
            host.halt()
        with anyio.move_on_after(STOP_SECONDS) as patience:
            async with anyio.create_task_group() as partings:
                for name, server in self.tool_servers.items():
                    users = [each for each in self.hosts if name in self.manifest.tools_of(each)]
                    if users and all(self.stops.stops_agent(agent) for agent in users):
                        partings.start_soon(server.hang_up)
                while any(host.still_halting() for host in self.hosts.values()):
                    await self._wait_for_move()
        for host in self.hosts.values():
            host.release()
        self._heeded = heeded
        self._look.set()
        return not patience.cancelled_caught

    async def cancel_quietly(self, service: AgentService, task_id: str, call: Call) -> None:
        """Cancel a callee's task for a caller that is itself being canceled."""
        with anyio.move_on_after(1.0, shield=True):
            try:
                await service.cancel_task(CancelTaskRequest(id=task_id), call)
            except RepertoryError as error:
                logger.info("task %s was not canceled with its caller: %s", task_id, error)

    async def watch(self, task_id: str | None = None) -> AsyncIterator[NetworkEvent]:
        """What happens, as it happens: one task from its beginning to its end, or everything.

        Of one task nothing is missed, at whichever process it works. Of everything, a reader
        that is thousands of events behind misses the oldest, and the next event says how
        many; no work waits for a reader.
        """
        if task_id is not None:
            record = await self._require(task_id)
            seen = 0
            while True:
                for numbered in record.events[seen:]:
                    seen += 1
                    yield _told(record, numbered)
                if record.ended:
                    return
                await record.wait_beyond(record.last_sequence)
        reader = _Reader()
        self._readers[reader] = None
        try:
            while True:
                yield await reader.next()
        finally:
            self._readers.pop(reader, None)

    async def idle(self) -> None:
        """Wait until no task is at work: each has ended, or waits for a person."""
        while True:
            while not all(self._rests(each) or self._is_held(each) for each in self._pending()):
                await self._wait_for_move()
            if not self.lease.shared or not await self.claims.at_work(self.local_agents):
                return
            # Another process works, or is about to.
            await anyio.sleep(_COMMAND_PERIOD)

    def _is_held(self, record: TaskRecord) -> bool:
        """Whether a stop keeps the task from its turn."""
        return record.id in self.hosts[record.agent].held

    def _root_of(self, record: TaskRecord) -> str:
        """The task at the head of the calls that led to this one, as far as it is in memory."""
        while (above := self._records.get(record.parent_task)) is not None:
            record = above
        return record.parent_task or record.id

    def _rests(self, record: TaskRecord) -> bool:
        """Whether a task waits for a person, by itself or through those it asked, and has said so."""
        if not record.park or record.last_sequence < record.staged:
            return False
        asked = (self._records.get(each) for each in record.park.split(","))
        return all(task is None or (not task.ended and self._rests(task)) for task in asked)

    async def drain(self, grace: float = GRACE) -> None:
        """Take no new work, give running work `grace` seconds to end, and journal the rest."""
        self._draining = True
        if self.lease.shared:
            await self._hand_over()
        with anyio.move_on_after(grace):
            while any(host.running for host in self.hosts.values()) and any(
                not record.park for record in self._pending() if self._runs(record)
            ):
                await self._wait_for_move()

    async def _hand_over(self) -> None:
        """Leave to others at once what has not begun here."""
        for record in self._pending():
            if not self._runs(record) and self.takes_work(record.principal) is False:
                self._stop_work(record)
                self._left.add(record.id)
        try:
            await self.lease.drain()
            await self._give_back()
        except StoreError as error:
            logger.warning("what has not begun here could not be left to others yet: %s", error)

    def takes_work(self, principal: str) -> bool:
        """Whether work of `principal` may begin: while draining only what running work needs."""
        return not self._draining or principal.startswith("agent:")

    def _pending(self) -> list[TaskRecord]:
        return [record for host in self.hosts.values() for record in host.pending.values()]

    def _runs(self, record: TaskRecord) -> bool:
        return record.id in self.hosts[record.agent].running

    # -- records -----------------------------------------------------------------

    def adopt(self, record: TaskRecord) -> TaskRecord:
        """Keep a task that is this process's, or has ended; an earlier record of it wins."""
        known = record.id in self._records
        record = super().adopt(record)
        if not known:
            record.listener = self._published
            if record.events and not record.ended:
                self._published(record, record.events)
        return record

    def ended(self, record: TaskRecord) -> None:
        """Remember an ended task for a while, and look for the next of its dialogue."""
        super().ended(record)
        if self.lease.shared:
            self._look.set()
        self.moved(record)

    def moved(self, _: TaskRecord | None = None) -> None:
        """Let those who wait for the network to be idle look again, and claim what there is room for."""
        if self._more:
            self._look.set()
        if self._moved is not None:
            self._moved.set()
            self._moved = None

    async def _wait_for_move(self) -> None:
        if self._moved is None:
            self._moved = anyio.Event()
        await self._moved.wait()

    def _published(self, record: TaskRecord, events: Sequence[NumberedEvent]) -> None:
        for reader in self._readers:
            for numbered in events:
                reader.tell(_told(record, numbered))

    def told_unclaimed(self) -> None:
        """Look soon for what may be claimed."""
        self._look.set()

    def lost(self, record: TaskRecord, error: StoreError) -> None:
        """Stop work on a task whose journal could not be written, and leave it to who can."""
        logger.warning("task %s goes on from its journal: %s", record.id, error)
        if record.ended:
            self.hosts[record.agent].pending.pop(record.id, None)
            self.ended(record)
        else:
            self._stop_work(record)
            self._left.add(record.id)
            self._look.set()

    async def lose(self, record: TaskRecord) -> None:
        """Stop work on a task that another process has taken, and follow it from here on."""
        self._stop_work(record)

    def _stop_work(self, record: TaskRecord) -> None:
        """Stop work on a task, and leave what waits here behind it: it would pass it otherwise."""
        host = self.hosts[record.agent]
        behind = host.behind(record)
        for each in (record, *behind):
            host.let_go(each)
            self.let_go(each)
        self._left.update(each.id for each in behind)
        self.moved()

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

    def _service_of(self, record: TaskRecord) -> AgentService:
        if record.agent not in self.local_agents:
            raise AgentNotFoundError(
                f"task {record.id} is {record.agent}'s, which does not run here; running:"
                f" {listed(self.local_agents)}",
                name=record.agent,
            )
        return self.service(record.agent)

    # -- life ----------------------------------------------------------------------

    async def start(self, group: TaskGroup) -> None:
        """Take up what is unfinished, and let the agents run in `group`, each after its `depends`."""
        await self.stops.refresh(self.journal.database)
        await self.tenants.load(self.journal.database)
        await self._write_standing({})
        if not self.lease.shared:
            await self._receive(await self.claims.all(tuple(self.hosts)))
        group.start_soon(self.supervision.run, group)
        group.start_soon(self._rouse, group)
        for host in self.hosts.values():
            await host.begin(group)
        if self.lease.shared:
            await self._claim()
        group.start_soon(self.lease.run)
        group.start_soon(self._attend)
        group.start_soon(self._hear)
        group.start_soon(self.keep_following)
        group.start_soon(keep_use, self.manifest, self.models)
        for name in self.remote:
            group.start_soon(self._learn_card, name)
        self.telemetry.watch_mailboxes(
            lambda: {name: host.waiting for name, host in self.hosts.items()}
        )

    def call(self, host: "AgentHost") -> None:
        """Rouse an agent for which something has arrived; also outside of any task."""
        self._called.append(host)
        self._calls.set()

    async def _rouse(self, group: TaskGroup) -> None:
        while True:
            await self._calls.wait()
            self._calls = anyio.Event()
            called, self._called = self._called, []
            for host in called:
                host.rise(group)

    def close(self) -> None:
        """Let what ends from now on be no news to the supervisor."""
        self.supervision.end()

    # -- claims and orders ---------------------------------------------------------

    async def _hear(self) -> None:
        """Look at once when somebody leaves something to do."""
        with self.journal.database.listen(WORK) as news:
            while True:
                await news.wait()
                self._look.set()

    async def _attend(self) -> None:
        """Claim what there are places for, and carry out the orders of other processes."""
        under_way: set[int] = set()
        hurried, lapses, looked = -_HURRIED, self.lease.lapses, anyio.current_time()
        async with anyio.create_task_group() as orders:
            while True:
                self._look = anyio.Event()
                try:
                    # A write that was on its way when its connection was cut may arrive late.
                    late = self.lease.shared and (
                        anyio.current_time() - looked > self.lease.seconds
                    )
                    if self._doubts or late or lapses != self.lease.lapses:
                        lapses, looked, self._doubts = (
                            self.lease.lapses,
                            anyio.current_time(),
                            False,
                        )
                        await self._reconcile()
                    await self._give_back()
                    claimed = await self._claim()
                    commands = await self.journal.pending_commands()
                    if await self.stops.refresh(self.journal.database):
                        # It may take seconds, and nobody else's work waits for that.
                        orders.start_soon(self._heed)
                    await self._say_standing()
                except StoreError as error:
                    logger.warning("no task can be taken now: %s", error)
                    claimed, commands, self._doubts = 0, [], True
                for command in commands:
                    if command.number not in under_way:
                        crash_point("before-command")
                        under_way.add(command.number)
                        orders.start_soon(self._carry_out, command, under_way)
                if claimed or commands:
                    # Others leave something here: more will follow.
                    hurried = anyio.current_time()
                # Over a file nobody says so when another process leaves something.
                soon = not self.lease.shared and anyio.current_time() - hurried < _HURRIED
                with anyio.move_on_after(_ORDER_PERIOD if soon else _COMMAND_PERIOD):
                    await self._look.wait()

    async def _say_standing(self) -> None:
        """Write which agents are down and which models are not asked, when that has changed."""
        standing: dict[tuple[Literal["agent", "model", "stop"], str], str] = {
            ("agent", name): why for name, why in self.down.items()
        }
        for name, model in self.models.items():
            broken = [use for use in use_of(model) if use.breaker != "closed"]
            if broken:
                standing["model", name] = "; ".join(
                    f"the circuit breaker of {use.url} is {use.breaker} ({use.said})"
                    for use in broken
                )
        for stop in self.stops:
            if stop.key in self._heeded:
                standing["stop", stop.key] = self._not_ended(stop)
        if standing != self._said:
            self._said = standing
            await self._write_standing(standing)

    def _not_ended(self, stop: Stop) -> str:
        """Which turns go on although a stop holds them back."""
        going = {name: n for name, host in self.hosts.items() if (n := host.going_on(stop))}
        if not going:
            return ""
        told = ", ".join(f"{number} of {name}" for name, number in going.items())
        return f"turns that cannot be ended from outside go on: {told}; end process {getpid()}"

    async def _write_standing(self, standing: Standing) -> None:
        await write_standing(self.journal.database, self.lease.number, standing)

    def tenant_moved(self) -> None:
        """Let every mailbox ask again which tenant may begin."""
        if self.manifest.tenants:
            for host in self.hosts.values():
                host.look_again()

    async def admit(self, tenant: str, retry_after: float = 0.0) -> None:
        """Return when another message of a tenant from outside may come in here."""
        if self.lease.shared:
            # What the others have spent and accepted counts as well.
            await super().admit(tenant, retry_after)
        elif self.manifest.tenants:
            await self.tenants.admit(tenant, partial(self.waiting_of, tenant), retry_after)

    async def waiting_of(self, tenant: str) -> int:
        """How many messages of a tenant from outside wait here, or for any process."""
        elsewhere = await super().waiting_of(tenant) if self.lease.shared else 0
        return elsewhere + sum(
            record.tenant == tenant and counts(record) and not self._runs(record)
            for record in self._pending()
        )

    async def _claim(self) -> int:
        """Take tasks that nobody works on; how many."""
        if self._draining or not self.lease.valid:
            return 0
        if not self.lease.shared:
            if not await self.claims.unclaimed():
                return 0
            return await self._receive(await self.claims.all(tuple(self.hosts)))
        open_hosts = [
            host
            for host in self.hosts.values()
            if not host.down and not self.stops.stops_agent(host.name)
        ]
        places = {host.name: free for host in open_hosts if (free := host.free_places) > 0}
        self._more = len(places) < len(open_hosts)
        if not places:
            return 0
        ids, before = await self.claims.some(places)
        strange = {
            task_id for task_id, earlier in before if earlier not in ids and not self._has(earlier)
        }
        if strange:
            self.doubt()
            self._left |= strange
        # Whoever got all that it asked for may get more when it has room.
        self._more = self._more or len(ids) >= min(places.values())
        return await self._receive([each for each in ids if each not in strange])

    def _has(self, task_id: str) -> bool:
        """Whether a task is among those that this process knows it works on."""
        return any(task_id in host.pending for host in self.hosts.values())

    def works_behind(self, agent: str, task_id: str, before: Sequence[str]) -> bool:
        """Whether a task may wait here behind what is this process's; else it is left to be claimed.

        What stands before it must be known here. A commit whose answer was lost may have made
        something this process's without its knowledge, and the task would pass it.
        """
        if all(each in self.hosts[agent].pending for each in before):
            return True
        self._left.add(task_id)
        self.doubt()
        return False

    def doubt(self) -> None:
        """Hold what the store says is this process's against what it knows, soon."""
        self._doubts = True
        self._look.set()

    async def _receive(self, ids: Sequence[str]) -> int:
        """Let claimed tasks wait for their turns."""
        if not ids:
            return 0
        deaths = await self.suspects.count(ids)
        with resting_collector():
            for loaded in await self.journal.load_all(ids):
                await self._take_up(loaded, deaths[loaded.id])
        return len(ids)

    async def _take_up(self, loaded: TaskRecord, deaths: int) -> None:
        host = self.hosts[loaded.agent]
        record = self.adopt(loaded)
        if record.ended or record.id in host.pending:
            return
        if host.is_at_work(record.id):
            # Its earlier turn is still on its way out.
            self._left.add(record.id)
            self.let_go(record)
            return
        self._left.discard(record.id)
        host.receive(record)
        if host.down:
            await host.fail_if_down(record)
            return
        if deaths >= self.manifest.supervision.deaths:
            await host.give_up_on(record, deaths)

    async def _give_back(self) -> None:
        """Leave to others what this process stopped working on, once its turns are out."""
        ready = [
            task_id
            for task_id in self._left
            if not any(host.is_at_work(task_id) for host in self.hosts.values())
        ]
        if ready:
            await self.claims.give_back(ready)
            self._left.difference_update(ready)

    async def _reconcile(self) -> None:
        """Stop work on what others took while this process slept, and leave what it forgot."""
        mine = [record for record in self._pending() if not record.ended]
        held = await self.claims.held()
        for record in mine:
            if record.id not in held and not record.ended and self.works_on(record):
                await self.lose(record)
        # What was accepted before the look is among the pending once all of it is told.
        await self.journal.settle()
        self._left |= held - {record.id for record in self._pending()}

    async def _carry_out(self, command: Command, under_way: set[int]) -> None:
        try:
            record = await self.find(command.task_id)
            if record is not None and not record.ended and not self.works_on(record):
                # It is on its way to this process, or from it.
                return
            if command.kind in ORDERS:
                # Orders of replicas: many at once, each waiting for its own room.
                outcome = await carry_out(command, self.service)
            else:
                outcome = await self._obey(command)
            await self.journal.settle_command(command, outcome)
        except StoreError as error:
            logger.warning("order %d could not be carried out now: %s", command.number, error)
        finally:
            under_way.discard(command.number)

    async def _obey(self, command: Command) -> str:
        """What came of a person's order at the command line: `done`, or the sentence of its error."""
        try:
            match command.kind:
                case "answer":
                    await self.answer(command.task_id, command.body)
                case "cancel":
                    await self.cancel(command.task_id)
                case _:
                    await self.retry(command.task_id)
        except RepertoryError as error:
            return error.sentence
        return "done"

    async def _learn_card(self, agent: str) -> None:
        try:
            card = await self.remote[agent].get_agent_card(Call())
        except RepertoryError as error:
            logger.info("the card of %s could not be fetched yet: %s", agent, error)
        else:
            self._cards[agent] = card


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
