"""Agents that have nothing to do have no task, and are there when something arrives."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from anyio import fail_after
from anyio.lowlevel import checkpoint

from repertory.agents import Agent, AgentSpec, Turn
from repertory.protocol import TaskState
from repertory.runtime import Network, open_network
from repertory.runtime.manifest import parse_manifest


class Counting(Agent):
    """Says how often it was asked since it was made."""

    def __init__(self, spec: AgentSpec) -> None:
        super().__init__(spec)
        self.asked = 0

    async def handle(self, turn: Turn) -> None:
        self.asked += 1
        if turn.message.text == "bomb":
            raise ZeroDivisionError("a bug of the agent")
        await turn.complete(str(self.asked))


class Holding(Counting):
    """Holds something while it runs."""

    held = 0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        type(self).held += 1
        try:
            yield
        finally:
            type(self).held -= 1


@asynccontextmanager
async def _network(folder: Path, kind: type[Agent], names: list[str]) -> AsyncIterator[Network]:
    agents = "".join(f"  {name}: {{}}\n" for name in names)
    supervision = "supervision: {attempts: 1}\n"
    manifest = parse_manifest(
        f"network: test\nembedder: {{engine: hash}}\nagents:\n{agents}{supervision}",
        folder=folder,
    )
    with fail_after(20):
        async with open_network(manifest, kinds=dict.fromkeys(names, kind)) as network:
            yield network


async def _asleep(network: Network, name: str) -> None:
    while not network.hosts[name].asleep:
        await checkpoint()


async def _says(network: Network, name: str, text: str = "go") -> str:
    task = await network.ask(name, text)
    assert task.status.message is not None
    return task.status.message.text


async def test_agents_without_work_have_no_task(tmp_path: Path) -> None:
    """Ours: a hundred idle agents cost no more tasks than one."""
    async with _network(tmp_path, Counting, ["only"]):
        one = len(asyncio.all_tasks())
    async with _network(tmp_path, Counting, [f"a{n}" for n in range(100)]) as network:
        assert len(asyncio.all_tasks()) == one
        assert all(host.asleep for host in network.hosts.values())


async def test_an_agent_falls_asleep_again_and_is_the_same_when_it_wakes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours: sleep is seen by nobody, so what it has in memory stays."""
    monkeypatch.setattr("repertory.runtime.host._AWAKE_SECONDS", 0.001)
    async with _network(tmp_path, Counting, ["a"]) as network:
        for time in ("1", "2", "3"):
            assert await _says(network, "a") == time
            await _asleep(network, "a")


async def test_many_messages_that_find_it_asleep_are_all_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours: what arrives while it falls asleep wakes it."""
    monkeypatch.setattr("repertory.runtime.host._AWAKE_SECONDS", 0.0)
    async with _network(tmp_path, Counting, ["a"]) as network:
        said: list[str] = []

        async def ask() -> None:
            for _ in range(10):
                said.append(await _says(network, "a"))

        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(ask)
        assert sorted(said, key=int) == [str(number + 1) for number in range(50)]


async def test_an_agent_that_crashed_begins_anew_and_sleeps(tmp_path: Path) -> None:
    """Ours: after a crash there is a fresh agent, and it is roused like the first."""
    async with _network(tmp_path, Counting, ["a"]) as network:
        assert await _says(network, "a") == "1"
        assert (await network.ask("a", "bomb")).status.state is TaskState.FAILED
        await _asleep(network, "a")
        assert await _says(network, "a") == "1"


async def test_an_agent_that_holds_something_holds_it_from_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours: `open` is entered when the network starts, and left when it ends."""
    monkeypatch.setattr("repertory.runtime.host._AWAKE_SECONDS", 0.0)
    async with _network(tmp_path, Holding, ["a"]) as network:
        assert Holding.held == 1
        assert await _says(network, "a") == "1"
        assert not network.hosts["a"].asleep
        assert Holding.held == 1
    assert Holding.held == 0
