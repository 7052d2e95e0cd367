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
    A2A_VERSION,
    CANCEL_TASK,
    CREATE_PUSH_CONFIG,
    DELETE_PUSH_CONFIG,
    EXTENSION_ID,
    GET_EXTENDED_AGENT_CARD,
    GET_PUSH_CONFIG,
    GET_TASK,
    LIST_PUSH_CONFIGS,
    LIST_TASKS,
    READ_TASK_EVENTS,
    SEND_MESSAGE,
    SEND_STREAMING_MESSAGE,
    SUBSCRIBE_TO_TASK,
    call_from_meta,
    declared_extensions,
    error_to_wire,
)
from .errors import (
    ContentTypeNotSupportedError,
    DeadlineExceededError,
    ExtensionSupportRequiredError,
    InvalidParamsError,
    PushNotificationNotSupportedError,
    RepertoryError,
    UnsupportedOperationError,
)
from .following import HOLD
from .identity import LOCAL, Identity, identity_in
from .lifecycle import apply_event, is_interrupted, is_terminal
from .media_types import accepts
from .operations import (
    CancelTaskRequest,
    DeleteTaskPushNotificationConfigRequest,
    EventPage,
    GetTaskPushNotificationConfigRequest,
    GetTaskRequest,
    ListTaskPushNotificationConfigsRequest,
    ListTasksRequest,
    NumberedEvent,
    SendMessageConfiguration,
    SendMessageRequest,
    SendMessageResponse,
    SubscribeToTaskRequest,
    TaskPushNotificationConfig,
)
from .service import AgentService, Call
from .tasks import StreamResponse, Task
from .webhooks import Webhooks

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
            require_extensions(self._card_of(), meta)
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
    """A2A's operations: the request's ProtoJSON in, the MCP result out.

    hold_seconds: how long a request may wait for a task; infinity where the
    binding says that it waits until the task ends or is interrupted. version: the
    A2A that the callers speak, in which their webhooks are told.
    """

    def __init__(
        self,
        service: AgentService,
        card_of: CardOf,
        hold_seconds: float,
        webhooks: Webhooks | None = None,
        version: str = A2A_VERSION,
    ) -> None:
        self._service = service
        self._card_of = card_of
        self._hold = hold_seconds
        self._webhooks = webhooks
        self._version = version

    def plain(self) -> dict[str, "_Plain"]:
        """The operations that answer once, by method."""
        return {
            SEND_MESSAGE: self.send_message,
            GET_TASK: self.get_task,
            LIST_TASKS: self.list_tasks,
            CANCEL_TASK: self.cancel_task,
            READ_TASK_EVENTS: self.read_task_events,
            GET_EXTENDED_AGENT_CARD: self.get_extended_agent_card,
            CREATE_PUSH_CONFIG: self.create_push_config,
            GET_PUSH_CONFIG: self.get_push_config,
            LIST_PUSH_CONFIGS: self.list_push_configs,
            DELETE_PUSH_CONFIG: self.delete_push_config,
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
        request = self._sendable(raw)
        if (config := _webhook_of(request)) is not None:
            return {"response": (await self._send_with_webhook(request, config, call)).wire()}
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
        request = self._sendable(raw)
        if (config := _webhook_of(request)) is not None:
            await self._required_webhooks().check(config)
        response = await self._service.send_message(_immediately(request), call)
        if response.message is not None:
            return {"response": response.wire()}
        assert response.task is not None
        if config is not None:
            await self._keep_webhook(config, response.task, call)
        # A new task is told from its first event; one that goes on, from where it stands.
        after = None if request.message.task_id else 0
        return await self._push(push, response.task.id, after, call)

    async def _send_with_webhook(
        self, request: SendMessageRequest, config: TaskPushNotificationConfig, call: Call
    ) -> SendMessageResponse:
        """Register the webhook before the wait for the task, which may outlast the caller."""
        await self._required_webhooks().check(config)
        response = await self._service.send_message(_immediately(request), call)
        if response.task is None:
            return response
        task = response.task
        await self._keep_webhook(config, task, call)
        wants = request.configuration
        if not (wants and wants.return_immediately):
            task = await self._settled(task, call, wants.history_length if wants else None)
        return SendMessageResponse(task=task)

    async def _keep_webhook(
        self, config: TaskPushNotificationConfig, task: Task, call: Call
    ) -> None:
        # A new task is told from its first event, whatever the sender wrote as its id.
        new = config.model_copy(update={"task_id": ""})
        await self._required_webhooks().create(new, task, call, version=self._version)

    async def _settled(self, task: Task, call: Call, length: int | None) -> Task:
        """The task once it ends or waits for someone, or as it stands after the hold."""
        with anyio.move_on_after(self._hold):
            seen = 0
            while not (is_terminal(task.status.state) or is_interrupted(task.status.state)):
                page = await self._service.read_events(task.id, seen, call, wait=HOLD)
                seen = page.last_sequence
                task = await self._service.get_task(
                    GetTaskRequest(id=task.id, history_length=length), call
                )
        return task

    async def get_task(
        self, raw: dict[str, Any], _: Mapping[str, Any], call: Call
    ) -> dict[str, Any]:
        task = await self._service.get_task(GetTaskRequest.parse(raw), call)
        return {"response": task.wire()}

    async def list_tasks(
        self, raw: dict[str, Any], _: Mapping[str, Any], call: Call
    ) -> dict[str, Any]:
        page = await self._service.list_tasks(ListTasksRequest.parse(raw), call)
        # A2A: present also where they are empty.
        counts = {"pageSize": 0, "totalSize": 0}
        return {"response": {"tasks": [], "nextPageToken": "", **counts, **page.wire()}}

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
            wait=min(float(wait), self._hold, HOLD),
            limit=min(max(1, _whole(params, "limit", 256)), _LARGEST_PAGE),
        )
        return {"response": page.wire()}

    async def get_extended_agent_card(
        self, _: dict[str, Any], __: Mapping[str, Any], call: Call
    ) -> dict[str, Any]:
        capabilities = self._card_of().capabilities
        if capabilities is None or not capabilities.extended_agent_card:
            raise UnsupportedOperationError("this agent's card offers no extended card")
        return {"response": (await self._service.get_agent_card(call)).wire()}

    async def create_push_config(
        self, raw: dict[str, Any], _: Mapping[str, Any], call: Call
    ) -> dict[str, Any]:
        webhooks = self._required_webhooks()
        config = TaskPushNotificationConfig.parse(raw)
        if not config.task_id:
            raise InvalidParamsError("taskId is missing; it names the task to push", path="taskId")
        task = await self._service.get_task(GetTaskRequest(id=config.task_id), call)
        kept = await webhooks.create(config, task, call, version=self._version)
        return {"response": kept.wire()}

    async def get_push_config(
        self, raw: dict[str, Any], _: Mapping[str, Any], call: Call
    ) -> dict[str, Any]:
        webhooks = self._required_webhooks()
        request = GetTaskPushNotificationConfigRequest.parse(raw)
        await self._service.get_task(GetTaskRequest(id=request.task_id, history_length=0), call)
        return {"response": (await webhooks.get(request)).wire()}

    async def list_push_configs(
        self, raw: dict[str, Any], _: Mapping[str, Any], call: Call
    ) -> dict[str, Any]:
        webhooks = self._required_webhooks()
        request = ListTaskPushNotificationConfigsRequest.parse(raw)
        await self._service.get_task(GetTaskRequest(id=request.task_id, history_length=0), call)
        page = await webhooks.list(request)
        return {"response": {"configs": [], "nextPageToken": "", **page.wire()}}

    async def delete_push_config(
        self, raw: dict[str, Any], _: Mapping[str, Any], call: Call
    ) -> dict[str, Any]:
        webhooks = self._required_webhooks()
        request = DeleteTaskPushNotificationConfigRequest.parse(raw)
        await self._service.get_task(GetTaskRequest(id=request.task_id, history_length=0), call)
        await webhooks.delete(request)
        return {"response": {}}

    def _required_webhooks(self) -> Webhooks:
        capabilities = self._card_of().capabilities
        if self._webhooks is None or capabilities is None or not capabilities.push_notifications:
            raise PushNotificationNotSupportedError(
                "this agent pushes to no webhook; subscribe to the task, or read its events"
            )
        return self._webhooks

    def _sendable(self, raw: dict[str, Any]) -> SendMessageRequest:
        request = SendMessageRequest.parse(raw)
        if _webhook_of(request) is not None:
            self._required_webhooks()
        for part in request.message.parts:
            if part.media_type and not accepts(self._card_of(), part.media_type):
                raise ContentTypeNotSupportedError(
                    f"this agent takes no {part.media_type!r}; its card lists what it takes",
                    media_type=part.media_type,
                )
        return request

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
            hold = min(self._hold, HOLD)
            wait = hold if left is None else min(hold, left)
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


def require_extensions(card: AgentCard, meta: Mapping[str, Any]) -> None:
    """Refuse a caller that did not declare an extension that the card requires."""
    if card.capabilities is None or not card.capabilities.extensions:
        return
    declared = declared_extensions(meta)
    for extension in card.capabilities.extensions:
        if extension.required and extension.uri not in declared:
            raise ExtensionSupportRequiredError(
                f"this agent requires the extension {extension.uri!r}; name it in a2a-extensions",
                uri=extension.uri,
            )


def _webhook_of(request: SendMessageRequest) -> TaskPushNotificationConfig | None:
    wants = request.configuration
    return None if wants is None else wants.task_push_notification_config


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
