"""Our client against A2A's own server, and against ours, over both standard bindings."""

import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import anyio
import pytest
import uvicorn
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import (
    create_agent_card_routes,
    create_jsonrpc_routes,
    create_rest_routes,
)
from a2a.server.tasks import InMemoryPushNotificationConfigStore, InMemoryTaskStore, TaskUpdater
from a2a.types import (
    AgentCapabilities,
    AgentCard,
    AgentInterface,
    AgentSkill,
    Part,
    Task,
    TaskState,
    TaskStatus,
)
from anyio import fail_after
from starlette.applications import Starlette

from repertory.protocol import (
    A2aLink,
    Call,
    CancelTaskRequest,
    GetTaskRequest,
    LinkError,
    ListTasksRequest,
    SendMessageConfiguration,
    SendMessageRequest,
    TaskNotCancelableError,
    TaskNotFoundError,
    UnsupportedOperationError,
    VersionNotSupportedError,
    follow,
    open_a2a_link,
    user_message,
)
from repertory.protocol import TaskState as State
from repertory.protocol.testing import obedient, serve_agent
from tests.claims import claim

BINDINGS = ("JSONRPC", "HTTP+JSON")


class Obedient(AgentExecutor):
    """What `obedient` does, as an agent of the SDK."""

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Do what the message says."""
        assert context.task_id
        assert context.context_id
        word, _, rest = context.get_user_input().partition(" ")
        if context.current_task is None:
            status = TaskStatus(state=TaskState.TASK_STATE_SUBMITTED)
            task = Task(id=context.task_id, context_id=context.context_id, status=status)
            await event_queue.enqueue_event(task)
        updater = TaskUpdater(event_queue, context.task_id, context.context_id)
        await updater.start_work()
        if word == "ask":
            await updater.requires_input(updater.new_agent_message([Part(text=rest)]))
        elif word == "hang":
            await anyio.sleep_forever()
        else:
            for piece in rest.split():
                await updater.add_artifact([Part(text=piece)], artifact_id=piece)
            await updater.complete()

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Cancel."""
        assert context.task_id
        assert context.context_id
        await TaskUpdater(event_queue, context.task_id, context.context_id).cancel()


