import pytest
from a2a.types import a2a_pb2
from google.protobuf.json_format import ParseDict

from repertory.protocol import (
    GetTaskRequest,
    InvalidParamsError,
    ListTasksRequest,
    ListTasksResponse,
    SendMessageConfiguration,
    SendMessageRequest,
    SendMessageResponse,
    Task,
    TaskPushNotificationConfig,
    TaskState,
    TaskStatus,
    user_message,
)

TASK = Task(id="t", status=TaskStatus(state=TaskState.WORKING))


def test_no_history_is_asked_for_by_zero_and_all_of_it_by_nothing() -> None:
    """Spec: A2A 1.0, history_length has presence."""
    assert GetTaskRequest(id="t", history_length=0).wire() == {"id": "t", "historyLength": 0}
    assert GetTaskRequest(id="t").wire() == {"id": "t"}
    assert GetTaskRequest.parse({"id": "t", "historyLength": "0"}).history_length == 0


@pytest.mark.parametrize("sent", ["TASK_STATE_UNSPECIFIED", 0, None])
def test_an_unspecified_status_filters_nothing(sent: object) -> None:
    """Spec: A2A 1.0, ListTasksRequest.status; proto3 has no presence for it."""
    assert ListTasksRequest.parse({"status": sent}) == ListTasksRequest()


def test_a_status_to_filter_by_is_printed_by_name() -> None:
    """Spec: A2A 1.0, ListTasksRequest.status."""
    request = ListTasksRequest(status=TaskState.WORKING, page_size=0, include_artifacts=False)
    assert request.wire() == {
        "status": "TASK_STATE_WORKING",
        "pageSize": 0,
        "includeArtifacts": False,
    }
    theirs = ParseDict(request.wire(), a2a_pb2.ListTasksRequest())
    assert theirs.HasField("page_size")
    assert theirs.HasField("include_artifacts")


def test_the_last_page_prints_no_token() -> None:
    """Spec: ProtoJSON omits an empty string; a reader takes its absence for the end."""
    assert ListTasksResponse(tasks=(TASK,), page_size=1, total_size=1).wire() == {
        "tasks": [TASK.wire()],
        "pageSize": 1,
        "totalSize": 1,
    }


def test_an_answer_is_a_task_or_a_message_and_says_which() -> None:
    """Spec: A2A 1.0, SendMessageResponse is a one-of."""
    message = user_message("hello")
    assert SendMessageResponse(task=TASK).payload is TASK
    assert SendMessageResponse(message=message).payload is message
    for wrong in ({}, {"task": TASK.wire(), "message": message.wire()}):
        with pytest.raises(InvalidParamsError, match="exactly one of task, message"):
            SendMessageResponse.parse(wrong)


def test_a_message_without_content_is_refused() -> None:
    """Spec: A2A 1.0, Message.parts is required."""
    empty = user_message("x").model_copy(update={"parts": ()})
    with pytest.raises(
        InvalidParamsError, match=r"SendMessageRequest\.message: needs at least one"
    ):
        SendMessageRequest.parse({"message": empty.wire()})


def test_a_request_carries_its_configuration() -> None:
    """Spec: A2A 1.0, SendMessageConfiguration."""
    request = SendMessageRequest(
        message=user_message("hello", message_id="m"),
        configuration=SendMessageConfiguration(
            accepted_output_modes=("text/plain",),
            return_immediately=True,
            task_push_notification_config=TaskPushNotificationConfig(url="https://x", token="s"),
        ),
    )
    assert request.wire()["configuration"] == {
        "acceptedOutputModes": ["text/plain"],
        "returnImmediately": True,
        "taskPushNotificationConfig": {"url": "https://x", "token": "s"},
    }
    assert SendMessageRequest.parse(request.wire()) == request
