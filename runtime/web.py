"""A network under HTTP: each agent over the binding, the cards, and a health page.

    /agents/{name}/mcp                              MCP, with the binding
    /agents/{name}/jsonrpc                          A2A's JSON-RPC, 1.0 and 0.3
    /agents/{name}/rest/…                           A2A's HTTP+JSON
    /agents/{name}/.well-known/agent-card.json      an agent's card
    /.well-known/agent-card.json                    the entry agent's card
    /experience/mcp                                 the packs, as an MCP server
    /health                                         what runs, as JSON

The app is plain ASGI: `serve` runs it on a socket, a host program mounts it
under a prefix. It listens on loopback unless told otherwise.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

import anyio

from repertory.protocol import (
    LOOPBACK_HOSTS,
    LOOPBACK_ORIGINS,
    AgentCard,
    AgentService,
    Call,
    CancelTaskRequest,
    EventPage,
    GetTaskRequest,
    Guard,
    Limits,
    ListTasksRequest,
    ListTasksResponse,
    OutgoingRules,
    Refusal,
    SendMessageRequest,
    SendMessageResponse,
    Task,
    Webhooks,
    agent_app,
    agent_server,
)
from repertory.xp_store import Offices, experience_server

from .admission import authentication_of, require_guarded, signer_of
from .audit import AuditEntry
from .cards import card_of_entry, secured
from .host_pages import pages_of, tools_of
from .listener import listen, web_server
from .manifest_serve import LOOPBACK
from .network import Network
from .replica import Replica
from .telemetry import Telemetry
from .webhooks import JournalWebhooks

Served = Network | Replica
"""What is put under HTTP: a network, or a replica beside the process that runs it."""


EXPERIENCE: Final = "/experience/mcp"


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
    network: Served,
    base_url: str = "",
    *,
    allowed_hosts: Sequence[str] = LOOPBACK_HOSTS,
    allowed_origins: Sequence[str] = LOOPBACK_ORIGINS,
    outgoing: OutgoingRules = OutgoingRules(),
) -> Guard:
    """The network as an ASGI app; its `running()` must surround its use when mounted.

    base_url: where it is reachable, without a trailing slash; it goes into the
    cards, so that who reads one knows where to call. allowed_hosts,
    allowed_origins: the Host and Origin headers that are answered. outgoing: which
    URLs webhooks and OAuth documents may have. Who may call, and how much, is the
    manifest's `serve`.
    """
    signer = signer_of(network.manifest)
    for name in network.local_agents:
        place = f"{base_url}/agents/{name}" if base_url else ""
        card = secured(card_of_entry(network.manifest, name, place), network.manifest)
        network.replace_card(name, card if signer is None else signer.sign(card))
    cards: dict[str, Callable[[], AgentCard]] = {
        name: partial(network.card_of, name) for name in network.local_agents
    }
    store = JournalWebhooks(network.journal.database, network.lease.number)
    servers: dict[str, Any] = {}
    for name in network.local_agents:
        service = TracedService(name, network.service(name), network.telemetry)
        agent = network.manifest.agents[name]
        servers[name] = agent_server(
            service,
            card_of=cards[name],
            webhooks=Webhooks(name, service, store, outgoing, look_seconds=network.lease.seconds),
            tools=tools_of(cards[name](), agent),
            pages=pages_of(name, agent, network.packs if isinstance(network, Network) else None),
            state_keys=(network.state_key,),
        )
    entry = network.manifest.entry
    app = agent_app(
        servers,
        cards,
        allowed_hosts=allowed_hosts,
        allowed_origins=allowed_origins,
        entry=entry if entry in cards else "",
        pages={"/health": lambda: {"network": network.name, "agents": network.agents}},
        beside=(
            {EXPERIENCE: experience_server(network.packs, Offices())}
            if isinstance(network, Network)
            else {}
        ),
    )

    async def tell(refusal: Refusal) -> None:
        await network.audit.note(
            AuditEntry(
                refusal.what,
                principal=refusal.principal,
                tenant=refusal.tenant,
                target=refusal.path,
                reason=f"from {refusal.client}: {refusal.reason}",
            )
        )

    return Guard(
        app,
        hosts=allowed_hosts,
        origins=allowed_origins,
        limits=Limits(**network.manifest.serve.limits.model_dump()),
        authentication=authentication_of(
            network.manifest, network.journal.database, base_url, outgoing
        ),
        tell=tell,
    )


@asynccontextmanager
async def serve(
    network: Served, *, host: str = "127.0.0.1", port: int = 0, base_url: str = ""
) -> AsyncIterator[str]:
    """Serve the network until the block ends; yields the URL it is reached at.

    port: 0 takes a free one. base_url: in place of the manifest's `serve.url`.

    Raises:
        UnguardedError: Others than this machine could reach it, and nobody is asked who he is.
        PortInUseError: Something else listens there.
        InputError: The files of TLS, keys or a card's signature cannot be used.
    """
    serving = network.manifest.serve
    require_guarded(network.manifest, host)
    listener = listen(host, port)
    try:
        url = base_url or serving.url or _address(network, host, listener.getsockname()[1])
        app = network_app(
            network,
            url,
            allowed_hosts=(*LOOPBACK_HOSTS, *serving.hosts, *_hosts(host, url)),
            allowed_origins=(*LOOPBACK_ORIGINS, *serving.origins),
            outgoing=OutgoingRules(allow=serving.outgoing),
        )
        server = web_server(app, network.manifest)
    except BaseException:
        listener.close()
        raise
    async with app.running(), anyio.create_task_group() as group:
        group.start_soon(partial(server.serve, sockets=[listener]))
        try:
            yield url
        finally:
            server.should_exit = True


def _address(network: Served, host: str, port: int) -> str:
    scheme = "https" if network.manifest.serve.tls is not None else "http"
    return f"{scheme}://{_shown(host)}:{port}"


def _hosts(host: str, url: str) -> tuple[str, ...]:
    """The Host headers of those who call `url`, or the address that is listened on."""
    if host in (*LOOPBACK, "0.0.0.0", "::"):  # noqa: S104 - not listened on, compared with
        return (urlsplit(url).netloc,)
    return urlsplit(url).netloc, _shown(host), f"{_shown(host)}:*"


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
