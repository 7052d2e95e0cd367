import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repertory.protocol import (
    LEGAL_MOVES,
    Artifact,
    IllegalMoveError,
    InvalidAgentResponseError,
    Message,
    Part,
    StreamResponse,
    Task,
    TaskArtifactUpdateEvent,
    TaskState,
    TaskStatus,
    TaskStatusUpdateEvent,
    agent_message,
    apply_event,
    is_interrupted,
    is_terminal,
    move,
    user_message,
)
from tests.claims import claim

TERMINAL = {TaskState.COMPLETED, TaskState.FAILED, TaskState.CANCELED, TaskState.REJECTED}
INTERRUPTED = {TaskState.INPUT_REQUIRED, TaskState.AUTH_REQUIRED}
HERE: list[TaskState | None] = [None, *TaskState]


def is_legal(now: TaskState | None, to: TaskState) -> bool:
    """The rules in words, beside the table that they are checked against."""
    if now is None:
        return to is TaskState.SUBMITTED
    if now in TERMINAL:
        return False
    return to is not TaskState.SUBMITTED or now is TaskState.SUBMITTED


@claim("a2a:life-cycle")
@pytest.mark.parametrize("to", TaskState)
@pytest.mark.parametrize("now", HERE)
def test_a_task_moves_only_where_the_table_says(now: TaskState | None, to: TaskState) -> None:
    """Spec: A2A 1.0, section 4.1.3: SUBMITTED first, terminal states last, none go back."""
    assert (to in LEGAL_MOVES[now]) is is_legal(now, to)
    if is_legal(now, to):
        assert move(now, to) is to
    else:
        with pytest.raises(IllegalMoveError) as caught:
            move(now, to)
        assert (caught.value.now, caught.value.to) == (now, to)
        assert to.name in str(caught.value)


def test_the_table_has_a_row_for_every_state_and_cannot_be_changed() -> None:
    """Ours: no other code decides a state."""
    assert set(LEGAL_MOVES) == set(HERE)
    with pytest.raises(TypeError):
        LEGAL_MOVES[TaskState.COMPLETED] = frozenset(TaskState)  # type: ignore[index]  # the point


@pytest.mark.parametrize("state", TaskState)
def test_a_state_is_terminal_or_interrupted_or_neither(state: TaskState) -> None:
    """Spec: A2A 1.0, section 4.1.3."""
    assert is_terminal(state) is (state in TERMINAL)
    assert is_interrupted(state) is (state in INTERRUPTED)
    assert is_terminal(state) is (not LEGAL_MOVES[state])


def test_an_illegal_move_says_where_the_task_may_go() -> None:
    """Ours: the sentence is what a person reads."""
    with pytest.raises(IllegalMoveError, match=r"in COMPLETED cannot go to WORKING; .* it ended"):
        move(TaskState.COMPLETED, TaskState.WORKING)
    with pytest.raises(IllegalMoveError, match=r"a new task .* may go SUBMITTED$"):
        move(None, TaskState.WORKING)


@settings(max_examples=60, deadline=None, database=None)
@given(st.lists(st.sampled_from(list(TaskState)), max_size=12))
def test_any_walk_ends_at_its_first_terminal_state(wishes: list[TaskState]) -> None:
    """Ours: whatever is wished for, a task is submitted once and ends at most once."""
    walked: list[TaskState] = []
    for wish in wishes:
        try:
            walked.append(move(walked[-1] if walked else None, wish))
        except IllegalMoveError:
            continue
    assert all(is_legal(now, to) for now, to in zip([None, *walked], walked, strict=False))
    assert sum(map(is_terminal, walked)) <= 1
    assert not any(is_terminal(state) for state in walked[:-1])
    assert walked[:1] in ([], [TaskState.SUBMITTED])


QUESTION = user_message("do it", message_id="q")
SUBMITTED = Task(
    id="t", context_id="c", status=TaskStatus(state=TaskState.SUBMITTED), history=(QUESTION,)
)
BEGUN = StreamResponse(task=SUBMITTED)


def status(
    state: TaskState, message: Message | None = None, metadata: dict[str, int] | None = None
) -> StreamResponse:
    return StreamResponse(
        status_update=TaskStatusUpdateEvent(
            task_id="t",
            context_id="c",
            status=TaskStatus(state=state, message=message),
            metadata=metadata,
        )
    )


def artifact(artifact_id: str, *texts: str, append: bool = False, **said: object) -> StreamResponse:
    new = Artifact.model_validate(
        {"artifact_id": artifact_id, "parts": [{"text": text} for text in texts], **said}
    )
    update = TaskArtifactUpdateEvent(task_id="t", context_id="c", artifact=new, append=append)
    return StreamResponse(artifact_update=update)


