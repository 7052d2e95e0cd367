"""The tools of a network: MCP servers that agents may use, each started when first needed.

A `ToolServer` (`tool_server`) is one server, whatever stands behind it: a child
process, a URL, a server object of this process. A `ToolBox` is what one agent sees of them. Which
calls an agent may make at a given moment is the policy's matter, and what becomes
of a call whose outcome a kill left unknown is the turn's.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from anyio import CancelScope, create_task_group, to_thread

from repertory.agents import ToolNotFoundError, ToolResult, ToolSpec

from .errors import did_you_mean, listed
from .identity import own_identity
from .tool_connection import Target
from .tool_http import HttpTarget
from .tool_pins import StoredPins
from .tool_process import ToolProcess, allowed_environment
from .tool_server import McpToolServer, ToolServer

if TYPE_CHECKING:
    from mcp.server import MCPServer

    from .manifest import ToolServer as ToolServerEntry


@asynccontextmanager
async def open_tool_server(
    name: str, config: "ToolServerEntry", folder: Path, pins: StoredPins | None = None
) -> AsyncIterator[McpToolServer]:
    """Open a server of the manifest; it is dialed at its first use, and gone after the block.

    folder: where a command runs, the manifest's own. A child sees PATH, HOME, LANG,
    TMPDIR and the variables that the manifest names, and no others. pins: what was
    approved of its tools, and by which command it was started before.
    """

    if pins is not None and config.command:
        await pins.command(name, config.command)
    place = f"tools.{name}.credentials"
    known = await to_thread.run_sync(
        partial(own_identity, config.credentials, config.url or "", place=place, folder=folder)
    )

    def dial() -> Target:
        if config.url is not None:
            return HttpTarget(config.url, known.tokens, known.tls)
        environment = allowed_environment(config.env)
        return ToolProcess(config.argv, cwd=folder, environment=environment)

    opened = _open(
        name,
        dial,
        allow=config.allow,
        seconds=config.seconds,
        concurrency=config.concurrency,
        tell_caller=config.tell_caller,
        pins=pins,
    )
    async with opened as server:
        yield server


@asynccontextmanager
async def open_local_tool_server(
    name: str,
    server: "MCPServer",
    *,
    allow: Sequence[str] | None = None,
    seconds: float = 60.0,
    concurrency: int = 8,
) -> AsyncIterator[McpToolServer]:
    """Open a server object of this process, as tests and embedding programs have them."""
    opened = _open(name, lambda: server, allow=allow, seconds=seconds, concurrency=concurrency)
    async with opened as local:
        yield local


@asynccontextmanager
async def _open(
    name: str, dial: Callable[[], Target], **settings: Any
) -> AsyncIterator[McpToolServer]:
    try:
        async with create_task_group() as tasks:
            server = McpToolServer(name, dial, tasks, **settings)
            try:
                yield server
            finally:
                with CancelScope(shield=True):
                    await server.aclose()
    except BaseExceptionGroup as group:
        # Owners raise nothing, so a single exception is the block's own.
        if len(group.exceptions) == 1:
            raise group.exceptions[0] from None
        raise


class ToolBox:
    """What one agent may use: tools by `server.tool`, from the servers it was given.

    allow: `server` for all of a server's tools or `server.tool` for one; None for
    everything.
    """

    def __init__(
        self, servers: Mapping[str, ToolServer], allow: Iterable[str] | None = None
    ) -> None:
        self._servers = servers
        self._allow = tuple(servers) if allow is None else tuple(allow)
        self._specs: dict[str, ToolSpec] | None = None

    @property
    def tools(self) -> Mapping[str, ToolSpec]:
        """The tools by name; empty until `load`."""
        return MappingProxyType(self._specs or {})

    async def load(self) -> Mapping[str, ToolSpec]:
        """Start the servers that are not running and read what they offer, once.

        Raises:
            ToolNotFoundError: The allow-list names a server or a tool that is not there.
            ToolServerError: A server could not be reached.
        """
        if self._specs is None:
            specs: dict[str, ToolSpec] = {}
            for name in self._allow:
                server_name, _, tool = name.partition(".")
                offered = {spec.name: spec for spec in await self._server(server_name).list_tools()}
                if not tool:
                    specs.update(offered)
                elif name in offered:
                    specs[name] = offered[name]
                else:
                    raise ToolNotFoundError(
                        f"tool server {server_name!r} offers no {tool!r};"
                        f" {did_you_mean(name, offered)}",
                        name=name,
                    )
            self._specs = dict(sorted(specs.items()))
        return self.tools

    async def call(
        self,
        name: str,
        arguments: Mapping[str, Any],
        *,
        idempotency_key: str = "",
        traceparent: str = "",
        call_meta: Mapping[str, Any] | None = None,
    ) -> ToolResult:
        """Call `server.tool`.

        Raises:
            ToolNotFoundError: This agent was given no such tool.
            ToolServerError: See `ToolServer.call`.
        """
        tools = await self.load()
        if name not in tools:
            raise ToolNotFoundError(
                f"no tool named {name!r}; given: {listed(tools)}. {did_you_mean(name, tools)}",
                name=name,
            )
        server, _, tool = name.partition(".")
        return await self._servers[server].call(
            tool,
            arguments,
            idempotency_key=idempotency_key,
            traceparent=traceparent,
            call_meta=call_meta,
        )

    def _server(self, name: str) -> ToolServer:
        server = self._servers.get(name)
        if server is None:
            raise ToolNotFoundError(
                f"no tool server named {name!r}; {did_you_mean(name, self._servers)}", name=name
            )
        return server
