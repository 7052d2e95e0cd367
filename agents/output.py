"""Typed output: an answer is checked against its schema, and repaired once by the model.

Also how the stock agents recall and ask their model, and what a finished task gave.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, UnknownType, ValidationError
from jsonschema.validators import validator_for
from pydantic import BaseModel
from pydantic import ValidationError as ModelValidationError
from referencing.exceptions import Unresolvable
from referencing.jsonschema import EMPTY_REGISTRY

from repertory.protocol import Task
from repertory.xp_store import Hit

from .agent import AgentSpec, ModelOptions
from .errors import OutputInvalidError
from .layout import alternating, as_data, defused, shortened
from .models import ChatMessage, ChatRequest, ChatResult, Tier
from .turn import Turn

# What is said of a wrong answer is bounded, since it goes back to the model.
_FAULTS = 8
_FAULT = 240


def faults_of(
    value: Any, schema: Mapping[str, Any], output_type: type[Any] | None = None
) -> list[str]:
    """What is wrong with `value`, one sentence each; empty when it fits.

    A schema may come from outside (a tool server's): one that is no schema, or
    that refers to another document, is a fault too, and nothing is fetched.
    """
    kind = validator_for(schema, default=Draft202012Validator)
    try:
        kind.check_schema(dict(schema))
        found: list[ValidationError] = list(
            islice(kind(schema, registry=EMPTY_REGISTRY).iter_errors(value), _FAULTS)
        )
    except (SchemaError, Unresolvable, UnknownType, re.error, RecursionError) as error:
        told = error.message if isinstance(error, SchemaError) else str(error)
        return [shortened(f"the schema cannot be used: {told}", _FAULT)]
    found.sort(key=lambda error: list(map(str, error.absolute_path)))
    faults = [_fault(error.absolute_path, error.message) for error in found]
    if not faults and output_type is not None and issubclass(output_type, BaseModel):
        try:
            output_type.model_validate(value)
        except ModelValidationError as invalid:
            faults = [_fault(each["loc"], each["msg"]) for each in invalid.errors()]
    return faults[:_FAULTS]


def _fault(path: Sequence[Any], told: str) -> str:
    return shortened(f"{'.'.join(map(str, path)) or 'the answer'}: {told}", _FAULT)


async def recalled(turn: Turn, spec: AgentSpec, words: str) -> Sequence[Hit]:
    """The packs that a stock agent puts before its model: of its family, as many as it may."""
    if not spec.recall or not words.strip():
        return ()
    return await turn.recall(words, family=spec.family or None, limit=spec.recall)


def answer_faults(
    answer: ChatResult, schema: Mapping[str, Any], output_type: type[Any] | None = None
) -> list[str]:
    """As `faults_of`, of a model's answer, which may also be torn or no JSON at all."""
    if answer.parsed is not None:
        return faults_of(answer.parsed, schema, output_type)
    if answer.finish_reason == "length":
        return ["the answer is cut off, it was too long; give a shorter one"]
    return ["the answer is not JSON"]


def chat_request(
    options: ModelOptions,
    messages: Sequence[ChatMessage],
    duty: Tier,
    schema: Mapping[str, Any] | None = None,
) -> ChatRequest:
    """A request as the stock agents make them."""
    return ChatRequest(
        messages=alternating(messages),
        duty=duty,
        json_schema=dict(schema) if schema is not None else None,
        max_tokens=options.max_tokens,
        temperature=options.temperature,
        seed=options.seed,
    )


def again(request: ChatRequest, answer: ChatResult, faults: Sequence[str]) -> ChatRequest:
    """The same request once more, after an answer with these faults."""
    said = ChatMessage(role="assistant", content=defused(answer.text))
    told = ChatMessage(
        role="user",
        content=f"That answer has these faults:\n{as_data(chr(10).join(faults))}\n"
        "Give the whole answer again without them.",
    )
    return request.model_copy(update={"messages": (*request.messages, said, told)})


async def typed_answer(turn: Turn, request: ChatRequest, spec: AgentSpec) -> Any:
    """Ask the model for JSON that fits the agent's output, with one attempt at repair.

    Raises:
        OutputInvalidError: The repaired answer does not fit either; the faults are in it.
    """
    schema = dict(spec.output_schema or {})
    request = request.model_copy(update={"json_schema": schema})
    answer = await turn.chat(request)
    faults = answer_faults(answer, schema, spec.output_type)
    if faults:
        await turn.note(f"the first answer did not fit its schema: {'; '.join(faults)}")
        answer = await turn.chat(again(request, answer, faults))
        faults = answer_faults(answer, schema, spec.output_type)
    if faults:
        raise OutputInvalidError(
            f"{spec.name}'s model gave no answer that fits its output, also after one repair:"
            f" {'; '.join(faults)}",
            agent=spec.name,
            faults=tuple(faults),
        )
    return answer.parsed


def result_of(task: Task) -> Any:
    """What a finished task gave: its last artifact's data or text, else its last words."""
    for artifact in reversed(task.artifacts):
        for part in artifact.parts:
            if part.has_data:
                return part.data
            if part.text is not None:
                return part.text
    message = task.status.message
    if message is None:
        return None
    return message.data if message.data is not None else message.text
