"""What a task says, as an MCP host shows it: results, content blocks and questions.

Pure mappings, in both directions (docs/binding.md, section 14): an A2A task to a
tool's result, its question to MCP's input requests, and their answers to a message.
"""

from collections.abc import Mapping
from typing import Any, Final

import jsonschema
import orjson
from mcp.types import (
    AudioContent,
    BlobResourceContents,
    CallToolResult,
    ContentBlock,
    EmbeddedResource,
    ImageContent,
    ResourceLink,
    TextContent,
    TextResourceContents,
)

from .lifecycle import is_interrupted
from .messages import Message, Part, Role, new_id
from .metadata import QUESTION_KEY, REASON_KEY, TASK_META
from .tasks import Task, TaskState
from .wire import to_base64

# A data part of this type in a question holds MCP's own input requests, by key.
INPUT_REQUESTS: Final = "application/vnd.repertory.input-requests+json"
# A data part of this type in a question is the JSON Schema of the answer.
SCHEMA: Final = "application/schema+json"
ANSWER: Final = "answer"
# What a task is marked with whose agent broke, rather than found something.
CRASHED: Final = frozenset({"INTERNAL_ERROR", "AGENT_CRASHED"})

_CAPABILITY_OF: Final = {
    "elicitation/create": "elicitation",
    "sampling/createMessage": "sampling",
    "roots/list": "roots",
}


def result_of(task: Task, *, shaped: bool = False) -> CallToolResult:
    """The result of a tool call whose task has ended, or can go no further here.

    shaped: whether the tool declares an output schema; an answer without data is then
    an error, which a client would otherwise make of it in its own words.
    """
    parts = [part for artifact in task.artifacts for part in artifact.parts]
    said = task.status.message
    if said is not None and (not parts or task.status.state is not TaskState.COMPLETED):
        parts += said.parts
    content: list[ContentBlock] = [_block(part, task.id) for part in parts]
    shown: dict[str, Any] = {
        "taskId": task.id,
        "contextId": task.context_id,
        "state": task.status.state.value,
    }
    failed = task.status.state is not TaskState.COMPLETED
    if not content:
        content.append(TextContent(text=task.status.state.name.lower() if failed else "done"))
    structured = next((part.data for part in parts if part.has_data), None)
    if failed:
        structured = {**shown, "reason": said.text if said is not None else ""}
        if is_interrupted(task.status.state):
            content.append(
                TextContent(text=f"Task {task.id} waits. To go on, call again with its taskId.")
            )
    unshaped = shaped and not failed and not isinstance(structured, dict)
    if unshaped:
        content.append(TextContent(text="The answer has not the shape that the tool declares."))
    result = CallToolResult(
        content=content,
        structured_content=structured if isinstance(structured, dict) else None,
        is_error=unshaped or (failed and task.status.state is not TaskState.INPUT_REQUIRED),
    )
    # By its wire name the two type checkers see it differently.
    return result.model_copy(update={"meta": {TASK_META: shown}})


def crash_of(task: Task) -> dict[str, Any] | None:
    """The JSON-RPC error of a task whose agent broke, which is no finding of the agent."""
    reason = (task.metadata or {}).get(REASON_KEY)
    if task.status.state is not TaskState.FAILED or reason not in CRASHED:
        return None
    said = task.status.message
    return {"code": -32603, "message": said.text if said is not None else "the agent broke"}


def input_requests(task: Task) -> dict[str, dict[str, Any]]:
    """What the host is asked, by key; {} when the task asks nothing."""
    if task.status.state is not TaskState.INPUT_REQUIRED:
        return {}
    said = task.status.message
    parts = said.parts if said is not None else ()
    for part in parts:
        if part.media_type == INPUT_REQUESTS and isinstance(part.data, dict):
            return {str(key): dict(each) for key, each in part.data.items()}
    schema = next((p.data for p in parts if p.media_type == SCHEMA), None)
    text = said.text if said is not None else ""
    params = {
        "message": text or "The agent needs an answer to go on.",
        "requestedSchema": schema if isinstance(schema, dict) else _plain_schema(task),
    }
    return {ANSWER: {"method": "elicitation/create", "params": params}}


def supported(
    requests: Mapping[str, dict[str, Any]], capabilities: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """The requests that a client with these capabilities can answer."""
    return {
        key: each
        for key, each in requests.items()
        if _CAPABILITY_OF.get(str(each.get("method")), "?") in capabilities
    }


def unanswered(
    requests: Mapping[str, Mapping[str, Any]], responses: Mapping[str, Any]
) -> dict[str, Any]:
    """The requests without an answer of the shape that they ask for."""
    return {
        key: dict(each) for key, each in requests.items() if not _fits(each, responses.get(key))
    }


def declined(requests: Mapping[str, Mapping[str, Any]], responses: Mapping[str, Any]) -> bool:
    """Whether a plain question was declined, which ends its task."""
    if set(requests) != {ANSWER}:
        return False
    return bool(responses.get(ANSWER, {}).get("action") != "accept")


def answer_message(
    task: Task, requests: Mapping[str, Mapping[str, Any]], responses: Mapping[str, Any]
) -> Message:
    """The message that goes on with the task: its answer, or all answers by key as data."""
    part = Part(data={key: responses[key] for key in requests})
    if set(requests) == {ANSWER}:
        given = responses[ANSWER].get("content") or {}
        plain = set(given) == {ANSWER} and isinstance(given[ANSWER], str | int | float)
        part = Part(text=str(given[ANSWER])) if plain else Part(data=given)
    return Message(
        message_id=new_id(),
        role=Role.USER,
        parts=(part,),
        task_id=task.id,
        context_id=task.context_id,
    )


def _plain_schema(task: Task) -> dict[str, Any]:
    question = (task.metadata or {}).get(QUESTION_KEY)
    options = question.get("options") if isinstance(question, dict) else None
    answer: dict[str, Any] = {"type": "string"}
    if isinstance(options, list) and options:
        answer["enum"] = [str(each) for each in options]
    return {"type": "object", "properties": {ANSWER: answer}, "required": [ANSWER]}


def _fits(request: Mapping[str, Any], response: Any) -> bool:
    if not isinstance(response, dict):
        return False
    if request.get("method") != "elicitation/create":
        return True
    action = response.get("action")
    if action != "accept":
        return action in ("decline", "cancel")
    schema = request.get("params", {}).get("requestedSchema")
    if not isinstance(schema, dict):
        return True
    try:
        jsonschema.validate(response.get("content") or {}, schema)
    except (jsonschema.ValidationError, jsonschema.SchemaError):
        return False
    return True


def _block(part: Part, task_id: str) -> ContentBlock:
    named = (part.metadata or {}).get("uri")
    uri = named if isinstance(named, str) else f"a2a://tasks/{task_id}/parts/{part.filename or '0'}"
    kind = part.media_type or None
    if part.url is not None:
        return ResourceLink(uri=part.url, name=part.filename or part.url, mime_type=kind)
    if part.raw is not None:
        data, family = to_base64(part.raw), (kind or "").partition("/")[0]
        if family == "image":
            return ImageContent(data=data, mime_type=kind or "")
        if family == "audio":
            return AudioContent(data=data, mime_type=kind or "")
        return EmbeddedResource(resource=BlobResourceContents(uri=uri, mime_type=kind, blob=data))
    text = part.text if part.text is not None else orjson.dumps(part.data).decode()
    if isinstance(named, str) or part.filename:
        return EmbeddedResource(resource=TextResourceContents(uri=uri, mime_type=kind, text=text))
    return TextContent(text=text)
