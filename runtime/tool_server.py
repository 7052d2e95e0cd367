"""One MCP server as the runtime uses it: dialed when needed, again after a death, and pinned.

A tool is pinned by its definition (`tool_pins`). A server that comes with another
one is not believed: agents and people decided on the first. How the connection
lives is `tool_connection`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol

import mcp_types
from anyio import Lock, Semaphore, current_time, move_on_after, sleep
from anyio.abc import TaskGroup

from repertory.agents import ToolNotFoundError, ToolResult, ToolServerError, ToolSpec
from repertory.protocol import CALLER_KEY

from .errors import did_you_mean
from .tool_connection import Connection, ConnectionLost, Target
from .tool_pins import MemoryPins, Pins, changed_parts

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

    async def hang_up(self) -> None:
        """End the connection and its child process; the next call dials anew."""
        ...

    async def aclose(self) -> None:
        """Hang up for good; a child process has ended when this returns."""
        ...


class McpToolServer:
    """A tool server behind the MCP SDK, dialed when first used and again after each death.

    dial: makes a new target for each connection. allow: the tools that may be
    seen, None for all. seconds: the patience for one call, waiting and dialing
    included. concurrency: calls in flight at once; further ones wait. tell_caller:
    let it know for whom a call is made. pins: what was approved of its tools;
    without any, what they are when it is first dialed.
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
        pins: Pins | None = None,
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
        self._store = pins or MemoryPins()
        self._pins: Mapping[str, Mapping[str, Any]] | None = None
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
        return [_spec(self._name, definition) for definition in self._pins.values()]

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
                await self._check(tool, connection)
                sent = True
                return await self._call(connection, tool, arguments, meta, traceparent)
        assert patience.cancelled_caught
        raise self._silent(f"answer {tool!r}", sent=sent)

    async def hang_up(self) -> None:
        for connection in list(self._living):
            await connection.aclose()

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
                    if self._pins is None:
                        self._pins = await self._approved(connection)
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

    async def _approved(self, connection: Connection) -> Mapping[str, Mapping[str, Any]]:
        """What was approved of the tools that are offered and may be seen."""
        offered = {
            name: definition_of(tool)
            for name, tool in connection.tools.items()
            if self._allow is None or name in self._allow
        }
        return await self._store.approved(self._name, offered)

    async def _check(self, tool: str, connection: Connection) -> None:
        assert self._pins is not None
        pinned = self._pins.get(tool)
        if pinned is None:
            raise ToolNotFoundError(
                f"tool server {self._name!r} offers no {tool!r} here; {did_you_mean(tool, self._pins)}",
                name=f"{self._name}.{tool}",
            )
        changed = _changes(pinned, connection.tools.get(tool))
        if changed:
            # A person may have approved it since.
            self._pins = {**self._pins, **await self._approved(connection)}
            changed = _changes(self._pins[tool], connection.tools.get(tool))
        if changed:
            raise ToolServerError(
                f"tool server {self._name!r} came with another {tool!r}: {changed}; it is refused"
                f" until a person approves it: repertory tools approve {self._name}.{tool}",
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


def _changes(pinned: Mapping[str, Any], offered: mcp_types.Tool | None) -> str:
    if offered is None:
        return "it is no longer offered"
    return changed_parts(pinned, definition_of(offered))


def definition_of(tool: mcp_types.Tool) -> dict[str, Any]:
    """What a tool says of itself, as it is pinned."""
    return {
        "name": tool.name,
        "description": tool.description,
        "input schema": tool.input_schema,
        "output schema": tool.output_schema,
    }


def _spec(server: str, definition: Mapping[str, Any]) -> ToolSpec:
    return ToolSpec(
        name=f"{server}.{definition['name']}",
        description=definition["description"] or "",
        input_schema=definition["input schema"],
        output_schema=definition["output schema"],
    )
