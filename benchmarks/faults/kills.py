"""F1 and F2: kill -9 of an agent's process, and of the runtime, in the middle of its work."""

from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import anyio
import anyio.to_thread

from .books import Books, open_books
from .client import WITH_ROOM, Client, open_client
from .fault import Bench, Fault, Outcome, doses
from .ledger import ENDED, Ledger
from .serving import Served, clerk, kind

_SETTLE = 60.0
_CONTEXTS = 12
# Until a mailbox that is full while nobody works has room again.
_PATIENCE = 240.0


class Flow:
    """Tasks that are sent in step with the kills, so that there is always work to be killed in."""

    def __init__(
        self,
        client: Client,
        agent: str,
        ledger: Ledger,
        total: int,
        dice: Random,
        padding: str = "",
    ) -> None:
        self.client = client
        self.agent = agent
        self.ledger = ledger
        self.total = total
        self.dice = dice
        self.padding = padding
        self.steps: dict[str, int] = {}
        self.sent_in: dict[str, list[str]] = defaultdict(list)
        self.allowed = 0
        self.over = anyio.Event()
        self._more = anyio.Event()

    def allow(self, share: float) -> None:
        """Let this share of all tasks have been sent."""
        self.allowed = max(self.allowed, min(self.total, round(share * self.total)))
        self._more.set()
        self._more = anyio.Event()

    async def run(self, senders: int = 4) -> None:
        """Send until all are acknowledged."""
        numbers = iter(range(self.total))
        async with anyio.create_task_group() as group:
            for sender in range(senders):
                group.start_soon(self._send, numbers, sender, senders)
        self.over.set()

    async def _send(self, numbers: Any, sender: int, senders: int) -> None:
        # A context has one sender, else its order would be nobody's.
        contexts = range(sender, _CONTEXTS, senders)
        for number in numbers:
            while number >= self.allowed:
                await self._more.wait()
            name, context = f"t{number}", f"c{self.dice.choice(contexts)}"
            self.steps[name] = self.dice.randint(1, 3)
            self.sent_in[context].append(name)
            task = await self.client.send(
                self.agent,
                name,
                {"steps": self.steps[name], "padding": self.padding},
                context=context,
                patience=_PATIENCE,
                give_up=WITH_ROOM,
            )
            self.ledger.accepted[name] = task["id"]

    async def judge(self, outcome: Outcome) -> None:
        """Compare what was accepted with what became of it."""
        ledger = self.ledger
        states = await self.client.states(self.agent, ledger.accepted, ENDED, patience=_SETTLE)
        outcome.accepted += len(ledger.accepted)
        outcome.lost += ledger.lost(states, self.steps)
        outcome.lost += [
            f"task {n} ended as {s}: {self.client.words[ledger.accepted[n]]}"
            for n, s in states.items()
            if s in ENDED - {"COMPLETED"}
        ]
        outcome.repeated += ledger.repeated()
        outcome.stuck += ledger.stuck(states)
        outcome.broken += out_of_order(ledger, self.sent_in, self.steps)


def out_of_order(
    ledger: Ledger, sent_in: Mapping[str, list[str]], steps: Mapping[str, int]
) -> list[str]:
    """Contexts whose effects did not happen in the order in which they were sent."""
    place = {what: number for number, what in enumerate(ledger.order)}
    wrong = []
    for context, names in sent_in.items():
        wanted = [f"{name}/{step}" for name in names for step in range(steps[name])]
        found = sorted((what for what in wanted if what in place), key=place.__getitem__)
        kept = [what for what in wanted if what in place]
        if found != kept:
            wrong.append(f"in context {context} the order was {found}, not {kept}")
    return wrong


async def kill_and_start(bench: Bench, served: Served, flow: Flow, kills: int) -> None:
    """Kill the process so often at random moments, and start it again each time."""
    for number in range(kills):
        flow.allow((number + 1) / kills)
        in_its_start = not served.alive and bench.dice.random() < 0.2
        if not served.alive:
            await served.start(ready=not in_its_start)
        await anyio.sleep((0.25 if in_its_start else 0.2) * bench.dice.random())
        await served.kill()
        if (number + 1) % max(1, kills // 5) == 0:
            bench.say(f"{number + 1} of {kills} kills, {len(flow.ledger.accepted)} accepted")
    await served.start()


async def kill_agent(bench: Bench) -> Outcome:
    """F1: an agent has a process of its own, which is killed; the one that asks it lives on."""
    outcome = Outcome(dose=f"{bench.dose} kills over {round(2.5 * bench.dose)} tasks")
    ledger = Ledger(bench.folder / "ledger.txt")
    async with open_books(ledger, bench.dice) as books, open_pair(bench, books) as (near, far):
        await far.start()
        await near.start()
        async with open_client(near.url) as client, anyio.create_task_group() as group:
            flow = Flow(client, "desk", ledger, round(2.5 * bench.dose), bench.dice)
            group.start_soon(flow.run)
            await kill_and_start(bench, far, flow, bench.dose)
            await flow.over.wait()
            await flow.judge(outcome)
        _tell(bench, outcome, ledger, near, far)
    return outcome


async def kill_runtime(bench: Bench) -> Outcome:
    """F2: the one process that owns the store, its agents and its listener is killed."""
    outcome = Outcome(dose=f"{bench.dose} kills over {6 * bench.dose} tasks")
    ledger = Ledger(bench.folder / "ledger.txt")
    async with open_books(ledger, bench.dice) as books:
        agents = {"desk": kind("Desk", peers=["clerk"]), "clerk": clerk()}
        async with Served(bench, "killed", agents, books.url) as served:
            async with open_client(served.url) as client, anyio.create_task_group() as group:
                flow = Flow(client, "desk", ledger, 6 * bench.dose, bench.dice)
                group.start_soon(flow.run)
                await kill_and_start(bench, served, flow, bench.dose)
                await flow.over.wait()
                await flow.judge(outcome)
            _tell(bench, outcome, ledger, served)
    return outcome


@asynccontextmanager
async def open_pair(bench: Bench, books: Books) -> AsyncIterator[tuple[Served, Served]]:
    """A desk, and in another process and on another store the clerk that it asks; not started."""
    far = Served(bench, "far", {"clerk": clerk()}, books.url)
    asked = {"url": f"{far.url}/agents/clerk/mcp"}
    near = Served(bench, "near", {"desk": kind("Desk", peers=["clerk"]), "clerk": asked})
    async with far, near:
        yield near, far


def _tell(bench: Bench, outcome: Outcome, ledger: Ledger, *served: Served) -> None:
    for each in served:
        if damage := bench.store.damage(each.store_url):
            outcome.broken.append(f"the store of {each.folder.name} says {damage}")
    outcome.recoveries += served[-1].recoveries
    outcome.note = (
        f"{len(ledger.done)} effects, {ledger.asked_again} calls made again under their own key"
    )


FAULTS = (
    Fault(
        "F1",
        "kill -9 of an agent's process",
        "the process of an agent that another network asks is killed at random moments",
        doses(200, 2000, 3),
        kill_agent,
        shared=True,
    ),
    Fault(
        "F2",
        "kill -9 of the runtime",
        "the process that owns store, agents and listener is killed at random moments",
        doses(50, 500, 3),
        kill_runtime,
    ),
)
