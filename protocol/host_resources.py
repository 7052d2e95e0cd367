"""An agent's resources and prompts over MCP: its card, its tasks and artifacts, and what is added."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import anyio
import orjson
from anyio.abc import TaskGroup
from mcp import MCPError
from mcp.server import Server
from mcp.types import (
    INVALID_PARAMS,
    BlobResourceContents,
    CompleteRequestParams,
    CompleteResult,
    Completion,
    EmptyResult,
    GetPromptRequestParams,
    GetPromptResult,
    InputRequiredResult,
    ListPromptsResult,
    ListResourcesResult,
    ListResourceTemplatesResult,
    PaginatedRequestParams,
    Prompt,
    PromptReference,
    ReadResourceRequestParams,
    ReadResourceResult,
    Resource,
    ResourceTemplate,
    SubscribeRequestParams,
    TextResourceContents,
)

from .answering import CardOf
from .envelope import CARD_RESOURCE
from .errors import RepertoryError
from .following import follow
from .host_pages import HostPrompt, HostResource, HostTemplate, Text
from .mcp_tasks.backend import Context
from .operations import GetTaskRequest, ListTasksRequest
from .service import AgentService, Call
from .wire import to_base64

_TASK: Final = "a2a://tasks/{id}"
_ARTIFACT: Final = "a2a://tasks/{id}/artifacts/{artifact}"
_COMPLETIONS: Final = 100
_LISTED_TASKS: Final = 50
_MOST_TOLD: Final = 1024


class HostPages:
    """Resources and prompts of one agent; the agent's own come first."""

    def __init__(
        self,
        resources: Sequence[HostResource] = (),
        templates: Sequence[HostTemplate] = (),
        prompts: Sequence[HostPrompt] = (),
    ) -> None:
        self._resources = list(resources)
        self._templates = list(templates)
        self._prompts = list(prompts)
        self._group: TaskGroup | None = None
        self._told: dict[tuple[str, str], anyio.CancelScope] = {}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Tell of changes while the block runs."""
        async with anyio.create_task_group() as self._group:
            try:
                yield
            finally:
                group, self._group = self._group, None
                group.cancel_scope.cancel()

    def offer(
        self, service: AgentService, card_of: CardOf, call_of: Callable[[Context], Call]
    ) -> None:
        """Add the agent's card, tasks and artifacts."""
        self._service = service
        self._call_of = call_of

        async def card(_: Call) -> str:
            return orjson.dumps(card_of().wire()).decode()

        self._resources.insert(
            0,
            HostResource(
                uri=CARD_RESOURCE,
                name="agent-card",
                description="What this agent is, can do and where it is reached (A2A).",
                mime_type="application/json",
                read=card,
            ),
        )
        self._templates[:0] = (
            HostTemplate(
                uri_template=_TASK,
                name="task",
                description="A task of the caller, as it stands (A2A).",
                read=self._read_task,
                complete=self._complete_task,
            ),
            HostTemplate(
                uri_template=_ARTIFACT,
                name="artifact",
                description="An output of a task.",
                read=self._read_artifact,
                complete=self._complete_task,
            ),
        )

    def install(self, server: Server[Any]) -> None:
        """Register the handlers with the MCP SDK's server."""
        server.add_request_handler("resources/list", PaginatedRequestParams, self._list)
        server.add_request_handler(
            "resources/templates/list", PaginatedRequestParams, self._list_templates
        )
        server.add_request_handler("resources/read", ReadResourceRequestParams, self._read)
        server.add_request_handler("resources/subscribe", SubscribeRequestParams, self._subscribe)
        server.add_request_handler(
            "resources/unsubscribe", SubscribeRequestParams, self._unsubscribe
        )
        server.add_request_handler("completion/complete", CompleteRequestParams, self._complete)
        if self._prompts:
            server.add_request_handler("prompts/list", PaginatedRequestParams, self._list_prompts)
            server.add_request_handler("prompts/get", GetPromptRequestParams, self._get_prompt)

    def watch(self, ctx: Context, uri: str) -> AsyncIterator[None] | None:
        """The changes of a resource, one for each event of its task; None for what never changes."""
        for template in self._templates[:2]:
            if (variables := template.variables(uri)) is not None:
                return self._events(variables["id"], self._call_of(ctx))
        return None

    async def _events(self, task_id: str, call: Call) -> AsyncIterator[None]:
        async for _ in follow(self._service, task_id, call):
            yield

    # -- resources -----------------------------------------------------------------

    async def _list(self, ctx: Context, params: PaginatedRequestParams) -> ListResourcesResult:
        request = ListTasksRequest(page_size=_LISTED_TASKS, page_token=params.cursor or "")
        page = await _told(self._service.list_tasks(request, self._call_of(ctx)))
        tasks = [
            Resource(
                uri=f"a2a://tasks/{task.id}",
                name=f"task-{task.id}",
                title=f"Task {task.status.state.name.lower()}",
                mime_type="application/json",
            )
            for task in page.tasks
        ]
        fixed = [
            Resource(
                uri=each.uri,
                name=each.name,
                description=each.description or None,
                mime_type=each.mime_type,
            )
            for each in (self._resources if not params.cursor else ())
        ]
        return ListResourcesResult(
            resources=[*fixed, *tasks], next_cursor=page.next_page_token or None
        )

    async def _list_templates(
        self, _: Context, __: PaginatedRequestParams
    ) -> ListResourceTemplatesResult:
        templates = [
            ResourceTemplate(
                uri_template=each.uri_template,
                name=each.name,
                description=each.description or None,
                mime_type=each.mime_type,
            )
            for each in self._templates
        ]
        return ListResourceTemplatesResult(resource_templates=templates)

    async def _read(self, ctx: Context, params: ReadResourceRequestParams) -> ReadResourceResult:
        uri, call = str(params.uri), self._call_of(ctx)
        for resource in self._resources:
            if resource.uri == uri:
                return _contents(uri, resource.mime_type, await resource.read(call))
        for template in self._templates:
            if (variables := template.variables(uri)) is not None:
                text = await _told(template.read(variables, call))
                if text is not None:
                    return _contents(uri, template.mime_type, text)
        raise MCPError(INVALID_PARAMS, f"Resource not found: {uri}", {"uri": uri})

    async def _subscribe(self, ctx: Context, params: SubscribeRequestParams) -> EmptyResult:
        """Tell a client of the handshake's era of a resource's changes, on its own channel."""
        key, changes = (_session_of(ctx), str(params.uri)), self.watch(ctx, str(params.uri))
        if changes is not None and self._group is not None and key not in self._told:
            if len(self._told) >= _MOST_TOLD:
                raise MCPError(-32000, "too many resources are subscribed to here")
            self._told[key] = anyio.CancelScope()
            self._group.start_soon(self._tell, ctx, key, changes)
        return EmptyResult()

    async def _unsubscribe(self, ctx: Context, params: SubscribeRequestParams) -> EmptyResult:
        if (scope := self._told.pop((_session_of(ctx), str(params.uri)), None)) is not None:
            scope.cancel()
        return EmptyResult()

    async def _tell(self, ctx: Context, key: tuple[str, str], changes: AsyncIterator[None]) -> None:
        try:
            with self._told[key]:
                async for _ in changes:
                    await ctx.session.send_resource_updated(key[1])
        except (RepertoryError, MCPError, anyio.ClosedResourceError, anyio.BrokenResourceError):
            pass  # The task is nobody's to see any more, or its reader has gone.
        finally:
            self._told.pop(key, None)

    async def _read_task(self, variables: Mapping[str, str], call: Call) -> Text | None:
        task = await self._service.get_task(GetTaskRequest(id=variables["id"]), call)
        return orjson.dumps(task.wire()).decode()

    async def _read_artifact(self, variables: Mapping[str, str], call: Call) -> Text | None:
        task = await self._service.get_task(GetTaskRequest(id=variables["id"]), call)
        for artifact in task.artifacts:
            if artifact.artifact_id == variables["artifact"]:
                return orjson.dumps(artifact.wire()).decode()
        return None

    async def _complete_task(self, variable: str, text: str, call: Call) -> Sequence[str]:
        if variable != "id":
            return ()
        page = await self._service.list_tasks(ListTasksRequest(page_size=100), call)
        return [task.id for task in page.tasks if task.id.startswith(text)]

    # -- prompts and completion ---------------------------------------------------

    async def _list_prompts(self, _: Context, __: PaginatedRequestParams) -> ListPromptsResult:
        prompts = [
            Prompt(
                name=each.name,
                description=each.description or None,
                arguments=list(each.arguments) or None,
            )
            for each in self._prompts
        ]
        return ListPromptsResult(prompts=prompts)

    async def _get_prompt(
        self, _: Context, params: GetPromptRequestParams
    ) -> GetPromptResult | InputRequiredResult:
        prompt = next((each for each in self._prompts if each.name == params.name), None)
        if prompt is None:
            raise MCPError(INVALID_PARAMS, f"Unknown prompt: {params.name}")
        given = dict(params.arguments or {})
        missing = [
            each.name for each in prompt.arguments if each.required and each.name not in given
        ]
        if missing:
            raise MCPError(INVALID_PARAMS, f"the prompt needs {', '.join(missing)}")
        answers = {
            key: each.model_dump(mode="json", by_alias=True, exclude_none=True)
            for key, each in (params.input_responses or {}).items()
        }
        return await prompt.get(given, answers)

    async def _complete(self, ctx: Context, params: CompleteRequestParams) -> CompleteResult:
        variable, text = params.argument.name, params.argument.value
        named: HostPrompt | HostTemplate | None
        if isinstance(params.ref, PromptReference):
            name = params.ref.name
            named = next((each for each in self._prompts if each.name == name), None)
        else:
            uri = str(params.ref.uri)
            named = next((each for each in self._templates if each.uri_template == uri), None)
        if named is None:
            raise MCPError(INVALID_PARAMS, "there is nothing of that name to complete")
        found: Sequence[str] = ()
        if named.complete is not None:
            found = await _told(named.complete(variable, text, self._call_of(ctx)))
        values = list(found[:_COMPLETIONS])
        return CompleteResult(
            completion=Completion(
                values=values, total=len(found), has_more=len(found) > len(values)
            )
        )


async def _told(waiting: Any) -> Any:
    try:
        return await waiting
    except RepertoryError as error:
        raise MCPError(INVALID_PARAMS, error.sentence) from error


def _session_of(ctx: Context) -> str:
    headers: Mapping[str, str] = getattr(ctx.request, "headers", None) or {}
    return headers.get("mcp-session-id", "")


def _contents(uri: str, mime_type: str, text: Text) -> ReadResourceResult:
    if isinstance(text, bytes):
        blob = BlobResourceContents(uri=uri, mime_type=mime_type, blob=to_base64(text))
        return ReadResourceResult(contents=[blob])
    return ReadResourceResult(
        contents=[TextResourceContents(uri=uri, mime_type=mime_type, text=text)]
    )
