"""A2A's JSON-RPC binding (A2A 1.0, section 9) as an ASGI app, for one agent.

One URL takes every operation by POST; streams are server-sent events, each a
JSON-RPC response. A request without `A2A-Version` speaks 0.3 and is answered in
0.3 (`a2a_03`). What an operation does is `answering`'s.
"""

import logging
from collections.abc import Mapping
from math import inf
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from . import a2a_03
from .answering import CardOf, Identify, Operations, require_extensions
from .envelope import (
    A2A_VERSION,
    VERSION_KEY,
    call_from_meta,
    error_to_wire,
    meta_of_headers,
)
from .errors import (
    ContentTypeNotSupportedError,
    RepertoryError,
    VersionNotSupportedError,
)
from .event_stream import EventStream, while_connected
from .operations import NumberedEvent
from .requests import Asked, TooLargeError, answer, read_body
from .service import AgentService, Call
from .tasks import StreamResponse, TaskStatusUpdateEvent
from .webhooks import Webhooks

_PARSE_ERROR: Final = -32700
_INVALID_REQUEST: Final = -32600
_METHOD_NOT_FOUND: Final = -32601
_INVALID_PARAMS: Final = -32602
_INTERNAL_ERROR: Final = -32603
_PREFIX: Final = "a2a/"

_log = logging.getLogger(__name__)


