"""F4: a model server that dies, hangs, drips, errs, breaks off or answers in another schema."""

from time import monotonic
from typing import Any

import anyio

from .client import Client, open_client
from .fault import Bench, Fault, Outcome, doses
from .ledger import ENDED
from .model_server import MODEL, TOLD, WAYS, ModelServer, Way, open_model_server
from .serving import Served, kind

# What one question may take; a shorter deadline would say more of the caller than of the server,
# and the breaker does not count it.
_SECONDS = 5.0
_REST = 1.0
_RAN_OUT = 1.1
_LOOK_SECONDS = 0.5


async def break_models(bench: Bench) -> Outcome:
    """Ask `dose` times in each way, at once; each call ends in time, and the server is then left alone."""
    ways = WAYS if bench.size != "tiny" else ("500", "torn")
    outcome = Outcome(dose=f"{len(ways)} ways, {bench.dose} tasks each")
    async with open_model_server() as server:
        limits = {
            "seconds": _SECONDS,
            "attempts": 3,
            "failures": 5,
            "rest": _REST,
            "concurrency": 64,
        }
        model = {
            "engine": "openai",
            "url": server.url,
            "model": MODEL,
            "tiers": ["judge"],
            "limits": limits,
        }
        thinker = kind("Thinker", model="stand", concurrency=64, mailbox=256)
        async with (
            Served(bench, "thinking", {"thinker": thinker}, models={"stand": model}) as served,
            open_client(served.url, patience=60.0) as client,
        ):
            await served.start()
            slowest, opened = 0.0, 0
            for way in ways:
                taken, told = await _break(bench, client, server, way, outcome)
                slowest, opened = max(slowest, taken), opened + told
                bench.say(f"{TOLD[way]}: the slowest of {bench.dose} ended after {taken:.2f} s")
    outcome.note = (
        f"slowest call {slowest:.2f} s of {_SECONDS:g} s allowed; the breaker opened in {opened}"
        f" of {len(ways)} ways; recovery is from the server's own to the next right answer"
    )
    return outcome


async def _break(
    bench: Bench, client: Client, server: ModelServer, way: Way, outcome: Outcome
) -> tuple[float, bool]:
    """The longest that one of the tasks took, and whether the breaker had opened by then."""
    server.break_off(way)
    taken: list[float] = []
    words: list[str] = []

    async def ask(name: str) -> None:
        began = monotonic()
        with anyio.move_on_after(2 * _SECONDS):
            task = await client.send("thinker", name, {}, wait=True)
            taken.append(monotonic() - began)
            outcome.accepted += 1
            _judge(name, task, outcome, words)
            return
        outcome.stuck.append(f"{name} had not ended after twice its deadline")

    slug = way.replace(" ", "-")
    async with anyio.create_task_group() as group:
        for number in range(bench.dose):
            group.start_soon(ask, f"{slug}-{number}")
    if taken and max(taken) > _SECONDS * _RAN_OUT + _LOOK_SECONDS:
        outcome.broken.append(f"where it {TOLD[way]} a call took {max(taken):.2f} s")
    asked = server.asked
    await ask(f"{slug}-refused")
    opened = server.asked == asked
    server.break_off("")
    began = monotonic()
    for number in range(100):
        task = await client.send("thinker", f"{slug}-after-{number}", {}, wait=True)
        if task["status"]["state"] == "TASK_STATE_COMPLETED":
            break
        await anyio.sleep(0.1)
    else:
        outcome.broken.append(f"after the server that {TOLD[way]} was well again, nobody asked it")
    outcome.recoveries.append(monotonic() - began)
    return max(taken, default=0.0), opened


def _judge(name: str, task: dict[str, Any], outcome: Outcome, words: list[str]) -> None:
    state = str(task["status"]["state"]).removeprefix("TASK_STATE_")
    if state not in ENDED:
        outcome.stuck.append(f"{name} is {state}")
        return
    parts = (task["status"].get("message") or {}).get("parts") or []
    said = " ".join(str(part.get("text", "")) for part in parts)
    if state == "FAILED" and not said:
        outcome.broken.append(f"{name} failed without a reason")
    words.append(said)


FAULTS = (
    Fault(
        "F4",
        "a broken model server",
        "the model server " + ", ".join(TOLD[way] for way in WAYS),
        doses(20, 100, 6),
        break_models,
        waits=True,
    ),
)
