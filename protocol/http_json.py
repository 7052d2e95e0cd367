"""A2A's HTTP+JSON binding (A2A 1.0, section 11) as an ASGI app, for one agent.

Paths are below wherever it is mounted, each also with a tenant before it.
Errors have the shape of AIP-193. What an operation does is `answering`'s; the
same paths as an OpenAPI document are `openapi`'s.
"""

import logging
from collections.abc import Mapping
from math import inf
from re import Pattern
from re import compile as pattern
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

import orjson
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from .a2a_03 import VERSION as VERSION_03
from .answering import CardOf, Identify, Operations, require_extensions
from .envelope import VERSION_KEY, call_from_meta, error_to_wire, meta_of_headers
from .errors import (
    BusyError,
    ContentTypeNotSupportedError,
    InvalidParamsError,
    RepertoryError,
)
from .event_stream import EventStream, while_connected
from .jsonrpc import as_update
from .openapi import openapi_document
from .operations import NumberedEvent
from .requests import Asked, TooLargeError, answer, read_body
from .service import AgentService, Call
from .webhooks import Webhooks

_KIND: Final = b"application/a2a+json"

# A2A 1.0, section 5.4, as a2a-sdk 1.3.0 has it; the last ten reasons are ours.
STATUSES: Final[Mapping[str, tuple[int, str]]] = {
    "TASK_NOT_FOUND": (404, "NOT_FOUND"),
    "TASK_NOT_CANCELABLE": (400, "FAILED_PRECONDITION"),
    "PUSH_NOTIFICATION_NOT_SUPPORTED": (400, "FAILED_PRECONDITION"),
    "UNSUPPORTED_OPERATION": (400, "FAILED_PRECONDITION"),
    "CONTENT_TYPE_NOT_SUPPORTED": (400, "INVALID_ARGUMENT"),
    "INVALID_AGENT_RESPONSE": (500, "INTERNAL"),
    "EXTENDED_AGENT_CARD_NOT_CONFIGURED": (400, "FAILED_PRECONDITION"),
    "EXTENSION_SUPPORT_REQUIRED": (400, "FAILED_PRECONDITION"),
    "VERSION_NOT_SUPPORTED": (400, "FAILED_PRECONDITION"),
    "INVALID_PARAMS": (400, "INVALID_ARGUMENT"),
    "DEADLINE_EXCEEDED": (504, "DEADLINE_EXCEEDED"),
    "BUDGET_EXCEEDED": (429, "RESOURCE_EXHAUSTED"),
    "CALL_CYCLE": (409, "FAILED_PRECONDITION"),
    "BUSY": (503, "UNAVAILABLE"),
    "NETWORK_CLOSED": (503, "UNAVAILABLE"),
    "STOPPED": (503, "UNAVAILABLE"),
    "STORE_FULL": (507, "RESOURCE_EXHAUSTED"),
    "STORE_AWAY": (503, "UNAVAILABLE"),
    "UNAUTHENTICATED": (401, "UNAUTHENTICATED"),
    "PERMISSION_DENIED": (403, "PERMISSION_DENIED"),
}

_log = logging.getLogger(__name__)


class _Route(NamedTuple):
    method: str
    path: Pattern[str]
    operation: str


def _route(method: str, path: str, operation: str) -> _Route:
    # An id is one segment; a verb after a colon is not part of it.
    named = path.replace("{taskId}", r"(?P<taskId>[^/:]+)").replace("{id}", r"(?P<id>[^/:]+)")
    return _Route(method, pattern(rf"(?:/(?P<tenant>[^/:]+))?{named}"), operation)


