"""One connection to an MCP server, entered and left by one task, used by many.

The SDK's `Client` must be entered and left in the same task, and its wire may die
under all who use it. So each connection has an owner, and every call is a scope
that the owner ends when the connection does: a caller who is cancelled takes
nobody along, and a dead server reaches each caller as one typed failure.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from typing import Any, cast

import mcp_types
from anyio import (
    CancelScope,
    Event,
    create_task_group,
    current_effective_deadline,
    get_cancelled_exc_class,
    move_on_after,
)
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp.server import MCPServer
from opentelemetry import context as otel_context
from opentelemetry import trace as otel_trace
from pydantic import ValidationError

from repertory.agents import ToolResult

from .tool_http import HttpTarget, tool_http_client
from .tool_process import ToolProcess
from .trace_context import parse_traceparent, scrub, span_context

Target = ToolProcess | MCPServer | HttpTarget

_PAGES = 100
_SETTLE_SECONDS = 0.5
_FAREWELL_SECONDS = 4.0


class ConnectionLost(Exception):  # noqa: N818 -- told to the tool server, who makes the error of it
    """The connection ended under a call; `sent` says whether the call may have reached it."""

    def __init__(self, how: str, *, sent: bool) -> None:
        super().__init__(how)
        self.how = how
        self.sent = sent


class Connection:
    """A dialed server; `own` is its whole life.

    ready: it may be used, or has failed. failure: "" while it lives, then how it
    ended. hopeless: dialing again would fail alike. counted: its failure has been.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        self.ready = Event()
        self.done = Event()
        self.failure = ""
        self.hopeless = False
        self.counted = False
        self.tools: Mapping[str, mcp_types.Tool] = {}
        self._client: Client | None = None
        self._stop = Event()
        self._life = CancelScope()
        self._calls: set[CancelScope] = set()
        self._retired = False

    @property
    def usable(self) -> bool:
        """Whether new calls may use it: dialing or alive, and not asked to end."""
        return not (self.done.is_set() or self._stop.is_set() or self._retired)

    @property
    def pid(self) -> int | None:
        return self.target.pid if isinstance(self.target, ToolProcess) else None

    async def own(self) -> None:
        """Dial, list the tools, wait until it is over, hang up; never raises but when cancelled."""
        try:
            async with create_task_group() as tasks:
                if isinstance(self.target, ToolProcess):
                    tasks.start_soon(self._follow, self.target)
                with self._life:
                    await self._live()
                tasks.cancel_scope.cancel()
        except get_cancelled_exc_class():
            # A dying transport may leak a cancellation that nobody asked for.
            if current_effective_deadline() == -math.inf:
                raise
            self.failure = self.failure or self._ending("the connection broke off")
        except Exception as error:  # noqa: BLE001 -- what the SDK's transports raise ends this connection only
            self.hopeless = isinstance(
                error, FileNotFoundError | PermissionError | NotADirectoryError
            )
            self.failure = self._ending(_told(error))
        finally:
            self.failure = self.failure or self._ending("it was closed")
            self.done.set()
            self.ready.set()
            for scope in self._calls:
                scope.cancel()

    async def call(
        self, tool: str, arguments: Mapping[str, Any], meta: Mapping[str, Any], traceparent: str
    ) -> ToolResult:
        """Call a tool in the caller's own task.

        Raises:
            ConnectionLost: The server died, or the wire did.
        """
        if self._client is None or self.done.is_set():
            raise ConnectionLost(self.failure or "it is not connected", sent=False)
        scope = CancelScope()
        self._calls.add(scope)
        try:
            with scope, _current(traceparent):
                return await self._answer(self._client, tool, arguments, meta)
        finally:
            self._calls.discard(scope)
            if self._retired and not self._calls:
                self._stop.set()
        raise ConnectionLost(self.failure, sent=True)

    def retire(self) -> None:
        """Take no more calls; hang up when those in flight are over."""
        self._retired = True
        if not self._calls:
            self._stop.set()

    async def aclose(self) -> None:
        """Hang up now: calls in flight are lost, a child has ended when this returns."""
        self._stop.set()
        if self.ready.is_set():
            with move_on_after(_FAREWELL_SECONDS):
                await self.done.wait()
        # Still dialing, or a server that does not let go.
        self._life.cancel()
        await self.done.wait()

    async def _live(self) -> None:
        async with AsyncExitStack() as stack:
            target: Any = self.target
            if isinstance(target, HttpTarget):
                http = await stack.enter_async_context(tool_http_client(target))
                target = streamable_http_client(target.url, http_client=http)
            client = Client(target, client_info=_client_info(), cache=None)
            self._client = await stack.enter_async_context(client)
            self.tools = {tool.name: tool for tool in await _all_tools(client)}
            self.ready.set()
            await self._stop.wait()

    async def _follow(self, process: ToolProcess) -> None:
        await process.ended.wait()
        with move_on_after(_SETTLE_SECONDS):
            await process.exited.wait()
        self.failure = self.failure or self._ending("it ended")
        self._stop.set()

    async def _answer(
        self, client: Client, tool: str, arguments: Mapping[str, Any], meta: Mapping[str, Any]
    ) -> ToolResult:
        try:
            open_map = cast("mcp_types.RequestParamsMeta", dict(meta))
            result = await client.call_tool(tool, dict(arguments), meta=open_map)
        except MCPError as error:
            if error.code == mcp_types.CONNECTION_CLOSED:
                raise await self._lost(error) from error
            if error.message == "Session terminated":
                self.retire()
                raise ConnectionLost("it no longer knows this session", sent=False) from error
            # A JSON-RPC error is an answer: the call is over and its outcome is known.
            return ToolResult(content=error.message, is_error=True)
        except (ValidationError, RuntimeError) as error:
            return ToolResult(
                content=f"the tool's answer does not fit its schema: {error}", is_error=True
            )
        return ToolResult(
            content=_text(result.content),
            structured=result.structured_content,
            is_error=bool(result.is_error),
        )

    async def _lost(self, error: MCPError) -> ConnectionLost:
        if isinstance(self.target, HttpTarget):
            # Over HTTP one broken request says nothing about the others in flight.
            self.retire()
            facts = error.data if isinstance(error.data, dict) else {}
            return ConnectionLost(error.message, sent=facts.get("sent") is not False)
        with move_on_after(_SETTLE_SECONDS, shield=True):
            await self.done.wait()
        return ConnectionLost(self.failure or self._ending("it closed the connection"), sent=True)

    def _ending(self, otherwise: str) -> str:
        if isinstance(self.target, ToolProcess) and self.target.pid is not None:
            return self.target.ending()
        return otherwise


