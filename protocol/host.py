"""The face for any MCP host: skills as tools, tasks and cards as resources, instructions as prompts.

`Host` decides what a client of whichever revision gets: a task where it knows the
extension, otherwise the result itself, with questions on the way as its revision
asks them. What loses something is written down in docs/binding.md, section 14.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final, Literal, cast

import orjson
from mcp import MCPError
from mcp.server import Server
from mcp.server.caching import CacheHint
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.server.session import ServerSession
from mcp.shared.exceptions import NoBackChannelError
from mcp.shared.message import ServerMessageMetadata
from mcp.shared.subscriptions import (
    PromptsListChanged,
    ResourcesListChanged,
    ServerEvent,
    ToolsListChanged,
)
from mcp.types import (
    INVALID_PARAMS,
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    CallToolRequestParams,
    CallToolResult,
    EmptyResult,
    ListToolsResult,
    PaginatedRequestParams,
    Request,
    Result,
    SetLevelRequestParams,
    TextContent,
)
from mcp.types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import ConfigDict

from .answering import Asker, CardOf, Identify
from .envelope import VERSION_KEY, call_from_meta
from .errors import InvalidParamsError, RepertoryError
from .following import HOLD
from .host_parts import (
    answer_message,
    crash_of,
    declined,
    input_requests,
    result_of,
    supported,
    unanswered,
)
from .host_resources import HostPages
from .host_tasks import A2aTasks
from .host_tools import HostTool, skill_tools
from .lifecycle import is_interrupted, is_terminal
from .mcp_tasks import Listening, Tasks
from .mcp_tasks.backend import Context
from .messages import Message
from .metadata import SKILL_KEY
from .operations import (
    CancelTaskRequest,
    GetTaskRequest,
    SendMessageConfiguration,
    SendMessageRequest,
)
from .service import AgentService, Call
from .tasks import Task, TaskState

_MRTR_SECONDS: Final = 3600.0
_CHANGED: Final[Mapping[str, ServerEvent]] = {
    "tools": ToolsListChanged(),
    "prompts": PromptsListChanged(),
    "resources": ResourcesListChanged(),
}
_LISTED: Final = CacheHint(ttl_ms=60_000, scope="private")
_READ: Final = CacheHint(ttl_ms=0, scope="private")


class Host:
    """What one agent offers MCP hosts.

    tools: one for each skill of the card unless given. pages: resources and prompts
    beside the agent's own. keys: for the state that a client carries between two
    rounds, shared by replicas; without them only this process reads it.
    """

    def __init__(
        self,
        service: AgentService,
        card_of: CardOf,
        identify: Identify,
        *,
        tools: Sequence[HostTool] | None = None,
        pages: HostPages | None = None,
        keys: Sequence[bytes] = (),
    ) -> None:
        self._service = service
        self._card_of = card_of
        self._identify = identify
        self._tools = tools
        self._keys = keys
        self.pages = pages or HostPages()
        self.pages.offer(service, card_of, self.call_of)
        self._backend = A2aTasks(service, self)
        self.tasks = Tasks(self._backend, owner_of=self._owner_of)
        self.listening = Listening(self.tasks, watch=self._watch)
        self._wants_logs: set[str] = set()

    def install(self, server: Server[Any]) -> None:
        """Register every handler with the MCP SDK's server."""
        server.add_request_handler("tools/list", PaginatedRequestParams, self._list_tools)
        server.add_request_handler("tools/call", CallToolRequestParams, self._call_tool)
        server.add_request_handler("logging/setLevel", SetLevelRequestParams, self._set_level)
        server.get_tool_input_schema = self._input_schema
        self.pages.install(server)
        self.tasks.install(server)
        self.listening.install(server)
        for method in (
            "tools/list",
            "prompts/list",
            "resources/list",
            "resources/templates/list",
        ):
            server.cache_hints[method] = _LISTED
        server.cache_hints["resources/read"] = _READ
        security = (
            RequestStateSecurity(
                keys=list(self._keys), ttl=_MRTR_SECONDS, bind_principal=self._owner_of
            )
            if self._keys
            else RequestStateSecurity.ephemeral(ttl=_MRTR_SECONDS)
        )
        security.bind_principal = self._owner_of
        server.middleware.append(RequestStateBoundary(security, default_audience=server.name))

    async def announce(self, what: Literal["tools", "prompts", "resources"]) -> None:
        """Tell whoever listens that a list has changed."""
        await self.listening.bus.publish(_CHANGED[what])

    def tool(self, name: str) -> HostTool | None:
        """The tool of that name."""
        return next((each for each in self._all_tools() if each.name == name), None)

    def call_of(self, ctx: Context) -> Call:
        """Who calls, as proven; its trace travels along."""
        meta = {k: v for k, v in (ctx.meta or {}).items() if k in ("traceparent", "tracestate")}
        meta.pop(VERSION_KEY, None)
        return call_from_meta(meta, self._identify(cast(Asker, ctx)))

    def result(self, task: Task) -> CallToolResult:
        """The result of the tool call that began the task."""
        said = task.history[0].metadata if task.history else None
        tool = self.tool(str((said or {}).get(SKILL_KEY, "")))
        return result_of(task, shaped=tool is not None and tool.shaped)

    async def begin(
        self, ctx: Context, params: CallToolRequestParams, *, watched: bool = True
    ) -> Task | Mapping[str, Any]:
        """Begin the task of a tool call, or go on with that of an earlier round.

        What cannot be begun is a tool's result already. watched: whether somebody
        hears of the task's events; otherwise it may be told once it has settled.
        """
        tool = self.tool(params.name)
        assert tool is not None, "asked of known tools only"
        _require_capabilities(tool, ctx)
        call = self.call_of(ctx)
        try:
            if params.request_state is not None:
                return await self._further(ctx, params, call)
            tool.check(params.arguments or {})
            return await self._send(tool.message(params), call, wait=not watched)
        except RepertoryError as error:
            return _dump(_failed(error))

    async def interim(
        self, ctx: Context, task: Task, asked: Mapping[str, dict[str, Any]]
    ) -> Mapping[str, Any] | None:
        """The answer that asks a modern client; None when it can answer none of it."""
        can = supported(asked, _capabilities(ctx))
        if not can:
            return None
        state = orjson.dumps({"task": task.id, "asked": sorted(can)}).decode()
        return {"resultType": "input_required", "inputRequests": can, "requestState": state}

    # -- tools -----------------------------------------------------------------

    async def _list_tools(self, _: Context, __: PaginatedRequestParams) -> ListToolsResult:
        return ListToolsResult(tools=[tool.listed() for tool in self._all_tools()])

    async def _call_tool(self, ctx: Context, params: CallToolRequestParams) -> Any:
        if self.tool(params.name) is None:
            known = ", ".join(tool.name for tool in self._all_tools())
            return _failed(InvalidParamsError(f"no tool {params.name!r}; there are: {known}"))

        async def run(_: Context) -> Any:
            begun = await self.begin(ctx, params, watched=self._is_watched(ctx))
            if not isinstance(begun, Task):
                return begun
            return await self._to_an_answer(ctx, begun, dict(params.input_responses or {}))

        return await self.tasks.call(params, ctx, run)

    async def _to_an_answer(
        self, ctx: Context, task: Task, responses: dict[str, Any]
    ) -> Mapping[str, Any]:
        """Follow a task until it has a result, or asks what only a further round can answer."""
        call = self.call_of(ctx)
        seen = 0
        try:
            while True:
                task, seen = await self._settled(ctx, task, call, seen)
                if (crash := crash_of(task)) is not None:
                    raise MCPError(crash["code"], crash["message"])
                asked = input_requests(task)
                can = supported(asked, _capabilities(ctx))
                if not can:
                    return _dump(self.result(task))
                # Answers that came with the call are those of a client that carries no state.
                given = {key: dict(_plain(each)) for key, each in responses.items() if key in can}
                responses = {}
                if unanswered(can, given) and ctx.protocol_version in MODERN_PROTOCOL_VERSIONS:
                    interim = await self.interim(ctx, task, asked)
                    assert interim is not None
                    return interim
                if unanswered(can, given):
                    given = await _asked_back(ctx, can)
                    if unanswered(can, given):
                        return _dump(self.result(task))
                watched = self._is_watched(ctx)
                task = await self._answered(task, can, given, call, watched=watched)
        except RepertoryError as error:
            return _dump(_failed(error))

    async def _settled(self, ctx: Context, task: Task, call: Call, seen: int) -> tuple[Task, int]:
        """The task once it ends or waits; what it says on the way is progress."""
        if not self._is_watched(ctx) and _waits_or_ended(task):
            return task, seen
        while True:
            page = await self._service.read_events(task.id, seen, call, wait=HOLD)
            for numbered in page.events:
                seen = numbered.sequence
                update = numbered.event.status_update
                said = update.status.message if update is not None else None
                await ctx.session.report_progress(seen, None, said.text if said else None)
                if update is not None and said is not None:
                    await self._log(ctx, said.text)
            if seen >= page.last_sequence:
                task = await self._service.get_task(GetTaskRequest(id=task.id), call)
                if _waits_or_ended(task):
                    return task, seen

    async def _further(self, ctx: Context, params: CallToolRequestParams, call: Call) -> Task | Any:
        """Go on with the task of an earlier round, whose state the client carried back."""
        state = _state_of(params.request_state or "")
        task = await self._service.get_task(GetTaskRequest(id=state["task"]), call)
        asked = input_requests(task)
        can = supported(asked, _capabilities(ctx))
        given = {k: _plain(v) for k, v in (params.input_responses or {}).items() if k in can}
        if not can:
            return task
        if unanswered(can, given):
            return await self.interim(ctx, task, asked)
        return await self._answered(task, can, given, call)

    async def _answered(
        self,
        task: Task,
        asked: Mapping[str, Any],
        given: Mapping[str, Any],
        call: Call,
        *,
        watched: bool = True,
    ) -> Task:
        if declined(asked, given):
            return await self._service.cancel_task(CancelTaskRequest(id=task.id), call)
        return await self._send(answer_message(task, asked, given), call, wait=not watched)

    async def _send(self, message: Message, call: Call, *, wait: bool = False) -> Task | Any:
        wants = SendMessageConfiguration(return_immediately=not wait)
        response = await self._service.send_message(
            SendMessageRequest(message=message, configuration=wants), call
        )
        if response.task is not None:
            return response.task
        assert response.message is not None
        said = Task.parse(
            {
                "id": "none",
                "status": {
                    "state": TaskState.COMPLETED.value,
                    "message": response.message.wire(),
                },
            }
        )
        return _dump(result_of(said))

    def _is_watched(self, ctx: Context) -> bool:
        """Whether the client asked to hear how a call goes on."""
        if (ctx.meta or {}).get("progress_token") is not None:
            return True
        modern = ctx.protocol_version in MODERN_PROTOCOL_VERSIONS
        return not modern and _session_of(ctx) in self._wants_logs

    # -- what a client may want beside -------------------------------------------

    async def _set_level(self, ctx: Context, _: SetLevelRequestParams) -> EmptyResult:
        self._wants_logs.add(_session_of(ctx))
        return EmptyResult()

    async def _log(self, ctx: Context, text: str) -> None:
        """Tell a client of the handshake's era that asked for logs what the task says."""
        if ctx.protocol_version in MODERN_PROTOCOL_VERSIONS:
            return
        if _session_of(ctx) in self._wants_logs:
            await _notify(ctx, "notifications/message", {"level": "info", "data": text})

    def _watch(self, ctx: Context, uri: str) -> AsyncIterator[None] | None:
        return self.pages.watch(ctx, uri)

    def _owner_of(self, ctx: Context) -> str:
        return self._backend.owner(self._identify(cast(Asker, ctx)))

    def _input_schema(self, name: str) -> Mapping[str, Any] | None:
        tool = self.tool(name)
        return None if tool is None else tool.input_schema

    def _all_tools(self) -> Sequence[HostTool]:
        return skill_tools(self._card_of()) if self._tools is None else self._tools


