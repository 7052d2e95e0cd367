"""The wire itself: what the specification in docs/binding.md promises beyond the contract."""

import os
import re
import signal
import socket
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

import aiohttp
import anyio
import anyio.abc
import anyio.lowlevel
import httpx
import orjson
import pytest
import uvicorn
from anyio import fail_after, wait_all_tasks_blocked
from anyio.abc import SocketStream
from mcp import Client, MCPError
from mcp.client import advertise
from mcp.shared.memory import create_client_server_memory_streams
from mcp.types import Request, RequestParams, Result

from repertory.protocol import (
    A2A_VERSION,
    BINDING_URI,
    EXTENSION_ID,
    LOCAL,
    AgentCapabilities,
    AgentCard,
    AgentExtension,
    AgentServer,
    AgentService,
    Asker,
    BusyError,
    Call,
    CallCycleError,
    CancelTaskRequest,
    EventPage,
    ExtensionSupportRequiredError,
    GetTaskRequest,
    Identity,
    InvalidAgentResponseError,
    InvalidParamsError,
    LinkError,
    ListTasksRequest,
    MemoryService,
    NumberedEvent,
    PushNotificationNotSupportedError,
    RemoteError,
    RepertoryError,
    SendMessageConfiguration,
    SendMessageRequest,
    StdioTarget,
    StreamResponse,
    TaskNotFoundError,
    TaskState,
    UnauthenticatedError,
    UnsupportedOperationError,
    VersionNotSupportedError,
    agent_app,
    agent_server,
    call_from_meta,
    call_meta,
    error_from_wire,
    error_to_wire,
    errors,
    memory_card,
    open_http_link,
    open_link,
    open_memory_service,
    user_message,
)
from repertory.protocol.caller import CarriedLink
from repertory.protocol.carriers import Push
from repertory.protocol.pipes import PipeCarrier
from repertory.protocol.streamable_http import Frames, HttpCarrier
from repertory.protocol.testing import Job, obedient
from tests.claims import claim

CALL = Call()
NEVER = cast("AgentService", None)  # a service that is never asked
META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {"extensions": {EXTENSION_ID: {}}},
}


def say(text: str, *, at_once: bool = False) -> SendMessageRequest:
    """A request to the obedient agent."""
    wants = SendMessageConfiguration(return_immediately=at_once)
    return SendMessageRequest(message=user_message(text), configuration=wants)


async def sequences(stream: AsyncIterator[NumberedEvent | StreamResponse]) -> list[int]:
    """The numbers of a stream's events."""
    return [event.sequence async for event in stream if isinstance(event, NumberedEvent)]


async def post(url: str, body: bytes | dict[str, Any], **headers: str) -> tuple[int, Any]:
    """POST an MCP request as a stranger would; the status and the decoded answer."""
    method = body.get("method", "") if isinstance(body, dict) else ""
    common = {
        "content-type": "application/json",
        "accept": "application/json, text/event-stream",
        "mcp-protocol-version": "2026-07-28",
        "mcp-method": method,
    }
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    sent = {**common, **{name.replace("_", "-"): value for name, value in headers.items()}}
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, data=raw, headers=sent) as answer,
    ):
        text = await answer.read()
        return answer.status, orjson.loads(text) if answer.content_type.endswith("json") else text


def request(method: str, params: dict[str, Any], meta: dict[str, Any] | None = None) -> Any:
    """A JSON-RPC request with MCP's envelope."""
    meta = META if meta is None else meta
    return {"jsonrpc": "2.0", "id": 7, "method": method, "params": {**params, "_meta": meta}}


def reason_of(answer: Any) -> str:
    """The ErrorInfo reason in an error answer."""
    info = answer["error"]["data"][0]
    assert info["@type"] == "type.googleapis.com/google.rpc.ErrorInfo"
    return str(info["reason"])


