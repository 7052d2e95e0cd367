"""Do every fault to the runtime, compare with a ledger kept outside, and write docs/faults.md.

    python -m benchmarks.faults.run                    the dose for CI: under 15 minutes on 2 cores
    python -m benchmarks.faults.run --nightly          the nightly dose
    python -m benchmarks.faults.run --only F4 --seed 7 one fault, with these dice

Exit status 1 when anything was lost, repeated or stuck.
"""

import json
import sys
import traceback
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path
from random import Random, SystemRandom
from subprocess import PIPE, STDOUT, Popen
from tempfile import TemporaryDirectory
from threading import Thread
from time import monotonic

import anyio

from .clocks import FAULTS as CLOCKS
from .disks import FAULTS as DISKS
from .fault import Bench, Fault, Outcome, Size, SkippedError
from .frames import FAULTS as FRAMES
from .indexes import FAULTS as INDEXES
from .kills import FAULTS as KILLS
from .loads import FAULTS as LOADS
from .models import FAULTS as MODELS
from .page import write_row
from .peers import FAULTS as PEERS
from .points import FAULTS as POINTS
from .power import FAULTS as POWER
from .processes import Starter, open_starter
from .releases import FAULTS as RELEASES
from .replicas import FAULTS as REPLICAS
from .servers import FAULTS as SERVERS
from .stores import MissingStoreError, Store, open_store
from .wires import FAULTS as WIRES

FAULTS: tuple[Fault, ...] = (
    *KILLS,
    *MODELS,
    *PEERS,
    *WIRES,
    *FRAMES,
    *CLOCKS,
    *POINTS,
    *REPLICAS,
    *LOADS,
    *RELEASES,
    *INDEXES,
    *DISKS,
    *SERVERS,
    *POWER,
)
STORES = ("sqlite", "postgresql")
# One fault that hangs must not be all that a run ever does.
_LIMIT = {"tiny": 120.0, "ci": 900.0, "nightly": 5 * 3600.0}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--nightly", action="store_true", help="the nightly dose")
    parser.add_argument("--tiny", action="store_true", help="a dose that tries the harness only")
    parser.add_argument("--only", action="append", default=[], metavar="F4", help="may be repeated")
    parser.add_argument("--dose", type=int, help="how often, in place of the size's own number")
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(10**6))
    parser.add_argument("--store", choices=(*STORES, "both"), default="both")
    parser.add_argument("--json", type=Path, help="also write the outcomes to this file")
    parser.add_argument("--no-page", action="store_true", help="leave docs/faults.md as it is")
    given = parser.parse_args(arguments)
    size: Size = "nightly" if given.nightly else "tiny" if given.tiny else "ci"
    known = dict.fromkeys(name for fault in FAULTS for name in (fault.id, fault.family))
    if unknown := [name for name in given.only if name not in known]:
        parser.error(f"no fault {unknown[0]!r}; there are {', '.join(known)}")
    wanted = set(given.only or known)
    chosen = [fault for fault in FAULTS if wanted & {fault.id, fault.family}]
    stores = [name for name in STORES if any(name in fault.stores for fault in chosen)]
    if given.store == "both" and len(chosen) > 1:
        return _side_by_side(stores, chosen, given)
    print(f"seed {given.seed}, dose {size}", flush=True)
    found: list[tuple[str, str, Outcome]] = []

    def note(fault: Fault, store: str, outcome: Outcome) -> None:
        found.append((fault.id, store, outcome))
        if size != "tiny" and not given.no_page:
            write_row(fault, store, outcome, seed=given.seed, size=size)

    with open_starter() as starter:
        for name in stores if given.store == "both" else (given.store,):
            here = [fault for fault in chosen if name in fault.stores]
            try:
                with open_store(name) as store:
                    for fault in here:
                        dose = given.dose or fault.dose(size)
                        note(fault, name, do(fault, store, starter, given.seed, size, dose))
            except MissingStoreError as reason:
                print(f"{name}: {reason}")
                for fault in here:
                    note(fault, name, Outcome(skipped=str(reason), dose=str(fault.doses[size])))
    wrong = [sentence for *_, outcome in found for sentence in outcome.wrong]
    if given.json is not None:
        rows = [{"fault": i, "store": s, **asdict(o)} for i, s, o in found]
        given.json.write_text(
            json.dumps({"seed": given.seed, "size": size, "rows": rows}, indent=1)
        )
    print("nothing lost, repeated or stuck" if not wrong else f"{len(wrong)} things went wrong")
    return 1 if wrong else 0


