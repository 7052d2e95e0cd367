"""Typed output: an answer is checked against its schema, and repaired once by the model."""

from collections.abc import Mapping
from typing import Any

from jsonschema import Draft202012Validator
from pydantic import BaseModel, ValidationError

from .agent import AgentSpec
from .errors import OutputInvalidError
from .layout import as_data
from .models import ChatMessage, ChatRequest
from .turn import Turn

# What is said of a wrong answer is bounded, since it goes back to the model.
_FAULTS = 8


def faults_of(value: Any, schema: Mapping[str, Any], output_type: type[Any] | None) -> list[str]:
    """What is wrong with `value`, one sentence each; empty when it fits."""
    faults = [
        f"{'.'.join(str(step) for step in error.absolute_path) or 'the answer'}: {error.message}"
        for error in sorted(
            Draft202012Validator(schema).iter_errors(value), key=lambda e: list(map(str, e.path))
        )
    ]
    if not faults and output_type is not None and issubclass(output_type, BaseModel):
        try:
            output_type.model_validate(value)
        except ValidationError as error:
            faults = [
                f"{'.'.join(str(step) for step in each['loc']) or 'the answer'}: {each['msg']}"
                for each in error.errors()
            ]
    return faults[:_FAULTS]


async def typed_answer(turn: Turn, request: ChatRequest, spec: AgentSpec) -> Any:
    """Ask the model for JSON that fits the agent's output, with one attempt at repair.

    Raises:
        OutputInvalidError: The repaired answer does not fit either; the faults are in it.
    """
    schema = spec.output_schema or {}
    constrained = request.model_copy(update={"json_schema": dict(schema)})
    answer = await turn.chat(constrained)
    faults = ["the answer is not JSON"] if answer.parsed is None else []
    faults = faults or faults_of(answer.parsed, schema, spec.output_type)
    if not faults:
        return answer.parsed
    await turn.note(f"the first answer did not fit its schema: {'; '.join(faults)}")
    repair = constrained.model_copy(
        update={
            "messages": (
                *constrained.messages,
                ChatMessage(role="assistant", content=answer.text),
                ChatMessage(
                    role="user",
                    content="That answer has these faults:\n"
                    + as_data("\n".join(faults))
                    + "\nGive the whole answer again without them.",
                ),
            )
        }
    )
    answer = await turn.chat(repair)
    faults = ["the answer is not JSON"] if answer.parsed is None else []
    faults = faults or faults_of(answer.parsed, schema, spec.output_type)
    if faults:
        raise OutputInvalidError(
            f"{spec.name}'s model gave no answer that fits its output, also after one repair:"
            f" {'; '.join(faults)}",
            agent=spec.name,
            faults=tuple(faults),
        )
    return answer.parsed
