"""The port between a link and its wire, and the wire that is HTTP: the thin MCP caller.

A carrier takes one MCP request to the peer and brings the answer back, or the
events pushed before it. It knows JSON-RPC and MCP 2026-07-28, nothing of tasks.
What the requests mean is `caller`'s; the carrier over a child's pipes is `pipes`.

The HTTP carrier stands on aiohttp and not on the MCP SDK's client because a call
through that client costs three times as much processor time (docs/binding.md,
section Conformance notes).
"""

from collections.abc import AsyncGenerator, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from io import BytesIO
from itertools import count
from typing import Any, Final, Protocol

import aiohttp
import orjson

from .envelope import EXTENSION_ID, MCP_VERSION, TASK_EVENT, error_from_wire
from .errors import InvalidAgentResponseError, LinkError, RemoteError, RepertoryError

# The server pings a silent stream every 15 s and holds a request for at most 20 s,
# so a wire with nothing on it for this long is dead.
SILENCE_SECONDS: Final = 60.0
CONNECT_SECONDS: Final = 5.0
_ONE_PIECE: Final = 2**20

_ENVELOPE_META: Final[dict[str, Any]] = {
    "io.modelcontextprotocol/protocolVersion": MCP_VERSION,
    "io.modelcontextprotocol/clientCapabilities": {"extensions": {EXTENSION_ID: {}}},
    "io.modelcontextprotocol/clientInfo": {"name": "repertory", "version": version("repertory")},
}
# A proxy answers these for a server that it cannot reach, or that asks for patience.
_WIRE_STATUSES: Final = frozenset({408, 425, 429, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Push:
    """One event as it was pushed: a hint that the log holds it."""

    task_id: str
    sequence: int
    event: dict[str, Any]


class Carrier(Protocol):
    """Takes MCP requests to one peer.

    Every operation of the binding may be repeated without harm, so a carrier may
    send a request again when a kept connection turns out to be closed.
    """

    async def request(
        self, method: str, params: dict[str, Any], meta: dict[str, Any]
    ) -> dict[str, Any]:
        """Send a request and wait for its result.

        Raises:
            LinkError: The wire failed; what became of the request is unknown.
            RepertoryError: What the peer answered, told by its reason.
        """
        ...

    def stream(
        self, method: str, params: dict[str, Any], meta: dict[str, Any]
    ) -> AsyncGenerator[Push | dict[str, Any], None]:
        """Send a request and yield what is pushed on its stream; the result comes last.

        Closing the generator closes the stream. Raises what `request` raises.
        """
        ...

    async def aclose(self) -> None:
        """Let go of the wire."""
        ...


def request_body(
    number: int, method: str, params: dict[str, Any], meta: dict[str, Any]
) -> dict[str, Any]:
    """The JSON-RPC request, with what MCP asks of every request's `_meta`."""
    return {
        "jsonrpc": "2.0",
        "id": number,
        "method": method,
        "params": {**params, "_meta": {**_ENVELOPE_META, **meta}},
    }


def result_of(answer: Any) -> dict[str, Any]:
    """The result in a JSON-RPC answer.

    Raises:
        RepertoryError: The answer is an error, told by its reason.
        InvalidAgentResponseError: It is neither.
    """
    if isinstance(answer, dict):
        result = answer.get("result")
        if isinstance(result, dict):
            return result
        error = answer.get("error")
        if isinstance(error, dict):
            raise error_from_wire(error.get("code"), error.get("message"), error.get("data"))
    raise InvalidAgentResponseError("the peer's answer is neither a result nor an error")


def push_of(message: Mapping[str, Any]) -> Push | None:
    """The event that a notification carries; None for any other notification."""
    params = message.get("params")
    if message.get("method") != TASK_EVENT or not isinstance(params, dict):
        return None
    task_id, sequence, event = params.get("taskId"), params.get("sequence"), params.get("event")
    if isinstance(task_id, str) and isinstance(sequence, int) and isinstance(event, dict):
        return Push(task_id, sequence, event)
    return None


class HttpCarrier:
    """Carries MCP 2026-07-28 requests over HTTP, each on a connection of a shared pool."""

    def __init__(
        self,
        url: str,
        session: aiohttp.ClientSession,
        *,
        headers: Mapping[str, str] | None = None,
        owns_session: bool = False,
    ) -> None:
        self._url = url
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
        try:
            return await self._session.post(self._url, data=_payload(body), headers=headers)
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError) as error:
            if isinstance(error, aiohttp.ClientConnectorError):
                raise self._failed(method, error) from error
            # A kept connection that the server had closed meanwhile: a fresh one will do.
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            raise self._failed(method, error) from error
        try:
            return await self._session.post(self._url, data=_payload(body), headers=headers)
        except (aiohttp.ClientError, TimeoutError, ConnectionError) as error:
            raise self._failed(method, error) from error

    def _plain(self, answer: aiohttp.ClientResponse, raw: bytes) -> dict[str, Any]:
        if answer.content_type == "application/json":
            return result_of(_decoded(raw))
        sentence = f"{self._url} answered with HTTP status {answer.status} and no MCP message"
        if answer.status in _WIRE_STATUSES:
            raise LinkError(sentence, url=self._url, status=answer.status)
        raise RemoteError(
            sentence, url=self._url, status=answer.status, remote_reason=f"HTTP_{answer.status}"
        )

    def _failed(self, method: str, error: Exception) -> RepertoryError:
        what = "took too long" if isinstance(error, TimeoutError) else "failed"
        return LinkError(
            f"the link to {self._url} {what} during {method} ({type(error).__name__})",
            url=self._url,
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
