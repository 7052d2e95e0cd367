"""The root of every error Repertory raises, and the branch of the protocol room.

    RepertoryError
    ├── ProtocolError                    what was said broke the protocol
    │   ├── TaskNotFoundError            (LookupError)   TASK_NOT_FOUND
    │   ├── TaskNotCancelableError                       TASK_NOT_CANCELABLE
    │   ├── PushNotificationNotSupportedError            PUSH_NOTIFICATION_NOT_SUPPORTED
    │   ├── UnsupportedOperationError                    UNSUPPORTED_OPERATION
    │   ├── ContentTypeNotSupportedError                 CONTENT_TYPE_NOT_SUPPORTED
    │   ├── InvalidAgentResponseError                    INVALID_AGENT_RESPONSE
    │   ├── ExtendedAgentCardNotConfiguredError          EXTENDED_AGENT_CARD_NOT_CONFIGURED
    │   ├── ExtensionSupportRequiredError                EXTENSION_SUPPORT_REQUIRED
    │   ├── VersionNotSupportedError                     VERSION_NOT_SUPPORTED
    │   ├── CardNotTrustedError                          CARD_NOT_TRUSTED
    │   ├── InvalidParamsError           (ValueError)    INVALID_PARAMS
    │   │   └── UrlRefusedError                          a URL that is not called from here
    │   ├── RemoteError                                  any other reason, INTERNAL_ERROR
    │   └── IllegalMoveError             (ValueError)    a task cannot go there from here
    ├── CallError                        a call could not be made or finished
    │   ├── DeadlineExceededError        (TimeoutError)  DEADLINE_EXCEEDED
    │   ├── BudgetExceededError                          BUDGET_EXCEEDED
    │   ├── CallCycleError                               CALL_CYCLE
    │   ├── UnauthenticatedError                         UNAUTHENTICATED
    │   ├── PermissionDeniedError        (PermissionError) PERMISSION_DENIED
    │   ├── BusyError                    retryable       BUSY
    │   ├── StoppedError                                 STOPPED
    │   └── NetworkClosedError           retryable       NETWORK_CLOSED
    └── LinkError                        (ConnectionError, retryable) the wire, not the peer

Errors are told apart by `reason`, never by number: A2A's -32001 is also the MCP
SDK's local time-out (docs/binding.md, section Errors). Other rooms hang their
branches on `RepertoryError` in an `errors.py` of their own.
"""

from typing import Any, ClassVar


class RepertoryError(Exception):
    """Root of every error Repertory raises; the facts stay as attributes.

    `retryable` says whether the same call may succeed later unchanged.
    """

    retryable: ClassVar[bool] = False
    reason: ClassVar[str] = "INTERNAL_ERROR"

    def __init__(self, sentence: str, /, **facts: Any) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.facts = facts

    def __getattr__(self, name: str) -> Any:
        facts = self.__dict__.get("facts", {})
        if name in facts:
            return facts[name]
        raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")


class ProtocolError(RepertoryError):
    """What was said broke the protocol, here or at the peer."""


class TaskNotFoundError(ProtocolError, LookupError):
    """No task of that id exists for this caller; a foreign one answers alike."""

    reason = "TASK_NOT_FOUND"


class TaskNotCancelableError(ProtocolError):
    """The task has already ended."""

    reason = "TASK_NOT_CANCELABLE"


class PushNotificationNotSupportedError(ProtocolError):
    """The agent's card does not offer push notifications."""

    reason = "PUSH_NOTIFICATION_NOT_SUPPORTED"


class UnsupportedOperationError(ProtocolError):
    """The operation does not fit the task's state or the agent's card."""

    reason = "UNSUPPORTED_OPERATION"


class ContentTypeNotSupportedError(ProtocolError):
    """A part's media type is not among the agent's input modes."""

    reason = "CONTENT_TYPE_NOT_SUPPORTED"


class InvalidAgentResponseError(ProtocolError):
    """The peer answered with something that is not A2A."""

    reason = "INVALID_AGENT_RESPONSE"


class ExtendedAgentCardNotConfiguredError(ProtocolError):
    """The agent has no extended card."""

    reason = "EXTENDED_AGENT_CARD_NOT_CONFIGURED"


class ExtensionSupportRequiredError(ProtocolError):
    """The caller did not declare an extension that the agent requires."""

    reason = "EXTENSION_SUPPORT_REQUIRED"


class VersionNotSupportedError(ProtocolError):
    """The caller asked for an A2A version that is not spoken here."""

    reason = "VERSION_NOT_SUPPORTED"


class CardNotTrustedError(ProtocolError):
    """A card is signed by nobody who is pinned here, or is not of the agent that was called."""

    reason = "CARD_NOT_TRUSTED"


class InvalidParamsError(ProtocolError, ValueError):
    """The request's parameters do not have the shape the operation needs."""

    reason = "INVALID_PARAMS"


class UrlRefusedError(InvalidParamsError):
    """A URL that somebody named is not called from here; the sentence says what is expected."""


class RemoteError(ProtocolError):
    """The peer failed for a reason of its own, kept in `facts['remote_reason']`."""


class IllegalMoveError(ProtocolError, ValueError):
    """A task was asked to move to a state it cannot reach from where it is."""

    reason = "UNSUPPORTED_OPERATION"


class CallError(RepertoryError):
    """A call could not be made or finished."""


class DeadlineExceededError(CallError, TimeoutError):
    """The call's deadline passed; callees had inherited what was left of it."""

    reason = "DEADLINE_EXCEEDED"


class BudgetExceededError(CallError):
    """The call spent its tokens, calls or money."""

    reason = "BUDGET_EXCEEDED"


class CallCycleError(CallError):
    """An agent was asked, through its own peers, to wait for itself."""

    reason = "CALL_CYCLE"


class UnauthenticatedError(CallError):
    """Who calls is not known here: no credential, or one that proves nothing."""

    reason = "UNAUTHENTICATED"


class PermissionDeniedError(CallError, PermissionError):
    """Who calls is known and may not do this; `facts['capability']` says what it lacks."""

    reason = "PERMISSION_DENIED"


class BusyError(CallError):
    """No room for more work now; `facts['retry_after']` says when to try, in seconds."""

    retryable = True
    reason = "BUSY"


class StoppedError(CallError):
    """A person stopped what was asked; it takes no work until that is lifted.

    `facts['kind']` and `facts['name']` say what: the network, an agent or a tenant.
    """

    reason = "STOPPED"


class NetworkClosedError(CallError):
    """The network drains or is closed, and takes no new work; nothing was begun."""

    retryable = True
    reason = "NETWORK_CLOSED"


class LinkError(RepertoryError, ConnectionError):
    """The wire failed, not the peer: what became of the call is unknown.

    `facts['repeatable']` says that the same message may be sent again all the same.
    """

    retryable = True
    reason = "LINK_FAILED"
