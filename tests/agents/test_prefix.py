"""What the prefix cache of a model's server meets: the bytes of the prompts that agents send."""

import os
import subprocess
import sys
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


PROGRAM = """
import sys
from pathlib import Path

import anyio

from repertory.agents import ChatResult, FunctionModel, Tier
from repertory.protocol import TaskState
from repertory.runtime import open_network
from repertory.runtime.manifest import parse_manifest

folder, desk, again = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
text = (
    "network: desk\\nembedder: {engine: hash}\\n"
    "models: {big: {engine: function, function: 'm:f', tiers: [judge]}}\\n"
    f"tools: {{desk: {{command: [python, {desk}]}}}}\\n"
    "agents: {clerk: {instructions: Post what is due., tools: [desk], memory: {recall: 0}, output:"
    " {type: object, properties: {sum: {type: integer}, by: {type: string}}, required: [sum]}}}\\n"
)


def answer(request):
    sys.stdout.write("\\x1e" + "\\x1f".join(f"{m.role}:{m.content}" for m in request.messages))
    if "call" in request.json_schema.get("properties", {}):
        return '{"why": "enough is known", "call": {"tool": "answer"}}'
    return '{"sum": 7, "by": "clerk"}'


async def main():
    model = FunctionModel(answer, name="big", tiers=frozenset({Tier.JUDGE}))
    manifest = parse_manifest(text, folder=folder)
    async with open_network(manifest, models={"big": model}) as network:
        for words in ("alpha invoice of the desk", f"beta invoice of the desk{again}"):
            task = await network.ask("clerk", words, context_id="one")
            assert task.status.state is TaskState.COMPLETED, task.status


anyio.run(main)
"""


def test_two_processes_whose_hashes_differ_write_the_same_bytes_up_to_the_input(
    tmp_path: Path,
) -> None:
    """Ours: instructions, shape, tools, history, input; a restart finds the cache as it was."""
    desk = Path(__file__).parent / "servers" / "hostile_desk.py"
    runs = []
    for seed, words in (("1", ""), ("2", " again")):
        folder = tmp_path / seed
        folder.mkdir()
        ended = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(folder), str(desk), words],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        runs.append(ended.stdout.split("\x1e")[1:])
    for prompts in runs:
        last = prompts[-1]
        places = [
            last.index(words)
            for words in (
                "system:Post what is due.",
                "Text between <data> and </data>",
                "Answer with JSON that fits",
                "desk.post",
                "<data>\nalpha invoice of the desk\n</data>\x1fassistant:",
                "<data>\nbeta invoice of the desk",
            )
        ]
        assert places == sorted(places)
        # What does not change from call to call is one message, and it is the first of each.
        assert len({prompt.split("\x1f")[0] for prompt in prompts}) == 1
    (one, other) = (prompts[-1] for prompts in runs)
    assert one.rpartition("beta invoice")[0] == other.rpartition("beta invoice")[0]


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
