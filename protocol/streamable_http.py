"""The carrier over HTTP: the thin MCP caller.

It stands on aiohttp and not on the MCP SDK's client because a call through that
client costs three times as much processor time (docs/binding.md, section 13).
"""

import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from io import BytesIO
from itertools import count
from typing import Any, Final

import aiohttp
import orjson

from .carriers import Push, push_of, request_body, result_of
from .credentials import TokenSource
from .envelope import MCP_VERSION
from .errors import (
    InvalidAgentResponseError,
    LinkError,
    PermissionDeniedError,
    RemoteError,
    RepertoryError,
    UnauthenticatedError,
)

# Long polls and streams keep a connection each, so a small pool would starve short calls.
POOL_SIZE: Final = 1024
_KEPT_SECONDS: Final = 30.0
# The server pings a silent stream every 15 s and holds a request for at most 20 s,
# so a wire with nothing on it for this long is dead.
_SILENCE_SECONDS: Final = 60.0
_CONNECT_SECONDS: Final = 5.0
_ONE_PIECE: Final = 2**20
# A proxy answers these for a server that it cannot reach, or that asks for patience.
_WIRE_STATUSES: Final = frozenset({408, 425, 429, 502, 503, 504})


class HttpCarrier:
    """Carries MCP 2026-07-28 requests over HTTP, each on a connection of a shared pool."""

    def __init__(
        self,
        url: str,
        session: aiohttp.ClientSession,
        *,
        headers: Mapping[str, str] | None = None,
        credentials: TokenSource | None = None,
        tls: ssl.SSLContext | None = None,
        owns_session: bool = False,
    ) -> None:
        self._url = url
        self._credentials = credentials
        self._tls = tls if tls is not None else True
        self._session = session
        self._owns_session = owns_session
        self._numbers = count(1)
        self._common = {
            **(headers or {}),
            "content-type": "application/json",
            "accept": "application/json, text/event-stream",
            "mcp-protocol-version": MCP_VERSION,
        }
        self._headers: dict[str, dict[str, str]] = {}

    async def request(
        self, method: str, params: dict[str, Any], meta: dict[str, Any]
    ) -> dict[str, Any]:
        async for item in self.stream(method, params, meta):
            if isinstance(item, dict):
                return item
        raise LinkError(f"the stream of {method} at {self._url} ended without an answer")

    async def stream(
        self, method: str, params: dict[str, Any], meta: dict[str, Any]
    ) -> AsyncGenerator[Push | dict[str, Any], None]:
        body = orjson.dumps(request_body(next(self._numbers), method, params, meta))
        answer = await self._post(method, params, body)
        try:
            if answer.content_type == "text/event-stream":
                frames = Frames()
                async for chunk in answer.content.iter_any():
                    for data in frames.feed(chunk):
                        message = _decoded(data)
                        if "method" not in message:
                            yield result_of(message)
                            return
                        if (push := push_of(message)) is not None:
                            yield push
                raise LinkError(f"the stream of {method} at {self._url} was cut", url=self._url)
            yield self._plain(answer, await answer.read())
        except RepertoryError:
            # Some of ours are time-outs or connection errors by their other parent.
            raise
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            raise self._failed(method, error) from error
        finally:
            # Releasing closes the connection of a stream that was not read to its end.
            answer.close() if not answer.content.at_eof() else answer.release()

    async def aclose(self) -> None:
        if self._owns_session:
            await self._session.close()

    async def _post(
        self, method: str, params: dict[str, Any], body: bytes
    ) -> aiohttp.ClientResponse:
        headers = self._headers.get(method)
        if headers is None:
            headers = self._headers[method] = {**self._common, "mcp-method": method}
        if isinstance(uri := params.get("uri"), str):
            headers = {**headers, "mcp-name": uri}
        if self._credentials is None:
            return await self._send(method, body, headers)
        token = await self._credentials.token()
        answer = await self._send(method, body, {**headers, "authorization": f"Bearer {token}"})
        if answer.status == 401 and self._credentials.refused(token):
            answer.release()
            token = await self._credentials.token()
            answer = await self._send(method, body, {**headers, "authorization": f"Bearer {token}"})
        return answer

    async def _send(
        self, method: str, body: bytes, headers: Mapping[str, str]
    ) -> aiohttp.ClientResponse:
        try:
            return await self._once(body, headers)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
            if isinstance(error, aiohttp.ClientConnectorError):
                raise self._failed(method, error) from error
            # A kept connection that the server had closed meanwhile: a fresh one will do.
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            raise self._failed(method, error) from error
        try:
            return await self._once(body, headers)
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            raise self._failed(method, error) from error

    async def _once(self, body: bytes, headers: Mapping[str, str]) -> aiohttp.ClientResponse:
        # A redirect would carry what is for this peer to wherever it says.
        return await self._session.post(
            self._url, data=_payload(body), headers=headers, allow_redirects=False, ssl=self._tls
        )

    def _plain(self, answer: aiohttp.ClientResponse, raw: bytes) -> dict[str, Any]:
        message = _decoded(raw) if answer.content_type == "application/json" else {}
        if message and (answer.status < 400 or isinstance(message.get("error"), dict)):
            return result_of(message)
        sentence = f"{self._url} answered with HTTP status {answer.status} and no MCP message"
        if answer.status in (401, 403):
            kind = UnauthenticatedError if answer.status == 401 else PermissionDeniedError
            raise kind(f"{self._url} refuses this caller: {_reason(raw)}", url=self._url)
        if answer.status in _WIRE_STATUSES:
            raise LinkError(sentence, url=self._url, status=answer.status, repeatable=True)
        raise RemoteError(
            sentence, url=self._url, status=answer.status, remote_reason=f"HTTP_{answer.status}"
        )

    def _failed(self, method: str, error: Exception) -> RepertoryError:
        what = "took too long" if isinstance(error, TimeoutError) else "failed"
        return LinkError(
            f"the link to {self._url} {what} during {method} ({type(error).__name__})",
            url=self._url,
            # The binding accepts a message once, however often it comes.
            repeatable=True,
        )


