"""A network under HTTP: each agent over the binding, the cards, and a health page.

    /agents/{name}/mcp                              MCP, with the binding
    /agents/{name}/jsonrpc                          A2A's JSON-RPC, 1.0 and 0.3
    /agents/{name}/rest/…                           A2A's HTTP+JSON
    /agents/{name}/.well-known/agent-card.json      an agent's card
    /.well-known/agent-card.json                    the entry agent's card
    /health                                         what runs, as JSON

The app is plain ASGI: `serve` runs it on a socket, a host program mounts it
under a prefix. It listens on loopback unless told otherwise.
"""

import errno
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import anyio
import uvicorn

from repertory.protocol import (
    LOOPBACK_HOSTS,
    LOOPBACK_ORIGINS,
    AgentApp,
    AgentCard,
    AgentService,
    Call,
    CancelTaskRequest,
    EventPage,
    GetTaskRequest,
    ListTasksRequest,
    ListTasksResponse,
    OutgoingRules,
    SendMessageRequest,
    SendMessageResponse,
    Task,
    Webhooks,
    agent_app,
    agent_server,
)

from .cards import card_of_entry
from .errors import PortInUseError
from .network import Network
from .telemetry import Telemetry
from .webhooks import JournalWebhooks


class TracedService:
    """An agent's service with a SERVER span for every message that arrives."""

    def __init__(self, agent: str, service: AgentService, telemetry: Telemetry) -> None:
        self._agent = agent
        self._service = service
        self._telemetry = telemetry

    async def get_agent_card(self, call: Call) -> AgentCard:
        return await self._service.get_agent_card(call)

    async def send_message(self, request: SendMessageRequest, call: Call) -> SendMessageResponse:
        message = request.message
        with self._telemetry.a2a(
            "SendMessage",
            server=True,
            parent=call.traceparent,
            tracestate=call.tracestate,
            message_id=message.message_id,
            conversation_id=message.context_id,
            tenant=call.tenant,
            agent=self._agent,
        ) as span:
            traced = replace(call, traceparent=span.traceparent)
            response = await self._service.send_message(request, traced)
            if response.task is not None:
                span.set("a2a.task.id", response.task.id)
                span.set("a2a.task.state", response.task.status.state.value)
            return response

    async def get_task(self, request: GetTaskRequest, call: Call) -> Task:
        return await self._service.get_task(request, call)

    async def list_tasks(self, request: ListTasksRequest, call: Call) -> ListTasksResponse:
        return await self._service.list_tasks(request, call)

    async def cancel_task(self, request: CancelTaskRequest, call: Call) -> Task:
        return await self._service.cancel_task(request, call)

    async def read_events(
        self, task_id: str, after_sequence: int, call: Call, *, wait: float = 0.0, limit: int = 256
    ) -> EventPage:
        return await self._service.read_events(
            task_id, after_sequence, call, wait=wait, limit=limit
        )


def network_app(
    network: Network,
    base_url: str = "",
    *,
    allowed_hosts: Sequence[str] = LOOPBACK_HOSTS,
    allowed_origins: Sequence[str] = LOOPBACK_ORIGINS,
    outgoing: OutgoingRules = OutgoingRules(),
) -> AgentApp:
    """The network as an ASGI app; its `running()` must surround its use when mounted.

    base_url: where it is reachable, without a trailing slash; it goes into the
    cards, so that who reads one knows where to call. allowed_hosts,
    allowed_origins: the Host and Origin headers that are answered. outgoing: which
    URLs webhooks may have.
    """
    for name in network.local_agents:
        place = f"{base_url}/agents/{name}" if base_url else ""
        network.replace_card(name, card_of_entry(network.manifest, name, place))
    cards: dict[str, Callable[[], AgentCard]] = {
        name: partial(network.card_of, name) for name in network.local_agents
    }
    store = JournalWebhooks(network.journal.database)
    servers: dict[str, Any] = {}
    for name in network.local_agents:
        service = TracedService(name, network.service(name), network.telemetry)
        servers[name] = agent_server(
            service,
            card_of=cards[name],
            webhooks=Webhooks(name, service, store, outgoing),
        )
    entry = network.manifest.entry
    return agent_app(
        servers,
        cards,
        allowed_hosts=allowed_hosts,
        allowed_origins=allowed_origins,
        entry=entry if entry in cards else "",
        pages={"/health": lambda: {"network": network.name, "agents": network.agents}},
    )


class _Server(uvicorn.Server):
    """A web server that leaves signals to whoever runs the network."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def serve(
    network: Network, *, host: str = "127.0.0.1", port: int = 0, base_url: str = ""
) -> AsyncIterator[str]:
    """Serve the network until the block ends; yields the URL it is reached at.

    port: 0 takes a free one.

    Raises:
        PortInUseError: Something else listens there.
    """
    listener = _listen(host, port)
    shown = f"[{host}]" if ":" in host else host
    url = base_url or f"http://{shown}:{listener.getsockname()[1]}"
    loopback = host in ("127.0.0.1", "localhost", "::1")
    hosts = LOOPBACK_HOSTS if loopback else (*LOOPBACK_HOSTS, f"{shown}:*", shown)
    app = network_app(network, url, allowed_hosts=hosts)
    config = uvicorn.Config(
        app,
        loop="none",
        http="httptools",
        lifespan="off",
        access_log=False,
        log_level="warning",
        log_config=None,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=2,
    )
    server = _Server(config)
    async with app.running(), anyio.create_task_group() as group:
        group.start_soon(partial(server.serve, sockets=[listener]))
        try:
            yield url
        finally:
            server.should_exit = True


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(1024)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise PortInUseError(
                f"port {port} of {host} is in use by another program: stop it, or give another"
                " with --port (0 takes a free one)",
                host=host,
                port=port,
            ) from None
        raise PortInUseError(
            f"cannot listen on {host}:{port}: {error.strerror}", host=host, port=port
        ) from None
    listener.setblocking(False)
    return listener
