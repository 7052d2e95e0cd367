"""Push notifications: where a task's events are sent, and the sending (A2A 1.0, 3.5 and 4.3).

`Webhooks` serves one agent. A configuration is stored before it is acknowledged,
with the number of the last event that was delivered, so that after a restart the
log is sent on from there: every event at least once and in order. What the
requests mean is `answering`'s; which URLs may be called is `outgoing`'s.
"""

import hmac
import logging
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from time import time
from typing import Final, Protocol

import anyio
import orjson
from anyio.abc import TaskGroup

from .a2a_03 import task_to_03
from .addresses import OutgoingRules
from .envelope import A2A_VERSION
from .errors import InvalidParamsError, LinkError, RepertoryError, TaskNotFoundError
from .following import Backoff, follow
from .lifecycle import is_terminal
from .messages import new_id
from .operations import (
    DeleteTaskPushNotificationConfigRequest,
    GetTaskPushNotificationConfigRequest,
    GetTaskRequest,
    ListTaskPushNotificationConfigsRequest,
    ListTaskPushNotificationConfigsResponse,
    NumberedEvent,
    TaskPushNotificationConfig,
)
from .outgoing import Outgoing, open_outgoing
from .service import AgentService, Call
from .tasks import Task

_PAGE: Final = 50
_MOST_A_TASK: Final = 20
_TRIES: Final = 8
_BACKOFF: Final = Backoff(first=0.25, longest=60.0)
# What a receiver answers that may be well a moment later.
_PASSING: Final = frozenset({408, 409, 425, 429, *range(500, 600)})
_GONE: Final = 410

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Webhook:
    """A configuration with its owner, the last event delivered, and the A2A that its owner speaks."""

    agent: str
    tenant: str
    principal: str
    config: TaskPushNotificationConfig
    sent: int = 0
    done: bool = False
    version: str = A2A_VERSION

    @property
    def key(self) -> tuple[str, str, str]:
        """What names it: its agent, its task and its own id."""
        return self.agent, self.config.task_id, self.config.id


class WebhookStore(Protocol):
    """Keeps webhooks; whatever it acknowledges is durable."""

    async def put(self, webhook: Webhook) -> None:
        """Keep a webhook, in the place of one with the same key."""
        ...

    async def of_task(self, agent: str, task_id: str) -> list[Webhook]:
        """The webhooks of a task, by id."""
        ...

    async def remove(self, agent: str, task_id: str, config_id: str) -> None:
        """Forget a webhook, whether or not there is one."""
        ...

    async def unfinished(self, agent: str) -> list[Webhook]:
        """The webhooks of an agent whose tasks' events are not all delivered, to be sent from here.

        Where several processes share a store, each webhook is one process's.
        """
        ...


