"""The serving half of the binding: an `AgentService` offered as an MCP extension.

`agent_server` makes an MCP server whose extension methods are A2A's operations,
and whose resource is the agent's card. `serve_stdio` runs it on this process's
pipes; `endpoints` puts it under HTTP. The specification is docs/binding.md.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Literal, cast

import anyio
import orjson
from mcp import MCPError
from mcp.server import Server
from mcp.server.context import CallNext, HandlerResult, ServerMiddleware, ServerRequestContext
from mcp.server.stdio import stdio_server
from mcp.types import (
    INVALID_PARAMS,
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    CallToolRequestParams,
    CallToolResult,
    DiscoverResult,
    InputRequiredResult,
    ListResourcesResult,
    ListToolsResult,
    Notification,
    NotificationParams,
    PaginatedRequestParams,
    ReadResourceRequestParams,
    ReadResourceResult,
    RequestParams,
    Resource,
    ServerNotification,
    TextResourceContents,
)
from mcp.types.version import MODERN_PROTOCOL_VERSIONS

from .cards import AgentCard
from .envelope import (
    A2A_VERSION,
    BINDING_URI,
    CANCEL_TASK,
    CARD_RESOURCE,
    EXTENSION_ID,
    GET_EXTENDED_AGENT_CARD,
    GET_TASK,
    LIST_TASKS,
    PUSH_CONFIG_METHODS,
    READ_TASK_EVENTS,
    SEND_MESSAGE,
    SEND_STREAMING_MESSAGE,
    SUBSCRIBE_TO_TASK,
    call_from_meta,
    declared_extensions,
    error_to_wire,
)
from .errors import (
    DeadlineExceededError,
    ExtendedAgentCardNotConfiguredError,
    ExtensionSupportRequiredError,
    InvalidParamsError,
    PushNotificationNotSupportedError,
    RepertoryError,
    UnsupportedOperationError,
)
from .following import HOLD
from .lifecycle import apply_event, is_terminal
from .operations import (
    CancelTaskRequest,
    EventPage,
    GetTaskRequest,
    ListTasksRequest,
    NumberedEvent,
    SendMessageConfiguration,
    SendMessageRequest,
    SubscribeToTaskRequest,
)
from .service import DEFAULT_TENANT, LOCAL_PRINCIPAL, AgentService, Call
from .tasks import StreamResponse, Task

Context = ServerRequestContext[Any, Any]
CardOf = Callable[[], AgentCard]
Identify = Callable[[Context], tuple[str, str]]
_Operation = Callable[[Context, dict[str, Any], Mapping[str, Any], Call], Awaitable[dict[str, Any]]]

_CAPABILITIES_KEY: Final = "io.modelcontextprotocol/clientCapabilities"
_LARGEST_PAGE: Final = 1000
# Reads of the log that may fall between two events before a snapshot is folded from it.
_SNAPSHOT_TRIES: Final = 3


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


def local_identity(_: Context) -> tuple[str, str]:
    """The principal and tenant of a caller that nothing identifies."""
    return LOCAL_PRINCIPAL, DEFAULT_TENANT


def agent_server(
    service: AgentService,
    card_of: CardOf,
    *,
    identify: Identify = local_identity,
    hold_seconds: float = HOLD,
    on_list_tools: Callable[[Context, PaginatedRequestParams | None], Awaitable[ListToolsResult]]
    | None = None,
    on_call_tool: Callable[
        [Context, CallToolRequestParams], Awaitable[CallToolResult | InputRequiredResult]
    ]
    | None = None,
    get_tool_input_schema: Callable[[str], Mapping[str, Any] | None] | None = None,
) -> Server[Any]:
    """Make an MCP server that offers `service` as docs/binding.md says.

    card_of: the card as it is to be shown now; asked at every request for it.
    identify: who is calling, as (principal, tenant); a caller's own word is never
    taken. hold_seconds: how long a request may wait for a task. The last three
    are the MCP SDK's own, for an agent that offers its skills as tools as well.
    """
    card = card_of()
    server: Server[Any] = Server(
        card.name,
        version=card.version,
        description=card.description or None,
        on_list_tools=on_list_tools,
        on_call_tool=on_call_tool,
        get_tool_input_schema=get_tool_input_schema,
        on_list_resources=_list_resources,
        on_read_resource=_card_reader(card_of),
    )
    # A2A operations get spans of A2A's own from the runtime; a second one around
    # each costs a third of the handler's time and says nothing more.
    server.middleware[:] = [_not_for_operations(each) for each in server.middleware]
    server.extensions[EXTENSION_ID] = _settings(card)

    async def discover(_: Context, __: RequestParams) -> DiscoverResult:
        server.extensions[EXTENSION_ID] = _settings(card_of())
        return DiscoverResult(
            supported_versions=list(MODERN_PROTOCOL_VERSIONS),
            capabilities=server.get_capabilities(protocol_version=MODERN_PROTOCOL_VERSIONS[-1]),
        )

    server.add_request_handler("server/discover", RequestParams, discover)
    operations = _Operations(service, card_of, hold_seconds)
    for method, operation in operations.by_method().items():
        server.add_request_handler(method, RequestParams, _handler(operation, card_of, identify))
    return server


async def serve_stdio(server: Server[Any]) -> None:
    """Serve MCP on this process's pipes until the other side closes them."""
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())


