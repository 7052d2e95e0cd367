"""A2A's standard bindings on a served agent, as its own SDK and plain HTTP meet them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
import pytest
from a2a import types as a2a
from a2a.client import ClientConfig, ClientFactory
from a2a.client.client import Client as SdkClient
from a2a.utils.errors import (
    ContentTypeNotSupportedError,
    TaskNotCancelableError,
    TaskNotFoundError,
    UnsupportedOperationError,
)
from anyio import fail_after

from repertory.protocol import AgentCapabilities, AgentExtension, memory_card
from repertory.protocol.testing import Job, ServedAgent, obedient, serve_agent
from tests.claims import claim

PUSHING = AgentCapabilities(streaming=True, push_notifications=True, extended_agent_card=True)
V1 = {"A2A-Version": "1.0"}


@pytest.fixture(scope="module")
async def served(anyio_backend: str) -> AsyncIterator[ServedAgent]:
    """The obedient agent on all faces."""
    async with serve_agent(obedient, card=memory_card("agent", capabilities=PUSHING)) as agent:
        yield agent


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    """A plain client."""
    async with httpx.AsyncClient(timeout=10) as client:
        yield client


@asynccontextmanager
async def sdk_client(served: ServedAgent, binding: str) -> AsyncIterator[SdkClient]:
    """The A2A SDK's client, unmodified, with one of its own transports."""
    async with httpx.AsyncClient(timeout=10) as http:
        config = ClientConfig(supported_protocol_bindings=[binding], httpx_client=http)
        yield await ClientFactory(config).create_from_url(served.base_url)


def say(text: str, **more: Any) -> a2a.SendMessageRequest:
    """A request of the SDK's."""
    message = a2a.Message(
        message_id=f"m-{text}", role=a2a.Role.ROLE_USER, parts=[a2a.Part(text=text)], **more
    )
    return a2a.SendMessageRequest(message=message)


def message(text: str, **more: Any) -> dict[str, Any]:
    """A message in ProtoJSON."""
    return {"messageId": f"m-{text}", "role": "ROLE_USER", "parts": [{"text": text}], **more}


async def rpc(
    http: httpx.AsyncClient, url: str, method: str, params: Any, **headers: str
) -> dict[str, Any]:
    """The answer to a JSON-RPC request."""
    body = {"jsonrpc": "2.0", "id": 7, "method": method, "params": params}
    answer = await http.post(url, json=body, headers=headers or V1)
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    assert found["jsonrpc"] == "2.0"
    return found


@claim("a2a:standard-bindings")
@pytest.mark.parametrize("binding", ["JSONRPC", "HTTP+JSON"])
async def test_the_sdk_streams_asks_gets_lists_and_cancels(
    served: ServedAgent, binding: str
) -> None:
    """Spec: A2A 1.0, sections 9 and 11; a2a-sdk 1.3.0 as the peer."""
    with fail_after(20):
        async with sdk_client(served, binding) as client:
            events = [event async for event in client.send_message(say("count 3"))]
            kinds = [event.WhichOneof("payload") for event in events]
            assert kinds == ["task", "status_update", *["artifact_update"] * 3, "status_update"]
            task_id = events[0].task.id

            task = await client.get_task(a2a.GetTaskRequest(id=task_id))
            assert task.status.state == a2a.TaskState.TASK_STATE_COMPLETED
            page = await client.list_tasks(a2a.ListTasksRequest(context_id=task.context_id))
            assert [each.id for each in page.tasks] == [task_id]
            with pytest.raises(TaskNotCancelableError):
                await client.cancel_task(a2a.CancelTaskRequest(id=task_id))
            with pytest.raises(TaskNotFoundError):
                await client.get_task(a2a.GetTaskRequest(id="none"))
            with pytest.raises(UnsupportedOperationError):
                [event async for event in client.subscribe(a2a.SubscribeToTaskRequest(id=task_id))]

            hanging, states = "", []
            async with anyio.create_task_group() as group:
                async for event in client.send_message(say("hang")):
                    hanging = hanging or event.task.id
                    states.append(event.status_update.status.state)
                    if states[-1] == a2a.TaskState.TASK_STATE_WORKING:
                        group.start_soon(client.cancel_task, a2a.CancelTaskRequest(id=hanging))
            assert states[-1] == a2a.TaskState.TASK_STATE_CANCELED