ROUTES: Final = (
    _route("POST", "/message:send", "SendMessage"),
    _route("POST", "/message:stream", "SendStreamingMessage"),
    _route("GET", "/tasks", "ListTasks"),
    _route("GET", "/tasks/{id}", "GetTask"),
    _route("POST", "/tasks/{id}:cancel", "CancelTask"),
    _route("POST", "/tasks/{id}:subscribe", "SubscribeToTask"),
    _route("GET", "/tasks/{id}:subscribe", "SubscribeToTask"),
    _route("POST", "/tasks/{taskId}/pushNotificationConfigs", "CreateTaskPushNotificationConfig"),
    _route("GET", "/tasks/{taskId}/pushNotificationConfigs", "ListTaskPushNotificationConfigs"),
    _route("GET", "/tasks/{taskId}/pushNotificationConfigs/{id}", "GetTaskPushNotificationConfig"),
    _route(
        "DELETE",
        "/tasks/{taskId}/pushNotificationConfigs/{id}",
        "DeleteTaskPushNotificationConfig",
    ),
    _route("GET", "/extendedAgentCard", "GetExtendedAgentCard"),
)
_STREAMED: Final = frozenset({"SendStreamingMessage", "SubscribeToTask"})
_WITH_BODY: Final = frozenset(
    {"SendMessage", "SendStreamingMessage", "CreateTaskPushNotificationConfig", "CancelTask"}
)
_NUMBERS: Final = frozenset({"historyLength", "pageSize"})
_FLAGS: Final = {"true": True, "false": False}
_QUERY: Final[Mapping[str, frozenset[str]]] = {
    "ListTasks": frozenset(
        {
            "contextId",
            "status",
            "pageSize",
            "pageToken",
            "historyLength",
            "statusTimestampAfter",
            "includeArtifacts",
        }
    ),
    "GetTask": frozenset({"historyLength"}),
    "ListTaskPushNotificationConfigs": frozenset({"pageSize", "pageToken"}),
}


