"""The door of the agents room: what answers messages, and the models that help it.

Every name loads when it is first used; hosting an agent is the runtime's work.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .agent import Agent, AgentSpec, read_options
    from .errors import (
        AgentError,
        AgentNotFoundError,
        ModelError,
        ModelRefusedError,
        ModelUnavailableError,
        OptionsInvalidError,
        OutcomeUnknownError,
        OutputInvalidError,
        PolicyDeniedError,
        TaskFailedError,
        TierError,
        ToolNotFoundError,
        ToolServerError,
    )
    from .human import Human
    from .layout import words_of
    from .models import (
        NO_CONTEXT,
        ChatMessage,
        ChatModel,
        ChatRequest,
        ChatResult,
        CircuitBreaker,
        CompletionRequest,
        EmbeddedModel,
        FunctionModel,
        LabelScores,
        ManagedModel,
        ManagedServer,
        ModelContext,
        ModelHealth,
        ModelInfo,
        ModelPool,
        OpenAIModel,
        Price,
        RecordedModel,
        Retry,
        ScoreRequest,
        ServerCommand,
        ServerMetrics,
        ServerState,
        Tier,
        TokenLogprob,
        advice_for,
        log_tail,
        open_embedded_model,
        open_managed_server,
        read_server_metrics,
        read_state,
        require_tier,
    )
    from .output import result_of
    from .plan import Subtask
    from .planner import Planner
    from .turn import Question, ToolResult, ToolSpec, Turn
    from .worker import Worker

_MODULE_OF = {
    "Agent": "agent",
    "AgentError": "errors",
    "AgentNotFoundError": "errors",
    "AgentSpec": "agent",
    "ChatMessage": "models",
    "ChatModel": "models",
    "ChatRequest": "models",
    "ChatResult": "models",
    "CircuitBreaker": "models",
    "CompletionRequest": "models",
    "EmbeddedModel": "models",
    "FunctionModel": "models",
    "Human": "human",
    "LabelScores": "models",
    "ManagedModel": "models",
    "ManagedServer": "models",
    "ModelContext": "models",
    "ModelError": "errors",
    "ModelHealth": "models",
    "ModelInfo": "models",
    "ModelPool": "models",
    "ModelRefusedError": "errors",
    "ModelUnavailableError": "errors",
    "NO_CONTEXT": "models",
    "OpenAIModel": "models",
    "OptionsInvalidError": "errors",
    "OutcomeUnknownError": "errors",
    "OutputInvalidError": "errors",
    "Planner": "planner",
    "PolicyDeniedError": "errors",
    "Price": "models",
    "Question": "turn",
    "RecordedModel": "models",
    "Retry": "models",
    "ScoreRequest": "models",
    "ServerCommand": "models",
    "ServerMetrics": "models",
    "ServerState": "models",
    "Subtask": "plan",
    "TaskFailedError": "errors",
    "Tier": "models",
    "TierError": "errors",
    "TokenLogprob": "models",
    "ToolNotFoundError": "errors",
    "ToolResult": "turn",
    "ToolServerError": "errors",
    "ToolSpec": "turn",
    "Turn": "turn",
    "Worker": "worker",
    "advice_for": "models",
    "log_tail": "models",
    "open_embedded_model": "models",
    "open_managed_server": "models",
    "read_options": "agent",
    "read_server_metrics": "models",
    "read_state": "models",
    "require_tier": "models",
    "result_of": "output",
    "words_of": "layout",
}

__all__ = [
    "NO_CONTEXT",
    "Agent",
    "AgentError",
    "AgentNotFoundError",
    "AgentSpec",
    "ChatMessage",
    "ChatModel",
    "ChatRequest",
    "ChatResult",
    "CircuitBreaker",
    "CompletionRequest",
    "EmbeddedModel",
    "FunctionModel",
    "Human",
    "LabelScores",
    "ManagedModel",
    "ManagedServer",
    "ModelContext",
    "ModelError",
    "ModelHealth",
    "ModelInfo",
    "ModelPool",
    "ModelRefusedError",
    "ModelUnavailableError",
    "OpenAIModel",
    "OptionsInvalidError",
    "OutcomeUnknownError",
    "OutputInvalidError",
    "Planner",
    "PolicyDeniedError",
    "Price",
    "Question",
    "RecordedModel",
    "Retry",
    "ScoreRequest",
    "ServerCommand",
    "ServerMetrics",
    "ServerState",
    "Subtask",
    "TaskFailedError",
    "Tier",
    "TierError",
    "TokenLogprob",
    "ToolNotFoundError",
    "ToolResult",
    "ToolServerError",
    "ToolSpec",
    "Turn",
    "Worker",
    "advice_for",
    "log_tail",
    "open_embedded_model",
    "open_managed_server",
    "read_options",
    "read_server_metrics",
    "read_state",
    "require_tier",
    "result_of",
    "words_of",
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
