"""F13, F14 and F17: an agent that crashes for ever, ten times too much work, and a long time."""

from collections.abc import Callable
from statistics import quantiles
from time import monotonic
from typing import Any

import anyio

from .books import open_books
from .client import HEADERS, Client, open_client
from .fault import Bench, Fault, Outcome, doses
from .ledger import ENDED, Ledger
from .processes import open_things, resident_bytes
from .serving import Served, clerk, kind

_ATTEMPTS = 3
_NORMAL = 15.0
_OVERLOAD = 10.0
_GROWTH = 60e6
# A process remembers the last 2,048 tasks that ended, and each message here is two.
_WARM, _WARMERS = 1_200, 4
_PATIENCE = 600.0
# Seconds, bytes, files and threads.
_Sample = tuple[float, int, int, int]


async def crash_for_ever(bench: Bench) -> Outcome:
    """F13: poison until its agent is given up, while a clerk beside it is asked all the time."""
    outcome = Outcome(dose=f"{bench.dose} poisoned messages")
    ledger = Ledger(bench.folder / "ledger.txt")
    supervision = {
        "attempts": _ATTEMPTS,
        "intensity": bench.dose,
        "period": 600.0,
        "escalate": "agent",
    }
    agents = {"clerk": clerk(), "crasher": kind("Crasher", tools=["books.post"])}
    async with open_books(ledger, bench.dice, slow=0.005) as books:
        async with (
            Served(bench, "crashing", agents, books.url, supervision=supervision) as served,
            open_client(served.url) as client,
        ):
            await served.start()
            reasons: list[str] = []
            for number in range(bench.dose):
                task = await client.send("crasher", f"p{number}", {"poison": True}, wait=True)
                parts = (task["status"].get("message") or {}).get("parts") or [{}]
                reasons.append(str(parts[0].get("text", "")))
                outcome.accepted += 1
                if task["status"]["state"] != "TASK_STATE_FAILED":
                    outcome.stuck.append(f"p{number} is {task['status']['state']}")
                beside = await client.send("clerk", f"c{number}", {"steps": 1}, wait=True)
                ledger.accepted[f"c{number}"] = beside["id"]
            states = await client.states("clerk", ledger.accepted, ENDED, patience=20.0)
    outcome.accepted += len(ledger.accepted)
    outcome.lost += ledger.lost(states, dict.fromkeys(ledger.accepted, 1))
    outcome.repeated += ledger.repeated()
    tried = sum(f"crashed {_ATTEMPTS} times over this message" in words for words in reasons)
    down = sum("more than" in words for words in reasons)
    if not tried or not down or tried + down < len(reasons):
        outcome.broken.append(f"of the poisoned messages this became: {reasons}")
    outcome.note = (
        f"{tried} given up after {_ATTEMPTS} attempts, {down} refused once the agent was down;"
        f" {len(ledger.done)} tasks of the agent beside it done"
    )
    return outcome


async def overload(bench: Bench) -> Outcome:
    """F14: a normal rate for a while, then ten times that; what is accepted stays quick."""
    outcome = Outcome(dose=f"{_NORMAL * _OVERLOAD:.0f} messages/s for {bench.dose} s")
    slow = kind("Sleeper", concurrency=4, mailbox=3, busy_after=0.02)
    async with (
        Served(bench, "loaded", {"sleeper": slow}) as served,
        open_client(served.url, patience=30.0) as client,
    ):
        await served.start()
        life = served.life
        assert life is not None
        normal, _ = await _pour(client, "n", _NORMAL, bench.at(2, 8, 30), outcome)
        before = resident_bytes(life.pid)
        loaded, refused = await _pour(client, "o", _NORMAL * _OVERLOAD, bench.dose, outcome)
        grown = resident_bytes(life.pid) - before
    usual, worst = quantiles(normal, n=100)[98], quantiles(loaded, n=100)[98]
    if worst > 3 * usual:
        outcome.broken.append(f"p99 of what was accepted rose from {usual:.2f} to {worst:.2f} s")
    if grown > _GROWTH:
        outcome.broken.append(f"memory grew by {grown / 1e6:.0f} MB")
    outcome.note = (
        f"{refused} refused as busy; p99 of the accepted {worst:.2f} s, {usual:.2f} s at the normal"
        f" rate; memory {grown / 1e6:+.0f} MB"
    )
    return outcome


async def _pour(
    client: Client, prefix: str, rate: float, seconds: float, outcome: Outcome
) -> tuple[list[float], int]:
    """Send at a rate; how long each accepted task took, and how many were refused."""
    taken: list[float] = []
    refused = 0
    began = monotonic()

    async def one(name: str) -> None:
        nonlocal refused
        start = monotonic()
        parts = [{"data": {"id": name, "seconds": 0.05}}]
        body = {"message": {"messageId": name, "role": "ROLE_USER", "parts": parts}}
        async with client.session.post(
            client.place("sleeper", "message:send"), json=body, headers=HEADERS
        ) as response:
            told: dict[str, Any] = await response.json(content_type=None)
        if response.status in (429, 503):
            refused += 1
            if "Retry-After" not in response.headers:
                outcome.broken.append(
                    f"{name} was refused as busy without a hint when to come again"
                )
            return
        outcome.accepted += 1
        taken.append(monotonic() - start)
        state = (told.get("task") or {}).get("status", {}).get("state", str(told))
        if state != "TASK_STATE_COMPLETED":
            outcome.stuck.append(f"{name} is {state}")

    async with anyio.create_task_group() as group:
        number = 0
        while (now := monotonic() - began) < seconds:
            while number < now * rate:
                group.start_soon(one, f"{prefix}{number}")
                number += 1
            await anyio.sleep(0.005)
    return taken, refused


