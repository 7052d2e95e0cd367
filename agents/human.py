"""An agent that is a person: every message becomes a question, and the answer its result."""

from collections.abc import Mapping

from repertory.protocol import Artifact, Part

from .agent import Agent
from .layout import words_of
from .turn import Question, Turn


class Human(Agent):
    """Ask a person, wait as long as it takes, and answer with what they said.

    A data part of the message may name `question` (the words), `options` (the
    answers that may be given) and `context` (facts shown beside it); without
    them the whole message is the question.
    """

    async def handle(self, turn: Turn) -> None:
        data = turn.message.data
        facts = data if isinstance(data, Mapping) else {}
        context = facts.get("context")
        options = facts.get("options", self.spec.options.get("options", ()))
        answer = await turn.ask_person(
            Question(
                text=str(facts.get("question") or words_of(turn.message)),
                options=tuple(str(option) for option in options),
                context=dict(context) if isinstance(context, Mapping) else {},
            )
        )
        await turn.add_artifact(
            Artifact(artifact_id="answer", name="answer", parts=(Part(text=answer.text),))
        )
        await turn.complete(answer.text)
