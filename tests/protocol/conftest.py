"""The obedient agent over each of the three links, each started once for all the tests."""

import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from threading import Event, Thread

import pytest
import uvicorn
import uvloop

from repertory.protocol import (
    Link,
    agent_app,
    agent_server,
    memory_card,
    open_link,
    open_memory_service,
)
from repertory.protocol import StdioTarget
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
            self.server = uvicorn.Server(config)
            async with _told(self.server, self.started):
                await self.server.serve(sockets=[self._socket])


@asynccontextmanager
async def _told(server: uvicorn.Server, started: Event) -> AsyncIterator[None]:
    begin = server.startup

    async def startup(sockets: list[socket.socket] | None = None) -> None:
        await begin(sockets)
        started.set()

    server.startup = startup  # type: ignore[method-assign] # uvicorn has no hook for "started"
    yield


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Keep one loop for the session, so that a link can serve many tests."""
    return "asyncio"


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


@pytest.fixture(scope="session", params=["memory", "stdio", "http"])
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
