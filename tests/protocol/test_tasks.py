import pytest
from a2a.types import a2a_pb2

from repertory.protocol import (
    Artifact,
    InvalidParamsError,
    Part,
    StreamResponse,
    Task,
    TaskArtifactUpdateEvent,
    TaskState,
    TaskStatus,
    TaskStatusUpdateEvent,
    user_message,
)
from repertory.protocol.wire import WireModel

WORKING = TaskStatus(state=TaskState.WORKING)
PAYLOADS: dict[str, WireModel] = {
    "task": Task(id="t", status=WORKING),
    "message": user_message("hello"),
    "status_update": TaskStatusUpdateEvent(task_id="t", status=WORKING),
    "artifact_update": TaskArtifactUpdateEvent(task_id="t", artifact=Artifact(artifact_id="a")),
}


def test_the_states_are_those_of_a2a_without_the_unspecified() -> None:
    """Spec: A2A 1.0, TaskState."""
    theirs = set(a2a_pb2.TaskState.keys()) - {"TASK_STATE_UNSPECIFIED"}
    assert {state.value for state in TaskState} == theirs


@pytest.mark.parametrize("name", PAYLOADS)
def test_an_event_is_one_of_four_and_says_which(name: str) -> None:
    """Spec: A2A 1.0, StreamResponse."""
    event = StreamResponse.model_validate({name: PAYLOADS[name]})
    assert event.payload is PAYLOADS[name]
    assert list(event.wire().values()) == [PAYLOADS[name].wire()]


def test_an_event_of_two_payloads_is_refused() -> None:
    """Spec: A2A 1.0, StreamResponse is a one-of."""
    two = {"task": PAYLOADS["task"].wire(), "message": PAYLOADS["message"].wire()}
    with pytest.raises(InvalidParamsError, match="exactly one of task, message"):
        StreamResponse.parse(two)


def test_flags_that_are_down_are_not_printed() -> None:
    """Spec: ProtoJSON omits a field without presence that has its default."""
    artifact = Artifact(artifact_id="a", parts=(Part(text="x"),))
    update = TaskArtifactUpdateEvent(task_id="t", artifact=artifact, last_chunk=True)
    assert update.wire() == {
        "taskId": "t",
        "artifact": {"artifactId": "a", "parts": [{"text": "x"}]},
        "lastChunk": True,
    }


def test_empty_metadata_is_printed_and_absent_metadata_is_not() -> None:
    """Spec: ProtoJSON prints a message field whenever it is set."""
    assert Task(id="t", status=WORKING, metadata={}).wire()["metadata"] == {}
    assert "metadata" not in Task(id="t", status=WORKING).wire()
