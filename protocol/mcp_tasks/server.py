"""The server half on the wire: three methods, the tool call that becomes a task, and who may.

`Tasks` serves the SDK's low-level `Server`, `TasksExtension` its `MCPServer`.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from mcp import MCPError
from mcp.server import Server
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.context import CallNext, HandlerResult
from mcp.server.extension import Extension, MethodBinding
from mcp.shared.inbound import decode_header_value
from mcp.types import (
    HEADER_MISMATCH,
    INVALID_PARAMS,
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    CallToolRequestParams,
)
from mcp.types.version import MODERN_PROTOCOL_VERSIONS

from .backend import Context, CreatedTask, Owner, TaskBackend, TaskNotFoundError
from .shapes import CANCEL, GET, TASKS, UPDATE, TaskParams, UpdateParams

_Answer = TypeVar("_Answer")
OwnerOf = Callable[[Context], Owner]


def token_owner(_: Context) -> Owner:
    """Client and subject of the access token, "" where nothing authenticates."""
    token = get_access_token()
    return "" if token is None else f"{token.client_id}\n{token.subject or ''}"


def declared(ctx: Context) -> bool:
    """Whether the client of this request declared the extension."""
    capabilities = ctx.session.client_capabilities
    return bool(capabilities and capabilities.extensions and TASKS in capabilities.extensions)


def require_declared(ctx: Context) -> None:
    """Refuse a client that did not declare the extension, as SEP-2133 asks."""
    if not declared(ctx):
        raise MCPError(
            MISSING_REQUIRED_CLIENT_CAPABILITY,
            f"the client did not declare the extension {TASKS!r}",
            {"requiredCapabilities": {"extensions": {TASKS: {}}}},
        )


class Tasks:
    """The extension's methods over a backend, for the low-level server."""

    def __init__(self, backend: TaskBackend, *, owner_of: OwnerOf = token_owner) -> None:
        self.backend = backend
        self.owner_of = owner_of

    def install(self, server: Server[Any]) -> None:
        """Serve `tasks/get`, `tasks/update` and `tasks/cancel`, and advertise the extension."""
        server.extensions[TASKS] = {}
        for binding in self.methods():
            server.add_request_handler(binding.method, binding.params_type, binding.handler)

    def methods(self) -> Sequence[MethodBinding]:
        """The three methods, on the revisions of MCP that have extensions."""
        versions = frozenset(MODERN_PROTOCOL_VERSIONS)
        return (
            MethodBinding(GET, TaskParams, self._get, versions),
            MethodBinding(UPDATE, UpdateParams, self._update, versions),
            MethodBinding(CANCEL, TaskParams, self._cancel, versions),
        )

    async def call(
        self, params: CallToolRequestParams, ctx: Context, run: CallNext
    ) -> HandlerResult:
        """Answer `tools/call`: as a task where that may be, and with `run` otherwise."""
        if not self.backend.takes(params.name):
            return await run(ctx)
        if not declared(ctx):
            if self.backend.requires(params.name):
                require_declared(ctx)
            return await run(ctx)
        begun = await self.backend.begin(params, self.owner_of(ctx), ctx)
        return begun.view.created() if isinstance(begun, CreatedTask) else dict(begun)

    async def _get(self, ctx: Context, params: TaskParams) -> dict[str, Any]:
        self._check(ctx, params)
        view = await _found(self.backend.get(params.task_id, self.owner_of(ctx)))
        return view.detailed()

    async def _update(self, ctx: Context, params: UpdateParams) -> dict[str, Any]:
        self._check(ctx, params)
        owner = self.owner_of(ctx)
        await _found(self.backend.update(params.task_id, owner, params.input_responses))
        return {}

    async def _cancel(self, ctx: Context, params: TaskParams) -> dict[str, Any]:
        self._check(ctx, params)
        await _found(self.backend.cancel(params.task_id, self.owner_of(ctx)))
        return {}

    def _check(self, ctx: Context, params: TaskParams) -> None:
        if ctx.protocol_version not in MODERN_PROTOCOL_VERSIONS:
            raise MCPError(-32601, "Method not found", ctx.method)
        require_declared(ctx)
        headers: Mapping[str, str] | None = getattr(ctx.request, "headers", None)
        if headers is None:
            return
        # SEP-2663: over HTTP the task's id is mirrored, and the SDK checks its own methods only.
        if decode_header_value(headers.get("mcp-name")) != params.task_id:
            raise MCPError(HEADER_MISMATCH, "the Mcp-Name header is not the body's taskId")


class TasksExtension(Extension):
    """The extension for `MCPServer(extensions=[...])`."""

    identifier = TASKS

    def __init__(self, backend: TaskBackend, *, owner_of: OwnerOf = token_owner) -> None:
        self.tasks = Tasks(backend, owner_of=owner_of)

    def methods(self) -> Sequence[MethodBinding]:
        return self.tasks.methods()

    async def intercept_tool_call(
        self, params: CallToolRequestParams, ctx: Context, call_next: CallNext
    ) -> HandlerResult:
        return await self.tasks.call(params, ctx, call_next)


async def _found(waiting: Awaitable[_Answer]) -> _Answer:
    try:
        return await waiting
    except TaskNotFoundError as error:
        raise MCPError(INVALID_PARAMS, "Task not found") from error
