"""The kill switch: what it ends, what it refuses, and what goes on after it."""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from anyio import fail_after

from repertory.agents import Agent, Turn
from repertory.protocol import StoppedError, TaskState
from repertory.runtime import Network, open_network
from repertory.runtime.audit import read_audit
from repertory.runtime.journal import open_journal
from repertory.runtime.manifest import parse_manifest
from repertory.runtime.stops import Stops, lift_stop, put_stop
from repertory.xp_store import open_database

_AGENTS = """network: test
embedder: {engine: hash}
agents:
  slow: {}
  echo: {}
"""


class Slow(Agent):
    """Works until it is let go."""

    entered: anyio.Event
    release: anyio.Event
    begun = 0

    async def handle(self, turn: Turn) -> None:
        type(self).begun += 1
        self.entered.set()
        await self.release.wait()
        await turn.complete("done")


class Echo(Agent):
    """Says what it was told."""

    async def handle(self, turn: Turn) -> None:
        await turn.complete(turn.message.text)


@asynccontextmanager
async def _open(folder: Path, text: str = _AGENTS) -> AsyncIterator[Network]:
    Slow.entered, Slow.release, Slow.begun = anyio.Event(), anyio.Event(), 0
    manifest = parse_manifest(text, folder=folder)
    with fail_after(20):
        async with open_network(manifest, kinds={"slow": Slow, "echo": Echo}) as network:
            yield network


async def test_a_stop_ends_the_work_and_a_resume_lets_it_go_on(tmp_path: Path) -> None:
    """Ours: a stopped task stays in the journal, and its turn begins again when it may."""
    async with _open(tmp_path) as network:
        task = await network.tell("slow", "work")
        await Slow.entered.wait()
        assert await network.stop(reason="wrong numbers")
        assert not network.hosts["slow"].running
        with pytest.raises(StoppedError, match=r"the network was stopped at .*wrong numbers"):
            await network.ask("echo", "hello")
        await network.idle()
        Slow.release.set()
        assert await network.resume()
        await network.idle()
        assert (await network.task(task)).status.state is TaskState.COMPLETED
        assert Slow.begun == 2
        assert not await network.resume()
        seen = [entry.what for entry in await read_audit(network.journal.database)]
        assert seen == ["resumed", "stopped"]


async def test_a_stop_outlives_the_process(tmp_path: Path) -> None:
    """Ours: a stop is a row of the journal; only a resume lifts it."""
    async with _open(tmp_path) as network:
        waiting = await network.tell("slow", "work")
        await Slow.entered.wait()
        await network.stop(agent="slow")
    async with _open(tmp_path) as network:
        with pytest.raises(StoppedError, match="agent slow was stopped"):
            await network.tell("slow", "more")
        echoed = await network.ask("echo", "hello")
        assert echoed.status.state is TaskState.COMPLETED
        assert Slow.begun == 0
        Slow.release.set()
        await network.resume(agent="slow")
        await network.idle()
        assert (await network.task(waiting)).status.state is TaskState.COMPLETED


async def test_one_tenant_is_stopped_and_another_goes_on(tmp_path: Path) -> None:
    """Ours: a tenant's stop meets its work at every agent, and nobody else's."""
    async with _open(tmp_path) as network:
        await network.stop(tenant="blue")
        with pytest.raises(StoppedError, match="tenant blue was stopped"):
            await network.ask("echo", "hello", tenant="blue")
        task = await network.ask("echo", "hello", tenant="red")
        assert task.status.state is TaskState.COMPLETED


async def test_a_stop_that_another_process_left_is_obeyed(tmp_path: Path) -> None:
    """Ours: the row alone is enough, so it works beside every process over the store."""
    async with _open(tmp_path) as network:
        await network.tell("slow", "work")
        await Slow.entered.wait()
        database = network.journal.database
        await put_stop(database, "agent", "slow", reason="", by="elsewhere")
        while network.hosts["slow"].running:
            await anyio.sleep(0.02)
        assert network.stops.stops_agent("slow")
        Slow.release.set()
        await lift_stop(database, "agent", "slow", by="elsewhere")
        await network.idle()
        while network.hosts["slow"].held:
            await anyio.sleep(0.02)


async def test_a_stop_ends_the_tool_processes_that_only_stopped_agents_use(tmp_path: Path) -> None:
    """Ours: no process that a stopped agent started goes on behind it."""
    text = f"""network: test
embedder: {{engine: hash}}
tools:
  desk: {{command: [{sys.executable}, {Path(__file__).parent / "servers" / "plain_desk.py"}]}}
agents:
  slow: {{tools: [desk]}}
"""
    async with _open(tmp_path, text) as network:
        await network.tell("slow", "work")
        await Slow.entered.wait()
        server = network.tool_servers["desk"]
        pid: int = getattr(server, "pid")  # noqa: B009 - not of the protocol
        assert pid is not None
        assert await network.stop()
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


async def test_the_first_stop_of_a_kind_and_name_stays_until_it_is_lifted(store_url: str) -> None:
    """Ours: who stops what is stopped already changes nothing, on either engine."""
    async with open_database(store_url) as database, open_journal(database):
        for reason in ("first", "second"):
            await put_stop(database, "tenant", "blue", reason=reason, by="me")
        stops = Stops()
        assert await stops.refresh(database)
        assert not await stops.refresh(database)
        stop = stops.of("anybody", "blue")
        assert stop is not None
        assert stop.reason == "first"
        assert await lift_stop(database, "tenant", "blue", by="me")
        assert not await lift_stop(database, "tenant", "blue", by="me")
        assert await stops.refresh(database)
        assert stops.of("anybody", "blue") is None
