"""A2A 0.3 in terms of 1.0: its JSON-RPC requests read, its answers written, its card added.

Only shapes (A2A 0.3.0, sections 5 to 7): what an operation does is the same in
both. 0.3 tells objects apart by `kind`, writes states and roles in small letters,
wraps files, and ends a stream with an event that says `final`.
"""

from collections.abc import Mapping
from typing import Any, Final

from .cards import AgentCard
from .errors import InvalidParamsError
from .lifecycle import is_interrupted, is_terminal
from .messages import Artifact, Message, Part, Role
from .operations import TaskPushNotificationConfig
from .tasks import StreamResponse, Task, TaskState, TaskStatus
from .wire import rfc3339, to_base64

VERSION: Final = "0.3"
FULL_VERSION: Final = "0.3.0"

# The 1.0 operation behind each of 0.3's methods.
METHODS: Final[Mapping[str, str]] = {
    "message/send": "SendMessage",
    "message/stream": "SendStreamingMessage",
    "tasks/get": "GetTask",
    "tasks/cancel": "CancelTask",
    "tasks/resubscribe": "SubscribeToTask",
    "tasks/pushNotificationConfig/set": "CreateTaskPushNotificationConfig",
    "tasks/pushNotificationConfig/get": "GetTaskPushNotificationConfig",
    "tasks/pushNotificationConfig/list": "ListTaskPushNotificationConfigs",
    "tasks/pushNotificationConfig/delete": "DeleteTaskPushNotificationConfig",
    "agent/getAuthenticatedExtendedCard": "GetExtendedAgentCard",
}

_STATES: Final = {
    TaskState.SUBMITTED: "submitted",
    TaskState.WORKING: "working",
    TaskState.INPUT_REQUIRED: "input-required",
    TaskState.AUTH_REQUIRED: "auth-required",
    TaskState.COMPLETED: "completed",
    TaskState.CANCELED: "canceled",
    TaskState.FAILED: "failed",
    TaskState.REJECTED: "rejected",
}


def request_from_03(operation: str, params: Any) -> dict[str, Any]:
    """The request's ProtoJSON in 1.0.

    Raises:
        InvalidParamsError: It is not what 0.3 has for this operation.
    """
    given = _object(params, "params")
    if operation in ("SendMessage", "SendStreamingMessage"):
        return _sent(given)
    if operation in ("GetTask", "CancelTask", "SubscribeToTask"):
        request = _kept(given, "id", "metadata")
        # 0.3 has no way to ask for no history: 0 is all of it.
        if operation == "GetTask" and given.get("historyLength"):
            request["historyLength"] = given["historyLength"]
        return request if operation == "CancelTask" else _without(request, "metadata")
    if operation == "CreateTaskPushNotificationConfig":
        config = _config(given.get("pushNotificationConfig"))
        return {**config, "taskId": given.get("taskId", "")}
    if operation == "ListTaskPushNotificationConfigs":
        return {"taskId": given.get("id", "")}
    if operation == "GetExtendedAgentCard":
        return {}
    return {
        "taskId": given.get("id", ""),
        "id": given.get("pushNotificationConfigId") or given.get("id", ""),
    }


def response_to_03(operation: str, response: Mapping[str, Any]) -> Any:
    """0.3's result for the ProtoJSON that answers the operation in 1.0."""
    if operation == "SendMessage":
        return event_to_03(StreamResponse.parse(response))
    if operation in ("GetTask", "CancelTask"):
        return task_to_03(Task.parse(response))
    if operation in ("CreateTaskPushNotificationConfig", "GetTaskPushNotificationConfig"):
        return _config_to_03(TaskPushNotificationConfig.parse(response))
    if operation == "ListTaskPushNotificationConfigs":
        configs = response.get("configs", ())
        return [_config_to_03(TaskPushNotificationConfig.parse(each)) for each in configs]
    if operation == "GetExtendedAgentCard":
        return {**response, **card_fields_03(AgentCard.parse(response))}
    return None


def event_to_03(event: StreamResponse) -> dict[str, Any]:
    """One event of a stream, or the answer to a message."""
    if event.task is not None:
        return task_to_03(event.task)
    if event.message is not None:
        return message_to_03(event.message)
    if event.status_update is not None:
        update = event.status_update
        return _filled(
            kind="status-update",
            taskId=update.task_id,
            contextId=update.context_id,
            status=_status_to_03(update.status),
            final=is_final(event),
            metadata=update.metadata,
        )
    assert event.artifact_update is not None
    change = event.artifact_update
    return _filled(
        kind="artifact-update",
        taskId=change.task_id,
        contextId=change.context_id,
        artifact=_artifact_to_03(change.artifact),
        append=change.append,
        lastChunk=change.last_chunk,
        metadata=change.metadata,
    )


def is_final(event: StreamResponse) -> bool:
    """Whether a 0.3 stream ends with this event: its task has ended or waits for someone."""
    status = event.status_update.status if event.status_update else None
    return status is not None and (is_terminal(status.state) or is_interrupted(status.state))


def task_to_03(task: Task) -> dict[str, Any]:
    """A task as 0.3 writes it."""
    return _filled(
        kind="task",
        id=task.id,
        contextId=task.context_id,
        status=_status_to_03(task.status),
        history=[message_to_03(each) for each in task.history] or None,
        artifacts=[_artifact_to_03(each) for each in task.artifacts] or None,
        metadata=task.metadata,
    )


