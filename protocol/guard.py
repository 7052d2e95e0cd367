"""What stands before a listener: Host and Origin, bounds, and who calls, before anything is read.

In this order a request is refused: its Host (421), its Origin (403), too much at
once (503, 429), who calls (401, or 429 when it was wrong too often), what it may
reach (403), its rate (429), its size (413), its slowness (408), its depth (400).
What comes through carries an `Identity` in its scope under `IDENTITY_KEY`.
"""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from re import compile as pattern
from re import escape
from typing import Any, Final, Protocol

import anyio
import orjson
from starlette.types import Message, Receive, Scope, Send

from .authentication import RESOURCE_METADATA, Authentication, agent_of
from .envelope import WELL_KNOWN_CARD
from .errors import (
    BusyError,
    InvalidParamsError,
    LinkError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from .identity import IDENTITY_KEY, LOCAL, NOBODY, Identity
from .limits import Limits, Rates, require_shallow

# What is told to everybody: that it lives, and what clients read before they can ask.
_OPEN: Final = pattern(rf"/health|(/agents/[^/]+)?{escape(WELL_KNOWN_CARD)}")
_Header = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that was not let in, for the audit: what was wrong, who sent it, to where."""

    what: str
    principal: str
    tenant: str
    client: str
    path: str
    reason: str


class _RefusedError(Exception):
    """Ends a request with an HTTP status, a sentence and further headers."""

    def __init__(self, status: int, sentence: str, *headers: _Header, close: bool = False) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence
        self.headers = (*headers, (b"connection", b"close")) if close else headers


class Guarded(Protocol):
    """An ASGI app that `Guard` stands before; `running`, where it has one, surrounds its use."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...


Tell = Callable[[Refusal], Awaitable[None]]


class Guard:
    """An ASGI app before another one; see the module.

    hosts, origins: what is answered, `name:*` for any port. authentication: None
    lets everybody in as the local principal. tell: told of every refusal that
    says something about who sent it.
    """

    def __init__(
        self,
        app: Guarded,
        *,
        hosts: Sequence[str],
        origins: Sequence[str],
        limits: Limits = Limits(),
        authentication: Authentication | None = None,
        tell: Tell | None = None,
    ) -> None:
        self._app = app
        self._hosts = _Names(hosts)
        self._origins = _Names(origins)
        self._limits = limits
        self._authentication = authentication
        self._tell = tell
        self._rates = Rates(limits.rate, limits.burst) if limits.rate else None
        self._failures = Rates(limits.failures / 60.0, limits.failures)
        self._in_flight: Counter[str] = Counter()
        self._all_in_flight = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve requests while the block runs; for an app mounted in another's lifespan."""
        running: Callable[[], AbstractAsyncContextManager[Any]]
        running = getattr(self._app, "running", nullcontext)
        async with running():
            yield

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        caller = ""
        try:
            path = scope["path"].removeprefix(scope.get("root_path", ""))
            self._require_host(scope)
            metadata = self._metadata(path)
            if metadata is not None:
                await _answer(send, 200, metadata)
                return
            identity = await self._identified(scope, path)
            caller = self._entered(identity, scope)
            if self._rates is not None:
                self._rates.take(caller)
            body = await self._body(scope, receive)
        except _RefusedError as refused:
            self._left(caller)
            await _answer(send, refused.status, {"error": refused.sentence}, *refused.headers)
            return
        except BusyError as busy:
            self._left(caller)
            await self._say(scope, "too often", caller, busy.sentence)
            await _answer(send, 429, {"error": busy.sentence}, _retry(busy.retry_after))
            return
        except BaseException:
            self._left(caller)
            raise
        try:
            await self._app({**scope, IDENTITY_KEY: identity}, body, send)
        finally:
            self._left(caller)

    # -- where it comes from -----------------------------------------------------

    def _require_host(self, scope: Scope) -> None:
        hosts: list[bytes] = []
        origins: list[bytes] = []
        for name, value in scope["headers"]:
            if name == b"host":
                hosts.append(value)
            elif name == b"origin":
                origins.append(value)
        if len(hosts) != 1 or not self._hosts.known(hosts[0]):
            raise _RefusedError(421, "this Host is not served here")
        if len(origins) > 1 or (origins and not self._origins.known(origins[0])):
            raise _RefusedError(403, "this Origin may not call")

    def _metadata(self, path: str) -> dict[str, Any] | None:
        if self._authentication is None or not path.startswith(RESOURCE_METADATA):
            return None
        return self._authentication.metadata(path.removeprefix(RESOURCE_METADATA).rstrip("/"))

    # -- who it is ---------------------------------------------------------------

    async def _identified(self, scope: Scope, path: str) -> Identity:
        authentication = self._authentication
        if authentication is None:
            return LOCAL
        if _OPEN.fullmatch(path):
            return NOBODY
        client = _client(scope)
        shown = any(name in (b"authorization", b"x-api-key") for name, _ in scope["headers"])
        try:
            identity = await authentication.identify(scope, path)
        except UnauthenticatedError as error:
            challenge = authentication.challenge(path, error if shown else None)
            if shown:
                # Told after the check: behind one address there may be others, who are right.
                if self._failures.exhausted(client):
                    sentence = "too many wrong credentials; wait"
                    raise _RefusedError(429, sentence, _retry(60.0)) from None
                self._failures.take(client)
                await self._say(scope, "unauthenticated", "", error.sentence)
            raise _RefusedError(401, error.sentence, _challenge(challenge)) from None
        except PermissionDeniedError as error:
            await self._say(scope, "denied", "", error.sentence)
            challenge = authentication.challenge(path, error)
            raise _RefusedError(403, error.sentence, _challenge(challenge)) from None
        except LinkError as error:
            raise _RefusedError(503, error.sentence, _retry(5.0)) from None
        agent = agent_of(path)
        if agent and not identity.capabilities.reaches(agent):
            lacks = PermissionDeniedError(f"{identity.principal} may not use {agent!r}")
            await self._say(scope, "denied", identity.principal, lacks.sentence, identity.tenant)
            challenge = authentication.challenge(path, lacks)
            raise _RefusedError(403, lacks.sentence, _challenge(challenge))
        return identity

    async def _say(
        self, scope: Scope, what: str, principal: str, reason: str, tenant: str = ""
    ) -> None:
        if self._tell is not None:
            path = scope["path"]
            await self._tell(Refusal(what, principal, tenant, _client(scope), path, reason))

    # -- how much it is ----------------------------------------------------------

    def _entered(self, identity: Identity, scope: Scope) -> str:
        """Count the request in; the name that its caller is counted under."""
        unknown = identity in (LOCAL, NOBODY)
        caller = f"address:{_client(scope)}" if unknown else identity.principal
        if self._all_in_flight >= self._limits.all_at_once:
            raise _RefusedError(503, "too many requests at once", _retry(1.0), close=True)
        if self._in_flight[caller] >= self._limits.at_once:
            sentence = f"more than {self._limits.at_once} requests of one caller at once"
            raise _RefusedError(429, sentence, _retry(1.0))
        self._in_flight[caller] += 1
        self._all_in_flight += 1
        return caller

    def _left(self, caller: str) -> None:
        if caller:
            self._all_in_flight -= 1
            self._in_flight[caller] -= 1
            if self._in_flight[caller] <= 0:
                del self._in_flight[caller]

    async def _body(self, scope: Scope, receive: Receive) -> Receive:
        """A `receive` that gives the whole body, which is within the bounds."""
        if scope["method"] in ("GET", "HEAD", "DELETE", "OPTIONS"):
            return receive
        limits = self._limits
        length = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
        if length.isdigit() and int(length) > limits.body:
            raise _RefusedError(413, f"the body is above {limits.body} bytes", close=True)
        body, last = bytearray(), None
        with anyio.move_on_after(limits.body_seconds) as patience:
            more = True
            while more:
                message = await receive()
                if message["type"] != "http.request":
                    last = message
                    break
                body += message.get("body", b"")
                if len(body) > limits.body:
                    raise _RefusedError(413, f"the body is above {limits.body} bytes", close=True)
                more = message.get("more_body", False)
        if patience.cancelled_caught:
            raise _RefusedError(408, "the body took too long to arrive", close=True)
        whole = bytes(body)
        try:
            require_shallow(whole, limits)
        except InvalidParamsError as error:
            raise _RefusedError(400, error.sentence) from None
        waiting: list[Message] = [{"type": "http.request", "body": whole, "more_body": False}]
        if last is not None:
            waiting = [last]

        async def again() -> Message:
            return waiting.pop(0) if waiting else await receive()

        return again


class _Names:
    """Header values that are known: to the letter, or `name:*` for a name with any port."""

    def __init__(self, allowed: Sequence[str]) -> None:
        self._exact = {name.encode() for name in allowed if not name.endswith(":*")}
        self._any_port = {name[:-2].encode() for name in allowed if name.endswith(":*")}

    def known(self, value: bytes) -> bool:
        name, colon, port = value.rpartition(b":")
        if value in self._exact or value in self._any_port:
            return True
        return bool(colon) and port.isdigit() and name in self._any_port


def _client(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else "unknown"


def _retry(seconds: float | None) -> _Header:
    return b"retry-after", str(max(1, round(seconds or 1.0))).encode()


def _challenge(text: str) -> _Header:
    return b"www-authenticate", text.encode("latin-1", "replace")


async def _answer(send: Send, status: int, document: Any, *more: _Header) -> None:
    body = orjson.dumps(document)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        *more,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
