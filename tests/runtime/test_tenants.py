"""What tenants may ask of a network, and what is told of what they spent."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import anyio
import pytest
from anyio import fail_after

from repertory.agents import Agent, ChatMessage, ChatRequest, FunctionModel, Tier, Turn
from repertory.protocol import (
    BudgetExceededError,
    BusyError,
    Call,
    SendMessageConfiguration,
    SendMessageRequest,
    TaskState,
    user_message,
)
from repertory.runtime import Network, open_network
from repertory.runtime.budget import Usage
from repertory.runtime.journal import open_journal
from repertory.runtime.manifest import parse_manifest
from repertory.runtime.manifest_tenants import TenantBudget, TenantLimits
from repertory.runtime.record import REASON_KEY, USAGE_KEY
from repertory.runtime.replica import Replica, open_replica
from repertory.runtime.tenants import Tenants, window_of
from repertory.runtime.web import serve
from repertory.xp_store import is_postgres, open_database

_ASKED = ChatRequest(messages=(ChatMessage(role="user", content="think"),), duty=Tier.GENERATE)
_TEXT = """network: test
embedder: {engine: hash}
models: {m: {engine: function, function: 'nowhere:none'}}
"""


class Lead(Agent):
    """Thinks, asks its peer, and thinks again."""

    async def handle(self, turn: Turn) -> None:
        await turn.chat(_ASKED)
        await turn.ask("helper", "help")
        await turn.chat(_ASKED)
        await turn.complete("done")


class Helper(Agent):
    """Thinks twice."""

    async def handle(self, turn: Turn) -> None:
        await turn.chat(_ASKED)
        await turn.chat(_ASKED)
        await turn.complete("helped")


class Gate(Agent):
    """Waits until it is let go."""

    release: anyio.Event
    inside: list[str]

    async def handle(self, turn: Turn) -> None:
        self.inside.append(turn.message.text)
        await self.release.wait()
        await turn.complete("done")


@asynccontextmanager
async def _open(folder: Path, more: str) -> AsyncIterator[Network]:
    Gate.release, Gate.inside = anyio.Event(), []
    with fail_after(20):
        async with _process(folder, more) as network:
            yield network


@asynccontextmanager
async def _process(folder: Path, more: str, url: str = "", *pools: str) -> AsyncIterator[Network]:
    async with open_network(
        parse_manifest(_TEXT + more, folder=folder),
        store_url=url or None,
        pools=pools or None,
        kinds={"lead": Lead, "helper": Helper, "gate": Gate},
        models={"m": FunctionModel(lambda _: "thought")},
    ) as network:
        yield network


async def test_a_run_that_exceeds_its_budget_says_which_agent_spent_what(tmp_path: Path) -> None:
    """Ours: the failure is typed, and the shares are told down the tree of calls."""
    more = "agents: {lead: {peers: [helper]}, helper: {}}\nbudgets: {calls: 3}\n"
    async with _open(tmp_path, more) as network:
        task = await network.ask("lead", "work")
    assert task.status.state is TaskState.FAILED
    metadata = task.metadata or {}
    assert metadata[REASON_KEY] == "BUDGET_EXCEEDED"
    shares = metadata[USAGE_KEY]["byAgent"]
    assert {agent: share["calls"] for agent, share in shares.items()} == {"lead": 1, "helper": 2}
    assert task.status.message is not None
    assert "helper 2 calls" in task.status.message.text
    assert "lead 1 calls" in task.status.message.text


async def _told(by: Replica, agent: str, tenant: str) -> None:
    """Send a message that nobody waits for."""
    request = SendMessageRequest(
        message=user_message("more"),
        configuration=SendMessageConfiguration(return_immediately=True),
    )
    await by.service(agent).send_message(request, Call(tenant=tenant))


@asynccontextmanager
async def _two(folder: Path, store_url: str, more: str) -> AsyncIterator[Network]:
    """A lead here and its helper at another process: of one network, or behind HTTP."""
    with fail_after(60):
        if is_postgres(store_url):
            agents = "agents: {lead: {peers: [helper]}, helper: {pool: back}}\n"
            async with (
                _process(folder / "back", agents + more, store_url, "back"),
                _process(folder / "front", agents + more, store_url) as front,
            ):
                yield front
            return
        async with (
            _process(folder / "far", "agents: {helper: {}}\n") as far,
            serve(far, port=0) as url,
        ):
            helper = f"helper: {{url: '{url}/agents/helper/mcp'}}"
            agents = f"agents: {{lead: {{peers: [helper]}}, {helper}}}\n"
            async with _process(folder / "near", agents + more, store_url) as near:
                yield near


@pytest.mark.parametrize(("limit", "shares"), [(3, (1, 2)), (2, (1, 1))])
async def test_a_budget_is_inherited_by_another_process_and_its_spending_comes_back(
    tmp_path: Path, store_url: str, limit: int, shares: tuple[int, int]
) -> None:
    """Ours: over processes as within one; what the callee may spend is what was left."""
    async with _two(tmp_path, store_url, f"budgets: {{calls: {limit}}}\n") as network:
        task = await network.ask("lead", "work")
    assert task.status.state is TaskState.FAILED
    metadata = task.metadata or {}
    assert metadata[REASON_KEY] == "BUDGET_EXCEEDED"
    told = {agent: each["calls"] for agent, each in metadata[USAGE_KEY]["byAgent"].items()}
    assert told == {"lead": shares[0], "helper": shares[1]}
    assert task.status.message is not None
    assert f"helper {shares[1]} calls" in task.status.message.text


async def test_a_tenants_budget_holds_for_all_processes_together(
    tmp_path: Path, store_url: str
) -> None:
    """Ours: who has spent all is refused by whichever process it asks, at once."""
    more = "agents: {helper: {}}\ntenants: {blue: {budget: {calls: 2, per: month}}}\n"
    manifest = parse_manifest(_TEXT + more, folder=tmp_path)

    with fail_after(60):
        async with AsyncExitStack() as stack:
            enter = stack.enter_async_context
            one = await enter(_process(tmp_path, more, store_url))
            others = [await enter(open_replica(manifest, store_url=store_url))]
            if is_postgres(store_url):
                others.append(await enter(_process(tmp_path, more, store_url)))
            done = await one.ask("helper", "work", tenant="blue")
            assert done.status.state is TaskState.COMPLETED
            for other in others:
                with pytest.raises(BudgetExceededError, match="budget of 2 calls a month is spent"):
                    await _told(other, "helper", "blue")


async def test_a_tenants_window_is_remembered_over_a_restart(tmp_path: Path) -> None:
    """Ours: what was spent is journaled with the step that spent it."""
    more = "agents: {helper: {}}\ntenants: {blue: {budget: {calls: 2, per: month}}}\n"
    async with _open(tmp_path, more) as network:
        done = await network.ask("helper", "work", tenant="blue")
        assert done.status.state is TaskState.COMPLETED
    async with _open(tmp_path, more) as network:
        with pytest.raises(BudgetExceededError, match=r"budget of 2 calls a month is spent"):
            await network.ask("helper", "more", tenant="blue")
        free = await network.ask("helper", "more", tenant="red")
        assert free.status.state is TaskState.COMPLETED


async def test_a_tenant_beyond_its_bounds_is_told_busy_and_when_to_try_again(
    tmp_path: Path,
) -> None:
    """Ours: one message of a tenant works, one waits, the next is refused; others are free."""
    more = "agents: {gate: {concurrency: 8}}\ntenants: {blue: {running: 1, waiting: 1}}\n"
    async with _open(tmp_path, more) as network:
        await network.tell("gate", "b1", tenant="blue")
        while Gate.inside != ["b1"]:
            await anyio.sleep(0.001)
        await network.tell("gate", "b2", tenant="blue")
        await network.tell("gate", "r1", tenant="red")
        while Gate.inside != ["b1", "r1"]:
            await anyio.sleep(0.001)
        with pytest.raises(BusyError, match="1 messages of tenant blue wait") as caught:
            await network.service("gate").send_message(
                SendMessageRequest(message=user_message("b3")), Call(tenant="blue")
            )
        assert caught.value.retry_after > 0
        Gate.release.set()
        await network.idle()
        assert Gate.inside == ["b1", "r1", "b2"]


async def test_a_full_mailbox_tells_a_caller_from_outside_when_to_try_again(
    tmp_path: Path,
) -> None:
    """Ours: a bounded wait for room, then busy with a hint; nothing grows without end."""
    more = "agents: {gate: {concurrency: 1, mailbox: 1, busy_after: 0.01}}\n"
    async with _open(tmp_path, more) as network:
        await network.tell("gate", "1")
        while Gate.inside != ["1"]:
            await anyio.sleep(0.001)
        await network.tell("gate", "2")
        with pytest.raises(BusyError, match="gate has 1 messages waiting") as caught:
            await network.service("gate").send_message(
                SendMessageRequest(message=user_message("3")), Call(principal="outside")
            )
        assert caught.value.retry_after > 0
        Gate.release.set()


async def test_what_two_processes_spend_is_summed(store_url: str) -> None:
    """Ours: the sum is read in the commit that adds to it, on either engine."""
    limits = {"*": TenantLimits(budget=TenantBudget(tokens=100))}
    here, there = Tenants(limits), Tenants(limits)
    async with open_database(store_url) as database, open_journal(database):
        for tenants in (here, there):
            bill = tenants.bill("blue", "desk", Usage(30, 25, 1, 0.5, 1.5))
            assert bill is not None
            await database.transact(bill)
        here.require("blue", "go on")
        with pytest.raises(BudgetExceededError, match="budget of 100 tokens a day is spent"):
            there.require("blue", "go on")
        late = Tenants(limits)
        await late.load(database)
        assert late.standing() == {"blue": Usage(110, 0, 2, 1.0, 3.0)}


@pytest.mark.parametrize(
    ("per", "since", "until"),
    [
        ("hour", "2026-12-31T23:00", "2027-01-01T00:00"),
        ("day", "2026-12-31T00:00", "2027-01-01T00:00"),
        ("month", "2026-12-01T00:00", "2027-01-01T00:00"),
    ],
)
def test_a_window_begins_and_ends_with_the_calendar(per: str, since: str, until: str) -> None:
    """Ours: windows are those of UTC's clock and calendar."""
    at = 1_798_761_599.0  # 2026-12-31T23:59:59Z
    begun, ends = window_of(per, at)
    assert f"{ends:%Y-%m-%dT%H:%M}" == until
    start, _ = window_of(per, float(begun))
    assert start == begun
    assert f"{ends.fromtimestamp(begun, ends.tzinfo):%Y-%m-%dT%H:%M}" == since