class _Operations:
    """A2A's operations: the request's ProtoJSON in, the MCP result out."""

    def __init__(self, service: AgentService, card_of: CardOf, hold_seconds: float) -> None:
        self._service = service
        self._card_of = card_of
        self._hold = hold_seconds

    def by_method(self) -> dict[str, _Operation]:
        table: dict[str, _Operation] = {
            SEND_MESSAGE: self.send_message,
            SEND_STREAMING_MESSAGE: self.send_streaming_message,
            GET_TASK: self.get_task,
            LIST_TASKS: self.list_tasks,
            CANCEL_TASK: self.cancel_task,
            SUBSCRIBE_TO_TASK: self.subscribe_to_task,
            READ_TASK_EVENTS: self.read_task_events,
            GET_EXTENDED_AGENT_CARD: self.get_extended_agent_card,
        }
        return {**table, **dict.fromkeys(PUSH_CONFIG_METHODS, self.refuse_push_config)}

    async def send_message(
        self, _: Context, raw: dict[str, Any], __: Mapping[str, Any], call: Call
    ) -> dict[str, Any]:
        request = _sendable(raw)
        response = None
        with anyio.move_on_after(self._hold):
            response = await self._service.send_message(request, call)
        if response is None:
            # Accepted long ago: the same message again is the same task, as it stands.
            response = await self._service.send_message(_immediately(request), call)
        return {"response": response.wire()}

    async def send_streaming_message(
        self, ctx: Context, raw: dict[str, Any], _: Mapping[str, Any], call: Call
    ) -> dict[str, Any]:
        self._require_streaming()
        request = _sendable(raw)
        response = await self._service.send_message(_immediately(request), call)
        if response.message is not None:
            return {"response": response.wire()}
        assert response.task is not None
        # A new task is told from its first event; one that goes on, from where it stands.
        after = None if request.message.task_id else 0
        return await self._push(ctx, response.task.id, after, call)

    async def get_task(
        self, _: Context, raw: dict[str, Any], __: Mapping[str, Any], call: Call
    ) -> dict[str, Any]:
        task = await self._service.get_task(GetTaskRequest.parse(raw), call)
        return {"response": task.wire()}

    async def list_tasks(
        self, _: Context, raw: dict[str, Any], __: Mapping[str, Any], call: Call
    ) -> dict[str, Any]:
        page = await self._service.list_tasks(ListTasksRequest.parse(raw), call)
        # A2A: present also on the last page.
        return {"response": {"tasks": [], "nextPageToken": "", **page.wire()}}

    async def cancel_task(
        self, _: Context, raw: dict[str, Any], __: Mapping[str, Any], call: Call
    ) -> dict[str, Any]:
        task = await self._service.cancel_task(CancelTaskRequest.parse(raw), call)
        return {"response": task.wire()}

    async def subscribe_to_task(
        self, ctx: Context, raw: dict[str, Any], params: Mapping[str, Any], call: Call
    ) -> dict[str, Any]:
        self._require_streaming()
        request = SubscribeToTaskRequest.parse(raw)
        after = None
        if "afterSequence" in params:
            after = _whole(params, "afterSequence", 0)
        else:
            task = await self._service.get_task(GetTaskRequest(id=request.id), call)
            if is_terminal(task.status.state):
                raise UnsupportedOperationError(
                    f"task {task.id} has ended; read its events with afterSequence", task_id=task.id
                )
        return await self._push(ctx, request.id, after, call)

    async def read_task_events(
        self, _: Context, raw: dict[str, Any], params: Mapping[str, Any], call: Call
    ) -> dict[str, Any]:
        request = SubscribeToTaskRequest.parse(raw)
        wait = params.get("waitSeconds", 0.0)
        if isinstance(wait, bool) or not isinstance(wait, int | float) or not wait >= 0.0:
            raise InvalidParamsError("waitSeconds is a number, zero or more", path="waitSeconds")
        page = await self._service.read_events(
            request.id,
            _whole(params, "afterSequence", 0),
            call,
            wait=min(float(wait), self._hold),
            limit=min(max(1, _whole(params, "limit", 256)), _LARGEST_PAGE),
        )
        return {"response": page.wire()}

    async def get_extended_agent_card(
        self, _: Context, __: dict[str, Any], ___: Mapping[str, Any], call: Call
    ) -> dict[str, Any]:
        capabilities = self._card_of().capabilities
        if capabilities is None or not capabilities.extended_agent_card:
            raise ExtendedAgentCardNotConfiguredError("this agent has no extended card")
        return {"response": (await self._service.get_agent_card(call)).wire()}

    async def refuse_push_config(
        self, _: Context, __: dict[str, Any], ___: Mapping[str, Any], ____: Call
    ) -> dict[str, Any]:
        raise _no_webhooks()

    def _require_streaming(self) -> None:
        capabilities = self._card_of().capabilities
        if capabilities is None or not capabilities.streaming:
            raise UnsupportedOperationError("this agent's card offers no streaming")

    async def _push(
        self, ctx: Context, task_id: str, after: int | None, call: Call
    ) -> dict[str, Any]:
        """Push the task's log until it ends, on the stream of the request that asked."""
        if after is None:
            task, after = await self._snapshot(task_id, call)
            await _send(
                ctx, task_id, NumberedEvent(sequence=after, event=StreamResponse(task=task))
            )
        while True:
            left = call.seconds_left()
            if left is not None and left <= 0.0:
                raise DeadlineExceededError(
                    f"the call's deadline passed; task {task_id} goes on", after_sequence=after
                )
            wait = self._hold if left is None else min(self._hold, left)
            page = await self._service.read_events(task_id, after, call, wait=wait)
            for numbered in page.events:
                await _send(ctx, task_id, numbered)
                after = numbered.sequence
            if page.ended:
                return {"taskId": task_id, "lastSequence": after}

    async def _snapshot(self, task_id: str, call: Call) -> tuple[Task, int]:
        """The task, and the sequence of the last event that made it what it is."""
        before = await self._last_sequence(task_id, call)
        for _ in range(_SNAPSHOT_TRIES):
            task = await self._service.get_task(GetTaskRequest(id=task_id), call)
            after = await self._last_sequence(task_id, call)
            if before == after:
                return task, after
            before = after
        folded: Task | None = None
        seen = 0
        while folded is None or seen < before:
            page: EventPage = await self._service.read_events(task_id, seen, call)
            for numbered in page.events:
                folded = apply_event(folded, numbered.event)
                seen = numbered.sequence
        return folded, seen

    async def _last_sequence(self, task_id: str, call: Call) -> int:
        return (await self._service.read_events(task_id, 0, call, limit=1)).last_sequence


