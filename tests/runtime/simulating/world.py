"""Three agents in two processes, a client, a bad network, and deaths: one run is one seed.

What must hold afterwards is judged from the disks and from what the tool outside saw.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import anyio

from repertory.agents import Agent, ToolResult, ToolSpec, Turn
from repertory.protocol import (
    Call,
    RepertoryError,
    SendMessageConfiguration,
    SendMessageRequest,
    TaskState,
    user_message,
    wait_for_end,
)
from repertory.runtime.manifest import parse_manifest
from repertory.runtime.tool_server import ServerState

from .clock import Clock
from .disk import Disk
from .process import Process
from .wire import Wire

CONTEXTS, MESSAGES = 3, 2
# Known bugs: answers before the commit, and a message sent again under another id.
BUGS = ("early-ack", "rename")
# Virtual seconds after which whoever has no answer is stuck.
_PATIENCE = 600.0
_DEATHS = 3
_COMMON = """
embedder: {engine: hash}
supervision: {intensity: 1000, attempts: 1000}
budgets: {seconds: 100000}
"""
_FRONT = (
    """
network: front
agents:
  desk: {concurrency: 2, patience: 5000, peers: [reader, books], memory: {recall: 0}}
  reader: {url: "http://127.0.0.1:1/reader"}
  books: {url: "http://127.0.0.1:1/books"}
"""
    + _COMMON
)
_BACK = (
    """
network: back
tools: {ledger: {command: [none], idempotent: [post]}}
agents:
  reader: {concurrency: 2, mailbox: 2, patience: 5000, memory: {recall: 0}}
  books: {concurrency: 2, patience: 5000, tools: [ledger], memory: {recall: 0}}