class HttpJsonFace:
    """One agent's operations as resources; `path` is below where it is mounted."""

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
        operations = Operations(service, card_of, inf, webhooks)
        self._acts: dict[str, Any] = {
            method.removeprefix("a2a/"): act
            for method, act in (*operations.plain().items(), *operations.streamed().items())
        }

    async def respond(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request for `path`."""
        if path == "/openapi.json" and scope["method"] in ("GET", "HEAD"):
            document = openapi_document(self._card_of())
            await answer(send, 200, orjson.dumps(document), head=scope["method"] == "HEAD")
            return
        found = _matching(path)
        route = next((each for each, _ in found if each.method == scope["method"]), None)
        if route is None:
            await _not_here(send, [each.method for each, _ in found])
            return
        values = next(values for each, values in found if each is route)
        request = Request(scope)
        try:
            raw = {**await self._given(route, request, receive), **values}
            meta = meta_of_headers(request)
            call = self._call(raw, request, meta)
            require_extensions(self._card_of(), meta)
        except RepertoryError as error:
            await _refuse(send, error)
            return
        except TooLargeError as error:
            await _failed(send, 413, "INVALID_ARGUMENT", str(error), [])
            return
        if route.operation in _STREAMED:
            await self._stream(route.operation, raw, call, receive, send)
        else:
            await self._once(route.operation, raw, call, receive, send)

    def _call(self, raw: dict[str, Any], request: Request, meta: dict[str, Any]) -> Call:
        # A missing version means 0.3 (A2A 1.0, 3.6.2), whose resources are not offered here.
        spoken = {**meta, VERSION_KEY: meta[VERSION_KEY] or VERSION_03}
        return call_from_meta(spoken, self._identify(Asked(raw, request)))

    async def _given(self, route: _Route, request: Request, receive: Receive) -> dict[str, Any]:
        if route.operation not in _WITH_BODY:
            return _query(route.operation, request)
        body = await read_body(receive, self._largest)
        if not body and route.operation == "CancelTask":
            return {}
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json" and not kind.endswith("+json"):
            raise ContentTypeNotSupportedError(
                f"a request is application/a2a+json; this one is {kind or 'of no type'}"
            )
        try:
            given = orjson.loads(body)
        except orjson.JSONDecodeError:
            raise InvalidParamsError("the request's body is no JSON") from None
        if not isinstance(given, dict):
            raise InvalidParamsError("the request's body is an object")
        return given

    async def _once(
        self, operation: str, raw: dict[str, Any], call: Call, receive: Receive, send: Send
    ) -> None:
        async def work() -> None:
            try:
                response = (await self._acts[operation](raw, {}, call))["response"]
            except RepertoryError as error:
                await _refuse(send, error)
            except Exception:  # noqa: BLE001 - what broke inside stays inside
                _log.exception("%s broke", operation)
                await _failed(send, 500, "INTERNAL", "internal error", [])
            else:
                await answer(send, 200, orjson.dumps(response), kind=_KIND)

        if operation == "SendMessage":
            await while_connected(receive, work)
        else:
            await work()

    async def _stream(
        self, operation: str, raw: dict[str, Any], call: Call, receive: Receive, send: Send
    ) -> None:
        stream = EventStream(send)

        async def push(_: str, numbered: NumberedEvent) -> None:
            event = as_update(numbered.event) if stream.begun else numbered.event
            await stream.event(orjson.dumps(event.wire()))

        async def failed(status: int, name: str, sentence: str, details: list[Any]) -> None:
            if not stream.begun:
                await _failed(send, status, name, sentence, details)
                return
            await stream.event(orjson.dumps(_aip_193(status, name, sentence, details)))
            await stream.end()

        async def work() -> None:
            try:
                result = await self._acts[operation](push, raw, {}, call)
                if "response" in result:
                    await stream.event(orjson.dumps(result["response"]))
            except RepertoryError as error:
                await failed(*_told(error))
                return
            except Exception:  # noqa: BLE001 - what broke inside stays inside
                _log.exception("%s broke", operation)
                await failed(500, "INTERNAL", "internal error", [])
                return
            await stream.end()

        await while_connected(receive, work, stream)


def _matching(path: str) -> list[tuple[_Route, dict[str, str]]]:
    found = []
    for route in ROUTES:
        if (match := route.path.fullmatch(path)) is not None:
            values = {name: unquote(value) for name, value in match.groupdict().items() if value}
            found.append((route, values))
    return found


def _query(operation: str, request: Request) -> dict[str, Any]:
    known = _QUERY.get(operation, frozenset())
    given: dict[str, Any] = {}
    for name, text in request.query_params.multi_items():
        if name not in known:
            continue
        if name in given:
            raise InvalidParamsError(f"the query has {name} twice", path=name)
        if name in _NUMBERS:
            if not text.removeprefix("-").isdecimal():
                raise InvalidParamsError(f"{name} is a whole number, not {text!r}", path=name)
            given[name] = int(text)
        elif name == "includeArtifacts":
            if text not in _FLAGS:
                raise InvalidParamsError(f"{name} is 'true' or 'false', not {text!r}", path=name)
            given[name] = _FLAGS[text]
        else:
            given[name] = text
    return given


async def _not_here(send: Send, methods: list[str]) -> None:
    if methods:
        allow = (b"allow", ", ".join(sorted(set(methods))).encode())
        body = orjson.dumps(_aip_193(405, "UNIMPLEMENTED", "no such method here", []))
        await answer(send, 405, body, allow)
    else:
        await _failed(send, 404, "NOT_FOUND", "A2A 1.0 has no such resource", [])


def _told(error: RepertoryError) -> tuple[int, str, str, list[dict[str, Any]]]:
    _, sentence, details = error_to_wire(error)
    status, name = STATUSES.get(details[0]["reason"], (500, "INTERNAL"))
    return status, name, sentence, details


async def _refuse(send: Send, error: RepertoryError) -> None:
    status, name, sentence, details = _told(error)
    more = []
    if isinstance(error, BusyError) and (after := error.facts.get("retry_after")) is not None:
        more.append((b"retry-after", str(max(1, round(float(after)))).encode()))
    await answer(send, status, orjson.dumps(_aip_193(status, name, sentence, details)), *more)


async def _failed(
    send: Send, status: int, name: str, sentence: str, details: list[dict[str, Any]]
) -> None:
    await answer(send, status, orjson.dumps(_aip_193(status, name, sentence, details)))


def _aip_193(
    status: int, name: str, sentence: str, details: list[dict[str, Any]]
) -> dict[str, Any]:
    return {"error": {"code": status, "status": name, "message": sentence, "details": details}}