class MemoryWebhookStore:
    """A `WebhookStore` that forgets when the process ends."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str, str], Webhook] = {}

    async def put(self, webhook: Webhook) -> None:
        self._kept[webhook.key] = webhook

    async def of_task(self, agent: str, task_id: str) -> list[Webhook]:
        found = [each for key, each in self._kept.items() if key[:2] == (agent, task_id)]
        return sorted(found, key=lambda each: each.config.id)

    async def remove(self, agent: str, task_id: str, config_id: str) -> None:
        self._kept.pop((agent, task_id, config_id), None)

    async def unfinished(self, agent: str) -> list[Webhook]:
        return [each for each in self._kept.values() if each.agent == agent and not each.done]


class Webhooks:
    """The webhooks of one agent's tasks; its `running()` surrounds its use.

    Whether a caller may see a task is decided before it is asked for here.
    rules: which URLs may be called. look_seconds: how often the store is asked for
    webhooks that another process left; None for at the start alone.
    """

    def __init__(
        self,
        agent: str,
        service: AgentService,
        store: WebhookStore,
        rules: OutgoingRules = OutgoingRules(),
        *,
        look_seconds: float | None = None,
    ) -> None:
        self._agent = agent
        self._service = service
        self._look_seconds = look_seconds
        self._given_up: set[tuple[str, str, str]] = set()
        self._store = store
        self._rules = rules
        self._outgoing: Outgoing | None = None
        self._group: TaskGroup | None = None
        self._senders: dict[tuple[str, str, str], anyio.CancelScope] = {}

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Send while the block runs, beginning with what an earlier life left unsent."""
        async with (
            open_outgoing(self._rules) as self._outgoing,
            anyio.create_task_group() as group,
        ):
            self._group = group
            await self._take_up()
            if self._look_seconds is not None:
                group.start_soon(self._keep_looking, self._look_seconds)
            try:
                yield
            finally:
                self._group = None
                group.cancel_scope.cancel()

    async def _take_up(self) -> None:
        for webhook in await self._store.unfinished(self._agent):
            if webhook.key not in self._senders and webhook.key not in self._given_up:
                self._begin(webhook)

    async def _keep_looking(self, seconds: float) -> None:
        while True:
            await anyio.sleep(seconds)
            try:
                await self._take_up()
            except RepertoryError as error:
                _log.warning("webhooks that others left cannot be read now: %s", error)

    async def check(self, config: TaskPushNotificationConfig) -> None:
        """Refuse a webhook that may not be called, before anything is begun for it.

        Raises:
            UrlRefusedError: The URL may not be called.
        """
        assert self._outgoing is not None, "webhooks are used while they run"
        try:
            await self._outgoing.check(config.url)
        except LinkError:
            # A name that cannot be resolved now may be later; it is checked then as well.
            _log.info("the host of a webhook cannot be resolved yet")

    async def create(
        self,
        config: TaskPushNotificationConfig,
        task: Task,
        call: Call,
        *,
        version: str = A2A_VERSION,
    ) -> TaskPushNotificationConfig:
        """Keep a configuration, durable before it returns, and send from the task's next event on.

        For a task that has just been accepted, that is its first.

        Raises:
            UrlRefusedError: The URL may not be called.
            InvalidParamsError: The task has its most webhooks already.
        """
        await self.check(config)
        kept = config.model_copy(update={"id": config.id or new_id(), "task_id": task.id})
        others = await self._store.of_task(self._agent, task.id)
        if len([each for each in others if each.config.id != kept.id]) >= _MOST_A_TASK:
            raise InvalidParamsError(f"a task has at most {_MOST_A_TASK} webhooks", task_id=task.id)
        ended = is_terminal(task.status.state)
        sent = 0
        if config.task_id:
            page = await self._service.read_events(task.id, 0, call, limit=1)
            sent = page.last_sequence
        webhook = Webhook(
            self._agent, call.tenant, call.principal, kept, sent, done=ended, version=version
        )
        await self._store.put(webhook)
        self._given_up.discard(webhook.key)
        self._stop(webhook.key)
        if not ended or not config.task_id:
            self._begin(webhook)
        return kept

    async def get(
        self, request: GetTaskPushNotificationConfigRequest
    ) -> TaskPushNotificationConfig:
        """One configuration.

        Raises:
            TaskNotFoundError: The task has no such configuration (A2A 1.0, 3.1.8).
        """
        for webhook in await self._store.of_task(self._agent, request.task_id):
            if webhook.config.id == request.id:
                return webhook.config
        raise TaskNotFoundError(
            f"task {request.task_id} has no push notification configuration {request.id!r}",
            task_id=request.task_id,
        )

    async def list(
        self, request: ListTaskPushNotificationConfigsRequest
    ) -> ListTaskPushNotificationConfigsResponse:
        """A task's configurations, by pages."""
        size = request.page_size or _PAGE
        if size < 0 or (request.page_token and not request.page_token.isdigit()):
            raise InvalidParamsError("pageSize is above 0, and pageToken one of an earlier page")
        start = int(request.page_token or 0)
        found = await self._store.of_task(self._agent, request.task_id)
        page = found[start : start + size]
        more = start + size < len(found)
        return ListTaskPushNotificationConfigsResponse(
            configs=tuple(each.config for each in page),
            next_page_token=str(start + size) if more else "",
        )

    async def delete(self, request: DeleteTaskPushNotificationConfigRequest) -> None:
        """Forget a configuration, and send there no more; deleting twice is deleting once."""
        await self._store.remove(self._agent, request.task_id, request.id)
        self._stop((self._agent, request.task_id, request.id))

    def _begin(self, webhook: Webhook) -> None:
        if self._group is not None:
            scope = self._senders[webhook.key] = anyio.CancelScope()
            self._group.start_soon(self._deliver, webhook, scope)

    def _stop(self, key: tuple[str, str, str]) -> None:
        if (scope := self._senders.pop(key, None)) is not None:
            scope.cancel()

    async def _deliver(self, webhook: Webhook, scope: anyio.CancelScope) -> None:
        """Send the task's events in order until it has ended or the receiver is given up."""
        call = Call(principal=webhook.principal, tenant=webhook.tenant)
        task_id = webhook.config.task_id
        with scope:
            try:
                async for numbered in follow(
                    self._service, task_id, call, after_sequence=webhook.sent
                ):
                    body = await self._body(webhook, numbered, call)
                    if not await self._sent(webhook, numbered.sequence, body):
                        # Kept as it is: a restart, or the same configuration again, tries anew.
                        self._given_up.add(webhook.key)
                        return
                    webhook = replace(webhook, sent=numbered.sequence)
                    await self._store.put(webhook)
                await self._store.put(replace(webhook, done=True))
            except RepertoryError as error:
                self._given_up.add(webhook.key)
                _log.warning("webhook of task %s is given up: %s", task_id, error)
            finally:
                if self._senders.get(webhook.key) is scope:
                    del self._senders[webhook.key]

    async def _body(self, webhook: Webhook, numbered: NumberedEvent, call: Call) -> bytes:
        if webhook.version == A2A_VERSION:
            return orjson.dumps(numbered.event.wire())
        task = await self._service.get_task(GetTaskRequest(id=webhook.config.task_id), call)
        return orjson.dumps(task_to_03(task))

    async def _sent(self, webhook: Webhook, sequence: int, body: bytes) -> bool:
        assert self._outgoing is not None
        config, status = webhook.config, 0
        for failures in range(1, _TRIES + 1):
            headers = push_headers(config, sequence, body, version=webhook.version)
            try:
                answer = await self._outgoing.request(
                    "POST", config.url, body=body, headers=headers
                )
            except LinkError:
                status = 0
            else:
                status = answer.status
                if 200 <= status < 300:
                    return True
                if status == _GONE:
                    await self._store.remove(*webhook.key)
                    return False
            if status and status not in _PASSING:
                break
            if failures < _TRIES:
                await anyio.sleep(_BACKOFF.pause(failures))
        _log.warning("webhook of task %s answers %s; given up", config.task_id, status or "nothing")
        return False


