"""What travels around A2A's own fields on the MCP wire: names, call context and errors.

Both halves of the binding read it, `binding` (the server) and `caller` (the client),
so what one writes the other reads. It loads neither the MCP SDK nor an HTTP library.
The specification is docs/binding.md.
"""

from collections.abc import Mapping, Sequence
from math import isfinite
from time import time
from typing import Any, Final

from .errors import (
    BudgetExceededError,
    BusyError,
    CallCycleError,
    ContentTypeNotSupportedError,
    DeadlineExceededError,
    ExtendedAgentCardNotConfiguredError,
    ExtensionSupportRequiredError,
    InvalidAgentResponseError,
    InvalidParamsError,
    NetworkClosedError,
    PermissionDeniedError,
    PushNotificationNotSupportedError,
    RemoteError,
    RepertoryError,
    StoppedError,
    TaskNotCancelableError,
    TaskNotFoundError,
    UnauthenticatedError,
    UnsupportedOperationError,
    VersionNotSupportedError,
)
from .identity import Capabilities, Identity
from .service import Budget, Call

EXTENSION_ID: Final = "dev.repertory/a2a"
BINDING_URI: Final = "https://repertory.dev/bindings/a2a-over-mcp/v1"
A2A_VERSION: Final = "1.0"
MCP_VERSION: Final = "2026-07-28"
CARD_RESOURCE: Final = "a2a://agent-card"
WELL_KNOWN_CARD: Final = "/.well-known/agent-card.json"
TASK_EVENT: Final = "notifications/a2a/taskEvent"

SEND_MESSAGE: Final = "a2a/SendMessage"
SEND_STREAMING_MESSAGE: Final = "a2a/SendStreamingMessage"
GET_TASK: Final = "a2a/GetTask"
LIST_TASKS: Final = "a2a/ListTasks"
CANCEL_TASK: Final = "a2a/CancelTask"
SUBSCRIBE_TO_TASK: Final = "a2a/SubscribeToTask"
READ_TASK_EVENTS: Final = "a2a/ReadTaskEvents"
GET_EXTENDED_AGENT_CARD: Final = "a2a/GetExtendedAgentCard"
CREATE_PUSH_CONFIG: Final = "a2a/CreateTaskPushNotificationConfig"
GET_PUSH_CONFIG: Final = "a2a/GetTaskPushNotificationConfig"
LIST_PUSH_CONFIGS: Final = "a2a/ListTaskPushNotificationConfigs"
DELETE_PUSH_CONFIG: Final = "a2a/DeleteTaskPushNotificationConfig"

VERSION_KEY: Final = "a2a-version"
EXTENSIONS_KEY: Final = "a2a-extensions"
DEADLINE_KEY: Final = "dev.repertory/deadline"
BUDGET_KEY: Final = "dev.repertory/budget"
CHAIN_KEY: Final = "dev.repertory/chain"
CALLER_KEY: Final = "dev.repertory/caller"
"""Where a tool call's `_meta` says for whom it is made, for servers that are told."""
CAPABILITIES_KEY: Final = "dev.repertory/capabilities"

_ERROR_INFO: Final = "type.googleapis.com/google.rpc.ErrorInfo"
_A2A_DOMAIN: Final = "a2a-protocol.org"
_OWN_DOMAIN: Final = "repertory.dev"
_INTERNAL_CODE: Final = -32603
# Longer than any chain of agents that waits on itself in earnest.
_LONGEST_CHAIN: Final = 64

