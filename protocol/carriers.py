"""The port between a link and its wire, and the shape of what passes it.

A carrier takes one MCP request to the peer and brings the answer back, or the
events pushed before it. It knows JSON-RPC and MCP 2026-07-28, nothing of tasks:
what the requests mean is `caller`'s. The carriers are `pipes` and `streamable_http`.
"""

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Final, Protocol

from .envelope import EXTENSION_ID, MCP_VERSION, TASK_EVENT, error_from_wire
from .errors import InvalidAgentResponseError

_ENVELOPE_META: Final[dict[str, Any]] = {
    "io.modelcontextprotocol/protocolVersion": MCP_VERSION,
    "io.modelcontextprotocol/clientCapabilities": {"extensions": {EXTENSION_ID: {}}},
    "io.modelcontextprotocol/clientInfo": {"name": "repertory", "version": version("repertory")},
}


@dataclass(frozen=True, slots=True)
class Push:
    """One event as it was pushed: a hint that the log holds it."""

    task_id: str
    sequence: int
    event: dict[str, Any]


class Carrier(Protocol):
    """Takes MCP requests to one peer.

    Every operation of the binding may be repeated without harm, so a carrier may
    send a request again when a kept connection turns out to be closed.
    """

    async def request(
        self, method: str, params: dict[str, Any], meta: dict[str, Any]
    ) -> dict[str, Any]:
        """Send a request and wait for its result.

        Raises:
            LinkError: The wire failed; what became of the request is unknown.
            RepertoryError: What the peer answered, told by its reason.
        """
        ...

    def stream(
        self, method: str, params: dict[str, Any], meta: dict[str, Any]
    ) -> AsyncGenerator[Push | dict[str, Any], None]:
        """Send a request and yield what is pushed on its stream; the result comes last.

        Closing the generator closes the stream. Raises what `request` raises.
        """
        ...

    async def aclose(self) -> None:
        """Let go of the wire."""
        ...


def request_body(
    number: int, method: str, params: dict[str, Any], meta: dict[str, Any]
) -> dict[str, Any]:
    """The JSON-RPC request, with what MCP asks of every request's `_meta`."""
    return {
        "jsonrpc": "2.0",
        "id": number,
        "method": method,
        "params": {**params, "_meta": {**_ENVELOPE_META, **meta}},
    }


def result_of(answer: Any) -> dict[str, Any]:
    """The result in a JSON-RPC answer.

    Raises:
        RepertoryError: The answer is an error, told by its reason.
        InvalidAgentResponseError: It is neither.
    """
    if isinstance(answer, dict):
        result = answer.get("result")
        if isinstance(result, dict):
            return result
        error = answer.get("error")
        if isinstance(error, dict):
            raise error_from_wire(error.get("code"), error.get("message"), error.get("data"))
    raise InvalidAgentResponseError("the peer's answer is neither a result nor an error")


def push_of(message: Mapping[str, Any]) -> Push | None:
    """The event that a notification carries; None for any other notification."""
    params = message.get("params")
    if message.get("method") != TASK_EVENT or not isinstance(params, dict):
        return None
    task_id, sequence, event = params.get("taskId"), params.get("sequence"), params.get("event")
    if isinstance(task_id, str) and isinstance(sequence, int) and isinstance(event, dict):
        return Push(task_id, sequence, event)
    return None
