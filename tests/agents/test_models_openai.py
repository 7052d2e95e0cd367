from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import time
from typing import Any

import anyio
import pytest
from anyio import fail_after, wait_all_tasks_blocked
from anyio.lowlevel import checkpoint

from repertory.agents import (
    CircuitBreaker,
    ModelContext,
    ModelRefusedError,
    ModelUnavailableError,
    OpenAIModel,
    Price,
    Retry,
    Tier,
)
from repertory.agents.models import BreakerState
from repertory.protocol import DeadlineExceededError
from tests.agents.model_contract import SCHEMA, chat, score
from tests.agents.model_server import MODEL, Dialect, Misbehavior, ModelServer, open_model_server

AT_ONCE = Retry(attempts=3, first=0.0)
CONTEXT = ModelContext(
    traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    session_id="context-1",
    tenant="acme",
    priority=5,
)


@asynccontextmanager
async def serve(
    dialect: Dialect = "vllm", **options: Any
) -> AsyncIterator[tuple[ModelServer, OpenAIModel]]:
    values = {"tiers": frozenset(Tier), "retry": AT_ONCE, **options}
    with fail_after(5):
        async with open_model_server(dialect) as server:
            model = OpenAIModel(server.url, MODEL, **values)
            try:
                yield server, model
            finally:
                await model.aclose()


async def test_vllm_hears_whose_call_it_is() -> None:
    """Spec: vLLM 0.32 takes priority, cache_salt and session_id, and W3C's traceparent."""
    async with serve("vllm") as (server, model):
        await model.chat(chat(), CONTEXT)
        _, headers, body = server.asked[0]
    assert headers["traceparent"] == CONTEXT.traceparent
    assert (body["priority"], body["cache_salt"], body["session_id"]) == (5, "acme", "context-1")


async def test_a_server_that_does_not_take_a_field_is_not_sent_it() -> None:
    """Ours: llama.cpp ignores what it does not know, so silence would look like consent."""
    async with serve("llama_cpp") as (server, model):
        await model.chat(chat(), CONTEXT)
        _, headers, body = server.asked[0]
    assert "traceparent" not in headers
    assert not {"priority", "cache_salt", "session_id"} & body.keys()


async def test_a_schema_is_sent_as_response_format() -> None:
    """Spec: vLLM's `structured_outputs` is ignored by llama.cpp; `response_format` is taken by both."""
    async with serve("llama_cpp") as (server, model):
        result = await model.chat(chat("Judge this paper as JSON.", json_schema=SCHEMA))
        body = server.asked[0][2]
    assert body["response_format"]["json_schema"]["schema"] == SCHEMA
    assert "structured_outputs" not in body
    assert result.parsed == {"verdict": "accept", "score": 1}


@pytest.mark.parametrize("dialect", ["vllm", "llama_cpp"])
async def test_both_shapes_of_completion_logprobs_are_read(dialect: Dialect) -> None:
    """Spec: vLLM answers completions in the legacy shape, llama.cpp in that of chats."""
    async with serve(dialect) as (_, model):
        scores = await model.score(score())
    assert scores.best == "positive"
    assert scores.scores["positive"] == pytest.approx(-3.2, abs=0.2)
    # Neither recording has " negative" among its five alternatives.
    assert scores.bounded == ("negative",)
    assert scores.margin("positive") > 0.0


async def test_usage_and_money_are_counted() -> None:
    """Ours: budgets are charged with what the server says it used."""
    async with serve("llama_cpp", price=Price(input=1.0, output=10.0, cached=0.0)) as (_, model):
        result = await model.chat(chat("Judge this paper as JSON.", json_schema=SCHEMA))
    assert (result.tokens_in, result.tokens_out, result.cached_tokens) == (37, 27, 24)
    assert result.usd == pytest.approx((37 - 24) * 1e-6 + 27 * 1e-5)


