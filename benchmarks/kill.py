"""Kill -9 the runtime at random moments, start it again, and count what was lost or done twice.

    python benchmarks/kill.py                      50 kills of the invoice desk
    python benchmarks/kill.py --kills 10 --seed 7  as many, at the moments of that seed
    python benchmarks/kill.py --small              the small desk of the tests instead

The invoice desk is the example with its small model replaced by a script, for speed.

Real processes of `repertory run` over one inbox. The driver keeps its own ledger of what it
gave, of every model and tool call (written outside the runtime) and of what was durable at
each kill; it trusts nothing that the runtime says of itself. Exit status 1 when anything was
lost, repeated although its result was known, or stuck.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path
from random import Random, SystemRandom
from tempfile import TemporaryDirectory

# Run as a program, this file has only its own folder on the path.
sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.results import write
from tests.runtime.killing.driver import Driver, Tally
from tests.runtime.killing.scenarios import invoice_desk, small_desk


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(10**6))
    parser.add_argument("--small", action="store_true", help="the small desk of the tests")
    parser.add_argument("--write", action="store_true", help="write into benchmarks/README.md")
    parser.add_argument("--mails", type=int, default=60, help="files of the small desk")
    given = parser.parse_args()
    print(f"seed {given.seed}, {given.kills} kills")
    tally, dice = Tally(), Random(given.seed)
    began = time.monotonic()
    while tally.killed < given.kills and not tally.faults:
        with TemporaryDirectory() as folder:
            place = Path(folder) / "desk"
            job = small_desk(place, given.mails) if given.small else invoice_desk(place)
            Driver(job, dice, tally, lambda words: print(f"  {tally.killed:3} {words}")).run(
                given.kills - tally.killed
            )
        print(f"round {tally.rounds} over: {tally.killed} kills")
    summary = told(tally, time.monotonic() - began)
    print(summary)
    if given.write:
        desk = "the small desk" if given.small else "the invoice desk"
        write("kills", f"`kill -9` of {desk}, seed {given.seed}:\n\n```\n{summary}\n```")
    return 1 if tally.faults else 0


def told(tally: Tally, seconds: float) -> str:
    """The tally as a few lines."""
    back = sorted(tally.recoveries)
    lines = [
        f"kills     {tally.killed}: {', '.join(f'{n} at {w}' for w, n in tally.kills.items())}",
        f"          {tally.lives} lives of the process over {tally.rounds} inboxes in {seconds:.0f} s",
        f"calls     {dict(tally.calls)}; made again after a kill: {dict(tally.repeated)}",
        f"          at most {tally.worst} calls without a result at one kill",
    ]
    if back:
        lines.append(
            f"recovery  {statistics.median(back):.2f} s median, {back[-1]:.2f} s longest,"
            " from the start of the process to its first call"
        )
    lines += [f"FAULT     {fault}" for fault in tally.faults] or ["faults    none"]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
