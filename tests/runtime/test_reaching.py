"""A peer whose process is starting anew is asked again, and has the message once."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from anyio import fail_after

from repertory.agents import Agent, Turn
from repertory.protocol import (
    Call,
    NetworkClosedError,
    SendMessageRequest,
    SendMessageResponse,
    StoppedError,
    TaskState,
    open_a2a_link,
    open_http_link,
    user_message,
)
from repertory.runtime import Network, open_network, parse_manifest, serve

_FAR = "network: far\nembedder: {engine: hash}\nagents: {clerk: {kind: 'far:Clerk'}}\n"
_NEAR = """
network: near
embedder: {{engine: hash}}
agents:
  desk: {{kind: "near:Desk", peers: [clerk]}}
  clerk: {{url: "http://127.0.0.1:{port}/agents/clerk/mcp"}}
"""


async def test_a_peer_that_is_not_up_yet_is_asked_until_it_is(tmp_path: Path) -> None:
    """Ours: fault F1, an agent's process is gone for a moment; its caller does not fail of it."""
    asked = anyio.Event()
    seen: list[str] = []

    class Desk(Agent):
        async def handle(self, turn: Turn) -> None:
            asked.set()
            task = await turn.ask("clerk", "post it")
            await turn.complete(task.status.message)

    class Clerk(Agent):
        async def handle(self, turn: Turn) -> None:
            seen.append(turn.message.text)
            await turn.complete("posted")

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    near = parse_manifest(_NEAR.format(port=port), folder=tmp_path)
    far = parse_manifest(_FAR, folder=tmp_path)
    with fail_after(60):
        async with open_network(near, kinds={"desk": Desk}) as network:
            task_id = await network.tell("desk", "do it")
            await asked.wait()
            async with (
                open_network(far, kinds={"clerk": Clerk}) as started,
                serve(started, port=port),
            ):
                await network.idle()
            task = await network.task(task_id)
    assert task.status.state is TaskState.COMPLETED
    assert seen == ["post it"]


class Asking(Agent):
    """Asks the clerk, and passes on how that ended."""

    async def handle(self, turn: Turn) -> None:
        task = await turn.ask("clerk", turn.message.text)
        await turn.complete(task.status.message)


class Posting(Agent):
    """Says that it is done."""

    async def handle(self, turn: Turn) -> None:
        await turn.complete("posted")


@asynccontextmanager
async def _far(folder: Path, port: int = 0) -> AsyncIterator[tuple[Network, str]]:
    far = parse_manifest(_FAR, folder=folder)
    async with open_network(far, kinds={"clerk": Posting}) as network:
        async with serve(network, port=port) as url:
            yield network, url


async def test_a_stop_far_away_arrives_as_what_it_is_on_every_wire(tmp_path: Path) -> None:
    """Ours: who is refused by a person's stop is told so, by kind and name, and not of a fault."""
    with fail_after(60):
        async with _far(tmp_path / "far") as (far, url):
            await far.stop(agent="clerk", reason="wrong sums")
            request = SendMessageRequest(message=user_message("post it"))
            agent = f"{url}/agents/clerk"
            async with open_http_link(f"{agent}/mcp") as mcp, open_a2a_link(agent) as a2a:
                for link in (mcp, a2a):
                    with pytest.raises(
                        StoppedError, match=r"clerk was stopped .*wrong sums"
                    ) as met:
                        await link.send_message(request, Call())
                    assert (met.value.kind, met.value.name) == ("agent", "clerk")
                    assert not met.value.retryable
            near = parse_manifest(_NEAR.format(port=url.rpartition(":")[2]), folder=tmp_path)
            async with open_network(near, kinds={"desk": Asking}) as network:
                task = await network.ask("desk", "do it")
                assert task.status.state is TaskState.FAILED
                reason = (await network.journal.load(task.id)).events[-1]  # type: ignore[union-attr]
                update = reason.event.status_update
                assert update is not None
                assert (update.metadata or {})["dev.repertory/reason"] == "STOPPED"
                await far.resume(agent="clerk")
                assert (await network.ask("desk", "again")).status.state is TaskState.COMPLETED


async def test_a_peer_that_drains_is_asked_again_when_it_has_come_back(tmp_path: Path) -> None:
    """Ours: a rolling restart of a peer costs its callers time and no task."""
    with fail_after(60):
        async with _far(tmp_path / "far") as (far, url):
            port = int(url.rpartition(":")[2])
            await far.drain()
            async with open_http_link(f"{url}/agents/clerk/mcp") as link:
                with pytest.raises(NetworkClosedError, match="is draining") as met:
                    await link.send_message(
                        SendMessageRequest(message=user_message("post it")), Call()
                    )
                assert met.value.retryable
            near = parse_manifest(_NEAR.format(port=port), folder=tmp_path)
            refused = anyio.Event()
            async with open_network(near, kinds={"desk": Asking}) as network:
                turned_away = network.remote["clerk"].send_message

                async def watched(request: SendMessageRequest, call: Call) -> SendMessageResponse:
                    try:
                        return await turned_away(request, call)
                    except NetworkClosedError:
                        refused.set()
                        raise

                network.remote["clerk"].send_message = watched  # type: ignore[method-assign]
                task_id = await network.tell("desk", "do it")
                await refused.wait()
                far._draining = False
                await network.idle()
                task = await network.task(task_id)
    assert task.status.state is TaskState.COMPLETED