class BadWire:
    """A carrier whose pushes come as `spoil` leaves them, and which is cut once after `cut_after`."""

    def __init__(
        self,
        inner: HttpCarrier,
        spoil: Callable[[list[Push]], list[Push]] = list,
        cut_after: int | None = None,
    ) -> None:
        self._inner = inner
        self._spoil = spoil
        self._cut_after = cut_after
        self.methods: list[str] = []

    async def request(
        self, method: str, params: dict[str, Any], meta: dict[str, Any]
    ) -> dict[str, Any]:
        """Pass on."""
        self.methods.append(method)
        return await self._inner.request(method, params, meta)

    async def stream(
        self, method: str, params: dict[str, Any], meta: dict[str, Any]
    ) -> AsyncGenerator[Push | dict[str, Any], None]:
        """Pass on what `spoil` leaves, or as much as the wire lives to see."""
        self.methods.append(method)
        items = [item async for item in self._inner.stream(method, params, meta)]
        pushes = self._spoil([item for item in items if isinstance(item, Push)])
        for number, push in enumerate(pushes):
            if number == self._cut_after:
                self._cut_after = None
                raise LinkError("the wire was cut")
            yield push
        yield items[-1]

    async def aclose(self) -> None:
        """Pass on."""
        await self._inner.aclose()


@asynccontextmanager
async def bad_link(
    url: str, spoil: Callable[[list[Push]], list[Push]] = list, cut_after: int | None = None
) -> AsyncIterator[tuple[CarriedLink, BadWire]]:
    """A link to `url` over a bad wire."""
    async with aiohttp.ClientSession() as session:
        wire = BadWire(HttpCarrier(url, session), spoil, cut_after)
        yield CarriedLink(wire), wire


@pytest.mark.parametrize(
    "spoil",
    [
        lambda pushes: [push for push in pushes if push.sequence % 3],
        lambda pushes: [push for push in pushes for _ in range(2)],
        lambda pushes: [pushes[0], *reversed(pushes[1:])],
        lambda pushes: pushes[:1] + pushes[-1:],
        lambda pushes: pushes[:5],
    ],
    ids=["lost", "repeated", "reversed", "only the ends", "the rest lost"],
)
async def test_pushes_are_hints_and_the_log_is_the_truth(
    http_agent: Any, spoil: Callable[[list[Push]], list[Push]]
) -> None:
    """Ours: whatever becomes of the pushes, every event is delivered once and in order."""
    async with bad_link(http_agent.url, spoil) as (link, _):
        with fail_after(10):
            seen = await sequences(link.send_streaming_message(say("count 30"), CALL))
    assert seen == list(range(1, 34))


async def test_a_cut_stream_goes_on_where_it_was(http_agent: Any) -> None:
    """Ours: the link subscribes again after the last number it delivered."""
    async with bad_link(http_agent.url, cut_after=7) as (link, wire):
        with fail_after(10):
            seen = await sequences(link.send_streaming_message(say("count 30"), CALL))
    assert seen == list(range(1, 34))
    assert wire.methods == ["a2a/SendStreamingMessage", "a2a/SubscribeToTask"]


class CuttingProxy:
    """A TCP proxy that cuts its first connection after so many bytes from the server."""

    def __init__(self, port: int, cut_after: int) -> None:
        self._port = port
        self._left: int | None = cut_after
        self.connections = 0

    async def handle(self, client: SocketStream) -> None:
        """Relay one connection."""
        self.connections += 1
        async with client, await anyio.connect_tcp("127.0.0.1", self._port) as server:
            async with anyio.create_task_group() as group:
                group.start_soon(self._upstream, client, server, group.cancel_scope)
                async for chunk in server:
                    if self._left is not None:
                        self._left -= len(chunk)
                        if self._left <= 0:
                            self._left = None
                            break
                    await client.send(chunk)
                group.cancel_scope.cancel()

    async def _upstream(
        self, client: SocketStream, server: SocketStream, scope: anyio.CancelScope
    ) -> None:
        try:
            async for chunk in client:
                await server.send(chunk)
        except anyio.BrokenResourceError:
            scope.cancel()


@asynccontextmanager
async def cutting_proxy(port: int, cut_after: int) -> AsyncIterator[tuple[str, CuttingProxy]]:
    """Run a proxy in front of the agent on `port`; its URL."""
    proxy = CuttingProxy(port, cut_after)
    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as group,
    ):
        group.start_soon(listener.serve, proxy.handle)
        own = listener.extra(anyio.abc.SocketAttribute.local_port)
        yield f"http://127.0.0.1:{own}/agents/obedient/mcp", proxy
        group.cancel_scope.cancel()


