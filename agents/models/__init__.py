"""The door of the models: one port, `ChatModel`, and the engines behind it.

The embedded model's engine and httpx load only when an engine is named.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .breaker import BreakerState, CircuitBreaker
    from .embedded import EmbeddedModel, open_embedded_model
    from .function import FunctionModel
    from .openai import OpenAIModel, Retry
    from .ports import (
        NO_CONTEXT,
        ChatMessage,
        ChatModel,
        ChatRequest,
        ChatResult,
        CompletionRequest,
        LabelScores,
        ModelContext,
        ModelHealth,
        ModelInfo,
        Price,
        ScoreRequest,
        Tier,
        TokenLogprob,
    )
    from .recorder import RecordedModel
    from .tiers import covers, require_tier

_MODULE_OF = {
    "BreakerState": "breaker",
    "ChatMessage": "ports",
    "ChatModel": "ports",
    "ChatRequest": "ports",
    "ChatResult": "ports",
    "CircuitBreaker": "breaker",
    "CompletionRequest": "ports",
    "EmbeddedModel": "embedded",
    "FunctionModel": "function",
    "LabelScores": "ports",
    "ModelContext": "ports",
    "ModelHealth": "ports",
    "ModelInfo": "ports",
    "NO_CONTEXT": "ports",
    "OpenAIModel": "openai",
    "Price": "ports",
    "RecordedModel": "recorder",
    "Retry": "openai",
    "ScoreRequest": "ports",
    "Tier": "ports",
    "TokenLogprob": "ports",
    "covers": "tiers",
    "open_embedded_model": "embedded",
    "require_tier": "tiers",
}

__all__ = [
    "NO_CONTEXT",
    "BreakerState",
    "ChatMessage",
    "ChatModel",
    "ChatRequest",
    "ChatResult",
    "CircuitBreaker",
    "CompletionRequest",
    "EmbeddedModel",
    "FunctionModel",
    "LabelScores",
    "ModelContext",
    "ModelHealth",
    "ModelInfo",
    "OpenAIModel",
    "Price",
    "RecordedModel",
    "Retry",
    "ScoreRequest",
    "Tier",
    "TokenLogprob",
    "covers",
    "open_embedded_model",
    "require_tier",
]


def __getattr__(name: str) -> Any:
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{module}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
