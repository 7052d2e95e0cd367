"""F10: the wall clock jumps by an hour or a day, forth and back, in the middle of the work."""

from pathlib import Path
from time import monotonic
from typing import Any

import anyio

from .client import Client, open_client
from .fault import Bench, Fault, Outcome, SkippedError, doses
from .model_server import MODEL, open_model_server
from .serving import Served, kind

_LIBRARIES = ("/usr/lib/*/faketime/libfaketime.so.1", "/usr/lib/faketime/libfaketime.so.1")
_JUMPS = (3600, -3600, 86400, -86400, 2 * 86400, -2 * 86400)
_WORK_SECONDS = 0.3
_PATIENCE = 30.0
_LIMIT = 1.0
_LATEST = 15.0


def _library() -> str:
    for pattern in _LIBRARIES:
        for path in Path("/").glob(pattern.lstrip("/")):
            return str(path)
    raise SkippedError("there is no libfaketime; Debian's package is `libfaketime`")


async def jump_clocks(bench: Bench) -> Outcome:
    """Four tasks at each jump: one that works, one that asks a peer, one a model, one too long."""
    outcome = Outcome(dose=f"{bench.dose} jumps of an hour to two days, forth and back")
    library, stamp = _library(), bench.folder / "clock"
    stamp.write_text("+0")
    environment = {
        "LD_PRELOAD": library,
        "FAKETIME_TIMESTAMP_FILE": str(stamp),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    async with open_model_server() as server:
        server.pause = _WORK_SECONDS
        model = {"engine": "openai", "url": server.url, "model": MODEL, "tiers": ["judge"]}
        agents = {
            "sleeper": kind("Sleeper", concurrency=8, patience=_PATIENCE),
            "hurried": kind("Sleeper", concurrency=8, patience=_LIMIT),
            "desk": kind("Desk", peers=["clerk"], patience=_PATIENCE),
            "clerk": kind("Sleeper", patience=_PATIENCE),
            "thinker": kind("Thinker", model="stand", patience=_PATIENCE),
        }
        async with (
            Served(bench, "clocks", agents, models={"stand": model}) as served,
            open_client(served.url, patience=60.0) as client,
        ):
            await served.start(cold=True, environment=environment)
            offset, ids = 0, list[str]()
            for number in range(bench.dose):
                offset += bench.dice.choice(_JUMPS)
                await _jump(client, stamp, offset, number, outcome, ids)
                if (number + 1) % max(1, bench.dose // 4) == 0:
                    bench.say(f"{number + 1} of {bench.dose} jumps, now {offset:+d} s")
    if len(set(ids)) < len(ids):
        outcome.broken.append("two tasks have one id")
    outcome.note = (
        "deadlines neither expired early nor never; ids stayed unique; the task that was too long"
        " ended by its deadline each time"
    )
    return outcome


async def _jump(
    client: Client, stamp: Path, offset: int, number: int, outcome: Outcome, ids: list[str]
) -> None:
    ended: dict[str, tuple[str, float, str]] = {}

    async def ask(agent: str, facts: dict[str, Any]) -> None:
        began = monotonic()
        task = await client.send(agent, f"{agent}-{number}", facts, wait=True, patience=60.0)
        ids.append(task["id"])
        outcome.accepted += 1
        parts = (task["status"].get("message") or {}).get("parts") or [{}]
        words = str(parts[0].get("text", ""))
        ended[agent] = str(task["status"]["state"]), monotonic() - began, words

    with anyio.move_on_after(2 * _LATEST):
        async with anyio.create_task_group() as group:
            for agent in ("sleeper", "desk", "thinker"):
                group.start_soon(ask, agent, {"seconds": _WORK_SECONDS})
            group.start_soon(ask, "hurried", {"seconds": 60.0})
            await anyio.sleep(_WORK_SECONDS / 3)
            stamp.write_text(f"{offset:+d}")
    for agent in ("sleeper", "desk", "thinker", "hurried"):
        if agent not in ended:
            outcome.stuck.append(
                f"{agent} had not ended {2 * _LATEST:g} s after a jump to {offset:+d} s"
            )
            continue
        state, taken, words = ended[agent]
        wanted = "FAILED" if agent == "hurried" else "COMPLETED"
        if state != f"TASK_STATE_{wanted}":
            outcome.broken.append(
                f"{agent} ended as {state} after a jump to {offset:+d} s: {words}"
            )
        elif taken > _LATEST:
            outcome.broken.append(f"{agent} took {taken:.1f} s at a jump to {offset:+d} s")


FAULTS = (
    Fault(
        "F10",
        "a clock that jumps",
        "the wall clock of a running process jumps (libfaketime; the monotonic one does not)",
        doses(20, 200, 3),
        jump_clocks,
        waits=True,
    ),
)
