"""What agents cost that have nothing to do, contexts that wait, and a start with much unfinished.

    python benchmarks/agents.py             every arm, table on the screen
    python benchmarks/agents.py --write     the same, written into benchmarks/README.md

Each arm is a process of its own. Memory is resident memory after a full collection, less
what it was before, over how many there are; a process also keeps what it allocated once,
so small numbers of agents look dearer than they are. Start-up and recovery are seconds of
`open_network`, from its call until the network takes messages, with the libraries loaded.
"""

import argparse
import asyncio
import gc
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio

# Run as a program, this file has only its own folder on the path.
sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.results import write
from repertory.agents import Agent, Question, Turn
from repertory.protocol import Call, SendMessageConfiguration, SendMessageRequest, user_message
from repertory.runtime import Network, open_network
from repertory.runtime.manifest import Manifest, parse_manifest

IDLE = (1_000, 10_000, 100_000)
WAITING = 10_000
PENDING = 10_000
ROUNDS = 3
BODY = "x" * 200
CALL = Call(principal="client")
_PAGE_KB = 4
_HEAD = "network: agents\nembedder: {engine: hash}\ntelemetry: {spans: false}\nagents:\n"
_ONE = "{concurrency: %d, mailbox: 100000, patience: 100000, memory: {record: false, recall: 0, context_tokens: 0}}"


class Echo(Agent):
    """Says what it was told."""

    async def handle(self, turn: Turn) -> None:
        await turn.complete(turn.message.text)


class Asker(Agent):
    """Asks a person."""

    async def handle(self, turn: Turn) -> None:
        answer = await turn.ask_person(Question("May I?"))
        await turn.complete(answer.text)


class Stuck(Agent):
    """Works until the process ends; says once that it has begun."""

    begun: asyncio.Event

    async def handle(self, turn: Turn) -> None:
        type(self).begun.set()
        await asyncio.Event().wait()


def _resident_kb() -> float:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_KB


def _manifest(folder: Path, agents: str) -> Manifest:
    return parse_manifest(_HEAD + agents, folder=folder)


async def _send(network: Network, agent: str, number: int) -> str:
    message = user_message(BODY, message_id=f"m{number}", context_id=f"c{number}")
    request = SendMessageRequest(
        message=message, configuration=SendMessageConfiguration(return_immediately=True)
    )
    task = (await network.service(agent).send_message(request, CALL)).task
    assert task is not None
    return task.id


async def _send_all(network: Network, agent: str, messages: int) -> list[str]:
    ids: list[str] = []
    numbers = iter(range(messages))

    async def send() -> None:
        for number in numbers:
            ids.append(await _send(network, agent, number))

    async with anyio.create_task_group() as group:
        for _ in range(64):
            group.start_soon(send)
    return ids


# -- arms ------------------------------------------------------------------------


async def idle(folder: Path, agents: int) -> dict[str, float]:
    """A network of so many agents that nobody asks anything, and then each once."""
    # What one of it loads is no agent's.
    async with open_network(_manifest(folder, "  a: {}\n"), kinds={"a": Echo}):
        pass
    names = [f"a{number}" for number in range(agents)]
    # Of one entry: a manifest's text is bounded, and what it takes is no agent's.
    one = _manifest(folder, f"  a: {_ONE % 1}\n")
    manifest = one.model_copy(update={"agents": dict.fromkeys(names, one.agents["a"])})
    kinds: dict[str, type[Agent]] = dict.fromkeys(names, Echo)
    before = _resident_kb()
    began = time.perf_counter()
    async with open_network(manifest, kinds=kinds) as network:
        opened = time.perf_counter() - began
        held = _resident_kb()
        tasks = len(asyncio.all_tasks())
        began = time.perf_counter()
        await network.ask(names[-1], "Are you there?")
        woken = time.perf_counter() - began
        spent, began = time.process_time(), time.perf_counter()
        await asyncio.sleep(2.0)
        resting = (time.process_time() - spent) / (time.perf_counter() - began)
    return {
        "kB": (held - before) / agents,
        "start s": opened,
        "tasks": tasks,
        "first answer ms": woken * 1e3,
        "CPU at rest": resting,
    }


