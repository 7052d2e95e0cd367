"""A network under HTTP: near and far are one path, cards where clients look, Host and Origin checked."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from a2a import types as a2a
from a2a.client import ClientConfig, ClientFactory
from anyio import fail_after
from google.protobuf.json_format import ParseDict
from mcp import Client
from mcp.client import advertise
from mcp.types import Request, RequestParams, Result

from repertory.agents import Agent, Question, Turn
from repertory.protocol import BINDING_URI, EXTENSION_ID, AgentCard, TaskState, user_message
from repertory.protocol.a2a_sdk import register_binding
from repertory.runtime import Network, open_network
from repertory.runtime.errors import PortInUseError
from repertory.runtime.manifest import parse_manifest
from repertory.runtime.web import serve


class Params(RequestParams):
    """An operation's parameters as a stranger would write them."""

    request: dict[str, Any]


class Answer(Result):
    """An operation's result as a stranger would read it."""

    response: dict[str, Any]


class Echo(Agent):
    """Says what it was told."""

    async def handle(self, turn: Turn) -> None:
        await turn.complete(f"{turn.agent}: {turn.message.text}")


class Asker(Agent):
    """Asks a person."""

    async def handle(self, turn: Turn) -> None:
        await turn.complete((await turn.ask_person(Question("Well?"))).text)


class Relay(Agent):
    """Asks its peer, wherever that is."""

    async def handle(self, turn: Turn) -> None:
        task = await turn.ask(next(iter(turn.peers)), turn.message.text)
        await turn.complete(task.status.message)


KINDS: dict[str, type[Agent]] = {"echo": Echo, "asker": Asker, "relay": Relay}


@asynccontextmanager
async def _network(folder: Path, agents: str) -> AsyncIterator[Network]:
    folder.mkdir(exist_ok=True)
    text = f"network: {folder.name}\nembedder: {{engine: hash}}\nagents:\n{agents}"
    names = [line.split(":")[0].strip() for line in agents.splitlines()]
    kinds = {
        name: KINDS[name]
        for name in names
        if "url" not in agents.split(name)[1].split("\n", maxsplit=1)[0]
    }
    async with open_network(parse_manifest(text, folder=folder), kinds=kinds) as network:
        yield network


async def test_an_agent_elsewhere_is_asked_through_the_same_call(tmp_path: Path) -> None:
    """Ours: local and remote are one path, and one trace."""
    with fail_after(20):
        async with _network(tmp_path / "far", "  echo: {}\n") as far, serve(far) as url:
            near_agents = f"  relay: {{peers: [echo]}}\n  echo: {{url: '{url}/agents/echo/mcp'}}\n"
            async with _network(tmp_path / "near", near_agents) as near:
                direct = await near.ask("echo", "hello")
                relayed = await near.ask("relay", "hello")
        for task in (direct, relayed):
            assert task.status.message is not None
            assert task.status.message.text == "echo: hello"


async def test_a_far_agent_that_waits_for_a_person_parks_the_near_one(tmp_path: Path) -> None:
    """Ours: INPUT_REQUIRED travels, and the answer given there goes on here."""
    with fail_after(20):
        async with _network(tmp_path / "far", "  asker: {}\n") as far, serve(far) as url:
            near_agents = (
                f"  relay: {{peers: [asker]}}\n  asker: {{url: '{url}/agents/asker/mcp'}}\n"
            )
            async with _network(tmp_path / "near", near_agents) as near:
                task_id = await near.tell("relay", "please")
                await near.idle()
                (row,) = await far.tasks(state=TaskState.INPUT_REQUIRED)
                await far.answer(row.id, "done")
                async for _ in near.watch(task_id):
                    pass
                task = await near.task(task_id)
                assert task.status.message is not None
                assert task.status.message.text == "done"


async def test_the_trace_is_unbroken_across_the_wire(tmp_path: Path) -> None:
    """Spec: W3C Trace Context in `_meta` (SEP-414)."""
    with fail_after(20):
        async with _network(tmp_path / "far", "  echo: {}\n") as far, serve(far) as url:
            near_agents = f"  relay: {{peers: [echo]}}\n  echo: {{url: '{url}/agents/echo/mcp'}}\n"
            async with _network(tmp_path / "near", near_agents) as near:
                await near.ask("relay", "hello")
                (near_task,) = await near.tasks()
                (far_task,) = await far.tasks()
                near_record = await near.find(near_task.id)
                far_record = await far.find(far_task.id)
        assert near_record is not None
        assert far_record is not None
        assert near_record.traceparent.split("-")[1] == far_record.traceparent.split("-")[1]


