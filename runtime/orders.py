"""What one process orders of the one that works on a task, by the journal, and what comes of it.

An order is an A2A operation on the task, with the identity that the first process
proved. It may be carried out twice, when the process ends between its effect and its
outcome: an answer is given once however often it comes, and a task that was canceled
stays so.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import orjson

from repertory.protocol import (
    AgentService,
    Call,
    CancelTaskRequest,
    GetTaskRequest,
    Identity,
    RepertoryError,
    SendMessageRequest,
    Task,
    TaskNotCancelableError,
    TaskState,
    call_from_meta,
    call_meta,
    error_from_wire,
    error_to_wire,
)

from .journal import Command

SEND: Final = "send"
CANCEL: Final = "cancel for"
ORDERS: Final = frozenset({SEND, CANCEL})


def order_body(agent: str, request: Mapping[str, Any], call: Call) -> str:
    """An order as the journal keeps it."""
    return orjson.dumps(
        {
            "agent": agent,
            "request": request,
            "principal": call.principal,
            "tenant": call.tenant,
            # Who ordered waits as long as it likes; the clocks of two machines need not agree.
            "meta": call_meta(replace(call, deadline=None)),
        }
    ).decode()


async def carry_out(command: Command, service_of: Callable[[str], AgentService]) -> str:
    """Do what the order says; its outcome, as the journal keeps it."""
    try:
        order = orjson.loads(command.body)
        identity = Identity(order["principal"], order["tenant"])
        call = call_from_meta(order["meta"], identity)
        task = await _done(command.kind, service_of(order["agent"]), order["request"], call)
        return orjson.dumps({"task": task.wire()}).decode()
    except RepertoryError as error:
        return orjson.dumps({"error": error_to_wire(error)}).decode()


async def _done(kind: str, service: AgentService, request: Mapping[str, Any], call: Call) -> Task:
    if kind == SEND:
        response = await service.send_message(SendMessageRequest.parse(request), call)
        assert response.task is not None, "an agent of this network answers with a task"
        return response.task
    wanted = CancelTaskRequest.parse(request)
    try:
        return await service.cancel_task(wanted, call)
    except TaskNotCancelableError:
        task = await service.get_task(GetTaskRequest(id=wanted.id), call)
        if task.status.state is not TaskState.CANCELED:
            raise
        return task


def outcome_of(text: str) -> Task:
    """The task that an order's outcome tells.

    Raises:
        RepertoryError: What the operation answered instead, told by its reason.
    """
    outcome = orjson.loads(text)
    if "error" in outcome:
        raise error_from_wire(*outcome["error"])
    return Task.parse(outcome["task"])
