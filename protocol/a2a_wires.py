"""A2A's standard bindings from the calling side: an operation as HTTP, an answer or its events."""

import ssl
from collections.abc import AsyncGenerator, Mapping, Sequence
from itertools import count
from typing import Any, Final, Protocol
from urllib.parse import quote

import aiohttp
import orjson

from .credentials import TokenSource
from .envelope import A2A_VERSION, error_from_wire
from .errors import (
    InvalidAgentResponseError,
    LinkError,
    RemoteError,
    RepertoryError,
    UnauthenticatedError,
)
from .service import Call
from .streamable_http import Frames

STREAMED: Final = frozenset({"SendStreamingMessage", "SubscribeToTask"})
_PATHS: Final[Mapping[str, tuple[str, str]]] = {
    "SendMessage": ("POST", "/message:send"),
    "SendStreamingMessage": ("POST", "/message:stream"),
    "GetTask": ("GET", "/tasks/{id}"),
    "ListTasks": ("GET", "/tasks"),
    "CancelTask": ("POST", "/tasks/{id}:cancel"),
    "SubscribeToTask": ("POST", "/tasks/{id}:subscribe"),
    "CreateTaskPushNotificationConfig": ("POST", "/tasks/{taskId}/pushNotificationConfigs"),
    "GetTaskPushNotificationConfig": ("GET", "/tasks/{taskId}/pushNotificationConfigs/{id}"),
    "ListTaskPushNotificationConfigs": ("GET", "/tasks/{taskId}/pushNotificationConfigs"),
    "DeleteTaskPushNotificationConfig": (
        "DELETE",
        "/tasks/{taskId}/pushNotificationConfigs/{id}",
    ),
    "GetExtendedAgentCard": ("GET", "/extendedAgentCard"),
}


class A2aWire(Protocol):
    """Takes A2A's operations to one peer, in one of its bindings."""

    async def request(self, operation: str, raw: dict[str, Any], call: Call) -> dict[str, Any]:
        """The ProtoJSON that answers an operation.

        Raises:
            LinkError: The wire failed; what became of the request is unknown.
            RepertoryError: What the peer answered, told by its reason.
        """
        ...

    def stream(
        self, operation: str, raw: dict[str, Any], call: Call
    ) -> AsyncGenerator[dict[str, Any], None]:
        """The events of a streamed operation; closing the generator closes the stream."""
        ...


class _HttpWire:
    """What both bindings share: headers, tokens, and how the wire's failures are told."""

    def __init__(
        self,
        url: str,
        session: aiohttp.ClientSession,
        *,
        headers: Mapping[str, str] | None = None,
        credentials: TokenSource | None = None,
        tls: ssl.SSLContext | None = None,
        extensions: Sequence[str] = (),
    ) -> None:
        self._url = url.rstrip("/")
        self._session = session
        self._credentials = credentials
        self._tls = True if tls is None else tls
        self._common = {**(headers or {}), "a2a-version": A2A_VERSION}
        if extensions:
            self._common["a2a-extensions"] = ",".join(extensions)

    async def _send(
        self, method: str, url: str, call: Call, *, stream: bool, **more: Any
    ) -> aiohttp.ClientResponse:
        headers = {**self._common, "accept": "text/event-stream" if stream else "application/json"}
        if call.traceparent:
            headers["traceparent"] = call.traceparent
            if call.tracestate:
                headers["tracestate"] = call.tracestate
        if self._credentials is not None:
            headers["authorization"] = f"Bearer {await self._credentials.token()}"
        if "data" in more:
            headers["content-type"] = more.pop("kind")
        try:
            return await self._session.request(method, url, headers=headers, ssl=self._tls, **more)
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            raise self._failed(error) from error

    async def _events(self, answer: aiohttp.ClientResponse) -> AsyncGenerator[dict[str, Any], None]:
        frames = Frames()
        try:
            async for chunk in answer.content.iter_any():
                for data in frames.feed(chunk):
                    yield _object(data)
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            raise self._failed(error) from error
        finally:
            answer.close()

    async def _body(self, answer: aiohttp.ClientResponse) -> bytes:
        try:
            return await answer.read()
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            raise self._failed(error) from error
        finally:
            answer.release()

    def _refused(self, answer: aiohttp.ClientResponse, body: bytes) -> RepertoryError:
        """The error of an answer that is no A2A, or A2A's own."""
        try:
            error = _object(body).get("error")
        except InvalidAgentResponseError:
            error = None
        if isinstance(error, dict):
            details = error.get("details", error.get("data"))
            return error_from_wire(error.get("code"), error.get("message"), details)
        sentence = f"{self._url} answered with HTTP status {answer.status} and no A2A"
        if answer.status in (401, 403):
            return UnauthenticatedError(sentence, url=self._url)
        if answer.status in (408, 425, 429, 502, 503, 504):
            return LinkError(sentence, url=self._url, status=answer.status)
        return RemoteError(sentence, url=self._url, remote_reason=f"HTTP_{answer.status}")

    def _failed(self, error: Exception) -> RepertoryError:
        what = "took too long" if isinstance(error, TimeoutError) else "failed"
        return LinkError(
            f"the link to {self._url} {what} ({type(error).__name__})",
            url=self._url,
            # A2A lets a peer do a message twice that came twice; so only what was never sent.
            repeatable=isinstance(error, aiohttp.ClientConnectorError),
        )