async def _all_tools(client: Client) -> list[mcp_types.Tool]:
    tools: list[mcp_types.Tool] = []
    cursor: str | None = None
    for _ in range(_PAGES):
        page = await client.list_tools(cursor=cursor)
        tools += page.tools
        cursor = page.next_cursor
        if cursor is None:
            break
    return tools


def _client_info() -> mcp_types.Implementation:
    from repertory import __version__

    return mcp_types.Implementation(name="repertory", version=__version__)


def _text(content: Sequence[mcp_types.ContentBlock]) -> str:
    return "\n".join(_block(block) for block in content)


def _block(block: mcp_types.ContentBlock) -> str:
    if isinstance(block, mcp_types.TextContent):
        return block.text
    if isinstance(block, mcp_types.EmbeddedResource):
        resource = block.resource
        if isinstance(resource, mcp_types.TextResourceContents):
            return resource.text
        return f"[{resource.mime_type or 'resource'} {resource.uri}]"
    if isinstance(block, mcp_types.ResourceLink):
        return f"[{block.name} {block.uri}]"
    return f"[{block.mime_type}, {len(block.data) * 3 // 4} bytes]"


def _told(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    words = scrub(str(error))
    if isinstance(error, OSError | MCPError) and words:
        return words
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


@contextmanager
def _current(traceparent: str) -> Iterator[None]:
    """Make a span of ours the one that the SDK's own injection finds."""
    ids = parse_traceparent(traceparent)
    if ids is None:
        yield
        return
    span = otel_trace.NonRecordingSpan(span_context(ids, "", remote=False))
    token = otel_context.attach(otel_trace.set_span_in_context(span))
    try:
        yield
    finally:
        otel_context.detach(token)
