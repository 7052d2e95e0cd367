"""What the prefix cache of a model's server meets: the bytes of the prompts that agents send."""

from itertools import takewhile
from pathlib import Path

import anyio

from repertory.protocol import TaskState
from repertory.runtime import open_network
from repertory.runtime.manifest import parse_manifest
from tests.agents.model_server import ModelServer, open_model_server

_ROLES = "<|{role}|>\n{content}\n"


def prompts(server: ModelServer) -> list[str]:
    """The conversations that arrived, as a chat template would write them."""
    return [
        "".join(_ROLES.format(**message) for message in body["messages"])
        for path, _, body in server.asked
        if path == "/v1/chat/completions"
    ]


async def test_two_tasks_of_one_agent_share_every_byte_before_their_input(tmp_path: Path) -> None:
    """Ours: instructions and tools come first, and are the same bytes after a restart too."""
    desk = Path(__file__).parent / "servers" / "hostile_desk.py"
    async with open_model_server("vllm") as server:
        text = (
            "network: desk\nembedder: {engine: hash}\n"
            f"models: {{big: {{engine: openai, url: '{server.url}', model: smollm2-135m,"
            " tiers: [judge]}}\n"
            f"tools: {{desk: {{command: [python, {desk}]}}}}\n"
            "agents: {clerk: {instructions: Post what is due., tools: [desk], priority: 3,"
            " patience: 30, memory: {recall: 0}}}\n"
        )
        inputs = ("alpha invoice", "beta order")
        for words in inputs:
            with anyio.fail_after(20):
                async with open_network(parse_manifest(text, folder=tmp_path)) as network:
                    task = await network.ask("clerk", words)
            # The recorded answer chooses no tool, so the worker says so; what it asked counts.
            assert task.status.state is TaskState.FAILED
        sent = prompts(server)
    one, other = (next(each for each in sent if words in each) for words in inputs)
    pairs = takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    shared = "".join(pair[0] for pair in pairs)
    assert shared.endswith("<|user|>\n<data>\n")
    for stable in ("Post what is due.", "desk.", "arguments:"):
        assert stable in shared
    for _, _, body in server.asked:
        assert body["priority"] == 3
        assert body["cache_salt"] == "default"


async def test_a_repair_goes_on_where_its_question_ended(tmp_path: Path) -> None:
    """Ours: within a task each request begins with the whole of the one before it."""
    async with open_model_server("vllm") as server:
        text = (
            "network: desk\nembedder: {engine: hash}\n"
            f"models: {{big: {{engine: openai, url: '{server.url}', model: smollm2-135m,"
            " tiers: [judge]}}\n"
            "agents: {clerk: {instructions: Judge., memory: {recall: 0}, output:"
            " {type: object, properties: {sum: {type: integer}}, required: [sum]}}}\n"
        )
        with anyio.fail_after(20):
            async with open_network(parse_manifest(text, folder=tmp_path)) as network:
                await network.ask("clerk", "alpha")
        first, second = prompts(server)
    assert second.startswith(first)
