"""URLs that strangers named: none of them reaches what only this machine can reach (S2)."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
import pytest
from anyio import fail_after
from anyio.abc import SocketStream, TaskStatus

from repertory.protocol import (
    InvalidAgentResponseError,
    InvalidParamsError,
    LinkError,
    OutgoingRules,
    UrlRefusedError,
    open_outgoing,
)
from tests.claims import claim

LISTENER = OutgoingRules(allow=("127.0.0.1/32",))

# Names as an attacker's DNS would answer them.
NAMES = {
    "a.example": ["127.0.0.1"],
    "b.example": ["10.0.0.7"],
    "c.example": ["169.254.169.254"],
    "d.example": ["::1"],
    "e.example": ["93.184.215.14", "127.0.0.1"],
    "f.example": ["fd00::1"],
    "g.example": ["::ffff:127.0.0.1"],
    "h.example": ["64:ff9b::7f00:1"],
    "i.example": ["192.168.1.1"],
    "j.example": ["0.0.0.0"],
    "k.example": ["fe80::1%lo"],
    "l.example": ["2002:7f00:1::"],
    "public.example": ["93.184.215.14"],
}

HOSTS = """127.0.0.1 127.0.0.2 127.255.255.254 localhost 0.0.0.0 0 127.1 127.0.1 2130706433
0x7f000001 0x7f.0.0.1 0x7f.1 0177.0.0.1 0177.1 017700000001 127.0.0.1. 0x7F.0x0.0x0.0x1
[::1] [::] [0:0:0:0:0:0:0:1] [::ffff:127.0.0.1] [::ffff:7f00:1] [::127.0.0.1] [64:ff9b::7f00:1]
[64:ff9b:1::1] [2002:7f00:1::] [2001:0:7f00:1::] [fe80::1] [fe80::1%25lo] [fec0::1] [fc00::1]
[fd00:ec2::254] [ff02::1] [100::1] [2001:db8::1] 169.254.169.254 169.254.0.1 [::ffff:169.254.169.254]
0xa9fea9fe 2852039166 168.63.129.16 100.100.100.200 10.0.0.1 10.255.255.255 172.16.0.1
172.31.255.255 192.168.0.1 192.0.0.1 192.88.99.1 198.18.0.1 198.51.100.7 203.0.113.7 224.0.0.1
240.0.0.1 255.255.255.255 ①②⑦.⓪.⓪.① １２７.0.0.1 127。0。0。1 user@127.0.0.1 public.example@127.0.0.1
127.0.0.1%00.example a.example b.example c.example d.example e.example f.example g.example
h.example i.example j.example k.example l.example A.EXAMPLE a.example."""

URLS = [
    "file:///etc/passwd",
    "gopher://127.0.0.1:{port}/_",
    "ftp://127.0.0.1:{port}/",
    "dict://127.0.0.1:{port}/",
    "javascript:alert(1)",
    "data:text/plain,x",
    "unix:///var/run/docker.sock",
    "//127.0.0.1:{port}/",
    "/relative",
    "",
    "http://public.example:{port}/",
    "https://public.example\\@127.0.0.1:{port}/",
    "https://127.0.0.1 :{port}/",
    "https://127.0.0.1:99999/",
    "https://public.example/#@127.0.0.1",
    "https://:{port}/",
    "https://public.example\t.127.0.0.1/",
]
CORPUS = (
    [f"http://{host}:{{port}}/hook" for host in HOSTS.split()]
    + [f"https://{host}:{{port}}/hook" for host in HOSTS.split()]
    + URLS
)


async def _attackers_dns(host: str, _: int) -> Sequence[str]:
    return NAMES.get(host.lower().rstrip("."), ["127.0.0.1"])


@dataclass
class Listener:
    """A server that counts who connects, and answers each path with what it was given."""

    port: int = 0
    connections: int = 0
    requests: list[bytes] = field(default_factory=list)
    answers: dict[bytes, bytes] = field(default_factory=dict)

    async def handle(self, stream: SocketStream) -> None:
        """Answer one request and close."""
        self.connections += 1
        async with stream:
            try:
                head = await stream.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return
            self.requests.append(head)
            path = head.split(b" ")[1] if b" " in head else b""
            await stream.send(self.answers.get(path, _http(200, b"seen")))


def _http(status: int, body: bytes = b"", **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} x", f"content-length: {len(body)}", "connection: close"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@asynccontextmanager
async def _listening(host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[Listener]:
    listener = Listener()

    async def serve(*, task_status: TaskStatus[None]) -> None:
        async with await anyio.create_tcp_listener(local_host=host, local_port=port) as server:
            listener.port = server.extra(anyio.abc.SocketAttribute.local_port)
            task_status.started()
            await server.serve(listener.handle)

    async with anyio.create_task_group() as tasks:
        await tasks.start(serve)
        yield listener
        tasks.cancel_scope.cancel()


@claim("mcp:outgoing")
async def test_no_url_of_the_corpus_reaches_a_listener_on_this_machine() -> None:
    """Spec: MCP security best practices, SSRF; A2A 1.0, 13.2. Every notation, at both moments."""
    assert len(set(CORPUS)) >= 60
    let_through = []
    with fail_after(30):
        async with (
            _listening("127.0.0.1") as canary,
            open_outgoing(resolve=_attackers_dns) as outgoing,
        ):
            for template in CORPUS:
                url = template.replace("{port}", str(canary.port))
                for ask in (outgoing.check(url), outgoing.request("POST", url, body=b"{}")):
                    try:
                        await ask
                    except UrlRefusedError:
                        continue
                    except LinkError:
                        pass
                    let_through.append(url)
            assert canary.connections == 0
    assert let_through == []


async def test_a_public_url_is_taken_and_a_loopback_one_only_where_it_is_allowed() -> None:
    """Ours: the control of the corpus: the guard does not simply refuse everything."""
    with fail_after(10):
        async with (
            _listening() as here,
            open_outgoing(LISTENER, resolve=_attackers_dns) as outgoing,
        ):
            await outgoing.check("https://public.example/hook")
            answer = await outgoing.request("POST", f"http://a.example:{here.port}/x", body=b"{}")
            assert (answer.status, answer.body, here.connections) == (200, b"seen", 1)
            with pytest.raises(UrlRefusedError):
                await outgoing.check("http://public.example/hook")


async def test_a_name_that_changes_its_address_after_the_check_is_refused_at_its_use() -> None:
    """Spec: MCP security best practices: DNS between check and use (rebinding)."""
    answers = [["93.184.215.14"], ["127.0.0.1"]]

    async def turning(_: str, __: int) -> Sequence[str]:
        return answers.pop(0) if len(answers) > 1 else answers[0]

    with fail_after(10):
        async with _listening() as canary, open_outgoing(resolve=turning) as outgoing:
            url = f"https://turning.example:{canary.port}/"
            await outgoing.check(url)
            with pytest.raises(UrlRefusedError):
                await outgoing.request("GET", url)
            assert canary.connections == 0


@pytest.mark.parametrize(
    "where",
    [
        "http://127.0.0.2:{port}/",
        "http://[::ffff:127.0.0.2]:{port}/",
        "http://2130706434:{port}/",
        "//127.0.0.2:{port}/",
        "file:///etc/passwd",
        "http://b.example:{port}/",
    ],
)
async def test_a_redirect_is_checked_like_the_url_that_led_to_it(where: str) -> None:
    """Spec: MCP security best practices: redirects included; only 127.0.0.1 is allowed here."""
    with fail_after(10):
        async with (
            _listening() as first,
            _listening("127.0.0.2", first.port) as canary,
            open_outgoing(LISTENER, resolve=_attackers_dns) as outgoing,
        ):
            url = f"http://127.0.0.1:{first.port}"
            first.answers[b"/a"] = _http(302, location=f"{url}/b")
            first.answers[b"/b"] = _http(307, location=where.replace("{port}", str(first.port)))
            with pytest.raises(UrlRefusedError):
                await outgoing.request("GET", f"{url}/a", redirects=3)
            assert (len(first.requests), canary.connections) == (2, 0)


async def test_a_redirect_takes_no_credentials_to_another_origin_and_is_bounded() -> None:
    """Ours: what was meant for one server is not told to the next."""
    with fail_after(10):
        async with (
            _listening() as first,
            _listening() as other,
            open_outgoing(LISTENER) as outgoing,
        ):
            first.answers[b"/a"] = _http(302, location=f"http://127.0.0.1:{other.port}/b")
            first.answers[b"/loop"] = _http(302, location="/loop")
            start = f"http://127.0.0.1:{first.port}"
            secret = {"authorization": "Bearer canary", "accept": "application/json"}
            answer = await outgoing.request("GET", f"{start}/a", headers=secret, redirects=1)
            assert answer.body == b"seen"
            assert b"canary" in first.requests[0]
            assert b"canary" not in other.requests[0]
            with pytest.raises(UrlRefusedError, match="redirects further"):
                await outgoing.request("GET", f"{start}/loop", redirects=4)
            assert len(first.requests) == 6


async def test_an_answer_without_end_is_cut_and_a_silent_host_is_a_link_error() -> None:
    """Ours: a stranger's server can neither fill the memory nor raise a library's error."""
    with fail_after(10):
        async with _listening() as here, open_outgoing(LISTENER) as outgoing:
            here.answers[b"/big"] = _http(200, b"x" * 5000)
            with pytest.raises(InvalidAgentResponseError, match="above 4096 bytes"):
                await outgoing.request(
                    "GET", f"http://127.0.0.1:{here.port}/big", largest_answer=4096
                )
            gone = f"http://127.0.0.1:{here.port}/x"
        async with open_outgoing(LISTENER) as outgoing:
            with pytest.raises(LinkError, match="cannot be reached"):
                await outgoing.request("GET", gone)


def test_what_is_allowed_must_be_a_network() -> None:
    """Ours: a host name is no network, since its address is what is checked."""
    with pytest.raises(InvalidParamsError, match=r"127\.0\.0\.0/8"):
        OutgoingRules(allow=("localhost",))
