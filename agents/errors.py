"""The agents' branch of the error tree.

RepertoryError
├── AgentError
│   ├── AgentNotFoundError    (LookupError)
│   ├── ToolNotFoundError     (LookupError)
│   ├── ToolServerError       (ConnectionError)   retryable
│   ├── PolicyDeniedError     (PermissionError)
│   ├── OutcomeUnknownError
│   ├── OptionsInvalidError   (ValueError)        an agent's options in the manifest are wrong
│   ├── OutputInvalidError    (ValueError)        the model's answer did not fit its schema
│   └── TaskFailedError                           a peer's task ended FAILED or REJECTED
└── ModelError
    ├── ModelUnavailableError (ConnectionError)   retryable
    ├── ModelRefusedError     (ValueError)        the server said no: 4xx, context too long
    ├── TierError             (ValueError)        the duty is above the model's tier
"""

from typing import ClassVar

from repertory.protocol import RepertoryError


class AgentError(RepertoryError):
    """An agent could not do what it was asked."""

    reason: ClassVar[str] = "AGENT_ERROR"


class AgentNotFoundError(AgentError, LookupError):
    """No agent of that name may be asked from here."""

    reason = "AGENT_NOT_FOUND"


class ToolNotFoundError(AgentError, LookupError):
    """This agent was given no tool of that name."""

    reason = "TOOL_NOT_FOUND"


class ToolServerError(AgentError, ConnectionError):
    """A tool server died in mid-call or could not be reached."""

    retryable = True
    reason = "TOOL_SERVER_FAILED"


class PolicyDeniedError(AgentError, PermissionError):
    """The network's policy forbids the action; `facts['rule']` names the rule."""

    reason = "POLICY_DENIED"


class OutcomeUnknownError(AgentError):
    """A kill left a tool call's outcome unknown, and the manifest says to fail then."""

    reason = "OUTCOME_UNKNOWN"


class OptionsInvalidError(AgentError, ValueError):
    """An agent's options are not known to its kind, or have no meaning."""

    reason = "OPTIONS_INVALID"


class OutputInvalidError(AgentError, ValueError):
    """The model's answer did not fit its schema, also after one repair."""

    reason = "OUTPUT_INVALID"


class TaskFailedError(AgentError):
    """A peer's task ended FAILED or REJECTED; `facts['task']` is that task."""

    reason = "TASK_FAILED"


class ModelError(RepertoryError):
    """A model did not give an answer."""

    reason: ClassVar[str] = "MODEL_ERROR"


class ModelUnavailableError(ModelError, ConnectionError):
    """The model's server does not answer, or its circuit breaker is open."""

    retryable = True
    reason = "MODEL_UNAVAILABLE"


class ModelRefusedError(ModelError, ValueError):
    """The model's server refused the request: wrong parameters, or a context too long."""

    reason = "MODEL_REFUSED"


class TierError(ModelError, ValueError):
    """The duty needs a capability tier that the model does not have."""

    reason = "TIER_TOO_LOW"
