"""The door of the models: one port, `ChatModel`, and the engines behind it.

The embedded model's engine and httpx load only when an engine is named.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
        ScoreRequest,
        Tier,
        TokenLogprob,
    )

_MODULE_OF = {
    "ChatMessage": "ports",
    "ChatModel": "ports",
    "ChatRequest": "ports",
    "ChatResult": "ports",
    "CompletionRequest": "ports",
    "LabelScores": "ports",
    "ModelContext": "ports",
    "ModelHealth": "ports",
    "ModelInfo": "ports",
    "NO_CONTEXT": "ports",
    "ScoreRequest": "ports",
    "Tier": "ports",
    "TokenLogprob": "ports",
}

__all__ = [
    "NO_CONTEXT",
    "ChatMessage",
    "ChatModel",
    "ChatRequest",
    "ChatResult",
    "CompletionRequest",
    "LabelScores",
    "ModelContext",
    "ModelHealth",
    "ModelInfo",
    "ScoreRequest",
    "Tier",
    "TokenLogprob",
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
