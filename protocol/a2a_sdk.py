"""A2A's own SDK as a client of this binding: its `ClientTransport` over our link.

    factory = ClientFactory(ClientConfig(supported_protocol_bindings=[BINDING_URI]))
    register_binding(factory)
    client = factory.create(card)

Needs the extra `a2a`. Importing this module imports the SDK; nothing else of ours does.
"""

from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import AsyncExitStack, aclosing, contextmanager
from typing import Any, TypeVar

from a2a import types as a2a
from a2a.client.client import ClientCallContext, ClientConfig
from a2a.client.client_factory import ClientFactory
from a2a.client.errors import A2AClientError, A2AClientTimeoutError
from a2a.client.transports.base import ClientTransport
from a2a.utils.errors import A2A_REASON_TO_ERROR
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message as Protobuf

from .caller import CarriedLink
from .envelope import BINDING_URI
from .errors import (
    DeadlineExceededError,
    PushNotificationNotSupportedError,
    RepertoryError,
)
from .operations import (
    CancelTaskRequest,
    GetTaskRequest,
    ListTasksRequest,
    NumberedEvent,
    SendMessageRequest,
)
from .service import Call
from .streamable_http import HttpCarrier, open_pool
from .tasks import StreamResponse
from .wire import WireModel

_Proto = TypeVar("_Proto", bound=Protobuf)
_EXTENSIONS = "A2A-Extensions"


class BindingTransport(ClientTransport):
    """The SDK's transport over this binding; connects when first used, until `close`."""

    def __init__(self, url: str, *, headers: Mapping[str, str] | None = None) -> None:
        self._url = url
        self._headers = headers
        self._stack = AsyncExitStack()
        self._carrier: HttpCarrier | None = None

    async def send_message(
        self, request: a2a.SendMessageRequest, *, context: ClientCallContext | None = None
    ) -> a2a.SendMessageResponse:
        """Send a message; blocks until the task ends or is interrupted unless told not to."""
        with _their_errors():
            link, call = await self._link(context)
            response = await link.send_message(SendMessageRequest.parse(_dict(request)), call)
        return _proto(response, a2a.SendMessageResponse)

    async def send_message_streaming(
        self, request: a2a.SendMessageRequest, *, context: ClientCallContext | None = None
    ) -> AsyncGenerator[a2a.StreamResponse, None]:
        """Send a message and yield its task's events in order."""
        with _their_errors():
            link, call = await self._link(context)
            asked = SendMessageRequest.parse(_dict(request))
            async for event in _plain(link.send_streaming_message(asked, call)):
                yield event

    async def subscribe(
        self, request: a2a.SubscribeToTaskRequest, *, context: ClientCallContext | None = None
    ) -> AsyncGenerator[a2a.StreamResponse, None]:
        """Yield a task as it stands, and then its events."""
        with _their_errors():
            link, call = await self._link(context)
            async for event in _plain(link.subscribe_to_task(request.id, call)):
                yield event

    async def get_task(
        self, request: a2a.GetTaskRequest, *, context: ClientCallContext | None = None
    ) -> a2a.Task:
        """The task as it stands."""
        with _their_errors():
            link, call = await self._link(context)
            task = await link.get_task(GetTaskRequest.parse(_dict(request)), call)
        return _proto(task, a2a.Task)

    async def list_tasks(
        self, request: a2a.ListTasksRequest, *, context: ClientCallContext | None = None
    ) -> a2a.ListTasksResponse:
        """The caller's tasks, by pages."""
        with _their_errors():
            link, call = await self._link(context)
            page = await link.list_tasks(ListTasksRequest.parse(_dict(request)), call)
        return _proto(page, a2a.ListTasksResponse)

    async def cancel_task(
        self, request: a2a.CancelTaskRequest, *, context: ClientCallContext | None = None
    ) -> a2a.Task:
        """Ask a task to end."""
        with _their_errors():
            link, call = await self._link(context)
            task = await link.cancel_task(CancelTaskRequest.parse(_dict(request)), call)
        return _proto(task, a2a.Task)

    async def get_extended_agent_card(
        self, request: a2a.GetExtendedAgentCardRequest, *, context: ClientCallContext | None = None
    ) -> a2a.AgentCard:
        """The card as this caller may see it."""
        with _their_errors():
            link, call = await self._link(context)
            card = await link.get_agent_card(call)
        return _proto(card, a2a.AgentCard)

    async def create_task_push_notification_config(
        self,
        request: a2a.TaskPushNotificationConfig,
        *,
        context: ClientCallContext | None = None,
    ) -> a2a.TaskPushNotificationConfig:
        """Refused: this binding pushes on streams only."""
        raise _no_webhooks()

    async def get_task_push_notification_config(
        self,
        request: a2a.GetTaskPushNotificationConfigRequest,
        *,
        context: ClientCallContext | None = None,
    ) -> a2a.TaskPushNotificationConfig:
        """Refused: this binding pushes on streams only."""
        raise _no_webhooks()

    async def list_task_push_notification_configs(
        self,
        request: a2a.ListTaskPushNotificationConfigsRequest,
        *,
        context: ClientCallContext | None = None,
    ) -> a2a.ListTaskPushNotificationConfigsResponse:
        """Refused: this binding pushes on streams only."""
        raise _no_webhooks()

    async def delete_task_push_notification_config(
        self,
        request: a2a.DeleteTaskPushNotificationConfigRequest,
        *,
        context: ClientCallContext | None = None,
    ) -> None:
        """Refused: this binding pushes on streams only."""
        raise _no_webhooks()

    async def close(self) -> None:
        """Close the connections."""
        self._carrier = None
        await self._stack.aclose()

    async def _link(self, context: ClientCallContext | None) -> tuple[CarriedLink, Call]:
        if self._carrier is None:
            pool = await self._stack.enter_async_context(open_pool())
            self._carrier = HttpCarrier(self._url, pool, headers=self._headers)
        parameters = (context.service_parameters if context else None) or {}
        listed = next(
            (value for name, value in parameters.items() if name.lower() == _EXTENSIONS.lower()), ""
        )
        extensions = [uri.strip() for uri in listed.split(",") if uri.strip()]
        call = Call().within(context.timeout if context else None)
        return CarriedLink(self._carrier, extensions=extensions), call