@claim("a2a:resumed-streams")
@pytest.mark.parametrize("cut_after", [100, 5_000, 40_000, 90_000])
async def test_a_killed_connection_loses_and_repeats_nothing(
    http_agent: Any, cut_after: int
) -> None:
    """Ours: the TCP connection dies in mid-stream, the subscriber does not notice."""
    async with cutting_proxy(http_agent.port, cut_after) as (url, proxy), open_link(url) as link:
        with fail_after(20):
            seen = await sequences(link.send_streaming_message(say("count 500"), CALL))
    assert seen == list(range(1, 504))
    assert proxy.connections > 1


async def test_a_wait_goes_on_after_the_hold(http_agent: Any) -> None:
    """Ours: a request is held for some seconds, a blocking send waits for as long as it takes."""
    request = say("hang")
    ended: list[TaskState] = []

    async def wait() -> None:
        async with bad_link(http_agent.url) as (link, wire):
            response = await link.send_message(request, CALL)
            assert response.task is not None
            assert "a2a/ReadTaskEvents" in wire.methods
            ended.append(response.task.status.state)

    async with open_link(http_agent.url) as link:
        with fail_after(10):
            async with anyio.create_task_group() as group:
                group.start_soon(wait)
                # Twice as long as the peer holds a request: answered with the task as it stands.
                status, answer = await post(http_agent.url, request_of(request))
                assert status == 200
                task = answer["result"]["response"]["task"]
                assert task["status"]["state"] == "TASK_STATE_WORKING"
                await link.cancel_task(CancelTaskRequest(id=task["id"]), CALL)
    assert ended == [TaskState.CANCELED]


def request_of(request_: SendMessageRequest) -> Any:
    """SendMessage on the wire."""
    return request("a2a/SendMessage", {"request": request_.wire()})


@claim("mcp:extension")
async def test_a_client_must_declare_the_extension(http_agent: Any) -> None:
    """Spec: SEP-2133, a method of an extension needs the client's declaration, else -32021."""
    bare = {**META, "io.modelcontextprotocol/clientCapabilities": {}}
    status, answer = await post(http_agent.url, request("a2a/ListTasks", {"request": {}}, bare))
    assert status == 400
    assert answer["error"]["code"] == -32021
    assert answer["error"]["data"]["requiredCapabilities"] == {"extensions": {EXTENSION_ID: {}}}


async def test_a_missing_version_is_one_and_another_is_refused(http_agent: Any) -> None:
    """Ours: unlike over HTTP+JSON, where a missing A2A-Version is 0.3; this binding began at 1.0."""
    _, answer = await post(http_agent.url, request("a2a/ListTasks", {"request": {}}))
    assert "tasks" in answer["result"]["response"]
    assert answer["result"]["response"]["nextPageToken"] == ""
    old = {**META, "a2a-version": "0.3"}
    _, answer = await post(http_agent.url, request("a2a/ListTasks", {"request": {}}, old))
    assert answer["error"]["code"] == -32009
    assert reason_of(answer) == "VERSION_NOT_SUPPORTED"


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("a2a/GetTask", {"request": []}),
        ("a2a/GetTask", {"request": {}}),
        ("a2a/SendMessage", {"request": {"message": {"messageId": "1", "role": "ROLE_USER"}}}),
        ("a2a/ReadTaskEvents", {"request": {"id": "x"}, "afterSequence": -1}),
        ("a2a/ReadTaskEvents", {"request": {"id": "x"}, "afterSequence": True}),
        ("a2a/ReadTaskEvents", {"request": {"id": "x"}, "waitSeconds": "long"}),
        ("a2a/SubscribeToTask", {"request": {"id": "x"}, "afterSequence": 1.5}),
    ],
)
async def test_what_has_the_wrong_shape_is_refused(
    http_agent: Any, method: str, params: dict[str, Any]
) -> None:
    """Spec: A2A 3.3.2, invalid parameters are said to be so, with a reason."""
    status, answer = await post(http_agent.url, request(method, params))
    assert status == 400
    assert answer["error"]["code"] == -32602
    assert reason_of(answer) == "INVALID_PARAMS"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("dev.repertory/deadline", -1),
        ("dev.repertory/deadline", "soon"),
        ("dev.repertory/budget", 5),
        ("dev.repertory/budget", {"usd": -1}),
        ("dev.repertory/chain", "a/b"),
        ("dev.repertory/chain", ["a/b"] * 65),
        ("dev.repertory/capabilities", ["books.post"]),
        ("dev.repertory/capabilities", [["; drop"]]),
        ("dev.repertory/capabilities", [["a"]] * 65),
    ],
)
def test_a_call_context_of_the_wrong_shape_is_refused(key: str, value: Any) -> None:
    """Ours: what limits a call is not guessed at."""
    with pytest.raises(InvalidParamsError):
        call_from_meta({key: value}, LOCAL)


