"""A second process over a network's journal: it serves the agents that another process runs.

It reads tasks and events itself, and leaves what changes something as orders for
the owner (`orders`). So a stream begun at one process goes on at the other, and an
answer or a cancellation given to one reaches the work in the other. It runs no
agent, no model and no tool.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from weakref import WeakValueDictionary

import anyio
import anyio.to_thread

from repertory.protocol import (
    AgentCard,
    AgentService,
    BusyError,
    Call,
    CancelTaskRequest,
    DeadlineExceededError,
    EventPage,
    GetTaskRequest,
    ListTasksRequest,
    ListTasksResponse,
    SendMessageConfiguration,
    SendMessageRequest,
    SendMessageResponse,
    Task,
    TaskNotFoundError,
    is_interrupted,
    is_terminal,
)
from repertory.xp_store import open_database

from .audit import Audit
from .cards import card_of_entry
from .journal import Journal, command_outcome, open_journal, owner_of
from .listing import list_of, trimmed
from .manifest import Manifest
from .orders import CANCEL, SEND, order_body, outcome_of
from .record import TaskRecord
from .spans import SpanStore
from .state_key import state_key
from .telemetry import Telemetry, open_telemetry

# How often the journal is looked at while somebody waits for it, in seconds.
_LOOK_SECONDS: Final = 0.02
_IDLE_SECONDS: Final = 0.1
_OWNER_SECONDS: Final = 5.0


class ReplicaService:
    """An agent of the network, over the journal; implements `repertory.protocol.AgentService`."""

    def __init__(self, replica: "Replica", agent: str) -> None:
        self._replica = replica
        self._agent = agent

    async def get_agent_card(self, call: Call) -> AgentCard:
        return self._replica.card_of(self._agent)

    async def send_message(self, request: SendMessageRequest, call: Call) -> SendMessageResponse:
        wants = request.configuration or SendMessageConfiguration()
        immediately = wants.model_copy(update={"return_immediately": True})
        asked = request.model_copy(update={"configuration": immediately})
        task = await self._order(SEND, "", asked.wire(), call)
        if not wants.return_immediately:
            task = await self._settled(task.id, call)
        return SendMessageResponse(task=trimmed(task, wants.history_length))

    async def get_task(self, request: GetTaskRequest, call: Call) -> Task:
        record = await self._load(request.id, call)
        return trimmed(record.snapshot(), request.history_length)

    async def list_tasks(self, request: ListTasksRequest, call: Call) -> ListTasksResponse:
        async def load(task_id: str) -> TaskRecord:
            return await self._load(task_id, call)

        return await list_of(self._replica.journal, self._agent, request, call, load)

    async def cancel_task(self, request: CancelTaskRequest, call: Call) -> Task:
        await self._load(request.id, call)
        return await self._order(CANCEL, request.id, request.wire(), call)

    async def read_events(
        self, task_id: str, after_sequence: int, call: Call, *, wait: float = 0.0, limit: int = 256
    ) -> EventPage:
        owner = (self._agent, call.tenant, call.principal)
        with anyio.move_on_after(wait) as patience:
            while True:
                # Taken before the look, so that what comes after it is not missed.
                changed = self._replica.changed(task_id)
                page = await self._replica.journal.page(
                    task_id, owner, max(0, after_sequence), max(1, limit)
                )
                if page is None:
                    raise _absent(task_id, self._agent)
                if wait <= 0.0 or page.events or page.ended:
                    return page
                await changed.wait()
        assert patience.cancelled_caught
        return await self.read_events(task_id, after_sequence, call, limit=limit)

    async def _settled(self, task_id: str, call: Call) -> Task:
        while True:
            changed = self._replica.changed(task_id)
            task = (await self._load(task_id, call)).snapshot()
            if is_terminal(task.status.state) or is_interrupted(task.status.state):
                return task
            await changed.wait()

    async def _load(self, task_id: str, call: Call) -> TaskRecord:
        owner = (self._agent, call.tenant, call.principal)
        record = await self._replica.journal.load(task_id, owner=owner)
        if record is None:
            raise _absent(task_id, self._agent)
        return record

    async def _order(self, kind: str, task_id: str, request: dict[str, Any], call: Call) -> Task:
        """Leave an order and wait for its outcome.

        Raises:
            BusyError: No process runs the network now; nothing was ordered.
            DeadlineExceededError: The call's deadline passed; the order stands.
        """
        await self._replica.require_owner()
        body = order_body(self._agent, request, call)
        number = await self._replica.journal.post(kind, task_id, body)
        left = call.seconds_left()
        with anyio.move_on_after(left):
            while True:
                outcome = await command_outcome(self._replica.journal.database, number)
                if outcome:
                    return outcome_of(outcome)
                await anyio.sleep(_LOOK_SECONDS)
        raise DeadlineExceededError(
            "the call's deadline passed before its order was carried out; the same message may be"
            " sent again"
        )


@dataclass(eq=False)
class Replica:
    """A network as another process serves it. Open it with `open_replica`."""

    manifest: Manifest
    journal: Journal
    telemetry: Telemetry
    audit: Audit
    url: str
    state_key: bytes
    _cards: dict[str, AgentCard] = field(default_factory=dict)
    # Held by those who wait, so what nobody waits for is not kept.
    _waiting: "WeakValueDictionary[str, anyio.Event]" = field(default_factory=WeakValueDictionary)
    _owned_until: float = 0.0

    @property
    def name(self) -> str:
        return self.manifest.network

    @property
    def agents(self) -> tuple[str, ...]:
        """The names of all agents, as the manifest orders them."""
        return tuple(self.manifest.agents)

    @property
    def local_agents(self) -> tuple[str, ...]:
        """The names of the agents that the network runs."""
        return tuple(name for name, entry in self.manifest.agents.items() if not entry.is_remote)

    def service(self, agent: str) -> AgentService:
        """The agent's A2A operations, over the journal."""
        return ReplicaService(self, agent)

    def card_of(self, agent: str) -> AgentCard:
        """The agent's card."""
        card = self._cards.get(agent)
        if card is None:
            card = self._cards[agent] = card_of_entry(self.manifest, agent)
        return card

    def replace_card(self, agent: str, card: AgentCard) -> None:
        """Give an agent the card with the address it is served at here."""
        self._cards[agent] = card

    def changed(self, task_id: str) -> anyio.Event:
        """What is set when the task's log has grown."""
        event = self._waiting.get(task_id)
        if event is None:
            event = self._waiting[task_id] = anyio.Event()
        return event

    async def drain(self) -> None:
        """Nothing is at work here that another process would have to finish."""

    async def require_owner(self) -> None:
        """Return when a process runs the network.

        Raises:
            BusyError: None does.
        """
        now = anyio.current_time()
        if now < self._owned_until:
            return
        if await anyio.to_thread.run_sync(owner_of, self.url) is None:
            raise BusyError(
                f"no process runs network {self.name} now, so nothing new is taken up; what was"
                " accepted is in the journal",
                retry_after=_OWNER_SECONDS,
            )
        self._owned_until = now + 1.0

    async def watch(self) -> None:
        """Wake those who wait for a task whose log has grown, until cancelled."""
        mark = -1
        while True:
            # Whoever began to wait meanwhile looked at the log before.
            waiting = bool(self._waiting)
            mark, grown = await self.journal.changed_since(mark)
            for task_id in grown.intersection(self._waiting):
                if (event := self._waiting.pop(task_id, None)) is not None:
                    event.set()
            await anyio.sleep(_LOOK_SECONDS if waiting else _IDLE_SECONDS)


@asynccontextmanager
async def open_replica(
    manifest: Manifest, *, store_url: str | None = None
) -> AsyncIterator[Replica]:
    """Serve beside the process that runs the network of `manifest`, over the same store.

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
        key = await state_key(database)
        replica = Replica(manifest, journal, telemetry, Audit(database), url, key)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(replica.watch)
            yield replica
            tasks.cancel_scope.cancel()


def _absent(task_id: str, agent: str) -> TaskNotFoundError:
    return TaskNotFoundError(f"no task {task_id!r} at {agent}", task_id=task_id)
