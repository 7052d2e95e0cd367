"""The port every agent is reached through, near or far: A2A's operations on one event log.

A `AgentService` is what a runtime offers for each of its agents and what a link
gives a caller, so local and remote are one path. The log is the truth: streaming
is a loop over `read_events`, and whatever a transport pushes is a hint to read.
Nothing here hosts, stores or sends; see `links` and `binding` for the wires.
"""

from dataclasses import dataclass, replace
from time import time
from typing import Protocol, runtime_checkable

from .cards import AgentCard
from .identity import DEFAULT_TENANT, EVERYTHING, LOCAL_PRINCIPAL, Capabilities
from .operations import (
    CancelTaskRequest,
    EventPage,
    GetTaskRequest,
    ListTasksRequest,
    ListTasksResponse,
    SendMessageRequest,
    SendMessageResponse,
)
from .tasks import Task


@dataclass(frozen=True, slots=True)
class Budget:
    """What a call may still spend; None means no limit of its own.

    tokens: model tokens, in and out. calls: model and tool calls. usd: money.
    """

    tokens: int | None = None
    calls: int | None = None
    usd: float | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """Who is calling, how long it will wait, what it may spend and through whom it came.

    deadline: seconds since the epoch on this machine's clock; it travels as
    seconds left, so the clocks of two machines need not agree. chain: the agents
    that are waiting for this call, outermost first, as `network/agent`.
    traceparent: W3C Trace Context of the caller's span, "" for none. capabilities:
    what it may cause, which is what each of its chain may.
    """

    principal: str = LOCAL_PRINCIPAL
    tenant: str = DEFAULT_TENANT
    deadline: float | None = None
    budget: Budget = Budget()
    chain: tuple[str, ...] = ()
    traceparent: str = ""
    tracestate: str = ""
    capabilities: Capabilities = EVERYTHING

    def seconds_left(self) -> float | None:
        """Seconds until the deadline, never negative; None when there is none."""
        return None if self.deadline is None else max(0.0, self.deadline - time())

    def within(self, seconds: float | None) -> "Call":
        """The same call with a deadline at most `seconds` from now."""
        if seconds is None:
            return self
        until = time() + seconds
        return replace(self, deadline=until if self.deadline is None else min(until, self.deadline))


@runtime_checkable
class AgentService(Protocol):
    """A2A 1.0's operations (specification, section 3), transport-neutral.

    Every operation is scoped to the call's tenant and principal before anything
    is looked up: a foreign task answers exactly as an absent one does.
    """

    async def get_agent_card(self, call: Call) -> AgentCard:
        """The agent's card, extended for this caller where it is."""
        ...

    async def send_message(self, request: SendMessageRequest, call: Call) -> SendMessageResponse:
        """Accept a message; durable before it returns, once per (principal, messageId).

        Unless `configuration.return_immediately`, waits until the task ends or
        is interrupted, but may answer earlier with the task as it stands when
        the transport's hold time passes; callers read on with `read_events`.
        """
        ...

    async def get_task(self, request: GetTaskRequest, call: Call) -> Task:
        """The task as its log says now."""
        ...

    async def list_tasks(self, request: ListTasksRequest, call: Call) -> ListTasksResponse:
        """The caller's tasks, newest status first, by pages."""
        ...

    async def cancel_task(self, request: CancelTaskRequest, call: Call) -> Task:
        """Ask a task to end; answers with the task after the request was journaled."""
        ...

    async def read_events(
        self, task_id: str, after_sequence: int, call: Call, *, wait: float = 0.0, limit: int = 256
    ) -> EventPage:
        """Events with a sequence above `after_sequence`, in order and without gaps.

        With none to give it waits up to `wait` seconds for one; a page with
        `ended` true is the task's last.
        """
        ...