def test_a_caller_cannot_name_itself() -> None:
    """Ours: principal and tenant never travel, so nobody can claim another's."""
    meta = call_meta(Call(principal="mallory", tenant="hers"))
    assert meta == {"a2a-version": A2A_VERSION}
    forged = {**meta, "principal": "root", "tenant": "all", "dev.repertory/principal": "root"}
    call = call_from_meta(forged, Identity("alice", "desk"))
    assert (call.principal, call.tenant) == ("alice", "desk")


async def test_tasks_are_seen_by_their_owner_only() -> None:
    """Ours: a foreign task answers exactly as an absent one does."""
    names = iter(["alice", "bob", "bob", "alice"])
    async with open_memory_service(obedient) as service:
        card = memory_card()
        server = agent_server(service, lambda: card, identify=lambda _: Identity(next(names)))
        async with Client(
            server, mode="2026-07-28", extensions=[advertise(EXTENSION_ID)]
        ) as client:
            sent = await vendor(client, "a2a/SendMessage", say("shout mine").wire())
            task_id = sent["task"]["id"]
            with pytest.raises(TaskNotFoundError):
                await vendor(client, "a2a/GetTask", {"id": task_id})
            assert (await vendor(client, "a2a/ListTasks", {}))["tasks"] == []
            assert (await vendor(client, "a2a/GetTask", {"id": task_id}))["id"] == task_id


async def vendor(client: Any, method: str, fields: dict[str, Any]) -> dict[str, Any]:
    """A vendor request through the SDK's client; errors as ours."""

    class Params(RequestParams):
        request: dict[str, Any]

    class Answer(Result):
        response: dict[str, Any]

    asked = Request[Params, str](method=method, params=Params(request=fields))
    try:
        answer = await client.session.send_request(asked, Answer)
    except MCPError as error:
        raise error_from_wire(error.error.code, error.error.message, error.error.data) from error
    return dict(answer.response)


async def test_webhooks_are_refused_by_name(http_agent: Any) -> None:
    """Spec: A2A 3.3.2, PushNotificationNotSupportedError from every operation on them."""
    for what in ("Create", "Get", "Delete"):
        method = f"a2a/{what}TaskPushNotificationConfig"
        _, answer = await post(http_agent.url, request(method, {"request": {"taskId": "x"}}))
        assert reason_of(answer) == "PUSH_NOTIFICATION_NOT_SUPPORTED"
    with pytest.raises(PushNotificationNotSupportedError):
        raise error_from_wire(**answer["error"])


async def test_what_a_card_does_not_offer_is_refused() -> None:
    """Spec: A2A 3.3.4, capabilities are validated."""
    required = AgentExtension(uri="https://example.org/must", required=True)
    stream, extended = "a2a/SendStreamingMessage", "a2a/GetExtendedAgentCard"
    must = AgentCapabilities(streaming=True, extensions=(required,))
    refused: list[tuple[type[RepertoryError], AgentCapabilities, str]] = [
        (UnsupportedOperationError, AgentCapabilities(), stream),
        (UnsupportedOperationError, AgentCapabilities(streaming=True), extended),
        (ExtensionSupportRequiredError, must, extended),
    ]
    async with open_memory_service(obedient) as service:
        for error, capabilities, method in refused:
            card = memory_card(capabilities=capabilities)
            server = agent_server(service, lambda card=card: card)  # type: ignore[misc] # mypy cannot infer a lambda's default
            extensions = [advertise(EXTENSION_ID)]
            async with Client(server, mode="2026-07-28", extensions=extensions) as client:
                with pytest.raises(error):
                    await vendor(client, method, say("shout").wire())


