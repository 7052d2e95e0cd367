"""`repertory stop` and `resume`: the kill switch, beside the process that runs the network."""

from pathlib import Path

from anyio import run
from rich.text import Text

from repertory.protocol import LOCAL_PRINCIPAL

from .chosen import Chosen, choose, reading
from .cli_tasks import carried_out
from .errors import InputError, did_you_mean
from .exits import Exit
from .screen import Screen
from .stops import Kind, Stop, lift_stop, put_stop, subject_of


def stop_work(path: Path, agent: str, tenant: str, reason: str, store: str, as_json: bool) -> int:
    """Stop all work of a network, an agent or a tenant, until it is resumed."""
    screen, chosen = Screen(json=as_json), choose(path, store)
    kind, name = _subject(chosen, agent, tenant)

    async def stop() -> tuple[Stop, str]:
        async with reading(chosen) as journal:
            put = await put_stop(journal.database, kind, name, reason=reason, by=LOCAL_PRINCIPAL)
            return put, await carried_out(screen, chosen, journal, "stops", "", "")

    stop_put, outcome = run(stop)
    option = f" --{kind} {name}" if name else ""
    held = "its work has ended where it stood" if outcome == "done" else "nothing of it runs now"
    told = outcome if outcome not in ("", "done") else held
    sentence = f"{stop_put.subject} is stopped; {told}; go on with: repertory resume{option}"
    screen.result({"kind": kind, "name": name, "outcome": outcome or "noted"}, Text(sentence))
    return Exit.DONE if outcome in ("", "done") else Exit.FAILED


def resume_work(path: Path, agent: str, tenant: str, store: str, as_json: bool) -> int:
    """Lift a stop, and let go on what it held."""
    screen, chosen = Screen(json=as_json), choose(path, store)
    kind, name = _subject(chosen, agent, tenant)

    async def resume() -> tuple[bool, str]:
        async with reading(chosen) as journal:
            lifted = await lift_stop(journal.database, kind, name, by=LOCAL_PRINCIPAL)
            return lifted, await carried_out(screen, chosen, journal, "stops", "", "")

    lifted, outcome = run(resume)
    subject = Stop(kind, name, "", "", 0.0).subject
    if not lifted:
        raise InputError(f"{subject} is not stopped; repertory doctor FILE lists what is")
    goes_on = "its work goes on" if outcome == "done" else "its work goes on at the next run"
    sentence = f"{subject} is resumed; {goes_on}"
    screen.result({"kind": kind, "name": name, "outcome": outcome or "noted"}, Text(sentence))
    return Exit.DONE


def _subject(chosen: Chosen, agent: str, tenant: str) -> tuple[Kind, str]:
    if agent and agent not in chosen.manifest.agents:
        raise InputError(f"no agent {agent!r}; {did_you_mean(agent, chosen.manifest.agents)}")
    try:
        return subject_of(agent, tenant)
    except ValueError as error:
        raise InputError(str(error)) from None
