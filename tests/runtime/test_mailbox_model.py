"""Mailbox and task against a model: hypothesis sends, cancels and kills, and both must agree.

The network is the real one over the real SQL of both engines, in counted time, so that a
run is a function of what hypothesis chose. An agent does what the machine tells it to.
"""

import asyncio
import logging
import os
from collections.abc import Awaitable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, TypeVar

import pytest
from blockbuster import BlockBuster
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from repertory.agents import Agent, Question, Turn
from repertory.protocol import (
    AgentService,
    BusyError,
    Call,
    CancelTaskRequest,
    GetTaskRequest,
    Message,
    NumberedEvent,
    RepertoryError,
    SendMessageConfiguration,
    SendMessageRequest,
    Task,
    TaskNotCancelableError,
    TaskState,
    UnsupportedOperationError,
    user_message,
)
from repertory.runtime.manifest import parse_manifest
from tests.cluster import Cluster
from tests.runtime.simulating.clock import Clock, CountedLoop
from tests.runtime.simulating.disk import Disk, ServerDisk
from tests.runtime.simulating.process import Process

PLACES, ROOM, ATTEMPTS = 2, 4, 3
DIALOGUES = ("red", "green", "blue")
ENDS = {"completed", "failed", "canceled"}
CALL = Call(principal="client")
T = TypeVar("T")


# -- the model -------------------------------------------------------------------


@dataclass
class Entry:
    """A message that was accepted, and where it stands."""

    dialogue: str
    at: str = "waiting"
    begun: bool = False
    asked: bool = False
    answered: bool = False
    crashes: int = 0


@dataclass
class Model:
    """What mailbox and task promise, in the order of acceptance."""

    entries: dict[str, Entry] = field(default_factory=dict)

    def those(self, *places: str) -> list[str]:
        return [text for text, entry in self.entries.items() if entry.at in places]

    def next_of(self, dialogue: str) -> str | None:
        """Who may begin: the first that waits, while none of its dialogue has a place."""
        mine = {text: each for text, each in self.entries.items() if each.dialogue == dialogue}
        if any(each.at == "working" for each in mine.values()):
            return None
        return next((text for text, each in mine.items() if each.at == "waiting"), None)

    def enter(self, text: str) -> None:
        assert self.next_of(self.entries[text].dialogue) == text, f"{text} is not the next"
        self._take_place(text)
        self.entries[text].begun = True

    def _take_place(self, text: str) -> None:
        assert len(self.those("working")) < PLACES, f"there is no place for {text}"
        self.entries[text].at = "working"

    def ask(self, text: str) -> None:
        self.entries[text].asked = True
        if not self.entries[text].answered:
            self.entries[text].at = "asking"

    def answer(self, text: str) -> None:
        entry = self.entries[text]
        entry.answered = True
        entry.at = "going on" if entry.at == "asking" else entry.at

    def go_on(self, text: str) -> None:
        if self.entries[text].at == "going on":
            self._take_place(text)

    def crash(self, text: str) -> None:
        self.entries[text].crashes += 1
        if self.entries[text].crashes == ATTEMPTS:
            self.entries[text].at = "failed"
        self.fall()

    def fall(self) -> None:
        for entry in self.entries.values():
            entry.at = entry.at if entry.at in ENDS else "waiting"

    def might_begin(self) -> list[str]:
        """Who would be at work if there were a free place."""
        firsts = [self.next_of(dialogue) for dialogue in DIALOGUES]
        return self.those("going on") + [text for text in firsts if text is not None]

    def state(self, text: str) -> str:
        entry = self.entries[text]
        asks = entry.asked and not entry.answered
        open_state = ("INPUT_REQUIRED" if asks else "WORKING") if entry.begun else "SUBMITTED"
        return f"TASK_STATE_{entry.at.upper() if entry.at in ENDS else open_state}"


# -- the agent ---------------------------------------------------------------------