def push_headers(
    config: TaskPushNotificationConfig, sequence: int, body: bytes, *, version: str = A2A_VERSION
) -> Mapping[str, str]:
    """The headers of one notification.

    A2A's own: the authentication that was asked for, and the token. The rest is
    Standard Webhooks 1.0: an id by which a receiver knows a repetition, the time,
    and, where there is a token, an HMAC-SHA256 of id, time and body under it.
    """
    number, at = f"{config.task_id}.{config.id}.{sequence}", str(int(time()))
    headers = {
        "content-type": "application/a2a+json" if version == A2A_VERSION else "application/json",
        "a2a-version": version,
        "webhook-id": number,
        "webhook-timestamp": at,
    }
    if (known := config.authentication) is not None:
        headers["authorization"] = f"{known.scheme} {known.credentials}".strip()
    if config.token:
        headers["x-a2a-notification-token"] = config.token
        headers["webhook-signature"] = push_signature(config.token, number, at, body)
    return headers


def push_signature(token: str, number: str, at: str, body: bytes) -> str:
    """The signature of a notification: Standard Webhooks 1.0, scheme `v1`, keyed by the token."""
    signed = f"{number}.{at}.".encode() + body
    return "v1," + b64encode(hmac.new(token.encode(), signed, sha256).digest()).decode()
