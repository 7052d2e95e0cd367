"""F5: a peer is killed in the middle of a call, over pipes, over HTTP, and over A2A."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import anyio

from .books import open_books
from .client import Client, open_client
from .fault import Bench, Fault, Outcome, doses
from .kills import open_pair
from .ledger import ENDED, Ledger
from .processes import free_port
from .serving import Served, clerk, kind

_ERROR_SECONDS = 1.0
_HELD = "held.txt"
# Servers of each kind: one that dies again and again is left alone for seconds in between.
_PLACES = 5


async def kill_peers(bench: Bench) -> Outcome:
    """Kill each kind of peer `dose` times while it is being called."""
    outcome = Outcome(dose=f"{bench.dose} kills over pipes, over HTTP and over A2A each")
    ledger = Ledger(bench.folder / "ledger.txt")
    ports = {place: free_port() for place in range(_PLACES)}
    agents = {
        "piped": kind("Caller", tools=[f"piped{n}" for n in ports], concurrency=8),
        "wired": kind("Caller", tools=[f"wired{n}" for n in ports], concurrency=8),
        "clerk": clerk(),
    }
    async with open_books(ledger, bench.dice, slow=0.01) as books:
        failing = {"on_unknown": "fail"}
        tools: dict[str, Any] = {
            **{f"piped{n}": {"command": ["python", "peer.py", _HELD], **failing} for n in ports},
            **{
                f"wired{n}": {"url": f"http://127.0.0.1:{p}/mcp", **failing}
                for n, p in ports.items()
            },
            "books": {"url": books.url, "idempotent": "all"},
        }
        async with (
            Served(bench, "peers", agents, tools=tools) as served,
            open_client(served.url) as client,
        ):
            await served.start()
            held, taken, again = served.folder / _HELD, list[float](), 0

            async def piped(place: int) -> None:
                for number in range(place, bench.dose, _PLACES):
                    taken.append(await _kill_piped(client, held, place, number, outcome))

            async def wired(place: int) -> None:
                for number in range(place, bench.dose, _PLACES):
                    with _wired(served.folder, ports[place]) as peer:
                        told = await _kill_wired(client, held, place, number, peer, outcome)
                        taken.append(told)

            async with _canary(client, ledger, outcome), anyio.create_task_group() as group:
                for place in ports:
                    group.start_soon(piped, place)
                    group.start_soon(wired, place)
                again = await _kill_agents(bench, outcome)
            assert served.life is not None
            outcome.broken += orphans(served.life.pid, "peer.py", most=_PLACES)
            await served.kill()
            outcome.broken += await _gone(served.folder)
    slowest = max(taken)
    outcome.repeated += ledger.repeated()
    outcome.note = (
        f"the slowest caller had its error {slowest:.2f} s after the kill;"
        f" {len(ledger.done)} calls beside it were answered; over A2A {again} tasks went on"
        " at the next life; recovery is that of the A2A peer"
    )
    if slowest > _ERROR_SECONDS:
        outcome.broken.append(f"a caller waited {slowest:.2f} s for its error")
    return outcome


async def _kill_piped(
    client: Client, held: Path, place: int, number: int, outcome: Outcome
) -> float:
    name = f"piped-{number}"
    task = await client.send("piped", name, {"tool": f"piped{place}.hold"})
    pid = await _holder(held, name)
    began = monotonic()
    os.kill(pid, signal.SIGKILL)
    await _judge(client, "piped", name, task["id"], outcome)
    return monotonic() - began


async def _kill_wired(
    client: Client,
    held: Path,
    place: int,
    number: int,
    peer: "subprocess.Popen[bytes]",
    outcome: Outcome,
) -> float:
    name = f"wired-{number}"
    task = await client.send("wired", name, {"tool": f"wired{place}.hold"})
    await _holder(held, name)
    began = monotonic()
    peer.kill()
    await _judge(client, "wired", name, task["id"], outcome)
    return monotonic() - began


async def _holder(held: Path, name: str) -> int:
    """The process that holds the call of that name."""
    with anyio.fail_after(20.0):
        while True:
            lines = held.read_text().split("\n")[:-1] if held.exists() else []
            for pid, found in (line.split() for line in lines):
                if found == name:
                    return int(pid)
            await anyio.sleep(0.005)


async def _judge(client: Client, agent: str, name: str, task_id: str, outcome: Outcome) -> None:
    outcome.accepted += 1
    states = await client.states(agent, {name: task_id}, ENDED, patience=10.0)
    if states[name] not in ENDED:
        outcome.stuck.append(f"{name} is {states[name]}")
    elif states[name] != "FAILED":
        outcome.broken.append(f"{name} ended as {states[name]}, though nobody answered it")


@contextlib.contextmanager
def _wired(folder: Path, port: int) -> "Iterator[subprocess.Popen[bytes]]":
    process = subprocess.Popen([sys.executable, "peer.py", _HELD, str(port)], cwd=folder)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextlib.asynccontextmanager
async def _canary(client: Client, ledger: Ledger, outcome: Outcome) -> AsyncIterator[None]:
    """Have a clerk at work all the while; each of its tasks is answered."""
    scope = anyio.CancelScope()

    async def work() -> None:
        number = 0
        with scope:
            while True:
                name = f"beside-{number}"
                task = await client.send("clerk", name, {"steps": 1}, wait=True)
                outcome.accepted += 1
                if task["status"]["state"] != "TASK_STATE_COMPLETED":
                    outcome.broken.append(f"{name}, beside the kills, is {task['status']}")
                ledger.accepted[name] = task["id"]
                number += 1
                await anyio.sleep(0.05)

    async with anyio.create_task_group() as group:
        group.start_soon(work)
        yield
        scope.cancel()


async def _kill_agents(bench: Bench, outcome: Outcome) -> int:
    """Kill the agent that is being asked over A2A, start it again: the asking goes on."""
    ledger = Ledger(bench.folder / "far.txt")
    async with open_books(ledger, bench.dice, slow=0.05) as books, open_pair(bench, books) as pair:
        near, far = pair
        await far.start()
        await near.start()
        async with open_client(near.url) as client:
            for number in range(bench.dose):
                name = f"far-{number}"
                ledger.accepted[name] = (await client.send("desk", name, {"steps": 2}))["id"]
                with anyio.fail_after(20.0):
                    while not any(what.startswith(f"{name}/") for what in ledger.order):  # noqa: ASYNC110 - it comes from another process
                        await anyio.sleep(0.005)
                await far.kill()
                await far.start()
            states = await client.states("desk", ledger.accepted, ENDED, patience=60.0)
    outcome.accepted += len(ledger.accepted)
    outcome.lost += ledger.lost(states, dict.fromkeys(ledger.accepted, 2))
    outcome.lost += [f"{n} ended as {s}" for n, s in states.items() if s in ENDED - {"COMPLETED"}]
    outcome.stuck += ledger.stuck(states)
    outcome.repeated += ledger.repeated()
    outcome.recoveries += far.recoveries
    return sum(state == "COMPLETED" for state in states.values())


def orphans(pid: int, program: str, *, most: int) -> list[str]:
    """What is wrong when a process has more than `most` living children of a program."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == pid and program in (place / "cmdline").read_text():
                found.append(place.name)
    return [f"{len(found)} processes of {program} live, not {most}"] if len(found) > most else []


async def _gone(folder: Path) -> list[str]:
    """What outlived the runtime that had started it."""
    left: list[str] = []
    for _ in range(100):
        left = []
        for place in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (place / "cwd").readlink() == folder:
                    left.append(f"process {place.name} outlived the runtime that had started it")
        if not left:
            break
        await anyio.sleep(0.05)
    return left


FAULTS = (
    Fault(
        "F5",
        "a peer killed in mid-call",
        "a tool server over pipes, one over HTTP, and an agent over A2A are killed while they are"
        " called",
        doses(50, 500, 2),
        kill_peers,
    ),
)