class Desk:
    """Where the agents get their orders and say what they do; it outlives every process."""

    def __init__(self) -> None:
        self.orders: dict[str, asyncio.Future[str]] = {}
        self.asked: set[str] = set()
        self.said: list[tuple[str, str]] = []

    async def work(self, turn: Turn) -> None:
        """The same from its beginning in every life, as a handler must be."""
        text = turn.message.text
        self.said.append(("enter", text))
        await turn.report("begun")
        order = "ask" if text in self.asked else await self._order(text)
        if order == "ask":
            self.asked.add(text)
            self.said.append(("ask", text))
            await turn.ask_person(Question("May I?", options=("yes", "no")))
            self.said.append(("go_on", text))
            order = await self._order(text)
        if order == "crash":
            raise ZeroDivisionError("as told")
        await (turn.complete("done") if order == "completed" else turn.fail("as told"))

    async def _order(self, text: str) -> str:
        self.orders[text] = asyncio.get_running_loop().create_future()
        return await self.orders[text]


# -- the machine ---------------------------------------------------------------------


class Machine(RuleBasedStateMachine):
    """One network, its client, and what both should be."""

    # Over a server nobody keeps what it has no place for, so this process's line is no bound.
    bounded: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__()
        desk = self.desk = Desk()

        class Told(Agent):
            async def handle(self, turn: Turn) -> None:
                await desk.work(turn)

        self.model = Model()
        self.tasks: dict[str, str] = {}
        self.seen: dict[str, list[NumberedEvent]] = {}
        self.loop = CountedLoop(Clock())
        self.disk = self.disk_of()
        manifest = parse_manifest(
            f"""
network: modelled
embedder: {{engine: hash}}
supervision: {{intensity: 100000, attempts: {ATTEMPTS}}}
agents:
  told:
    concurrency: {PLACES}
    mailbox: {ROOM if self.bounded else 1000}
    busy_after: 0.5
    patience: 100000
    memory: {{recall: 0, record: false, context_tokens: 0}}
""",
            folder=".",
        )
        self.process = Process(
            manifest, {"told": Told}, {}, seed="1", tell=lambda _: None, disk=self.disk
        )
        self._start()

    def disk_of(self) -> Disk | ServerDisk:
        """A store of its own."""
        return Disk()

    def teardown(self) -> None:
        self._die()
        self.loop.close()
        if isinstance(self.disk, ServerDisk):
            self.disk.close()

    # -- lives and time

    def _run(self, work: Awaitable[T]) -> T:
        return self.loop.run_until_complete(work)

    def _start(self) -> None:
        self.life = self.loop.create_task(self.process.live())
        self._settle()

    def _die(self) -> None:
        async def die() -> None:
            self.process.die()
            while not self.life.done():
                # Its telemetry is closed by a thread, for which counted time does not wait.
                await asyncio.sleep(0.01)
            await self.life

        self._run(die())

    def _settle(self) -> None:
        """Let everything happen that can, and hold it against the model."""
        self._run(asyncio.sleep(2.0))
        self._hear()
        model = self.model
        at_work, could = model.those("working"), model.might_begin()
        assert len(at_work) == PLACES or not could, f"{could} could begin; at work: {at_work}"
        for text, task_id in self.tasks.items():
            found = self._run(self._service.get_task(GetTaskRequest(id=task_id), CALL))
            assert found.status.state.value == model.state(text), text
            self._read_on(text)

    def _hear(self) -> None:
        """Let the model do, in order, what the agents said that they did."""
        for what, text in self.desk.said:
            getattr(self.model, what)(text)
        self.desk.said.clear()

    def _read_on(self, text: str) -> None:
        """Read the log as a client does that goes on after what it has."""
        known = self.seen.setdefault(text, [])
        page = self._run(self._service.read_events(self.tasks[text], 0, CALL))
        numbers = [each.sequence for each in page.events]
        assert numbers == list(range(1, len(numbers) + 1))
        assert list(page.events[: len(known)]) == known, f"what was told of {text} has changed"
        self.seen[text] = list(page.events)
        assert page.ended == (self.model.entries[text].at in ENDS)

    @property
    def _service(self) -> AgentService:
        assert self.process.network is not None, "it lives"
        return self.process.network.service("told")

    # -- what is done

    async def _send(self, message: Message) -> Task:
        now = SendMessageConfiguration(return_immediately=True)
        request = SendMessageRequest(message=message, configuration=now)
        answer = (await self._service.send_message(request, CALL)).task
        assert answer is not None
        return answer

    def _message(self, text: str, dialogue: str) -> Message:
        return user_message(text, context_id=dialogue, message_id=text)

    def _answer_to(self, text: str) -> Message:
        return user_message("yes", task_id=self.tasks[text], context_id=self._dialogue(text))

    def _dialogue(self, text: str) -> str:
        return self.model.entries[text].dialogue

    async def _order(self, text: str, order: str) -> None:
        self.desk.orders[text].set_result(order)

    async def _cancel(self, text: str) -> Task:
        return await self._service.cancel_task(CancelTaskRequest(id=self.tasks[text]), CALL)

    def _mine(self, *places: str) -> list[str]:
        """Where this process has the task itself, and need not order it of nobody."""
        return self.model.those(*places) + (self.model.those("waiting") if self.bounded else [])

    def _answerable(self) -> list[str]:
        entries = self.model.entries
        return [t for t in self._mine("asking") if entries[t].asked and not entries[t].answered]

    # -- rules

    @rule(dialogue=st.sampled_from(DIALOGUES))
    def send(self, dialogue: str) -> None:
        """A new message is accepted, or refused where as many wait as may."""
        text = f"m{len(self.model.entries)}"
        full = self.bounded and len(self.model.those("waiting")) >= ROOM
        try:
            task = self._run(self._send(self._message(text, dialogue)))
        except BusyError:
            assert full
            return
        assert not full
        self.tasks[text] = task.id
        self.model.entries[text] = Entry(dialogue)
        self._settle()

    @precondition(lambda self: self.tasks)
    @rule(data=st.data())
    def send_again(self, data: st.DataObject) -> None:
        """The same message is the same task, whatever has become of it."""
        text = data.draw(st.sampled_from(list(self.tasks)))
        again = self._run(self._send(self._message(text, self._dialogue(text))))
        assert again.id == self.tasks[text]
        self._settle()

    @precondition(lambda self: self.model.those("working"))
    @rule(data=st.data(), end=st.sampled_from(["completed", "failed"]))
    def end(self, data: st.DataObject, end: str) -> None:
        """An agent ends its task, and the next of the dialogue begins."""
        text = data.draw(st.sampled_from(self.model.those("working")))
        self.model.entries[text].at = end
        self._run(self._order(text, end))
        self._settle()

    @precondition(lambda self: self._askers())
    @rule(data=st.data())
    def ask(self, data: st.DataObject) -> None:
        """An agent asks a person, and others work meanwhile."""
        self._run(self._order(data.draw(st.sampled_from(self._askers())), "ask"))
        self._settle()

    def _askers(self) -> list[str]:
        entries = self.model.entries
        return [text for text in self.model.those("working") if not entries[text].asked]

    @precondition(lambda self: self._answerable())
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        """A person answers; the task goes on where there is a place."""
        text = data.draw(st.sampled_from(self._answerable()))
        self._run(self._send(self._answer_to(text)))
        self.model.answer(text)
        self._settle()

    @precondition(lambda self: self.model.those("working"))
    @rule(data=st.data())
    def crash(self, data: st.DataObject) -> None:
        """A bug of the agent restarts it, with all of its tasks; the last attempt ends the task."""
        text = data.draw(st.sampled_from(self.model.those("working")))
        self.model.crash(text)
        self._run(self._order(text, "crash"))
        self._settle()

    @precondition(lambda self: self._mine("working", "asking"))
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        """A task is canceled wherever it stands."""
        text = data.draw(st.sampled_from(self._mine("working", "asking")))
        self.model.entries[text].at = "canceled"
        assert self._run(self._cancel(text)).status.state is TaskState.CANCELED
        self._settle()

    @precondition(lambda self: self.model.those(*ENDS))
    @rule(data=st.data())
    def disturb_the_ended(self, data: st.DataObject) -> None:
        """What has ended is neither canceled nor gone on with."""
        text = data.draw(st.sampled_from(self.model.those(*ENDS)))
        with pytest.raises(TaskNotCancelableError):
            self._run(self._cancel(text))
        with pytest.raises(UnsupportedOperationError):
            self._run(self._send(self._answer_to(text)))
        self._settle()

    @rule(
        data=st.data(),
        what=st.sampled_from(["nothing", "send", "end", "answer", "cancel"]),
        later=st.floats(0.0, 0.03),
    )
    def kill_and_reopen(self, data: st.DataObject, what: str, later: float) -> None:
        """The process dies in the middle of something; what was acknowledged is there."""
        places = {
            "end": self.model.those("working"),
            "answer": self._answerable(),
            "cancel": self._mine("working", "asking"),
        }
        text, new = f"m{len(self.model.entries)}", Entry(data.draw(st.sampled_from(DIALOGUES)))
        if what in places:
            if not places[what]:
                return
            text = data.draw(st.sampled_from(places[what]))
        begun = self.loop.create_task(self._begin(what, text, new))
        self._run(asyncio.sleep(later))
        acknowledged = begun.done() and what in ("send", "answer", "cancel")
        sure = begun.result() if acknowledged else None
        begun.cancel()
        self._die()
        self.desk.said.clear()
        self.model.fall()
        self._take_from_disk(text, new, what, sure)
        # Messages that kill a process have tests of their own.
        self.disk.run("UPDATE suspect SET deaths=0, at_work=0")
        self._start()

    async def _begin(self, what: str, text: str, new: Entry) -> Task | None:
        try:
            match what:
                case "send":
                    return await self._send(self._message(text, new.dialogue))
                case "end":
                    await self._order(text, "completed")
                case "answer":
                    return await self._send(self._answer_to(text))
                case "cancel":
                    return await self._cancel(text)
        except RepertoryError:
            # Busy, or dead.
            return None
        return None

    def _take_from_disk(self, text: str, new: Entry, what: str, sure: Task | None) -> None:
        """Learn which way it went, and see that it went the way that was acknowledged."""
        found = self.disk.run("SELECT message_id, state FROM task")
        states: dict[str, str] = {row[0]: row[1] for row in found}
        assert set(states) - {text} == set(self.tasks) - {text}
        if what == "send" and text in states:
            ((task_id,),) = self.disk.run(f"SELECT id FROM task WHERE message_id='{text}'")
            assert sure is None or sure.id == task_id
            self.tasks[text], self.model.entries[text] = task_id, new
        assert sure is None or text in states, f"{text} was acknowledged and is lost"
        for each, state in states.items():
            entry, word = self.model.entries[each], state.removeprefix("TASK_STATE_").lower()
            if each == text and what in ("end", "cancel") and word in ENDS:
                entry.at = word
            if each == text and what == "answer" and word == "working":
                entry.answered = True
            assert (word in ENDS) == (entry.at in ENDS), f"{each} is {word} and should be {entry}"
            assert not sure or each != text or what != "answer" or entry.answered
            entry.begun = entry.begun or word != "submitted"
        assert sure is None or what != "cancel" or self.model.entries[text].at == "canceled"


