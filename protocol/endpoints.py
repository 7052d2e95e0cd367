"""Agents under HTTP: one MCP endpoint each, and the cards where A2A clients look.

    /agents/{name}/mcp                              MCP, with the binding
    /agents/{name}/jsonrpc                          A2A's JSON-RPC
    /agents/{name}/rest/…                           A2A's HTTP+JSON, and its openapi.json
    /agents/{name}/.well-known/agent-card.json      the agent's card
    /.well-known/agent-card.json                    the card, where there is one agent

These are plain ASGI, to be mounted anywhere or run alone; who may connect from
where is decided here (Host and Origin), who a caller is by `identify` of
`binding.agent_server`. Starting and stopping a web server is the runtime's.
"""

import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from hashlib import sha256
from types import MappingProxyType
from typing import Any, Final

import orjson
from mcp import MCPError
from mcp.server import Server
from mcp.server.streamable_http import check_accept_headers
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecurityMiddleware, TransportSecuritySettings
from mcp.shared.inbound import ERROR_CODE_HTTP_STATUS
from mcp.types import (
    CLIENT_CAPABILITIES_META_KEY,
    INTERNAL_ERROR,
    PROTOCOL_VERSION_META_KEY,
    SERVER_INFO_META_KEY,
)
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .a2a_03 import card_fields_03
from .answering import CardOf
from .binding import AgentServer
from .envelope import MCP_VERSION, WELL_KNOWN_CARD
from .http_json import HttpJsonFace
from .jsonrpc import JsonRpcFace
from .requests import Asked, answer

LOOPBACK_HOSTS: Final = ("127.0.0.1:*", "localhost:*", "[::1]:*")
LOOPBACK_ORIGINS: Final = ("http://127.0.0.1:*", "http://localhost:*", "http://[::1]:*")
LARGEST_REQUEST: Final = 4 * 1024 * 1024
_GUARDED: Final = (b"host", b"origin", b"content-type", b"accept")
_COUNTING: Final = frozenset({*_GUARDED, b"content-length", b"mcp-method", b"mcp-protocol-version"})
_MOST_KNOWN: Final = 256
# How long a client may go on with a card that it has.
_CARD_SECONDS: Final = 300

_log = logging.getLogger(__name__)


PageOf = Callable[[], Mapping[str, Any]]


class McpEndpoint:
    """An MCP server as an ASGI app, at whatever path it is mounted.

    A well-formed operation that answers once is answered here, since the SDK's
    dispatch costs more than the rest of such a call; whatever is not exactly so
    goes to the SDK, which also says what is wrong with it.
    """

    def __init__(
        self, server: Server[Any], security: TransportSecuritySettings, largest_request: int
    ) -> None:
        self._server = server
        self._sdk = StreamableHTTPSessionManager(
            server, security_settings=security, max_request_body_size=largest_request
        )
        self._shortcut = _Shortcut(server, security, largest_request)
        self._running = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve requests while the block runs; enter it once."""
        async with self._sdk.run():
            self._running = True
            try:
                yield
            finally:
                self._running = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._running and (headers := self._shortcut.fits(scope)) is not None:
            body, receive = await _whole_body(receive)
            short = await self._shortcut.answer(scope, headers, body)
            if short is not None:
                await answer(send, *short)
                return
        await self._sdk.asgi_app(scope, receive, send)


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


class _Shortcut:
    """Answers operations without the SDK's dispatch where a request leaves nothing to decide."""

    def __init__(
        self, server: Server[Any], security: TransportSecuritySettings, largest_request: int
    ) -> None:
        self._server = server if isinstance(server, AgentServer) else None
        self._plain = frozenset(self._server.answers.plain) if self._server else frozenset()
        self._guard = TransportSecurityMiddleware(security)
        self._largest = largest_request
        # Host, Origin, Content-Type and Accept that were found in order.
        self._known: set[tuple[str, ...]] = set()
        self._stamp = orjson.Fragment(
            orjson.dumps({SERVER_INFO_META_KEY: server.server_info_stamp})
        )

    def fits(self, scope: Scope) -> dict[bytes, str] | None:
        """The headers that count, when they are those of an operation that answers once."""
        if self._server is None or scope["method"] != "POST" or not self._server.untouched:
            return None
        headers: dict[bytes, str] = {}
        for name, value in scope["headers"]:
            if name in _COUNTING:
                if name in headers:
                    return None
                headers[name] = value.decode("latin-1")
        length = headers.get(b"content-length", "")
        if (
            headers.get(b"mcp-method") not in self._plain
            or headers.get(b"mcp-protocol-version") != MCP_VERSION
            or not length.isdigit()
            or int(length) > self._largest
        ):
            return None
        return headers

    async def answer(
        self, scope: Scope, headers: dict[bytes, str], body: bytes
    ) -> tuple[int, bytes] | None:
        """The HTTP status and body; None when the SDK is to see the request."""
        known = tuple(headers.get(name, "") for name in _GUARDED)
        if known not in self._known:
            http = Request(scope)
            if (
                await self._guard.validate_request(http, is_post=True) is not None
                or not check_accept_headers(http)[0]
            ):
                return None
            if len(self._known) < _MOST_KNOWN:
                self._known.add(known)
        method = headers[b"mcp-method"]
        message = _well_formed(body, method)
        if message is None:
            return None
        assert self._server is not None
        reply: dict[str, Any] = {"jsonrpc": "2.0", "id": message["id"]}
        status = 200
        try:
            asked = Asked(message["params"], Request(scope))
            result = await self._server.answers.answer(method, asked)
            reply["result"] = {**result, "resultType": "complete", "_meta": self._stamp}
        except MCPError as error:
            reply["error"] = error.error.model_dump(mode="json", exclude_none=True)
            status = ERROR_CODE_HTTP_STATUS.get(error.error.code, 200)
        except Exception:  # noqa: BLE001 - as in the MCP SDK, what broke inside stays inside
            _log.exception("%s broke", method)
            reply["error"] = {"code": INTERNAL_ERROR, "message": "Internal server error"}
        return status, orjson.dumps(reply)


