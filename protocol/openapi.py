"""The HTTP+JSON face as an OpenAPI 3.1 document, made from the models that read its requests."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from pydantic.json_schema import models_json_schema

from .cards import AgentCard
from .operations import (
    ListTaskPushNotificationConfigsResponse,
    ListTasksResponse,
    SendMessageRequest,
    SendMessageResponse,
    TaskPushNotificationConfig,
)
from .tasks import StreamResponse, Task, TaskState
from .wire import WireModel

_KIND: Final = "application/a2a+json"
_MODELS: Final = (
    AgentCard,
    ListTaskPushNotificationConfigsResponse,
    ListTasksResponse,
    SendMessageRequest,
    SendMessageResponse,
    StreamResponse,
    Task,
    TaskPushNotificationConfig,
)
_ERRORS: Final = ("400", "401", "403", "404", "409", "413", "429", "500", "503", "504")
_WHOLE: Final = {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1}
_TEXT: Final = {"type": "string"}
_ERROR: Final[Mapping[str, Any]] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "status", "message", "details"],
            "properties": {
                "code": {"type": "integer"},
                "status": {"type": "string"},
                "message": {"type": "string"},
                "details": {"type": "array", "items": {"type": "object"}},
            },
        }
    },
}


def openapi_document(card: AgentCard) -> dict[str, Any]:
    """The document for the agent of `card`, whose server is where its HTTP+JSON interface is."""
    _, found = models_json_schema(
        [(model, "validation") for model in _MODELS], ref_template="#/components/schemas/{model}"
    )
    schemas = {name: _camel(schema) for name, schema in found.get("$defs", {}).items()}
    # What the models check beyond their fields' types.
    schemas["Part"]["oneOf"] = [{"required": [name]} for name in ("text", "raw", "url", "data")]
    schemas["Message"]["required"].append("parts")
    schemas["Message"]["properties"]["parts"]["minItems"] = 1
    served = [
        each.url for each in card.supported_interfaces if each.protocol_binding == "HTTP+JSON"
    ]
    return {
        "openapi": "3.1.0",
        "info": {"title": card.name, "version": card.version or "1", "summary": card.description},
        "servers": [{"url": url} for url in served],
        "paths": _paths(),
        "components": {"schemas": {**schemas, "Error": _ERROR}},
    }


def _paths() -> dict[str, Any]:
    one = "/tasks/{id}"
    hooks = "/tasks/{taskId}/pushNotificationConfigs"
    return {
        "/message:send": {
            "post": _operation(
                "SendMessage", "Send a message", SendMessageResponse, body=SendMessageRequest
            )
        },
        "/message:stream": {
            "post": _operation(
                "SendStreamingMessage",
                "Send a message and watch its task",
                StreamResponse,
                body=SendMessageRequest,
                stream=True,
            )
        },
        "/tasks": {
            "get": _operation(
                "ListTasks", "The caller's tasks", ListTasksResponse, parameters=_listing()
            )
        },
        one: {
            "get": _operation(
                "GetTask",
                "A task",
                Task,
                parameters=[_path("id"), _query("historyLength", _WHOLE)],
            )
        },
        one + ":cancel": {
            "post": _operation("CancelTask", "Ask a task to end", Task, parameters=[_path("id")])
        },
        one + ":subscribe": {
            "post": _operation(
                "SubscribeToTask",
                "A task and then its events",
                StreamResponse,
                parameters=[_path("id")],
                stream=True,
            )
        },
        hooks: {
            "post": _operation(
                "CreateTaskPushNotificationConfig",
                "Push a task's events",
                TaskPushNotificationConfig,
                body=TaskPushNotificationConfig,
                parameters=[_path("taskId")],
            ),
            "get": _operation(
                "ListTaskPushNotificationConfigs",
                "Where a task's events are pushed",
                ListTaskPushNotificationConfigsResponse,
                parameters=[
                    _path("taskId"),
                    _query("pageSize", _WHOLE),
                    _query("pageToken", _TEXT),
                ],
            ),
        },
        hooks + "/{id}": {
            "get": _operation(
                "GetTaskPushNotificationConfig",
                "One place where a task's events are pushed",
                TaskPushNotificationConfig,
                parameters=[_path("taskId"), _path("id")],
            ),
            "delete": _operation(
                "DeleteTaskPushNotificationConfig",
                "Push there no more",
                None,
                parameters=[_path("taskId"), _path("id")],
            ),
        },
        "/extendedAgentCard": {
            "get": _operation("GetExtendedAgentCard", "The card for this caller", AgentCard)
        },
    }


def _operation(
    name: str,
    summary: str,
    answer: type[WireModel] | None,
    *,
    body: type[WireModel] | None = None,
    parameters: Iterable[Mapping[str, Any]] = (),
    stream: bool = False,
) -> dict[str, Any]:
    schema = {"type": "object"} if answer is None else _ref(answer.__name__)
    # OpenAPI 3.1 has no schema for the events of a stream; the data of each is a StreamResponse.
    content = {"text/event-stream": {}} if stream else {_KIND: {"schema": schema}}
    said: dict[str, Any] = {
        "operationId": name,
        "summary": summary,
        "parameters": [*parameters, _header("A2A-Version", "1.0")],
        "responses": {
            "200": {"description": summary, "content": content},
            **{
                status: {
                    "description": "An error, as AIP-193 has it",
                    "content": {"application/json": {"schema": _ref("Error")}},
                }
                for status in _ERRORS
            },
        },
    }
    if body is not None:
        said["requestBody"] = {
            "required": True,
            "content": {_KIND: {"schema": _ref(body.__name__)}},
        }
    return said


def _listing() -> list[dict[str, Any]]:
    states = {"type": "string", "enum": [state.value for state in TaskState]}
    return [
        _query("contextId", _TEXT),
        _query("status", states),
        _query("pageSize", {"type": "integer", "minimum": 1, "maximum": 100}),
        _query("pageToken", _TEXT),
        _query("historyLength", _WHOLE),
        _query("statusTimestampAfter", {"type": "string", "format": "date-time"}),
        _query("includeArtifacts", {"type": "boolean"}),
    ]


def _path(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _query(name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "schema": schema}


def _header(name: str, value: str) -> dict[str, Any]:
    schema = {"type": "string", "enum": [value]}
    return {"name": name, "in": "header", "required": True, "schema": schema}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _camel(schema: Any) -> Any:
    """`schema` without the defaults of absent fields, which ProtoJSON does not print."""
    if isinstance(schema, dict):
        return {key: _camel(value) for key, value in schema.items() if key != "default"}
    if isinstance(schema, list):
        return [_camel(each) for each in schema]
    return schema
