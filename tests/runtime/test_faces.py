"""Every face of served networks: one task through two processes, and webhooks over a restart."""

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
from anyio import fail_after
from mcp import Client
from mcp.types import TextContent, TextResourceContents

from repertory.agents import Agent, Question, Turn
from repertory.protocol import agent_message
from repertory.protocol.mcp_tasks import TasksClient
from repertory.runtime import Network, open_network
from repertory.runtime.manifest import parse_manifest
from repertory.runtime.spans import load_trace
from repertory.runtime.web import serve
from repertory.xp_store import open_database
from tests.claims import claim

TRACE = "0af7651916cd43dd8448eb211c80319c"
AGENTS = '''
from repertory.agents import Agent, Turn


class Relay(Agent):
    """Asks its peer."""

    async def handle(self, turn: Turn) -> None:
        task = await turn.ask(next(iter(turn.peers)), turn.message.text)
        await turn.complete(task.status.message)


class Echo(Agent):
    """Says what it was told."""

    async def handle(self, turn: Turn) -> None:
        await turn.complete(f"{turn.agent} heard {turn.message.text}")
'''


def network(folder: Path, name: str, agents: str) -> Path:
    """A network in a folder of its own."""
    folder.mkdir()
    (folder / "desk.py").write_text(AGENTS)
    path = folder / "network.yaml"
    path.write_text(f"network: {name}\nembedder: {{engine: hash}}\nagents:\n{agents}")
    return path


@contextmanager
def process(path: Path) -> Iterator[str]:
    """Serve a network by a process of its own; its URL."""
    command = [sys.executable, "-m", "repertory.runtime.cli", "serve", str(path), "--port", "0"]
    with subprocess.Popen(
        [*command, "--json"], stdout=subprocess.PIPE, cwd=path.parent, text=True
    ) as child:
        assert child.stdout is not None
        try:
            yield json.loads(child.stdout.readline())["url"]
        finally:
            child.terminate()


async def trace_of(folder: Path) -> list[Any]:
    """The spans that the network in `folder` keeps of the trace."""
    async with open_database(f"sqlite:///{next(folder.rglob('*.db'))}") as database:
        return list(await load_trace(database, trace_id=TRACE))


@claim("mcp:one-trace")
async def test_one_task_begun_by_an_mcp_host_is_one_trace_through_two_processes(
    tmp_path: Path,
) -> None:
    """Spec: SEP-414; ours: near and far, MCP host and A2A are one path and one trace."""
    far = network(tmp_path / "far", "far", "  critic: {kind: 'desk:Echo'}\n")
    with process(far) as url:
        near = network(
            tmp_path / "near",
            "near",
            "  editor: {kind: 'desk:Relay', peers: [critic]}\n"
            f"  critic: {{url: '{url}/agents/critic/mcp'}}\n",
        )
        with process(near) as here, fail_after(30):
            meta: Any = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
            async with Client(
                f"{here}/agents/editor/mcp", mode="2026-07-28", extensions=[TasksClient()]
            ) as host:
                result = await host.call_tool("editor", {"message": "a draft"}, meta=meta)
    said = result.content[0]
    assert isinstance(said, TextContent)
    assert said.text == "critic heard a draft"
    assert result.meta is not None
    task_id = result.meta["dev.repertory/task"]["taskId"]
    near_spans, far_spans = await trace_of(tmp_path / "near"), await trace_of(tmp_path / "far")
    assert any(span.task_id == task_id for span in near_spans)
    # The far agent hangs below a span of the near process, which hangs below the host's.
    known = {span.span_id for span in near_spans}
    assert "b7ad6b7169203331" in {span.parent_id for span in near_spans}
    assert known & {span.parent_id for span in far_spans}
    assert any("critic" in span.name for span in far_spans)


class Echo(Agent):
    """Says what it was told, with data."""

    async def handle(self, turn: Turn) -> None:
        await turn.complete(agent_message({"heard": turn.message.text}))


class Asker(Agent):
    """Asks a person."""

    async def handle(self, turn: Turn) -> None:
        await turn.complete((await turn.ask_person(Question("Well?"))).text)


