"""A million tasks an hour and ten thousand agents: measured by the task, simulated for the rest.

    python benchmarks/scale.py             the tables on the screen
    python benchmarks/scale.py --write     docs/scale.md and docs/pictures/scale.svg

First a task is measured here over PostgreSQL: an agent asks a model twice, completes, and
leaves a pack and its spans. Then a day's busiest minutes are simulated with what was
measured: tasks arrive by chance (Poisson), runtime processes have a core each, PostgreSQL
has cores, model servers answer so many at once; whatever is full is waited for. What the
simulation leaves out is in docs/scale.md.
"""

import argparse
import asyncio
import heapq
import os
import platform
import re
import sys
import tempfile
import time
from collections import deque
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import anyio

# Run as a program, this file has only its own folder on the path.
sys.path.insert(0, str(Path(__file__).parent.parent))

from repertory.agents import Agent, ChatMessage, ChatRequest, Tier, Turn
from repertory.agents.models import FunctionModel
from repertory.runtime import open_network
from repertory.runtime.heap import settle_heap
from repertory.runtime.manifest import parse_manifest
from tests.cluster import Cluster, binaries

ROOT = Path(__file__).parent.parent
PAGE, PICTURE = ROOT / "docs" / "scale.md", ROOT / "docs" / "pictures" / "scale.svg"
HOUR = 3600.0
MILLION = 1e6
CALLS = 2
# What a model takes for a call, in seconds: median and the spread of its logarithm.
MODEL_SECONDS, MODEL_SPREAD = 1.5, 0.5
# Calls that one model server (a GPU with vLLM) answers at once, at that speed.
MODEL_SLOTS = 64
POSTGRES_CORES = 4
# Seconds after which a simulation counts what is done.
WARM = 15.0
# Share of its time that a core is planned to be busy.
PLANNED = 0.7

MANIFEST = """
network: scale
embedder: {engine: hash}
models: {small: {engine: function, function: "none:none"}}
agents:
  worker: {model: small, concurrency: 64, mailbox: 4096, memory: {recall: 0}}
"""


class Worker(Agent):
    """Asks its model twice."""

    async def handle(self, turn: Turn) -> None:
        said = turn.message.text
        for _ in range(CALLS):
            asked = ChatMessage(role="user", content=said)
            request = ChatRequest(messages=(asked,), duty=Tier.GENERATE)
            said = (await turn.chat(request)).text
        await turn.complete(said)


# -- measuring -----------------------------------------------------------------------


@dataclass(frozen=True)
class Costs:
    """What one task costs: CPU seconds of its runtime and of PostgreSQL, commits, bytes kept."""

    runtime: float
    postgres: float
    units: float
    bytes: float


def _server_cpu(postmaster: int) -> float:
    """CPU seconds of a PostgreSQL server and its children so far."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, _, rest = stat.read_text().partition(" ")
        except OSError:
            continue
        fields = rest.rpartition(") ")[2].split()
        if int(pid) == postmaster or int(fields[1]) == postmaster:
            # Its own time, and that of children that have ended.
            ticks += sum(int(each) for each in fields[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


async def measure(url: str, postmaster: int, size: Any, tasks: int) -> Costs:
    """Run so many tasks, 32 at a time."""
    answer = "The order was delivered on the 4th, and paid on the 9th. " * 4
    with tempfile.TemporaryDirectory() as folder:
        manifest = parse_manifest(MANIFEST, folder=Path(folder))
        model = FunctionModel(lambda request: answer)
        async with open_network(
            manifest, store_url=url, kinds={"worker": Worker}, models={"small": model}
        ) as network:
            await network.ask("worker", "What is the status of order 4711?")
            settle_heap()
            units, before = network.journal.database.units, size()
            spent, server = time.process_time(), _server_cpu(postmaster)
            numbers = iter(range(tasks))

            async def ask() -> None:
                for number in numbers:
                    await network.ask("worker", f"What is the status of order {number}?")

            async with anyio.create_task_group() as group:
                for _ in range(32):
                    group.start_soon(ask)
            return Costs(
                (time.process_time() - spent) / tasks,
                (_server_cpu(postmaster) - server) / tasks,
                (network.journal.database.units - units) / tasks,
                (size() - before) / tasks,
            )


def measured(tasks: int) -> Costs:
    """The costs of a task over a PostgreSQL server that is started for it."""
    found = binaries()
    if found is None:
        raise SystemExit("no PostgreSQL on this machine; install the package postgresql")
    with tempfile.TemporaryDirectory(prefix="repertory-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        cluster = Cluster(Path(name) / "pg", found, durable=True)
        cluster.start()
        try:
            url = cluster.new_database()
            import psycopg

            with psycopg.connect(url, autocommit=True) as connection:

                def size() -> int:
                    row = connection.execute(
                        "SELECT pg_database_size(current_database())"
                    ).fetchone()
                    assert row is not None, "a SELECT without FROM has one row"
                    return int(row[0])

                return asyncio.run(measure(url, cluster.process, size, tasks))
        finally:
            cluster.stop()


# -- simulating ------------------------------------------------------------------------


@dataclass(eq=False)
class Station:
    """Somewhere to wait: so many are served at once, the others in the order of their arrival."""

    servers: int
    busy: int = 0
    seconds: float = 0.0
    line: "deque[tuple[Steps, float]]" = field(default_factory=deque)


# What a task does next: be served somewhere for so long.
Steps = Generator[tuple[Station, float], None, None]


class Simulation:
    """Stations, and what comes due."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, Steps, Station | None]] = []
        self._numbers = count()

    def at(self, moment: float, steps: Steps, leaving: Station | None = None) -> None:
        """Let a task go on at a moment, and leave the station where it was served."""
        heapq.heappush(self._due, (moment, next(self._numbers), steps, leaving))

    def run(self, until: float) -> None:
        """Let everything happen that comes due before a moment."""
        while self._due and self._due[0][0] < until:
            self.now, _, steps, left = heapq.heappop(self._due)
            if left is not None:
                self._free(left)
            self._go_on(steps)

    def _go_on(self, steps: Steps) -> None:
        found = next(steps, None)
        if found is None:
            return
        station, seconds = found
        if station.busy < station.servers:
            self._serve(station, steps, seconds)
        else:
            station.line.append((steps, seconds))

    def _serve(self, station: Station, steps: Steps, seconds: float) -> None:
        station.busy += 1
        station.seconds += seconds
        self.at(self.now + seconds, steps, station)

    def _free(self, station: Station) -> None:
        station.busy -= 1
        if station.line:
            steps, seconds = station.line.popleft()
            self._serve(station, steps, seconds)


