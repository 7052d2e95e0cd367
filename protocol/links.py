"""Opening links: one interface over memory, a child process's pipes and HTTP.

    async with open_link("http://127.0.0.1:8642/agents/clerk/mcp") as clerk:
        answer = await clerk.send_message(request, Call())

A link is an `AgentService` elsewhere; whoever holds one need not know where.
What travels is `envelope`'s, how it travels `streamable_http`'s and `pipes`'.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from .caller import CarriedLink, patience
from .cards import AgentCard
from .errors import InvalidParamsError, UnsupportedOperationError
from .following import follow
from .lifecycle import apply_event, is_terminal
from .operations import (
    CancelTaskRequest,
    EventPage,
    GetTaskRequest,
    ListTasksRequest,
    ListTasksResponse,
    NumberedEvent,
    SendMessageConfiguration,
    SendMessageRequest,
    SendMessageResponse,
)
from .service import AgentService, Call
from .tasks import StreamResponse, Task

if TYPE_CHECKING:
    import ssl

    import aiohttp

    from .credentials import TokenSource


@runtime_checkable
class Link(AgentService, Protocol):
    """An agent that may be elsewhere: A2A's operations, its streams, and an end."""

    def send_streaming_message(
        self, request: SendMessageRequest, call: Call
    ) -> AsyncGenerator[NumberedEvent | StreamResponse, None]:
        """Send a message and yield its task's events in order until the task has ended."""
        ...

    def subscribe_to_task(
        self, task_id: str, call: Call, *, after_sequence: int | None = None
    ) -> AsyncGenerator[NumberedEvent, None]:
        """Yield a task's events, each once and in order, until the task has ended."""
        ...

    async def aclose(self) -> None:
        """End the link; leaving the block that opened it does the same."""
        ...


@dataclass(frozen=True, slots=True)
class StdioTarget:
    """A program that serves an agent on its pipes: its argument list, and its environment."""

    argv: tuple[str, ...]
    env: Mapping[str, str] | None = None


class MemoryLink:
    """A service in this process as a link: called directly, since its models are frozen."""

    def __init__(self, service: AgentService) -> None:
        self._service = service

    async def get_agent_card(self, call: Call) -> AgentCard:
        """The agent's card."""
        with patience(call):
            return await self._service.get_agent_card(call)

    async def send_message(self, request: SendMessageRequest, call: Call) -> SendMessageResponse:
        """Send a message and wait until its task ends or is interrupted."""
        with patience(call):
            return await self._service.send_message(request, call)

    async def get_task(self, request: GetTaskRequest, call: Call) -> Task:
        """The task as its log says now."""
        with patience(call):
            return await self._service.get_task(request, call)

    async def list_tasks(self, request: ListTasksRequest, call: Call) -> ListTasksResponse:
        """The caller's tasks, newest status first, by pages."""
        with patience(call):
            return await self._service.list_tasks(request, call)

    async def cancel_task(self, request: CancelTaskRequest, call: Call) -> Task:
        """Ask a task to end."""
        with patience(call):
            return await self._service.cancel_task(request, call)

    async def read_events(
        self, task_id: str, after_sequence: int, call: Call, *, wait: float = 0.0, limit: int = 256
    ) -> EventPage:
        """Events above `after_sequence`, in order and without gaps."""
        with patience(call):
            return await self._service.read_events(
                task_id, after_sequence, call, wait=wait, limit=limit
            )

    async def send_streaming_message(
        self, request: SendMessageRequest, call: Call
    ) -> AsyncGenerator[NumberedEvent | StreamResponse, None]:
        """Send a message and yield its task's events in order until the task has ended."""
        wants = request.configuration or SendMessageConfiguration()
        wants = wants.model_copy(update={"return_immediately": True})
        request = request.model_copy(update={"configuration": wants})
        response = await self.send_message(request, call)
        if response.task is None:
            yield StreamResponse(message=response.message)
            return
        after = None if request.message.task_id else 0
        events = self._events(response.task.id, call, after)
        async with aclosing(events):
            async for event in events:
                yield event

    async def subscribe_to_task(
        self, task_id: str, call: Call, *, after_sequence: int | None = None
    ) -> AsyncGenerator[NumberedEvent, None]:
        """Yield a task's events, each once and in order, until the task has ended."""
        if after_sequence is None:
            task = await self.get_task(GetTaskRequest(id=task_id), call)
            if is_terminal(task.status.state):
                raise UnsupportedOperationError(f"task {task_id} has ended", task_id=task_id)
        events = self._events(task_id, call, after_sequence)
        async with aclosing(events):
            async for event in events:
                yield event

    async def aclose(self) -> None:
        """Nothing to let go of: the service is its owner's."""

    async def _events(
        self, task_id: str, call: Call, after: int | None
    ) -> AsyncGenerator[NumberedEvent, None]:
        if after is None:
            snapshot = await self._snapshot(task_id, call)
            after = snapshot.sequence
            yield snapshot
        async for event in follow(self._service, task_id, call, after_sequence=after):
            yield event

    async def _snapshot(self, task_id: str, call: Call) -> NumberedEvent:
        folded: Task | None = None
        seen = 0
        while True:
            page = await self.read_events(task_id, seen, call)
            for numbered in page.events:
                folded = apply_event(folded, numbered.event)
                seen = numbered.sequence
            if folded is not None and seen >= page.last_sequence:
                return NumberedEvent(sequence=seen, event=StreamResponse(task=folded))


