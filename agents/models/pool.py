"""One model behind several servers: the least busy one is asked, and broken ones are left alone."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import anyio

from repertory.agents.errors import ModelUnavailableError

from .breaker import BreakerState
from .openai import OpenAIModel
from .ports import (
    NO_CONTEXT,
    ChatRequest,
    ChatResult,
    CompletionRequest,
    LabelScores,
    ModelContext,
    ModelHealth,
    ModelInfo,
    ScoreRequest,
)
from .server_use import ServerUse

_R = TypeVar("_R")
_CHECK_SECONDS = 5.0


@dataclass(eq=False, slots=True)
class _Member:
    model: OpenAIModel
    healthy: bool = True


class ModelPool:
    """Ask the server with the least outstanding questions, each behind its own circuit breaker.

    A question that one server failed is asked of the next, each at most once.
    hedge: seconds after which a question is asked of a second server too; the first
    answer counts, and the other connection is closed. None, the default, for never:
    a hedged question may be computed twice.
    """

    def __init__(self, members: Sequence[OpenAIModel], *, hedge: float | None = None) -> None:
        self._members = [_Member(model) for model in members]
        self._hedge = hedge

    @property
    def info(self) -> ModelInfo:
        """What is known of the first server that was asked, since all serve the same model."""
        infos = [member.model.info for member in self._members]
        return next((info for info in infos if info.context_length is not None), infos[0])

    @property
    def members(self) -> tuple[OpenAIModel, ...]:
        """The servers, in the order in which they were named."""
        return tuple(member.model for member in self._members)

    @property
    def use(self) -> tuple[ServerUse, ...]:
        """What this pool asks of each server, in their order."""
        return tuple(use for member in self._members for use in member.model.use)

    @property
    def healthy(self) -> tuple[bool, ...]:
        """Which servers were well when they were last looked at, in their order."""
        return tuple(member.healthy for member in self._members)

    async def chat(self, request: ChatRequest, context: ModelContext = NO_CONTEXT) -> ChatResult:
        """Go on with a conversation."""
        return await self._ask(partial(OpenAIModel.chat, request=request, context=context))

    async def complete(
        self, request: CompletionRequest, context: ModelContext = NO_CONTEXT
    ) -> ChatResult:
        return await self._ask(partial(OpenAIModel.complete, request=request, context=context))

    async def score(self, request: ScoreRequest, context: ModelContext = NO_CONTEXT) -> LabelScores:
        return await self._ask(partial(OpenAIModel.score, request=request, context=context))

    async def probe(self) -> ModelHealth:
        """Ask every server; the model answers while one of them does, and the others are named."""
        found: dict[_Member, ModelHealth] = {}

        async def ask(member: _Member) -> None:
            found[member] = await member.model.probe()
            member.healthy = found[member].answers

        async with anyio.create_task_group() as tasks:
            for member in self._members:
                tasks.start_soon(ask, member)
        ordered = [found[member] for member in self._members]
        well = [health for health in ordered if health.answers]
        detail = "; ".join(health.detail for health in ordered if not health.answers)
        if not well:
            return ModelHealth(False, detail=detail)
        features = frozenset.intersection(*(health.features for health in well))
        return ModelHealth(True, well[0].version, features, detail)

    async def watch(self) -> None:
        """See every few seconds which servers are healthy, until cancelled; the others come last."""
        while True:
            async with anyio.create_task_group() as tasks:
                for member in self._members:
                    tasks.start_soon(self._check, member)
            await anyio.sleep(_CHECK_SECONDS)

    async def aclose(self) -> None:
        """Close all connections."""
        for member in self._members:
            await member.model.aclose()

    async def _check(self, member: _Member) -> None:
        member.healthy = await member.model.is_healthy()

    async def _ask(self, ask: Callable[[OpenAIModel], Awaitable[_R]]) -> _R:
        failures: dict[_Member, ModelUnavailableError] = {}
        while (member := self._next(failures)) is not None:
            try:
                if self._hedge is None:
                    return await ask(member.model)
                return await self._ask_hedged(member, ask, self._hedge, failures)
            except ModelUnavailableError as error:
                failures[member] = error
        if len(self._members) == 1:
            raise failures[self._members[0]]
        told = "; ".join(error.sentence for error in failures.values())
        waits = [
            wait for e in failures.values() if (wait := e.facts.get("retry_after")) is not None
        ]
        raise ModelUnavailableError(
            f"none of the {len(self._members)} servers of model {self.info.name!r} answered: {told}",
            model=self.info.name,
            servers=len(self._members),
            **({"retry_after": min(waits)} if waits else {}),
        )

    def _next(self, tried: "dict[_Member, ModelUnavailableError]") -> _Member | None:
        """The one to ask: closed breakers before open ones, healthy before others, then the least busy."""
        left = [member for member in self._members if member not in tried]
        return min(
            left,
            key=lambda member: (
                member.model.breaker.state is BreakerState.OPEN,
                not member.healthy,
                member.model.outstanding,
            ),
            default=None,
        )

    async def _ask_hedged(
        self,
        first: _Member,
        ask: Callable[[OpenAIModel], Awaitable[_R]],
        hedge: float,
        failures: "dict[_Member, ModelUnavailableError]",
    ) -> _R:
        """Ask `first`, and after `hedge` seconds a second one; the first answer, else the last error."""
        answers: list[_R] = []
        errors: list[Exception] = []
        answered = anyio.Event()

        async def one(member: _Member) -> None:
            try:
                answers.append(await ask(member.model))
            except Exception as error:  # noqa: BLE001 — raised below, or the other one answered.
                errors.append(error)
                if isinstance(error, ModelUnavailableError):
                    failures[member] = error
            answered.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one, first)
            with anyio.move_on_after(hedge):
                await answered.wait()
            second = self._next({**failures, first: ModelUnavailableError("it was asked")})
            asked = 1
            if not answered.is_set() and second is not None:
                asked = 2
                tasks.start_soon(one, second)
            while not answers and len(errors) < asked:
                answered = anyio.Event()
                await answered.wait()
            tasks.cancel_scope.cancel()
        if answers:
            return answers[0]
        raise errors[-1]
