"""Agents under HTTP: one MCP endpoint each, and the cards where A2A clients look.

    /agents/{name}/mcp                              MCP, with the binding
    /agents/{name}/.well-known/agent-card.json      the agent's card
    /.well-known/agent-card.json                    the card, where there is one agent

These are plain ASGI, to be mounted anywhere or run alone; who may connect from
where is decided here (Host and Origin), who a caller is by `identify` of
`binding.agent_server`. Starting and stopping a web server is the runtime's.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from types import MappingProxyType
from typing import Any, Final

import orjson
from mcp.server import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecurityMiddleware, TransportSecuritySettings
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .answering import CardOf
from .envelope import STREAMED, WELL_KNOWN_CARD

LOOPBACK_HOSTS: Final = ("127.0.0.1:*", "localhost:*", "[::1]:*")
LOOPBACK_ORIGINS: Final = ("http://127.0.0.1:*", "http://localhost:*", "http://[::1]:*")
LARGEST_REQUEST: Final = 4 * 1024 * 1024


PageOf = Callable[[], Mapping[str, Any]]


class McpEndpoint:
    """An MCP server as an ASGI app, at whatever path it is mounted.

    Answers that cannot be streams take the SDK's path for plain JSON, which
    costs a third less; everything else may become an event stream.
    """

    def __init__(
        self, server: Server[Any], security: TransportSecuritySettings, largest_request: int
    ) -> None:
        self._streams = StreamableHTTPSessionManager(
            server, security_settings=security, max_request_body_size=largest_request
        )
        self._plain = StreamableHTTPSessionManager(
            server,
            security_settings=security,
            max_request_body_size=largest_request,
            json_response=True,
            stateless=True,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve requests while the block runs; enter it once."""
        async with self._streams.run(), self._plain.run():
            yield

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = next((v for k, v in scope["headers"] if k == b"mcp-method"), b"").decode("latin-1")
        plain = method.startswith("a2a/") and method not in STREAMED
        manager = self._plain if plain else self._streams
        await manager.asgi_app(scope, receive, send)


def mcp_endpoint(
    server: Server[Any],
    *,
    allowed_hosts: Sequence[str] = LOOPBACK_HOSTS,
    allowed_origins: Sequence[str] = LOOPBACK_ORIGINS,
    largest_request: int = LARGEST_REQUEST,
) -> McpEndpoint:
    """Put `server` under HTTP; `running()` of the answer must surround its use.

    Host and Origin headers outside the lists are refused, which is what keeps a
    web page from reaching an agent on this machine; `name:*` allows any port.
    """
    return McpEndpoint(server, _security(allowed_hosts, allowed_origins), largest_request)


class AgentApp:
    """Agents and their cards as one ASGI app; see the module for its paths."""

    def __init__(
        self,
        endpoints: Mapping[str, McpEndpoint],
        cards: Mapping[str, CardOf],
        security: TransportSecuritySettings,
        entry: str = "",
        pages: Mapping[str, PageOf] = MappingProxyType({}),
    ) -> None:
        self._endpoints = dict(endpoints)
        self._routes: dict[str, ASGIApp] = {
            path: json_page(page_of, security) for path, page_of in pages.items()
        }
        for name, endpoint in endpoints.items():
            self._routes[f"/agents/{name}/mcp"] = endpoint
        for name, card_of in cards.items():
            self._routes[f"/agents/{name}{WELL_KNOWN_CARD}"] = card_page(card_of, security)
        entry = entry or (next(iter(cards)) if len(cards) == 1 else "")
        if entry:
            self._routes[WELL_KNOWN_CARD] = card_page(cards[entry], security)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve requests while the block runs; for an app mounted in another's lifespan."""
        async with AsyncExitStack() as stack:
            for endpoint in self._endpoints.values():
                await stack.enter_async_context(endpoint.running())
            yield

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(self.running, receive, send)
            return
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        route = self._routes.get(path) if scope["type"] == "http" else None
        if route is None:
            await _answer(send, 404, b'{"error":"no agent here"}')
            return
        await route(scope, receive, send)


def agent_app(
    servers: Mapping[str, Server[Any]],
    cards: Mapping[str, CardOf],
    *,
    allowed_hosts: Sequence[str] = LOOPBACK_HOSTS,
    allowed_origins: Sequence[str] = LOOPBACK_ORIGINS,
    entry: str = "",
    pages: Mapping[str, PageOf] = MappingProxyType({}),
) -> AgentApp:
    """Serve the agents of `servers`, by name, and their cards.

    entry: the agent whose card stands at the root; without one, the only agent's.
    pages: further JSON pages by path, under the same Host and Origin checks.
    """
    security = _security(allowed_hosts, allowed_origins)
    endpoints = {
        name: McpEndpoint(server, security, LARGEST_REQUEST) for name, server in servers.items()
    }
    return AgentApp(endpoints, cards, security, entry, pages)


def card_page(card_of: CardOf, security: TransportSecuritySettings | None = None) -> ASGIApp:
    """Serve a card as `application/json`, to GET and HEAD only."""
    return json_page(lambda: card_of().wire(), security)


def json_page(page_of: PageOf, security: TransportSecuritySettings | None = None) -> ASGIApp:
    """Serve what `page_of` gives at each request as `application/json`, to GET and HEAD only."""
    guard = TransportSecurityMiddleware(security) if security else None

    async def page(scope: Scope, receive: Receive, send: Send) -> None:
        if guard and (refusal := await guard.validate_request(Request(scope))) is not None:
            await refusal(scope, receive, send)
        elif scope["method"] not in ("GET", "HEAD"):
            await _answer(send, 405, b"", (b"allow", b"GET, HEAD"))
        else:
            await _answer(send, 200, orjson.dumps(page_of()), head=scope["method"] == "HEAD")

    return page


def _security(hosts: Sequence[str], origins: Sequence[str]) -> TransportSecuritySettings:
    return TransportSecuritySettings(
        enable_dns_rebinding_protection=True,
        allowed_hosts=list(hosts),
        allowed_origins=list(origins),
    )


async def _answer(
    send: Send, status: int, body: bytes, *more: tuple[bytes, bytes], head: bool = False
) -> None:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        *more,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if head else body})


async def _lifespan(
    running: Callable[[], Any], receive: Callable[[], Awaitable[Message]], send: Send
) -> None:
    """Speak ASGI's lifespan protocol around `running`."""
    await receive()
    try:
        async with running():
            await send({"type": "lifespan.startup.complete"})
            await receive()
    except Exception as error:
        await send({"type": "lifespan.startup.failed", "message": str(error)})
        raise
    await send({"type": "lifespan.shutdown.complete"})
