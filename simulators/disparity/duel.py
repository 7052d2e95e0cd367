"""The red and blue network: attackers act on a target, a profiler reads what it sees of them.

Four agents over A2A. The umpire plays one session: it lets red act, batch by batch, on
the target, and holds blue's readings against what was played. Red and the umpire know
the truth; the target and blue see acts and virtual times alone. Nothing is attacked:
an act is a word.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Any

import anyio.to_thread
from pydantic import BaseModel, ConfigDict, Field

from repertory.agents import Agent, AgentSpec, Turn, read_options, result_of
from repertory.protocol import Artifact, Message, Part, Task, TaskState, user_message
from repertory.simulators.errors import SimulatorInputError

from .profiling import (
    POLICIES,
    Policy,
    Profiler,
    Reading,
    SessionResult,
    from_json,
    judge,
    session,
)

_BATCH = 20


class _Plain(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class UmpireOptions(_Plain):
    """What `options` of the umpire may hold: the folder of the page, none by default."""

    out: str = ""


class ProfilerOptions(_Plain):
    """What `options` of the blue agent may hold: training sessions of each identity, and the seed."""

    training: int = Field(default=12, ge=2, le=200)
    seed: int = 7


def session_message(policy: str, seed: int) -> Message:
    """What the umpire is asked: to play one session.

    Raises:
        SimulatorInputError: There is no such policy.
    """
    if policy not in POLICIES:
        raise SimulatorInputError(f"no policy {policy!r}; there are {', '.join(POLICIES)}")
    return user_message(
        {"policy": policy, "seed": seed},
        message_id=f"duel-{policy}-{seed}",
        context_id=f"{policy} {seed}",
    )


class Umpire(Agent):
    """Plays a session of red against blue and gives its result as data."""

    def __init__(self, spec: AgentSpec) -> None:
        super().__init__(spec)
        read_options(UmpireOptions, spec)

    async def handle(self, turn: Turn) -> None:
        policy, seed = _asked(turn)
        await turn.declare(["red"])
        played = _data(await turn.ask("red", {"policy": policy, "seed": seed}))
        acts = session(policy, seed)
        readings = [Reading(**r) for r in played["readings"]]
        result = judge(policy, seed, acts, readings)
        part = Part(data={"result": asdict(result), "line": played["line"]})
        await turn.add_artifact(Artifact(artifact_id="result", name="result", parts=(part,)))
        told = f"{policy}: detected after {result.detected} acts" if result.detected else policy
        await turn.complete(told)


class Attacker(Agent):
    """Red: plays a policy's session against the target, which answers what blue said of it."""

    async def handle(self, turn: Turn) -> None:
        policy, seed = _asked(turn)
        acts = [{"at": a.at, "act": a.act} for a in session(policy, seed)]
        await turn.declare(["target"] * ((len(acts) + _BATCH - 1) // _BATCH))
        readings: list[Any] = []
        line = 0.0
        for start in range(0, len(acts), _BATCH):
            # The whole past goes along, so that nobody must remember it over a restart.
            seen = {"session": turn.task_id, "acts": acts[: start + _BATCH], "new": start}
            answer = _data(await turn.ask("target", seen))
            readings += answer["readings"]
            line = answer["line"]
        await _give(turn, {"readings": readings, "line": line})


class Target(Agent):
    """What is attacked: it does nothing and shows the profiler what was done to it."""

    async def handle(self, turn: Turn) -> None:
        data = turn.message.data
        seen = dict(data) if isinstance(data, Mapping) else {}
        await _give(turn, _data(await turn.ask("blue", seen)))


class Defender(Agent):
    """Blue: reads a session act by act, by the identities it was trained on."""

    def __init__(self, spec: AgentSpec) -> None:
        super().__init__(spec)
        self._options = read_options(ProfilerOptions, spec)
        self._profiler: Profiler | None = None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        options = self._options
        self._profiler = await anyio.to_thread.run_sync(Profiler, options.training, options.seed)
        yield

    async def handle(self, turn: Turn) -> None:
        assert self._profiler is not None, "an agent is opened before its first turn"
        data = turn.message.data
        try:
            if not isinstance(data, Mapping):
                raise TypeError("it is no data part")
            acts, new = from_json(data["acts"]), int(data["new"])
        except (KeyError, TypeError, ValueError) as error:
            raise SimulatorInputError(
                f"a session is {{acts: [{{at, act}}], new}}; this is none ({error})"
            ) from None
        readings = self._profiler.read(acts)[new:]
        await _give(turn, {"readings": [asdict(r) for r in readings], "line": self._profiler.line})


def _asked(turn: Turn) -> tuple[Policy, int]:
    data = turn.message.data
    policy = data.get("policy") if isinstance(data, Mapping) else None
    for known in POLICIES:
        if policy == known and isinstance(data, Mapping):
            return known, int(data.get("seed", 0))
    raise SimulatorInputError(f"no policy {policy!r}; there are {', '.join(POLICIES)}")


def _data(task: Task) -> Mapping[str, Any]:
    found = result_of(task)
    if task.status.state is not TaskState.COMPLETED or not isinstance(found, Mapping):
        said = task.status.message.text if task.status.message else task.status.state.name
        raise SimulatorInputError(f"a peer gave no data: {said}")
    return found


async def _give(turn: Turn, data: Mapping[str, Any]) -> None:
    part = Part(data=dict(data))
    await turn.add_artifact(Artifact(artifact_id="data", name="data", parts=(part,)))
    await turn.complete()


def result_of_session(task: Task) -> SessionResult | None:
    """The session's result that the umpire gave; None where there is none."""
    found = result_of(task)
    if not isinstance(found, Mapping) or not isinstance(found.get("result"), Mapping):
        return None
    return SessionResult(**found["result"])


def sessions(count: int, policies: Sequence[str] = POLICIES) -> list[Message]:
    """The messages that play `count` sessions of every policy."""
    return [session_message(policy, seed) for seed in range(count) for policy in policies]