@claim("a2a:card")
async def test_the_card_is_where_clients_look_for_it(http_agent: Any) -> None:
    """Spec: A2A 8.2, the well-known path; MCP, the extension's settings and a resource."""
    async with aiohttp.ClientSession() as session:
        for path in ("/agents/obedient", ""):
            page = await session.get(f"{http_agent.base}{path}/.well-known/agent-card.json")
            card = AgentCard.parse(await page.read())
            assert card.supported_interfaces[0].protocol_binding == BINDING_URI
    _, answer = await post(http_agent.url, request("server/discover", {}))
    settings = answer["result"]["capabilities"]["extensions"][EXTENSION_ID]
    assert settings["binding"] == BINDING_URI
    assert AgentCard.parse(settings["card"]) == card


async def test_strangers_are_turned_away(http_agent: Any) -> None:
    """Ours: Host and Origin are checked, so that no web page reaches an agent here."""
    body = request("a2a/ListTasks", {"request": {}})
    assert (await post(http_agent.url, body, host="evil.example"))[0] == 421
    assert (await post(http_agent.url, body, origin="https://evil.example"))[0] == 403
    async with aiohttp.ClientSession() as session:
        url = f"{http_agent.base}/.well-known/agent-card.json"
        assert (await session.get(url, headers={"host": "evil.example"})).status == 421
        assert (await session.post(url)).status == 405
        assert (await session.get(f"{http_agent.base}/agents/nobody/mcp")).status == 404


async def test_a_client_of_an_older_mcp_reads_the_card(http_agent: Any) -> None:
    """Spec: MCP 2025-11-25; extensions are unknown there, resources are not."""
    with fail_after(10):
        async with Client(http_agent.url, mode="legacy") as client:
            listed = await client.list_resources()
            read = await client.read_resource(listed.resources[0].uri)
    assert AgentCard.parse(read.contents[0].text).name == "obedient"  # type: ignore[union-attr] # it is text


async def test_a_child_that_dies_ends_its_calls_at_once() -> None:
    """Ours: kill -9 of the child in mid-call is a LinkError within a second, not a hang."""
    target = StdioTarget((sys.executable, "-m", "repertory.protocol.testing"))
    async with open_link(target) as link:
        with fail_after(20):
            response = await link.send_message(say("process"), CALL)
        assert response.task is not None
        process = int(response.task.artifacts[0].parts[0].text or "0")

        async def kill() -> None:
            await anyio.lowlevel.checkpoint()
            os.kill(process, signal.SIGKILL)

        with fail_after(1):
            async with anyio.create_task_group() as group:
                group.start_soon(kill)
                with pytest.raises(LinkError):
                    await link.send_message(say("hang"), CALL)
            with pytest.raises(LinkError):
                await link.get_agent_card(CALL)


async def test_a_program_that_cannot_start_is_a_link_error() -> None:
    """Ours: the sentence names the program."""
    with pytest.raises(LinkError, match="no-such-program"):
        async with open_link(StdioTarget(("no-such-program",))):
            pass


async def test_what_the_caller_raises_is_not_wrapped() -> None:
    """Ours: a link's own tasks do not make an exception group of the caller's error."""
    with fail_after(20), pytest.raises(CallCycleError):
        async with open_link(StdioTarget(("cat",))):
            raise CallCycleError("a cycle")


async def test_nobody_listening_is_a_link_error(free_port: int) -> None:
    """Ours: refused connections are the wire's fault, and retryable."""
    async with open_link(f"http://127.0.0.1:{free_port}/mcp") as link:
        with fail_after(5), pytest.raises(LinkError) as caught:
            await link.get_task(GetTaskRequest(id="x"), CALL)
    assert caught.value.retryable