@pytest.mark.parametrize("binding", ["JSONRPC", "HTTP+JSON"])
async def test_the_sdk_answers_a_question_of_the_agent(served: ServedAgent, binding: str) -> None:
    """Spec: A2A 3.4.3, a message with the task's id goes on with it."""
    with fail_after(20):
        async with httpx.AsyncClient(timeout=10) as http:
            config = ClientConfig(
                supported_protocol_bindings=[binding], httpx_client=http, streaming=False
            )
            client = await ClientFactory(config).create_from_url(served.base_url)
            asked = [event async for event in client.send_message(say(f"ask why {binding}"))]
            assert asked[-1].task.status.state == a2a.TaskState.TASK_STATE_INPUT_REQUIRED
            answer = say("because", task_id=asked[-1].task.id)
            done = [event async for event in client.send_message(answer)][-1].task
            assert done.artifacts[0].parts[0].text == "because"
            wrong = say("again", task_id=done.id, context_id="another")
            with pytest.raises(Exception, match="is in context"):
                [event async for event in client.send_message(wrong)]


@claim("a2a:webhooks")
@pytest.mark.parametrize("binding", ["JSONRPC", "HTTP+JSON"])
async def test_the_sdk_manages_and_gets_push_notifications(
    served: ServedAgent, binding: str
) -> None:
    """Spec: A2A 3.1.7 to 3.1.10 and 4.3.3, CRUD, authentication, and StreamResponse as the payload."""
    arrived, got = anyio.create_memory_object_stream[tuple[dict[str, str], bytes]](32)

    async def receiver(client: anyio.abc.SocketStream) -> None:
        async with client:
            raw = b""
            while b"\r\n\r\n" not in raw:
                raw += await client.receive()
            head, _, body = raw.partition(b"\r\n\r\n")
            headers = dict(line.decode().lower().split(": ", 1) for line in head.split(b"\r\n")[1:])
            while len(body) < int(headers["content-length"]):
                body += await client.receive()
            await client.send(b"HTTP/1.1 204 Ok\r\nconnection: close\r\n\r\n")
            await arrived.send((headers, body))

    with fail_after(20), arrived, got:
        async with (
            await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
            anyio.create_task_group() as group,
            sdk_client(served, binding) as client,
        ):
            group.start_soon(listener.serve, receiver)
            port = listener.extra(anyio.abc.SocketAttribute.local_port)
            request = say(f"shout {binding}")
            config = a2a.TaskPushNotificationConfig(
                id="mine",
                url=f"http://127.0.0.1:{port}/hook",
                token="t0ken",
                authentication=a2a.AuthenticationInfo(scheme="Bearer", credentials="s3cret"),
            )
            request.configuration.task_push_notification_config.CopyFrom(config)
            told = [event async for event in client.send_message(request)]
            kinds, body = [], b""
            while b"COMPLETED" not in body:
                headers, body = await got.receive()
                assert headers["authorization"] == "bearer s3cret"
                assert headers["x-a2a-notification-token"] == "t0ken"
                assert headers["content-type"] == "application/a2a+json"
                kinds.append(headers["webhook-id"])
            assert [name.rsplit(".", 1)[1] for name in kinds] == ["1", "2", "3", "4"]

            task_id = told[0].task.id
            named = a2a.GetTaskPushNotificationConfigRequest(task_id=task_id, id="mine")
            assert (await client.get_task_push_notification_config(named)).token == "t0ken"
            listed = await client.list_task_push_notification_configs(
                a2a.ListTaskPushNotificationConfigsRequest(task_id=task_id)
            )
            assert [each.id for each in listed.configs] == ["mine"]
            gone = a2a.DeleteTaskPushNotificationConfigRequest(task_id=task_id, id="mine")
            await client.delete_task_push_notification_config(gone)
            await client.delete_task_push_notification_config(gone)
            with pytest.raises(TaskNotFoundError):
                await client.get_task_push_notification_config(named)
            group.cancel_scope.cancel()


