"""Simulate a network of three agents for many seeds; a failing seed is printed and replays.

    python -m tests.runtime.simulating.run --seeds 1000
    python -m tests.runtime.simulating.run --seed 4711 --trace     what happened, line by line
    python -m tests.runtime.simulating.run --bug early-ack         with a known bug: it is found

Exit status 1 when a seed failed.
"""

import argparse
import logging
import random
import sys
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from hashlib import sha256
from random import Random, SystemRandom
from uuid import UUID

from tests.runtime.simulating.clock import Clock, StuckError

clock = Clock()
cpu_seconds = time.process_time
# Before anything of ours is imported: all times of the runtime are the simulated ones.
time.time = clock.wall
time.monotonic = lambda: clock.now

import anyio  # noqa: E402

from repertory.protocol import memory_service, messages  # noqa: E402
from repertory.runtime import network, recorder, replica, turn  # noqa: E402
from repertory.xp_store import digests  # noqa: E402
from tests.runtime.simulating.clock import CountedLoop  # noqa: E402
from tests.runtime.simulating.world import BUGS, Outcome, World  # noqa: E402


class _Datetime(datetime):
    """Today as the clock has it: two moments that are the same by chance would sort otherwise."""

    @classmethod
    def now(cls, tz: tzinfo | None = UTC) -> datetime:  # type: ignore[override]
        return datetime.fromtimestamp(clock.wall(), tz)


for module in (memory_service, network, recorder, replica, turn, digests):
    module.__dict__["datetime"] = _Datetime


def _ids(dice: Random) -> Callable[[], UUID]:
    """Ids of the seed, in order of time as those of version 7 are."""
    return lambda: UUID(int=(int(clock.wall() * 1e7) << 64) | dice.getrandbits(62))


def simulate(seed: int, bug: str = "") -> Outcome:
    """Run one seed from its beginning."""
    clock.__init__()  # type: ignore[misc]  # time begins anew
    random.seed(seed)
    messages.__dict__["uuid7"] = _ids(Random(f"{seed}/ids"))
    world = World(seed, clock, bug)
    try:
        return anyio.run(world.run, backend_options={"loop_factory": lambda: CountedLoop(clock)})
    except StuckError as error:
        world.outcome.faults.append(f"stuck: {error}")
    except Exception as error:  # noqa: BLE001 - a seed that breaks the runtime is a finding
        world.outcome.faults.append(f"{type(error).__name__}: {error}")
        world.outcome.trace.extend(traceback.format_exception(error))
    return world.outcome


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """Simulate what the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=100, help="how many")
    parser.add_argument("--first", type=int, default=None, help="the first; default: by chance")
    parser.add_argument("--seed", type=int, default=None, help="this one alone")
    parser.add_argument("--trace", action="store_true", help="print what happened")
    parser.add_argument("--digest", action="store_true", help="print each trace's SHA-256")
    parser.add_argument("--bug", choices=BUGS, default="", help="arm a known bug")
    given = parser.parse_args()
    first = given.first if given.first is not None else SystemRandom().randrange(10**6)
    seeds = [given.seed] if given.seed is not None else range(first, first + given.seeds)
    logging.disable(logging.CRITICAL)
    began, failed, lines = cpu_seconds(), 0, 0
    for seed in seeds:
        outcome = simulate(seed, given.bug)
        lines += len(outcome.trace)
        if given.trace:
            _say("\n".join(outcome.trace))
        if given.digest:
            body = "\n".join(outcome.trace).encode()
            _say(f"seed {seed} {sha256(body).hexdigest()}")
        if outcome.faults:
            failed += 1
            _say(f"seed {seed} FAILED: {'; '.join(outcome.faults)}")
    seconds = cpu_seconds() - began
    sys.stderr.write(
        f"{len(seeds)} seeds from {seeds[0]}, {failed} failed, {lines} lines of trace,"
        f" {seconds:.1f} CPU s\n"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
