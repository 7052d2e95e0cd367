"""One MCP server as the runtime uses it: dialed when needed, again after a death, and pinned.

A tool is pinned by its definition when the server is first dialed. A server that
comes back with another definition is not believed: agents and people decided on
the first one. How the connection lives is `tool_connection`.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

import mcp_types
from anyio import Lock, Semaphore, current_time, move_on_after, sleep
from anyio.abc import TaskGroup

from repertory.agents import ToolNotFoundError, ToolResult, ToolServerError, ToolSpec
from repertory.protocol import CALLER_KEY

from .errors import did_you_mean
from .tool_connection import Connection, ConnectionLost, Target

IDEMPOTENCY_KEY = "dev.repertory/idempotency-key"
ServerState = Literal["idle", "running", "dead", "closed"]

_DIALS = 3
_BACKOFF_SECONDS = 0.1
_BACKOFF_LIMIT_SECONDS = 5.0


class ToolServer(Protocol):
    """One MCP server as the runtime uses it; many calls at once, each its caller's own.

    Cancelling a call cancels that call alone, here and at the server.
    """

    @property
    def name(self) -> str: ...

    @property
    def state(self) -> ServerState:
        """Idle before its first use, dead between a death and the next call's new dial."""
        ...

    async def list_tools(self) -> Sequence[ToolSpec]:
        """What it offers, as `server.tool`, pinned when it was first dialed.

        Raises:
            ToolServerError: It could not be reached.
        """
        ...

    async def call(
        self,
        tool: str,
        arguments: Mapping[str, Any],
        *,
        idempotency_key: str = "",
        traceparent: str = "",
        call_meta: Mapping[str, Any] | None = None,
    ) -> ToolResult:
        """Call `tool` (without the server's name); a tool's own failure is a result.

        call_meta: further entries of the request's `_meta`.

        Raises:
            ToolNotFoundError: It offers no such tool, or the manifest hides it.
            ToolServerError: It died, could not be reached, was silent for too long,
                or has changed the tool. `facts['sent']` is False where the call
                cannot have had any effect.
        """
        ...

    async def aclose(self) -> None:
        """Hang up; a child process has ended when this returns."""
        ...


