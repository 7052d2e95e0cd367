"""The face for MCP hosts: the SDK's clients of both eras, unmodified, on a served agent."""

import base64
from collections.abc import AsyncIterator, Mapping
from typing import Any

import anyio
import orjson
import pytest
from anyio import fail_after
from mcp import Client, MCPError
from mcp.types import (
    CallToolResult,
    ElicitResult,
    EmptyResult,
    ImageContent,
    ResourceLink,
    ResourceTemplateReference,
    SubscribeRequest,
    SubscribeRequestParams,
    TextContent,
    TextResourceContents,
    UnsubscribeRequest,
    UnsubscribeRequestParams,
)

from repertory.protocol import AgentSkill, HostTool, Part, memory_card
from repertory.protocol.mcp_tasks import TasksClient
from repertory.protocol.testing import Job, ServedAgent, serve_agent
from tests.claims import claim

SUM = {"type": "object", "properties": {"sum": {"type": "number"}}, "required": ["sum"]}
PAIR = {
    "type": "object",
    "properties": {"a": {"type": "number"}, "b": {"type": "number"}},
    "required": ["a", "b"],
}
TOOLS = (
    HostTool(name="talk", description="Talks.", tasks="may"),
    HostTool(
        name="add",
        title="Add",
        input_schema=PAIR,
        output_schema=SUM,
        read_only=True,
        idempotent=True,
        tasks="never",
    ),
)


async def clerk(job: Job) -> None:
    """Do what the words say."""
    if job.skill == "add":
        given = job.message.data
        assert given is not None
        await job.complete({"sum": given["a"] + given["b"]})
        return
    word = job.message.text.partition(" ")[0]
    if word == "ask":
        await job.working("thinking")
        await job.complete(f"so {(await job.ask('why?')).text}")
    elif word == "reject":
        await job.reject("not my work")
    elif word == "authorize":
        await job.require_auth([Part(text="please log in"), Part(url="https://example.org/in")])
    elif word == "break":
        raise RuntimeError("a bug")
    elif word == "show":
        picture = Part(raw=b"png", media_type="image/png")
        await job.complete([picture, Part(url="https://example.org/x", filename="x")])
    elif word == "wait":
        await job.working("waiting")
        await anyio.sleep_forever()
    else:
        await job.working("nearly")
        await job.complete(job.message.text.upper())


@pytest.fixture(scope="module")
async def served(anyio_backend: str) -> AsyncIterator[ServedAgent]:
    """The clerk on all faces."""
    async with serve_agent(clerk, card=memory_card("clerk"), tools=TOOLS) as agent:
        yield agent


def text_of(result: CallToolResult) -> str:
    """The text of a result's first block."""
    assert isinstance(result.content[0], TextContent)
    return result.content[0].text


async def because(context: Any, params: Any) -> ElicitResult:
    """Answer the clerk's question."""
    assert params.message == "why?"
    return ElicitResult(action="accept", content={"answer": "because"})


async def refuse(context: Any, params: Any) -> ElicitResult:
    """Decline."""
    return ElicitResult(action="decline")


@pytest.mark.parametrize("mode", ["2026-07-28", "legacy"])
@claim("mcp:host")
async def test_a_skill_is_a_tool_with_its_schemas_and_hints(served: ServedAgent, mode: Any) -> None:
    """Spec: MCP tools, of the current revision and of the one with a handshake."""
    with fail_after(20):
        async with Client(served.mcp_url, mode=mode) as client:
            talk, add = (await client.list_tools()).tools
            assert "message" in talk.input_schema["properties"]
            assert (add.input_schema, add.output_schema) == (PAIR, SUM)
            assert add.annotations is not None
            assert add.annotations.read_only_hint
            result = await client.call_tool("add", {"a": 1, "b": 2.5})
            assert result.structured_content == {"sum": 3.5}
            wrong = await client.call_tool("add", {"a": 1})
            assert wrong.is_error
            assert "'b' is a required property" in text_of(wrong)
            steps: list[str | None] = []

            async def heard(progress: float, total: float | None, message: str | None) -> None:
                steps.append(message)

            said = await client.call_tool("talk", {"message": "hi"}, progress_callback=heard)
            assert text_of(said) == "HI"
            assert "nearly" in steps
            unknown = await client.call_tool("sing", {})
            assert unknown.is_error


@pytest.mark.parametrize("mode", ["2026-07-28", "legacy"])
async def test_a_question_is_asked_as_the_clients_revision_asks(
    served: ServedAgent, mode: Any
) -> None:
    """Spec: MCP, input_required results and elicitation/create; ours: an answer is a message."""
    with fail_after(20):
        async with Client(served.mcp_url, mode=mode, elicitation_callback=because) as client:
            result = await client.call_tool("talk", {"message": "ask me"})
            assert text_of(result) == "so because"
        async with Client(served.mcp_url, mode=mode, elicitation_callback=refuse) as client:
            result = await client.call_tool("talk", {"message": "ask me"})
            assert result.is_error
        async with Client(served.mcp_url, mode=mode) as client:
            waits = await client.call_tool("talk", {"message": "ask me"})
            assert not waits.is_error
            assert text_of(waits) == "why?"
            assert waits.structured_content is not None
            answer = {"message": "so what", "taskId": waits.structured_content["taskId"]}
            assert text_of(await client.call_tool("talk", answer)) == "so so what"


