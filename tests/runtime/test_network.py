"""A network at work: messages, order, budgets, cycles, persons and supervision."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import fail_after, wait_all_tasks_blocked
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from repertory.agents import Agent, AgentNotFoundError, Question, Turn
from repertory.protocol import (
    BudgetExceededError,
    Call,
    GetTaskRequest,
    ListTasksRequest,
    SendMessageRequest,
    Task,
    TaskNotFoundError,
    TaskState,
    UnsupportedOperationError,
    follow,
    user_message,
)
from repertory.runtime import Network, NetworkEvent, open_network
from repertory.runtime.errors import SupervisionError
from repertory.runtime.manifest import parse_manifest
from tests.claims import claim


class Echo(Agent):
    """Says what it was told."""

    async def handle(self, turn: Turn) -> None:
        await turn.complete(f"{turn.agent}: {turn.message.text}")


class Relay(Agent):
    """Asks its first peer."""

    async def handle(self, turn: Turn) -> None:
        peer = next(iter(turn.peers))
        answer = await turn.ask(peer, turn.message.text)
        said = answer.status.message.text if answer.status.message else ""
        if answer.status.state is TaskState.COMPLETED:
            await turn.complete(f"{turn.agent} heard {said}")
        else:
            await turn.fail(said)


class Asker(Agent):
    """Asks a person, then says what was answered."""

    async def handle(self, turn: Turn) -> None:
        answer = await turn.ask_person(Question("May I?", options=("yes", "no")))
        await turn.complete(f"the person said {answer.text}")


class Gate(Agent):
    """Counts who is inside at once, and waits until it is let go."""

    inside = 0
    most = 0
    seen: list[str] = []
    release: anyio.Event
    entered: anyio.Condition

    @classmethod
    def close(cls) -> None:
        """Begin a test: nobody inside, the gate shut."""
        cls.inside, cls.most, cls.seen = 0, 0, []
        cls.release, cls.entered = anyio.Event(), anyio.Condition()

    @classmethod
    async def wait_inside(cls, number: int) -> None:
        """Return when so many are inside."""
        async with cls.entered:
            while cls.inside < number:
                await cls.entered.wait()

    async def handle(self, turn: Turn) -> None:
        cls = type(self)
        async with cls.entered:
            cls.inside += 1
            cls.most = max(cls.most, cls.inside)
            cls.seen.append(turn.message.text)
            cls.entered.notify_all()
        await cls.release.wait()
        cls.inside -= 1


class Fragile(Agent):
    """Crashes over 'bomb', answers everything else."""

    async def handle(self, turn: Turn) -> None:
        if turn.message.text == "bomb":
            raise ZeroDivisionError("a bug of the agent")
        await turn.complete("alive")


@asynccontextmanager
async def _network(
    folder: Path, agents: str, kinds: dict[str, type[Agent]], **extra: Any
) -> AsyncIterator[Network]:
    manifest = parse_manifest(
        f"network: test\nembedder: {{engine: hash}}\nagents:\n{agents}{extra.pop('more', '')}",
        folder=folder,
    )
    with fail_after(20):
        async with open_network(
            manifest, kinds=kinds, models=extra.pop("models", {}), **extra
        ) as network:
            yield network


def _words(task: Task) -> str:
    return task.status.message.text if task.status.message is not None else ""


async def test_an_agent_is_asked_and_its_task_is_told_from_beginning_to_end(tmp_path: Path) -> None:
    """Spec: A2A 1.0, the first event is the task, the last is terminal."""
    async with _network(tmp_path, "  echo: {}\n", {"echo": Echo}) as network:
        task = await network.ask("echo", "hello")
        assert task.status.state is TaskState.COMPLETED
        assert _words(task) == "echo: hello"
        events = [event async for event in network.watch(task.id)]
        assert [event.sequence for event in events] == [1, 2, 3]
        assert events[0].event.task is not None


async def test_a_reader_that_is_slow_holds_nobody_up_and_is_told_what_it_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours: what waits for one reader of everything is bounded; a task's own log misses nothing."""
    monkeypatch.setattr("repertory.runtime.network._MOST_TOLD", 8)
    async with _network(tmp_path, "  echo: {}\n", {"echo": Echo}) as network:
        everything = network.watch()
        first: list[NetworkEvent] = []

        async def begin() -> None:
            first.append(await anext(everything))

        async with anyio.create_task_group() as group:
            group.start_soon(begin)
            await wait_all_tasks_blocked()
            await network.ask("echo", "0")
        tasks = [await network.ask("echo", str(number)) for number in range(1, 10)]
        # Ten tasks of three events: one was read, eight are kept.
        kept = [await anext(everything) for _ in range(8)]
        assert first[0].missed == 0
        assert [each.missed for each in kept] == [21, *[0] * 7]
        assert kept[-1].task_id == tasks[-1].id
        told = [event.sequence async for event in network.watch(first[0].task_id)]
        assert told == [1, 2, 3]
        await everything.aclose()  # type: ignore[attr-defined]  # it is a generator