@pytest.mark.parametrize(
    ("status", "kind", "body", "error"),
    [
        (503, "text/plain", b"busy", LinkError),
        (401, "text/plain", b"who?", UnauthenticatedError),
        (200, "application/json", b"[]", InvalidAgentResponseError),
        (200, "application/json", b"{nonsense", InvalidAgentResponseError),
        (200, "application/json", b'{"jsonrpc":"2.0","id":1}', InvalidAgentResponseError),
        (200, "application/json", b'{"result":{"response":{"task":7}}}', InvalidAgentResponseError),
        (200, "application/json", b'{"result":{}}', InvalidAgentResponseError),
        (404, "application/json", b'{"error":{"code":-32601,"message":"no"}}', RemoteError),
        (200, "text/event-stream", b": ping\n\n", LinkError),
    ],
)
async def test_a_peer_that_is_no_agent_gets_its_error(
    status: int, kind: str, body: bytes, error: type[RepertoryError], serve: Any
) -> None:
    """Ours: nothing a server answers comes through as another library's error."""
    async with serve(status, kind, body) as url, open_http_link(url) as link:
        with fail_after(5), pytest.raises(error):
            await link.send_message(say("shout"), CALL)


async def test_a_kept_connection_that_was_closed_is_replaced() -> None:
    """Ours: a server may close an idle connection just as it is used again; nobody notices."""
    connections = 0
    body = b'{"jsonrpc":"2.0","id":1,"result":{"response":{"tasks":[],"nextPageToken":""}}}'
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"

    async def answer_once(client: SocketStream) -> None:
        nonlocal connections
        connections += 1
        async with client:
            await client.receive()
            await client.send(head.encode() + b"\r\n\r\n" + body)
            await client.receive()

    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
        anyio.create_task_group() as group,
    ):
        group.start_soon(listener.serve, answer_once)
        port = listener.extra(anyio.abc.SocketAttribute.local_port)
        async with open_link(f"http://127.0.0.1:{port}/mcp") as link:
            with fail_after(5):
                for _ in range(3):
                    assert (await link.list_tasks(ListTasksRequest(), CALL)).tasks == ()
        group.cancel_scope.cancel()
    assert connections == 3


class Watched(MemoryService):
    """A memory service that says when a reader of events was let go."""

    let_go: anyio.Event
    reading: anyio.Event

    async def read_events(
        self, task_id: str, after_sequence: int, call: Call, *, wait: float = 0.0, limit: int = 256
    ) -> EventPage:
        """Read, and note a reader that is canceled."""
        if after_sequence >= 2:
            self.reading.set()
        try:
            return await super().read_events(task_id, after_sequence, call, wait=wait, limit=limit)
        except anyio.get_cancelled_exc_class():
            self.let_go.set()
            raise


@pytest.mark.parametrize("way", ["http", "pipe"])
async def test_leaving_a_stream_ends_it_at_the_server(way: str) -> None:
    """Spec: MCP 2026-07-28, closing the response or notifications/cancelled ends a request."""
    async with anyio.create_task_group() as group:
        card = memory_card("watched")
        service = Watched(obedient, group, card)
        service.let_go, service.reading = anyio.Event(), anyio.Event()
        server = agent_server(service, lambda: card)
        opened = http_server(server) if way == "http" else pipe_server(server)
        with fail_after(10):
            async with opened as link:
                async with aclosing(link.send_streaming_message(say("hang"), CALL)) as events:
                    async for event in events:
                        assert isinstance(event, NumberedEvent)
                        if event.sequence == 2:
                            await service.reading.wait()
                            break
                await service.let_go.wait()
        group.cancel_scope.cancel()


@asynccontextmanager
async def http_server(server: AgentServer) -> AsyncIterator[CarriedLink]:
    """A link to `server` over HTTP in this loop."""
    app = agent_app({"watched": server}, {})
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    web = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="on"))
    async with anyio.create_task_group() as group:
        group.start_soon(partial(web.serve, sockets=[listening]))
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/agents/watched/mcp"
        async with open_http_link(url) as link:
            yield link
        web.should_exit = True


@asynccontextmanager
async def pipe_server(server: AgentServer) -> AsyncIterator[CarriedLink]:
    """A link to `server` over streams as on pipes."""
    async with create_client_server_memory_streams() as ((read, write), (theirs_in, theirs_out)):
        async with anyio.create_task_group() as group:
            options = server.create_initialization_options()
            group.start_soon(server.run, theirs_in, theirs_out, options)
            carrier = PipeCarrier("memory", write)
            group.start_soon(carrier.serve, read)
            yield CarriedLink(carrier)
            group.cancel_scope.cancel()