def fold(*events: StreamResponse) -> Task:
    task: Task | None = None
    for event in events:
        task = apply_event(task, event)
    assert task is not None
    return task


def test_a_status_moves_the_message_before_it_into_the_history() -> None:
    """Spec: A2A 1.0; the current message is the status's, the earlier ones are history."""
    first, second = agent_message("half done"), agent_message("done")
    task = fold(
        BEGUN,
        status(TaskState.WORKING, first),
        status(TaskState.WORKING),
        status(TaskState.COMPLETED, second),
    )
    assert task.status.state is TaskState.COMPLETED
    assert task.status.message == second
    assert task.history == (QUESTION, first)


def test_an_artifact_replaces_the_one_of_its_id_in_its_place() -> None:
    """Spec: A2A 1.0, section 4.2.2: without append the artifact is sent anew."""
    task = fold(BEGUN, artifact("a", "1"), artifact("b", "2"), artifact("a", "3", "4"))
    assert [(each.artifact_id, len(each.parts)) for each in task.artifacts] == [("a", 2), ("b", 1)]
    assert task.artifacts[0].parts[0].text == "3"


def test_an_appended_piece_adds_its_parts_to_the_artifact_of_its_id() -> None:
    """Spec: A2A 1.0, section 4.2.2: append adds to a previously sent artifact."""
    task = fold(
        BEGUN,
        artifact("a", "1", name="list", metadata={"k": 1, "l": 1}, extensions=["x"]),
        artifact("b", "2"),
        artifact("a", "3", append=True, metadata={"l": 2}, extensions=["x", "y"]),
        artifact("a", append=True, description="whole"),
    )
    whole = task.artifacts[0]
    assert whole.parts == (Part(text="1"), Part(text="3"))
    assert (whole.name, whole.description) == ("list", "whole")
    assert whole.metadata == {"k": 1, "l": 2}
    assert whole.extensions == ("x", "y")
    assert task.artifacts[1].parts == (Part(text="2"),)


def test_a_piece_of_an_artifact_that_is_not_there_is_refused() -> None:
    """Spec: A2A 1.0, section 4.2.2: append needs a previously sent artifact."""
    with pytest.raises(InvalidAgentResponseError, match="no artifact 'b' to append to"):
        fold(BEGUN, artifact("a", "1"), artifact("b", "2", append=True))


def test_metadata_of_a_status_joins_that_of_the_task() -> None:
    """Ours: as the official SDK merges it."""
    task = fold(
        BEGUN,
        status(TaskState.WORKING, metadata={"a": 1, "b": 1}),
        status(TaskState.WORKING, metadata={"b": 2}),
    )
    assert task.metadata == {"a": 1, "b": 2}


def test_a_message_of_the_task_joins_its_history() -> None:
    """Ours: what a person answers to INPUT_REQUIRED is part of the log."""
    answer = user_message("yes", task_id="t", context_id="c")
    task = fold(BEGUN, status(TaskState.INPUT_REQUIRED), StreamResponse(message=answer))
    assert task.history == (QUESTION, answer)
    assert task.status.state is TaskState.INPUT_REQUIRED


def test_a_task_in_the_middle_of_its_life_begins_a_fold() -> None:
    """Spec: A2A 1.0, a subscription's first event is the task as it is."""
    working = SUBMITTED.model_copy(update={"status": TaskStatus(state=TaskState.WORKING)})
    assert fold(StreamResponse(task=working), status(TaskState.COMPLETED)).status.state is (
        TaskState.COMPLETED
    )
    again = fold(BEGUN, artifact("a", "1"), StreamResponse(task=working))
    assert again == working


def test_events_that_do_not_belong_are_refused() -> None:
    """Ours: a mixed-up log is found where it is read."""
    with pytest.raises(InvalidAgentResponseError, match="before its task"):
        apply_event(None, status(TaskState.WORKING))
    with pytest.raises(InvalidAgentResponseError, match="'other'"):
        fold(BEGUN, StreamResponse(task=SUBMITTED.model_copy(update={"id": "other"})))
    with pytest.raises(InvalidAgentResponseError, match="context 'd'"):
        fold(BEGUN, StreamResponse(message=user_message("x", task_id="t", context_id="d")))
    with pytest.raises(IllegalMoveError):
        fold(BEGUN, status(TaskState.COMPLETED), status(TaskState.WORKING))
    with pytest.raises(IllegalMoveError):
        fold(BEGUN, status(TaskState.COMPLETED), BEGUN)


def test_folding_leaves_what_was_there_untouched() -> None:
    """Ours: snapshots are values; a reader may keep an old one."""
    before = fold(BEGUN, artifact("a", "1"))
    kept = before.wire()
    apply_event(before, artifact("a", "2", append=True))
    apply_event(before, status(TaskState.COMPLETED, agent_message("done"), {"k": 1}))
    assert before.wire() == kept