@pytest.fixture
def counted(blockbuster: BlockBuster) -> Iterator[None]:
    """A store that is asked on the loop itself, in whose counted time nothing is late."""
    blockbuster.deactivate()
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.slow
def test_mailbox_and_task_are_as_the_model_says_on_sqlite(counted: None) -> None:
    """Ours: Erlang's method, a stateful property: any order of sends, ends, cancels and deaths."""
    _check(Machine, examples=40)


@pytest.mark.slow
def test_mailbox_and_task_are_as_the_model_says_on_postgresql(
    counted: None, postgres: Cluster
) -> None:
    """Ours: the same machine where tasks are claimed and leases lapse."""

    class OnServer(Machine):
        bounded = False

        def disk_of(self) -> ServerDisk:
            return ServerDisk(postgres.new_store())

    _check(OnServer, examples=3)


@pytest.mark.slow
def test_the_machine_finds_what_is_acknowledged_before_it_is_durable(counted: None) -> None:
    """Ours: a proof must be able to fail."""

    class Hasty(Machine):
        def disk_of(self) -> Disk:
            return Disk(early_ack=True)

    with pytest.raises(AssertionError):
        _check(Hasty, examples=200, phases=(Phase.generate,))


def _check(
    machine: type[Machine],
    examples: int,
    phases: Sequence[Phase] = (Phase.generate, Phase.shrink),
) -> None:
    # The same examples each time; REPERTORY_EXAMPLES=1000 tries so many, by chance.
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=int(os.environ.get("REPERTORY_EXAMPLES", examples)),
            stateful_step_count=20,
            deadline=None,
            database=None,
            derandomize=os.environ.get("REPERTORY_EXAMPLES") is None,
            phases=phases,
            suppress_health_check=(HealthCheck.too_slow, HealthCheck.data_too_large),
            report_multiple_bugs=False,
        ),
    )