class JsonRpcFace:
    """One agent's operations over JSON-RPC; a POST to wherever it is mounted."""

    def __init__(
        self,
        service: AgentService,
        card_of: CardOf,
        identify: Identify,
        webhooks: Webhooks | None,
        largest_request: int,
    ) -> None:
        self._card_of = card_of
        self._identify = identify
        self._largest = largest_request
        self._spoken: dict[str, Operations] = {
            version: Operations(service, card_of, inf, webhooks, version)
            for version in (A2A_VERSION, a2a_03.VERSION)
        }
        self._plain = {name: each.plain() for name, each in self._spoken.items()}
        self._streamed = {name: each.streamed() for name, each in self._spoken.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "POST":
            await answer(send, 405, b"", (b"allow", b"POST"))
            return
        request = Request(scope)
        try:
            body = await read_body(receive, self._largest)
        except TooLargeError as error:
            await self._refuse(send, None, _INVALID_REQUEST, str(error), status=413)
            return
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json" and not kind.endswith("+json"):
            wrong = ContentTypeNotSupportedError(
                f"a request is application/json; this one is {kind or 'of no type'}"
            )
            await self._refuse(send, None, *error_to_wire(wrong))
            return
        try:
            message = orjson.loads(body)
        except orjson.JSONDecodeError:
            await self._refuse(send, None, _PARSE_ERROR, "the request is no JSON")
            return
        fault = _fault(message)
        if fault is not None:
            number = message.get("id") if isinstance(message, dict) else None
            number = number if type(number) in (int, str) else None
            await self._refuse(send, number, _INVALID_REQUEST, fault)
            return
        await self._answer(request, message, receive, send)

    async def _answer(
        self, request: Request, message: dict[str, Any], receive: Receive, send: Send
    ) -> None:
        number, method, params = message.get("id"), message["method"], message.get("params")
        meta = meta_of_headers(request)
        version = str(meta.get(VERSION_KEY, ""))
        try:
            operation, raw, spoken = _understood(method, params, version)
            known = _PREFIX + operation
            if known not in self._plain[spoken] and known not in self._streamed[spoken]:
                await self._refuse(
                    send, number, _METHOD_NOT_FOUND, f"A2A {spoken} has no method {method!r}"
                )
                return
            if not isinstance(raw, dict):
                await self._refuse(send, number, _INVALID_PARAMS, "params is an object")
                return
            asked = Asked(raw, request)
            call = call_from_meta({**meta, VERSION_KEY: A2A_VERSION}, self._identify(asked))
            require_extensions(self._card_of(), meta)
        except RepertoryError as error:
            await self._refuse(send, number, *error_to_wire(error))
            return
        exchange = _Exchange(number, spoken, receive, send)
        if known in self._streamed[spoken]:
            await exchange.stream(self._streamed[spoken][known], raw, call)
        else:
            await exchange.once(operation, self._plain[spoken][known], raw, call)

    async def _refuse(
        self,
        send: Send,
        number: Any,
        code: int,
        sentence: str,
        data: list[dict[str, Any]] | None = None,
        *,
        status: int = 200,
    ) -> None:
        error: dict[str, Any] = {"code": code, "message": sentence}
        if data:
            error["data"] = data
        await answer(send, status, orjson.dumps({"jsonrpc": "2.0", "id": number, "error": error}))


class _Exchange:
    """One request that was understood, and its answer."""

    def __init__(self, number: Any, version: str, receive: Receive, send: Send) -> None:
        self._number = number
        self._version = version
        self._receive = receive
        self._send = send

    async def once(self, operation: str, act: Any, raw: dict[str, Any], call: Call) -> None:
        reply: dict[str, Any] = {"jsonrpc": "2.0", "id": self._number}

        async def work() -> None:
            try:
                response = (await act(raw, {}, call))["response"]
                if self._version == a2a_03.VERSION:
                    reply["result"] = a2a_03.response_to_03(operation, response)
                elif operation.startswith("DeleteTask"):
                    reply["result"] = None
                else:
                    reply["result"] = response
            except RepertoryError as error:
                reply["error"] = _error(error)
            except Exception:  # noqa: BLE001 - what broke inside stays inside
                _log.exception("%s broke", operation)
                reply["error"] = {"code": _INTERNAL_ERROR, "message": "internal error"}
            await answer(self._send, 200, orjson.dumps(reply))

        if operation == "SendMessage":
            await while_connected(self._receive, work)
        else:
            await work()

    async def stream(self, act: Any, raw: dict[str, Any], call: Call) -> None:
        stream = EventStream(self._send)

        async def push(_: str, numbered: NumberedEvent) -> None:
            event = numbered.event if not stream.begun else as_update(numbered.event)
            await stream.event(self._framed(event))
            if self._version == a2a_03.VERSION and a2a_03.is_final(event):
                raise _StreamOverError

        async def work() -> None:
            try:
                result = await act(push, raw, {}, call)
                if "response" in result:
                    await stream.event(self._framed(StreamResponse.parse(result["response"])))
            except _StreamOverError:
                pass
            except RepertoryError as error:
                await self._failed(stream, _error(error))
                return
            except Exception:  # noqa: BLE001 - what broke inside stays inside
                _log.exception("a stream broke")
                await self._failed(stream, {"code": _INTERNAL_ERROR, "message": "internal error"})
                return
            await stream.end()

        await while_connected(self._receive, work, stream)

    async def _failed(self, stream: EventStream, error: dict[str, Any]) -> None:
        reply = orjson.dumps({"jsonrpc": "2.0", "id": self._number, "error": error})
        if stream.begun:
            await stream.event(reply)
            await stream.end()
        else:
            await answer(self._send, 200, reply)

    def _framed(self, event: StreamResponse) -> bytes:
        shown = a2a_03.event_to_03(event) if self._version == a2a_03.VERSION else event.wire()
        return orjson.dumps({"jsonrpc": "2.0", "id": self._number, "result": shown})


class _StreamOverError(Exception):
    """A 0.3 stream has shown its final event."""


def as_update(event: StreamResponse) -> StreamResponse:
    """An event as it may follow the first of a stream, which alone is a task (A2A 1.0, 3.1.2)."""
    if event.task is None:
        return event
    task = event.task
    update = TaskStatusUpdateEvent(task_id=task.id, context_id=task.context_id, status=task.status)
    return StreamResponse(status_update=update)


def _understood(method: str, params: Any, version: str) -> tuple[str, Any, str]:
    """The operation, its 1.0 ProtoJSON, and the version that the caller speaks."""
    asked = ".".join(version.split(".")[:2]) or a2a_03.VERSION
    if asked == A2A_VERSION:
        return method, {} if params is None else params, A2A_VERSION
    if asked != a2a_03.VERSION:
        raise VersionNotSupportedError(
            f"A2A {version!r} is not spoken here; supported: '1.0' and '0.3'",
            version=version,
            supported="1.0, 0.3",
        )
    operation = a2a_03.METHODS.get(method)
    if operation is None:
        raise VersionNotSupportedError(
            f"A2A 0.3, which a missing A2A-Version means, has no method {method!r}; for 1.0 send"
            " the header A2A-Version: 1.0",
            version=version or a2a_03.VERSION,
            supported="1.0, 0.3",
        )
    given: Mapping[str, Any] | Any = {} if params is None else params
    return operation, a2a_03.request_from_03(operation, given), a2a_03.VERSION


def _error(error: RepertoryError) -> dict[str, Any]:
    code, message, data = error_to_wire(error)
    return {"code": code, "message": message, "data": data}


def _fault(message: Any) -> str | None:
    """What keeps `message` from being a JSON-RPC request; None when nothing does."""
    if isinstance(message, list):
        return "batches are not supported; send one request"
    if not isinstance(message, dict):
        return "a request is an object"
    if message.get("jsonrpc") != "2.0":
        return "jsonrpc is '2.0'"
    if not isinstance(message.get("method"), str) or not message["method"]:
        return "method is missing"
    if type(message.get("id")) not in (int, str, float, type(None)):
        return "id is a number or a string"
    return None
