from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from anyio import fail_after, to_thread

from repertory.agents import (
    ChatModel,
    ChatRequest,
    FunctionModel,
    OpenAIModel,
    RecordedModel,
    ScoreRequest,
    Tier,
)
from tests.agents.model_contract import CHECKS
from tests.agents.model_server import MODEL, open_model_server

TIERS = frozenset({Tier.SCORE, Tier.EXTRACT})


def scripted(request: object) -> str | dict[str, object]:
    """Answer each kind of question in its form."""
    if isinstance(request, ScoreRequest):
        return {"positive": -0.1, "negative": -2.3}
    if isinstance(request, ChatRequest) and request.json_schema is not None:
        return {"verdict": "revise", "score": 3}
    return "a color"


@pytest.fixture(params=["function", "recorded", "replayed", "vllm", "llama_cpp"])
async def model(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[ChatModel]:
    """Each kind of model in turn; the embedded one keeps the contract in its own file."""
    function = FunctionModel(scripted, tiers=TIERS, name="scripted")
    path = tmp_path / "answers.jsonl"
    async with AsyncExitStack() as stack:
        made: ChatModel
        if request.param == "function":
            made = function
        elif request.param == "recorded":
            made = await to_thread.run_sync(RecordedModel, function, path)
        elif request.param == "replayed":
            first = await to_thread.run_sync(RecordedModel, function, path)
            for check in CHECKS:
                await check(first)
            made = await to_thread.run_sync(RecordedModel, None, path)
        else:
            server = await stack.enter_async_context(open_model_server(request.param))
            made = OpenAIModel(server.url, MODEL, tiers=TIERS)
            stack.push_async_callback(made.aclose)
        yield made


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_every_model(check: Callable[[ChatModel], Awaitable[None]], model: ChatModel) -> None:
    """Ours: agents need not know which engine answers them."""
    assert isinstance(model, ChatModel)
    with fail_after(5):
        await check(model)
