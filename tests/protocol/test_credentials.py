"""An agent calls on by its own identity: client credentials, token exchange, and nothing handed on."""

import base64
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import time
from typing import Any, NamedTuple
from urllib.parse import parse_qs

import anyio
import orjson
import pytest
from anyio import fail_after
from anyio.abc import SocketStream, TaskStatus

from repertory.protocol import (
    AgentServer,
    Call,
    DeadlineExceededError,
    FixedToken,
    Grant,
    GrantedToken,
    LinkError,
    ListTasksRequest,
    PermissionDeniedError,
    RepertoryError,
    SendMessageRequest,
    UnauthenticatedError,
    agent_server,
    memory_card,
    open_http_link,
    open_memory_service,
    user_message,
)
from repertory.protocol.caller import CarriedLink
from repertory.protocol.carriers import Push, request_body
from repertory.protocol.testing import obedient
from tests.claims import claim


class Server:
    """Answers every request with what a test set, and keeps what it was sent."""

    def __init__(self) -> None:
        self.url = ""
        self.heads: list[bytes] = []
        self.forms: list[dict[str, str]] = []
        self.answers: list[tuple[int, object]] = []

    async def handle(self, stream: SocketStream) -> None:
        """One request, one answer."""
        async with stream:
            read = b""
            while b"\r\n\r\n" not in read:
                read += await stream.receive()
            head, _, body = read.partition(b"\r\n\r\n")
            fields = dict(
                line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line
            )
            while len(body) < int(fields.get(b"content-length", b"0")):
                body += await stream.receive()
            self.heads.append(head)
            if b"x-www-form-urlencoded" in head:
                self.forms.append({k: v[0] for k, v in parse_qs(body.decode()).items()})
            status, said = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            text = orjson.dumps(said)
            more = b"location: http://127.0.0.1:1/\r\n" if status == 307 else b""
            await stream.send(
                b"HTTP/1.1 %d x\r\ncontent-type: application/json\r\nconnection: close\r\n%s"
                b"content-length: %d\r\n\r\n%s" % (status, more, len(text), text)
            )


@asynccontextmanager
async def _server(*answers: tuple[int, object]) -> AsyncIterator[Server]:
    server = Server()
    server.answers = list(answers)

    async def run(*, task_status: TaskStatus[None]) -> None:
        async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
            port = listener.extra(anyio.abc.SocketAttribute.local_port)
            server.url = f"http://127.0.0.1:{port}/token"
            task_status.started()
            await listener.serve(server.handle)

    with fail_after(20):
        async with anyio.create_task_group() as tasks:
            await tasks.start(run)
            yield server
            tasks.cancel_scope.cancel()


def _grant(url: str, **more: object) -> Grant:
    return Grant(
        token_url=url,
        client_id="desk",
        resource="https://far.example/agents/critic/mcp",
        secret="s3cret",
        **more,  # type: ignore[arg-type]  # what a test adds
    )


async def test_client_credentials_are_asked_for_once_and_kept_until_shortly_before_their_end() -> (
    None
):
    """Spec: RFC 6749, 4.4 and RFC 8707: for this peer alone, with no more scopes than are needed."""
    now = 0.0
    said = {"access_token": "t1", "token_type": "Bearer", "expires_in": 100}
    async with _server((200, said), (200, {**said, "access_token": "t2"})) as server:
        source = GrantedToken(_grant(server.url, scopes=("critic",)), clock=lambda: now)
        tokens: list[str] = []

        async def ask() -> None:
            tokens.append(await source.token())

        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(ask)
        now = 69.0
        assert {*tokens, await source.token()} == {"t1"}
        now = 71.0
        assert await source.token() == "t2"
        assert server.forms[0] == {
            "grant_type": "client_credentials",
            "resource": "https://far.example/agents/critic/mcp",
            "client_id": "desk",
            "scope": "critic",
        }
        assert len(server.forms) == 2
        assert base64.b64encode(b"desk:s3cret") in server.heads[0]
        assert "s3cret" not in repr(_grant(server.url)) + repr(FixedToken("s3cret"))


async def test_a_workloads_own_token_is_exchanged_and_read_anew_each_time(tmp_path: Path) -> None:
    """Spec: RFC 8693: subject_token is this workload's, never a caller's."""
    file = tmp_path / "token"
    file.write_text("workload-1")
    async with _server((200, {"access_token": "t", "expires_in": 1})) as server:
        now = 0.0
        source = GrantedToken(_grant(server.url, subject=file.read_text), clock=lambda: now)
        await source.token()
        file.write_text("workload-2")
        now = 6.0
        await source.token()
    assert [form["subject_token"] for form in server.forms] == ["workload-1", "workload-2"]
    assert server.forms[0]["grant_type"] == "urn:ietf:params:oauth:grant-type:token-exchange"