_CODES: Final[dict[type[RepertoryError], int]] = {
    TaskNotFoundError: -32001,
    TaskNotCancelableError: -32002,
    PushNotificationNotSupportedError: -32003,
    UnsupportedOperationError: -32004,
    ContentTypeNotSupportedError: -32005,
    InvalidAgentResponseError: -32006,
    ExtendedAgentCardNotConfiguredError: -32007,
    ExtensionSupportRequiredError: -32008,
    VersionNotSupportedError: -32009,
    DeadlineExceededError: -32010,
    BudgetExceededError: -32011,
    CallCycleError: -32012,
    BusyError: -32013,
    StoppedError: -32016,
    NetworkClosedError: -32017,
    UnauthenticatedError: -32014,
    PermissionDeniedError: -32015,
    InvalidParamsError: -32602,
}
_BY_REASON: Final = {error.reason: error for error in _CODES}
_CODE_OF: Final = {error.reason: code for error, code in _CODES.items()}
_OWN_REASONS: Final = frozenset(
    error.reason
    for error in (
        DeadlineExceededError,
        BudgetExceededError,
        CallCycleError,
        BusyError,
        StoppedError,
        NetworkClosedError,
        UnauthenticatedError,
        PermissionDeniedError,
    )
)


def call_meta(call: Call, extensions: Sequence[str] = ()) -> dict[str, Any]:
    """The `_meta` entries by which `call` travels; its principal and tenant never do."""
    meta: dict[str, Any] = {VERSION_KEY: A2A_VERSION}
    if extensions:
        meta[EXTENSIONS_KEY] = ",".join(extensions)
    if call.deadline is not None:
        meta[DEADLINE_KEY] = call.seconds_left()
    budget = call.budget
    spend = {
        name: value
        for name, value in (("tokens", budget.tokens), ("calls", budget.calls), ("usd", budget.usd))
        if value is not None
    }
    if spend:
        meta[BUDGET_KEY] = spend
    if call.chain:
        meta[CHAIN_KEY] = list(call.chain)
    if call.capabilities.sets:
        meta[CAPABILITIES_KEY] = call.capabilities.wire()
    if call.traceparent:
        meta["traceparent"] = call.traceparent
        if call.tracestate:
            meta["tracestate"] = call.tracestate
    return meta


def call_from_meta(meta: Mapping[str, Any], identity: Identity) -> Call:
    """The call that `meta` describes, made by `identity`; its own words can only narrow that.

    Raises:
        VersionNotSupportedError: The caller speaks another A2A.
        InvalidParamsError: An entry has not the shape that docs/binding.md gives it.
    """
    version = meta.get(VERSION_KEY, A2A_VERSION)
    # A2A 1.0, 3.6: a patch number does not count.
    if not isinstance(version, str) or ".".join(version.split(".")[:2]) != A2A_VERSION:
        raise VersionNotSupportedError(
            f"A2A {version!r} is not spoken here; supported: {A2A_VERSION!r}",
            version=str(version),
            supported=A2A_VERSION,
        )
    seconds = meta.get(DEADLINE_KEY)
    trace = meta.get("traceparent")
    state = meta.get("tracestate")
    capabilities = identity.capabilities
    if CAPABILITIES_KEY in meta:
        capabilities = capabilities.within(Capabilities.parse(meta[CAPABILITIES_KEY]))
    return Call(
        principal=identity.principal,
        tenant=identity.tenant,
        capabilities=capabilities,
        deadline=None if seconds is None else time() + _number(seconds, DEADLINE_KEY),
        budget=_budget(meta[BUDGET_KEY]) if BUDGET_KEY in meta else Budget(),
        chain=_chain(meta[CHAIN_KEY]) if CHAIN_KEY in meta else (),
        # W3C Trace Context: what cannot be read is dropped, never refused.
        traceparent=trace if isinstance(trace, str) else "",
        tracestate=state if isinstance(state, str) else "",
    )


def meta_of_headers(request: Any) -> dict[str, Any]:
    """A2A's service parameters and the trace in an HTTP request, as `_meta` has them.

    A version may stand in the query as well (A2A 1.0, 3.6.1). request: Starlette's.
    """
    headers = request.headers
    version = headers.get(VERSION_KEY) or request.query_params.get("A2A-Version", "")
    meta = {VERSION_KEY: version.strip()}
    if listed := headers.getlist(EXTENSIONS_KEY):
        meta[EXTENSIONS_KEY] = ",".join(listed)
    for name in ("traceparent", "tracestate"):
        if (value := headers.get(name)) is not None:
            meta[name] = value
    return meta


