"""An agent's skills as MCP tools: what is listed, and how a call becomes a message."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Literal

from jsonschema.exceptions import best_match
from jsonschema.validators import validator_for
from mcp.types import CallToolRequestParams, Tool, ToolAnnotations

from .cards import AgentCard
from .errors import InvalidParamsError
from .messages import Message, Part, Role, new_id
from .metadata import SKILL_KEY

_NAME: Final = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-."

TALK: Final[Mapping[str, Any]] = {
    "type": "object",
    "properties": {
        "message": {"type": "string", "description": "What the agent is asked, in words."},
        "contextId": {
            "type": "string",
            "description": "The dialogue to go on with, as an earlier answer named it.",
        },
        "taskId": {
            "type": "string",
            "description": "The task to go on with, when it waits for an answer.",
        },
    },
    "required": ["message"],
    "additionalProperties": False,
}


@dataclass(frozen=True)
class HostTool:
    """A skill as a tool.

    input_schema: of the arguments; with the default one, a tool takes words, and
    with another its arguments travel as a data part. output_schema: of the data
    part that the agent answers with. tasks: whether a client that knows the tasks
    extension gets a task; `must` refuses others. requires: capabilities that the
    client must have declared, as in ClientCapabilities.
    """

    name: str
    title: str = ""
    description: str = ""
    input_schema: Mapping[str, Any] = field(default_factory=lambda: TALK)
    output_schema: Mapping[str, Any] | None = None
    read_only: bool | None = None
    destructive: bool | None = None
    idempotent: bool | None = None
    open_world: bool | None = None
    tasks: Literal["never", "may", "must"] = "may"
    requires: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shaped(self) -> bool:
        """Whether its result has a declared shape."""
        return self.output_schema is not None

    def listed(self) -> Tool:
        """The tool as `tools/list` shows it."""
        return Tool(
            name=self.name,
            title=self.title or None,
            description=self.description or None,
            input_schema=dict(self.input_schema),
            output_schema=None if self.output_schema is None else dict(self.output_schema),
            annotations=ToolAnnotations(
                title=self.title or None,
                read_only_hint=self.read_only,
                destructive_hint=self.destructive,
                idempotent_hint=self.idempotent,
                open_world_hint=self.open_world,
            ),
        )

    def check(self, arguments: Mapping[str, Any]) -> None:
        """Raise InvalidParamsError for arguments that the input schema does not allow."""
        error = best_match(self._validator.iter_errors(dict(arguments)))
        if error is not None:
            where = ".".join(str(each) for each in error.absolute_path) or "the arguments"
            raise InvalidParamsError(f"{where}: {error.message}", path=where)

    @cached_property
    def _validator(self) -> Any:
        # Made once: it costs more than what it checks.
        return validator_for(dict(self.input_schema))(dict(self.input_schema))

    def message(self, params: CallToolRequestParams) -> Message:
        """The message that a call of this tool sends to the agent."""
        arguments = dict(params.arguments or {})
        context, task = "", ""
        if self.input_schema is TALK:
            context = arguments.get("contextId", "")
            task = arguments.get("taskId", "")
            part = Part(text=arguments.get("message", ""))
        else:
            part = Part(data=arguments)
        return Message(
            message_id=new_id(),
            role=Role.USER,
            parts=(part,),
            context_id=context,
            task_id=task,
            metadata={SKILL_KEY: self.name},
        )


def skill_tools(card: AgentCard) -> tuple[HostTool, ...]:
    """A tool for each skill of the card, taking words."""
    return tuple(
        HostTool(
            name=tool_name(skill.id),
            title=skill.name,
            description=_described(skill.description or skill.name, skill.examples),
        )
        for skill in card.skills
    )


def tool_name(text: str) -> str:
    """`text` as a tool may be named: letters, digits, `_`, `-` and `.`, at most 128."""
    return "".join(each if each in _NAME else "_" for each in text)[:128] or "ask"


def _described(text: str, examples: Sequence[str]) -> str:
    return text + "".join(f"\nFor example: {each}" for each in examples)
