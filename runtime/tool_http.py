"""HTTP for tool servers elsewhere, so that one broken request breaks nothing else.

In mcp 2.3.0 an exception of one POST ends the whole connection and reaches the
others as a bare cancellation. Here a request that fails on the wire is answered
with a JSON-RPC error of its own, and a body that breaks off simply ends.
"""

import json
import ssl
from collections.abc import AsyncIterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx2
from mcp_types import CONNECTION_CLOSED

from repertory.protocol import CALLER_KEY, LinkError, TokenSource, UnauthenticatedError

_CONNECT_SECONDS = 10.0
# Not sent: the request cannot have reached the server.
_NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)


class HttpTarget(NamedTuple):
    """A tool server at a URL, and by what this network is known there."""

    url: str
    tokens: TokenSource | None = None
    tls: ssl.SSLContext | None = None


class ContainedTransport(httpx2.AsyncBaseTransport):
    """Answer for the wire when it fails: 502 with a JSON-RPC error that says what happened.

    Each request carries this network's own token, and in headers for whom it is
    made where its `_meta` says so.
    """

    def __init__(
        self, wrapped: httpx2.AsyncBaseTransport, tokens: TokenSource | None = None
    ) -> None:
        self._wrapped = wrapped
        self._tokens = tokens

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        try:
            request.headers.update(_caller_headers(await request.aread()))
            response = await self._sent(request)
        except (httpx2.TransportError, LinkError, UnauthenticatedError) as error:
            return _failed(error)
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        response.stream = _ContainedStream(response.stream)
        return response

    async def _sent(self, request: httpx2.Request) -> httpx2.Response:
        if self._tokens is None:
            return await self._wrapped.handle_async_request(request)
        token = await self._tokens.token()
        request.headers["authorization"] = f"Bearer {token}"
        response = await self._wrapped.handle_async_request(request)
        if response.status_code == 401 and self._tokens.refused(token):
            await response.aclose()
            request.headers["authorization"] = f"Bearer {await self._tokens.token()}"
            response = await self._wrapped.handle_async_request(request)
        return response

    async def aclose(self) -> None:
        await self._wrapped.aclose()


class _ContainedStream(httpx2.AsyncByteStream):
    def __init__(self, wrapped: httpx2.AsyncByteStream) -> None:
        self._wrapped = wrapped

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._wrapped:
                yield chunk
        except httpx2.TransportError:
            # The reader sees the end of the body and judges what it has.
            return

    async def aclose(self) -> None:
        try:
            await self._wrapped.aclose()
        except httpx2.TransportError:
            return


def _caller_headers(body: bytes) -> Mapping[str, str]:
    """For whom a request is made, as headers; percent-encoded, so that no value ends one."""
    if CALLER_KEY.encode() not in body:
        return {}
    try:
        caller: Any = json.loads(body)["params"]["_meta"][CALLER_KEY]
        return {
            f"repertory-{name}": quote(str(caller[name]), safe=" :/#@.-_")
            for name in ("principal", "tenant", "agent", "task")
        }
    except (ValueError, LookupError, TypeError):
        return {}


def _failed(error: Exception) -> httpx2.Response:
    fault = {
        "code": CONNECTION_CLOSED,
        "message": f"{type(error).__name__}: {error}" if str(error) else type(error).__name__,
        "data": {"sent": not isinstance(error, (*_NOT_SENT, LinkError, UnauthenticatedError))},
    }
    return httpx2.Response(
        502,
        headers={"content-type": "application/json"},
        content=json.dumps({"jsonrpc": "2.0", "id": None, "error": fault}).encode(),
    )


def tool_http_client(target: HttpTarget) -> httpx2.AsyncClient:
    """A client for one tool server; its callers bring the deadline, so reads wait for ever."""
    wire = (
        httpx2.AsyncHTTPTransport()
        if target.tls is None
        else httpx2.AsyncHTTPTransport(verify=target.tls)
    )
    return httpx2.AsyncClient(
        transport=ContainedTransport(wire, target.tokens),
        timeout=httpx2.Timeout(None, connect=_CONNECT_SECONDS, pool=None),
    )
