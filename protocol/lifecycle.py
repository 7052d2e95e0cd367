"""The life of a task as a table of legal moves, and a task rebuilt from its events.

                  ┌──────────────────────────────────────────┐
                  │                                          ▼
    (none) ──► SUBMITTED ──► WORKING ──────────────► COMPLETED  FAILED
                  │           ▲  │                   CANCELED   REJECTED
                  │           │  ▼                           ▲
                  └──► INPUT_REQUIRED ◄──► AUTH_REQUIRED ────┘
                       (interrupted: someone else must act)

A state that is not terminal may be said again, with other words; a terminal one
is the task's last. No other code decides a state: whoever moves a task asks
`move`, whoever reads a log folds it with `apply_event`. Nothing here does I/O.
"""

from collections.abc import Mapping
from types import MappingProxyType

from .errors import IllegalMoveError, InvalidAgentResponseError
from .messages import Artifact, Message
from .tasks import (
    StreamResponse,
    Task,
    TaskArtifactUpdateEvent,
    TaskState,
    TaskStatusUpdateEvent,
)

TERMINAL = frozenset(
    {TaskState.COMPLETED, TaskState.FAILED, TaskState.CANCELED, TaskState.REJECTED}
)
INTERRUPTED = frozenset({TaskState.INPUT_REQUIRED, TaskState.AUTH_REQUIRED})

_ONWARD = TERMINAL | INTERRUPTED | {TaskState.WORKING}

LEGAL_MOVES: Mapping[TaskState | None, frozenset[TaskState]] = MappingProxyType(
    {
        None: frozenset({TaskState.SUBMITTED}),
        TaskState.SUBMITTED: _ONWARD | {TaskState.SUBMITTED},
        TaskState.WORKING: _ONWARD,
        TaskState.INPUT_REQUIRED: _ONWARD,
        TaskState.AUTH_REQUIRED: _ONWARD,
        TaskState.COMPLETED: frozenset(),
        TaskState.FAILED: frozenset(),
        TaskState.CANCELED: frozenset(),
        TaskState.REJECTED: frozenset(),
    }
)


def is_terminal(state: TaskState) -> bool:
    """Whether a task in `state` has ended for good."""
    return state in TERMINAL


def is_interrupted(state: TaskState) -> bool:
    """Whether a task in `state` waits for someone else to act."""
    return state in INTERRUPTED


def move(now: TaskState | None, to: TaskState) -> TaskState:
    """`to`, when a task in state `now` may go there; None is a task that does not exist yet.

    Raises:
        IllegalMoveError: The table has no such move.
    """
    legal = LEGAL_MOVES[now]
    if to in legal:
        return to
    here = "a new task" if now is None else f"a task in {now.name}"
    there = ", ".join(state.name for state in TaskState if state in legal) or "nowhere: it ended"
    raise IllegalMoveError(f"{here} cannot go to {to.name}; it may go {there}", now=now, to=to)


def apply_event(task: Task | None, event: StreamResponse) -> Task:
    """`task` as it is after `event`; folding a whole log from None rebuilds the task.

    A task replaces what was known, whatever its state, since a subscription may
    begin in the middle of a life. A status moves the message of the status before
    it into the history. A message of the task joins its history. An artifact
    replaces the one of its id, or with `append` adds its parts to it.

    Raises:
        IllegalMoveError: The event moves the task where it cannot go.
        InvalidAgentResponseError: The event is of another task, or comes before
            the task, or appends to an artifact that is not there.
    """
    if event.task is not None:
        return _replaced(task, event.task)
    if task is None:
        raise InvalidAgentResponseError("an event came before its task", event=event)
    if event.status_update is not None:
        return _with_status(task, event.status_update)
    if event.artifact_update is not None:
        return _with_artifact(task, event.artifact_update)
    assert event.message is not None
    return _with_message(task, event.message)


def _replaced(task: Task | None, after: Task) -> Task:
    if task is not None:
        _require_same(task, after.id, after.context_id)
        if after.status.state is not task.status.state:
            move(task.status.state, after.status.state)
    return after


def _with_status(task: Task, update: TaskStatusUpdateEvent) -> Task:
    _require_same(task, update.task_id, update.context_id)
    move(task.status.state, update.status.state)
    changes: dict[str, object] = {"status": update.status}
    if task.status.message is not None:
        changes["history"] = (*task.history, task.status.message)
    if update.metadata:
        changes["metadata"] = {**(task.metadata or {}), **update.metadata}
    return task.model_copy(update=changes)


def _with_message(task: Task, message: Message) -> Task:
    _require_same(task, message.task_id, message.context_id)
    return task.model_copy(update={"history": (*task.history, message)})


def _with_artifact(task: Task, update: TaskArtifactUpdateEvent) -> Task:
    _require_same(task, update.task_id, update.context_id)
    new = update.artifact
    before = task.artifacts
    at = next((i for i, each in enumerate(before) if each.artifact_id == new.artifact_id), None)
    if update.append:
        if at is None:
            raise InvalidAgentResponseError(
                f"task {task.id} has no artifact {new.artifact_id!r} to append to",
                task_id=task.id,
                artifact_id=new.artifact_id,
            )
        new = _appended(before[at], new)
    after = (*before, new) if at is None else (*before[:at], new, *before[at + 1 :])
    return task.model_copy(update={"artifacts": after})


def _appended(artifact: Artifact, piece: Artifact) -> Artifact:
    """`artifact` with the parts of `piece`; what `piece` says of the whole wins."""
    changes: dict[str, object] = {"parts": artifact.parts + piece.parts}
    if piece.name:
        changes["name"] = piece.name
    if piece.description:
        changes["description"] = piece.description
    if piece.metadata:
        changes["metadata"] = {**(artifact.metadata or {}), **piece.metadata}
    if piece.extensions:
        changes["extensions"] = tuple(dict.fromkeys(artifact.extensions + piece.extensions))
    return artifact.model_copy(update=changes)


def _require_same(task: Task, task_id: str, context_id: str) -> None:
    """Refuse an event of another task; a context that is not said is the task's own."""
    if task_id != task.id or (context_id and context_id != task.context_id):
        raise InvalidAgentResponseError(
            f"an event of task {task_id!r} in context {context_id!r} came to "
            f"task {task.id!r} in context {task.context_id!r}",
            task_id=task.id,
        )