@claim("a2a:earlier")
async def test_a_client_of_a2a_03_is_answered_in_03(
    served: ServedAgent, http: httpx.AsyncClient
) -> None:
    """Spec: A2A 0.3.0, section 7; a missing A2A-Version means 0.3 (1.0, section 3.6.2)."""
    from a2a.compat.v0_3 import types as v03

    sent = {"message": {"kind": "message", "messageId": "m03", "role": "user"}}
    sent["message"]["parts"] = [{"kind": "text", "text": "count 2"}]  # type: ignore[assignment] # a literal of mixed types
    with fail_after(10):
        card = v03.AgentCard.model_validate((await http.get(served.card_url)).json())
        assert card.protocol_version == "0.3.0"
        assert card.url == served.jsonrpc_url
        answer = (
            await http.post(
                served.jsonrpc_url,
                json={"jsonrpc": "2.0", "id": 1, "method": "message/send", "params": sent},
            )
        ).json()
        parsed: Any = v03.SendMessageResponse.model_validate(answer).root
        task = parsed.result
        assert isinstance(task, v03.Task)
        assert task.status.state is v03.TaskState.completed
        body = {"jsonrpc": "2.0", "id": 2, "method": "message/stream", "params": sent}
        finals = []
        async with http.stream("POST", served.jsonrpc_url, json=body) as stream:
            async for line in stream.aiter_lines():
                if line.startswith("data: "):
                    event = v03.SendStreamingMessageResponse.model_validate_json(line[6:]).root
                    finals.append(getattr(event.result, "final", None))  # type: ignore[union-attr] # an error has none
        assert finals == [None, False, None, None, True]
        got = await rpc(http, served.jsonrpc_url, "tasks/get", {"id": task.id}, **{"x-any": "1"})
        assert v03.GetTaskResponse.model_validate(got).root.result.kind == "task"  # type: ignore[union-attr] # an error has none
        lost = await rpc(http, served.jsonrpc_url, "tasks/get", {"id": "no"}, **{"x-any": "1"})
        assert lost["error"]["code"] == -32001


async def test_versions_are_negotiated(served: ServedAgent, http: httpx.AsyncClient) -> None:
    """Spec: A2A 3.6, Major.Minor counts, a patch does not, and what is unknown is refused."""
    params = {"message": message("shout hi")}
    url = served.jsonrpc_url
    for version, code in (("1.0", None), ("1.0.3", None), ("99.0", -32009), ("", -32009)):
        answer = await rpc(http, url, "SendMessage", params, **{"A2A-Version": version})
        assert answer.get("error", {}).get("code") == code, version
        page = await http.post(
            served.http_json_url + "/message:send", json=params, headers={"A2A-Version": version}
        )
        assert page.status_code == (400 if code else 200)
    asked = await http.get(served.http_json_url + "/tasks?A2A-Version=1.0")
    assert asked.status_code == 200


async def test_what_is_no_request_is_told_so(served: ServedAgent, http: httpx.AsyncClient) -> None:
    """Spec: JSON-RPC 2.0, section 5.1, and A2A 9.5."""
    json = {"content-type": "application/json", **V1}
    for body, code in (
        (b"{", -32700),
        (b"[]", -32600),
        (b'{"jsonrpc":"1.0","id":1,"method":"GetTask"}', -32600),
        (b'{"jsonrpc":"2.0","id":{},"method":"GetTask"}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"Nothing"}', -32601),
        (b'{"jsonrpc":"2.0","id":1,"method":"GetTask","params":[]}', -32602),
        (b'{"jsonrpc":"2.0","id":1,"method":"SendMessage","params":{}}', -32602),
    ):
        answer = await http.post(served.jsonrpc_url, content=body, headers=json)
        assert answer.json()["error"]["code"] == code, body
    plain = await http.post(
        served.jsonrpc_url, content=b"{}", headers={"content-type": "text/plain"}
    )
    assert plain.json()["error"]["code"] == -32005
    assert (await http.get(served.jsonrpc_url)).status_code == 405


async def test_errors_over_http_have_the_shape_of_aip_193(
    served: ServedAgent, http: httpx.AsyncClient
) -> None:
    """Spec: A2A 11.6, the status in the body is the response's, and ErrorInfo says why."""
    rest = served.http_json_url
    unfit = {**message("x"), "parts": [{"raw": "eA==", "mediaType": "application/x-no"}]}
    for answer, reason in (
        (await http.get(f"{rest}/tasks/no", headers=V1), "TASK_NOT_FOUND"),
        (await http.post(f"{rest}/message:send", json={}, headers=V1), "INVALID_PARAMS"),
        (await http.get(f"{rest}/tasks?pageSize=x", headers=V1), "INVALID_PARAMS"),
        (
            await http.post(f"{rest}/message:send", json={"message": unfit}, headers=V1),
            "CONTENT_TYPE_NOT_SUPPORTED",
        ),
    ):
        error = answer.json()["error"]
        assert answer.headers["content-type"] == "application/json"
        assert error["code"] == answer.status_code
        assert error["details"][0]["reason"] == reason
    wrong = await http.put(f"{rest}/tasks/no", headers=V1)
    assert (wrong.status_code, wrong.headers["allow"]) == (405, "GET")
    assert (await http.get(f"{rest}/nothing/at/all", headers=V1)).status_code == 404


