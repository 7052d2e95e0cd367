"""What a server of the binding answers to each operation, whatever brought the request.

`Operations` are A2A's, over an `AgentService`; `Answers` are around them: who
calls, with what, and errors as the wire has them. `binding` offers them through
the MCP SDK, and `endpoints` answers the common case over HTTP without its dispatch.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol

import anyio
from mcp import MCPError
from mcp.types import CLIENT_CAPABILITIES_META_KEY, MISSING_REQUIRED_CLIENT_CAPABILITY

from .cards import AgentCard
from .envelope import (
    CANCEL_TASK,
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
from .identity import LOCAL, Identity, identity_in
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
from .service import AgentService, Call
from .tasks import StreamResponse, Task

_LARGEST_PAGE: Final = 1000
# Reads of the log that may fall between two events before a snapshot is folded from it.
_SNAPSHOT_TRIES: Final = 3


class Asker(Protocol):
    """Who asks, as far as the transport knows; the MCP SDK's request context is one.

    `request` is Starlette's request over HTTP and None on pipes: its headers, and
    what authentication put on it, are what may be believed. `params` are the
    caller's own words.
    """

    @property
    def params(self) -> Mapping[str, Any] | None:
        """The request's parameters, `_meta` among them."""
        ...

    @property
    def request(self) -> Any:
        """The HTTP request that brought it."""
        ...


CardOf = Callable[[], AgentCard]
Identify = Callable[[Asker], Identity]
Push = Callable[[str, NumberedEvent], Awaitable[None]]
_Plain = Callable[[dict[str, Any], Mapping[str, Any], Call], Awaitable[dict[str, Any]]]
_Streamed = Callable[[Push, dict[str, Any], Mapping[str, Any], Call], Awaitable[dict[str, Any]]]


def proven_identity(asker: Asker) -> Identity:
    """What `guard` proved of the caller over HTTP; the local identity on pipes and without a guard."""
    return LOCAL if asker.request is None else identity_in(asker.request.scope)


class Answers:
    """The operations of one agent, ready for whatever brings a request."""

    def __init__(self, operations: "Operations", card_of: CardOf, identify: Identify) -> None:
        self.plain = operations.plain()
        self.streamed = operations.streamed()
        self._card_of = card_of
        self._identify = identify

    async def answer(self, method: str, asker: Asker, push: Push | None = None) -> dict[str, Any]:
        """The MCP result of an operation.

        Raises:
            MCPError: The operation failed, as the wire tells it.
        """
        params = asker.params or {}
        meta = params.get("_meta") or {}
        _require_declared(meta)
        try:
            call = call_from_meta(meta, self._identify(asker))
            _require_extensions(self._card_of(), meta)
            request = params.get("request", {})
            if not isinstance(request, dict):
                raise InvalidParamsError("'request' holds the operation's fields", path="request")
            if (plain := self.plain.get(method)) is not None:
                return await plain(request, params, call)
            assert push is not None
            return await self.streamed[method](push, request, params, call)
        except RepertoryError as error:
            code, message, data = error_to_wire(error)
            raise MCPError(code, message, data) from error


