"""Ten times the rate that an agent can bear, and what becomes of it (fault F14).

    python benchmarks/overload.py            table on the screen
    python benchmarks/overload.py --write    the same, written into benchmarks/README.md

The agent takes 50 ms for a message and works on four, so it bears 80 a second. First
40 messages a second arrive, then 400, at fixed times whatever was answered (an open
loop), from a caller outside the network. What is told busy is not sent again. The
mailbox holds four, by the rule of docs/operations.md for a wait of 60 ms. At the
end the network is stopped with all places taken.
"""

import argparse
import asyncio
import resource
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

# Run as a program, this file has only its own folder on the path.
sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.results import write
from repertory.agents import Agent, Turn
from repertory.protocol import BusyError, Call, SendMessageRequest, user_message
from repertory.runtime import Network, open_network, parse_manifest

MANIFEST = """network: overload
embedder: {engine: hash}
telemetry: {spans: false}
agents:
  desk: {concurrency: 4, mailbox: 4, busy_after: 0.02, memory: {record: false, recall: 0, context_tokens: 0}}
"""
WORK_SECONDS = 0.05
NORMAL, TENFOLD = 40.0, 400.0


class Desk(Agent):
    """Takes its time."""

    async def handle(self, turn: Turn) -> None:
        await asyncio.sleep(WORK_SECONDS)
        await turn.complete("done")


@dataclass
class Tally:
    """What became of one phase's messages."""

    seconds: list[float] = field(default_factory=list)
    busy: int = 0
    deepest: int = 0

    def percentile(self, share: float) -> float:
        """The latency below which this share of the accepted lies, in seconds."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


async def phase(network: Network, rate: float, seconds: float) -> Tally:
    """Send at `rate` for `seconds`, wait for everything, and count."""
    tally, host = Tally(), network.hosts["desk"]

    async def send() -> None:
        began = time.perf_counter()
        request = SendMessageRequest(message=user_message("work"))
        try:
            await network.service("desk").send_message(request, Call(principal="caller"))
        except BusyError:
            tally.busy += 1
        else:
            tally.seconds.append(time.perf_counter() - began)
        tally.deepest = max(tally.deepest, host.mailbox.depth)

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
            group.create_task(send())
    return tally


async def measure(seconds: float) -> str:
    """The table of one run."""
    with tempfile.TemporaryDirectory() as folder:
        manifest = parse_manifest(MANIFEST, folder=folder)
        async with open_network(manifest, kinds={"desk": Desk}) as network:
            await phase(network, NORMAL, 2.0)
            normal = await phase(network, NORMAL, seconds / 3)
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            tenfold = await phase(network, TENFOLD, seconds)
            grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
            left = len(network.hosts["desk"].pending)
            for _ in range(8):
                await network.tell("desk", "work")
            began = time.perf_counter()
            ended = await network.stop(reason="the benchmark")
            stopped = time.perf_counter() - began
    ratio = tenfold.percentile(0.99) / normal.percentile(0.99)
    lines = [
        "| messages a second | sent | told busy | median ms | p99 ms | most waiting |",
        "|---|---|---|---|---|---|",
    ]
    for rate, tally in ((NORMAL, normal), (TENFOLD, tenfold)):
        lines.append(
            f"| {rate:.0f} | {len(tally.seconds) + tally.busy} | {tally.busy}"
            f" | {tally.percentile(0.5) * 1000:.0f} | {tally.percentile(0.99) * 1000:.0f}"
            f" | {tally.deepest} |"
        )
    lines.append("")
    lines.append(
        f"p99 of the accepted is {ratio:.1f} times the normal one; {left} tasks were left"
        f" afterwards; resident memory grew by {grown:.0f} MB over {seconds:.0f} s. A stop with all"
        f" places taken {'ended' if ended else 'did not end'} every turn in"
        f" {stopped * 1000:.0f} ms."
    )
    return "\n".join(lines)


def main() -> None:
    """Measure, and print or write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", action="store_true", help="into benchmarks/README.md")
    parser.add_argument("--seconds", type=float, default=60.0, help="of the tenfold rate")
    given = parser.parse_args()
    table = asyncio.run(measure(given.seconds))
    print(table)
    if given.write:
        write("overload", table)


if __name__ == "__main__":
    main()