async def test_a_refused_webhook_begins_nothing(
    served: ServedAgent, http: httpx.AsyncClient
) -> None:
    """Spec: A2A 13.2, a URL that may not be called is refused; 3.1.4, what a list always has."""
    config = {"taskPushNotificationConfig": {"url": "http://169.254.169.254/latest"}}
    params = {"message": message("never", contextId="c-never"), "configuration": config}
    for way in ("send", "stream"):
        answer = await http.post(
            f"{served.http_json_url}/message:{way}", json=params, headers=V1, timeout=10
        )
        assert answer.status_code == 400, answer.text
    listed = await rpc(http, served.jsonrpc_url, "ListTasks", {"contextId": "c-never"})
    assert listed["result"]["tasks"] == []
    assert listed["result"]["totalSize"] == 0
    assert "pageSize" in listed["result"]


async def test_an_agent_may_answer_without_a_task(http: httpx.AsyncClient) -> None:
    """Spec: A2A 3.1.1 and 3.1.2, a message alone, and a stream of exactly that."""

    async def talk(job: Job) -> None:
        await job.reply("hello")

    with fail_after(10):
        async with serve_agent(talk) as served:
            answer = await rpc(http, served.jsonrpc_url, "SendMessage", {"message": message("x")})
            assert answer["result"]["message"]["parts"] == [{"text": "hello"}]
            url = served.http_json_url + "/message:stream"
            async with http.stream("POST", url, json={"message": message("y")}, headers=V1) as one:
                lines = [line async for line in one.aiter_lines() if line]
            assert len(lines) == 1
            assert '"message"' in lines[0]
            async with sdk_client(served, "JSONRPC") as client:
                unfit = say("x")
                unfit.message.parts[0].media_type = "application/x-no"
                with pytest.raises(ContentTypeNotSupportedError):
                    [event async for event in client.send_message(unfit)]


async def test_a_required_extension_is_asked_for_in_a_header(http: httpx.AsyncClient) -> None:
    """Spec: A2A 3.3.4 and 4.6, ExtensionSupportRequiredError unless A2A-Extensions names it."""
    must = AgentExtension(uri="https://example.org/must", required=True)
    card = memory_card("agent", capabilities=AgentCapabilities(extensions=(must,)))
    params = {"message": message("shout hi")}
    async with serve_agent(obedient, card=card) as served:
        refused = await rpc(http, served.jsonrpc_url, "SendMessage", params)
        assert refused["error"]["code"] == -32008
        headers = {**V1, "A2A-Extensions": "https://other.org/x, https://example.org/must"}
        assert "result" in await rpc(http, served.jsonrpc_url, "SendMessage", params, **headers)


async def test_a_function_that_returned_is_called_again_with_the_answer(
    http: httpx.AsyncClient,
) -> None:
    """Ours: an agent function may leave its task waiting instead of waiting itself."""

    async def ask(job: Job) -> None:
        if job.message.text == "because":
            await job.complete(job.message.text, note="thanks")
        else:
            await job.interrupt("why?", auth=job.message.text == "secret")

    with fail_after(10):
        async with serve_agent(ask) as served:
            for text, state in (("x", "INPUT_REQUIRED"), ("secret", "AUTH_REQUIRED")):
                send = {"message": message(text)}
                first = await rpc(http, served.jsonrpc_url, "SendMessage", send)
                task = first["result"]["task"]
                assert task["status"]["state"] == f"TASK_STATE_{state}"
                more = {"message": message("because", taskId=task["id"])}
                done = await rpc(http, served.jsonrpc_url, "SendMessage", more)
                assert done["result"]["task"]["status"]["message"]["parts"] == [{"text": "thanks"}]


async def test_a_card_may_be_kept_and_asked_for_anew(
    served: ServedAgent, http: httpx.AsyncClient
) -> None:
    """Spec: A2A 8.6.1, Cache-Control and ETag."""
    first = await http.get(served.card_url)
    assert "max-age" in first.headers["cache-control"]
    again = await http.get(served.card_url, headers={"if-none-match": first.headers["etag"]})
    assert again.status_code == 304