async def test_a_child_that_answers_for_ever_fills_no_memory() -> None:
    """Ours: what a child sends for one request is bounded, and its first answer counts."""
    write, written = anyio.create_memory_object_stream[Any](1)
    carrier = PipeCarrier("memory", write)
    answers: list[dict[str, Any]] = []

    async def ask() -> None:
        answers.append(await carrier.request("a2a/GetTask", {}, {}))

    with fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(ask)
            await wait_all_tasks_blocked()
            (inbox,) = carrier._inboxes.values()
            for number in range(10_000):
                carrier._deliver({"id": 1, "result": {"number": number}})
            assert inbox.statistics().current_buffer_used < 1_000
    assert answers == [{"number": 0}]
    for stream in (write, written):
        stream.close()


async def test_credentials_travel_in_headers_and_stay_out_of_errors(free_port: int) -> None:
    """Ours: what lets us in is never in what we say when we are kept out."""
    secret = {"authorization": "Bearer s3cret"}
    async with open_link(f"http://127.0.0.1:{free_port}/mcp", headers=secret) as link:
        with fail_after(5), pytest.raises(LinkError) as caught:
            await link.get_task(GetTaskRequest(id="x"), CALL)
    assert "s3cret" not in repr(caught.value) + str(caught.value.facts)


def test_events_are_cut_from_any_chunks() -> None:
    """Spec: the text/event-stream format; lines end in CR LF or LF, data may span lines."""
    text = b': ping\r\n\r\nevent: message\r\ndata: {"a":1}\r\n\r\ndata: x\ndata:y\n\n'
    for size in range(1, len(text)):
        frames = Frames()
        cut = [text[at : at + size] for at in range(0, len(text), size)]
        assert [data for chunk in cut for data in frames.feed(chunk)] == [b'{"a":1}', b"x\ny"]


def test_facts_of_an_error_survive_the_wire() -> None:
    """Ours: numbers and texts travel in ErrorInfo's metadata; retry_after is a number again."""
    code, message, data = error_to_wire(
        BusyError("full", retry_after=2.5, agent="clerk", x=object())
    )
    assert data[0]["metadata"] == {"retry_after": "2.5", "agent": "clerk"}
    error = error_from_wire(code, message, orjson.loads(orjson.dumps(data)))
    assert (error.retry_after, error.agent, str(error)) == (2.5, "clerk", "full")


def test_a_number_alone_names_no_error() -> None:
    """Ours: -32001 without a reason is the MCP SDK's time-out, not a missing task."""
    error = error_from_wire(-32001, "timed out", None)
    assert type(error) is RemoteError


def test_an_unknown_version_names_the_known() -> None:
    """Spec: A2A 3.6, VersionNotSupportedError."""
    with pytest.raises(VersionNotSupportedError, match=r"1\.0"):
        call_from_meta({"a2a-version": "2.0"}, LOCAL)


async def test_a_function_of_ones_own_is_an_agent() -> None:
    """Ours: the memory service around a function, as its docstring shows."""

    async def shout(job: Job) -> None:
        await job.complete(job.message.text.upper())

    async with open_memory_service(shout) as service, open_link(service) as link:
        response = await link.send_message(say("hello"), CALL)
    assert response.task is not None
    assert response.task.artifacts[0].parts[0].text == "HELLO"


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"{nonsense", {}, 400, -32700),
        (b"[]", {}, 400, -32600),
        ({"method": "a2a/GetTask"}, {"mcp_method": "a2a/ListTasks"}, 400, -32020),
        ({}, {"mcp_protocol_version": "2030-01-01"}, 400, -32020),
        ({"jsonrpc": "1.0"}, {}, 400, -32600),
        ({"id": None}, {}, 400, -32600),
        ({"params": {}}, {}, 400, -32602),
        ({"method": "a2a/NoSuchThing"}, {"mcp_method": "a2a/NoSuchThing"}, 404, -32601),
    ],
)
async def test_what_is_no_mcp_is_refused_in_mcps_words(
    http_agent: Any, body: bytes | dict[str, Any], headers: dict[str, str], status: int, code: int
) -> None:
    """Spec: MCP 2026-07-28; the short way to an operation is only for requests without a fault."""
    if isinstance(body, dict):
        body = {**request("a2a/ListTasks", {"request": {}}), **body}
        body = orjson.dumps(body)
    answer = await post(http_agent.url, body, **{"mcp_method": "a2a/ListTasks", **headers})
    assert (answer[0], answer[1]["error"]["code"]) == (status, code)