def _handler(
    operation: _Operation, card_of: CardOf, identify: Identify
) -> Callable[[Context, RequestParams], Awaitable[dict[str, Any]]]:
    """An MCP handler around an operation: who calls, with what, and errors as A2A has them."""

    async def handle(ctx: Context, _: RequestParams) -> dict[str, Any]:
        params = ctx.params or {}
        meta = params.get("_meta") or {}
        _require_declared(meta)
        try:
            call = call_from_meta(meta, *identify(ctx))
            _require_extensions(card_of(), meta)
            request = params.get("request", {})
            if not isinstance(request, dict):
                raise InvalidParamsError("'request' holds the operation's fields", path="request")
            return await operation(ctx, request, params, call)
        except RepertoryError as error:
            code, message, data = error_to_wire(error)
            raise MCPError(code, message, data) from error

    return handle


def _require_declared(meta: Mapping[str, Any]) -> None:
    """Refuse a client that did not declare the extension, as SEP-2133 asks."""
    capabilities = meta.get(_CAPABILITIES_KEY)
    extensions = capabilities.get("extensions") if isinstance(capabilities, dict) else None
    if not isinstance(extensions, dict) or EXTENSION_ID not in extensions:
        raise MCPError(
            MISSING_REQUIRED_CLIENT_CAPABILITY,
            f"the client did not declare the extension {EXTENSION_ID!r}",
            {"requiredCapabilities": {"extensions": {EXTENSION_ID: {}}}},
        )


