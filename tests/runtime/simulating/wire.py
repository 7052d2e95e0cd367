"""A link in memory that loses, repeats and delays what goes over it."""

from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, TypeVar

import anyio

from repertory.protocol import (
    AgentCard,
    AgentService,
    Call,
    CancelTaskRequest,
    EventPage,
    GetTaskRequest,
    LinkError,
    ListTasksRequest,
    ListTasksResponse,
    SendMessageRequest,
    SendMessageResponse,
    Task,
    new_id,
)

from .process import Process

T = TypeVar("T")
Tell = Callable[[str], None]
_LOST = 0.12
_TWICE = 0.12
_PATIENCE = 0.5


class Wire:
    """The service of an agent in another process, over a bad network.

    As our links do, it sends a message again under the same id until it has an answer.
    renames: the bug of sending it under another id, for the test that the simulation finds it.
    """

    def __init__(
        self, target: Process, agent: str, dice: Random, tell: Tell, *, renames: bool = False
    ) -> None:
        self._target = target
        self._agent = agent
        self._dice = dice
        self._tell = tell
        self._renames = renames

    async def send_message(self, request: SendMessageRequest, call: Call) -> SendMessageResponse:
        while True:
            try:
                return await self._exchange(
                    f"send {request.message.text!r}",
                    lambda service, sent=request: service.send_message(sent, call),  # type: ignore[misc]  # this round's
                )
            except LinkError:
                if self._renames:
                    message = request.message.model_copy(update={"message_id": new_id()})
                    request = request.model_copy(update={"message": message})

    async def read_events(
        self, task_id: str, after_sequence: int, call: Call, *, wait: float = 0.0, limit: int = 256
    ) -> EventPage:
        return await self._exchange(
            f"read after {after_sequence}",
            lambda service: service.read_events(
                task_id, after_sequence, call, wait=wait, limit=limit
            ),
        )

    async def get_agent_card(self, call: Call) -> AgentCard:
        return await self._exchange("card", lambda service: service.get_agent_card(call))

    async def get_task(self, request: GetTaskRequest, call: Call) -> Task:
        return await self._exchange("get", lambda service: service.get_task(request, call))

    async def list_tasks(self, request: ListTasksRequest, call: Call) -> ListTasksResponse:
        return await self._exchange("list", lambda service: service.list_tasks(request, call))

    async def cancel_task(self, request: CancelTaskRequest, call: Call) -> Task:
        return await self._exchange("cancel", lambda service: service.cancel_task(request, call))

    async def _exchange(self, what: str, operation: Callable[[AgentService], Awaitable[T]]) -> T:
        what = f"{self._agent}: {what}"
        draws = [self._dice.random() for _ in range(5)]
        if draws[0] < _LOST:
            self._tell(f"lost {what}")
            await self._give_up(what)
        if draws[1] < _TWICE:
            self._tell(f"twice {what}")
            self._target.deliver(self._agent, operation, 0.3 * draws[2])
        answer: list[Any] = []
        answered = self._target.deliver(self._agent, operation, 0.02 * draws[3], answer)
        if answered is None:
            self._tell(f"nobody there for {what}")
            await self._give_up(what)
        else:
            # A held read answers when there is something to read, or its hold is over.
            await answered.wait()
        if not answer or draws[4] < _LOST:
            self._tell(f"no answer to {what}")
            await self._give_up(what)
        await anyio.sleep(0.02 * draws[4])
        (result,) = answer
        if isinstance(result, Exception):
            raise result
        return result  # type: ignore[no-any-return]  # the operation's own

    async def _give_up(self, what: str) -> None:
        await anyio.sleep(_PATIENCE)
        raise LinkError(f"no answer to {what}")