async def test_what_a_tool_cannot_say_is_said_in_its_result(served: ServedAgent) -> None:
    """Ours: REJECTED, AUTH_REQUIRED and a bug, as section 14 of the binding maps them."""
    with fail_after(20):
        async with Client(served.mcp_url, mode="2026-07-28") as client:
            rejected = await client.call_tool("talk", {"message": "reject"})
            assert rejected.is_error
            assert rejected.structured_content is not None
            assert rejected.structured_content["state"] == "TASK_STATE_REJECTED"
            assert rejected.structured_content["reason"] == "not my work"
            locked = await client.call_tool("talk", {"message": "authorize"})
            assert locked.is_error
            assert any(isinstance(block, ResourceLink) for block in locked.content)
            with pytest.raises(MCPError) as caught:
                await client.call_tool("talk", {"message": "break"})
            assert caught.value.error.code == -32603
            assert "a bug" not in caught.value.error.message
            shown = await client.call_tool("talk", {"message": "show"})
            picture, link = shown.content
            assert isinstance(picture, ImageContent)
            assert base64.b64decode(picture.data) == b"png"
            assert isinstance(link, ResourceLink)


async def test_a_client_with_the_tasks_extension_follows_the_a2a_task_itself(
    served: ServedAgent,
) -> None:
    """Spec: SEP-2663; ours: one task under one id on every face."""
    asked = []

    async def answer(key: str, request: Mapping[str, Any]) -> Mapping[str, Any]:
        asked.append(request["params"]["message"])
        return {"action": "accept", "content": {"answer": "because"}}

    with fail_after(20):
        tasks = TasksClient(answer)
        async with Client(served.mcp_url, mode="2026-07-28", extensions=[tasks]) as client:
            result = await client.call_tool("talk", {"message": "ask me"})
            assert (text_of(result), asked) == ("so because", ["why?"])
            assert result.meta is not None
            task_id = result.meta["dev.repertory/task"]["taskId"]
            page = await client.read_resource(f"a2a://tasks/{task_id}")
            assert isinstance(page.contents[0], TextResourceContents)
            task = orjson.loads(page.contents[0].text)
            assert task["id"] == task_id
            assert task["status"]["state"] == "TASK_STATE_COMPLETED"
            artifact = await client.read_resource(f"a2a://tasks/{task_id}/artifacts/answer")
            assert isinstance(artifact.contents[0], TextResourceContents)
            assert "so because" in artifact.contents[0].text


async def test_tasks_and_the_card_are_resources_that_complete_and_change(
    served: ServedAgent,
) -> None:
    """Spec: MCP resources, completion/complete, and subscriptions/listen."""
    with fail_after(20):
        async with Client(served.mcp_url, mode="2026-07-28") as client:
            async with anyio.create_task_group() as group:
                group.start_soon(client.call_tool, "talk", {"message": "wait"})
                task_id, listed = "", []
                while not task_id:
                    listed = (await client.list_resources(cache_mode="bypass")).resources
                    found = [each for each in listed if each.title == "Task working"]
                    task_id = str(found[0].uri).rsplit("/", 1)[1] if found else ""
                assert "a2a://agent-card" in {str(each.uri) for each in listed}
                reference = ResourceTemplateReference(uri="a2a://tasks/{id}")
                begun = {"name": "id", "value": task_id[:8]}
                completed = await client.complete(reference, begun)
                assert task_id in completed.completion.values
                uri = f"a2a://tasks/{task_id}"
                async with client.listen(resource_subscriptions=[uri]) as changes:
                    first = await anext(aiter(changes))
                    assert str(first.uri) == uri  # type: ignore[union-attr]  # only this was asked for
                group.cancel_scope.cancel()
            with pytest.raises(MCPError, match="no task 'none'"):
                await client.read_resource("a2a://tasks/none")


async def test_a_client_of_the_handshakes_era_is_told_of_what_it_subscribed_to(
    served: ServedAgent,
) -> None:
    """Spec: MCP 2025-11-25, resources/subscribe and notifications/resources/updated."""
    changed = anyio.Event()

    async def heard(message: Any) -> None:
        if getattr(message, "method", "") == "notifications/resources/updated":
            changed.set()

    with fail_after(20):
        async with Client(served.mcp_url, mode="legacy", message_handler=heard) as client:
            waits = await client.call_tool("talk", {"message": "ask me"})
            assert waits.structured_content is not None
            task_id = waits.structured_content["taskId"]
            uri = f"a2a://tasks/{task_id}"
            await client.session.send_request(
                SubscribeRequest(params=SubscribeRequestParams(uri=uri)), EmptyResult
            )
            await changed.wait()
            await client.session.send_request(
                UnsubscribeRequest(params=UnsubscribeRequestParams(uri=uri)), EmptyResult
            )


async def test_skills_of_the_card_are_tools_of_their_own_names() -> None:
    """Ours: without further words an agent's skills are tools that take words."""
    skills = (
        AgentSkill(id="look up!", name="Look up", description="Looks.", examples=("a b",)),
        AgentSkill(id="sum", name="Sum"),
    )
    with fail_after(20):
        async with serve_agent(clerk, card=memory_card("clerk", skills=skills)) as agent:
            async with Client(agent.mcp_url, mode="2026-07-28") as client:
                tools = (await client.list_tools()).tools
                assert [tool.name for tool in tools] == ["look_up_", "sum"]
                assert tools[0].description == "Looks.\nFor example: a b"
                assert text_of(await client.call_tool("sum", {"message": "hi"})) == "HI"
