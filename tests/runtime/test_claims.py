"""Which process takes a task, and what becomes of the writes of one that it was taken from.

Processes are stood for by journals of their own over one file, each with a lease by the
database's clock: the same statements that processes over a server send.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from anyio import create_task_group, fail_after, wait_all_tasks_blocked

from repertory.protocol import (
    Budget,
    StreamResponse,
    Task,
    TaskState,
    TaskStatus,
    TaskStatusUpdateEvent,
    user_message,
)
from repertory.runtime.claims import Claims
from repertory.runtime.journal import Journal, StaleTaskError, StepRecord, open_journal
from repertory.runtime.lease import Lease, processes_of
from repertory.runtime.record import TaskRecord
from repertory.xp_store import open_database


class Clock:
    """A process's own monotonic clock, moved by hand."""

    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at


@dataclass
class Peer:
    """A process over the journal."""

    journal: Journal
    lease: Lease
    claims: Claims
    clock: Clock

    async def take(self, most: int = 10) -> list[str]:
        ids, _ = await self.claims.some({"worker": most})
        return ids

    async def lapse(self) -> None:
        """Let its lease be over, by the database's clock and by its own."""
        self.clock.at += 1_000.0
        await self.journal.database.transact(
            lambda connection: connection.execute(
                "UPDATE process SET lease_until=1.0 WHERE number=?", (self.lease.number,)
            )
        )


@asynccontextmanager
async def _peer(url: str) -> AsyncIterator[Peer]:
    with fail_after(30):
        async with (
            open_database(url) as database,
            open_journal(database) as journal,
        ):
            clock = Clock()
            lease = Lease(database, pools=("default",), shared=True, clock=clock)
            await lease.begin()
            journal.lease = lease
            yield Peer(journal, lease, Claims(database, lease), clock)


async def _accept(peer: Peer, name: str, context: str = "", *, claim: bool = True) -> TaskRecord:
    record = TaskRecord(
        id=name,
        agent="worker",
        tenant="default",
        principal="ann",
        context_id=context or f"alone-{name}",
        message=user_message("go", context_id=context, message_id=name),
        budget=Budget(),
    )
    first = Task(
        id=name,
        context_id=record.context_id,
        status=TaskStatus(state=TaskState.SUBMITTED),
    )
    await peer.journal.accept(record, StreamResponse(task=first), lambda *_: None, claim=claim)
    return record


def _says(record: TaskRecord, state: TaskState) -> StreamResponse:
    return StreamResponse(
        status_update=TaskStatusUpdateEvent(
            task_id=record.id, context_id=record.context_id, status=TaskStatus(state=state)
        )
    )


def _step(key: str = "tool:1") -> StepRecord:
    return StepRecord(key, 1, "tool", "books.post", {})


async def test_what_nobody_works_on_is_taken_by_one_process(store_url: str) -> None:
    """Ours: two that ask at once share the tasks, and no task is shared."""
    async with _peer(store_url) as one, _peer(store_url) as other:
        for number in range(20):
            await _accept(one, f"t{number:02}", claim=False)
        taken: dict[str, list[str]] = {"one": [], "other": []}

        async def take(name: str, peer: Peer) -> None:
            while got := await peer.take(3):
                taken[name] += got

        async with create_task_group() as tasks:
            tasks.start_soon(take, "one", one)
            tasks.start_soon(take, "other", other)
        both = taken["one"] + taken["other"]
        assert sorted(both) == [f"t{number:02}" for number in range(20)]
        assert await one.claims.held() == set(taken["one"])
        assert await other.claims.held() == set(taken["other"])


async def test_tasks_of_the_dead_are_taken_and_those_of_the_living_are_not(store_url: str) -> None:
    """Ours: a lease by the database's clock decides, whatever the machines' clocks say."""
    async with _peer(store_url) as one, _peer(store_url) as other:
        await _accept(one, "mine")
        assert await other.take() == []
        await one.lapse()
        assert await other.take() == ["mine"]
        assert await one.take() == []
        lives = {each.number: each.lives for each in await processes_of(one.journal.database)}
        assert lives == {one.lease.number: False, other.lease.number: True}


async def test_the_writes_of_a_woken_process_change_nothing(store_url: str) -> None:
    """Ours: fault F12: events, steps, attempts and what goes with them are refused alike."""
    async with _peer(store_url) as zombie, _peer(store_url) as heir:
        record = await _accept(zombie, "t")
        await zombie.journal.append(record, _says(record, TaskState.WORKING))
        await zombie.lapse()
        assert await heir.take() == ["t"]
        await zombie.lease.renew()
        wrote: list[str] = []
        with pytest.raises(StaleTaskError, match="task t is another process's now"):
            await zombie.journal.append(
                record, _says(record, TaskState.COMPLETED), also=lambda _: wrote.append("pack")
            )
        with pytest.raises(StaleTaskError):
            await zombie.journal.put_step("t", _step())
        await zombie.journal.note_attempt(record)
        assert wrote == []
        assert record.now is TaskState.WORKING
        (loaded,) = await heir.journal.load_all(["t"])
        assert (loaded.attempts, len(loaded.events)) == (0, 2)
        assert await heir.journal.steps("t") == {}
        await heir.journal.append(loaded, _says(loaded, TaskState.COMPLETED))