@asynccontextmanager
async def opened(folder: Path, agents: str, **kinds: type[Agent]) -> AsyncIterator[Network]:
    """A network of these kinds."""
    text = f"network: desk\nembedder: {{engine: hash}}\nagents:\n{agents}"
    async with open_network(parse_manifest(text, folder=folder), kinds=kinds) as network:
        yield network


async def test_a_served_agent_shows_its_shape_its_instructions_and_its_packs(
    tmp_path: Path,
) -> None:
    """Ours: what the manifest says of an agent is what an MCP host sees of it."""
    agents = (
        "  echo:\n    instructions: Repeat it.\n"
        "    output: {type: object, properties: {heard: {type: string}}, required: [heard]}\n"
    )
    with fail_after(20):
        async with opened(tmp_path, agents, echo=Echo) as network, serve(network) as url:
            async with Client(f"{url}/agents/echo/mcp", mode="2026-07-28") as host:
                (tool,) = (await host.list_tools()).tools
                assert tool.output_schema is not None
                assert tool.output_schema["required"] == ["heard"]
                result = await host.call_tool("echo", {"message": "hi"})
                assert result.structured_content == {"heard": "hi"}
                prompt = await host.get_prompt("echo", {"message": "hello"})
                texts = [
                    m.content.text for m in prompt.messages if isinstance(m.content, TextContent)
                ]
                assert texts == ["Repeat it.", "hello"]
                packs = await network.packs.find()
                page = await host.read_resource(f"xp://packs/{packs[0].id}")
                assert isinstance(page.contents[0], TextResourceContents)
                assert json.loads(page.contents[0].text)["id"] == packs[0].id


@claim("a2a:webhooks")
async def test_a_webhook_is_kept_and_goes_on_after_a_restart(tmp_path: Path) -> None:
    """Spec: A2A 3.1.7, a configuration persists; ours: events at least once, over a restart."""
    told, heard = anyio.create_memory_object_stream[str](16)

    async def hook(client: anyio.abc.SocketStream) -> None:
        async with client:
            raw = await client.receive()
            while b"\r\n\r\n" not in raw or not raw.rstrip().endswith(b"}"):
                raw += await client.receive()
            await client.send(b"HTTP/1.1 200 Ok\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            await told.send(raw.partition(b"\r\n\r\n")[2].decode())

    agents = "  asker: {}\nserve: {outgoing: [127.0.0.0/8]}\n"
    v1 = {"A2A-Version": "1.0"}
    with fail_after(30), told, heard:
        async with (
            await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
            anyio.create_task_group() as group,
            httpx.AsyncClient(timeout=10) as http,
        ):
            group.start_soon(listener.serve, hook)
            port = listener.extra(anyio.abc.SocketAttribute.local_port)
            config = {"id": "mine", "url": f"http://127.0.0.1:{port}/hook", "token": "t"}
            message = {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "go"}]}
            body = {"message": message, "configuration": {"taskPushNotificationConfig": config}}
            async with opened(tmp_path, agents, asker=Asker) as network, serve(network) as url:
                rest = f"{url}/agents/asker/rest"
                answer = await http.post(f"{rest}/message:send", json=body, headers=v1)
                task = answer.json()["task"]
                assert task["status"]["state"] == "TASK_STATE_INPUT_REQUIRED"
                while "INPUT_REQUIRED" not in await heard.receive():
                    pass
            async with opened(tmp_path, agents, asker=Asker) as network, serve(network) as url:
                rest = f"{url}/agents/asker/rest"
                more = {**message, "messageId": "m2", "taskId": task["id"]}
                done = await http.post(f"{rest}/message:send", json={"message": more}, headers=v1)
                assert done.json()["task"]["status"]["state"] == "TASK_STATE_COMPLETED"
                seen = ""
                while "TASK_STATE_COMPLETED" not in seen:
                    seen = await heard.receive()
                    assert "TASK_STATE_SUBMITTED" not in seen
                hooks = f"{rest}/tasks/{task['id']}/pushNotificationConfigs"
                listed = (await http.get(hooks, headers=v1)).json()
                assert [each["id"] for each in listed["configs"]] == ["mine"]
            group.cancel_scope.cancel()
