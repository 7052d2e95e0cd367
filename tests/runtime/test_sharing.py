"""One network run by several processes over one PostgreSQL database.

Two networks opened here are two processes to each other: each has its own connections, its
own lease and its own memory, and they meet in the database alone.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import anyio.to_thread
import pytest
from anyio import fail_after

from repertory.agents import Agent, Question, Turn
from repertory.protocol import (
    Budget,
    BusyError,
    Call,
    CancelTaskRequest,
    SendMessageConfiguration,
    SendMessageRequest,
    StreamResponse,
    Task,
    TaskState,
    TaskStatus,
    user_message,
    wait_for_end,
)
from repertory.protocol.http_json import STATUSES
from repertory.runtime import InputError, Network, open_network, parse_manifest
from repertory.runtime.journal import open_journal
from repertory.runtime.lease import processes_of
from repertory.runtime.record import TaskRecord
from repertory.xp_store import StoreAwayError, StoreOwnedError
from tests.cluster import Cluster, binaries

MANIFEST = """
network: firm
embedder: {engine: hash}
store: {lease: LEASE}
telemetry: {spans: false}
agents:
  desk: {peers: [clerk], memory: {record: false}, concurrency: 2}
  clerk: {memory: {record: false}, pool: back}
  asker: {memory: {record: false}}
"""


class Desk(Agent):
    """Asks the clerk, wherever that is."""

    async def handle(self, turn: Turn) -> None:
        answer = await turn.ask("clerk", turn.message.text)
        assert answer.status.message is not None
        await turn.complete(answer.status.message.text)


class Clerk(Agent):
    """Says what it heard, once it is let."""

    async def handle(self, turn: Turn) -> None:
        await turn.complete(turn.message.text.upper())


class Asker(Agent):
    """Asks a person."""

    async def handle(self, turn: Turn) -> None:
        given = await turn.ask_person(Question("Go on?", options=("yes", "no")))
        await turn.complete(given.text)


class Gate:
    """Desks that say what they do, and end nothing before they are let."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self._opened = anyio.Event()
        self._moved = anyio.Event()
        gate = self

        class Gated(Agent):
            async def handle(self, turn: Turn) -> None:
                gate.say(f"begin {turn.message.text}")
                await gate._opened.wait()
                gate.say(f"end {turn.message.text}")
                await turn.complete()

        self.kinds: dict[str, type[Agent]] = {**KINDS, "desk": Gated}

    def say(self, words: str) -> None:
        self.seen.append(words)
        self._moved.set()
        self._moved = anyio.Event()

    def open(self) -> None:
        self._opened.set()

    async def wait_begun(self, text: str) -> None:
        while f"begin {text}" not in self.seen:
            await self._moved.wait()


KINDS: Mapping[str, type[Agent]] = {"desk": Desk, "clerk": Clerk, "asker": Asker}


@asynccontextmanager
async def _process(
    url: str,
    folder: Path,
    pools: tuple[str, ...] = ("default", "back"),
    kinds: "Mapping[str, type[Agent]] | None" = None,
    *,
    lease: float = 1.0,
) -> AsyncIterator[Network]:
    manifest = parse_manifest(MANIFEST.replace("LEASE", f"{lease:g}"), folder=folder)
    async with open_network(manifest, store_url=url, kinds=kinds or KINDS, pools=pools) as network:
        yield network


def _request(
    text: str, *, wait: bool = False, task_id: str = "", context_id: str = ""
) -> SendMessageRequest:
    return SendMessageRequest(
        message=user_message(text, task_id=task_id, context_id=context_id),
        configuration=SendMessageConfiguration(return_immediately=not wait),
    )


async def _sent(network: Network, agent: str, request: SendMessageRequest) -> Task:
    task = (await network.service(agent).send_message(request, Call())).task
    assert task is not None
    return task


