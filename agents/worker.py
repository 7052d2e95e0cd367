"""The stock agent: instructions, a model, tools, recalled packs and typed output."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from repertory.protocol import Artifact, Part

from .agent import Agent, AgentSpec, ModelOptions, read_options
from .errors import OutputInvalidError, PolicyDeniedError, ToolNotFoundError, ToolServerError
from .layout import (
    as_data,
    as_json,
    defused,
    opening,
    shape_section,
    shortened,
    system_text,
    words_of,
)
from .models import ChatMessage, ChatResult, Tier
from .output import answer_faults, chat_request, faults_of, recalled, typed_answer
from .turn import ToolResult, ToolSpec, Turn

# What the model sees of one tool's result, in characters.
_OBSERVATION = 4000
_ANSWER = "answer"
# Names come from tool servers and stand outside the data marks; others are not offered.
_TOOL_NAME = re.compile(r"[\w./-]{1,160}", re.ASCII)
_CALL_RULE = (
    "Before you answer you may call these tools, one at a time, as often as you need. Say why,"
    f' name the tool and give its arguments as JSON; name the tool "{_ANSWER}" when you are ready.'
)


class WorkerOptions(ModelOptions):
    """What `options` of a worker may hold."""

    max_steps: int = Field(default=8, ge=1)


@dataclass(frozen=True, slots=True)
class _ToolCall:
    tool: str
    arguments: Mapping[str, Any]
    why: str


class Worker(Agent):
    """Answer a message with the agent's model.

    With an output schema the answer is JSON that fits it (a data part), repaired
    once if need be; else it is text. With tools the model first chooses calls,
    one at a time, each with its reason. What a tool says, a refusal and a fault
    are all observations to it. When `max_steps` calls are made it answers from
    what it knows. Options: `max_tokens` of an answer (512), `max_steps` (8),
    `temperature` (0), `seed` (none).
    """

    def __init__(self, spec: AgentSpec) -> None:
        super().__init__(spec)
        self._options = read_options(WorkerOptions, spec)

    async def handle(self, turn: Turn) -> None:
        words = words_of(turn.message)
        hits = await recalled(turn, self.spec, words)
        tools = {
            name: turn.tools[name] for name in sorted(turn.tools) if _TOOL_NAME.fullmatch(name)
        }
        shape = shape_section(self.spec.output_schema)
        system = system_text(self.spec.instructions, shape, _tool_section(tools))
        messages = opening(system, hits, turn.history, words)
        if tools:
            await self._use_tools(turn, tools, messages)
        if self.spec.output_schema is not None:
            request = chat_request(self._options, messages, Tier.EXTRACT)
            part = Part(data=await typed_answer(turn, request, self.spec))
        else:
            request = chat_request(self._options, messages, Tier.GENERATE)
            part = Part(text=(await turn.chat(request)).text)
        await turn.add_artifact(Artifact(artifact_id="answer", name="answer", parts=(part,)))
        await turn.complete()

    # -- tools -----------------------------------------------------------------

    async def _use_tools(
        self, turn: Turn, tools: Mapping[str, ToolSpec], messages: list[ChatMessage]
    ) -> None:
        """Let the model call tools until it is ready to answer; the log stays in `messages`."""
        schema = call_schema(tools)
        in_a_row = 0
        for _ in range(self._options.max_steps):
            request = chat_request(self._options, messages, Tier.GENERATE, schema)
            choice = await turn.chat(request)
            call, faults = _read_call(choice, tools)
            if call is not None and call.tool == _ANSWER:
                messages.append(ChatMessage(role="user", content="Now give your answer."))
                return
            if call is None:
                in_a_row += 1
                if in_a_row > 1:
                    raise OutputInvalidError(
                        f"{self.spec.name}'s model chose no tool, also after one repair:"
                        f" {'; '.join(faults)}",
                        agent=self.spec.name,
                        faults=tuple(faults),
                    )
                seen = f"that is no call: {'; '.join(faults)}"
            else:
                in_a_row = 0
                seen = await self._call(turn, tools[call.tool], call)
            messages.append(ChatMessage(role="assistant", content=defused(choice.text)))
            messages.append(
                ChatMessage(role="user", content=as_data(shortened(seen, _OBSERVATION)))
            )
        await turn.report(f"answering after {self._options.max_steps} steps, the most allowed")
        messages.append(
            ChatMessage(
                role="user",
                content="No more tools may be called. Now give your answer from what is known; say"
                " what you could not find out.",
            )
        )

    async def _call(self, turn: Turn, tool: ToolSpec, call: _ToolCall) -> str:
        """What the model sees of a call; a refusal is an observation, not the end."""
        faults = faults_of(call.arguments, tool.input_schema)
        if faults:
            return f"the arguments do not fit the schema of {tool.name}: {'; '.join(faults)}"
        await turn.note(call.why, about=tool.name)
        try:
            return _seen(await turn.call_tool(tool.name, call.arguments))
        except (PolicyDeniedError, ToolNotFoundError, ToolServerError) as error:
            return error.sentence


def call_schema(tools: Mapping[str, ToolSpec]) -> dict[str, Any]:
    """The JSON Schema of one step: why, and a call of one of the tools or the wish to answer."""
    calls: list[dict[str, Any]] = [
        {
            "type": "object",
            "properties": {"tool": {"const": name}, "arguments": _arguments(tools[name])},
            "required": ["tool", "arguments"],
            "additionalProperties": False,
        }
        for name in sorted(tools)
    ]
    calls.append(
        {
            "type": "object",
            "properties": {"tool": {"const": _ANSWER}},
            "required": ["tool"],
            "additionalProperties": False,
        }
    )
    return {
        "type": "object",
        "properties": {"why": {"type": "string", "maxLength": 300}, "call": {"anyOf": calls}},
        "required": ["why", "call"],
        "additionalProperties": False,
    }


def _arguments(tool: ToolSpec) -> dict[str, Any]:
    """The tool's own schema, where it can stand inside another; references could not."""
    schema = dict(tool.input_schema)
    if '"$' in as_json(schema):
        return {"type": "object"}
    return {**schema, "type": "object"}


def _read_call(
    choice: ChatResult, tools: Mapping[str, ToolSpec]
) -> tuple[_ToolCall | None, list[str]]:
    """The call that the model chose, or what is wrong with it; its arguments are not judged."""
    # The schema of a step tells of each alternative why it does not fit; this tells which was meant.
    shape = {
        "type": "object",
        "properties": {
            "why": {"type": "string"},
            "call": {
                "type": "object",
                "properties": {
                    "tool": {"enum": [*sorted(tools), _ANSWER]},
                    "arguments": {"type": "object"},
                },
                "required": ["tool"],
            },
        },
        "required": ["why", "call"],
    }
    faults = answer_faults(choice, shape)
    if faults:
        return None, faults
    call = choice.parsed["call"]
    return _ToolCall(call["tool"], call.get("arguments", {}), choice.parsed["why"]), []


def _tool_section(tools: Mapping[str, ToolSpec]) -> str:
    if not tools:
        return ""
    lines = [
        f"{name}:\n" + as_data(f"{tool.description}\narguments: {as_json(tool.input_schema)}")
        for name, tool in sorted(tools.items())
    ]
    return "\n".join([_CALL_RULE, *lines])


def _seen(result: ToolResult) -> str:
    text = result.content or as_json(result.structured)
    return f"the tool failed: {text}" if result.is_error else text
