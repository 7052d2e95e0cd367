"""A model that is a function: for tests, scripted demonstrations, and engines of one's own."""

import json
from collections.abc import Awaitable, Callable, Mapping
from inspect import isawaitable
from time import monotonic
from typing import Any

import anyio

from .answers import parse_json
from .deadlines import out_of_time, require_time
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
    Tier,
)
from .tiers import require_tier

ModelRequest = ChatRequest | CompletionRequest | ScoreRequest
Answer = str | Mapping[str, Any] | ChatResult | LabelScores
ModelFunction = Callable[[ModelRequest], Answer | Awaitable[Answer]]


class FunctionModel:
    """Let a function answer, sync or async; it gets the request and returns the answer.

    To a chat or a completion it returns a text, a mapping (sent as JSON), or a
    whole `ChatResult`; to a score request a mapping of label to score, or
    `LabelScores`. What it raises is raised to the caller. Tokens are counted as
    words, which is enough for budgets to bite in tests.

    A sync function runs on the event loop: it must not block.
    """

    def __init__(
        self,
        fn: ModelFunction,
        *,
        tiers: frozenset[Tier] = frozenset(Tier),
        name: str = "function",
    ) -> None:
        self._fn = fn
        self._info = ModelInfo(name, "function", tiers)

    @property
    def info(self) -> ModelInfo:
        return self._info

    async def chat(self, request: ChatRequest, context: ModelContext = NO_CONTEXT) -> ChatResult:
        answer, seconds = await self._ask(request, context)
        words = sum(len(message.content.split()) for message in request.messages)
        schema = request.json_schema is not None
        return self._result(answer, request.n, words, seconds, has_schema=schema)

    async def complete(
        self, request: CompletionRequest, context: ModelContext = NO_CONTEXT
    ) -> ChatResult:
        answer, seconds = await self._ask(request, context)
        return self._result(answer, request.n, len(request.prompt.split()), seconds)

    async def score(self, request: ScoreRequest, context: ModelContext = NO_CONTEXT) -> LabelScores:
        answer, seconds = await self._ask(request, context)
        if isinstance(answer, LabelScores):
            return answer
        if not isinstance(answer, Mapping):
            raise TypeError(
                f"the function of model {self._info.name!r} answered a score request with"
                f" {type(answer).__name__}; return a mapping of label to score"
            )
        return LabelScores(
            scores={label: float(answer[label]) for label in request.labels},
            model=self._info.name,
            tiers=self._info.tiers,
            tokens_in=len(request.text.split()),
            seconds=seconds,
        )

    async def probe(self) -> ModelHealth:
        return ModelHealth(True, features=frozenset({"json_schema"}))

    async def aclose(self) -> None:
        """Nothing is open."""

    async def _ask(self, request: ModelRequest, context: ModelContext) -> tuple[Answer, float]:
        require_tier(self._info, request.duty)
        require_time(self._info.name, context)
        began = monotonic()
        with anyio.move_on_after(context.seconds_left()):
            answer = self._fn(request)
            if isawaitable(answer):
                answer = await answer
            return answer, monotonic() - began
        raise out_of_time(self._info.name)

    def _result(
        self, answer: Answer, n: int, words: int, seconds: float, *, has_schema: bool = False
    ) -> ChatResult:
        if isinstance(answer, ChatResult):
            return answer
        if isinstance(answer, LabelScores):
            raise TypeError(
                f"the function of model {self._info.name!r} answered a question with label scores;"
                " return a text, a mapping or a ChatResult"
            )
        text = answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)
        return ChatResult(
            texts=(text,) * n,
            parsed=parse_json(text) if has_schema else None,
            model=self._info.name,
            tiers=self._info.tiers,
            tokens_in=words,
            tokens_out=len(text.split()) * n,
            seconds=seconds,
        )