def _well_formed(body: bytes, method: str) -> dict[str, Any] | None:
    """The JSON-RPC request in `body`, when it has all that MCP asks of one."""
    try:
        message = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
        return None
    number, params = message.get("id"), message.get("params")
    meta = params.get("_meta") if isinstance(params, dict) else None
    if (
        message.get("method") != method
        or type(number) not in (int, str)
        or not isinstance(meta, dict)
        or meta.get(PROTOCOL_VERSION_META_KEY) != MCP_VERSION
        or not isinstance(meta.get(CLIENT_CAPABILITIES_META_KEY), dict)
    ):
        return None
    return message


async def _whole_body(receive: Receive) -> tuple[bytes, Receive]:
    """The request's body, and a `receive` that gives it once more to whoever needs it."""
    messages: list[Message] = []
    body = b""
    more = True
    while more:
        message = await receive()
        messages.append(message)
        body += message.get("body", b"")
        more = message["type"] == "http.request" and message.get("more_body", False)

    async def again() -> Message:
        return messages.pop(0) if messages else await receive()

    return body, again


class AgentApp:
    """Agents and their cards as one ASGI app; see the module for its paths."""

    def __init__(
        self,
        servers: Mapping[str, Server[Any]],
        cards: Mapping[str, CardOf],
        security: TransportSecuritySettings,
        entry: str = "",
        pages: Mapping[str, PageOf] = MappingProxyType({}),
        beside: Mapping[str, Server[Any]] = MappingProxyType({}),
    ) -> None:
        self._servers = dict(servers)
        self._endpoints = {
            name: McpEndpoint(server, security, LARGEST_REQUEST)
            for name, server in {**servers, **beside}.items()
        }
        self._routes: dict[str, ASGIApp] = {
            path: json_page(page_of, security) for path, page_of in pages.items()
        }
        self._routes |= {path: self._endpoints[path] for path in beside}
        self._below: dict[str, ASGIApp] = {}
        for name, server in servers.items():
            self._routes[f"/agents/{name}/mcp"] = self._endpoints[name]
            if isinstance(server, AgentServer):
                self._offer_a2a(name, server, security)
        for name, card_of in cards.items():
            self._routes[f"/agents/{name}{WELL_KNOWN_CARD}"] = card_page(card_of, security)
        entry = entry or (next(iter(cards)) if len(cards) == 1 else "")
        if entry:
            self._routes[WELL_KNOWN_CARD] = card_page(cards[entry], security)

    def _offer_a2a(
        self, name: str, server: AgentServer, security: TransportSecuritySettings
    ) -> None:
        """A2A's two standard bindings over HTTP, beside the agent's MCP endpoint."""
        parts = (server.service, server.card_of, server.identify, server.webhooks, LARGEST_REQUEST)
        rest, prefix = HttpJsonFace(*parts), f"/agents/{name}/rest"

        async def below(scope: Scope, receive: Receive, send: Send) -> None:
            path = _path_of(scope).removeprefix(prefix) or "/"
            await rest.respond(path, scope, receive, send)

        self._routes[f"/agents/{name}/jsonrpc"] = host_checked(JsonRpcFace(*parts), security)
        self._below[prefix] = host_checked(below, security)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve requests while the block runs; for an app mounted in another's lifespan."""
        async with AsyncExitStack() as stack:
            for server in self._servers.values():
                if isinstance(server, AgentServer):
                    await stack.enter_async_context(server.host.pages.running())
                    if server.webhooks is not None:
                        await stack.enter_async_context(server.webhooks.running())
            for endpoint in self._endpoints.values():
                await stack.enter_async_context(endpoint.running())
            yield

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(self.running, receive, send)
            return
        route = self._route_of(_path_of(scope)) if scope["type"] == "http" else None
        if route is None:
            await answer(send, 404, b'{"error":"no agent here"}')
            return
        await route(_trimmed(scope), receive, send)

    def _route_of(self, path: str) -> ASGIApp | None:
        if (route := self._routes.get(path)) is not None:
            return route
        # /agents/{name}/rest/…: the first four segments name the face.
        return self._below.get("/".join(path.split("/", 4)[:4]))


