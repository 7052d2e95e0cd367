"""The door of the models: one port, `ChatModel`, and the engines behind it.

The embedded model's engine and httpx load only when an engine is named.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .breaker import BreakerState, CircuitBreaker
    from .embedded import EmbeddedModel, open_embedded_model
    from .function import FunctionModel
    from .managed import (
        ManagedModel,
        ManagedServer,
        ServerCommand,
        ServerState,
        open_managed_server,
        read_state,
    )
    from .openai import OpenAIModel, Retry
    from .pool import ModelPool
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
    from .server_log import advice_for, log_tail
    from .server_metrics import ServerMetrics, read_server_metrics
    from .server_use import ServerUse, innermost, use_of
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
    "ManagedModel": "managed",
    "ManagedServer": "managed",
    "ModelContext": "ports",
    "ModelHealth": "ports",
    "ModelInfo": "ports",
    "ModelPool": "pool",
    "NO_CONTEXT": "ports",
    "OpenAIModel": "openai",
    "Price": "ports",
    "RecordedModel": "recorder",
    "Retry": "openai",
    "ScoreRequest": "ports",
    "ServerCommand": "managed",
    "ServerMetrics": "server_metrics",
    "ServerState": "managed",
    "ServerUse": "server_use",
    "Tier": "ports",
    "TokenLogprob": "ports",
    "advice_for": "server_log",
    "covers": "tiers",
    "innermost": "server_use",
    "log_tail": "server_log",
    "open_embedded_model": "embedded",
    "open_managed_server": "managed",
    "read_server_metrics": "server_metrics",
    "read_state": "managed",
    "require_tier": "tiers",
    "use_of": "server_use",
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
    "ManagedModel",
    "ManagedServer",
    "ModelContext",
    "ModelHealth",
    "ModelInfo",
    "ModelPool",
    "OpenAIModel",
    "Price",
    "RecordedModel",
    "Retry",
    "ScoreRequest",
    "ServerCommand",
    "ServerMetrics",
    "ServerState",
    "ServerUse",
    "Tier",
    "TokenLogprob",
    "advice_for",
    "covers",
    "innermost",
    "log_tail",
    "open_embedded_model",
    "open_managed_server",
    "read_server_metrics",
    "read_state",
    "require_tier",
    "use_of",
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
