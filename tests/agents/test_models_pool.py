from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import anyio
import pytest
from anyio import fail_after
from anyio.lowlevel import checkpoint

from repertory.agents import (
    CircuitBreaker,
    ModelPool,
    ModelRefusedError,
    ModelUnavailableError,
    OpenAIModel,
    Retry,
    Tier,
)
from repertory.agents.models import BreakerState
from tests.agents.model_contract import CHECKS, chat
from tests.agents.model_server import MODEL, ModelServer, open_model_server

TIERS = frozenset({Tier.SCORE, Tier.EXTRACT})


@asynccontextmanager
async def pooled(
    count: int = 2, *, failures: int = 5, **options: Any
) -> AsyncIterator[tuple[list[ModelServer], ModelPool]]:
    """One model behind several servers."""
    async with AsyncExitStack() as stack:
        stack.enter_context(fail_after(5))
        servers = [await stack.enter_async_context(open_model_server("vllm")) for _ in range(count)]
        members = [
            OpenAIModel(
                server.url,
                MODEL,
                tiers=TIERS,
                retry=Retry(attempts=1),
                breaker=CircuitBreaker(failures=failures, rest=60.0),
            )
            for server in servers
        ]
        pool = ModelPool(members, **options)
        stack.push_async_callback(pool.aclose)
        yield servers, pool


async def test_a_pool_keeps_the_contract_of_all_models() -> None:
    """Ours: agents need not know how many servers answer them."""
    async with pooled() as (_, pool):
        for check in CHECKS:
            await check(pool)


async def test_the_server_with_the_least_outstanding_questions_is_asked() -> None:
    """Ours: not in turns, since questions take very different times."""
    async with pooled(3) as (servers, pool):
        for member in pool.members:
            await member.probe()
        for server in servers:
            server.gate = anyio.Event()
        answers: list[str] = []

        async def ask() -> None:
            answers.append((await pool.chat(chat())).text)

        async with anyio.create_task_group() as tasks:
            for number in range(6):
                tasks.start_soon(ask)
                while sum(server.active for server in servers) <= number:
                    await checkpoint()
            assert [server.active for server in servers] == [2, 2, 2]
            servers[1].gate.set()
            while len(answers) < 2:
                await checkpoint()
            tasks.start_soon(ask)
            while len(servers[1].asked) < 3:
                await checkpoint()
            for server in servers:
                server.gate.set()


@pytest.mark.parametrize("how", ["500", "torn", "sse", "odd", "close"])
async def test_a_question_that_one_server_failed_is_asked_of_the_next(how: Any) -> None:
    """Ours: fault F4 at one of two servers costs a second request and no task."""
    async with pooled() as (servers, pool):
        servers[0].always = how
        for _ in range(3):
            assert (await pool.chat(chat())).text
        assert len(servers[1].asked) == 3


async def test_a_broken_server_is_left_alone_by_its_own_breaker() -> None:
    """Ours: each server has a breaker of its own; the others go on."""
    async with pooled(failures=2) as (servers, pool):
        servers[0].always = "500"
        for _ in range(6):
            await pool.chat(chat())
        assert len(servers[0].asked) == 2
        assert [member.breaker.state for member in pool.members] == [
            BreakerState.OPEN,
            BreakerState.CLOSED,
        ]


async def test_when_all_are_broken_one_error_names_them_all() -> None:
    """Ours: a typed error that says what each server said, and when to come again."""
    async with pooled(failures=1) as (servers, pool):
        for server in servers:
            server.always = "503"
        with pytest.raises(ModelUnavailableError, match="none of the 2 servers"):
            await pool.chat(chat())
        with pytest.raises(ModelUnavailableError, match="none of the 2 servers") as caught:
            await pool.chat(chat())
        for server in servers:
            assert server.url in caught.value.sentence
            assert len(server.asked) == 1
        assert 0.0 < caught.value.facts["retry_after"] <= 60.0
        assert caught.value.retryable


async def test_a_refusal_is_not_asked_of_another_server() -> None:
    """Ours: what is wrong with the question is wrong with it everywhere."""
    async with pooled() as (servers, pool):
        with pytest.raises(ModelRefusedError, match="shorten"):
            await pool.chat(chat("word " * 9000))
        assert sum(len(server.asked) for server in servers) == 1


async def test_without_hedging_a_slow_server_is_asked_alone() -> None:
    """Ours: a question is computed twice only where that was asked for."""
    async with pooled() as (servers, pool):
        servers[0].misbehave = ["hang"]
        with anyio.move_on_after(0.2):
            await pool.chat(chat())
        assert servers[1].asked == []


async def test_a_hedged_question_is_answered_by_the_other_server() -> None:
    """Ours: after `hedge` seconds a second one is asked, and the first one's connection closed."""
    async with pooled(hedge=0.05) as (servers, pool):
        servers[0].misbehave = ["hang"]
        assert (await pool.chat(chat())).text
        while servers[0].active:
            await checkpoint()
        servers[0].misbehave = ["hang"]
        servers[1].misbehave = ["500"]
        with anyio.move_on_after(0.3) as patience:
            await pool.chat(chat())
        # One hangs and the other failed: the deadline is the caller's.
        assert patience.cancelled_caught


async def test_an_unhealthy_server_comes_last() -> None:
    """Ours: /health is asked for without a question of a user's to lose."""
    async with pooled() as (servers, pool):
        servers[0].healthy = False
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pool.watch)
            for member in pool.members:
                await member.is_healthy()
            while pool.healthy != (False, True):
                await checkpoint()
            tasks.cancel_scope.cancel()
        await pool.chat(chat())
        assert (len(servers[0].asked), len(servers[1].asked)) == (0, 1)
        servers[1].always = "500"
        assert (await pool.chat(chat())).text
        assert len(servers[0].asked) == 1


async def test_a_probe_names_the_servers_that_do_not_answer() -> None:
    """Ours: a pool of which one is down answers, and says what is wrong."""
    async with pooled() as (servers, pool):
        servers[0].key = "a key that nobody has"
        health = await pool.probe()
        assert health.answers
        assert servers[0].url in health.detail
        assert "cache_salt" in health.features