@asynccontextmanager
async def sdk_server() -> AsyncIterator[str]:
    """The A2A SDK's server over both bindings; its URL."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    base = f"http://127.0.0.1:{listener.getsockname()[1]}"
    card = AgentCard(
        name="sdk",
        description="the SDK's",
        version="1",
        supported_interfaces=[
            AgentInterface(url=f"{base}/rpc", protocol_binding="JSONRPC", protocol_version="1.0"),
            AgentInterface(
                url=f"{base}/rest", protocol_binding="HTTP+JSON", protocol_version="1.0"
            ),
        ],
        capabilities=AgentCapabilities(streaming=True, push_notifications=True),
        default_input_modes=["text/plain"],
        default_output_modes=["text/plain"],
        skills=[AgentSkill(id="work", name="work", description="works", tags=["t"])],
    )
    handler = DefaultRequestHandler(
        agent_executor=Obedient(),
        task_store=InMemoryTaskStore(),
        agent_card=card,
        push_config_store=InMemoryPushNotificationConfigStore(),
    )
    routes = [
        *create_agent_card_routes(card),
        *create_jsonrpc_routes(handler, "/rpc"),
        *create_rest_routes(handler, path_prefix="/rest"),
    ]
    config = uvicorn.Config(Starlette(routes=routes), log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    async with anyio.create_task_group() as group:
        group.start_soon(partial(server.serve, sockets=[listener]))
        try:
            yield base
        finally:
            server.should_exit = True


@asynccontextmanager
async def ours() -> AsyncIterator[str]:
    """Our server; its URL."""
    async with serve_agent(obedient) as served:
        yield served.base_url


@pytest.fixture(scope="module", params=["a2a-sdk", "ours"])
async def server(request: pytest.FixtureRequest, anyio_backend: str) -> AsyncIterator[str]:
    """Each server in turn."""
    async with sdk_server() if request.param == "a2a-sdk" else ours() as url:
        yield url


@pytest.fixture(params=BINDINGS)
async def link(request: pytest.FixtureRequest, server: str) -> AsyncIterator[A2aLink]:
    """A link over each binding in turn."""
    async with AsyncExitStack() as stack:
        opened = await stack.enter_async_context(open_a2a_link(server, bindings=[request.param]))
        assert isinstance(opened, A2aLink)
        yield opened


def say(text: str, *, at_once: bool = False, task_id: str = "") -> SendMessageRequest:
    """A request to do what the message says."""
    return SendMessageRequest(
        message=user_message(text, task_id=task_id),
        configuration=SendMessageConfiguration(return_immediately=at_once),
    )


@claim("a2a:our-client")
async def test_a_task_of_a_stranger_is_followed_to_its_end(link: A2aLink) -> None:
    """Spec: A2A 9 and 11; ours: events in order, the last of which is the end."""
    with fail_after(20):
        begun = (await link.send_message(say("shout a", at_once=True), Call())).task
        assert begun is not None
        states = [numbered.event.payload async for numbered in follow(link, begun.id, Call())]
        assert states
        task = await link.get_task(GetTaskRequest(id=begun.id), Call())
        assert task.status.state is State.COMPLETED
        page = await link.list_tasks(ListTasksRequest(context_id=task.context_id), Call())
        assert [each.id for each in page.tasks] == [task.id]
        streamed = [e async for e in link.send_streaming_message(say("shout b"), Call())]
        assert streamed[0].task is not None
        assert streamed[-1].status_update is not None
        assert streamed[-1].status_update.status.state is State.COMPLETED


async def test_a_strangers_question_is_answered(link: A2aLink) -> None:
    """Spec: A2A 3.4.3, INPUT_REQUIRED and a message that goes on with the task."""
    with fail_after(20):
        asked = (await link.send_message(say("ask why"), Call())).task
        assert asked is not None
        assert asked.status.state is State.INPUT_REQUIRED
        assert asked.status.message is not None
        assert asked.status.message.text == "why"
        done = (await link.send_message(say("shout x", task_id=asked.id), Call())).task
        assert done is not None
        assert done.status.state is State.COMPLETED


async def test_a_strangers_task_is_canceled_and_its_errors_keep_their_class(
    link: A2aLink,
) -> None:
    """Spec: A2A 3.1.5, and errors told by their reason."""
    with fail_after(20):
        hanging = (await link.send_message(say("hang", at_once=True), Call())).task
        assert hanging is not None
        ended = await link.cancel_task(CancelTaskRequest(id=hanging.id), Call())
        assert ended.status.state is State.CANCELED
        with pytest.raises(TaskNotCancelableError):
            await link.cancel_task(CancelTaskRequest(id=hanging.id), Call())
        with pytest.raises(TaskNotFoundError):
            await link.get_task(GetTaskRequest(id="none"), Call())
        with pytest.raises(UnsupportedOperationError):
            [each async for each in link.subscribe_to_task(hanging.id, Call())]


async def test_a_strangers_webhooks_are_managed(link: A2aLink) -> None:
    """Spec: A2A 3.1.7 to 3.1.10."""
    with fail_after(20):
        task = (await link.send_message(say("ask why"), Call())).task
        assert task is not None
        named = {"taskId": task.id, "id": "mine"}
        config = {**named, "url": "http://127.0.0.1:9/hook"}
        made = await link.request("CreateTaskPushNotificationConfig", config, Call())
        assert made["id"] == "mine"
        got = await link.request("GetTaskPushNotificationConfig", named, Call())
        assert got["url"] == "http://127.0.0.1:9/hook"
        asked = {"taskId": task.id}
        listed = await link.request("ListTaskPushNotificationConfigs", asked, Call())
        assert len(listed["configs"]) == 1
        await link.request("DeleteTaskPushNotificationConfig", named, Call())


async def test_a_card_without_an_interface_that_is_spoken_here_is_refused(server: str) -> None:
    """Ours: the sentence says what is offered and what is spoken."""
    with pytest.raises(VersionNotSupportedError, match=r"JSONRPC 1\.0"):
        async with open_a2a_link(server, bindings=["GRPC"]):
            raise AssertionError


async def test_nobody_at_the_other_end_is_told_at_once(free_port: int) -> None:
    """Ours: a broken wire is a LinkError, never a hang."""
    with fail_after(10), pytest.raises(LinkError, match="cannot be reached"):
        async with open_a2a_link(f"http://127.0.0.1:{free_port}"):
            raise AssertionError