@pytest.mark.parametrize(
    ("status", "said", "error", "sentence"),
    [
        (400, {"error": "invalid_client"}, UnauthenticatedError, "invalid_client"),
        (200, {"token_type": "Bearer"}, UnauthenticatedError, "HTTP status 200"),
        (200, {"access_token": "t", "token_type": "DPoP"}, UnauthenticatedError, "no token"),
        (307, {}, UnauthenticatedError, "HTTP status 307"),
        (500, "x", UnauthenticatedError, "HTTP status 500"),
    ],
)
async def test_a_refused_token_is_a_sentence_without_the_secret(
    status: int, said: object, error: type[RepertoryError], sentence: str
) -> None:
    """Ours: what is wrong is said, and what is secret is not."""
    async with _server((status, said)) as server:
        with pytest.raises(error, match=sentence) as caught:
            await GrantedToken(_grant(server.url)).token()
        assert "s3cret" not in str(caught.value)
    with pytest.raises(LinkError, match="cannot be reached for a token"):
        await GrantedToken(_grant(server.url)).token()


@claim("mcp:own-identity")
async def test_a_peer_that_does_not_believe_a_token_gets_a_fresh_one_once() -> None:
    """Ours: a token that was taken back costs one more request, and a wrong one no loop."""
    answer = {"jsonrpc": "2.0", "id": 1, "result": {"response": {"tasks": []}}}
    async with (
        _server((200, {"access_token": "t1"}), (200, {"access_token": "t2"})) as issuer,
        _server((401, {"error": "no"}), (200, answer), (401, {"error": "not you"})) as peer,
    ):
        source = GrantedToken(_grant(issuer.url))
        async with open_http_link(peer.url, credentials=source) as link:
            await link.list_tasks(ListTasksRequest(), Call())
            with pytest.raises(UnauthenticatedError, match="not you"):
                await link.list_tasks(ListTasksRequest(), Call())
        sent = [head.split(b"uthorization: ")[1].split(b"\r\n")[0] for head in peer.heads]
        assert sent == [b"Bearer t1", b"Bearer t2", b"Bearer t2", b"Bearer t2"]


async def test_a_peer_that_redirects_or_refuses_is_an_error_of_its_kind() -> None:
    """Ours: a redirect is not followed, since it would carry the token away."""
    async with _server((307, {}), (403, {"error": "not for you"})) as peer:
        async with open_http_link(peer.url, credentials=FixedToken("k")) as link:
            with pytest.raises(RepertoryError, match="HTTP status 307"):
                await link.list_tasks(ListTasksRequest(), Call())
            with pytest.raises(PermissionDeniedError, match="not for you"):
                await link.list_tasks(ListTasksRequest(), Call())


class _Piped(NamedTuple):
    """An `Asker` without HTTP."""

    params: dict[str, Any]
    request: Any = None


class Slow:
    """A wire to a service in memory that loses the answer to a message, or the message too."""

    def __init__(self, server: AgentServer, *, lost: bool) -> None:
        self.server = server
        self.lost = lost
        self.asked: list[str] = []

    async def request(
        self, method: str, params: dict[str, Any], meta: dict[str, Any]
    ) -> dict[str, Any]:
        """Bring the request, and be silent after a message."""
        self.asked.append(method)
        sent = method == "a2a/SendMessage"
        if sent and self.lost:
            await anyio.sleep_forever()
        body = request_body(1, method, params, meta)
        answer = await self.server.answers.answer(method, _Piped(body["params"]))
        if sent:
            await anyio.sleep_forever()
        return answer

    async def stream(
        self, method: str, params: dict[str, Any], meta: dict[str, Any]
    ) -> AsyncGenerator[Push | dict[str, Any], None]:
        """The answer alone."""
        yield await self.request(method, params, meta)

    async def aclose(self) -> None:
        """Nothing of its own."""


@pytest.mark.parametrize("lost", [False, True])
async def test_after_a_local_time_out_the_caller_asks_what_became_of_its_message(
    lost: bool,
) -> None:
    """Ours: the error says the task and how it stands, or that the peer has none."""
    with fail_after(20):
        async with open_memory_service(obedient) as service:
            card = memory_card()
            slow = Slow(agent_server(service, lambda: card), lost=lost)
            call = Call(deadline=time() + 0.3)
            message = user_message("shout", context_id="c1")
            with pytest.raises(DeadlineExceededError) as caught:
                await CarriedLink(slow).send_message(SendMessageRequest(message=message), call)
    assert slow.asked == ["a2a/SendMessage", "a2a/ListTasks"]
    if lost:
        assert "the peer has no task for it" in str(caught.value)
        assert caught.value.message_id == message.message_id
    else:
        assert caught.value.state == "COMPLETED"
        assert caught.value.task_id
