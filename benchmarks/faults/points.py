"""F3: the process dies at each of its commits, by the crash points that the runtime names."""

from collections.abc import Mapping

import anyio
import anyio.to_thread

from repertory.xp_store import CRASH_POINTS

from .books import open_books
from .client import Client, open_client
from .fault import Bench, Fault, Outcome, doses
from .ledger import ENDED, Ledger
from .serving import Served, clerk, kind

_DEATH_SECONDS = 30.0
_SETTLE = 60.0
_KILLED = -9
# What is sent for a point besides plain work.
_BY_CRASH = ("before-attempt", "after-attempt")
_BY_COMMAND = ("before-command", "after-command", "in-command")
# What a life may come by only once: packs go to the index many at a time.
_ONCE = (
    *_BY_CRASH,
    *_BY_COMMAND,
    *("before-vectors", "after-vectors", "in-outbox", "after-outbox", "in-pack"),
)


class _Round:
    """What was sent over all points, and how each should end."""

    def __init__(self, client: Client, ledger: Ledger, served: Served) -> None:
        self.client = client
        self.ledger = ledger
        self.served = served
        self.steps: dict[str, int] = {}
        self.wanted: dict[str, str] = {}
        self.agents: dict[str, str] = {}

    async def send(self, agent: str, name: str, facts: Mapping[str, object], ends: str) -> str:
        """Send one task until it is acknowledged, over however many lives."""
        self.wanted[name], self.agents[name] = ends, agent
        if ends == "COMPLETED":
            self.steps[name] = int(str(facts.get("steps", 0)))
        task = await self.client.send(agent, name, facts)
        self.ledger.accepted[name] = str(task["id"])
        return str(task["id"])

    async def work(self, point: str, number: int) -> None:
        """The work that comes by a point."""
        name = f"{point}-{number}"
        if point in _BY_CRASH:
            await self.send("crasher", f"{name}-p", {"poison": True}, "FAILED")
        if point in _BY_COMMAND:
            task_id = await self.send("sleeper", f"{name}-c", {"seconds": 300}, "CANCELED")
            served = self.served
            order = served.bench.starter.start(
                served.folder,
                ["cancel", task_id, "-m", "network.yaml"],
                served.folder / "cancel.log",
            )
            await anyio.to_thread.run_sync(order.wait)
        async with anyio.create_task_group() as group:
            for each in range(2):
                group.start_soon(self.send, "desk", f"{name}-{each}", {"steps": 2}, "COMPLETED")


async def die_at_points(bench: Bench) -> Outcome:
    """Arm each point in turn, work until the process dies of it, start it again and go on."""
    # No work comes by an upgrade; tests/xp_store/test_schema.py does.
    points = [point for point in CRASH_POINTS if point != "in-upgrade"]
    if bench.size == "tiny":
        points = ["in-accept", "after-effect", "in-end"]
    outcome = Outcome(dose=f"{len(points)} points, {bench.dose} times each")
    ledger = Ledger(bench.folder / "ledger.txt")
    agents = {
        "desk": kind("Desk", peers=["clerk"], memory={"record": True}),
        "clerk": clerk(memory={"record": True}),
        "sleeper": kind("Sleeper"),
        "crasher": kind("Crasher", tools=["books.post"]),
    }
    supervision = {"attempts": 2, "intensity": 1000, "period": 1.0}
    async with open_books(ledger, bench.dice, slow=0.01) as books:
        async with (
            Served(bench, "points", agents, books.url, supervision=supervision) as served,
            open_client(served.url) as client,
        ):
            sent, missed = _Round(client, ledger, served), list[str]()
            for place, point in enumerate(points):
                for number in range(bench.dose):
                    if not await _die(bench, sent, point, number):
                        missed.append(point)
                if (place + 1) % max(1, len(points) // 4) == 0:
                    bench.say(f"{place + 1} of {len(points)} points")
            await served.start()
            await _judge(sent, outcome)
            if damage := bench.store.damage(served.store_url):
                outcome.broken.append(f"the store says {damage}")
    outcome.recoveries = served.recoveries
    died = len(points) * bench.dose - len(missed)
    outcome.note = f"{died} deaths at their point, {ledger.asked_again} calls made again"
    if missed:
        outcome.broken.append(f"never came by {', '.join(sorted(set(missed)))}")
    return outcome


async def _die(bench: Bench, sent: _Round, point: str, number: int) -> bool:
    """Live once with a point armed; whether the process died of it."""
    served = sent.served
    armed = f"{point}:{1 if point in _ONCE else bench.dice.randint(1, 2)}"
    await served.start(ready=False, environment={"REPERTORY_CRASH_AT": armed})
    life = served.life
    assert life is not None
    died = False
    async with anyio.create_task_group() as group:
        group.start_soon(sent.work, point, number)
        with anyio.move_on_after(_DEATH_SECONDS):
            while life.alive:  # noqa: ASYNC110 - another process ends
                await anyio.sleep(0.01)
        died = life.status == _KILLED
        await served.kill()
        # Whoever still waits for an acknowledgment gets it from the next life.
        await served.start()
    await served.kill()
    return died


async def _judge(sent: _Round, outcome: Outcome) -> None:
    ledger = sent.ledger
    states: dict[str, str] = {}
    for agent in sorted(set(sent.agents.values())):
        theirs = {n: i for n, i in ledger.accepted.items() if sent.agents[n] == agent}
        states |= await sent.client.states(agent, theirs, ENDED, patience=_SETTLE)
    outcome.accepted = len(ledger.accepted)
    outcome.lost = ledger.lost(states, sent.steps)
    outcome.repeated = ledger.repeated()
    outcome.stuck = ledger.stuck(states)
    outcome.broken += [
        f"{name} ended as {state}, not {sent.wanted[name]}"
        for name, state in states.items()
        if state in ENDED and state != sent.wanted[name]
    ]


FAULTS = (
    Fault(
        "F3",
        "death at every commit",
        "the process dies at each named point around its commits",
        doses(3, 10, 1),
        die_at_points,
    ),
)
