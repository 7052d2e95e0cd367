"""The small agents that faults are done to. What they cause is seen outside, at the tool server."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from anyio import sleep

from repertory.agents import Agent, ChatMessage, ChatRequest, Tier, Turn
from repertory.protocol import TaskState


def asked(turn: Turn) -> Mapping[str, Any]:
    """What the message says, as data."""
    data = turn.message.data
    assert isinstance(data, Mapping)
    return data


class Clerk(Agent):
    """Post `steps` entries for an `id`, one after the other."""

    async def handle(self, turn: Turn) -> None:
        given = asked(turn)
        for step in range(int(given.get("steps", 1))):
            posted = await turn.call_tool("books.post", {"id": f"{given['id']}/{step}"})
            if posted.is_error:
                await turn.fail(posted.content)
                return
            await turn.report(f"{given['id']}/{step}")
        await turn.complete(str(given["id"]))


class Desk(Agent):
    """Have the clerk do it."""

    async def handle(self, turn: Turn) -> None:
        given = dict(asked(turn))
        task = await turn.ask("clerk", given)
        if task.status.state is TaskState.COMPLETED:
            await turn.complete(str(given["id"]))
        else:
            await turn.fail(task.status.message.text if task.status.message else "no reason")


class Thinker(Agent):
    """Ask the model about an `id`."""

    async def handle(self, turn: Turn) -> None:
        message = ChatMessage(role="user", content=str(asked(turn)["id"]))
        answer = await turn.chat(ChatRequest(messages=(message,), duty=Tier.EXTRACT))
        await turn.complete(answer.texts[0])


class Reporter(Agent):
    """Say `reports` things, `pause` seconds apart."""

    async def handle(self, turn: Turn) -> None:
        given = asked(turn)
        for number in range(int(given["reports"])):
            await turn.report(f"{given['id']}/{number}")
            await sleep(float(given.get("pause", 0.0)))
        await turn.complete(str(given["id"]))


class Sleeper(Agent):
    """Work for `seconds`."""

    async def handle(self, turn: Turn) -> None:
        given = asked(turn)
        await sleep(float(given["seconds"]))
        await turn.complete(str(given["id"]))


class Crasher(Agent):
    """Crash over whatever says `poison`, and do the rest as a clerk does."""

    async def handle(self, turn: Turn) -> None:
        given = asked(turn)
        if given.get("poison"):
            raise RuntimeError("poisoned")
        await Clerk.handle(self, turn)  # type: ignore[arg-type]  # it uses nothing of a clerk's own


class Sink(Agent):
    """Take whatever comes."""

    async def handle(self, turn: Turn) -> None:
        await turn.complete("taken")


class Caller(Agent):
    """Call the tool server that is going to die, and say what came of it."""

    async def handle(self, turn: Turn) -> None:
        held = await turn.call_tool(str(asked(turn)["tool"]), {"id": str(asked(turn)["id"])})
        await turn.complete(held.content)


async def count(request: ChatRequest) -> str:
    """A model whose every answer is an effect: a line in `effects.txt`."""
    with Path("effects.txt").open("a") as file:
        file.write(request.messages[-1].content + "\n")
    return "counted"
