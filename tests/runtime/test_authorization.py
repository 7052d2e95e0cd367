"""Tenants, principals and capabilities: who may see a task, and what a call may cause (S4, S5)."""

import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from anyio import fail_after

from repertory.agents import Agent, Turn
from repertory.protocol import (
    EVERYTHING,
    SKILL_KEY,
    Call,
    CancelTaskRequest,
    Capabilities,
    GetTaskRequest,
    ListTasksRequest,
    PermissionDeniedError,
    RepertoryError,
    SendMessageConfiguration,
    SendMessageRequest,
    TaskNotFoundError,
    TaskState,
    user_message,
)
from repertory.runtime import Network, open_network
from repertory.runtime.audit import AuditEntry, read_audit
from repertory.runtime.manifest import parse_manifest
from repertory.xp_store import PackNotFoundError
from tests.claims import claim

BOOKS = '''
from mcp.server import MCPServer

mcp = MCPServer("books")


@mcp.tool()
def read() -> str:
    """Read the books."""
    return "read"


@mcp.tool()
def post() -> str:
    """Post an entry."""
    open("posted", "a").write("x")
    return "posted"


mcp.run()
'''


class Poster(Agent):
    """Posts an entry in the books."""

    async def handle(self, turn: Turn) -> None:
        await turn.complete((await turn.call_tool("books.post", {})).content)


class Relay(Agent):
    """Hands its message to its peer."""

    async def handle(self, turn: Turn) -> None:
        task = await turn.ask(next(iter(turn.peers)), turn.message.text)
        await turn.complete(task.status.message)


class Echo(Agent):
    """Says what it was told, and what it was told before."""

    async def handle(self, turn: Turn) -> None:
        earlier = [message.text for message in turn.history]
        await turn.complete(" | ".join([*earlier, turn.message.text]))


KINDS: Mapping[str, type[Agent]] = {
    "clerk": Poster,
    "intern": Relay,
    "boss": Relay,
    "echo": Echo,
}
COMPANY = (
    "  boss: {peers: [intern]}\n"
    "  intern: {peers: [clerk], capabilities: [clerk, books.read]}\n"
    "  clerk: {tools: [books]}\n"
    "  echo: {}\n"
)


@asynccontextmanager
async def _network(folder: Path) -> AsyncIterator[Network]:
    (folder / "books.py").write_text(BOOKS)
    manifest = parse_manifest(
        "network: firm\nembedder: {engine: hash}\n"
        "tools: {books: {command: [python, books.py]}}\n"
        f"agents:\n{COMPANY}",
        folder=folder,
    )
    with fail_after(60):
        async with open_network(manifest, kinds=KINDS) as network:
            yield network


async def _ask(
    network: Network, agent: str, call: Call, *, skill: str = "", context: str = ""
) -> tuple[TaskState, str]:
    message = user_message("go", context_id=context)
    if skill:
        message = message.model_copy(update={"metadata": {SKILL_KEY: skill}})
    answer = await network.service(agent).send_message(SendMessageRequest(message=message), call)
    assert answer.task is not None
    said = answer.task.status.message
    return answer.task.status.state, said.text if said is not None else ""


async def _denied(network: Network) -> list[AuditEntry]:
    """The refusals in the audit, newest first; by which command tools began is there too."""
    entries = await read_audit(network.journal.database)
    return [entry for entry in entries if entry.what == "denied"]


@claim("a2a:delegation")
async def test_a_delegated_call_may_do_what_each_of_its_chain_may(tmp_path: Path) -> None:
    """Ours: S4; the intern may not post, so the clerk may not post for the intern."""
    with fail_after(60):
        async with _network(tmp_path) as network:
            assert await _ask(network, "clerk", Call()) == (TaskState.COMPLETED, "posted")
            state, why = await _ask(network, "boss", Call(principal="key:a", tenant="acme"))
            assert state is TaskState.COMPLETED, "the boss hands on what it was told"
            assert "may not use books.post" in why
            reader = Call(capabilities=EVERYTHING.narrowed(["clerk", "books.read"]))
            assert "may not use books.post" in (await _ask(network, "clerk", reader))[1]
            (mine, theirs) = await _denied(network)
    assert (tmp_path / "posted").read_text() == "x"
    assert (theirs.what, theirs.principal, theirs.tenant) == (
        "denied",
        "agent:firm/intern",
        "acme",
    )
    assert (theirs.agent, theirs.target) == ("firm/clerk", "books.post")
    assert theirs.chain == ("firm/boss", "firm/intern")
    assert "agent:firm/intern asks firm/boss asks firm/intern asks firm/clerk" in theirs.reason
    assert mine.chain == ()


async def test_a_narrowed_task_stays_narrow_after_a_restart(tmp_path: Path) -> None:
    """Ours: what a task may cause is in the journal, not in the process that accepted it."""
    narrow = Call(capabilities=EVERYTHING.narrowed(["clerk"]))
    with fail_after(60):
        async with _network(tmp_path) as network:
            request = SendMessageRequest(
                message=user_message("go"),
                configuration=SendMessageConfiguration(return_immediately=True),
            )
            answer = await network.service("clerk").send_message(request, narrow)
            assert answer.task is not None
            task_id = answer.task.id
        async with _network(tmp_path) as network:
            await network.idle()
            record = await network.find(task_id)
            assert record is not None
            assert record.capabilities == narrow.capabilities
    assert not (tmp_path / "posted").exists()