class Frames:
    """Cuts a text/event-stream into the data of its events, whatever the chunks."""

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the data of every event that `chunk` completes."""
        lines = (self._rest + chunk).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            line = line.removesuffix(b"\r")
            if line.startswith(b"data:"):
                self._data.append(line[5:].removeprefix(b" "))
            elif not line and self._data:
                yield b"\n".join(self._data)
                self._data.clear()


def _reason(raw: bytes) -> str:
    """What a refusal says of itself, bounded; the words are the peer's."""
    try:
        said = orjson.loads(raw).get("error")
    except (orjson.JSONDecodeError, AttributeError):
        said = None
    return said[:200] if isinstance(said, str) else "it does not say why"


def _payload(body: bytes) -> bytes | BytesIO:
    # aiohttp writes bytes in one piece, and so warns of large ones; a file it writes by pieces.
    return body if len(body) < _ONE_PIECE else BytesIO(body)


def _decoded(raw: bytes) -> dict[str, Any]:
    try:
        message = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise InvalidAgentResponseError("the peer's answer is no JSON") from error
    if not isinstance(message, dict):
        raise InvalidAgentResponseError("the peer's answer is no JSON object")
    return message


@asynccontextmanager
async def open_pool(size: int = POOL_SIZE) -> AsyncIterator[aiohttp.ClientSession]:
    """A pool of at most `size` connections for HTTP links to share."""
    patient = aiohttp.ClientTimeout(
        total=None, sock_connect=_CONNECT_SECONDS, sock_read=_SILENCE_SECONDS
    )
    connector = aiohttp.TCPConnector(limit=size, keepalive_timeout=_KEPT_SECONDS)
    async with aiohttp.ClientSession(
        connector=connector, timeout=patient, cookie_jar=aiohttp.DummyCookieJar()
    ) as session:
        yield session
