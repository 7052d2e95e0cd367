"""`subscriptions/listen` with tasks: the core's notifications, and `notifications/tasks` beside.

The SDK's own handler knows no extension's filter, so this one takes its place. A
stream tells of a change only that it happened and how things stand now; whoever
reads slowly sees the last of several, and never an old one after a new one.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing
from typing import Any, Final, cast

import anyio
from anyio.streams.memory import MemoryObjectSendStream
from mcp import MCPError
from mcp.server import Server
from mcp.server.subscriptions import InMemorySubscriptionBus, SubscriptionBus
from mcp.shared.subscriptions import (
    SUBSCRIPTION_ID_META_KEY,
    ServerEvent,
    event_matches,
    event_to_notification,
)
from mcp.types import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    Notification,
    ServerNotification,
    SubscriptionFilter,
    SubscriptionsListenRequestParams,
)

from .backend import Context, Owner, TaskNotFoundError
from .server import Tasks, require_declared
from .shapes import CHANGED

# Yields each time that the resource has changed; ends when it will not change any more.
Watch = Callable[[Context, str], AsyncIterator[None]]

_MOST_STREAMS: Final = 1024
_MOST_TASKS: Final = 256
_MOST_BUFFERED: Final = 1024
_FLAGS: Final = ("toolsListChanged", "promptsListChanged", "resourcesListChanged")


class _Told(Notification[dict[str, Any] | None, str]):
    """A notification whose method and parameters are decided where it is sent."""

    method: str
    params: dict[str, Any] | None = None


class Listening:
    """Serves `subscriptions/listen` for a server with tasks.

    bus: the core's events of this server. watch: how resources are watched whose
    changes do not come by the bus; None for those that it does not know.
    """

    def __init__(
        self,
        tasks: Tasks | None = None,
        *,
        bus: SubscriptionBus | None = None,
        watch: Callable[[Context, str], AsyncIterator[None] | None] | None = None,
    ) -> None:
        self.bus = bus or InMemorySubscriptionBus()
        self._tasks = tasks
        self._watch = watch
        self._open = 0

    def install(self, server: Server[Any]) -> None:
        """Take the place of the server's own handler."""
        server.add_request_handler(
            "subscriptions/listen", SubscriptionsListenRequestParams, self.serve
        )

    async def serve(self, ctx: Context, params: SubscriptionsListenRequestParams) -> dict[str, Any]:
        """Serve one stream until its client goes or nothing more can come."""
        if ctx.request_id is None:
            raise MCPError(INVALID_REQUEST, "subscriptions/listen needs a request id")
        if self._open >= _MOST_STREAMS:
            raise MCPError(-32000, "too many streams are open here")
        raw = (ctx.params or {}).get("notifications") or {}
        task_ids = await self._allowed(ctx, raw.get("taskIds"))
        honored: dict[str, Any] = {name: True for name in _FLAGS if raw.get(name) is True}
        uris = list(params.notifications.resource_subscriptions or ())
        if uris:
            honored["resourceSubscriptions"] = uris
        if task_ids:
            honored["taskIds"] = task_ids
        meta = {SUBSCRIPTION_ID_META_KEY: ctx.request_id}
        send, receive = anyio.create_memory_object_stream[_Told](_MOST_BUFFERED)
        unsubscribe = self.bus.subscribe(_deliver(send, params.notifications, uris, meta))
        self._open += 1
        try:
            await _tell(
                ctx,
                _Told(
                    method="notifications/subscriptions/acknowledged",
                    params={"notifications": honored, "_meta": meta},
                ),
            )
            async with anyio.create_task_group() as group:
                for task_id in task_ids:
                    group.start_soon(self._follow_task, ctx, task_id, send.clone(), meta)
                for uri in uris:
                    group.start_soon(self._follow_resource, ctx, uri, send.clone(), meta)
                if len(honored) == bool(task_ids):
                    # Nothing but these tasks can come, so the stream ends with the last of them.
                    send.close()
                async for told in receive:
                    await _tell(ctx, told)
                group.cancel_scope.cancel()
        finally:
            self._open -= 1
            unsubscribe()
            send.close()
            receive.close()
        return {"resultType": "complete", "_meta": meta}

    async def _allowed(self, ctx: Context, task_ids: Any) -> list[str]:
        """The tasks to tell of; each is the caller's own."""
        if not task_ids:
            return []
        require_declared(ctx)
        if (
            self._tasks is None
            or not isinstance(task_ids, list)
            or len(task_ids) > _MOST_TASKS
            or not all(isinstance(each, str) for each in task_ids)
        ):
            raise MCPError(INVALID_PARAMS, f"taskIds is a list of at most {_MOST_TASKS} ids")
        owner = self._tasks.owner_of(ctx)
        try:
            for task_id in task_ids:
                await self._tasks.backend.get(task_id, owner)
        except TaskNotFoundError as error:
            raise MCPError(INVALID_PARAMS, "Task not found") from error
        return list(dict.fromkeys(task_ids))

    async def _follow_task(
        self,
        ctx: Context,
        task_id: str,
        send: MemoryObjectSendStream[_Told],
        meta: Mapping[str, Any],
    ) -> None:
        assert self._tasks is not None
        owner: Owner = self._tasks.owner_of(ctx)
        with send:
            version = -1
            while True:
                view = await self._tasks.backend.changed(task_id, owner, version)
                version = view.version
                await send.send(_Told(method=CHANGED, params={**view.detailed(), "_meta": meta}))
                if view.ended:
                    return

    async def _follow_resource(
        self, ctx: Context, uri: str, send: MemoryObjectSendStream[_Told], meta: Mapping[str, Any]
    ) -> None:
        with send:
            changes = self._watch(ctx, uri) if self._watch is not None else None
            if changes is None:
                return
            async with aclosing(cast(Any, changes)) as seen:
                async for _ in seen:
                    params = {"uri": uri, "_meta": meta}
                    await send.send(_Told(method="notifications/resources/updated", params=params))


def _deliver(
    send: MemoryObjectSendStream[_Told],
    wanted: SubscriptionFilter,
    uris: list[str],
    meta: dict[str, Any],
) -> Callable[[ServerEvent], None]:
    known = frozenset(uris)

    def deliver(event: ServerEvent) -> None:
        if not event_matches(wanted, known, event):
            return
        shown = event_to_notification(event, meta).model_dump(
            by_alias=True, mode="json", exclude_none=True
        )
        try:
            send.send_nowait(_Told(method=shown["method"], params=shown.get("params")))
        except anyio.ClosedResourceError:
            pass  # The stream is going away.
        except anyio.WouldBlock:
            send.close()  # A client that does not read listens again, and looks.

    return deliver


async def _tell(ctx: Context, told: _Told) -> None:
    # The SDK's type names the core's notifications only; it sends any.
    notification = cast(ServerNotification, told)
    await ctx.session.send_notification(notification, related_request_id=ctx.request_id)
