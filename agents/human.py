"""An agent that is a person: every message becomes a question, and the answer its result."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from repertory.protocol import Artifact, Part

from .agent import Agent, AgentSpec, read_options
from .layout import words_of
from .turn import Question, Turn


class HumanOptions(BaseModel):
    """What `options` of a human may hold: the answers that may be given, none for free text."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    options: tuple[str, ...] = ()


class Human(Agent):
    """Ask a person, wait as long as it takes, and answer with what they said.

    A data part of the message may name `question` (the words; a planner's
    `goal` does as well), `options` (the answers that may be given) and
    `context` (facts shown beside it, by default the part's other keys);
    without them the whole message is the question. Options in the manifest
    stand whatever a message says.
    """

    def __init__(self, spec: AgentSpec) -> None:
        super().__init__(spec)
        self._options = read_options(HumanOptions, spec)

    async def handle(self, turn: Turn) -> None:
        answer = await turn.ask_person(self._question(turn))
        part = Part(text=answer.text) if answer.data is None else Part(data=answer.data)
        await turn.add_artifact(Artifact(artifact_id="answer", name="answer", parts=(part,)))
        await turn.complete(answer.text)

    def _question(self, turn: Turn) -> Question:
        facts = turn.message.data
        if not isinstance(facts, Mapping):
            facts = {}
        asked = next((key for key in ("question", "goal") if facts.get(key)), None)
        text = str(facts[asked]) if asked else words_of(turn.message)
        return Question(
            text=text,
            options=self._options.options or _texts(facts.get("options")),
            context=_context(facts, asked) if asked else {},
        )


def _texts(options: Any) -> tuple[str, ...]:
    if isinstance(options, Sequence) and not isinstance(options, str):
        return tuple(str(option) for option in options)
    return ()


def _context(facts: Mapping[str, Any], asked: str) -> dict[str, Any]:
    context = facts.get("context")
    if isinstance(context, Mapping):
        return dict(context)
    return {key: value for key, value in facts.items() if key not in (asked, "options")}
