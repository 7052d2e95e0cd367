"""The tasks extension as a library of its own, under the SDK's high-level server and client."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import fail_after
from mcp import Client, MCPError
from mcp.client import advertise
from mcp.server import MCPServer
from mcp.types import CallToolRequestParams, CallToolResult, TextContent

from repertory.protocol.mcp_tasks import (
    TASKS,
    DurableTasks,
    Listening,
    MemoryTaskStore,
    RunningTask,
    SqliteTaskStore,
    Tasks,
    TasksClient,
    TasksExtension,
    TaskStore,
    TaskUpdates,
    TaskView,
)
from repertory.protocol.mcp_tasks.client import cancel_task, get_task, update_task
from tests.claims import claim

REALLY = {
    "method": "elicitation/create",
    "params": {"message": "Really?", "requestedSchema": {"type": "object", "properties": {}}},
}


def says(text: str) -> CallToolResult:
    """A tool's result."""
    return CallToolResult(content=[TextContent(text=text)])


def text_of(result: CallToolResult) -> str:
    """What a result says."""
    assert isinstance(result.content[0], TextContent)
    return result.content[0].text


class Reports:
    """A server with one tool that asks on its way, and counts how often it was begun."""

    def __init__(self, store: TaskStore, owner: str = "me") -> None:
        self.tasks = DurableTasks(store, poll_ms=20)
        self.owner = owner
        self.begun = 0
        self.extension = TasksExtension(self.tasks, owner_of=lambda _: self.owner)
        self.server = MCPServer("reports", extensions=[self.extension])
        self.tasks.tool("report")(self.report)
        self.tasks.tool("broken", required=True)(self.broken)

        @self.server.tool(structured_output=False)
        async def report(subject: str) -> str:
            return f"{subject} without a task"

        @self.server.tool(structured_output=False)
        async def broken() -> str:
            return "never reached"

    async def report(self, arguments: dict[str, Any], task: RunningTask) -> CallToolResult:
        """Ask whether it is meant, and answer."""
        self.begun += 1
        await task.say(f"about {arguments['subject']}")
        answers = await task.ask({"really": REALLY, "truly": REALLY})
        return says(f"{arguments['subject']}: {answers['really']['action']}")

    async def broken(self, _: dict[str, Any], __: RunningTask) -> CallToolResult:
        """Break."""
        raise MCPError(-32011, "broken by design")

    @asynccontextmanager
    async def client(self, *extensions: Any) -> AsyncIterator[Client]:
        """A client in this process."""
        async with (
            self.tasks.running(),
            Client(self.server, mode="2026-07-28", extensions=list(extensions)) as client,
        ):
            yield client

    async def begin(self) -> str:
        """Begin a report as a task, without a client; its id."""
        params = CallToolRequestParams(name="report", arguments={"subject": "x"})
        created = await self.tasks.begin(params, self.owner, None)  # type: ignore[arg-type]  # no request here
        return created.view.task_id

    async def until(self, task_id: str, status: str) -> TaskView:
        """The task once it has that status."""
        view = await self.tasks.get(task_id, self.owner)
        while view.status != status:
            view = await self.tasks.changed(task_id, self.owner, view.version)
        return view


async def accept(key: str, request: Mapping[str, Any]) -> Mapping[str, Any]:
    """Answer every question."""
    assert request["method"] == "elicitation/create"
    return {"action": "accept", "content": {"key": key}}


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> TaskStore:
    """Each store in turn."""
    return MemoryTaskStore() if request.param == "memory" else SqliteTaskStore(tmp_path / "t.db")


@claim("mcp:tasks")
async def test_a_call_that_becomes_a_task_returns_as_if_it_had_not(store: TaskStore) -> None:
    """Spec: SEP-2663, a task is polled to its result, and its questions are answered on the way."""
    with fail_after(10):
        async with Reports(store).client(TasksClient(accept)) as client:
            result = await client.call_tool("report", {"subject": "rain"})
            assert text_of(result) == "rain: accept"
            with pytest.raises(MCPError, match="broken by design") as caught:
                await client.call_tool("broken", {})
            assert caught.value.error.code == -32011


async def test_a_client_without_the_extension_gets_the_tool_itself(store: TaskStore) -> None:
    """Spec: SEP-2663, the server alone decides, and never for a client that did not declare it."""
    with fail_after(10):
        async with Reports(store).client() as client:
            result = await client.call_tool("report", {"subject": "rain"})
            assert text_of(result) == "rain without a task"
            with pytest.raises(MCPError) as caught:
                await client.call_tool("broken", {})
            assert caught.value.error.code == -32021
            for refused in (get_task, cancel_task):
                with pytest.raises(MCPError) as caught:
                    await refused(client.session, "any")
                assert caught.value.error.code == -32021