async def soak(bench: Bench) -> Outcome:
    """F17: the same work for a long time; memory, files and threads after a warm-up."""
    rate = bench.at(10, 10, 1)
    warm = round(bench.at(20, _WARM, _WARM))
    outcome = Outcome(dose=f"{bench.dose} s at {rate:g} tasks/s, after {warm} tasks")
    ledger = Ledger(bench.folder / "ledger.txt")
    # Packs are kept, and the index of packs is in memory: it grows with them, and not with time.
    agents = {"desk": kind("Desk", peers=["clerk"]), "clerk": clerk()}
    samples: list[_Sample] = []
    async with open_books(ledger, bench.dice, slow=0.005) as books:
        async with (
            Served(bench, "soaked", agents, books.url) as served,
            open_client(served.url) as client,
        ):
            await served.start()
            life = served.life
            assert life is not None
            await _warm_up(client, ledger, warm)
            await anyio.sleep(bench.at(0, 5, 30))

            def look(at: float) -> None:
                samples.append((at, resident_bytes(life.pid), *open_things(life.pid)))
                if len(samples) % 600 == 0:
                    bench.say(f"{at:.0f} of {bench.dose} s, {samples[-1][1] / 1e6:.0f} MB")

            await _steadily(client, ledger, rate, round(bench.dose * rate), look)
            states = await client.states("desk", ledger.accepted, ENDED, patience=20.0)
    outcome.accepted = len(ledger.accepted)
    outcome.lost = ledger.lost(states, dict.fromkeys(ledger.accepted, 1))
    outcome.repeated = ledger.repeated()
    outcome.stuck = ledger.stuck(states)
    _grown(bench, samples, outcome)
    return outcome


async def _warm_up(client: Client, ledger: Ledger, total: int) -> None:
    """Have so many messages answered, a few at a time."""
    numbers = iter(range(total))

    async def some() -> None:
        for number in numbers:
            task = await client.send("desk", f"w{number}", {"steps": 1}, wait=True)
            ledger.accepted[f"w{number}"] = task["id"]

    async with anyio.create_task_group() as group:
        for _ in range(_WARMERS):
            group.start_soon(some)


async def _steadily(
    client: Client,
    ledger: Ledger,
    rate: float,
    total: int,
    look: Callable[[float], None],
) -> None:
    """Send so many messages at a rate, looking ten times a second; returns when all are answered."""
    began, number = monotonic(), 0

    async def one(name: str) -> None:
        task = await client.send("desk", name, {"steps": 1}, wait=True, patience=_PATIENCE)
        ledger.accepted[name] = task["id"]

    async with anyio.create_task_group() as group:
        while number < total:
            now = monotonic() - began
            while number < min(total, now * rate):
                group.start_soon(one, f"t{number}")
                number += 1
            look(now)
            await anyio.sleep(0.1)


def _grown(bench: Bench, samples: list[_Sample], outcome: Outcome) -> None:
    """What grew after the warm-up, when all that is loaded or remembered once has been."""
    third = max(1, len(samples) // 3)
    first, last = samples[:third], samples[-third:]
    files = min(s[2] for s in last) - min(s[2] for s in first)
    threads = min(s[3] for s in last) - min(s[3] for s in first)
    hours = (samples[-1][0] - samples[0][0]) / 3600
    mean = sum(s[0] for s in samples) / len(samples)
    spread = sum((s[0] - mean) ** 2 for s in samples) or 1.0
    slope = sum((s[0] - mean) * s[1] for s in samples) / spread * 3600 / 1e6
    outcome.note = (
        f"memory {slope:+.1f} MB/h over {hours * 60:.0f} min, from {samples[0][1] / 1e6:.1f} to"
        f" {samples[-1][1] / 1e6:.1f} MB; files {files:+d}, threads {threads:+d}"
    )
    # A connection that is opened when it is first needed is no leak; over a minute it looks like one.
    if max(files, threads) > {"tiny": 100, "ci": 4, "nightly": 0}[bench.size]:
        outcome.broken.append(f"files {files:+d}, threads {threads:+d}")
    # Over a minute the slope says nothing yet: a page more or less is megabytes an hour.
    if bench.size == "nightly" and slope > 1.0:
        outcome.broken.append(f"memory grows by {slope:.1f} MB/h")


FAULTS = (
    Fault(
        "F13",
        "an agent that crashes for ever",
        "messages that crash their agent each time, until the agent is given up",
        doses(8, 50, 4),
        crash_for_ever,
    ),
    Fault(
        "F14",
        "overload",
        "ten times the normal rate",
        doses(60, 600, 2),
        overload,
    ),
    Fault(
        "F17",
        "a long time",
        "steady work, looked at for what grows",
        doses(60, 1800, 3),
        soak,
        waits=True,
    ),
)