@pytest.mark.parametrize(
    ("names", "skill", "may"),
    [
        (["echo"], "", True),
        (["echo"], "reading", True),
        (["echo/reading"], "reading", True),
        (["echo/reading"], "writing", False),
        (["echo/reading"], "", False),
        (["clerk"], "", False),
        ([], "", False),
    ],
)
async def test_an_agent_answers_who_may_ask_it_for_the_skill(
    tmp_path: Path, names: list[str], skill: str, may: bool
) -> None:
    """Ours: capabilities are named per skill; a refused message leaves no task."""
    call = Call(principal="key:a", capabilities=EVERYTHING.narrowed(names))
    async with _network(tmp_path) as network:
        if may:
            assert (await _ask(network, "echo", call, skill=skill))[0] is TaskState.COMPLETED
        else:
            with pytest.raises(PermissionDeniedError, match="key:a may not use 'echo"):
                await _ask(network, "echo", call, skill=skill)
            assert await network.tasks() == []
            (row,) = await _denied(network)
            assert (row.what, row.principal) == ("denied", "key:a")


async def _answers(network: Network, task_id: str, context: str, call: Call) -> list[str]:
    """What every operation says about a task and a context, with their ids taken out."""
    service = network.service("echo")
    said: list[str] = []
    into = user_message("into it", task_id=task_id)
    for ask in (
        service.get_task(GetTaskRequest(id=task_id), call),
        service.cancel_task(CancelTaskRequest(id=task_id), call),
        service.read_events(task_id, 0, call),
        service.read_events(task_id, 10**9, call),
        service.send_message(SendMessageRequest(message=into), call),
        service.list_tasks(ListTasksRequest(context_id=context), call),
        service.list_tasks(ListTasksRequest(), call),
    ):
        try:
            said.append(repr(await ask))
        except RepertoryError as error:
            said.append(f"{type(error).__name__}: {error} {sorted(error.facts)}")
    return [each.replace(task_id, "TASK").replace(context, "CONTEXT") for each in said]


@claim("a2a:scoping")
async def test_ten_thousand_trials_over_tenants_leak_nothing(tmp_path: Path) -> None:
    """Ours: S5; tasks, contexts and packs of others answer exactly as absent ones."""
    seed = random.randrange(2**32)
    dice = random.Random(seed)
    callers = [Call(principal=f"key:{p}", tenant=t) for t in ("red", "blue") for p in "ab"]
    trials, leaks = 0, list[str]()
    with fail_after(120):
        async with _network(tmp_path) as network:
            service = network.service("echo")
            owned: list[tuple[Call, str, str]] = []
            for call in callers:
                for number in range(5):
                    message = user_message(f"secret of {call}", context_id=f"{call}-{number}")
                    answer = await service.send_message(SendMessageRequest(message=message), call)
                    assert answer.task is not None
                    owned.append((call, answer.task.id, answer.task.context_id))
            for owner, task_id, context in owned[::4]:
                for call in callers:
                    if call != owner:
                        foreign = await _answers(network, task_id, context, call)
                        absent = await _answers(network, "0198-absent", "absent", call)
                        assert foreign == absent, seed
            network._records.clear()
            while trials < 10_000:
                owner, task_id, _ = dice.choice(owned)
                call = dice.choice(callers)
                trials += 1
                try:
                    if dice.random() < 0.5:
                        seen = (await service.get_task(GetTaskRequest(id=task_id), call)).id
                    else:
                        page = await service.read_events(task_id, dice.randrange(-1, 4), call)
                        seen = task_id if page.last_sequence else ""
                except TaskNotFoundError:
                    seen = ""
                if bool(seen) != (owner == call):
                    leaks.append(f"{call} and {owner}: {task_id}")
                if dice.random() < 0.02:
                    network._records.clear()
            for call in callers:
                listed = await service.list_tasks(ListTasksRequest(page_size=100), call)
                assert {task.id for task in listed.tasks} == {t for c, t, _ in owned if c == call}
    assert leaks == [], f"seed {seed}"


async def test_a_foreign_context_and_a_foreign_pack_are_not_there(tmp_path: Path) -> None:
    """Ours: S5; a context id of another tenant begins a new context, without its history."""
    red, blue = Call(principal="key:a", tenant="red"), Call(principal="key:a", tenant="blue")
    async with _network(tmp_path) as network:
        await _ask(network, "echo", red, context="shared")
        assert (await _ask(network, "echo", blue, context="shared"))[1] == "go"
        assert (await _ask(network, "echo", red, context="shared"))[1] == "go | go"
        packs = await network.packs.find(tenant="red")
        assert packs
        assert await network.packs.find(tenant="green") == []
        said = []
        for pack_id in (packs[0].id, "no-such-pack"):
            with pytest.raises(PackNotFoundError) as caught:
                await network.packs.get(pack_id, tenant="blue")
            said.append(str(caught.value).replace(pack_id, "PACK"))
        assert said[0] == said[1]


def test_capabilities_survive_the_journal_as_json() -> None:
    """Ours: the stored form is the one on the wire."""
    both = EVERYTHING.narrowed(["b", "a"]).narrowed(["c/*"])
    assert Capabilities.parse(both.wire()) == both