async def test_questions_are_answered_one_by_one_and_unknown_keys_are_ignored(
    store: TaskStore,
) -> None:
    """Spec: SEP-2663, partial answers, and a task that waits until the last."""
    reports = Reports(store)
    with fail_after(10):
        async with reports.client(advertise(TASKS)) as client:
            task_id = await reports.begin()
            await reports.until(task_id, "input_required")
            yes = {"action": "accept"}
            await update_task(client.session, task_id, {"really": yes, "nonsense": yes})
            task = await get_task(client.session, task_id)
            assert (task.status, list(task.input_requests or {})) == ("input_required", ["truly"])
            await update_task(client.session, task_id, {"truly": yes})
            assert (await reports.until(task_id, "completed")).result is not None
            await cancel_task(client.session, task_id)
            assert (await get_task(client.session, task_id)).status == "completed"


async def test_a_restart_takes_a_task_up_with_the_answers_it_had(tmp_path: Path) -> None:
    """Ours: durable before it is told; what was answered is not asked again."""
    before = Reports(SqliteTaskStore(tmp_path / "t.db"))
    with fail_after(10):
        async with before.tasks.running():
            task_id = await before.begin()
            await before.until(task_id, "input_required")
            await before.tasks.update(task_id, "me", {"really": {"action": "accept"}})
        after = Reports(SqliteTaskStore(tmp_path / "t.db"))
        async with after.tasks.running():
            waiting = await after.until(task_id, "input_required")
            assert list(waiting.input_requests) == ["truly"]
            await after.tasks.update(task_id, "me", {"truly": {"action": "decline"}})
            done = await after.until(task_id, "completed")
    assert done.result is not None
    assert done.result["content"][0]["text"] == "x: accept"
    assert (before.begun, after.begun) == (1, 1)


async def test_a_task_is_its_owners_alone_and_its_id_cannot_be_guessed(store: TaskStore) -> None:
    """Spec: SEP-2663, ids unguessable and bound to who asked, on every request."""
    reports = Reports(store)
    with fail_after(10):
        async with reports.client(advertise(TASKS)) as client:
            task_id, other = await reports.begin(), await reports.begin()
            assert len(task_id) >= 32
            assert len(set(task_id) & set(other)) < len(task_id)
            reports.owner = "somebody else"
            codes = []
            for name in (task_id, "no-such-task"):
                for ask in (get_task, cancel_task):
                    with pytest.raises(MCPError) as caught:
                        await ask(client.session, name)
                    codes.append((caught.value.error.code, caught.value.error.message))
            assert codes == [(-32602, "Task not found")] * 4


async def test_giving_up_a_call_cancels_its_task(store: TaskStore) -> None:
    """Ours: nobody waits for the result of a call that was canceled, so nobody works on it."""
    reports = Reports(store)
    with fail_after(10):
        async with reports.client(TasksClient(accept)) as client:
            asked = anyio.Event()

            async def never(_: str, __: Mapping[str, Any]) -> Mapping[str, Any]:
                asked.set()
                await anyio.sleep_forever()
                raise AssertionError

            async with Client(
                reports.server, mode="2026-07-28", extensions=[TasksClient(never)]
            ) as waiting:
                async with anyio.create_task_group() as group:
                    group.start_soon(waiting.call_tool, "report", {"subject": "x"})
                    await asked.wait()
                    group.cancel_scope.cancel()
            stored = await store.unfinished()
            assert list(stored) == []
            assert client is not waiting


async def test_changes_are_told_on_a_stream_that_asked_for_them() -> None:
    """Spec: SEP-2663, notifications/tasks on subscriptions/listen; the referee skips this scenario."""
    reports = Reports(MemoryTaskStore())
    lowlevel = reports.server._lowlevel_server  # the one place where the SDK has no public door
    Listening(Tasks(reports.tasks, owner_of=lambda _: reports.owner)).install(lowlevel)
    seen: list[tuple[str, Any]] = []
    done = anyio.Event()

    async def told(params: Any) -> None:
        seen.append((params.status, params.result))
        if params.status == "completed":
            done.set()

    with fail_after(10):
        async with reports.client(TasksClient(accept, on_change=told)) as client:
            task_id = await reports.begin()
            await reports.until(task_id, "input_required")
            async with anyio.create_task_group() as group:
                group.start_soon(TaskUpdates(client.session, [task_id]).listen)
                yes = {"action": "accept"}
                await update_task(client.session, task_id, {"really": yes, "truly": yes})
                await done.wait()
            with pytest.raises(MCPError, match="Task not found"):
                await TaskUpdates(client.session, ["no-such-task"]).listen()
        async with (
            reports.tasks.running(),
            Client(reports.server, mode="2026-07-28") as undeclared,
        ):
            with pytest.raises(MCPError) as caught:
                await TaskUpdates(undeclared.session, [task_id]).listen()
            assert caught.value.error.code == -32021
    assert seen[-1][0] == "completed"
    assert seen[-1][1]["content"][0]["text"] == "x: accept"
