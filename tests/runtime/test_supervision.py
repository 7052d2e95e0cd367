"""Agents that crash in earnest: who is started again, who stays down, and what is told of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from anyio import fail_after

from repertory.agents import Agent, AgentSpec, Turn
from repertory.protocol import Task, TaskState
from repertory.runtime import Network, open_network, parse_manifest
from repertory.runtime.audit import read_audit
from repertory.runtime.errors import SupervisionError
from repertory.runtime.standing import read_standing
from repertory.runtime.supervisor import Strategy
from tests.claims import claim

_MANIFEST = """network: test
embedder: {{engine: hash}}
telemetry: {{spans: false}}
supervision: {{{rules}}}
agents:
  first: {{}}
  second: {{depends: [first]}}
  third: {{depends: [second]{third}}}
"""


class Stage:
    """What the agents do, and how often each of them has begun to live."""

    def __init__(self) -> None:
        self.lives: list[str] = []
        self.begun: list[str] = []
        self.entered = anyio.Event()
        self.release = anyio.Event()
        self.together = anyio.Event()
        self.ready: set[str] = set()
        self.broken: set[str] = set()

    def kind(self, name: str) -> type[Agent]:
        """The agent of this name."""
        stage = self

        class Player(Agent):
            def __init__(self, spec: AgentSpec) -> None:
                super().__init__(spec)
                if name in stage.broken:
                    raise ValueError("not built")

            @asynccontextmanager
            async def open(self) -> AsyncIterator[None]:
                stage.lives.append(name)
                yield

            async def handle(self, turn: Turn) -> None:
                await stage.play(name, turn)

        return Player

    async def play(self, name: str, turn: Turn) -> None:
        """One turn: what the message says."""
        stage_begun = self.begun.count(turn.message.text)
        self.begun.append(turn.message.text)
        match turn.message.text.split():
            case ["once", *_] if not stage_begun:
                raise ValueError("a bug")
            case ["always", *_]:
                raise ValueError("a bug")
            case ["work", *_]:
                self.entered.set()
                await self.release.wait()
            case ["pair", *_] if not stage_begun:
                self.ready.add(name)
                if len(self.ready) == 2:
                    self.together.set()
                await self.together.wait()
                raise ValueError("a bug")
        await turn.complete("done")


@asynccontextmanager
async def _open(folder: Path, stage: Stage, rules: str, third: str = "") -> AsyncIterator[Network]:
    manifest = parse_manifest(_MANIFEST.format(rules=rules, third=third), folder=folder)
    kinds = {name: stage.kind(name) for name in ("first", "second", "third")}
    with fail_after(60):
        async with open_network(manifest, kinds=kinds) as network:
            yield network


def _words(task: Task) -> str:
    assert task.status.message is not None
    return task.status.message.text


@claim("otp:strategies")
@pytest.mark.parametrize(
    ("strategy", "again"),
    [
        ("one_for_one", ["second"]),
        ("one_for_all", ["first", "second", "third"]),
        ("rest_for_one", ["second", "third"]),
    ],
)
async def test_a_crash_starts_again_whom_the_strategy_names_and_loses_no_task(
    tmp_path: Path, strategy: Strategy, again: list[str]
) -> None:
    """Spec: Erlang/OTP; whoever is stopped with the crashed one begins its work anew."""
    stage = Stage()
    async with _open(tmp_path, stage, f"strategy: {strategy}") as network:
        assert stage.lives == ["first", "second", "third"]
        working = await network.tell("third", "work")
        await stage.entered.wait()
        crashed = await network.ask("second", "once")
        assert crashed.status.state is TaskState.COMPLETED
        stage.release.set()
        await network.idle()
        assert (await network.task(working)).status.state is TaskState.COMPLETED
        # In the order in which they start.
        assert stage.lives[3:] == again
        assert stage.begun.count("work") == (2 if "third" in again else 1)
        assert stage.begun.count("once") == 2


async def test_two_that_crash_at_one_moment_are_started_again_once(tmp_path: Path) -> None:
    """Spec: Erlang/OTP; the exit of a child that its supervisor has ended itself is no restart."""
    stage = Stage()
    rules = "strategy: one_for_all, intensity: 1"
    async with _open(tmp_path, stage, rules) as network:
        tasks = [await network.tell(name, f"pair {name}") for name in ("first", "second")]
        await network.idle()
        for task in tasks:
            assert (await network.task(task)).status.state is TaskState.COMPLETED
        assert stage.lives[3:] == ["first", "second", "third"]


@claim("otp:intensity")
async def test_an_agent_that_is_given_up_takes_no_other_with_it(tmp_path: Path) -> None:
    """Ours: where agents are given up one by one, each has an intensity of its own."""
    stage = Stage()
    rules = "intensity: 2, period: 60, attempts: 9, escalate: agent"
    async with _open(tmp_path, stage, rules) as network:
        given_up = await network.ask("second", "always")
        assert "second crashed more than 2 times in 60 s" in _words(given_up)
        # The others crash, restart and serve on, within the same minute.
        for name in ("first", "third"):
            task = await network.ask(name, f"once {name}")
            assert task.status.state is TaskState.COMPLETED
        refused = await network.ask("second", "hello")
        assert refused.status.state is TaskState.FAILED
        database = network.journal.database
        while ("agent", "second") not in await read_standing(database):
            await anyio.sleep(0.02)
        (entry,) = [each for each in await read_audit(database) if each.what == "gave up"]
        assert (entry.agent, entry.target) == ("second", "")
        assert "the last time: ValueError: a bug" in entry.reason
    # It is a new life after a start, and so a new chance.
    async with _open(tmp_path, stage, rules) as network:
        assert (await network.ask("second", "hello")).status.state is TaskState.COMPLETED


async def test_a_network_that_ends_with_its_agent_keeps_the_reason_and_the_work(
    tmp_path: Path,
) -> None:
    """Spec: Erlang/OTP, escalation; what was accepted goes on at the next start."""
    stage = Stage()
    rules = "intensity: 1, attempts: 9"

    async def live() -> None:
        async with _open(tmp_path, stage, rules) as network:
            await network.tell("third", "work")
            await stage.entered.wait()
            await network.tell("second", "always")
            await anyio.sleep_forever()

    with pytest.raises(SupervisionError, match="second crashed more than 1 times in 5 s"):
        await live()
    stage.release.set()
    stage.begun.append("always")
    async with _open(tmp_path, stage, "intensity: 99, attempts: 4") as network:
        (entry,) = [
            each for each in await read_audit(network.journal.database) if each.what == "gave up"
        ]
        assert (entry.agent, entry.target) == ("second", "network")
        await network.idle()
        states = {task.agent: task.state for task in await network.tasks()}
        assert states == {"second": TaskState.FAILED, "third": TaskState.COMPLETED}
        (letter,) = await network.dead_letters()
        assert (letter.agent, letter.attempts) == ("second", 4)


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all"])
async def test_a_temporary_agent_stays_down_and_says_why(
    tmp_path: Path, strategy: Strategy
) -> None:
    """Spec: Erlang/OTP, temporary children; nobody waits for what will not be worked on."""
    stage = Stage()
    rules = f"strategy: {strategy}, attempts: 9"
    async with _open(tmp_path, stage, rules, third=", restart: temporary") as network:
        waiting = await network.tell("third", "work")
        await stage.entered.wait()
        if strategy == "one_for_one":
            own = await network.ask("third", "always")
            assert "agent third crashed (ValueError: a bug); it is temporary" in _words(own)
        else:
            await network.ask("first", "once")
        await network.idle()
        told = await network.task(waiting)
        assert told.status.state is TaskState.FAILED
        by = "crashed" if strategy == "one_for_one" else "was stopped with first, which crashed"
        assert f"agent third {by} (ValueError: a bug)" in _words(told)
        assert stage.lives.count("third") == 1


async def test_an_agent_that_cannot_be_built_again_is_a_crash_and_no_end_of_the_network(
    tmp_path: Path,
) -> None:
    """Ours: a constructor that fails is its supervisor's matter like every other crash."""
    stage = Stage()
    rules = "intensity: 2, period: 60, attempts: 9, escalate: agent"
    async with _open(tmp_path, stage, rules) as network:
        stage.broken.add("second")
        task = await network.ask("second", "once")
        assert "the last time: ValueError: not built" in _words(task)
        assert (await network.ask("first", "hello")).status.state is TaskState.COMPLETED