async def test_an_unknown_agent_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    """Ours: the sentence says what was asked, what there is, and what to do."""
    async with _network(
        tmp_path, "  critic: {}\n  editor: {}\n", {"critic": Echo, "editor": Echo}
    ) as network:
        with pytest.raises(
            AgentNotFoundError, match=r"no agent named 'critc'.*did you mean 'critic'"
        ):
            await network.ask("critc", "hello")


async def test_an_agent_asks_another_and_the_task_names_its_parent(tmp_path: Path) -> None:
    """Ours: delegation is an A2A message like any other."""
    agents = "  relay: {peers: [echo]}\n  echo: {}\n"
    async with _network(tmp_path, agents, {"relay": Relay, "echo": Echo}) as network:
        task = await network.ask("relay", "hello")
        assert _words(task) == "relay heard echo: hello"
        rows = {row.agent: row for row in await network.tasks()}
        assert rows["echo"].parent == task.id


async def test_a_chain_that_asks_itself_fails_at_once(tmp_path: Path) -> None:
    """Ours: a callee that already waits for the call is refused, instead of a hang."""
    agents = "  a: {peers: [b]}\n  b: {peers: [a]}\n"
    async with _network(tmp_path, agents, {"a": Relay, "b": Relay}) as network:
        task = await network.ask("a", "go")
        assert task.status.state is TaskState.FAILED
        assert "would wait for itself for ever" in _words(task)


@claim("a2a:once")
async def test_the_same_message_is_one_task_per_principal(tmp_path: Path) -> None:
    """Ours: exactly one task per (principal, messageId), A2A's MAY made a promise."""
    async with _network(tmp_path, "  echo: {}\n", {"echo": Echo}) as network:
        first = await network.tell("echo", "hello", message_id="m1")
        second = await network.tell("echo", "hello", message_id="m1")
        other = await network.tell("echo", "hello", message_id="m1", principal="somebody")
        assert first == second != other


@claim("a2a:scoping")
async def test_a_foreign_task_answers_exactly_as_an_absent_one(tmp_path: Path) -> None:
    """Spec: A2A 1.0 section 13, scoping before any query."""
    async with _network(tmp_path, "  echo: {}\n", {"echo": Echo}) as network:
        task = await network.ask("echo", "hello", principal="alice")
        service = network.service("echo")
        sentences = []
        for task_id in (task.id, "no-such-task"):
            with pytest.raises(TaskNotFoundError) as caught:
                await service.get_task(GetTaskRequest(id=task_id), Call(principal="bob"))
            sentences.append(str(caught.value).replace(task_id, "ID"))
        assert sentences[0] == sentences[1]
        listed = await service.list_tasks(ListTasksRequest(), Call(principal="bob"))
        assert listed.tasks == ()


async def test_contexts_run_at_once_up_to_the_concurrency_and_in_order_within(
    tmp_path: Path,
) -> None:
    """Ours: messages of one context are handled in order, others concurrently."""
    Gate.close()
    async with _network(tmp_path, "  gate: {concurrency: 3}\n", {"gate": Gate}) as network:
        ids = [await network.tell("gate", f"same {n}", context_id="same") for n in range(3)]
        ids += [await network.tell("gate", f"own {n}") for n in range(4)]
        await Gate.wait_inside(3)
        Gate.release.set()
        await network.idle()
        assert Gate.most == 3
        assert [text for text in Gate.seen if text.startswith("same")] == [
            "same 0",
            "same 1",
            "same 2",
        ]
        states = {row.state for row in await network.tasks()}
        assert states == {TaskState.COMPLETED}


async def test_a_person_is_asked_and_the_work_goes_on_with_the_answer(tmp_path: Path) -> None:
    """Ours: INPUT_REQUIRED on the task, an answer, and on it goes."""
    async with _network(tmp_path, "  asker: {}\n", {"asker": Asker}) as network:
        task_id = await network.tell("asker", "please")
        await network.idle()
        (row,) = await network.tasks()
        assert row.state is TaskState.INPUT_REQUIRED
        assert row.question is not None
        assert row.question["text"] == "May I?"
        await network.answer(task_id, "yes")
        await network.idle()
        assert _words(await network.task(task_id)) == "the person said yes"