def agent_app(
    servers: Mapping[str, Server[Any]],
    cards: Mapping[str, CardOf],
    *,
    allowed_hosts: Sequence[str] = LOOPBACK_HOSTS,
    allowed_origins: Sequence[str] = LOOPBACK_ORIGINS,
    entry: str = "",
    pages: Mapping[str, PageOf] = MappingProxyType({}),
    beside: Mapping[str, Server[Any]] = MappingProxyType({}),
) -> AgentApp:
    """Serve the agents of `servers`, by name, and their cards.

    entry: the agent whose card stands at the root; without one, the only agent's.
    pages: further JSON pages by path, under the same Host and Origin checks; beside: MCP
    servers that are no agents, by path.
    """
    security = _security(allowed_hosts, allowed_origins)
    return AgentApp(servers, cards, security, entry, pages, beside)


def card_page(card_of: CardOf, security: TransportSecuritySettings | None = None) -> ASGIApp:
    """Serve a card as `application/json`, to GET and HEAD only, also to clients of A2A 0.3.

    They find its fields beside those of 1.0, where an interface of the card speaks 0.3.
    """

    def page() -> dict[str, Any]:
        card = card_of()
        return {**card.wire(), **card_fields_03(card)}

    return json_page(page, security, max_age=_CARD_SECONDS)


def json_page(
    page_of: PageOf, security: TransportSecuritySettings | None = None, *, max_age: int = 0
) -> ASGIApp:
    """Serve what `page_of` gives at each request as `application/json`, to GET and HEAD only.

    With `max_age`, in seconds, it may be kept, and is asked for anew by its ETag.
    """

    async def page(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in ("GET", "HEAD"):
            await answer(send, 405, b"", (b"allow", b"GET, HEAD"))
            return
        body = orjson.dumps(page_of())
        if not max_age:
            await answer(send, 200, body, head=scope["method"] == "HEAD")
            return
        tag = f'"{sha256(body).hexdigest()[:32]}"'.encode()
        kept = ((b"cache-control", f"max-age={max_age}".encode()), (b"etag", tag))
        asked = dict(scope["headers"]).get(b"if-none-match", b"")
        if tag in {each.strip().removeprefix(b"W/") for each in asked.split(b",")}:
            await send({"type": "http.response.start", "status": 304, "headers": list(kept)})
            await send({"type": "http.response.body", "body": b""})
            return
        await answer(send, 200, body, *kept, head=scope["method"] == "HEAD")

    return page if security is None else host_checked(page, security)


def host_checked(app: ASGIApp, security: TransportSecuritySettings) -> ASGIApp:
    """Refuse requests whose Host or Origin is not allowed, before `app` sees them."""
    middleware = TransportSecurityMiddleware(security)
    known: set[tuple[tuple[bytes, bytes], ...]] = set()

    async def checked(scope: Scope, receive: Receive, send: Send) -> None:
        names = tuple(each for each in scope["headers"] if each[0] in (b"host", b"origin"))
        if names not in known:
            refusal = await middleware.validate_request(Request(scope))
            if refusal is not None:
                await refusal(scope, receive, send)
                return
            if len(known) < _MOST_KNOWN:
                known.add(names)
        await app(scope, receive, send)

    return checked


def _trimmed(scope: Scope) -> Scope:
    """`scope` with header values as RFC 9110, 5.5, reads them; httptools leaves blanks after them."""
    headers = scope["headers"]
    if all(value == value.strip(b" \t") for _, value in headers):
        return scope
    return {**scope, "headers": [(name, value.strip(b" \t")) for name, value in headers]}


def _path_of(scope: Scope) -> str:
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def _security(hosts: Sequence[str], origins: Sequence[str]) -> TransportSecuritySettings:
    return TransportSecuritySettings(
        enable_dns_rebinding_protection=True,
        allowed_hosts=list(hosts),
        allowed_origins=list(origins),
    )


async def _lifespan(
    running: Callable[[], AbstractAsyncContextManager[None]], receive: Receive, send: Send
) -> None:
    """Speak ASGI's lifespan protocol around `running`."""
    await receive()
    phase = "startup"
    try:
        async with running():
            await send({"type": "lifespan.startup.complete"})
            phase = "shutdown"
            await receive()
    except Exception as error:
        await send({"type": f"lifespan.{phase}.failed", "message": str(error)})
        raise
    await send({"type": "lifespan.shutdown.complete"})
