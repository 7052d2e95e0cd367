"""A wire that misbehaves: a TCP proxy that knows where an HTTP/1.1 request ends, and no more.

Each request that goes through it may be late, come twice, arrive in two pieces that never
meet, or lose its answer; each answer may come byte by byte or be cut off.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from random import Random
from typing import Literal

Trick = Literal["", "delay", "duplicate", "lose", "tear", "half-close", "drip", "cut"]
_DRIP_SECONDS = 0.001
_LONGEST_DELAY = 0.1


@dataclass(slots=True)
class Proxy:
    """Hands requests on to `port`, each with one trick drawn by its weight.

    down: no connection is let through, and those that there are break off.
    """

    port: int
    dice: Random
    weights: Mapping[Trick, float]
    url: str = ""
    played: Counter[str] = field(default_factory=Counter)
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection, request by request."""
        self._writers.add(writer)
        try:
            while request := await _request(reader):
                names, weights = list(self.weights), list(self.weights.values())
                trick = self.dice.choices(names, weights)[0]
                self.played[trick] += 1
                if not await self._play(trick, request, writer):
                    break
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _play(self, trick: Trick, request: bytes, writer: asyncio.StreamWriter) -> bool:
        """Hand one request on; whether its connection may go on."""
        if trick == "delay":
            await asyncio.sleep(_LONGEST_DELAY * self.dice.random())
        elif trick == "duplicate":
            again = asyncio.create_task(self._again(request))
            _RUNNING.add(again)
            again.add_done_callback(_RUNNING.discard)
        elif trick in ("tear", "half-close"):
            await self._tear(request, close=trick == "half-close")
            return False
        try:
            upstream, up = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        try:
            up.write(request)
            await up.drain()
            if trick == "lose":
                # It has arrived, and is worked on; only the answer never comes.
                await upstream.read(1)
                return False
            return await self._answer(trick, upstream, writer)
        finally:
            up.close()

    async def _answer(
        self, trick: Trick, upstream: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        # The request asked for its connection to be closed, so the answer ends with it.
        told = 0
        while piece := await upstream.read(4096):
            if trick == "cut":
                writer.write(piece[: len(piece) // 2])
                await writer.drain()
                return False
            if trick == "drip":
                for number in range(len(piece)):
                    writer.write(piece[number : number + 1])
                    await asyncio.sleep(_DRIP_SECONDS)
            else:
                writer.write(piece)
            await writer.drain()
            told += len(piece)
        return False

    async def _again(self, request: bytes) -> None:
        """Send the same request once more, some time later; nobody reads the answer."""
        await asyncio.sleep(_LONGEST_DELAY * self.dice.random())
        with suppress(OSError):
            upstream, up = await asyncio.open_connection("127.0.0.1", self.port)
            up.write(request)
            await up.drain()
            await upstream.read()
            up.close()

    async def _tear(self, request: bytes, *, close: bool) -> None:
        """Send half of the request, then nothing more."""
        with suppress(OSError):
            upstream, up = await asyncio.open_connection("127.0.0.1", self.port)
            up.write(request[: len(request) // 2])
            await up.drain()
            if close:
                up.write_eof()
                await upstream.read(4096)
            up.transport.abort()

    def cut(self) -> None:
        """Break off every connection that there is."""
        for writer in list(self._writers):
            writer.transport.abort()


_RUNNING: set["asyncio.Task[None]"] = set()


async def _request(reader: asyncio.StreamReader) -> bytes:
    """One whole request, told to close its connection after; empty when there is none."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"connection:")]
    length = 0
    for line in lines:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            length = int(value)
    body = await reader.readexactly(length)
    return b"\r\n".join([*lines[:-2], b"Connection: close", b"", b""]) + body


@asynccontextmanager
async def open_proxy(
    port: int, dice: Random, weights: Mapping[Trick, float]
) -> AsyncIterator[Proxy]:
    """A proxy on a free port of the loopback."""
    proxy = Proxy(port, dice, weights)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()
        proxy.cut()