def register_binding(factory: ClientFactory, *, headers: Mapping[str, str] | None = None) -> None:
    """Teach `factory` this binding, so that it reaches agents whose card names it."""

    def produce(card: a2a.AgentCard, url: str, config: ClientConfig) -> ClientTransport:
        return BindingTransport(url, headers=headers)

    factory.register(BINDING_URI, produce)


@contextmanager
def _their_errors() -> Iterator[None]:
    """Raise ours as the SDK's own, told by reason."""
    try:
        yield
    except DeadlineExceededError as error:
        raise A2AClientTimeoutError(error.sentence) from error
    except RepertoryError as error:
        kind: Any = A2A_REASON_TO_ERROR.get(error.reason, A2AClientError)
        raise kind(error.sentence) from error


def _no_webhooks() -> Exception:
    reason = PushNotificationNotSupportedError.reason
    return A2A_REASON_TO_ERROR[reason]("this binding pushes on streams only")


async def _plain(
    stream: AsyncGenerator[NumberedEvent | StreamResponse, None]
    | AsyncGenerator[NumberedEvent, None],
) -> AsyncGenerator[a2a.StreamResponse, None]:
    async with aclosing(stream) as events:
        async for event in events:
            item = event.event if isinstance(event, NumberedEvent) else event
            yield _proto(item, a2a.StreamResponse)


def _dict(message: Protobuf) -> dict[str, Any]:
    return MessageToDict(message)


def _proto(model: WireModel, kind: type[_Proto]) -> _Proto:
    return ParseDict(model.wire(), kind(), ignore_unknown_fields=True)
