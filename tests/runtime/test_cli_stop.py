"""`repertory stop` beside what it stops: soon, everywhere, and honest about what goes on."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.to_thread
import orjson
import pytest
from anyio import fail_after

from repertory.agents import Agent, Turn
from repertory.protocol import TaskState
from repertory.runtime import Network, load_manifest, open_network
from repertory.runtime.cli import run_cli
from repertory.runtime.doctor_work import examine_work

_MANIFEST = """network: test
embedder: {engine: hash}
telemetry: {spans: false}
store: {url: 'URL', lease: 5}
agents:
  slow: {concurrency: 1, memory: {record: false}}
  stubborn: {memory: {record: false}}
"""


class Slow(Agent):
    """Works until it is let go."""

    release: anyio.Event
    begun = 0

    async def handle(self, turn: Turn) -> None:
        type(self).begun += 1
        await self.release.wait()
        await turn.complete("done")


class Stubborn(Agent):
    """Lets nobody end it."""

    entered: anyio.Event
    release: anyio.Event

    async def handle(self, turn: Turn) -> None:
        self.entered.set()
        with anyio.CancelScope(shield=True):
            await self.release.wait()


@pytest.fixture
def manifest(tmp_path: Path, store_url: str) -> Path:
    """The file of a network on either engine."""
    Slow.release, Slow.begun = anyio.Event(), 0
    Stubborn.entered, Stubborn.release = anyio.Event(), anyio.Event()
    path = tmp_path / "network.yaml"
    path.write_text(_MANIFEST.replace("URL", store_url))
    return path


@asynccontextmanager
async def _process(path: Path) -> AsyncIterator[Network]:
    kinds: dict[str, type[Agent]] = {"slow": Slow, "stubborn": Stubborn}
    manifest = await anyio.to_thread.run_sync(load_manifest, path)
    async with open_network(manifest, kinds=kinds) as network:
        yield network


def _looked_at(network: Network) -> dict[str, tuple[str, str]]:
    found = examine_work(network.manifest, network.url, running=True)
    return {subject: (state, told) for subject, state, told, _ in found}


async def _told(
    capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[int, dict[str, object]]:
    status = await anyio.to_thread.run_sync(run_cli, [*arguments, "--json"])
    return status, orjson.loads(capsys.readouterr().out)


async def test_a_stop_is_done_when_every_process_has_obeyed(
    manifest: Path, store_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ours: whoever pressed the switch is told that the work has ended, and where it has not."""
    processes = 2 if store_url.startswith("postgresql") else 1
    with fail_after(60):
        async with anyio.create_task_group() as group:
            networks = [_process(manifest) for _ in range(processes)]
            opened = [await each.__aenter__() for each in networks]
            tasks = [await each.tell("slow", "work") for each in opened]
            while Slow.begun < processes:
                await anyio.sleep(0.01)
            stop = ("stop", "-m", str(manifest), "--agent", "slow")
            status, told = await _told(capsys, *stop)
            assert status == 0
            assert (told["outcome"], told["processes"]) == ("done", processes)
            assert not any(each.hosts["slow"].running for each in opened)
            # Pressed again, it is the same stop.
            status, told = await _told(capsys, *stop)
            assert (status, told["outcome"]) == (0, "done")
            Slow.release.set()
            status, told = await _told(capsys, "resume", "-m", str(manifest), "--agent", "slow")
            assert (status, told["outcome"]) == (0, "done")
            for task in tasks:
                while (await opened[0].task(task)).status.state is not TaskState.COMPLETED:
                    await anyio.sleep(0.01)
            for each in reversed(networks):
                await each.__aexit__(None, None, None)
            group.cancel_scope.cancel()


async def test_what_cannot_be_ended_from_outside_is_named_with_its_process(
    manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ours: a switch that did not work says so, and what to do; and so does the doctor."""
    with fail_after(60):
        async with _process(manifest) as network:
            await network.tell("stubborn", "work")
            await Stubborn.entered.wait()
            try:
                status, told = await _told(capsys, "stop", "-m", str(manifest))
                assert status == 1
                assert "go on: 1 of stubborn; end process" in str(told["outcome"])
                looked = await anyio.to_thread.run_sync(_looked_at, network)
                state, found = looked["stop of the network"]
                assert state == "error"
                assert "1 of stubborn" in found
            finally:
                Stubborn.release.set()
            while network.hosts["stubborn"].running:
                await anyio.sleep(0.01)


async def test_a_stop_of_what_nobody_runs_is_noted(
    manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ours: the row is enough; the next start finds it."""
    with fail_after(60):
        async with _process(manifest):
            pass
        status, told = await _told(capsys, "stop", "-m", str(manifest))
        assert (status, told["outcome"], told["processes"]) == (0, "noted", 0)
        async with _process(manifest) as network:
            assert [stop.subject for stop in network.stops] == ["the network"]
