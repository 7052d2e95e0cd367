"""The serving half of the binding: an `AgentService` offered as an MCP extension.

`agent_server` makes an MCP server whose extension methods are A2A's operations,
and which is a server for any MCP host beside (`host`). `serve_stdio` runs it on this process's
pipes; `endpoints` puts it under HTTP. What is answered is `answering`'s. The
specification is docs/binding.md.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any, Literal, cast

from mcp.server import Server
from mcp.server.context import CallNext, HandlerResult, ServerMiddleware, ServerRequestContext
from mcp.server.stdio import stdio_server
from mcp.types import (
    DiscoverResult,
    Notification,
    NotificationParams,
    RequestParams,
    ServerNotification,
)
from mcp.types.version import MODERN_PROTOCOL_VERSIONS

from .answering import Answers, CardOf, Identify, Operations, proven_identity
from .cards import AgentCard
from .envelope import A2A_VERSION, BINDING_URI, EXTENSION_ID
from .following import HOLD
from .host import Host
from .host_resources import HostPages
from .host_tools import HostTool
from .operations import NumberedEvent
from .service import AgentService
from .webhooks import Webhooks

Context = ServerRequestContext[Any, Any]


class TaskEventParams(NotificationParams):
    """What a pushed event says; `request_id` tells streams on one pipe apart."""

    request_id: str | int
    task_id: str
    sequence: int
    event: dict[str, Any]


class TaskEventNotification(Notification[TaskEventParams, Literal["notifications/a2a/taskEvent"]]):
    """An event of a task's log, pushed on the stream that asked for it."""

    method: Literal["notifications/a2a/taskEvent"] = "notifications/a2a/taskEvent"
    params: TaskEventParams


class AgentServer(Server[Any]):
    """The MCP SDK's server for one agent, with what `endpoints` needs for the other faces."""

    service: AgentService
    card_of: CardOf
    identify: Identify
    webhooks: Webhooks | None
    host: Host
    answers: Answers
    _middleware_of_ours: list[ServerMiddleware[Any]]

    def offer(self, answers: Answers) -> None:
        """Answer A2A's operations, and from now on know middleware that others add."""
        self.answers = answers
        for method in (*answers.plain, *answers.streamed):
            self.add_request_handler(method, RequestParams, _handler(method, answers))
        # A2A operations get spans of A2A's own from the runtime; a second one around
        # each costs a third of the handler's time and says nothing more.
        self.middleware[:] = [_not_for_operations(each) for each in self.middleware]
        self._middleware_of_ours = list(self.middleware)

    @property
    def untouched(self) -> bool:
        """Whether nobody added middleware, which would have to see every request."""
        return self.middleware == self._middleware_of_ours


def agent_server(
    service: AgentService,
    card_of: CardOf,
    *,
    identify: Identify = proven_identity,
    hold_seconds: float = HOLD,
    webhooks: Webhooks | None = None,
    tools: Sequence[HostTool] | None = None,
    pages: HostPages | None = None,
    state_keys: Sequence[bytes] = (),
) -> AgentServer:
    """Make an MCP server that offers `service` as docs/binding.md says, and to any MCP host.

    card_of: the card as it is to be shown now; asked at every request.
    identify: who is calling, by default as `guard` proved it; a caller's own word is never
    taken. hold_seconds: how long a request may wait for a task. webhooks: what
    sends push notifications, for a card that offers them. tools, pages and
    state_keys are the host face's: `Host` says what they are.
    """
    card = card_of()
    server = AgentServer(card.name, version=card.version, description=card.description or None)
    server.extensions[EXTENSION_ID] = _settings(card)

    async def discover(_: Context, __: RequestParams) -> DiscoverResult:
        server.extensions[EXTENSION_ID] = _settings(card_of())
        return DiscoverResult(
            supported_versions=list(MODERN_PROTOCOL_VERSIONS),
            capabilities=server.get_capabilities(protocol_version=MODERN_PROTOCOL_VERSIONS[-1]),
        )

    server.add_request_handler("server/discover", RequestParams, discover)
    server.service, server.card_of, server.identify = service, card_of, identify
    server.webhooks = webhooks
    server.host = Host(service, card_of, identify, tools=tools, pages=pages, keys=state_keys)
    server.host.install(server)
    operations = Operations(service, card_of, hold_seconds, webhooks)
    server.offer(Answers(operations, card_of, identify))
    return server


async def serve_stdio(server: Server[Any]) -> None:
    """Serve MCP on this process's pipes until the other side closes them."""
    async with AsyncExitStack() as stack:
        if isinstance(server, AgentServer):
            await stack.enter_async_context(server.host.pages.running())
        read, write = await stack.enter_async_context(stdio_server())
        await server.run(read, write, server.create_initialization_options())


def _handler(
    method: str, answers: Answers
) -> Callable[[Context, RequestParams], Awaitable[dict[str, Any]]]:
    async def handle(ctx: Context, _: RequestParams) -> dict[str, Any]:
        async def push(task_id: str, numbered: NumberedEvent) -> None:
            await _send(ctx, task_id, numbered)

        return await answers.answer(method, ctx, push)

    return handle


def _settings(card: AgentCard) -> dict[str, Any]:
    return {"binding": BINDING_URI, "versions": [A2A_VERSION], "card": card.wire()}


def _not_for_operations(middleware: ServerMiddleware[Any]) -> ServerMiddleware[Any]:
    async def around(ctx: Context, call_next: CallNext) -> HandlerResult:
        if ctx.method.startswith("a2a/"):
            return await call_next(ctx)
        return await middleware(ctx, call_next)

    return around


async def _send(ctx: Context, task_id: str, numbered: NumberedEvent) -> None:
    assert ctx.request_id is not None
    params = TaskEventParams(
        request_id=ctx.request_id,
        task_id=task_id,
        sequence=numbered.sequence,
        event=numbered.event.wire(),
    )
    # The SDK's type names the core's notifications only; it sends any.
    notification = cast(ServerNotification, TaskEventNotification(params=params))
    await ctx.session.send_notification(notification, related_request_id=ctx.request_id)