async def waiting(folder: Path, contexts: int) -> dict[str, float]:
    """So many contexts of one agent, each of which waits for a person."""
    manifest = _manifest(folder, f"  asker: {_ONE % 64}\n")
    async with open_network(manifest, kinds={"asker": Asker}) as network:
        await network.answer(await network.tell("asker", "once"), "yes")
        before = _resident_kb()
        began = time.perf_counter()
        ids = await _send_all(network, "asker", contexts)
        await network.idle()
        taken = time.perf_counter() - began
        held = _resident_kb()
        answers = []
        for task_id in ids[:: contexts // 100]:
            began = time.perf_counter()
            await network.answer(task_id, "yes")
            async for _ in network.watch(task_id):
                pass
            answers.append(time.perf_counter() - began)
    return {
        "kB": (held - before) / contexts,
        "seconds": taken,
        "answer ms": statistics.median(answers) * 1e3,
    }


async def fill(folder: Path, pending: int) -> dict[str, float]:
    """Leave so many unfinished tasks behind."""
    manifest = _manifest(folder, f"  stuck: {_ONE % 4}\n")
    Stuck.begun = asyncio.Event()
    async with open_network(manifest, kinds={"stuck": Stuck}) as network:
        await _send_all(network, "stuck", pending)
    return {}


async def recover(folder: Path, pending: int) -> dict[str, float]:
    """Start over them."""
    manifest = _manifest(folder, f"  stuck: {_ONE % 4}\n")
    Stuck.begun = asyncio.Event()
    # What one of it loads is no part of a recovery.
    apart = manifest.model_copy(update={"folder": folder / "other"})
    async with open_network(apart, kinds={"stuck": Stuck}):
        pass
    began, spent = time.perf_counter(), time.process_time()
    async with open_network(manifest, kinds={"stuck": Stuck}) as network:
        opened, cpu = time.perf_counter() - began, time.process_time() - spent
        await Stuck.begun.wait()
        first = time.perf_counter() - began
        # The four at work do not wait.
        assert network.hosts["stuck"].waiting >= pending - 4
    return {"seconds": opened, "first s": first, "CPU s": cpu}


ARMS: dict[str, Callable[[Path, int], Awaitable[dict[str, float]]]] = {
    "idle": idle,
    "waiting": waiting,
    "fill": fill,
    "recover": recover,
}


def _run(arm: str, number: int, folder: Path) -> dict[str, float]:
    argv = [sys.executable, __file__, "--arm", arm, str(number), "--folder", str(folder)]
    done = subprocess.run(argv, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _idle_table() -> str:
    rows = []
    for agents in IDLE:
        with tempfile.TemporaryDirectory(prefix="repertory-agents-") as name:
            found = _run("idle", agents, Path(name))
        rows.append(
            f"| {agents:,} | {found['kB']:.2f} kB |"
            f" {found['start s']:.2f} s | {found['tasks']:.0f} | {found['first answer ms']:.0f} ms |"
            f" {found['CPU at rest']:.1%} |"
        )
    return (
        "| idle agents | memory each | start-up | tasks of the event loop | first answer of one |"
        " CPU at rest |\n|---|---|---|---|---|---|\n" + "\n".join(rows)
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--arm", nargs=2, metavar=("NAME", "NUMBER"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.arm:
        name, number = chosen.arm
        print(json.dumps(anyio.run(ARMS[name], chosen.folder, int(number))))
        return 0
    text = _idle_table()
    with tempfile.TemporaryDirectory(prefix="repertory-agents-") as folder:
        parked = _run("waiting", WAITING, Path(folder))
    text += (
        f"\n\n{WAITING:,} contexts of one agent that wait for a person: {parked['kB']:.1f} kB each,"
        f" {parked['seconds']:.1f} s until all of them wait; from an answer to the end of its task"
        f" {parked['answer ms']:.1f} ms at the median of 100."
    )
    rounds: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="repertory-agents-") as folder:
        _run("fill", PENDING, Path(folder))
        for _ in range(ROUNDS):
            rounds.append(_run("recover", PENDING, Path(folder)))
    seconds, first, cpu = (
        statistics.median(each[name] for each in rounds) for name in ("seconds", "first s", "CPU s")
    )
    text += (
        f"\n\nRecovery of {PENDING:,} pending tasks: {seconds:.2f} s until the network takes"
        f" messages, {first:.2f} s until the first of them is at work (goal: under 3 s);"
        f" {cpu:.2f} s of CPU; medians of {ROUNDS} starts."
    )
    print(text)
    if chosen.write:
        write("agents", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