@asynccontextmanager
async def asgi_agent(
    identify: Callable[[Asker], Identity], service: Any
) -> AsyncIterator[tuple[httpx.AsyncClient, AgentServer]]:
    """An agent under ASGI without a web server."""
    card = memory_card("asgi")
    server = agent_server(service, lambda: card, identify=identify)
    app = agent_app({"asgi": server}, {"asgi": lambda: card}, allowed_hosts=["here"])
    transport = httpx.ASGITransport(app)
    async with (
        app.running(),
        httpx.AsyncClient(transport=transport, base_url="http://here/agents/asgi") as client,
    ):
        client.headers.update(
            {
                "mcp-protocol-version": "2026-07-28",
                "accept": "application/json, text/event-stream",
                "content-type": "application/json",
            }
        )
        yield client, server


async def test_who_calls_is_told_by_what_the_transport_proved() -> None:
    """Ours: `identify` sees the HTTP request, with and without the SDK's dispatch."""

    def identify(asker: Asker) -> Identity:
        return Identity(asker.request.headers["x-proved"], "desk")

    seen: list[str] = []

    async def watch(ctx: Any, call_next: Any) -> Any:
        seen.append(ctx.method)
        return await call_next(ctx)

    async with open_memory_service(obedient) as service:
        async with asgi_agent(identify, service) as (client, server):
            for name in ("alice", "bob"):
                body = orjson.dumps(request_of(say("shout")))
                headers = {"mcp-method": "a2a/SendMessage", "x-proved": name}
                assert (await client.post("/mcp", content=body, headers=headers)).status_code == 200
                server.middleware.append(watch)
    assert [(call.principal, call.tenant) for call in service.calls] == [
        ("alice", "desk"),
        ("bob", "desk"),
    ]
    # Middleware of others sees every request: with it there is no short way.
    assert seen == ["a2a/SendMessage"]


async def test_what_breaks_inside_stays_inside(caplog: pytest.LogCaptureFixture) -> None:
    """Ours: an error that is not for the caller is logged, not told."""

    class Broken:
        async def list_tasks(self, request: Any, call: Call) -> Any:
            raise RuntimeError("the password is s3cret")

    async with asgi_agent(lambda _: Identity("a", "b"), Broken()) as (client, _):
        body = orjson.dumps(request("a2a/ListTasks", {"request": {}}))
        answer = await client.post("/mcp", content=body, headers={"mcp-method": "a2a/ListTasks"})
    assert answer.json()["error"] == {"code": -32603, "message": "Internal server error"}
    assert "s3cret" in caplog.text


async def test_a_large_message_arrives_and_a_larger_one_is_refused(http_agent: Any) -> None:
    """Ours: at most 4 MiB over HTTP, told from the length before the body is read."""
    async with open_link(http_agent.url) as link:
        with fail_after(10):
            response = await link.send_message(say("shout " + "x" * 2_000_000), CALL)
            assert response.task is not None
            assert len(response.task.artifacts[0].parts[0].text or "") == 2_000_000
            with pytest.raises(RemoteError) as caught:
                await link.send_message(say("shout " + "x" * 5_000_000), CALL)
    assert caught.value.status == 413


def test_the_specification_names_every_method_and_reason() -> None:
    """Ours: docs/binding.md and the code say the same, so that others can implement it."""
    text = (Path(__file__).parents[2] / "docs" / "binding.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    answers = agent_server(NEVER, memory_card).answers
    methods = {*answers.plain, *answers.streamed}
    assert {row.split("`")[1] for row in rows if "| `a2a/" in row} == methods
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, RepertoryError):
            code, _, [info] = error_to_wire(kind("x"))
            if code == -32603:
                continue
            row = next(row for row in rows if row.startswith(f"| `{info['reason']}`"))
            assert f"−{-code} " in row
            assert info["domain"] in row
    for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL):
        orjson.loads(block)
