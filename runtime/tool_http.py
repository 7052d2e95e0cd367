"""HTTP for tool servers elsewhere, so that one broken request breaks nothing else.

In mcp 2.3.0 an exception of one POST ends the whole connection and reaches the
others as a bare cancellation. Here a request that fails on the wire is answered
with a JSON-RPC error of its own, and a body that breaks off simply ends.
"""

import json
from collections.abc import AsyncIterator

import httpx2
from mcp_types import CONNECTION_CLOSED

_CONNECT_SECONDS = 10.0
# Not sent: the request cannot have reached the server.
_NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)


class ContainedTransport(httpx2.AsyncBaseTransport):
    """Answer for the wire when it fails: 502 with a JSON-RPC error that says what happened."""

    def __init__(self, wrapped: httpx2.AsyncBaseTransport) -> None:
        self._wrapped = wrapped

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        try:
            response = await self._wrapped.handle_async_request(request)
        except httpx2.TransportError as error:
            return _failed(error)
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        response.stream = _ContainedStream(response.stream)
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


def _failed(error: httpx2.TransportError) -> httpx2.Response:
    fault = {
        "code": CONNECTION_CLOSED,
        "message": f"{type(error).__name__}: {error}" if str(error) else type(error).__name__,
        "data": {"sent": not isinstance(error, _NOT_SENT)},
    }
    return httpx2.Response(
        502,
        headers={"content-type": "application/json"},
        content=json.dumps({"jsonrpc": "2.0", "id": None, "error": fault}).encode(),
    )


def tool_http_client() -> httpx2.AsyncClient:
    """A client for one tool server; its callers bring the deadline, so reads wait for ever."""
    return httpx2.AsyncClient(
        transport=ContainedTransport(httpx2.AsyncHTTPTransport()),
        timeout=httpx2.Timeout(None, connect=_CONNECT_SECONDS, pool=None),
    )
