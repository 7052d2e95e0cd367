"""The stock agent: instructions, a model, tools, recalled packs and typed output."""

from collections.abc import Mapping
from typing import Any

from jsonschema import Draft202012Validator

from repertory.protocol import Artifact, Part

from .agent import Agent
from .errors import OutputInvalidError, PolicyDeniedError, ToolNotFoundError
from .layout import as_data, as_json, history_messages, pack_section, system_text, words_of
from .models import ChatMessage, ChatRequest, Tier
from .output import typed_answer
from .turn import ToolResult, Turn

# The keys of `options` that a worker reads, with their defaults.
_MAX_TOKENS = 512
_MAX_STEPS = 8
_OBSERVATION = 4000
_ANSWER = "answer"


class Worker(Agent):
    """Answer a message with the agent's model.

    With an output schema the answer is JSON that fits it (a data part), repaired
    once if need be; else it is text. With tools the model first chooses calls,
    one at a time, each with its reason. Options: `max_tokens` of an answer
    (512), `max_steps` of tool use (8), `temperature` (0), `seed` (none).
    """

    async def handle(self, turn: Turn) -> None:
        question = words_of(turn.message)
        hits = await turn.recall(question, limit=self.spec.recall) if self.spec.recall else ()
        messages = [
            ChatMessage(
                role="system",
                content=system_text(
                    self.spec.instructions, self._tool_section(turn), pack_section(hits)
                ),
            ),
            *history_messages(turn.history),
            ChatMessage(role="user", content=as_data(question)),
        ]
        if turn.tools:
            await self._use_tools(turn, messages)
        if self.spec.output_schema is not None:
            value = await typed_answer(turn, self._request(messages, Tier.EXTRACT), self.spec)
            part = Part(data=value)
        else:
            answer = await turn.chat(self._request(messages, Tier.GENERATE))
            part = Part(text=answer.text)
        await turn.add_artifact(Artifact(artifact_id="answer", name="answer", parts=(part,)))
        await turn.complete()

    def _request(self, messages: list[ChatMessage], duty: Tier) -> ChatRequest:
        options = self.spec.options
        return ChatRequest(
            messages=tuple(messages),
            duty=duty,
            max_tokens=options.get("max_tokens", _MAX_TOKENS),
            temperature=options.get("temperature", 0.0),
            seed=options.get("seed"),
        )

    # -- tools -----------------------------------------------------------------

    def _tool_section(self, turn: Turn) -> str:
        if not turn.tools:
            return ""
        lines = [
            f"- {tool.name}: {as_json(tool.input_schema)}\n{as_data(tool.description)}"
            for tool in sorted(turn.tools.values(), key=lambda each: each.name)
        ]
        return "Tools you may use, with the schema of their arguments:\n" + "\n".join(lines)

    async def _use_tools(self, turn: Turn, messages: list[ChatMessage]) -> None:
        """Let the model call tools until it is ready to answer; the log stays in `messages`."""
        schema = {
            "type": "object",
            "properties": {
                "why": {"type": "string", "maxLength": 300},
                "tool": {"enum": [*sorted(turn.tools), _ANSWER]},
                "arguments": {"type": "object"},
            },
            "required": ["why", "tool", "arguments"],
            "additionalProperties": False,
        }
        for _ in range(self.spec.options.get("max_steps", _MAX_STEPS)):
            choice = await turn.chat(
                self._request(messages, Tier.GENERATE).model_copy(update={"json_schema": schema})
            )
            if not isinstance(choice.parsed, Mapping) or choice.parsed.get("tool") is None:
                raise OutputInvalidError(
                    f"{self.spec.name}'s model chose no tool: {choice.text[:200]!r}",
                    agent=self.spec.name,
                )
            tool, arguments = choice.parsed["tool"], choice.parsed.get("arguments") or {}
            if tool == _ANSWER:
                return
            await turn.note(str(choice.parsed.get("why", "")))
            seen = await self._call(turn, tool, arguments)
            messages.append(ChatMessage(role="assistant", content=choice.text))
            messages.append(ChatMessage(role="user", content=as_data(seen[:_OBSERVATION])))

    async def _call(self, turn: Turn, tool: str, arguments: Mapping[str, Any]) -> str:
        """What the model sees of a call; a refusal is an observation, not the end."""
        spec = turn.tools.get(tool)
        if spec is None:
            return f"there is no tool {tool!r}"
        faults = [
            error.message for error in Draft202012Validator(spec.input_schema).iter_errors(arguments)
        ]
        if faults:
            return f"the arguments do not fit the schema of {tool}: {'; '.join(faults[:4])}"
        try:
            result = await turn.call_tool(tool, arguments)
        except (PolicyDeniedError, ToolNotFoundError) as error:
            return error.sentence
        return _seen(result)


def _seen(result: ToolResult) -> str:
    text = result.content or as_json(result.structured)
    return f"the tool failed: {text}" if result.is_error else text
