from time import time

import anyio
import pytest
from anyio import fail_after

from repertory.agents import ChatResult, FunctionModel, LabelScores, ModelContext, Tier
from repertory.protocol import DeadlineExceededError
from tests.agents.model_contract import SCHEMA, chat, score

WHOLE = ChatResult(texts=("whole",), model="mine", tiers=frozenset(), tokens_in=7)


async def test_a_coroutine_may_answer() -> None:
    """Ours: an engine of one's own is one function away."""

    async def answer(request: object) -> str:
        await anyio.lowlevel.checkpoint()
        return "later"

    assert (await FunctionModel(answer).chat(chat())).text == "later"


async def test_a_mapping_travels_as_json() -> None:
    """Ours: a scripted extraction needs no dumps."""
    result = await FunctionModel(lambda _: {"verdict": "ö", "score": 1}).chat(
        chat(json_schema=SCHEMA)
    )
    assert result.text == '{"verdict": "ö", "score": 1}'
    assert result.parsed == {"verdict": "ö", "score": 1}


async def test_a_text_that_is_no_json_is_not_parsed() -> None:
    """Ours: it is the caller who repairs or gives up."""
    result = await FunctionModel(lambda _: "no idea").chat(chat(json_schema=SCHEMA))
    assert result.parsed is None


async def test_whole_results_pass_unchanged() -> None:
    """Ours: a function that knows its tokens and money says so itself."""
    assert await FunctionModel(lambda _: WHOLE).chat(chat()) == WHOLE
    scores = LabelScores(scores={"positive": -1.0, "negative": -2.0}, model="m", tiers=frozenset())
    assert await FunctionModel(lambda _: scores).score(score()) == scores


async def test_an_answer_in_the_wrong_form_is_told_to_its_author() -> None:
    """Ours: a wrong script fails as a script, not as a model that is down."""
    with pytest.raises(TypeError, match="mapping of label to score"):
        await FunctionModel(lambda _: "good").score(score())
    scores = LabelScores(scores={"a": -1.0, "b": -2.0}, model="m", tiers=frozenset())
    with pytest.raises(TypeError, match="return a text"):
        await FunctionModel(lambda _: scores).chat(chat())


async def test_what_the_function_raises_reaches_the_caller() -> None:
    """Ours: tests script failures by raising them."""

    def fails(request: object) -> str:
        raise ConnectionResetError("scripted")

    with pytest.raises(ConnectionResetError, match="scripted"):
        await FunctionModel(fails).chat(chat())


async def test_a_function_that_hangs_ends_at_the_deadline() -> None:
    """Ours: as any other model does."""

    async def hangs(request: object) -> str:
        await anyio.sleep_forever()
        raise AssertionError("it was not canceled")

    with fail_after(5), pytest.raises(DeadlineExceededError):
        await FunctionModel(hangs, tiers=frozenset({Tier.JUDGE})).chat(
            chat(), ModelContext(deadline=time() + 0.05)
        )