def declared_extensions(meta: Mapping[str, Any]) -> frozenset[str]:
    """The URIs of the A2A extensions that the caller declared."""
    listed = meta.get(EXTENSIONS_KEY, "")
    if not isinstance(listed, str):
        raise InvalidParamsError(
            f"_meta[{EXTENSIONS_KEY!r}] is a string of URIs with commas between",
            path=EXTENSIONS_KEY,
        )
    return frozenset(uri.strip() for uri in listed.split(",") if uri.strip())


def error_to_wire(error: RepertoryError) -> tuple[int, str, list[dict[str, Any]]]:
    """`error` as a JSON-RPC code, message and data; numbers and texts among its facts travel too."""
    reason = error.facts.get("remote_reason") if isinstance(error, RemoteError) else None
    reason = reason if isinstance(reason, str) and reason else error.reason
    code = _CODE_OF.get(reason, _INTERNAL_CODE)
    info = error_info(reason)
    facts = {
        name: value if isinstance(value, str) else repr(value)
        for name, value in error.facts.items()
        if isinstance(value, str | int | float) and name != "remote_reason"
    }
    if facts:
        info["metadata"] = facts
    return code, error.sentence, [info]


def error_info(reason: str) -> dict[str, Any]:
    """The google.rpc.ErrorInfo of `reason`, in A2A's domain where the reason is A2A's."""
    own = reason in _OWN_REASONS or reason not in _CODE_OF
    return {
        "@type": _ERROR_INFO,
        "reason": reason,
        "domain": _OWN_DOMAIN if own else _A2A_DOMAIN,
    }


def error_from_wire(code: Any, message: Any, data: Any) -> RepertoryError:
    """The error that a JSON-RPC error object stands for, told by its `reason` alone."""
    sentence = message if isinstance(message, str) and message else f"the peer failed with {code}"
    info = _error_info(data)
    reason = info.get("reason")
    metadata = info.get("metadata")
    facts: dict[str, Any] = dict(metadata) if isinstance(metadata, dict) else {}
    if "retry_after" in facts:
        facts["retry_after"] = _seconds(facts["retry_after"])
    if isinstance(reason, str) and (kind := _BY_REASON.get(reason)) is not None:
        return kind(sentence, **facts)
    facts["remote_reason"] = reason if isinstance(reason, str) else ""
    facts["code"] = code
    return RemoteError(sentence, **facts)


def _error_info(data: Any) -> dict[str, Any]:
    for item in data if isinstance(data, list) else ():
        if isinstance(item, dict) and item.get("@type") == _ERROR_INFO:
            return item
    return {}


def _seconds(text: Any) -> float | None:
    try:
        return float(text)
    except (TypeError, ValueError):
        return None


def _number(value: Any, key: str) -> float:
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not isfinite(value)
        or value < 0
    ):
        raise InvalidParamsError(f"_meta[{key!r}] is a number, zero or more", path=key)
    return float(value)


def _budget(value: Any) -> Budget:
    if not isinstance(value, dict):
        raise InvalidParamsError(
            f"_meta[{BUDGET_KEY!r}] is an object of tokens, calls and usd", path=BUDGET_KEY
        )
    limits = {
        name: _number(value[name], f"{BUDGET_KEY}.{name}")
        for name in ("tokens", "calls", "usd")
        if value.get(name) is not None
    }
    return Budget(
        tokens=int(limits["tokens"]) if "tokens" in limits else None,
        calls=int(limits["calls"]) if "calls" in limits else None,
        usd=limits.get("usd"),
    )


def _chain(value: Any) -> tuple[str, ...]:
    if (
        not isinstance(value, list)
        or len(value) > _LONGEST_CHAIN
        or not all(isinstance(name, str) for name in value)
    ):
        raise InvalidParamsError(
            f"_meta[{CHAIN_KEY!r}] is a list of at most {_LONGEST_CHAIN} names", path=CHAIN_KEY
        )
    return tuple(value)