class McpToolServer:
    """A tool server behind the MCP SDK, dialed when first used and again after each death.

    dial: makes a new target for each connection. allow: the tools that may be
    seen, None for all. seconds: the patience for one call, waiting and dialing
    included. concurrency: calls in flight at once; further ones wait. tell_caller:
    let it know for whom a call is made.
    """

    def __init__(
        self,
        name: str,
        dial: Callable[[], Target],
        tasks: TaskGroup,
        *,
        allow: Sequence[str] | None = None,
        seconds: float = 60.0,
        concurrency: int = 8,
        tell_caller: bool = False,
    ) -> None:
        self._name = name
        self._tell_caller = tell_caller
        self._dial = dial
        self._tasks = tasks
        self._allow = allow
        self._seconds = seconds
        self._slots = Semaphore(concurrency)
        self._dialing = Lock()
        self._connection: Connection | None = None
        self._living: set[Connection] = set()
        self._pins: dict[str, mcp_types.Tool] | None = None
        self._failures = 0
        self._due = 0.0
        self._closed = False

    @property
    def name(self) -> str:
        return self._name

    @property
    def state(self) -> ServerState:
        if self._closed:
            return "closed"
        if self._connection is None:
            return "idle"
        return "running" if self._connection.usable else "dead"

    @property
    def pid(self) -> int | None:
        """The child process, while there is one."""
        return self._connection.pid if self._connection is not None else None

    async def list_tools(self) -> Sequence[ToolSpec]:
        if self._pins is None:
            with move_on_after(self._seconds) as patience:
                await self._connected()
            if patience.cancelled_caught:
                raise self._silent("list its tools", sent=False)
        assert self._pins is not None
        return [_spec(self._name, tool) for tool in self._pins.values()]

    async def call(
        self,
        tool: str,
        arguments: Mapping[str, Any],
        *,
        idempotency_key: str = "",
        traceparent: str = "",
        call_meta: Mapping[str, Any] | None = None,
    ) -> ToolResult:
        meta = dict(call_meta or {})
        if not self._tell_caller:
            meta.pop(CALLER_KEY, None)
        if idempotency_key:
            meta[IDEMPOTENCY_KEY] = idempotency_key
        if traceparent:
            meta["traceparent"] = traceparent
        sent = False
        with move_on_after(self._seconds) as patience:
            async with self._slots:
                connection = await self._connected()
                self._check(tool, connection)
                sent = True
                return await self._call(connection, tool, arguments, meta, traceparent)
        assert patience.cancelled_caught
        raise self._silent(f"answer {tool!r}", sent=sent)

    async def aclose(self) -> None:
        self._closed = True
        for connection in list(self._living):
            await connection.aclose()

    async def _call(
        self,
        connection: Connection,
        tool: str,
        arguments: Mapping[str, Any],
        meta: Mapping[str, Any],
        traceparent: str,
    ) -> ToolResult:
        try:
            result = await connection.call(tool, arguments, meta, traceparent)
        except ConnectionLost as lost:
            self._count_failure(connection)
            when = "in mid-call of" if lost.sent else "before it could be asked for"
            then = "it is closed" if self._closed else "the next call dials it again"
            raise ToolServerError(
                f"tool server {self._name!r} failed {when} {tool!r} ({lost.how}); {then}",
                server=self._name,
                tool=tool,
                how=lost.how,
                sent=lost.sent,
            ) from None
        self._failures = 0
        return result

    async def _connected(self) -> Connection:
        connection = self._connection
        if connection is not None and connection.usable and self._pins is not None:
            await connection.ready.wait()
            if connection.usable:
                return connection
        async with self._dialing:
            failure = ""
            for _ in range(_DIALS):
                connection = self._connection
                if connection is None or not connection.usable:
                    connection = await self._dialed_when_due()
                await connection.ready.wait()
                if connection.usable:
                    self._pin(connection)
                    return connection
                failure = connection.failure
                self._count_failure(connection)
                if connection.hopeless:
                    break
        raise ToolServerError(
            f"tool server {self._name!r} could not be reached ({failure}):"
            f" check 'tools.{self._name}' in the manifest",
            server=self._name,
            how=failure,
            sent=False,
        )

    async def _dialed_when_due(self) -> Connection:
        await sleep(max(0.0, self._due - current_time()))
        if self._closed:
            raise ToolServerError(
                f"tool server {self._name!r} is closed", server=self._name, sent=False
            )
        connection = self._connection = Connection(self._dial())
        self._living.add(connection)
        self._tasks.start_soon(self._own, connection)
        return connection

    async def _own(self, connection: Connection) -> None:
        try:
            await connection.own()
        finally:
            self._living.discard(connection)

    def _count_failure(self, connection: Connection) -> None:
        # Of a connection that fails under many calls only the first counts.
        if connection is not self._connection or connection.counted:
            return
        connection.counted = True
        self._failures += 1
        wait = _BACKOFF_SECONDS * 2 ** min(self._failures - 1, 16)
        self._due = current_time() + min(wait, _BACKOFF_LIMIT_SECONDS)

    def _pin(self, connection: Connection) -> None:
        if self._pins is None:
            self._pins = {
                name: tool
                for name, tool in connection.tools.items()
                if self._allow is None or name in self._allow
            }

    def _check(self, tool: str, connection: Connection) -> None:
        assert self._pins is not None
        pinned = self._pins.get(tool)
        if pinned is None:
            raise ToolNotFoundError(
                f"tool server {self._name!r} offers no {tool!r} here; {did_you_mean(tool, self._pins)}",
                name=f"{self._name}.{tool}",
            )
        offered = connection.tools.get(tool)
        changed = _changes(pinned, offered)
        if changed:
            raise ToolServerError(
                f"tool server {self._name!r} came back with another {tool!r}: {changed}; it is"
                " refused until the network is started again and the change has been read",
                server=self._name,
                tool=tool,
                changed=changed,
                sent=False,
            )

    def _silent(self, asked: str, *, sent: bool) -> ToolServerError:
        return ToolServerError(
            f"tool server {self._name!r} did not {asked} within {self._seconds:g} s;"
            f" raise 'tools.{self._name}.seconds' if it needs longer",
            server=self._name,
            sent=sent,
        )


def tool_digest(tool: mcp_types.Tool) -> str:
    """The SHA-256 of what a tool says of itself: name, description, schemas."""
    said = json.dumps(_definition(tool), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(said.encode()).hexdigest()


def _definition(tool: mcp_types.Tool) -> dict[str, Any]:
    return {
        "name": tool.name,
        "description": tool.description,
        "input schema": tool.input_schema,
        "output schema": tool.output_schema,
    }


def _changes(pinned: mcp_types.Tool, offered: mcp_types.Tool | None) -> str:
    if offered is None:
        return "it is no longer offered"
    if tool_digest(pinned) == tool_digest(offered):
        return ""
    before, after = _definition(pinned), _definition(offered)
    parts = [part for part in before if before[part] != after[part]]
    return f"its {' and '.join(parts)} changed"


def _spec(server: str, tool: mcp_types.Tool) -> ToolSpec:
    return ToolSpec(
        name=f"{server}.{tool.name}",
        description=tool.description or "",
        input_schema=tool.input_schema,
        output_schema=tool.output_schema,
    )