class JsonRpcWire(_HttpWire):
    """A2A's JSON-RPC binding."""

    def __init__(self, *arguments: Any, **known: Any) -> None:
        super().__init__(*arguments, **known)
        self._numbers = count(1)

    async def request(self, operation: str, raw: dict[str, Any], call: Call) -> dict[str, Any]:
        answer = await self._post(operation, raw, call, stream=False)
        return self._result(answer, await self._body(answer))

    async def stream(
        self, operation: str, raw: dict[str, Any], call: Call
    ) -> AsyncGenerator[dict[str, Any], None]:
        answer = await self._post(operation, raw, call, stream=True)
        if answer.content_type != "text/event-stream":
            yield self._result(answer, await self._body(answer))
            return
        async for event in self._events(answer):
            yield self._outcome(event)

    async def _post(
        self, operation: str, raw: dict[str, Any], call: Call, *, stream: bool
    ) -> aiohttp.ClientResponse:
        message = {"jsonrpc": "2.0", "id": next(self._numbers), "method": operation, "params": raw}
        return await self._send(
            "POST",
            self._url,
            call,
            stream=stream,
            data=orjson.dumps(message),
            kind="application/json",
        )

    def _result(self, answer: aiohttp.ClientResponse, body: bytes) -> dict[str, Any]:
        if answer.content_type != "application/json":
            raise self._refused(answer, body)
        return self._outcome(_object(body))

    def _outcome(self, message: Mapping[str, Any]) -> dict[str, Any]:
        if isinstance(error := message.get("error"), dict):
            raise error_from_wire(error.get("code"), error.get("message"), error.get("data"))
        result = message.get("result")
        return result if isinstance(result, dict) else {}


class HttpJsonWire(_HttpWire):
    """A2A's HTTP+JSON binding."""

    async def request(self, operation: str, raw: dict[str, Any], call: Call) -> dict[str, Any]:
        answer = await self._ask(operation, raw, call)
        body = await self._body(answer)
        if answer.status >= 400:
            raise self._refused(answer, body)
        return _object(body) if body else {}

    async def stream(
        self, operation: str, raw: dict[str, Any], call: Call
    ) -> AsyncGenerator[dict[str, Any], None]:
        answer = await self._ask(operation, raw, call)
        if answer.content_type != "text/event-stream":
            body = await self._body(answer)
            raise self._refused(answer, body)
        async for event in self._events(answer):
            if isinstance(error := event.get("error"), dict):
                raise error_from_wire(error.get("code"), error.get("message"), error.get("details"))
            yield event

    async def _ask(self, operation: str, raw: dict[str, Any], call: Call) -> aiohttp.ClientResponse:
        method, path = _PATHS[operation]
        left = dict(raw)
        for name in ("id", "taskId"):
            if f"{{{name}}}" in path:
                path = path.replace(f"{{{name}}}", quote(str(left.pop(name, "")), safe=""))
        more: dict[str, Any] = {}
        if method == "POST" and operation != "SubscribeToTask":
            more = {"data": orjson.dumps(left), "kind": "application/a2a+json"}
        elif left:
            more = {"params": {name: _asked(value) for name, value in left.items()}}
        stream = operation in STREAMED
        return await self._send(method, self._url + path, call, stream=stream, **more)


def _asked(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _object(raw: bytes) -> dict[str, Any]:
    try:
        message = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise InvalidAgentResponseError("the peer's answer is no JSON") from error
    if not isinstance(message, dict):
        raise InvalidAgentResponseError("the peer's answer is no JSON object")
    return message