@asynccontextmanager
async def open_memory_link(service: AgentService) -> AsyncIterator[MemoryLink]:
    """Link to a service in this process."""
    yield MemoryLink(service)


@asynccontextmanager
async def open_stdio_link(
    argv: Sequence[str], env: Mapping[str, str] | None = None, *, extensions: Sequence[str] = ()
) -> AsyncIterator[CarriedLink]:
    """Start a program and link to the agent it serves on its pipes; it ends with the block.

    Raises:
        LinkError: The program could not be started. Later, from any call: it died.
    """
    from .pipes import open_pipes  # the MCP SDK takes seconds to load

    async with open_pipes(argv, env) as carrier:
        yield CarriedLink(carrier, extensions=extensions)


@asynccontextmanager
async def open_http_link(
    url: str,
    headers: Mapping[str, str] | None = None,
    *,
    extensions: Sequence[str] = (),
    credentials: "TokenSource | None" = None,
    tls: "ssl.SSLContext | None" = None,
    session: "aiohttp.ClientSession | None" = None,
) -> AsyncIterator[CarriedLink]:
    """Link to the agent served at `url`; nothing is sent before the first call.

    headers: what the agent's security scheme asks for, with every request.
    credentials: the caller's own access tokens. tls: whom to believe, and by which
    certificate to be known. session: a pool to share with other links, made by
    `open_pool`.
    """
    from .streamable_http import HttpCarrier, open_pool  # aiohttp takes a while to load

    known: dict[str, Any] = {"headers": headers, "credentials": credentials, "tls": tls}
    if session is not None:
        yield CarriedLink(HttpCarrier(url, session, **known), extensions=extensions)
        return
    async with open_pool() as pool:
        yield CarriedLink(HttpCarrier(url, pool, **known), extensions=extensions)


def open_link(
    target: AgentService | StdioTarget | str, *, headers: Mapping[str, str] | None = None
) -> AbstractAsyncContextManager[Link]:
    """Link to `target`: a service in this process, a program, or the URL of an MCP endpoint.

    Raises:
        InvalidParamsError: A string that is no http or https URL.
    """
    if isinstance(target, StdioTarget):
        return open_stdio_link(target.argv, target.env)
    if isinstance(target, str):
        if not target.startswith(("http://", "https://")):
            raise InvalidParamsError(
                f"{target!r} is no http or https URL of an agent", path="target"
            )
        return open_http_link(target, headers)
    return open_memory_link(target)
