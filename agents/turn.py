"""What an agent may do while it answers: the port `Turn`, implemented by the runtime.

Every effect of an agent goes through its turn, and that is where each one is
journaled, traced, charged to the call's budget and put to the network's policy.
After a restart a turn is replayed from its beginning: what had finished comes
back from the journal without being done or paid for again. Handlers are
therefore plain code, with one rule: between two effects, the same inputs lead
to the same next effect (no clock, no random, no global state).
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from repertory.protocol import AgentCard, Artifact, Message, Task
from repertory.xp_store import CheckSpec, Hit, Verdict

from .models import ChatRequest, ChatResult, LabelScores, ScoreRequest


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as its MCP server describes it; `name` is `server.tool`."""

    name: str
    description: str
    input_schema: Mapping[str, Any]
    output_schema: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool answered: `content` is its text, `structured` its structured content."""

    content: str
    structured: Any = None
    is_error: bool = False


@dataclass(frozen=True, slots=True)
class Question:
    """What a person is asked: the words, and the answers that may be given.

    options: the words that may be answered, empty for free text.
    context: facts the person needs to decide, shown beside the question.
    """

    text: str
    options: tuple[str, ...] = ()
    context: Mapping[str, Any] = field(default_factory=dict)


class Turn(Protocol):
    """One agent's work on one task, from its first message to its terminal state."""

    @property
    def agent(self) -> str:
        """The name of the agent that answers."""
        ...

    @property
    def task_id(self) -> str: ...

    @property
    def context_id(self) -> str: ...

    @property
    def message(self) -> Message:
        """The message that began the task."""
        ...

    @property
    def history(self) -> Sequence[Message]:
        """Earlier messages of the context, oldest first, within the memory's token bound."""
        ...

    @property
    def peers(self) -> Mapping[str, AgentCard]:
        """The agents that the manifest lets this one ask, by name."""
        ...

    @property
    def tools(self) -> Mapping[str, ToolSpec]:
        """The tools that the manifest gives this agent, by `server.tool`."""
        ...

    async def chat(self, request: ChatRequest) -> ChatResult:
        """Ask the agent's model.

        Raises:
            ModelError: The model did not answer within the deadline, or refused.
            TierError: The request's duty is above the model's tier.
            BudgetExceededError: Nothing is left to spend.
        """
        ...

    async def score(self, request: ScoreRequest) -> LabelScores:
        """Score labels for a text by few-shot raw completion; compare, do not read absolutes."""
        ...

    async def call_tool(self, name: str, arguments: Mapping[str, Any]) -> ToolResult:
        """Call `server.tool` once, whatever happens to this process meanwhile.

        Raises:
            PolicyDeniedError: The network's policy forbids it, with its reason.
            ToolNotFoundError: This agent was given no such tool.
            ToolServerError: The server died or could not be reached.
            OutcomeUnknownError: A kill left the outcome unknown and the manifest says fail.
        """
        ...

    async def ask(self, peer: str, content: str | Message | Mapping[str, Any]) -> Task:
        """Send `content` to `peer` and wait for its task to end; a mapping travels as a data part.

        Raises:
            AgentNotFoundError: No agent named `peer` may be asked from here.
            CallCycleError: `peer` is already waiting for this agent.
            PolicyDeniedError, DeadlineExceededError, BudgetExceededError.
        """
        ...

    async def tell(self, peer: str, content: str | Message | Mapping[str, Any]) -> str:
        """Send `content` to `peer` and return the id of its task, without waiting for it."""
        ...

    async def ask_person(self, question: Question) -> Message:
        """Put the task into INPUT_REQUIRED and wait for a person's message, also over restarts."""
        ...

    async def recall(
        self, query: str, *, family: str | None = None, limit: int = 4
    ) -> Sequence[Hit]:
        """Packs of the store that fit `query`, with their reasons; may be empty.

        It is always empty for a task that the manifest's `holdout` keeps without packs.
        """
        ...

    async def use(self, *hits: Hit) -> None:
        """Say which of the recalled packs this work is based on; without a word, all of them are."""
        ...

    async def check(
        self, spec: CheckSpec, subject: Any, *, judges: Literal["result", "input"] = "result"
    ) -> Verdict:
        """Run an executable check on `subject`; the verdict joins the task's pack.

        judges: a verdict on the agent's own `result` moves its pack's trust; one on
        the `input` it was given is a finding, and a step like any other.
        """
        ...

    def phase(self, name: Literal["plan"]) -> AbstractAsyncContextManager[None]:
        """Mark the effects of a block as one phase of the work; it gets a span of its own."""
        ...

    async def declare(self, steps: Sequence[str]) -> None:
        """Say what is going to be done: the tools and peers to be used, in order.

        What is done is held against it by whoever watches (`oversight`, the analyst);
        it binds nothing by itself. A later declaration takes the place of an earlier one.
        """
        ...

    async def note(self, why: str, *, about: str = "") -> None:
        """Record why the next step is taken; it becomes a claim in the pack's WHY.

        about: the tool or peer of that step, where several steps may be under
        way at once.
        """
        ...

    async def report(self, text: str) -> None:
        """Say how the work goes: a WORKING status with `text`, seen by every subscriber."""
        ...

    async def add_artifact(self, artifact: Artifact) -> None:
        """Give an output; it is durable and seen by every subscriber when this returns."""
        ...

    async def complete(self, message: Message | str | None = None) -> None:
        """End the task as COMPLETED. A handler that returns without an end completes too."""
        ...

    async def fail(self, reason: str) -> None:
        """End the task as FAILED, with a reason a person can act on."""
        ...

    async def reject(self, reason: str) -> None:
        """End the task as REJECTED: the agent will not do it."""
        ...