def message_to_03(message: Message) -> dict[str, Any]:
    """A message as 0.3 writes it."""
    return _filled(
        kind="message",
        messageId=message.message_id,
        role="user" if message.role is Role.USER else "agent",
        parts=[_part_to_03(each) for each in message.parts],
        contextId=message.context_id or None,
        taskId=message.task_id or None,
        referenceTaskIds=list(message.reference_task_ids) or None,
        extensions=list(message.extensions) or None,
        metadata=message.metadata,
    )


def card_fields_03(card: AgentCard) -> dict[str, Any]:
    """The fields by which a 0.3 client reads a 1.0 card; {} where no interface speaks 0.3."""
    spoken = [each for each in card.supported_interfaces if each.protocol_version == VERSION]
    if not spoken:
        return {}
    first, *others = spoken
    fields: dict[str, Any] = {
        "url": first.url,
        "preferredTransport": first.protocol_binding,
        "protocolVersion": FULL_VERSION,
    }
    if others:
        fields["additionalInterfaces"] = [
            {"url": each.url, "transport": each.protocol_binding} for each in others
        ]
    if card.capabilities is not None and card.capabilities.extended_agent_card:
        fields["supportsAuthenticatedExtendedCard"] = True
    return fields


def _sent(given: Mapping[str, Any]) -> dict[str, Any]:
    request: dict[str, Any] = {"message": _message(given.get("message"))}
    if (metadata := given.get("metadata")) is not None:
        request["metadata"] = metadata
    if (wants := given.get("configuration")) is not None:
        wants = _object(wants, "configuration")
        configuration = _kept(wants, "acceptedOutputModes")
        if wants.get("historyLength"):
            configuration["historyLength"] = wants["historyLength"]
        if wants.get("blocking") is not None:
            configuration["returnImmediately"] = not wants["blocking"]
        if (config := wants.get("pushNotificationConfig")) is not None:
            configuration["taskPushNotificationConfig"] = _config(config)
        request["configuration"] = configuration
    return request


def _message(given: Any) -> dict[str, Any]:
    given = _object(given, "message")
    roles = {"user": Role.USER.value, "agent": Role.AGENT.value}
    parts = given.get("parts")
    if given.get("role") not in roles or not isinstance(parts, list):
        raise InvalidParamsError(
            "message.role is 'user' or 'agent', and message.parts a list (A2A 0.3)", path="message"
        )
    return {
        **_kept(
            given,
            *("messageId", "contextId", "taskId", "metadata", "extensions", "referenceTaskIds"),
        ),
        "role": roles[given["role"]],
        "parts": [_part(each) for each in parts],
    }


def _part(given: Any) -> dict[str, Any]:
    given = _object(given, "message.parts")
    kind = given.get("kind")
    part = _kept(given, "metadata")
    if kind == "text":
        return {**part, **_kept(given, "text")}
    if kind == "data":
        return {**part, **_kept(given, "data")}
    if kind == "file":
        file = _object(given.get("file"), "message.parts.file")
        names = {"bytes": "raw", "uri": "url", "mimeType": "mediaType", "name": "filename"}
        return {**part, **{to: file[name] for name, to in names.items() if file.get(name)}}
    raise InvalidParamsError(
        f"message.parts has a part of kind {kind!r}; A2A 0.3 has text, file and data",
        path="message.parts",
    )


def _part_to_03(part: Part) -> dict[str, Any]:
    if part.text is not None:
        return _filled(kind="text", text=part.text, metadata=part.metadata)
    if part.has_data:
        plain = part.data if isinstance(part.data, dict) else {"value": part.data}
        return _filled(kind="data", data=plain, metadata=part.metadata)
    file = _filled(
        bytes=None if part.raw is None else to_base64(part.raw),
        uri=part.url,
        mimeType=part.media_type or None,
        name=part.filename or None,
    )
    return _filled(kind="file", file=file, metadata=part.metadata)


def _status_to_03(status: TaskStatus) -> dict[str, Any]:
    return _filled(
        state=_STATES[status.state],
        message=None if status.message is None else message_to_03(status.message),
        timestamp=None if status.timestamp is None else rfc3339(status.timestamp),
    )


def _artifact_to_03(artifact: Artifact) -> dict[str, Any]:
    return _filled(
        artifactId=artifact.artifact_id,
        name=artifact.name or None,
        description=artifact.description or None,
        parts=[_part_to_03(each) for each in artifact.parts],
        extensions=list(artifact.extensions) or None,
        metadata=artifact.metadata,
    )


def _config(given: Any) -> dict[str, Any]:
    given = _object(given, "pushNotificationConfig")
    config = _kept(given, "id", "url", "token")
    if (known := given.get("authentication")) is not None:
        known = _object(known, "authentication")
        schemes = known.get("schemes") or ["Bearer"]
        config["authentication"] = {"scheme": schemes[0], **_kept(known, "credentials")}
    return config


def _config_to_03(config: TaskPushNotificationConfig) -> dict[str, Any]:
    known = config.authentication
    inner = _filled(
        id=config.id or None,
        url=config.url,
        token=config.token or None,
        authentication=None
        if known is None
        else _filled(schemes=[known.scheme], credentials=known.credentials or None),
    )
    return {"taskId": config.task_id, "pushNotificationConfig": inner}


def _object(given: Any, name: str) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise InvalidParamsError(f"{name} is an object (A2A 0.3)", path=name)
    return given


def _kept(given: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: given[name] for name in names if given.get(name) is not None}


def _without(given: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in given.items() if key != name}


def _filled(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
