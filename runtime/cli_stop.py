"""`repertory stop` and `resume`: the kill switch, beside the processes that run the network.

A stop must not wait for libraries, so neither the tables nor what draws are loaded here.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from rich.text import Text

from repertory.protocol import LOCAL_PRINCIPAL
from repertory.xp_store import Database

from .chosen import Chosen, at_hand, choose
from .errors import InputError, did_you_mean
from .exits import Exit
from .lease import ProcessInfo, runners
from .screen import Screen
from .standing import obeyed
from .stops import STOP_SECONDS, Kind, Stop, lift_stop, put_stop, subject_of

# How often, and how long, is looked whether every process has obeyed, in seconds.
_LOOK_SECONDS = 0.02
_PATIENCE = STOP_SECONDS + 3.0


def stop_work(path: Path, agent: str, tenant: str, reason: str, store: str, as_json: bool) -> int:
    """Stop all work of a network, an agent or a tenant, until it is resumed."""
    screen, chosen = Screen(json=as_json), choose(path, store)
    kind, name = _subject(chosen, agent, tenant)

    async def stop() -> tuple[Stop, list[str], int]:
        async with _stoppable(chosen) as database:
            put = await put_stop(database, kind, name, reason=reason, by=LOCAL_PRINCIPAL)
            return put, *await _obeyed(database, put)

    put, wrong, number = anyio.run(stop)
    option = f" --{kind} {name}" if name else ""
    ended = "its work has ended where it stood" if number else "nothing of it runs now"
    told = "; ".join(wrong) or ended
    sentence = f"{put.subject} is stopped; {told}; go on with: repertory resume{option}"
    outcome = "; ".join(wrong) or ("done" if number else "noted")
    data = {"kind": kind, "name": name, "outcome": outcome, "processes": number}
    screen.result(data, Text(sentence))
    return Exit.FAILED if wrong else Exit.DONE


async def _obeyed(database: Database, stop: Stop) -> tuple[list[str], int]:
    """What could not be ended, and by how many processes the network is run."""
    told: dict[int, str] = {}
    silent: list[ProcessInfo] = []
    known: list[ProcessInfo] = []
    with anyio.move_on_after(_PATIENCE):
        while True:
            known = await runners(database)
            told = await obeyed(database, stop)
            silent = [each for each in known if each.number not in told]
            if not silent:
                break
            await anyio.sleep(_LOOK_SECONDS)
    wrong = [told[each.number] for each in known if told.get(each.number)]
    wrong += [
        f"process {each.pid} on {each.host} has not said that it obeys; end it there if it hangs"
        for each in silent
    ]
    return wrong, len(known)


def resume_work(path: Path, agent: str, tenant: str, store: str, as_json: bool) -> int:
    """Lift a stop, and let go on what it held."""
    screen, chosen = Screen(json=as_json), choose(path, store)
    kind, name = _subject(chosen, agent, tenant)

    async def resume() -> tuple[bool, int]:
        async with _stoppable(chosen) as database:
            lifted = await lift_stop(database, kind, name, by=LOCAL_PRINCIPAL)
            return lifted, len(await runners(database))

    lifted, number = anyio.run(resume)
    subject = Stop(kind, name, "", "", 0.0).subject
    if not lifted:
        raise InputError(f"{subject} is not stopped; repertory doctor FILE lists what is")
    goes_on = "its work goes on" if number else "its work goes on at the next run"
    data = {"kind": kind, "name": name, "outcome": "done" if number else "noted"}
    screen.result(data, Text(f"{subject} is resumed; {goes_on}"))
    return Exit.DONE


@asynccontextmanager
async def _stoppable(chosen: Chosen) -> AsyncIterator[Database]:
    """The store; one of an earlier version gets its tables first."""
    async with at_hand(chosen) as database:
        if await database.read(lambda connection: connection.dialect.has_table(connection, "stop")):
            yield database
            return
        from .journal import open_journal

        async with open_journal(database):
            yield database


def _subject(chosen: Chosen, agent: str, tenant: str) -> tuple[Kind, str]:
    if agent and agent not in chosen.manifest.agents:
        raise InputError(f"no agent {agent!r}; {did_you_mean(agent, chosen.manifest.agents)}")
    try:
        return subject_of(agent, tenant)
    except ValueError as error:
        raise InputError(str(error)) from None