def _waits_or_ended(task: Task) -> bool:
    return is_terminal(task.status.state) or is_interrupted(task.status.state)


class _Raw(Request[dict[str, Any] | None, str]):
    """A request to a client of the handshake's era, as an agent wrote it."""

    method: str
    params: dict[str, Any] | None = None


class _AnyResult(Result):
    model_config = ConfigDict(extra="allow")


async def _asked_back(ctx: Context, asked: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """Ask a client that keeps a connection, one request after the other."""
    session: ServerSession = ctx.session
    given: dict[str, Any] = {}
    for key, each in asked.items():
        request = cast(Any, _Raw(method=each["method"], params=each.get("params") or {}))
        try:
            answer = await session.send_request(
                request,
                _AnyResult,
                metadata=ServerMessageMetadata(related_request_id=ctx.request_id),
            )
        except (NoBackChannelError, MCPError):
            return given
        given[key] = answer.model_dump(mode="json", by_alias=True, exclude_none=True)
    return given


async def _notify(ctx: Context, method: str, params: dict[str, Any]) -> None:
    told = cast(Any, _Raw(method=method, params=params))
    await ctx.session.send_notification(told, related_request_id=ctx.request_id)


def _capabilities(ctx: Context) -> Mapping[str, Any]:
    found = ctx.session.client_capabilities
    return {} if found is None else found.model_dump(by_alias=True, exclude_none=True)


def _require_capabilities(tool: HostTool, ctx: Context) -> None:
    have = _capabilities(ctx)
    missing = {name: dict(each) for name, each in tool.requires.items() if name not in have}
    if missing:
        raise MCPError(
            MISSING_REQUIRED_CLIENT_CAPABILITY,
            f"the tool {tool.name!r} needs a client with {', '.join(missing)}",
            {"requiredCapabilities": missing},
        )


def _state_of(text: str) -> dict[str, Any]:
    try:
        state = orjson.loads(text)
    except orjson.JSONDecodeError:
        state = None
    if not isinstance(state, dict) or not isinstance(state.get("task"), str):
        raise MCPError(INVALID_PARAMS, "Invalid or expired requestState")
    return state


def _session_of(ctx: Context) -> str:
    headers: Mapping[str, str] = getattr(ctx.request, "headers", None) or {}
    return headers.get("mcp-session-id", "")


def _plain(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)
    return value if dump is None else dump(mode="json", by_alias=True, exclude_none=True)


def _failed(error: RepertoryError) -> CallToolResult:
    return CallToolResult(
        content=[TextContent(text=error.sentence)],
        structured_content={"reason": error.reason, "message": error.sentence},
        is_error=True,
    )


def _dump(result: CallToolResult) -> dict[str, Any]:
    return result.model_dump(mode="json", by_alias=True, exclude_none=True)
