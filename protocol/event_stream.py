"""Server-sent events over plain ASGI, and work that ends when its client goes away."""

from collections.abc import Awaitable, Callable
from typing import Final

import anyio
from starlette.types import Receive, Send

PING_SECONDS: Final = 15.0
_HEADERS: Final = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]


class EventStream:
    """A text/event-stream answer; its head goes out with its first event.

    Until then an error may still be answered in another shape.
    """

    def __init__(self, send: Send, headers: list[tuple[bytes, bytes]] | None = None) -> None:
        self._send = send
        self._headers = [*_HEADERS, *(headers or [])]
        self._sending = anyio.Lock()
        self.begun = False

    async def event(self, data: bytes) -> None:
        """Send one event; `data` is one line."""
        await self._write(b"data: " + data + b"\n\n")

    async def end(self) -> None:
        """Send what ends the answer."""
        async with self._sending:
            await self._begin()
            await self._send({"type": "http.response.body", "body": b""})

    async def keep_alive(self) -> None:
        """Send a comment now and then, until canceled."""
        while True:
            await anyio.sleep(PING_SECONDS)
            if self.begun:
                await self._write(b": ping\n\n")

    async def _write(self, piece: bytes) -> None:
        async with self._sending:
            await self._begin()
            await self._send({"type": "http.response.body", "body": piece, "more_body": True})

    async def _begin(self) -> None:
        if not self.begun:
            self.begun = True
            start = {"type": "http.response.start", "status": 200, "headers": self._headers}
            await self._send(start)


async def while_connected(
    receive: Receive, work: Callable[[], Awaitable[None]], stream: EventStream | None = None
) -> None:
    """Run `work` until it is done or the client has gone; the request was read to its end."""

    async with anyio.create_task_group() as group:

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            group.cancel_scope.cancel()

        group.start_soon(watch)
        if stream is not None:
            group.start_soon(stream.keep_alive)
        await work()
        group.cancel_scope.cancel()
