"""What every `ChatModel` keeps, as checks that take a model."""

from collections.abc import Awaitable, Callable
from time import time

import anyio
import pytest

from repertory.agents import (
    ChatMessage,
    ChatModel,
    ChatRequest,
    ChatResult,
    CompletionRequest,
    LabelScores,
    ModelContext,
    ScoreRequest,
    Tier,
    TierError,
)
from repertory.protocol import DeadlineExceededError

SCHEMA = {
    "type": "object",
    "properties": {
        "verdict": {"type": "string", "enum": ["accept", "revise", "reject"]},
        "score": {"type": "integer", "minimum": 1, "maximum": 5},
    },
    "required": ["verdict", "score"],
    "additionalProperties": False,
}


def chat(text: str = "Name one color.", **options: object) -> ChatRequest:
    """A chat of one question, of the tier that all models here have."""
    values = {"duty": Tier.EXTRACT, "max_tokens": 8, **options}
    return ChatRequest.model_validate(
        {"messages": (ChatMessage(role="user", content=text),), **values}
    )


def score(text: str = "Thank you so much!") -> ScoreRequest:
    """A text to be called positive or negative."""
    return ScoreRequest(
        text=text,
        labels=("positive", "negative"),
        examples=(("It works well.", "positive"), ("It broke at once.", "negative")),
        label_name="Sentiment",
    )


async def answers_a_chat(model: ChatModel) -> None:
    result = await model.chat(chat())
    assert result.text
    assert result.model == model.info.name
    assert result.tiers == model.info.tiers
    assert result.tokens_in > 0
    assert result.tokens_out > 0


async def answers_a_completion(model: ChatModel) -> None:
    result = await model.complete(CompletionRequest(prompt="Once upon", max_tokens=4))
    assert result.text
    assert result.tokens_out > 0


async def answers_json_that_was_asked_for(model: ChatModel) -> None:
    result = await model.chat(chat("Judge this paper as JSON.", json_schema=SCHEMA, max_tokens=40))
    assert result.parsed["verdict"] in ("accept", "revise", "reject")
    assert 1 <= result.parsed["score"] <= 5


async def gives_every_candidate(model: ChatModel) -> None:
    result = await model.chat(chat("Say a color.", n=3, temperature=1.0, seed=3, max_tokens=3))
    assert len(result.texts) == 3


async def scores_every_label(model: ChatModel) -> None:
    result = await model.score(score())
    assert set(result.scores) == {"positive", "negative"}
    assert all(value <= 0.0 for value in result.scores.values())
    assert result.best in result.scores
    assert result.model == model.info.name


async def refuses_a_duty_above_its_tiers(model: ChatModel) -> None:
    with pytest.raises(TierError, match="judge"):
        await model.chat(chat(duty=Tier.JUDGE))


async def refuses_after_the_deadline(model: ChatModel) -> None:
    with pytest.raises(DeadlineExceededError, match="deadline"):
        await model.chat(chat(), ModelContext(deadline=time() - 1.0))


async def answers_survive_the_journal(model: ChatModel) -> None:
    result = await model.chat(chat("Judge this paper as JSON.", json_schema=SCHEMA, max_tokens=40))
    assert ChatResult.from_json(result.to_json()) == result
    scores = await model.score(score())
    assert LabelScores.from_json(scores.to_json()) == scores


async def answers_several_at_once(model: ChatModel) -> None:
    results: list[ChatResult] = []

    async def ask() -> None:
        results.append(await model.chat(chat()))

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(ask)
    assert len({result.text for result in results}) == 1


async def says_that_it_is_well(model: ChatModel) -> None:
    assert (await model.probe()).answers


CHECKS: tuple[Callable[[ChatModel], Awaitable[None]], ...] = (
    answers_a_chat,
    answers_a_completion,
    answers_json_that_was_asked_for,
    gives_every_candidate,
    scores_every_label,
    refuses_a_duty_above_its_tiers,
    refuses_after_the_deadline,
    answers_survive_the_journal,
    answers_several_at_once,
    says_that_it_is_well,
)
