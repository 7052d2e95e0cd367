"""A peer whose process is starting anew is asked again, and has the message once."""

import socket
from pathlib import Path

import anyio
from anyio import fail_after

from repertory.agents import Agent, Turn
from repertory.protocol import TaskState
from repertory.runtime import open_network, parse_manifest, serve

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
