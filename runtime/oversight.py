"""Agents watched by an agent: the live spans go to it, and its rulings stand before the policy.

What the others do (their ended spans) and declare (their plans) is gathered for a
moment and sent to the supervising agent as A2A messages, near or far. Each action
is put to it with everything that was gathered until then; `hold` asks a person, as
a rule of the policy would. Every ruling is a span of its own. The supervisor's own
work is neither watched nor put to itself.
"""

import logging
from collections import deque
from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from anyio import Event, Lock, move_on_after, sleep

from repertory.protocol import (
    Call,
    RepertoryError,
    SendMessageRequest,
    Task,
    user_message,
)

from .manifest_oversight import Oversight
from .policy import Action, Decision
from .record import PLAN_KEY

if TYPE_CHECKING:
    from .live_span import Span
    from .network import Network

logger = logging.getLogger(__name__)

_RULINGS = "rulings"
_LARGEST_BATCH = 256
# What waits beyond this is dropped, oldest first, and counted.
_QUEUE = 32_768
_REMEMBERED_TRACES = 1024


class Overseer:
    """Shows a network to its supervising agent; `opening` runs it and puts it to the policy."""

    def __init__(self, network: "Network", oversight: Oversight) -> None:
        self._network = network
        self._oversight = oversight
        self._spans: deque[Span] = deque(maxlen=_QUEUE)
        self._plans: deque[dict[str, Any]] = deque(maxlen=_QUEUE)
        self._own: deque[int] = deque(maxlen=_REMEMBERED_TRACES)
        self._sending = Lock()
        self._waiting = Event()
        self.dropped = 0

    @property
    def agent(self) -> str:
        """The name of the supervising agent."""
        return self._oversight.agent

    def ended(self, span: "Span") -> None:
        """Take a span that has just ended; never waits."""
        if span.trace_id in self._own or span.attributes.get("gen_ai.agent.name") == self.agent:
            return
        self.dropped += len(self._spans) == _QUEUE
        self._spans.append(span)
        if not self._waiting.is_set():
            self._waiting.set()

    async def run(self) -> None:
        """Send what is gathered until canceled."""
        while True:
            await self._waiting.wait()
            await sleep(self._oversight.linger)
            self._waiting = Event()
            while self._spans or self._plans:
                async with self._sending:
                    await self._send(None)

    async def watch(self) -> None:
        """Gather the plans that the others declare in their tasks, until canceled."""
        async for told in self._network.watch():
            update = told.event.status_update
            declared = (update.metadata or {}).get(PLAN_KEY) if update is not None else None
            if declared and told.agent != self.agent:
                self._plans.append(
                    {"agent": told.agent, "task": told.task_id, "steps": list(declared)}
                )
                self._waiting.set()

    async def validate(self, action: Action) -> Decision | None:
        """A validator of the policy: what the supervisor says of an action about to happen."""
        if action.agent == self.agent or action.kind == "pack":
            return None
        step = "execute_tool" if action.kind == "tool" else "SendMessage"
        asked = {
            "agent": action.agent,
            "task": action.task_id,
            "action": f"{step} {action.target}",
        }
        ruling: Mapping[str, Any] | None = None
        with move_on_after(self._oversight.patience):
            async with self._sending:
                ruling = await self._send(asked)
        rule = f"oversight by {self.agent}"
        if ruling is None:
            if self._oversight.unanswered == "allow":
                return None
            told = f"{self.agent} did not rule on it within {self._oversight.patience:g} s"
            return Decision(self._oversight.unanswered, told, rule)
        if ruling.get("verdict") == "hold":
            return Decision("ask", f"{self.agent} holds it: {ruling.get('reason', '')}", rule)
        return None

    async def _send(self, action: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        """Send one batch, with an action to rule on; the ruling on it, None without one."""
        spans = [self._spans.popleft() for _ in range(min(_LARGEST_BATCH, len(self._spans)))]
        plans = [self._plans.popleft() for _ in range(len(self._plans))]
        content: dict[str, Any] = {"spans": [self._row(s) for s in spans], "plans": plans}
        if action is not None:
            content["action"] = action
        with self._network.telemetry.start(
            f"oversee {self._network.name}",
            parent="",
            attributes={
                "gen_ai.operation.name": "oversee",
                "gen_ai.agent.name": self.agent,
                "repertory.oversight.spans": len(spans),
            },
        ) as span:
            self._own.append(span.trace_id)
            try:
                task = await self._ask(content, span.traceparent)
            except RepertoryError as error:
                span.fail(error)
                logger.warning("%s did not take what it was shown: %s", self.agent, error)
                return None
            answer = _answer_of(task)
            for ruling in _listed(answer.get(_RULINGS)):
                if ruling.get("verdict") != "allow":
                    span.event("ruling", _facts(ruling))
            found = answer.get("action")
            if not isinstance(found, Mapping):
                return None
            span.event("ruling", {**_facts(found), "action": str((action or {}).get("action"))})
            span.set("repertory.oversight.verdict", str(found.get("verdict", "")))
            return found

    async def _ask(self, content: Mapping[str, Any], traceparent: str) -> Task | None:
        call = Call(
            principal=f"agent:{self._network.full_name('oversight')}", traceparent=traceparent
        )
        request = SendMessageRequest(message=user_message(content))
        response = await self._network.service(self.agent).send_message(request, call)
        return response.task

    def _row(self, span: "Span") -> dict[str, Any]:
        row = span.row()
        agent = self._network.agent_of(row.task_id)
        if not agent and "a2a.method.name" not in row.attributes:
            agent = str(row.attributes.get("gen_ai.agent.name", ""))
        facts = {field.name: getattr(row, field.name) for field in fields(row)}
        return {**facts, "agent": "" if agent == self.agent else agent}


def _answer_of(task: Task | None) -> Mapping[str, Any]:
    for artifact in task.artifacts if task is not None else ():
        for part in artifact.parts:
            if artifact.name == _RULINGS and isinstance(part.data, Mapping):
                return part.data
    return {}


def _listed(value: Any) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def _facts(ruling: Mapping[str, Any]) -> dict[str, Any]:
    facts = {
        key: ruling.get(key) for key in ("agent", "verdict", "measure", "value", "p", "reason")
    }
    usual = ruling.get("usual")
    if isinstance(usual, list):
        facts["usual"] = [float(v) for v in usual]
    return {key: value for key, value in facts.items() if value is not None}
