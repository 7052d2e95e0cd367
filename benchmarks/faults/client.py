"""A client of A2A's HTTP+JSON, outside of the runtime: it sends until it is acknowledged.

A message keeps its id however often it is sent, so what is acknowledged is one task.
"""

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import anyio
from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector

HEADERS = {"A2A-Version": "1.0", "Content-Type": "application/a2a+json"}
FINAL = frozenset({400, 401, 403, 404, 409, 413, 500, 507})
"""The statuses that refuse a message, unless a caller takes them otherwise."""
WITH_ROOM = FINAL - {507}
"""Those of a sender who waits until a disk has room again."""
_PAUSE = 0.02
_AT_ONCE = 16
_LOOK_SECONDS, _LATEST = 5.0, 60.0


class RefusedError(Exception):
    """The runtime refused a message for good: a status, and its sentence."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(f"{status}: {words}")
        self.status = status
        self.words = words


@dataclass(slots=True)
class Client:
    """One sender; `url` may be that of a proxy before the runtime.

    tries: requests that got no answer. busy: answers that asked to come later. words: what
    each task said last, by its id.
    """

    url: str
    session: ClientSession
    prefix: str = ""
    tries: int = 0
    busy: int = 0
    words: dict[str, str] = field(default_factory=dict)

    def place(self, agent: str, rest: str) -> str:
        """The URL of a resource of an agent."""
        return f"{self.url}/agents/{agent}/rest/{rest}"

    async def send(
        self,
        agent: str,
        name: str,
        data: Mapping[str, Any],
        *,
        context: str = "",
        wait: bool = False,
        patience: float = 60.0,
        give_up: frozenset[int] = FINAL,
    ) -> dict[str, Any]:
        """Send a message until it is acknowledged; the task as it was answered.

        Raises:
            RefusedError: It was answered with a status of `give_up`.
            TimeoutError: Nobody acknowledged it within the patience.
        """
        message: dict[str, Any] = {
            "messageId": f"{self.prefix}{name}",
            "role": "ROLE_USER",
            "parts": [{"data": {"id": name, **data}}],
        }
        if context:
            message["contextId"] = context
        body = {"message": message, "configuration": {"returnImmediately": not wait}}
        until = monotonic() + patience
        last = "no answer"
        while True:
            try:
                async with self.session.post(
                    self.place(agent, "message:send"), json=body, headers=HEADERS
                ) as response:
                    told = await response.json(content_type=None)
                    if response.status == 200 and isinstance(told, dict) and "task" in told:
                        return dict(told["task"])
                    if response.status in give_up:
                        raise RefusedError(response.status, str(told)[:300])
                    self.busy += 1
                    last = f"{response.status} {str(told)[:300]}"
            except (ClientError, OSError, ValueError, TimeoutError) as error:
                self.tries += 1
                last = f"{type(error).__name__} {error}"
            if monotonic() > until:
                raise TimeoutError(
                    f"message {name} was not acknowledged in {patience:g} s; the last that was"
                    f" heard: {last}"
                )
            await anyio.sleep(_PAUSE)

    async def state(self, agent: str, task_id: str) -> str:
        """What became of a task; "" when there is none of that id."""
        while True:
            try:
                async with self.session.get(
                    self.place(agent, f"tasks/{task_id}?historyLength=0"), headers=HEADERS
                ) as response:
                    told = await response.json(content_type=None)
                    if response.status == 200:
                        parts = (told["status"].get("message") or {}).get("parts") or [{}]
                        self.words[task_id] = str(parts[0].get("text", ""))
                        return str(told["status"]["state"]).removeprefix("TASK_STATE_")
                    if response.status == 404:
                        return ""
            except (ClientError, OSError, ValueError, TimeoutError):
                self.tries += 1
            await anyio.sleep(_PAUSE)

    async def states(
        self, agent: str, ids: Mapping[str, str], ended: Iterable[str], *, patience: float
    ) -> dict[str, str]:
        """Every task's state, once all have ended, or the patience has with what has not.

        A task that could not be asked about in time is asked about again: on a busy machine
        its answer is late, and says nothing of the task.
        """
        found: dict[str, str] = {}
        over = frozenset(ended)
        until = monotonic() + patience
        left = dict(ids)
        limiter = anyio.CapacityLimiter(_AT_ONCE)

        async def look(name: str, task_id: str) -> None:
            async with limiter:
                with anyio.move_on_after(_LOOK_SECONDS):
                    found[name] = await self.state(agent, task_id)

        while left:
            async with anyio.create_task_group() as group:
                for name, task_id in left.items():
                    group.start_soon(look, name, task_id)
            left = {n: i for n, i in left.items() if found.get(n, "?") and found.get(n) not in over}
            late = monotonic() > until
            if late and (all(name in found for name in left) or monotonic() > until + _LATEST):
                break
            if left:
                await anyio.sleep(0.1)
        return {**dict.fromkeys(left, "UNREACHED"), **found}


@asynccontextmanager
async def open_client(
    url: str, *, patience: float = 10.0, prefix: str = ""
) -> AsyncIterator[Client]:
    """A client for the runtime at `url`; a request may take `patience` seconds."""
    async with ClientSession(
        timeout=ClientTimeout(total=patience), connector=TCPConnector(limit=0)
    ) as session:
        yield Client(url, session, prefix)