def _require_extensions(card: AgentCard, meta: Mapping[str, Any]) -> None:
    if card.capabilities is None or not card.capabilities.extensions:
        return
    declared = declared_extensions(meta)
    for extension in card.capabilities.extensions:
        if extension.required and extension.uri not in declared:
            raise ExtensionSupportRequiredError(
                f"this agent requires the extension {extension.uri!r}; name it in a2a-extensions",
                uri=extension.uri,
            )


async def _list_resources(_: Context, __: PaginatedRequestParams | None) -> ListResourcesResult:
    card = Resource(
        uri=CARD_RESOURCE,
        name="agent-card",
        description="What this agent is, can do and where it is reached (A2A).",
        mime_type="application/json",
    )
    return ListResourcesResult(resources=[card])


def _card_reader(
    card_of: CardOf,
) -> Callable[[Context, ReadResourceRequestParams], Awaitable[ReadResourceResult]]:
    async def read(_: Context, params: ReadResourceRequestParams) -> ReadResourceResult:
        if params.uri != CARD_RESOURCE:
            raise MCPError(INVALID_PARAMS, f"Resource not found: {params.uri}", {"uri": params.uri})
        text = orjson.dumps(card_of().wire()).decode()
        contents = TextResourceContents(uri=CARD_RESOURCE, mime_type="application/json", text=text)
        return ReadResourceResult(contents=[contents])

    return read


def _settings(card: AgentCard) -> dict[str, Any]:
    return {"binding": BINDING_URI, "versions": [A2A_VERSION], "card": card.wire()}


def _not_for_operations(middleware: ServerMiddleware[Any]) -> ServerMiddleware[Any]:
    async def around(ctx: Context, call_next: CallNext) -> HandlerResult:
        if ctx.method.startswith("a2a/"):
            return await call_next(ctx)
        return await middleware(ctx, call_next)

    return around


def _sendable(raw: dict[str, Any]) -> SendMessageRequest:
    request = SendMessageRequest.parse(raw)
    wants = request.configuration
    if wants is not None and wants.task_push_notification_config is not None:
        raise _no_webhooks()
    return request


def _no_webhooks() -> PushNotificationNotSupportedError:
    return PushNotificationNotSupportedError(
        "this agent pushes to no webhook; subscribe to the task, or read its events"
    )


def _immediately(request: SendMessageRequest) -> SendMessageRequest:
    wants = request.configuration or SendMessageConfiguration()
    if wants.return_immediately:
        return request
    wants = wants.model_copy(update={"return_immediately": True})
    return request.model_copy(update={"configuration": wants})


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


def _whole(params: Mapping[str, Any], name: str, default: int) -> int:
    value = params.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InvalidParamsError(f"{name} is a whole number, zero or more", path=name)
    return value