async def _asked(network: Network) -> Task:
    """A task that waits for a person's answer at this process."""
    task = await _sent(network, "asker", _request("go", wait=True))
    assert task.status.state is TaskState.INPUT_REQUIRED
    return task


async def test_an_agent_of_another_pool_is_asked_through_the_journal(
    postgres: Cluster, tmp_path: Path
) -> None:
    """Ours: near and far are one path, also where far is another process of the same network."""
    url = postgres.new_store()
    with fail_after(30):
        async with (
            _process(url, tmp_path / "a", ("default",)) as front,
            _process(url, tmp_path / "b", ("back",)) as back,
        ):
            assert set(front.hosts) == {"desk", "asker"}
            assert set(back.hosts) == {"clerk"}
            # The back has no desk either, so its caller follows the front's work.
            for network in (front, back):
                task = await network.ask("desk", "good morning")
                assert task.status.message is not None
                assert task.status.message.text == "GOOD MORNING"


async def test_what_nobody_runs_is_refused_and_not_left_lying(
    postgres: Cluster, tmp_path: Path
) -> None:
    """Ours: a message for a pool that no living process runs is not accepted."""
    url = postgres.new_store()
    with fail_after(30):
        async with _process(url, tmp_path, ("default",)) as front:
            with pytest.raises(BusyError, match="no process runs pool 'back' now"):
                await front.service("clerk").send_message(_request("hello"), Call())
            _, total = await front.journal.select()
            assert total == 0


async def test_an_answer_and_a_cancellation_reach_the_work_elsewhere(
    postgres: Cluster, tmp_path: Path
) -> None:
    """Ours: orders go to the process that has the task, and their outcome comes back."""
    url = postgres.new_store()
    with fail_after(30):
        async with _process(url, tmp_path / "a") as one, _process(url, tmp_path / "b") as other:
            asked = await _asked(one)
            answer = _request("yes", task_id=asked.id, context_id=asked.context_id)
            await _sent(other, "asker", answer)
            done = await wait_for_end(other.service("asker"), asked, Call())
            assert done.status.message is not None
            assert done.status.message.text == "yes"
            again = await _asked(one)
            canceled = await other.service("asker").cancel_task(
                CancelTaskRequest(id=again.id), Call()
            )
            assert canceled.status.state is TaskState.CANCELED
            assert (await one.task(again.id)).status.state is TaskState.CANCELED


async def test_who_leaves_hands_its_work_over_at_once(postgres: Cluster, tmp_path: Path) -> None:
    """Ours: a rolling restart; whoever waits at the other process waits on."""
    url = postgres.new_store()
    with fail_after(30):
        async with _process(url, tmp_path / "b") as stays:
            async with _process(url, tmp_path / "a") as leaves:
                asked = await _asked(leaves)
                assert asked.id not in stays.hosts["asker"].pending
            # It is begun anew here, up to its question, without waiting for a lease.
            answer = _request("no", task_id=asked.id, context_id=asked.context_id)
            await _sent(stays, "asker", answer)
            done = await wait_for_end(stays.service("asker"), asked, Call())
            assert done.status.state is TaskState.COMPLETED


async def test_a_process_that_slept_stops_what_was_taken_and_follows_it(
    postgres: Cluster, tmp_path: Path
) -> None:
    """Ours: fault F12 without the kill: what it wakes up to is not its own any more."""
    url = postgres.new_store()
    with fail_after(60):
        # Long, so that on a busy machine it does not lapse by itself.
        async with _process(url, tmp_path / "a", lease=60) as sleeper:
            asked = await _asked(sleeper)
            async with _process(url, tmp_path / "b", lease=60) as heir:
                # What a claim does when the lease has lapsed, at a moment that is ours.
                taken = (heir.lease.number, asked.id, sleeper.lease.number)
                await heir.journal.database.transact(
                    lambda connection: connection.execute(
                        "UPDATE task SET owner=? WHERE id=? AND owner=?", taken
                    )
                )
                await heir._receive([asked.id])
                sleeper.lease.lapses += 1
                sleeper.told_unclaimed()
                while asked.id in sleeper.hosts["asker"].pending:
                    await anyio.sleep(0.01)
                await _sent(
                    sleeper,
                    "asker",
                    _request("yes", task_id=asked.id, context_id=asked.context_id),
                )
                seen = await wait_for_end(sleeper.service("asker"), asked, Call())
                assert seen.status.state is TaskState.COMPLETED
                record = await heir.find(asked.id)
                assert record is not None
                assert [each.sequence for each in record.events] == list(
                    range(1, len(record.events) + 1)
                )


