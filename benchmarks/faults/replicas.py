"""F11, F12 and F19: several runtimes over one PostgreSQL; one is cut off, put to sleep, or killed.

The driver sends to whichever answers. What may not happen is that two of them work on one
task: the books would see a thing done under two keys, or a context out of order.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from random import Random

import anyio

from .books import open_books
from .client import Client, open_client
from .fault import Bench, Fault, Outcome, doses, side_by_side, summed
from .kills import Flow
from .ledger import Ledger
from .serving import Served, clerk, kind
from .stores import PostgresStore

LEASE = 2.0
# Pairs of runtimes that wait for their sleeps and cuts side by side.
_PLACES = 4
# Between two kills, in seconds, as the issue asks for.
_EVERY = 2.0


@dataclass(slots=True)
class Roaming(Client):
    """A client that asks another runtime each time."""

    urls: Sequence[str] = ()
    dice: Random = field(default_factory=Random)

    def place(self, agent: str, rest: str) -> str:
        """The URL of a resource of an agent, at any of the runtimes."""
        self.url = self.dice.choice(self.urls)
        return Client.place(self, agent, rest)


@asynccontextmanager
async def open_runtimes(
    bench: Bench, count: int, books: str, urls: Sequence[str] = ()
) -> AsyncIterator[list[Served]]:
    """So many runtimes of one network over one store, started; urls: the store as each reaches it."""
    agents = {"desk": kind("Desk", peers=["clerk"]), "clerk": clerk(concurrency=8)}
    runtimes: list[Served] = []
    async with AsyncExitStack() as stack:
        for number in range(count):
            url = urls[number] if urls else runtimes[0].store_url if runtimes else ""
            store = {"lease": LEASE} | ({"url": url} if url else {})
            served = Served(bench, f"r{number}", agents, books, network="shared", store=store)
            if url:
                served.store_url = url
            await stack.enter_async_context(served)
            runtimes.append(served)
            await served.start()
        yield runtimes


@asynccontextmanager
async def open_roaming(bench: Bench, runtimes: Sequence[Served]) -> AsyncIterator[Roaming]:
    """A client for all of them."""
    urls = [served.url for served in runtimes]
    async with open_client(urls[0]) as plain:
        yield Roaming(urls[0], plain.session, urls=urls, dice=Random(bench.dice.random()))


async def kill_replicas(bench: Bench) -> Outcome:
    """F19: one of three is killed every two seconds, and started again."""
    outcome = Outcome()
    ledger = Ledger(bench.folder / "ledger.txt")
    kills = 0
    async with (
        open_books(ledger, bench.dice) as books,
        open_runtimes(bench, 3, books.url) as runtimes,
        open_roaming(bench, runtimes) as client,
        anyio.create_task_group() as group,
    ):
        flow = Flow(client, "desk", ledger, bench.dose, bench.dice)
        flow.allow(1.0)
        group.start_soon(flow.run, 12)
        # Until everything has happened, and not only been accepted.
        while not flow.over.is_set() or len(ledger.done) < sum(flow.steps.values()):
            await anyio.sleep(_EVERY)
            killed = bench.dice.choice(runtimes)
            await killed.kill()
            kills += 1
            await killed.start(ready=False)
            if kills % 10 == 0:
                bench.say(f"{kills} kills, {len(ledger.accepted)} accepted")
        for served in runtimes:
            await served.wait_ready()
        await flow.judge(outcome)
        outcome.broken += await _unsound(bench, runtimes)
    outcome.dose = f"{kills} kills over {bench.dose} tasks"
    outcome.note = f"{ledger.asked_again} calls made again under their own key"
    return outcome


async def stop_worker(bench: Bench) -> Outcome:
    """F12: a worker sleeps beyond its lease and wakes when another has its tasks."""
    outcomes = await side_by_side(bench, _PLACES, _stop_worker)
    outcome = summed(outcomes)
    asleep = _asleep(bench)
    outcome.dose = f"{bench.dose} sleeps of {asleep:g} s, lease {LEASE:g} s, {_places(outcomes)}"
    outcome.note = f"{outcome.again} calls made again under their own key"
    return outcome


def _asleep(bench: Bench) -> float:
    return bench.at(LEASE * 1.5, LEASE * 2, 60.0)


def _places(outcomes: Sequence[Outcome]) -> str:
    return f"over {len(outcomes)} pairs of runtimes side by side"


async def _stop_worker(bench: Bench) -> Outcome:
    outcome = Outcome()
    ledger = Ledger(bench.folder / "ledger.txt")
    asleep = _asleep(bench)
    async with (
        open_books(ledger, bench.dice, slow=0.3) as books,
        open_runtimes(bench, 2, books.url) as runtimes,
        open_roaming(bench, runtimes) as client,
        anyio.create_task_group() as group,
    ):
        flow = Flow(client, "desk", ledger, 8 * bench.dose, bench.dice)
        group.start_soon(flow.run, 12)
        for number in range(bench.dose):
            flow.allow((number + 1) / bench.dose)
            await anyio.sleep(0.2 + bench.dice.random())
            zombie = bench.dice.choice(runtimes)
            assert zombie.life is not None
            zombie.life.tell(signal.SIGSTOP)
            await anyio.sleep(asleep)
            zombie.life.tell(signal.SIGCONT)
            # Awake it finds its tasks gone, and must not have done them.
            await anyio.sleep(0.5)
        await flow.over.wait()
        await flow.judge(outcome)
        outcome.broken += await _unsound(bench, runtimes)
    outcome.again = ledger.asked_again
    return outcome


async def cut_off(bench: Bench) -> Outcome:
    """F11: the network between a runtime and the server is cut, for one or for both."""
    outcomes = await side_by_side(bench, _PLACES, _cut_off)
    outcome = summed(outcomes)
    outcome.dose = f"{bench.dose} cuts, lease {LEASE:g} s, {_places(outcomes)}"
    outcome.note = f"{outcome.again} calls made again under their own key"
    return outcome


async def _cut_off(bench: Bench) -> Outcome:
    outcome = Outcome()
    ledger = Ledger(bench.folder / "ledger.txt")
    assert isinstance(bench.store, PostgresStore)
    url = bench.store.url(bench.folder, "shared")
    socket = str(bench.store.cluster.folder / ".s.PGSQL.5432")
    async with (
        open_books(ledger, bench.dice, slow=0.1) as books,
        open_wire(socket) as one,
        open_wire(socket) as two,
        open_runtimes(bench, 2, books.url, [_by(url, one), _by(url, two)]) as runtimes,
        open_roaming(bench, runtimes) as client,
        anyio.create_task_group() as group,
    ):
        flow = Flow(client, "desk", ledger, 8 * bench.dose, bench.dice)
        group.start_soon(flow.run, 12)
        for number in range(bench.dose):
            flow.allow((number + 1) / bench.dose)
            await anyio.sleep(0.5 * bench.dice.random())
            for wire in bench.dice.choice([(one,), (two,), (one, two)]):
                # Either nothing comes through, or every connection is refused and broken off.
                wire.cut(silent=bench.dice.random() < 0.5)
            await anyio.sleep(bench.at(2.5, 4, 30) * (0.3 + 0.7 * bench.dice.random()))
            one.mend()
            two.mend()
            for served in runtimes:
                if not served.alive:
                    outcome.broken.append(f"a runtime ended while it was cut off: {served.log}")
                    await served.start()
        await flow.over.wait()
        await flow.judge(outcome)
        outcome.broken += await _unsound(bench, runtimes)
    outcome.again = ledger.asked_again
    return outcome


def _by(url: str, wire: "Wire") -> str:
    database = url.partition("?")[0].rpartition("/")[2]
    return f"postgresql://repertory@127.0.0.1:{wire.port}/{database}?connect_timeout=2"


async def _unsound(bench: Bench, runtimes: Sequence[Served]) -> list[str]:
    """What is wrong with the store, and with those who say that they live."""
    damage = bench.store.damage(runtimes[0].store_url)
    return [f"the store says {damage}"] if damage else []


@dataclass(slots=True)
class Wire:
    """A TCP port before the server's socket; cut, it lets nothing through."""

    socket: str
    port: int = 0
    down: bool = False
    silent: bool = False
    _mended: anyio.Event = field(default_factory=anyio.Event)
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    def cut(self, *, silent: bool) -> None:
        """Let nothing through; silent: as a cable that was pulled, and else as a refusal."""
        self.down, self.silent = True, silent
        self._mended = anyio.Event()
        if not silent:
            self.break_off()

    def mend(self) -> None:
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
async def open_wire(socket: str) -> AsyncIterator[Wire]:
    """A wire on a free port of the loopback."""
    wire = Wire(socket)
    server = await asyncio.start_server(wire.serve, "127.0.0.1", 0)
    wire.port = server.sockets[0].getsockname()[1]
    try:
        yield wire
    finally:
        wire.mend()
        server.close()
        wire.break_off()


FAULTS = (
    Fault(
        "F11",
        "network cut between runtimes and PostgreSQL",
        "two runtimes; the wire of one or of both to the server is cut, in silence or by refusal",
        doses(20, 60, 1),
        cut_off,
        stores=("postgresql",),
    ),
    Fault(
        "F12",
        "SIGSTOP of a worker that holds a lease",
        "two runtimes; one sleeps beyond its lease, the other finishes, the first wakes",
        doses(20, 20, 1),
        stop_worker,
        stores=("postgresql",),
    ),
    Fault(
        "F19",
        "kill -9 of one of three replicas",
        "three runtimes; every two seconds one of them is killed and started again",
        doses(600, 2000, 60),
        kill_replicas,
        stores=("postgresql",),
    ),
)