def _side_by_side(stores: Sequence[str], chosen: Sequence[Fault], given: Namespace) -> int:
    """Do what works and what mostly waits, on each store, in processes of their own; the exit status."""
    began, statuses = monotonic(), list[int]()
    with TemporaryDirectory(prefix="faults-") as folder:

        def do_some(store: str, ids: Sequence[str], number: int) -> None:
            words = [sys.executable, "-m", "benchmarks.faults.run", "--store", store]
            words += ["--seed", str(given.seed), "--json", f"{folder}/{number}.json"]
            words += [word for each in ids for word in ("--only", each)]
            words += [f"--{key}" for key in ("nightly", "tiny") if getattr(given, key)]
            words += ["--dose", str(given.dose)] if given.dose else []
            words += ["--no-page"] * given.no_page
            process = Popen(words, stdout=PIPE, stderr=STDOUT, text=True)
            assert process.stdout is not None
            for line in process.stdout:
                print(f"{store:>10}  {line}", end="", flush=True)
            statuses.append(process.wait())

        threads = list[Thread]()
        for store, waits in product(stores, (False, True)):
            here = [each for each in chosen if store in each.stores and each.waits is waits]
            if here:
                ids = [each.id for each in here]
                threads.append(Thread(target=do_some, args=(store, ids, len(threads))))
                threads[-1].start()
        for thread in threads:
            thread.join()
        if given.json is not None:
            told = [json.loads(path.read_text()) for path in sorted(Path(folder).glob("*.json"))]
            rows = [row for each in told for row in each["rows"]]
            given.json.write_text(json.dumps({**told[0], "rows": rows}, indent=1))
    print(f"{monotonic() - began:.0f} s for all, side by side")
    return max(statuses)


def do(fault: Fault, store: Store, starter: Starter, seed: int, size: Size, dose: int) -> Outcome:
    """Do one fault on one store, in a folder and with dice of its own."""
    print(f"{fault.id} {fault.title} on {store.name}", flush=True)
    began = monotonic()
    with TemporaryDirectory(prefix=f"{fault.id}-") as folder:
        bench = Bench(
            folder=Path(folder).resolve(),
            store=store,
            starter=starter,
            dice=Random(f"{seed}/{fault.id}/{store.name}"),
            dose=dose,
            size=size,
            say=lambda words: print(f"   {monotonic() - began:5.1f} s  {words}", flush=True),
        )

        async def bounded() -> Outcome:
            with anyio.fail_after(_LIMIT[size]):
                return await fault.run(bench)

        try:
            outcome = anyio.run(bounded)
        except SkippedError as reason:
            outcome = Outcome(skipped=str(reason))
        except Exception as error:  # noqa: BLE001 - one fault that breaks off leaves the others
            traceback.print_exception(error)
            outcome = Outcome(broken=[f"the run broke off: {type(error).__name__}: {error}"])
    outcome.seconds = monotonic() - began
    outcome.dose = outcome.dose or str(dose)
    _tell(outcome)
    return outcome


def _tell(outcome: Outcome) -> None:
    if outcome.skipped:
        print(f"   skipped: {outcome.skipped}", flush=True)
        return
    counts = (
        f"lost {len(outcome.lost)}, repeated {len(outcome.repeated)}, stuck {len(outcome.stuck)}"
    )
    print(
        f"   {outcome.seconds:5.1f} s  accepted {outcome.accepted}, {counts};"
        f" recovery {outcome.recovery or '-'}; {outcome.note}",
        flush=True,
    )
    for sentence in outcome.wrong[:10]:
        print(f"   WRONG  {sentence}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