async def test_the_next_of_a_dialogue_waits_for_the_one_before_it_elsewhere(
    postgres: Cluster, tmp_path: Path
) -> None:
    """Ours: two messages of one context, sent to two processes, are worked on in order."""
    url = postgres.new_store()
    with fail_after(30):
        async with _process(url, tmp_path / "a") as one, _process(url, tmp_path / "b") as other:
            tasks = [
                await _sent(network, "desk", _request(f"part {number}", context_id="talk"))
                for number, network in enumerate((one, other, one, other, one, other))
            ]
            ended = [await wait_for_end(one.service("desk"), task, Call()) for task in tasks]
            assert {task.status.state for task in ended} == {TaskState.COMPLETED}
            rows, _ = await one.journal.select("agent='desk'")
            rows.sort(key=lambda record: record.updated_at)
            assert [record.message.text for record in rows] == [f"part {n}" for n in range(6)]


async def test_what_waits_behind_a_task_that_was_taken_does_not_pass_it(
    postgres: Cluster, tmp_path: Path
) -> None:
    """Ours: fault F11: of two messages of one dialogue the first is taken over, the second not."""
    url = postgres.new_store()
    gate = Gate()
    with fail_after(60):
        async with _process(url, tmp_path / "a", kinds=gate.kinds, lease=60) as sleeper:
            first = await _sent(sleeper, "desk", _request("first", context_id="talk"))
            second = await _sent(sleeper, "desk", _request("second", context_id="talk"))
            await gate.wait_begun("first")
            async with _process(url, tmp_path / "b", kinds=gate.kinds, lease=60) as heir:
                taken = (heir.lease.number, first.id, sleeper.lease.number)
                await heir.journal.database.transact(
                    lambda connection: connection.execute(
                        "UPDATE task SET owner=? WHERE id=? AND owner=?", taken
                    )
                )
                await heir._receive([first.id])
                sleeper.lease.lapses += 1
                sleeper.told_unclaimed()
                # It is left to the process that has the first, which alone may claim it.
                while second.id not in heir.hosts["desk"].pending:
                    await anyio.sleep(0.01)
                gate.open()
                for task in (first, second):
                    ended = await wait_for_end(sleeper.service("desk"), task, Call())
                    assert ended.status.state is TaskState.COMPLETED
    assert gate.seen == ["begin first", "begin first", "end first", "begin second", "end second"]


async def _put(network: Network, text: str, owner: int) -> Task:
    """A task in the journal that its process was not told of, as when a commit's answer is lost."""
    record = TaskRecord(
        id=f"put-{text}",
        agent="desk",
        tenant=Call().tenant,
        principal=Call().principal,
        context_id="talk",
        message=user_message(text, context_id="talk"),
        budget=Budget(),
    )
    task = Task(id=record.id, context_id="talk", status=TaskStatus(state=TaskState.SUBMITTED))
    async with open_journal(network.journal.database) as unaware:
        await unaware.accept(
            record,
            StreamResponse(task=task),
            lambda *_: None,
            claim=False,
            also=lambda connection: connection.execute(
                "UPDATE task SET owner=? WHERE id=?", (owner, record.id)
            ),
        )
    return task


