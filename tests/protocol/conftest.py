"""The obedient agent over each of the three links, each started once for all the tests."""

import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from threading import Event, Thread

import anyio
import anyio.abc
import pytest
import uvicorn
import uvloop

from repertory.protocol import (
    Link,
    StdioTarget,
    agent_app,
    agent_server,
    memory_card,
    open_link,
    open_memory_service,
)
from repertory.protocol.testing import obedient

CHILD = StdioTarget((sys.executable, "-m", "repertory.protocol.testing"))


class HttpAgent(Thread):
    """The obedient agent on a free port, in a loop and a thread of its own."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/agents/obedient/mcp"
        self.base = f"http://127.0.0.1:{self.port}"
        self.started = Event()
        self.server: uvicorn.Server | None = None

    def run(self) -> None:
        """Serve until `server.should_exit`."""
        uvloop.run(self._serve())

    async def _serve(self) -> None:
        async with open_memory_service(obedient) as service:
            card = memory_card("obedient", self.url)
            server = agent_server(service, lambda: card, hold_seconds=0.5)
            app = agent_app({"obedient": server}, {"obedient": lambda: card})
            config = uvicorn.Config(app, http="httptools", log_level="warning", lifespan="on")
            web = self.server = _Server(config, self.started)
            await web.serve(sockets=[self._socket])


class _Server(uvicorn.Server):
    """A web server that says when it has started, which uvicorn has no hook for."""

    def __init__(self, config: uvicorn.Config, told: Event) -> None:
        super().__init__(config)
        self._told = told

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets)
        self._told.set()


@pytest.fixture(scope="session")
def http_agent() -> Iterator[HttpAgent]:
    """The obedient agent under HTTP."""
    agent = HttpAgent()
    agent.start()
    assert agent.started.wait(20)
    yield agent
    assert agent.server is not None
    agent.server.should_exit = True
    agent.join(20)


# Not for the whole session: while an async fixture lives, no test may run a loop of its own.
@pytest.fixture(scope="module", params=["memory", "stdio", "http"])
async def link(request: pytest.FixtureRequest, anyio_backend: str) -> AsyncIterator[Link]:
    """A link to the obedient agent, over each wire in turn."""
    if request.param == "memory":
        async with open_memory_service(obedient) as service, open_link(service) as memory:
            yield memory
    elif request.param == "stdio":
        async with open_link(CHILD) as stdio:
            yield stdio
    else:
        agent: HttpAgent = request.getfixturevalue("http_agent")
        async with open_link(agent.url) as http:
            yield http


@pytest.fixture
def free_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@pytest.fixture
def serve() -> Callable[[int, str, bytes], AbstractAsyncContextManager[str]]:
    """Serve one answer to whatever is asked; the URL."""

    @asynccontextmanager
    async def serving(status: int, kind: str, body: bytes) -> AsyncIterator[str]:
        head = (
            f"HTTP/1.1 {status} Said\r\ncontent-type: {kind}\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )

        async def answer(client: anyio.abc.SocketStream) -> None:
            async with client:
                await client.receive()
                await client.send(head.encode() + body)

        async with (
            await anyio.create_tcp_listener(local_host="127.0.0.1") as listener,
            anyio.create_task_group() as group,
        ):
            group.start_soon(listener.serve, answer)
            port = listener.extra(anyio.abc.SocketAttribute.local_port)
            yield f"http://127.0.0.1:{port}/mcp"
            group.cancel_scope.cancel()

    return serving
