"""How soon a supervisor rules on a span: `python benchmarks/oversight.py [--rate 1000] [--write]`.

A real network; spans of ten pretended agents end at the rate given, go to the
supervising agent as A2A messages, and are ruled on. Measured is the time from a
span's end to the ruling that counts it, and the network's CPU time. Afterwards one
agent begins to repeat itself: counted is after how many of its spans it is held.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import numpy as np

# Run as a program, this file has only its own folder on the path.
sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.results import write
from repertory.agents import Agent, Turn
from repertory.runtime import Network, open_network
from repertory.runtime.manifest import parse_manifest
from repertory.simulators.disparity import Supervisor

MANIFEST = """network: watched
embedder: {engine: hash}
agents:
  guard: {kind: "x:Guard", memory: {record: false, context_tokens: 0}, concurrency: 1}
oversight: {agent: guard}
"""
AGENTS = 10
ACTIONS = ("search", "chat", "read", "chat", "post", "mail")
_DELAYS: list[float] = []


class Guard(Supervisor):
    """The supervisor, which notes how old each span is when it has ruled on it."""

    async def handle(self, turn: Turn) -> None:
        await super().handle(turn)
        data = turn.message.data
        now = time.time_ns()
        if isinstance(data, Mapping):
            _DELAYS.extend((now - row["end_ns"]) / 1e6 for row in data["spans"])


def _span(network: Network, agent: int, action: str, task: str) -> None:
    attributes: dict[str, Any] = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": action,
        "gen_ai.agent.name": f"agent {agent}",
        "gen_ai.conversation.id": task,
    }
    network.telemetry.start(f"execute_tool {action}", parent="", attributes=attributes).end()


async def measure(rate: int, seconds: float) -> dict[str, float]:
    """Run the network; delays in milliseconds, CPU in seconds."""
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        manifest = parse_manifest(MANIFEST, folder=Path(folder))
        kinds: dict[str, type[Agent]] = {"guard": Guard}
        async with open_network(manifest, kinds=kinds) as network:
            before, began = time.process_time(), time.perf_counter()
            count, total = 0, round(rate * seconds)
            while count < total:
                due = min(total, int((time.perf_counter() - began) * rate))
                for i in range(count, due):
                    agent = i % AGENTS
                    turn = i // AGENTS
                    odd = rng.random() < 0.1
                    action = ACTIONS[int(rng.integers(3))] if odd else ACTIONS[turn % 6]
                    _span(network, agent, action, f"task {agent}.{turn // 6}")
                count = max(count, due)
                await anyio.sleep(0.001)
            await _quiet(total)
            spent = time.process_time() - before
            took = time.perf_counter() - began
            held = await _held_after(network)
    delays = np.array(_DELAYS[:total])
    return {
        "spans": total,
        "spans a second": total / took,
        "median ms": float(np.median(delays)),
        "95 % ms": float(np.quantile(delays, 0.95)),
        "99 % ms": float(np.quantile(delays, 0.99)),
        "within 100 ms": float((delays <= 100).mean()),
        "CPU µs a span": spent / total * 1e6,
        "spans to a hold": held,
    }


async def _quiet(total: int) -> None:
    while len(_DELAYS) < total:  # noqa: ASYNC110 - a benchmark may look
        await anyio.sleep(0.01)


async def _held_after(network: Network) -> float:
    for count in range(1, 100):
        _span(network, 0, "post", "loop")
        await anyio.sleep(0.05)
        answer = await network.ask("guard", "who is held?")
        assert answer.status.message is not None
        if "agent 0: hold" in answer.status.message.text:
            return float(count)
    return float("nan")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rate", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--write", action="store_true")
    chosen = parser.parse_args()
    found = anyio.run(measure, chosen.rate, chosen.seconds)
    rows = "\n".join(f"| {name} | {value:,.3g} |" for name, value in found.items())
    text = f"| | |\n|---|---|\n{rows}"
    print(text)
    if chosen.write:
        write("oversight", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