async def test_what_was_accepted_without_its_process_knowing_is_worked_on(
    postgres: Cluster, tmp_path: Path
) -> None:
    """Ours: fault F11: the commit arrives when the connection it was sent on is long given up."""
    with fail_after(60):
        async with _process(postgres.new_store(), tmp_path) as network:
            task = await _put(network, "hello", network.lease.number)
            ended = await wait_for_end(network.service("desk"), task, Call())
            assert ended.status.state is TaskState.COMPLETED


@pytest.mark.parametrize("claimed", [False, True])
async def test_nothing_passes_what_its_process_does_not_know_that_it_has(
    postgres: Cluster, tmp_path: Path, claimed: bool
) -> None:
    """Ours: fault F11: what comes after it in its dialogue waits, whether it was accepted or claimed."""
    gate = Gate()
    gate.open()
    with fail_after(60):
        async with _process(postgres.new_store(), tmp_path, kinds=gate.kinds, lease=60) as network:
            first = await _put(network, "first", network.lease.number)
            if claimed:
                second = await _put(network, "second", 0)
            else:
                second = await _sent(network, "desk", _request("second", context_id="talk"))
            for task in (first, second):
                ended = await wait_for_end(network.service("desk"), task, Call())
                assert ended.status.state is TaskState.COMPLETED
    assert gate.seen == ["begin first", "end first", "begin second", "end second"]


@pytest.mark.slow
async def test_a_server_that_is_away_is_said_to_be_and_accepts_again(
    tmp_path: Path,
) -> None:
    """Ours: fault F20 at length: the same message, sent again when the server is back, is one task."""
    found = binaries()
    if found is None:
        pytest.skip("there is no PostgreSQL; Debian's package is `postgresql`")
    # A socket's path may have 107 bytes, and another user must reach its folder.
    with TemporaryDirectory(prefix="away-", dir="/tmp") as folder:
        cluster = Cluster(Path(folder), found)
        await anyio.to_thread.run_sync(cluster.start)
        try:
            with fail_after(120):
                async with _process(cluster.url("postgres"), tmp_path, lease=60) as network:
                    await network.ask("clerk", "hello")
                    await anyio.to_thread.run_sync(cluster.stop)
                    request = _request("again")
                    with pytest.raises(StoreAwayError) as away:
                        await _sent(network, "clerk", request)
                    assert away.value.retryable
                    assert STATUSES[away.value.reason] == (503, "UNAVAILABLE")
                    await anyio.to_thread.run_sync(cluster.start)
                    first = await _sent(network, "clerk", request)
                    assert (await _sent(network, "clerk", request)).id == first.id
                    ended = await wait_for_end(network.service("clerk"), first, Call())
                    assert ended.status.state is TaskState.COMPLETED
        finally:
            await anyio.to_thread.run_sync(cluster.stop)


async def test_processes_are_listed_and_maintenance_waits_for_them(
    postgres: Cluster, tmp_path: Path
) -> None:
    """Ours: what rewrites the store is refused while a process runs agents over it."""
    from repertory.runtime.journal import owned

    url = postgres.new_store()
    with fail_after(30):
        async with _process(url, tmp_path / "a", ("back",)) as one:
            (seen,) = await processes_of(one.journal.database)
            assert seen.lives
            assert (seen.number, seen.pools) == (one.lease.number, ("back",))
            with pytest.raises(StoreOwnedError, match="is in use by process"):
                async with owned(url):
                    pass
            await one.drain()
            (seen,) = await processes_of(one.journal.database)
            assert seen.draining
        async with owned(url):
            pass


async def test_a_pool_that_no_agent_is_in_is_named(postgres: Cluster, tmp_path: Path) -> None:
    """Ours: a process that would run nothing says so before it starts."""
    with pytest.raises(InputError, match="no agent is in pool 'bakc'; did you mean 'back'"):
        async with _process(postgres.new_store(), tmp_path, ("bakc",)):
            pass
    with pytest.raises(InputError, match="needs a PostgreSQL store"):
        async with _process(f"sqlite:///{tmp_path}/x.db", tmp_path, ("back",)):
            pass