async def test_the_context_length_is_known_after_the_probe() -> None:
    """Spec: vLLM says max_model_len, llama.cpp meta.n_ctx."""
    async with serve("llama_cpp") as (_, model):
        before = model.info
        health = await model.probe()
        after = model.info
    assert (before.context_length, after.context_length) == (None, 2048)
    assert health.answers
    assert health.version == "llama.cpp"


@pytest.mark.parametrize("misbehavior", ["500", "503", "429", "torn", "sse", "odd", "close"])
async def test_a_passing_failure_is_tried_again(misbehavior: Misbehavior) -> None:
    """Ours: one bad answer costs time and not the task."""
    async with serve() as (server, model):
        server.misbehave = [misbehavior, misbehavior]
        assert (await model.chat(chat())).text
        assert len(server.asked) == 3


@pytest.mark.parametrize("misbehavior", ["500", "503", "429", "torn", "sse", "odd", "close"])
async def test_a_lasting_failure_is_unavailability(misbehavior: Misbehavior) -> None:
    """Ours: every failure of a server is one error, with what to do."""
    async with serve() as (server, model):
        server.misbehave = [misbehavior] * 9
        with pytest.raises(ModelUnavailableError, match="repertory doctor") as caught:
            await model.chat(chat())
    assert caught.value.retryable
    assert len(server.asked) == 3


async def test_nobody_at_the_address_is_unavailability() -> None:
    """Ours: a server that is not there reads as one."""
    async with open_model_server("vllm") as server:
        url = server.url
    model = OpenAIModel(url, MODEL, tiers=frozenset(Tier), retry=AT_ONCE)
    with fail_after(5):
        with pytest.raises(ModelUnavailableError, match="connection failed"):
            await model.chat(chat())
        health = await model.probe()
        await model.aclose()
    assert not health.answers
    assert "see that a server runs there" in health.detail


@pytest.mark.parametrize("misbehavior", ["hang", "drip"])
async def test_a_hanging_server_costs_the_deadline_and_no_more(misbehavior: Misbehavior) -> None:
    """Ours: the caller's deadline holds, whatever the server does; a byte a second is no answer."""
    async with serve() as (server, model):
        server.misbehave = [misbehavior]
        await model.probe()
        with pytest.raises(DeadlineExceededError):
            await model.chat(chat(), ModelContext(deadline=time() + 0.1))


async def test_a_hanging_server_without_a_deadline_costs_the_models_patience() -> None:
    """Ours: nobody waits for ever."""
    async with serve(patience=0.1) as (server, model):
        server.misbehave = ["hang"]
        with pytest.raises(ModelUnavailableError, match=r"did not answer in 0\.1 s"):
            await model.chat(chat())


async def test_backing_off_never_outlasts_the_deadline() -> None:
    """Ours: a wait that would end after the deadline is not begun."""
    async with serve(retry=Retry(attempts=3, first=60.0, longest=60.0)) as (server, model):
        server.misbehave = ["500"]
        with pytest.raises(ModelUnavailableError, match="HTTP 500"):
            await model.chat(chat(), ModelContext(deadline=time() + 4.0))


async def test_the_breaker_stops_asking_a_server_that_fails() -> None:
    """Ours: a broken server is left alone, and callers hear so at once."""
    now = [0.0]
    breaker = CircuitBreaker(failures=2, rest=10.0, clock=lambda: now[0])
    async with serve(breaker=breaker, retry=Retry(attempts=1)) as (server, model):
        server.misbehave = ["500", "500"]
        for _ in range(2):
            with pytest.raises(ModelUnavailableError, match="HTTP 500"):
                await model.chat(chat())
        with pytest.raises(ModelUnavailableError, match="left alone") as caught:
            await model.chat(chat())
        assert caught.value.retry_after == 10.0
        assert len(server.asked) == 2
        now[0] = 11.0
        assert (await model.chat(chat())).text
    assert breaker.state is BreakerState.CLOSED


