"""The client half: a tool call that becomes a task is followed to its result."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Literal

import anyio
from mcp import MCPError
from mcp.client import ClaimContext, ClientExtension, NotificationBinding, ResultClaim
from mcp.client.session import ClientSession
from mcp.types import INTERNAL_ERROR, CallToolResult, Request, RequestParams, Result

from .shapes import (
    CHANGED,
    TASKS,
    Acknowledged,
    CancelTask,
    CreateTaskResult,
    DetailedTask,
    GetTask,
    TaskChangedParams,
    TaskParams,
    UpdateParams,
    UpdateTask,
)

# Answers one input request, given its key and the request with `method` and `params`.
Answer = Callable[[str, Mapping[str, Any]], Awaitable[Mapping[str, Any]]]

_SHORTEST_POLL: Final = 0.02
_LONGEST_POLL: Final = 30.0
_CANCELLED: Final = -32800


class TasksClient(ClientExtension):
    """Follows tasks, so that `call_tool` returns a task's result as if there were none.

    answer: gives what a task asks for on its way; without it such a task is
    cancelled and the call fails. on_change: sees what `TaskUpdates` listens for.
    A call that is cancelled here cancels its task.
    """

    identifier = TASKS

    def __init__(
        self,
        answer: Answer | None = None,
        *,
        on_change: Callable[[TaskChangedParams], Awaitable[None]] | None = None,
    ) -> None:
        self._answer = answer
        self._on_change = on_change

    def claims(self) -> Sequence[ResultClaim[Any]]:
        return (ResultClaim(result_type="task", model=CreateTaskResult, resolve=self._to_its_end),)

    def notifications(self) -> Sequence[NotificationBinding[Any]]:
        if self._on_change is None:
            return ()
        return (
            NotificationBinding(
                method=CHANGED, params_type=TaskChangedParams, handler=self._on_change
            ),
        )

    async def _to_its_end(self, begun: CreateTaskResult, ctx: ClaimContext) -> CallToolResult:
        try:
            with anyio.fail_after(ctx.read_timeout_seconds):
                return await self._followed(begun, ctx.session)
        except BaseException:
            with anyio.move_on_after(2, shield=True):
                await cancel_task(ctx.session, begun.task_id)
            raise

    async def _followed(self, begun: CreateTaskResult, session: ClientSession) -> CallToolResult:
        pause = begun.poll_interval_ms
        sent: set[str] = set()
        while True:
            await anyio.sleep(
                min(_LONGEST_POLL, max(_SHORTEST_POLL, (500 if pause is None else pause) / 1000))
            )
            task = await get_task(session, begun.task_id)
            pause = task.poll_interval_ms
            if task.status == "completed":
                return CallToolResult.model_validate(task.result or {}, by_name=False)
            if task.status == "failed":
                error = task.error or {}
                raise MCPError(
                    error.get("code", INTERNAL_ERROR),
                    error.get("message", "the task failed"),
                    error.get("data"),
                )
            if task.status == "cancelled":
                raise MCPError(_CANCELLED, f"task {begun.task_id} was cancelled")
            asked = {k: v for k, v in (task.input_requests or {}).items() if k not in sent}
            if asked:
                await update_task(session, begun.task_id, await self._answers(asked))
                sent.update(asked)

    async def _answers(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        if self._answer is None:
            raise MCPError(INTERNAL_ERROR, f"the task asks for {', '.join(asked)}; nobody answers")
        return {key: dict(await self._answer(key, each)) for key, each in asked.items()}


async def get_task(session: ClientSession, task_id: str) -> DetailedTask:
    """The task as it stands."""
    request = GetTask(params=TaskParams(task_id=task_id))
    return await session.send_request(request, DetailedTask)


async def update_task(session: ClientSession, task_id: str, responses: Mapping[str, Any]) -> None:
    """Answer what a task waits for."""
    params = UpdateParams(task_id=task_id, input_responses=dict(responses))
    await session.send_request(UpdateTask(params=params), Acknowledged)


async def cancel_task(session: ClientSession, task_id: str) -> None:
    """Ask a task to end."""
    request = CancelTask(params=TaskParams(task_id=task_id))
    await session.send_request(request, Acknowledged)


class _ListenParams(RequestParams):
    notifications: dict[str, Any]


class _Listen(Request[_ListenParams, Literal["subscriptions/listen"]]):
    method: Literal["subscriptions/listen"] = "subscriptions/listen"
    params: _ListenParams


class TaskUpdates:
    """Listens for the changes of some tasks; `TasksClient(on_change=…)` sees them."""

    def __init__(self, session: ClientSession, task_ids: Sequence[str]) -> None:
        self._session = session
        self._task_ids = list(task_ids)

    async def listen(self) -> None:
        """Return when every task has ended; run it in a task of its own."""
        params = _ListenParams(notifications={"taskIds": self._task_ids})
        await self._session.send_request(_Listen(params=params), Result)