@dataclass(frozen=True)
class Outcome:
    """What a simulated arrangement did: seconds of tasks beside those of the model, and load."""

    rate: float
    median: float
    late: float
    runtime: float
    postgres: float
    models: float


def simulate(
    costs: Costs, rate: float, *, processes: int, models: int, seconds: float = 120.0, seed: int = 1
) -> Outcome:
    """So many tasks a second for so long, over these processes and model servers."""
    dice = Random(seed)
    world = Simulation()
    cores = [Station(1) for _ in range(processes)]
    postgres, slots = Station(POSTGRES_CORES), Station(models * MODEL_SLOTS)
    waits: list[float] = []
    # In equal parts: accepted, each call begun and answered, ended.
    parts = 2 + 2 * CALLS

    def task(number: int, born: float) -> Steps:
        core = cores[number % processes]
        asked = 0.0

        def part() -> Steps:
            yield core, dice.expovariate(parts / costs.runtime)
            yield postgres, dice.expovariate(parts / costs.postgres)

        yield from part()
        for _ in range(CALLS):
            yield from part()
            length = MODEL_SECONDS * dice.lognormvariate(0.0, MODEL_SPREAD)
            asked += length
            yield slots, length
            yield from part()
        yield from part()
        if world.now > WARM:
            waits.append(world.now - born - asked)

    moment, numbers = 0.0, count()
    while moment < seconds:
        moment += dice.expovariate(rate)
        world.at(moment, task(next(numbers), moment))
    world.run(seconds)
    waits.sort()
    share = 1.0 / seconds
    return Outcome(
        len(waits) / (seconds - WARM),
        waits[len(waits) // 2],
        waits[int(0.99 * len(waits))],
        sum(core.seconds for core in cores) * share / processes,
        postgres.seconds * share / POSTGRES_CORES,
        slots.seconds * share / slots.servers,
    )


# -- telling ---------------------------------------------------------------------------


def needed(costs: Costs, rate: float) -> tuple[int, int, int]:
    """Runtime processes, PostgreSQL cores and model servers for a rate, each planned busy."""
    mean = MODEL_SECONDS * 2.718281828 ** (MODEL_SPREAD**2 / 2)
    loads = (
        rate * costs.runtime,
        rate * costs.postgres,
        rate * CALLS * mean / MODEL_SLOTS,
    )
    processes, cores, models = (max(1, -int(-load // PLANNED)) for load in loads)
    return processes, cores, models


def _told(seconds: float) -> str:
    return f"{seconds * 1e3:,.0f} ms" if seconds < 1 else f"{seconds:,.1f} s"


def table(costs: Costs) -> str:
    """What was measured and simulated."""
    rate = MILLION / HOUR
    lines = [
        f"A task with {CALLS} model calls, a pack and spans, over PostgreSQL, 32 at a time:"
        f" {costs.runtime * 1e3:.2f} ms of the runtime's CPU, {costs.postgres * 1e3:.2f} ms of the"
        f" server's, {costs.units:.1f} commits (which share their fsyncs), {costs.bytes / 1e3:.1f} kB"
        " kept.",
        "",
        "| tasks an hour | runtime processes (a core each) | PostgreSQL cores | model servers of"
        f" {MODEL_SLOTS} at once | GB a day kept |",
        "|---|---|---|---|---|",
    ]
    for hourly in (1e4, 1e5, 1e6, 5e6):
        processes, cores, models = needed(costs, hourly / HOUR)
        kept = hourly * 24 * costs.bytes / 1e9
        lines.append(f"| {hourly:,.0f} | {processes} | {cores} | {models} | {kept:,.1f} |")
    lines += [
        "",
        f"A million an hour, simulated for its first two minutes over PostgreSQL on {POSTGRES_CORES} cores;"
        " waiting is all that a task takes beside its model calls:",
        "",
        "| runtime processes | model servers | tasks an hour done | waiting, median | 99 % | runtime"
        " busy | PostgreSQL busy | models busy |",
        "|---|---|---|---|---|---|---|---|",
    ]
    enough, _, models = needed(costs, rate)
    for processes, servers in (
        (max(1, enough // 2), models),
        (enough, models),
        (2 * enough, models),
        (enough, max(1, models // 2)),
    ):
        o = simulate(costs, rate, processes=processes, models=servers)
        lines.append(
            f"| {processes} | {servers} | {o.rate * HOUR:,.0f} | {_told(o.median)} |"
            f" {_told(o.late)} | {o.runtime:.0%} | {o.postgres:.0%} | {o.models:.0%} |"
        )
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    lines += [
        "",
        f"Measured on {datetime.now(UTC):%Y-%m-%d} with {os.cpu_count()} cores, Python"
        f" {platform.python_version()}, load {load} at the end.",
    ]
    return "\n".join(lines)


_COLORS = ("#b3541e", "#1f6f8b", "#3a7d44")


def picture(costs: Costs) -> str:
    """The wait of the slowest hundredth over the rate, for one, two and four times the processes."""
    enough, _, models = needed(costs, MILLION / HOUR)
    counts = sorted({max(1, enough // 2), enough, 2 * enough})
    hourly = [250_000 * step for step in range(1, 13)]
    width, height, left, top = 720, 400, 76, 46
    right, bottom = width - 48, height - 58
    low, high = 0.01, 100.0

    def x(rate: float) -> float:
        return left + (right - left) * rate / hourly[-1]

    def y(seconds: float) -> float:
        from math import log10

        share = (log10(min(high, max(low, seconds))) - log10(low)) / (log10(high) - log10(low))
        return bottom - (bottom - top) * share

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"'
        f' viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="13" fill="#222">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        f'<text x="{left}" y="24" font-size="15">What the slowest hundredth of the tasks waits'
        " beside its model calls</text>",
    ]
    for seconds, told in (
        (0.01, "10 ms"),
        (0.1, "100 ms"),
        (1, "1 s"),
        (10, "10 s"),
        (100, "100 s"),
    ):
        parts.append(
            f'<line x1="{left}" x2="{right}" y1="{y(seconds):.1f}" y2="{y(seconds):.1f}"'
            ' stroke="#ddd"/>'
            f'<text x="{left - 8}" y="{y(seconds) + 4:.1f}" text-anchor="end">{told}</text>'
        )
    for rate in (1e6, 2e6, 3e6):
        parts.append(
            f'<line x1="{x(rate):.1f}" x2="{x(rate):.1f}" y1="{top}" y2="{bottom}" stroke="#eee"/>'
            f'<text x="{x(rate):.1f}" y="{bottom + 20}" text-anchor="middle">'
            f"{rate / 1e6:.0f} million</text>"
        )
    parts.append(
        f'<text x="{(left + right) / 2}" y="{height - 14}" text-anchor="middle">tasks an hour'
        "</text>"
    )
    for place, (processes, color) in enumerate(zip(counts, _COLORS, strict=False)):
        points = []
        for rate in hourly:
            # Models grow with the rate; what is looked for is where the runtime breaks.
            o = simulate(
                costs,
                rate / HOUR,
                processes=processes,
                models=models * -(-rate // 1_000_000),
                seconds=40.0,
            )
            points.append(f"{x(rate):.1f},{y(o.late):.1f}")
        parts.append(
            f'<polyline points="{" ".join(points)}" fill="none" stroke="{color}"'
            ' stroke-width="2.5"/>'
            f'<rect x="{left + 14}" y="{top + 8 + 20 * place}" width="12" height="12"'
            f' fill="{color}"/><text x="{left + 32}" y="{top + 19 + 20 * place}">{processes}'
            f" runtime {'process' if processes == 1 else 'processes'}</text>"
        )
    return "\n".join([*parts, "</svg>\n"])


def write(text: str) -> None:
    """Replace the block of the page."""
    page = PAGE.read_text(encoding="utf-8")
    found = re.compile(r"<!-- scale -->.*<!-- /scale -->", re.DOTALL)
    block = f"<!-- scale -->\n{text}\n<!-- /scale -->"
    PAGE.write_text(found.sub(lambda _: block, page), encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--tasks", type=int, default=2_000)
    chosen = parser.parse_args(argv)
    costs = measured(chosen.tasks)
    text = table(costs)
    print(text)
    if chosen.write:
        write(text)
        PICTURE.write_text(picture(costs), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