async def test_a_step_does_not_begin_while_the_lease_has_lapsed(store_url: str) -> None:
    """Ours: between the commit of `begun` and the effect a process may sleep; it looks again."""
    async with _peer(store_url) as zombie, _peer(store_url) as heir:
        await _accept(zombie, "t")
        await zombie.lapse()
        failures: list[BaseException] = []

        async def begin() -> None:
            try:
                await zombie.journal.put_step("t", _step())
            except StaleTaskError as error:
                failures.append(error)

        async with create_task_group() as tasks:
            tasks.start_soon(begin)
            await wait_all_tasks_blocked()
            assert failures == []
            assert await heir.take() == ["t"]
            await zombie.lease.renew()
        assert len(failures) == 1
        assert zombie.lease.lapses == 1


async def test_a_process_that_nobody_replaced_goes_on(store_url: str) -> None:
    """Ours: a lapse alone takes nothing away."""
    async with _peer(store_url) as one:
        record = await _accept(one, "t")
        await one.lapse()
        await one.lease.renew()
        await one.journal.put_step("t", _step())
        await one.journal.append(record, _says(record, TaskState.WORKING))
        assert await one.claims.held() == {"t"}


async def test_a_dialogue_stays_in_order_over_processes(store_url: str) -> None:
    """Ours: the next is not taken before the one before it, nor while that is at work elsewhere."""
    async with _peer(store_url) as one, _peer(store_url) as other:
        first = await _accept(one, "b", "talk")
        # Its process would take it at once, but the dialogue is at work elsewhere.
        second = await _accept(other, "a", "talk")
        assert second.created_at > first.created_at
        assert await other.claims.held() == set()
        assert await other.take() == []
        await one.lapse()
        assert await other.take() == ["b"]
        assert await other.take() == ["a"]


async def test_a_task_that_waits_for_a_person_holds_nobody_up(store_url: str) -> None:
    """Ours: a parked task's place, and its dialogue, are free for the next."""
    async with _peer(store_url) as one, _peer(store_url) as other:
        first = await _accept(one, "t1", "talk")
        await one.journal.append(first, _says(first, TaskState.WORKING))
        await one.journal.append(first, _says(first, TaskState.INPUT_REQUIRED))
        await _accept(one, "t2", "talk", claim=False)
        assert await other.take() == ["t2"]


async def test_who_leaves_hands_over_at_once(store_url: str) -> None:
    """Ours: draining and rolling restarts wait for no lease."""
    async with _peer(store_url) as one, _peer(store_url) as other:
        ended = await _accept(one, "ended")
        await _accept(one, "open")
        await one.journal.append(
            ended, _says(ended, TaskState.WORKING), _says(ended, TaskState.COMPLETED)
        )
        await one.lease.end()
        assert await other.take() == ["open"]
        numbers = [each.number for each in await processes_of(other.journal.database)]
        assert numbers == [other.lease.number]


async def test_a_number_is_never_given_twice(store_url: str) -> None:
    """Ours: a fencing token of the dead must not fit the living."""
    numbers: list[int] = []
    for _ in range(3):
        async with _peer(store_url) as peer:
            numbers.append(peer.lease.number)
            await peer.lease.end()
    assert len(set(numbers)) == 3
    assert numbers == sorted(numbers)


async def test_what_was_given_back_is_had_again_and_no_other(store_url: str) -> None:
    """Ours: a process gives back what is its own, also when the task was taken meanwhile."""
    async with _peer(store_url) as one, _peer(store_url) as other:
        await _accept(one, "kept")
        await _accept(one, "lost")
        await one.lapse()
        assert await other.take(1) == ["kept"]
        await one.lease.renew()
        await one.claims.give_back(["kept", "lost"])
        assert await other.take() == ["lost"]
        assert await other.claims.held() == {"kept", "lost"}


async def test_of_very_many_agents_only_those_with_work_are_asked_for(store_url: str) -> None:
    """Ours: what a look costs hangs on what there is to be had, and not on who could have it."""
    async with _peer(store_url) as one, _peer(store_url) as other:
        await _accept(one, "t1", claim=False)
        await _accept(one, "t2", claim=False)
        idle = {f"idle{number}": 4 for number in range(100)}
        assert await other.claims.some(idle) == ([], [])
        assert await other.claims.some({**idle, "worker": 1}) == (["t1"], [])
        assert await other.claims.at_work([*idle, "worker"])
        assert not await other.claims.at_work(idle)
        assert await one.claims.all(idle) == []
        assert sorted(await one.claims.all([*idle, "worker"])) == ["t1", "t2"]