async def test_a_waiting_task_survives_a_restart_and_goes_on_with_the_answer(
    tmp_path: Path, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours: a person's answer may come days and restarts later; on either engine."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    agents, kinds = "  relay: {peers: [asker]}\n  asker: {}\n", {"relay": Relay, "asker": Asker}
    async with _network(tmp_path, agents, kinds, store_url=store_url) as network:
        task_id = await network.tell("relay", "please")
        await network.idle()
    async with _network(tmp_path, agents, kinds, store_url=store_url) as network:
        await network.idle()
        before = [row.id for row in await network.tasks()]
        assert (await network.task(task_id)).status.state is TaskState.WORKING
        await network.answer(task_id, "no")
        await network.idle()
        assert _words(await network.task(task_id)) == "relay heard the person said no"
        assert sorted(before) == sorted(row.id for row in await network.tasks())


async def test_an_answer_outside_the_options_is_refused_with_the_options(tmp_path: Path) -> None:
    """Ours: bad input gets what may be there."""
    async with _network(tmp_path, "  asker: {}\n", {"asker": Asker}) as network:
        task_id = await network.tell("asker", "please")
        await network.idle()
        with pytest.raises(ValueError, match="one of yes, no; given: 'maybe'"):
            await network.answer(task_id, "maybe")


async def test_a_message_to_an_ended_task_is_unsupported(tmp_path: Path) -> None:
    """Spec: A2A 1.0, a terminal task takes no further message."""
    async with _network(tmp_path, "  echo: {}\n", {"echo": Echo}) as network:
        task = await network.ask("echo", "hello")
        message = user_message("more", task_id=task.id)
        with pytest.raises(UnsupportedOperationError, match="has ended as COMPLETED"):
            await network.service("echo").send_message(SendMessageRequest(message=message), Call())


async def test_a_task_is_canceled_wherever_it_is(tmp_path: Path) -> None:
    """Spec: A2A 1.0 CancelTask; also while it waits for its turn, and with its callees."""
    Gate.close()
    agents = "  relay: {peers: [gate]}\n  gate: {concurrency: 1}\n"
    async with _network(tmp_path, agents, {"relay": Relay, "gate": Gate}) as network:
        running = await network.tell("relay", "first")
        await Gate.wait_inside(1)
        waiting = await network.tell("gate", "second")
        for task_id in (waiting, running):
            task = await network.cancel(task_id)
            assert task.status.state is TaskState.CANCELED
        await network.idle()
        assert {row.state for row in await network.tasks()} == {TaskState.CANCELED}
        assert Gate.seen == ["first"]


async def test_a_deadline_ends_a_task_and_says_so(tmp_path: Path) -> None:
    """Ours: a task that outlasts its patience fails with a reason, it does not hang."""
    Gate.close()
    async with _network(tmp_path, "  gate: {patience: 0.05}\n", {"gate": Gate}) as network:
        task = await network.ask("gate", "slow")
        assert task.status.state is TaskState.FAILED
        assert "was given 0.05 s" in _words(task)


async def test_a_crash_costs_one_task_and_the_rest_go_on(tmp_path: Path) -> None:
    """Spec: Erlang/OTP, let it crash; the message is given up after its attempts."""
    more = "supervision: {intensity: 10, attempts: 2}\n"
    async with _network(tmp_path, "  fragile: {}\n", {"fragile": Fragile}, more=more) as network:
        bomb = await network.tell("fragile", "bomb")
        good = await network.ask("fragile", "hello")
        assert _words(good) == "alive"
        await network.idle()
        task = await network.task(bomb)
        assert task.status.state is TaskState.FAILED
        assert "crashed 2 times over this message" in _words(task)
        assert "a bug of the agent" in _words(task)


@claim("otp:intensity")
async def test_too_many_crashes_end_the_network_with_the_reason(tmp_path: Path) -> None:
    """Spec: Erlang/OTP, intensity exceeded escalates."""
    more = "supervision: {intensity: 1, attempts: 5, escalate: network}\n"
    with pytest.raises(SupervisionError, match="fragile crashed more than 1 times"):
        async with _network(
            tmp_path, "  fragile: {}\n", {"fragile": Fragile}, more=more
        ) as network:
            await network.ask("fragile", "bomb")


async def test_an_agent_given_up_fails_its_tasks_while_the_rest_serve_on(tmp_path: Path) -> None:
    """Ours: escalate: agent keeps the network up, and nobody waits for the dead."""
    more = "supervision: {intensity: 0, attempts: 5, escalate: agent}\n"
    agents = "  fragile: {}\n  echo: {}\n"
    kinds = {"fragile": Fragile, "echo": Echo}
    async with _network(tmp_path, agents, kinds, more=more) as network:
        assert (await network.ask("fragile", "bomb")).status.state is TaskState.FAILED
        assert (await network.ask("fragile", "hello")).status.state is TaskState.FAILED
        assert _words(await network.ask("echo", "hi")) == "echo: hi"


async def test_a_reader_from_the_middle_gets_every_later_event_once(tmp_path: Path) -> None:
    """Ours: SubscribeToTask with afterSequence."""
    async with _network(tmp_path, "  asker: {}\n", {"asker": Asker}) as network:
        task_id = await network.tell("asker", "please")
        await network.idle()
        await network.answer(task_id, "yes")
        await network.idle()
        service = network.service("asker")
        whole = [n async for n in follow(service, task_id, Call())]
        tail = [n async for n in follow(service, task_id, Call(), after_sequence=2)]
        assert [n.sequence for n in whole] == list(range(1, len(whole) + 1))
        assert tail == whole[2:]


async def test_two_networks_live_in_one_process(tmp_path: Path) -> None:
    """Ours: nothing is global."""
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    async with (
        _network(tmp_path / "one", "  echo: {}\n", {"echo": Echo}) as one,
        _network(tmp_path / "two", "  echo: {}\n", {"echo": Echo}) as two,
    ):
        await one.ask("echo", "hello")
        assert len(await one.tasks()) == 1
        assert await two.tasks() == []


async def test_a_spent_budget_ends_the_task_and_names_the_agent(tmp_path: Path) -> None:
    """Ours: budgets are inherited down the call tree."""
    more = "budgets: {calls: 1}\n"
    agents = "  relay: {peers: [spender]}\n  spender: {}\n"

    class Spender(Agent):
        async def handle(self, turn: Turn) -> None:
            raise BudgetExceededError("spender may not go on", agent="spender")

    async with _network(
        tmp_path, agents, {"relay": Relay, "spender": Spender}, more=more
    ) as network:
        task = await network.ask("relay", "go")
        assert _words(task) == "spender may not go on"


async def test_a_sender_that_waits_at_a_full_mailbox_outlives_a_restart_of_the_agent(
    tmp_path: Path,
) -> None:
    """Ours: backpressure must not become a hang when the agent crashes meanwhile."""
    agents = "  fragile: {mailbox: 1, concurrency: 1}\n"
    more = "supervision: {intensity: 50, attempts: 2}\n"
    async with _network(tmp_path, agents, {"fragile": Fragile}, more=more) as network:
        ids: list[str] = []

        async def send(text: str) -> None:
            ids.append(await network.tell("fragile", text))

        async with anyio.create_task_group() as group:
            for text in ("bomb", "a", "bomb", "b", "c"):
                group.start_soon(send, text)
        await network.idle()
        states = sorted([(await network.task(task_id)).status.state.name for task_id in ids])
        assert states == ["COMPLETED"] * 3 + ["FAILED"] * 2


async def test_a_message_whose_sender_gave_up_in_mid_commit_is_still_worked_on(
    tmp_path: Path,
) -> None:
    """Ours: accepted is accepted, whether or not anybody heard of it."""
    async with _network(tmp_path, "  echo: {}\n", {"echo": Echo}) as network:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                for n in range(20):
                    group.start_soon(network.tell, "echo", f"{n}")
                await anyio.lowlevel.checkpoint()
                scope.cancel()
        # A write that is acknowledged later than theirs shows that theirs are through.
        await network.ask("echo", "last")
        await network.idle()
        assert {row.state for row in await network.tasks()} == {TaskState.COMPLETED}


async def test_a_network_measures_its_mailboxes_its_commits_and_its_turns(tmp_path: Path) -> None:
    """Spec: OpenTelemetry metrics; a host program passes its own meter provider."""
    reader = InMemoryMetricReader()
    meters = MeterProvider([reader], shutdown_on_exit=False)
    async with _network(tmp_path, "  echo: {}\n", {"echo": Echo}, meter_provider=meters) as network:
        await network.ask("echo", "hello")
        await network.idle()
        data = reader.get_metrics_data()
        assert data is not None
        names = {
            metric.name
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }
    assert {
        "gen_ai.invoke_agent.duration",
        "repertory.journal.batch.size",
        "repertory.mailbox.depth",
    } <= names
