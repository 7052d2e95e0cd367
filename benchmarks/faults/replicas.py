"""F11, F12 and F19: several runtimes over one PostgreSQL; one is cut off, put to sleep, or killed.

The driver sends to whichever answers. What may not happen is that two of them work on one
task: the books would see a thing done under two keys, or a context out of order.
"""

import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from random import Random

import anyio

from .books import open_books
from .client import Client, open_client
from .cuts import Cable, open_proxied, open_veth, veth_missing
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
    missing, turn = veth_missing(), count()

    def cut(part: Bench) -> Awaitable[Outcome]:
        by_proxy = bool(missing) or next(turn) % 2 == 1
        return _cut_off(part, open_proxied if by_proxy else open_veth)

    outcomes = await side_by_side(bench, _PLACES, cut)
    outcome = summed(outcomes)
    outcome.dose = f"{bench.dose} cuts, lease {LEASE:g} s, {_places(outcomes)}"
    how = (
        f"no network namespaces ({missing}), so all by a proxy"
        if missing
        else "half by veth (down, one way, flapping), half by a proxy (silence, refusal)"
    )
    outcome.note = f"{how}; {outcome.again} calls made again under their own key"
    return outcome


async def _cut_off(
    bench: Bench, open_cable: Callable[[str], AbstractAsyncContextManager[Cable]]
) -> Outcome:
    outcome = Outcome()
    ledger = Ledger(bench.folder / "ledger.txt")
    assert isinstance(bench.store, PostgresStore)
    url = bench.store.url(bench.folder, "shared")
    socket = str(bench.store.cluster.folder / ".s.PGSQL.5432")
    async with (
        open_books(ledger, bench.dice, slow=0.1) as books,
        open_cable(socket) as one,
        open_cable(socket) as two,
        open_runtimes(bench, 2, books.url, [_by(url, one), _by(url, two)]) as runtimes,
        open_roaming(bench, runtimes) as client,
        anyio.create_task_group() as group,
    ):
        flow = Flow(client, "desk", ledger, 8 * bench.dose, bench.dice)
        group.start_soon(flow.run, 12)
        for number in range(bench.dose):
            flow.allow((number + 1) / bench.dose)
            await anyio.sleep(0.5 * bench.dice.random())
            for cable in bench.dice.choice([(one,), (two,), (one, two)]):
                await cable.cut(bench.dice)
            await anyio.sleep(bench.at(2.5, 4, 30) * (0.3 + 0.7 * bench.dice.random()))
            await one.mend()
            await two.mend()
            for served in runtimes:
                if not served.alive:
                    outcome.broken.append(f"a runtime ended while it was cut off: {served.log}")
                    await served.start()
        await flow.over.wait()
        await flow.judge(outcome)
        outcome.broken += await _unsound(bench, runtimes)
    outcome.again = ledger.asked_again
    return outcome


def _by(url: str, cable: Cable) -> str:
    database = url.partition("?")[0].rpartition("/")[2]
    return f"postgresql://repertory@{cable.host}:{cable.port}/{database}?connect_timeout=2"


async def _unsound(bench: Bench, runtimes: Sequence[Served]) -> list[str]:
    """What is wrong with the store, and with those who say that they live."""
    damage = bench.store.damage(runtimes[0].store_url)
    return [f"the store says {damage}"] if damage else []


FAULTS = (
    Fault(
        "F11",
        "network cut between runtimes and PostgreSQL",
        "two runtimes; the link of one or of both to the server goes down, loses one direction or"
        " flaps, or is refused",
        doses(20, 60, 1),
        cut_off,
        stores=("postgresql",),
        waits=True,
    ),
    Fault(
        "F12",
        "SIGSTOP of a worker that holds a lease",
        "two runtimes; one sleeps beyond its lease, the other finishes, the first wakes",
        doses(20, 20, 1),
        stop_worker,
        stores=("postgresql",),
        waits=True,
    ),
    Fault(
        "F19",
        "kill -9 of one of three replicas",
        "three runtimes; every two seconds one of them is killed and started again",
        doses(600, 2000, 60),
        kill_replicas,
        stores=("postgresql",),
        waits=True,
    ),
)
