"""F16: stores as earlier versions left them when they were killed, taken up by this one."""

import anyio
import anyio.to_thread

from tests.runtime.killing.resuming import kept_stores, resume

from .fault import Bench, Fault, Outcome, doses

_MAILS = 8


async def take_up(bench: Bench) -> Outcome:
    """Let this version finish what each kept store of this engine holds."""
    names = [name for name in kept_stores() if name.startswith(bench.store.name)]
    days = ", ".join(name.partition("-")[2] for name in names)
    outcome = Outcome(dose=f"{len(names)} kept: of {days}", accepted=_MAILS * len(names))
    again = calls = 0
    for name in names:
        folder = bench.folder / name
        url = bench.store.url(folder, name) if bench.store.name == "postgresql" else ""
        tally = await anyio.to_thread.run_sync(resume, name, folder, url)
        # Its sentences tell what was lost, what was done twice and what did not end.
        outcome.lost += [f"{name}: {sentence}" for sentence in tally.faults]
        outcome.recoveries += tally.recoveries
        again += tally.repeated["tool"]
        calls += tally.calls["tool"]
        bench.say(f"{name}: {tally.calls['tool']} calls, {tally.repeated['tool']} made again")
    outcome.note = (
        f"each was killed over {_MAILS} mails, one of them waiting for a person: {calls} calls,"
        f" {again} of them made again under their own key; no invoice is posted twice"
    )
    return outcome


FAULTS = (
    Fault(
        "F16",
        "an upgrade",
        "a store that an earlier version left when it was killed is upgraded and finished by"
        " this one",
        doses(1, 1, 1),
        take_up,
    ),
)
