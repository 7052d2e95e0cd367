"""Clients that are not ours, unmodified: the MCP SDK's, and the A2A SDK's with our transport."""

from typing import Any

import pytest
from a2a import types as a2a
from a2a.client import ClientConfig, ClientFactory
from a2a.client.client import ClientCallContext
from a2a.client.errors import A2AClientError, A2AClientTimeoutError
from a2a.utils.errors import (
    PushNotificationNotSupportedError,
    TaskNotCancelableError,
    TaskNotFoundError,
)
from anyio import fail_after
from google.protobuf.json_format import ParseDict
from mcp import Client
from mcp.client import ClientExtension, NotificationBinding
from mcp.types import NotificationParams, Request, RequestParams, Result

from repertory.protocol import BINDING_URI, EXTENSION_ID, memory_card
from repertory.protocol.a2a_sdk import register_binding
from tests.claims import claim


class Params(RequestParams):
    """An operation's parameters as a stranger would write them."""

    request: dict[str, Any]


class Answer(Result):
    """An operation's result as a stranger would read it."""

    response: dict[str, Any] | None = None
    lastSequence: int | None = None  # noqa: N815 - the wire's name


class EventParams(NotificationParams):
    """A pushed event as a stranger would read it."""

    sequence: int
    event: dict[str, Any]


class Listener(ClientExtension):
    """Declares the binding and keeps what is pushed."""

    identifier = EXTENSION_ID

    def __init__(self) -> None:
        self.pushed: list[EventParams] = []

    async def _keep(self, params: EventParams) -> None:
        self.pushed.append(params)

    def notifications(self) -> list[NotificationBinding[Any]]:
        """Bind the binding's one notification."""
        method = "notifications/a2a/taskEvent"
        return [NotificationBinding(method=method, params_type=EventParams, handler=self._keep)]


def message(text: str, **more: Any) -> dict[str, Any]:
    """A message in ProtoJSON."""
    return {
        "messageId": f"m-{text}",
        "role": "ROLE_USER",
        "parts": [{"text": text}],
        **more,
    }


@claim("mcp:extension")
async def test_an_unmodified_mcp_client_completes_a_task(http_agent: Any) -> None:
    """Spec: MCP 2026-07-28, vendor requests of an extension that the client declares."""
    listener = Listener()
    with fail_after(10):
        async with Client(http_agent.url, mode="2026-07-28", extensions=[listener]) as client:

            async def ask(method: str, fields: dict[str, Any]) -> Answer:
                asked = Request[Params, str](method=method, params=Params(request=fields))
                return await client.session.send_request(asked, Answer)

            sent = await ask("a2a/SendMessage", {"message": message("shout by hand")})
            assert sent.response is not None
            task = sent.response["task"]
            assert task["status"]["state"] == "TASK_STATE_COMPLETED"
            assert task["artifacts"][0]["parts"] == [{"text": "BY HAND"}]

            streamed = await ask("a2a/SendStreamingMessage", {"message": message("shout pushed")})
            assert streamed.lastSequence == 4
            read = await ask("a2a/ReadTaskEvents", {"id": task["id"]})
            assert read.response is not None
            assert read.response["ended"] is True
            assert [each["sequence"] for each in read.response["events"]] == [1, 2, 3, 4]
    assert [params.sequence for params in listener.pushed] == [1, 2, 3, 4]
    assert "task" in listener.pushed[0].event


def a2a_client(url: str, **config: Any) -> Any:
    """An A2A client of the SDK that knows our binding."""
    factory = ClientFactory(ClientConfig(supported_protocol_bindings=[BINDING_URI], **config))
    register_binding(factory)
    return factory.create(ParseDict(memory_card("obedient", url).wire(), a2a.AgentCard()))


def request(text: str, **more: Any) -> a2a.SendMessageRequest:
    """A message of the A2A SDK."""
    return ParseDict({"message": message(text, **more)}, a2a.SendMessageRequest())