"""
    + _COMMON
)


@dataclass(slots=True)
class Outcome:
    """What one seed did: its trace line by line, and what is wrong."""

    trace: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


class Posting:
    """A tool server that outlives all: it knows a call again by its key, as it should."""

    name = "ledger"
    state: ServerState = "running"

    def __init__(self, dice: Random, tell: Callable[[str], None]) -> None:
        self.posted: dict[str, str] = {}
        self._dice = dice
        self._tell = tell

    async def list_tools(self) -> Sequence[ToolSpec]:
        return [ToolSpec("ledger.post", "Post a text.", {"type": "object"})]

    async def call(
        self,
        tool: str,
        arguments: Mapping[str, Any],
        *,
        idempotency_key: str = "",
        traceparent: str = "",
        call_meta: Mapping[str, Any] | None = None,
    ) -> ToolResult:
        before, after = self._dice.expovariate(20.0), self._dice.expovariate(20.0)
        await anyio.sleep(before)
        again = idempotency_key in self.posted
        self.posted.setdefault(idempotency_key, arguments["text"])
        self._tell(f"ledger posts {arguments['text']}{' again' if again else ''}")
        await anyio.sleep(after)
        return ToolResult("posted")

    async def hang_up(self) -> None:
        """Nothing to hang up."""

    async def aclose(self) -> None:
        """The same."""


def _kinds(dice: Random) -> dict[str, type[Agent]]:
    async def work() -> None:
        await anyio.sleep(dice.expovariate(10.0))
        if dice.random() < 0.05:
            raise RuntimeError("this agent has a bad day")

    class Desk(Agent):
        async def handle(self, turn: Turn) -> None:
            await work()
            await turn.ask("reader", turn.message.text)
            await turn.report("read")
            await turn.ask("books", turn.message.text)
            await turn.complete(turn.message.text)

    class Reader(Agent):
        async def handle(self, turn: Turn) -> None:
            await turn.report("reading")
            await work()
            await turn.complete(f"read {turn.message.text}")

    class Books(Agent):
        async def handle(self, turn: Turn) -> None:
            await turn.call_tool("ledger.post", {"text": turn.message.text})
            await work()
            await turn.complete("posted")

    return {"desk": Desk, "reader": Reader, "books": Books}


class World:
    """One simulated run. bug: "" or one of `BUGS`."""

    def __init__(self, seed: int, clock: Clock, bug: str = "") -> None:
        self.outcome = Outcome()
        self._seed = seed
        self._clock = clock
        kinds = _kinds(Random(f"{seed}/work"))
        self.ledger = Posting(Random(f"{seed}/ledger"), self.tell)
        facts: dict[str, Any] = {"seed": str(seed), "tell": self.tell}
        early = bug == "early-ack"
        self.disks = Disk(early_ack=early), Disk(early_ack=early)
        self.front = Process(
            parse_manifest(_FRONT, folder="."), kinds, {}, disk=self.disks[0], **facts
        )
        self.back = Process(
            parse_manifest(_BACK, folder="."),
            kinds,
            {"ledger": self.ledger},
            disk=self.disks[1],
            **facts,
        )
        renames = bug == "rename"
        self.front.remote = {
            name: lambda dice, name=name: Wire(self.back, name, dice, self.tell, renames=renames)  # type: ignore[misc]  # bound per agent
            for name in ("reader", "books")
        }
        self._client = Wire(
            self.front, "desk", Random(f"{seed}/client"), self.tell, renames=renames
        )
        self._dice = Random(f"{seed}/world")

    def tell(self, what: str) -> None:
        """Add a line to the trace."""
        self.outcome.trace.append(f"{self._clock.now:.6f} {what}")

    async def run(self) -> Outcome:
        """Send everything, die on the way, wait for every end, and judge."""
        with anyio.move_on_after(_PATIENCE) as patience:
            async with anyio.create_task_group() as group:
                for process in (self.front, self.back):
                    group.start_soon(self._keep_alive, process)
                    group.start_soon(self._kill, process, self._dice.getrandbits(64))
                async with anyio.create_task_group() as clients:
                    for context in range(CONTEXTS):
                        clients.start_soon(self._send_all, f"c{context}")
                group.cancel_scope.cancel()
        if patience.cancelled_caught:
            self.outcome.faults.append(f"not all is done after {_PATIENCE:g} s")
        self.outcome.faults.extend(self._faults())
        return self.outcome

    async def _keep_alive(self, process: Process) -> None:
        pauses = Random(f"{self._seed}/{process.name}/pauses")
        while True:
            await process.live()
            await anyio.sleep(pauses.uniform(0.0, 2.0))

    async def _kill(self, process: Process, seed: int) -> None:
        dice = Random(seed)
        for _ in range(dice.randint(0, _DEATHS)):
            await anyio.sleep(dice.expovariate(1.0))
            process.die()

    async def _send_all(self, context: str) -> None:
        call = Call(principal="client")
        tasks = []
        for number in range(MESSAGES):
            text = f"{context}m{number}"
            message = user_message(text, context_id=context, message_id=text)
            request = SendMessageRequest(
                message=message, configuration=SendMessageConfiguration(return_immediately=True)
            )
            answer = await self._client.send_message(request, call)
            assert answer.task is not None
            self.tell(f"acknowledged {text}")
            tasks.append((text, answer.task))
        for text, task in tasks:
            try:
                ended = await wait_for_end(self._client, task, call)
            except RepertoryError as error:
                self.outcome.faults.append(f"{text} was acknowledged; then: {error}")
                continue
            self.tell(f"ended {text} as {ended.status.state.name}")
            if ended.status.state is not TaskState.COMPLETED:
                told = ended.status.message.text if ended.status.message else ""
                self.outcome.faults.append(f"{text} ended as {ended.status.state.name}: {told}")

    # -- judgment ----------------------------------------------------------------

    def _faults(self) -> Iterator[str]:
        sent = [f"c{c}m{m}" for c in range(CONTEXTS) for m in range(MESSAGES)]
        posted = list(self.ledger.posted.values())
        for text, times in Counter(posted).items():
            if times > 1:
                yield f"{text} was posted {times} times"
        for text in sent:
            if text not in posted:
                yield f"{text} was not posted"
        for context in range(CONTEXTS):
            mine = list(dict.fromkeys(t for t in posted if t.startswith(f"c{context}")))
            if mine != sorted(mine):
                yield f"context c{context} was worked on in the order {mine}"
        for process, agents in ((self.front, ["desk"]), (self.back, ["reader", "books"])):
            yield from _faults_on(process, agents, len(sent))


def _faults_on(process: Process, agents: Sequence[str], sent: int) -> Iterator[str]:
    look = process.disk.run
    for agent in agents:
        states = [row[0] for row in look(f"SELECT state FROM task WHERE agent='{agent}'")]
        if states != ["TASK_STATE_COMPLETED"] * sent:
            yield f"{agent} has tasks {dict(Counter(states))} for {sent} messages"
    torn = look(
        "SELECT t.agent, t.sequence, count(e.sequence), max(e.sequence) FROM task t"
        " JOIN event e ON e.task_id=t.id GROUP BY t.id"
        " HAVING count(e.sequence)<>t.sequence OR max(e.sequence)<>t.sequence"
    )
    if torn:
        yield f"logs with gaps in {process.name}: {torn}"
    ended = look("SELECT count(*) FROM task WHERE ended=1")[0][0]
    packs = look("SELECT count(*) FROM xp_pack")[0][0]
    if packs != ended:
        yield f"{ended} ended tasks of {process.name} left {packs} packs"