async def test_a_server_that_asks_for_patience_does_not_trip_the_breaker() -> None:
    """Ours: 429 says that the server is well and busy."""
    breaker = CircuitBreaker(failures=1)
    async with serve(breaker=breaker) as (server, model):
        server.misbehave = ["429", "429"]
        assert (await model.chat(chat())).text
    assert breaker.state is BreakerState.CLOSED


async def test_no_more_questions_are_on_their_way_than_allowed() -> None:
    """Ours: a model's server is not flooded, whoever asks."""
    async with serve(concurrency=2) as (server, model):
        await model.probe()
        server.gate = anyio.Event()
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(model.chat, chat())
            while server.active < 2:
                await checkpoint()
            await wait_all_tasks_blocked()
            assert len(server.asked) == 2
            server.gate.set()
    assert len(server.asked) == 5


async def test_a_caller_who_gives_up_frees_the_place() -> None:
    """Ours: cancelling hangs up, and the next question goes through."""
    async with serve(concurrency=1) as (server, model):
        await model.probe()
        server.misbehave = ["hang"]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(model.chat, chat())
            while server.active < 1:
                await checkpoint()
            tasks.cancel_scope.cancel()
        assert (await model.chat(chat())).text


async def test_a_context_too_long_is_refused_with_advice() -> None:
    """Spec: vLLM and llama.cpp say 400; asking again would not help."""
    for dialect in ("vllm", "llama_cpp"):
        async with serve(dialect) as (server, model):
            with pytest.raises(ModelRefusedError, match="shorten the question") as caught:
                await model.chat(chat("word " * 9000))
        assert not caught.value.retryable
        assert caught.value.status == 400
        assert len(server.asked) == 1


@pytest.mark.parametrize("dialect", ["vllm", "llama_cpp"])
async def test_a_model_that_is_not_served_is_refused(dialect: Dialect) -> None:
    """Ours: llama.cpp answers to any name, and the artifact would bear the wrong one."""
    with fail_after(5):
        async with open_model_server(dialect) as server:
            model = OpenAIModel(server.url, "smollm2-135", tiers=frozenset(Tier))
            with pytest.raises(ModelRefusedError, match="Did you mean 'smollm2-135m'"):
                await model.chat(chat())
            await model.aclose()
    assert server.asked == []


async def test_the_key_is_sent_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours: a server that repeats the key in its refusal does not get it into our errors."""
    monkeypatch.setenv("SOME_KEY", "sk-very-secret")
    async with serve(api_key_env="SOME_KEY") as (server, model):
        server.key = "sk-very-secret"
        server.misbehave = ["401"]
        with pytest.raises(ModelRefusedError, match="SOME_KEY holds a valid key") as caught:
            await model.chat(chat())
        assert server.asked[0][1]["Authorization"] == "Bearer sk-very-secret"
        assert (await model.chat(chat())).text
    assert "very-secret" not in repr((caught.value, caught.value.facts, vars(model)))


async def test_a_missing_key_is_named() -> None:
    """Ours: the variable is named and what to do is said, before anything is sent."""
    async with serve(api_key_env="REPERTORY_NO_SUCH_KEY") as (server, model):
        with pytest.raises(ModelRefusedError, match="REPERTORY_NO_SUCH_KEY"):
            await model.chat(chat())
        assert not (await model.probe()).answers
    assert server.asked == []


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://host", "http://", "http://[::1", ""])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    """Ours: a mistyped URL is found when the model is made."""
    with pytest.raises(ModelRefusedError, match="http://host:port"):
        OpenAIModel(url, MODEL, tiers=frozenset(Tier))


async def test_a_closed_model_says_so() -> None:
    """Ours: a use after the end is the user's mistake, and reads as one."""
    async with serve() as (_, model):
        await model.aclose()
        with pytest.raises(ModelUnavailableError, match="closed"):
            await model.chat(chat())