@claim("a2a:custom-binding")
async def test_an_a2a_client_streams_gets_lists_and_cancels(http_agent: Any) -> None:
    """Spec: A2A 12.8, behavior is that of the standard bindings, seen by the SDK's client."""
    with fail_after(10):
        async with a2a_client(http_agent.url) as client:
            events = [event async for event in client.send_message(request("shout a2a"))]
            kinds = [event.WhichOneof("payload") for event in events]
            assert kinds == ["task", "status_update", "artifact_update", "status_update"]
            task_id = events[0].task.id
            got = await client.get_task(a2a.GetTaskRequest(id=task_id))
            assert got.status.state == a2a.TaskState.TASK_STATE_COMPLETED
            assert got.artifacts[0].parts[0].text == "A2A"
            listed = await client.list_tasks(a2a.ListTasksRequest(context_id=got.context_id))
            assert [task.id for task in listed.tasks] == [task_id]
            with pytest.raises(TaskNotCancelableError):
                await client.cancel_task(a2a.CancelTaskRequest(id=task_id))
            with pytest.raises(TaskNotFoundError):
                await client.get_task(a2a.GetTaskRequest(id="absent"))
            card = await client.get_extended_agent_card(a2a.GetExtendedAgentCardRequest())
            assert card.description.endswith("(for local)")


async def test_an_a2a_client_waits_asks_and_subscribes(http_agent: Any) -> None:
    """Spec: A2A 3.1.1 and 3.1.6, by the SDK's clients, one of them without streaming."""
    with fail_after(10):
        async with (
            a2a_client(http_agent.url, streaming=False) as client,
            a2a_client(http_agent.url) as streaming,
        ):
            [asked] = [event async for event in client.send_message(request("ask which?"))]
            assert asked.task.status.state == a2a.TaskState.TASK_STATE_INPUT_REQUIRED
            subscribed = streaming.subscribe(a2a.SubscribeToTaskRequest(id=asked.task.id))
            first = await anext(subscribed)
            assert first.task.id == asked.task.id
            follow_up = request("that one", taskId=asked.task.id)
            [answered] = [event async for event in client.send_message(follow_up)]
            assert answered.task.status.state == a2a.TaskState.TASK_STATE_COMPLETED
            rest = [event async for event in subscribed]
            last = rest[-1].status_update
            assert last.status.state == a2a.TaskState.TASK_STATE_COMPLETED


async def test_an_a2a_client_cancels_a_task_that_hangs(http_agent: Any) -> None:
    """Spec: A2A 3.1.5."""
    with fail_after(10):
        async with a2a_client(http_agent.url, polling=True, streaming=False) as client:
            [begun] = [event async for event in client.send_message(request("hang"))]
            canceled = await client.cancel_task(a2a.CancelTaskRequest(id=begun.task.id))
            assert canceled.status.state == a2a.TaskState.TASK_STATE_CANCELED


async def test_an_a2a_client_gets_its_own_errors(http_agent: Any, free_port: int) -> None:
    """Ours: an error is the SDK's own class where it has one."""
    webhook = a2a.TaskPushNotificationConfig(task_id="x", id="y", url="https://example.org")
    with fail_after(10):
        async with a2a_client(http_agent.url, streaming=False) as client:
            with pytest.raises(PushNotificationNotSupportedError):
                await client.create_task_push_notification_config(webhook)
            impatient = ClientCallContext(timeout=0.2)
            with pytest.raises(A2AClientTimeoutError):
                await anext(client.send_message(request("hang on"), context=impatient))
        async with a2a_client(
            http_agent.url, streaming=False, push_notification_config=webhook
        ) as client:
            with pytest.raises(PushNotificationNotSupportedError):
                await anext(client.send_message(request("shout")))
        async with a2a_client(f"http://127.0.0.1:{free_port}/mcp", streaming=False) as client:
            with pytest.raises(A2AClientError):
                await client.get_task(a2a.GetTaskRequest(id="x"))
