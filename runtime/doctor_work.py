"""The doctor's look at a network's work: what rests, what was given up on, what is full or spent."""

from collections.abc import Iterator
from datetime import UTC, datetime
from time import time
from typing import Literal

import anyio

from repertory.protocol import RepertoryError
from repertory.xp_store import Connection, open_database

from .budget import Usage
from .dead_letters import dead_letters
from .manifest import Manifest
from .revised import revisions_of
from .screen import duration
from .standing import read_standing
from .stops import read_stops
from .supervision import GAVE_UP
from .tenants import Tenants, spent_of

Told = tuple[str, Literal["ok", "warning", "error"], str, str]
# Shares of a mailbox or a budget from which on it is told of.
_NEARLY = 0.8
# By how much clocks may differ without a word, in seconds.
_SKEW_SECONDS = 60.0
_WAITING = "('TASK_STATE_INPUT_REQUIRED', 'TASK_STATE_AUTH_REQUIRED')"


def examine_work(manifest: Manifest, url: str, *, running: bool) -> Iterator[Told]:
    """Subject, state, finding and advice for whatever of a network's work is not well.

    running: whether a process runs the network now.
    """
    try:
        yield from anyio.run(_look, manifest, url, running)
    except RepertoryError as error:
        advice = "what the store holds cannot be told: mend it first, or wait for its owner"
        yield "work", "error", error.sentence, advice


async def _look(manifest: Manifest, url: str, running: bool) -> list[Told]:
    async with open_database(url) as database:
        journal, *_ = await revisions_of(database)
        if journal.found != journal.schema.head:
            # Whoever looks changes nothing; `tables` says what to do.
            return []
        found: list[Told] = [
            ("stopped", "error", stop.sentence, _resume(stop.kind, stop.name))
            for stop in await read_stops(database)
        ]
        if running:
            for (kind, name), detail in (await read_standing(database)).items():
                subject = (
                    f"{kind} {name}" if kind != "stop" else f"stop of {name.rpartition('@')[0]}"
                )
                found.append((subject, "error", detail, _mend(kind)))
        else:
            found.extend(await database.read(_given_up))
        found.extend(await database.read(_clock))
        letters, count = await dead_letters(database, limit=1)
        if letters:
            latest = letters[0]
            sentence = (
                f"{count}; the latest is task {latest.task} of {latest.agent}: {latest.error}"
            )
            advice = "repertory tasks --dead lists them; repertory retry TASK tries one again"
            found.append(("dead letters", "warning", sentence, advice))
        found.extend(await database.read(lambda connection: _queues(connection, manifest)))
        tenants = Tenants(manifest.tenants)
        await tenants.load(database)
        for tenant, spent in tenants.standing().items():
            found.extend(_budget(tenants, tenant, spent))
    return found or [("work", "ok", "nothing is stopped, given up on, full or spent", "")]


def _resume(kind: str, name: str) -> str:
    return f"repertory resume{f' --{kind} {name}' if name else ''}"


def _mend(kind: str) -> str:
    if kind == "agent":
        return "mend what it crashes over (repertory tasks --dead), then start the network again"
    if kind == "stop":
        return "a handler that shields itself, or computes without awaiting, ends with its process"
    return (
        "start its server, or look at it with repertory models status; it is tried again by itself"
    )


def _given_up(connection: Connection) -> list[Told]:
    """Why the last process that was given up with its agent ended."""
    row = connection.execute(
        "SELECT reason, at FROM audit WHERE what=? AND target='network' ORDER BY number DESC LIMIT 1",
        (GAVE_UP,),
    ).fetchone()
    if row is None:
        return []
    when = datetime.fromtimestamp(row[1], UTC).isoformat(timespec="seconds")
    advice = "mend what it crashes over (repertory tasks --dead), then start the network again"
    sentence = f"no process runs it; the last that ended with an agent did so at {when}: {row[0]}"
    return [("network", "warning", sentence, advice)]


def _clock(connection: Connection) -> list[Told]:
    """Whether what happened last lies in the future."""
    latest = connection.execute("SELECT max(updated_at) FROM task").fetchone()[0]
    ahead = (latest or 0.0) - time()
    if ahead < _SKEW_SECONDS:
        return []
    sentence = f"the newest task changed {duration(ahead)} in the future of this machine's clock"
    advice = (
        "set the clock of this machine, or of the one that runs the network; leases do not depend"
        " on it, the windows of budgets and what is shown do"
    )
    return [("clock", "warning", sentence, advice)]


def _queues(connection: Connection, manifest: Manifest) -> list[Told]:
    found: list[Told] = []
    asked = connection.execute(
        f"SELECT count(*), min(updated_at) FROM task WHERE ended=0 AND state IN {_WAITING}"
    ).fetchone()
    if asked[0]:
        sentence = f"{asked[0]} tasks; the longest for {duration(max(0.0, time() - asked[1]))}"
        advice = "repertory tasks --waiting lists them; repertory answer TASK '...'"
        found.append(("waiting for a person", "warning", sentence, advice))
    rows = connection.execute(
        "SELECT agent, count(*), min(created_at) FROM task"
        " WHERE ended=0 AND state='TASK_STATE_SUBMITTED' GROUP BY agent ORDER BY agent"
    ).fetchall()
    for agent, waiting, oldest in rows:
        entry = manifest.agents.get(agent)
        if entry is None or waiting < _NEARLY * entry.mailbox:
            continue
        age = duration(max(0.0, time() - oldest))
        sentence = f"{waiting} wait of at most {entry.mailbox}, the oldest for {age}"
        advice = f"senders are told busy: raise agents.{agent}.concurrency, or send less"
        found.append((f"mailbox {agent}", "warning", sentence, advice))
    return found


def _budget(tenants: Tenants, tenant: str, spent: Usage) -> Iterator[Told]:
    budget = tenants.limits_of(tenant).budget
    for unit, value, limit in spent_of(budget, spent):
        if limit is None or value < _NEARLY * limit:
            continue
        sentence = f"{value:g} of {limit:g} {unit} of this {budget.per} are spent"
        advice = f"raise 'tenants.{tenant}.budget.{unit}' in the manifest, or wait for the next one"
        yield f"budget {tenant}", "error" if value >= limit else "warning", sentence, advice