async def test_cards_are_where_a2a_clients_look(tmp_path: Path) -> None:
    """Spec: A2A 1.0, /.well-known/agent-card.json."""
    with fail_after(20):
        async with (
            _network(
                tmp_path / "far", "  echo: {description: Says it again.}\n  asker: {}\n"
            ) as far,
            serve(far) as url,
            httpx.AsyncClient() as http,
        ):
            root = AgentCard.parse((await http.get(f"{url}/.well-known/agent-card.json")).content)
            own = AgentCard.parse(
                (await http.get(f"{url}/agents/asker/.well-known/agent-card.json")).content
            )
            health = (await http.get(f"{url}/health")).json()
    assert (root.name, own.name) == ("echo", "asker")
    assert root.supported_interfaces[0].url == f"{url}/agents/echo/mcp"
    assert health == {"network": "far", "agents": ["echo", "asker"]}


@pytest.mark.parametrize("headers", [{"host": "evil.example"}, {"origin": "http://evil.example"}])
async def test_a_rebound_host_or_a_foreign_origin_is_refused(
    tmp_path: Path, headers: dict[str, str]
) -> None:
    """Spec: MCP security best practices, DNS rebinding."""
    with fail_after(20):
        async with (
            _network(tmp_path / "far", "  echo: {}\n") as far,
            serve(far) as url,
            httpx.AsyncClient() as http,
        ):
            for path in ("/agents/echo/mcp", "/.well-known/agent-card.json", "/health"):
                answer = (
                    await http.post(url + path, json={}, headers=headers)
                    if path.endswith("mcp")
                    else await http.get(url + path, headers=headers)
                )
                assert answer.status_code in (403, 421), path


async def test_a_port_in_use_is_refused_with_what_to_do(tmp_path: Path) -> None:
    """Ours: bad input gets a sentence."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with fail_after(20):
            async with _network(tmp_path / "far", "  echo: {}\n") as far:
                with pytest.raises(PortInUseError, match=f"port {port} of 127.0.0.1 is in use"):
                    async with serve(far, port=port):
                        pass


async def test_the_same_message_sent_twice_over_the_wire_is_one_task(tmp_path: Path) -> None:
    """Ours: exactly one task per (principal, messageId)."""
    with fail_after(20):
        async with _network(tmp_path / "far", "  echo: {}\n") as far, serve(far) as url:
            async with _network(
                tmp_path / "near", f"  echo: {{url: '{url}/agents/echo/mcp'}}\n"
            ) as near:
                message = user_message("hello")
                async with anyio.create_task_group() as group:
                    for _ in range(8):
                        group.start_soon(near.ask, "echo", message)
                assert len(await far.tasks()) == 1


async def test_clients_that_are_not_ours_complete_durable_tasks(tmp_path: Path) -> None:
    """Spec: A2A 1.0 section 12; the stock MCP client, and the stock A2A client with our binding."""
    with fail_after(20):
        async with (
            _network(tmp_path / "far", "  echo: {}\n  asker: {}\n") as far,
            serve(far) as url,
        ):
            declared = advertise(EXTENSION_ID)
            async with Client(
                f"{url}/agents/echo/mcp", mode="2026-07-28", extensions=[declared]
            ) as mcp_client:
                fields = {"message": user_message("by hand").wire()}
                asked = Request[Params, str](
                    method="a2a/SendMessage", params=Params(request=fields)
                )
                answer = await mcp_client.session.send_request(asked, Answer)
            assert answer.response["task"]["status"]["state"] == "TASK_STATE_COMPLETED"

            factory = ClientFactory(ClientConfig(supported_protocol_bindings=[BINDING_URI]))
            register_binding(factory)
            async with httpx.AsyncClient() as http:
                card = (await http.get(f"{url}/agents/asker/.well-known/agent-card.json")).json()
            async with factory.create(
                ParseDict(card, a2a.AgentCard(), ignore_unknown_fields=True)
            ) as a2a_client:
                first = user_message("please").wire()
                events = a2a_client.send_message(
                    ParseDict({"message": first}, a2a.SendMessageRequest())
                )
                states, task_id = [], ""
                async for event in events:
                    if event.WhichOneof("payload") == "task":
                        task_id = event.task.id
                    else:
                        states.append(event.status_update.status.state)
                    if a2a.TaskState.TASK_STATE_INPUT_REQUIRED in states:
                        break
                reply = user_message("fine", task_id=task_id).wire()
                async for _ in a2a_client.send_message(
                    ParseDict({"message": reply}, a2a.SendMessageRequest())
                ):
                    pass
                task = await a2a_client.get_task(a2a.GetTaskRequest(id=task_id))
            assert task.status.state == a2a.TaskState.TASK_STATE_COMPLETED
            assert task.status.message.parts[0].text == "fine"
            assert {row.state for row in await far.tasks()} == {TaskState.COMPLETED}
