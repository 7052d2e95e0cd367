"""Messages that are given up on: what is kept of them, and how they are tried again."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from anyio import fail_after

from repertory.agents import Agent, ChatMessage, ChatRequest, FunctionModel, Tier, Turn
from repertory.protocol import TaskState, UnsupportedOperationError
from repertory.runtime import Network, open_network
from repertory.runtime.manifest import parse_manifest

_TEXT = """network: test
embedder: {engine: hash}
supervision: {attempts: 2, intensity: 10}
models: {m: {engine: function, function: 'nowhere:none'}}
agents: {fragile: {}}
"""


_THINK = ChatRequest(messages=(ChatMessage(role="user", content="think"),), duty=Tier.GENERATE)


class Fragile(Agent):
    """Asks its model, then crashes until it is mended."""

    mended = False

    async def handle(self, turn: Turn) -> None:
        if turn.message.text == "bomb":
            await turn.chat(_THINK)
            if not self.mended:
                raise ZeroDivisionError("a bug of the agent")
        await turn.complete("alive")


@asynccontextmanager
async def _open(folder: Path, asked: list[str], url: str = "") -> AsyncIterator[Network]:
    def think(_: object) -> str:
        asked.append("think")
        return "thought"

    with fail_after(60):
        async with open_network(
            parse_manifest(_TEXT, folder=folder),
            store_url=url or None,
            kinds={"fragile": Fragile},
            models={"m": FunctionModel(think)},
        ) as network:
            yield network


@pytest.fixture(autouse=True)
def _broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Fragile, "mended", False)


async def test_a_poison_message_is_kept_with_its_trace_and_tried_again_when_mended(
    tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours: fault F13, on either engine; the new task begins with what the old one had done."""
    asked: list[str] = []
    async with _open(tmp_path, asked, store_url) as network:
        task = await network.ask("fragile", "bomb")
        assert task.status.state is TaskState.FAILED
        (letter,) = await network.dead_letters()
        assert (letter.task, letter.agent, letter.attempts) == (task.id, "fragile", 2)
        assert letter.error == "ZeroDivisionError: a bug of the agent"
        record = await network.find(task.id)
        assert record is not None
        assert letter.trace == record.traceparent.split("-")[1]
    async with _open(tmp_path, asked, store_url) as network:
        monkeypatch.setattr(Fragile, "mended", True)
        again = await network.retry(letter.task)
        assert (await network.retry(letter.task)).id == again.id
        await network.idle()
        done = await network.task(again.id)
        assert done.status.state is TaskState.COMPLETED
        assert done.history[0].reference_task_ids == (letter.task,)
        assert await network.dead_letters() == []
        assert (await network.task(letter.task)).status.state is TaskState.FAILED
    assert asked == ["think"]


async def test_what_ended_well_is_not_tried_again(tmp_path: Path) -> None:
    """Ours: a retry is for what failed; done stays done."""
    async with _open(tmp_path, []) as network:
        task = await network.ask("fragile", "hello")
        with pytest.raises(UnsupportedOperationError, match="is done"):
            await network.retry(task.id)