class Operations:
    """A2A's operations: the request's ProtoJSON in, the MCP result out."""

    def __init__(self, service: AgentService, card_of: CardOf, hold_seconds: float) -> None:
        self._service = service
        self._card_of = card_of
        self._hold = hold_seconds

    def plain(self) -> dict[str, "_Plain"]:
        """The operations that answer once, by method."""
        return {
            SEND_MESSAGE: self.send_message,
            GET_TASK: self.get_task,
            LIST_TASKS: self.list_tasks,
            CANCEL_TASK: self.cancel_task,
            READ_TASK_EVENTS: self.read_task_events,
            GET_EXTENDED_AGENT_CARD: self.get_extended_agent_card,
            **dict.fromkeys(PUSH_CONFIG_METHODS, self.refuse_push_config),
        }

    def streamed(self) -> dict[str, "_Streamed"]:
        """The operations that push events before they answer, by method."""
        return {
            SEND_STREAMING_MESSAGE: self.send_streaming_message,
            SUBSCRIBE_TO_TASK: self.subscribe_to_task,
        }

    async def send_message(
        self, raw: dict[str, Any], _: Mapping[str, Any], call: Call
    ) -> dict[str, Any]:
        request = _sendable(raw)
        response = None
        left = call.seconds_left()
        with anyio.move_on_after(self._hold if left is None else min(left, self._hold)):
            response = await self._service.send_message(request, call)
        if response is None:
            # Accepted long ago: the same message again is the same task, as it stands.
            response = await self._service.send_message(_immediately(request), call)
        return {"response": response.wire()}

    async def send_streaming_message(
        self, push: Push, raw: dict[str, Any], _: Mapping[str, Any], call: Call
    ) -> dict[str, Any]:
        self._require_streaming()
        request = _sendable(raw)
        response = await self._service.send_message(_immediately(request), call)
        if response.message is not None:
            return {"response": response.wire()}
        assert response.task is not None
        # A new task is told from its first event; one that goes on, from where it stands.
        after = None if request.message.task_id else 0
        return await self._push(push, response.task.id, after, call)

    async def get_task(
        self, raw: dict[str, Any], _: Mapping[str, Any], call: Call
    ) -> dict[str, Any]:
        task = await self._service.get_task(GetTaskRequest.parse(raw), call)
        return {"response": task.wire()}

    async def list_tasks(
        self, raw: dict[str, Any], _: Mapping[str, Any], call: Call
    ) -> dict[str, Any]:
        page = await self._service.list_tasks(ListTasksRequest.parse(raw), call)
        # A2A: present also on the last page.
        return {"response": {"tasks": [], "nextPageToken": "", **page.wire()}}

    async def cancel_task(
        self, raw: dict[str, Any], _: Mapping[str, Any], call: Call
    ) -> dict[str, Any]:
        task = await self._service.cancel_task(CancelTaskRequest.parse(raw), call)
        return {"response": task.wire()}

    async def subscribe_to_task(
        self, push: Push, raw: dict[str, Any], params: Mapping[str, Any], call: Call
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
        return await self._push(push, request.id, after, call)

    async def read_task_events(
        self, raw: dict[str, Any], params: Mapping[str, Any], call: Call
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
        self, _: dict[str, Any], __: Mapping[str, Any], call: Call
    ) -> dict[str, Any]:
        capabilities = self._card_of().capabilities
        if capabilities is None or not capabilities.extended_agent_card:
            raise ExtendedAgentCardNotConfiguredError("this agent has no extended card")
        return {"response": (await self._service.get_agent_card(call)).wire()}

    async def refuse_push_config(
        self, _: dict[str, Any], __: Mapping[str, Any], ___: Call
    ) -> dict[str, Any]:
        raise _no_webhooks()

    def _require_streaming(self) -> None:
        capabilities = self._card_of().capabilities
        if capabilities is None or not capabilities.streaming:
            raise UnsupportedOperationError("this agent's card offers no streaming")

    async def _push(
        self, push: Push, task_id: str, after: int | None, call: Call
    ) -> dict[str, Any]:
        """Push the task's log until it ends, on the stream of the request that asked."""
        if after is None:
            task, after = await self._snapshot(task_id, call)
            snapshot = StreamResponse(task=task)
            await push(task_id, NumberedEvent(sequence=after, event=snapshot))
        while True:
            left = call.seconds_left()
            if left is not None and left <= 0.0:
                raise DeadlineExceededError(
                    f"the call's deadline passed; task {task_id} goes on", after_sequence=after
                )
            wait = self._hold if left is None else min(self._hold, left)
            page = await self._service.read_events(task_id, after, call, wait=wait)
            for numbered in page.events:
                await push(task_id, numbered)
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


def _require_declared(meta: Mapping[str, Any]) -> None:
    """Refuse a client that did not declare the extension, as SEP-2133 asks."""
    capabilities = meta.get(CLIENT_CAPABILITIES_META_KEY)
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


def _whole(params: Mapping[str, Any], name: str, default: int) -> int:
    value = params.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InvalidParamsError(f"{name} is a whole number, zero or more", path=name)
    return value
