"""A model with the manifest's parameters: what a request leaves open, the manifest decides."""

from collections.abc import Mapping
from typing import Any, TypeVar

from repertory.agents import (
    NO_CONTEXT,
    ChatModel,
    ChatRequest,
    ChatResult,
    CompletionRequest,
    LabelScores,
    ModelContext,
    ModelHealth,
    ModelInfo,
    ScoreRequest,
)

R = TypeVar("R", ChatRequest, CompletionRequest)


class WithParameters:
    """Ask `inner` with `parameters` for whatever a request does not set itself."""

    def __init__(self, inner: ChatModel, parameters: Mapping[str, Any]) -> None:
        self._inner = inner
        self._parameters = dict(parameters)

    @property
    def inner(self) -> ChatModel:
        """The model that is asked."""
        return self._inner

    @property
    def info(self) -> ModelInfo:
        return self._inner.info

    async def chat(self, request: ChatRequest, context: ModelContext = NO_CONTEXT) -> ChatResult:
        return await self._inner.chat(self._filled(request), context)

    async def complete(
        self, request: CompletionRequest, context: ModelContext = NO_CONTEXT
    ) -> ChatResult:
        return await self._inner.complete(self._filled(request), context)

    async def score(self, request: ScoreRequest, context: ModelContext = NO_CONTEXT) -> LabelScores:
        return await self._inner.score(request, context)

    async def probe(self) -> ModelHealth:
        return await self._inner.probe()

    async def aclose(self) -> None:
        await self._inner.aclose()

    def _filled(self, request: R) -> R:
        fields = type(request).model_fields
        missing = {
            name: value
            for name, value in self._parameters.items()
            if name in fields and name not in request.model_fields_set
        }
        return request.model_copy(update=missing) if missing else request
