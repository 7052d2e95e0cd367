"""The wire between a runtime and the server of its store, which can be cut.

It is a veth pair into a network namespace of its own, at whose end somebody hands what comes
to the server's socket: cutting it is taking the link down, losing what goes in one direction
alone, or both in quick succession, and the kernels on both sides see what they would see of a
cable. Beside it, and where a machine allows no namespaces, there is a proxy, which can also
refuse every connection, as a firewall does.
"""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from random import Random
from typing import Protocol

import anyio

_PORT = 5432
_numbers = count(1)


class Cable(Protocol):
    """What can be cut and mended. host and port: where the server is met through it."""

    host: str
    port: int
    kind: str

    async def cut(self, dice: Random) -> None:
        """Let nothing through, in one of its ways."""
        ...

    async def mend(self) -> None:
        """Let everything through again."""
        ...


def ip(*words: str) -> None:
    """Run `ip`.

    Raises:
        RuntimeError: It does not do that here.
    """
    done = subprocess.run(["ip", *words], check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"`ip {' '.join(words)}`: {done.stderr.strip()}")


@cache
def veth_missing() -> str:
    """Why this machine has no network namespaces for us; "" when it has."""
    if shutil.which("ip") is None:
        return "there is no `ip`"
    name = f"faults-{os.getpid()}-try"
    try:
        ip("netns", "add", name)
        try:
            ip(
                "link",
                "add",
                f"{name[:13]}t",
                "type",
                "veth",
                "peer",
                "name",
                "there",
                "netns",
                name,
            )
        finally:
            ip("netns", "del", name)
    except RuntimeError as error:
        return str(error)
    return ""


@dataclass(slots=True)
class Veth:
    """A veth pair into a namespace; the server is met at its far end."""

    name: str
    host: str
    near: str
    port: int = _PORT
    kind: str = "veth"
    _flapping: "asyncio.Task[None] | None" = None

    async def cut(self, dice: Random) -> None:
        """Take the link down, lose what comes back, or let it come and go."""
        match dice.choice(("down", "one way", "flap")):
            case "down":
                await self._ip("link", "set", self.name, "down")
            case "one way":
                # Requests arrive and are carried out; their answers are lost.
                await self._ip("-n", self.name, "route", "add", "blackhole", f"{self.near}/32")
            case _:
                self._flapping = asyncio.create_task(self._flap(dice))

    async def _flap(self, dice: Random) -> None:
        while True:
            await self._ip("link", "set", self.name, "down")
            await asyncio.sleep(0.1 + 0.4 * dice.random())
            await self._ip("link", "set", self.name, "up")
            await asyncio.sleep(0.2 * dice.random())

    async def mend(self) -> None:
        """Let everything through again; what was lost is sent again by the kernels in their time."""
        if self._flapping is not None:
            self._flapping.cancel()
            with suppress(asyncio.CancelledError):
                await self._flapping
            self._flapping = None
        await self._ip("link", "set", self.name, "up")
        with suppress(RuntimeError):
            await self._ip("-n", self.name, "route", "del", "blackhole", f"{self.near}/32")

    async def _ip(self, *words: str) -> None:
        await anyio.to_thread.run_sync(ip, *words)


@asynccontextmanager
async def open_veth(socket: str) -> AsyncIterator[Veth]:
    """A namespace with a link to it, and somebody there who hands on to the server's socket."""
    number = next(_numbers)
    # Process ids tell apart the runs of one machine, as far as 30 bits of address go.
    place = (os.getpid() * 64 + number) % (1 << 20)
    near, far = (
        f"10.{80 + (place >> 14) % 64}.{(place >> 6) % 256}.{(place % 64) * 4 + n}" for n in (1, 2)
    )
    name = f"fl{os.getpid()}x{number}"
    ip("netns", "add", name)
    try:
        ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
        ip("addr", "add", f"{near}/30", "dev", name)
        ip("link", "set", name, "up")
        for words in (("addr", "add", f"{far}/30", "dev", "eth0"), ("link", "set", "eth0", "up")):
            ip("-n", name, *words)
        handing = await asyncio.create_subprocess_exec(
            *("ip", "netns", "exec", name, sys.executable, "-m", "benchmarks.faults.handing"),
            *(far, str(_PORT), socket),
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            assert handing.stdout is not None
            await handing.stdout.readline()
            yield Veth(name, far, near)
        finally:
            handing.kill()
            await handing.wait()
    finally:
        # The link goes with the namespace.
        ip("netns", "del", name)


@dataclass(slots=True)
class Wire:
    """A TCP port before the server's socket; cut, it lets nothing through."""

    socket: str
    host: str = "127.0.0.1"
    port: int = 0
    kind: str = "proxy"
    down: bool = False
    silent: bool = False
    _mended: anyio.Event = field(default_factory=anyio.Event)
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def cut(self, dice: Random) -> None:
        """Let nothing through, or refuse every connection and break off those there are."""
        self.down, self.silent = True, dice.random() < 0.5
        self._mended = anyio.Event()
        if not self.silent:
            self.break_off()

    async def mend(self) -> None:
        """Let everything through again; what a silent cut held back comes late."""
        self.down = False
        self._mended.set()

    def break_off(self) -> None:
        """Break off every connection that there is."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection in both directions."""
        self._writers.add(writer)
        try:
            if self.down and not self.silent:
                return
            upstream, up = await asyncio.open_unix_connection(self.socket)
            self._writers.add(up)
            try:
                async with anyio.create_task_group() as group:
                    group.start_soon(self._carry, reader, up)
                    group.start_soon(self._carry, upstream, writer)
            finally:
                self._writers.discard(up)
                up.transport.abort()
        except OSError:
            pass
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while piece := await source.read(65536):
                while self.down:
                    await self._mended.wait()
                sink.write(piece)
                await sink.drain()
        sink.transport.abort()


@asynccontextmanager
async def open_proxied(socket: str) -> AsyncIterator[Wire]:
    """A wire on a free port of the loopback."""
    wire = Wire(socket)
    server = await asyncio.start_server(wire.serve, "127.0.0.1", 0)
    wire.port = server.sockets[0].getsockname()[1]
    try:
        yield wire
    finally:
        await wire.mend()
        server.close()
        wire.break_off()
