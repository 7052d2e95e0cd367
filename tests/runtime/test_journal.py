"""The journal by itself: what is durable when, and what a refused write leaves behind."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio.to_thread
import pytest

from repertory.protocol import (
    StreamResponse,
    Task,
    TaskState,
    TaskStatus,
    TaskStatusUpdateEvent,
    agent_message,
    user_message,
)
from repertory.runtime.journal import (
    Journal,
    StepRecord,
    command_outcome,
    open_journal,
    owned,
)
from repertory.runtime.lease import owner_of
from repertory.runtime.record import TaskRecord
from repertory.xp_store import StoreError, StoreOwnedError, open_database


@asynccontextmanager
async def _accepted(url: str) -> AsyncIterator[tuple[Journal, TaskRecord]]:
    message = user_message("count the chairs")
    record = TaskRecord("t1", "clerk", "default", "local", "c1", message)
    first = Task(id="t1", context_id="c1", status=TaskStatus(state=TaskState.SUBMITTED))
    async with (
        open_database(url) as database,
        open_journal(database) as journal,
    ):
        await journal.accept(record, StreamResponse(task=first), lambda *_: None)
        yield journal, record


def _said(text: str, state: TaskState = TaskState.WORKING) -> StreamResponse:
    status = TaskStatus(state=state, message=agent_message(text, task_id="t1", context_id="c1"))
    return StreamResponse(
        status_update=TaskStatusUpdateEvent(task_id="t1", context_id="c1", status=status)
    )


async def _room(journal: Journal, pages: int | None) -> None:
    """Let the store's file grow by so many pages, or by as many as it likes."""

    def unit(connection: object) -> None:
        execute = connection.execute  # type: ignore[attr-defined]  # SQLite's connection
        held = execute("PRAGMA page_count").fetchone()[0]
        execute(f"PRAGMA max_page_count={1_000_000 if pages is None else held + pages}")

    await journal.database.transact(unit)


async def test_what_is_said_on_the_way_is_one_write_with_what_follows(store_url: str) -> None:
    """Ours: two reports and the end are published in order, by one unit of one commit."""
    async with _accepted(store_url) as (journal, record):
        before = journal.database.units
        await journal.emit(record, _said("one"))
        await journal.emit(record, _said("two"))
        assert record.last_sequence == 1
        await journal.append(record, _said("done", TaskState.COMPLETED))
        assert journal.database.units == before + 1
        assert [n.sequence for n in record.events] == [1, 2, 3, 4]
        assert record.ended
        loaded = await journal.load("t1")
        assert loaded is not None
        assert loaded.snapshot() == record.snapshot()


async def test_what_is_said_on_the_way_is_published_also_when_nothing_follows(
    store_url: str,
) -> None:
    """Ours: a report of an agent that then thinks for long is not held back."""
    async with _accepted(store_url) as (journal, record):
        await journal.emit(record, _said("one"))
        await record.wait_beyond(1)
        await journal.emit(record, _said("two"))
        await journal.settle()
        assert record.last_sequence == 3


async def test_a_burst_of_reports_waits_for_the_store(store_url: str) -> None:
    """Ours: an agent that says much cannot fill the memory; all of it is kept in order."""
    async with _accepted(store_url) as (journal, record):
        most = 0
        for number in range(1000):
            await journal.emit(record, _said(str(number)))
            most = max(most, record.staged - record.last_sequence)
        await journal.settle()
        assert most <= 128
        words = [n.event.status_update.status.message.text for n in record.events[1:]]  # type: ignore[union-attr]  # reports
        assert words == [str(number) for number in range(1000)]


async def test_a_report_that_could_not_be_stored_is_told_by_the_next_write(tmp_path: Path) -> None:
    """Ours: with the disk full nothing is published, the task knows, and goes on when there is room."""
    async with _accepted(f"sqlite:///{tmp_path}/store.db") as (journal, record):
        await _room(journal, 0)
        await journal.emit(record, _said("x" * 100_000))
        await journal.settle()
        assert (record.last_sequence, record.staged) == (1, 1)
        with pytest.raises(StoreError, match="full"):
            await journal.emit(record, _said("again"))
        await journal.emit(record, _said("y" * 100_000))
        with pytest.raises(StoreError, match="full"):
            await journal.append(record, _said("done", TaskState.COMPLETED))
        assert record.now is TaskState.SUBMITTED
        await _room(journal, None)
        await journal.append(record, _said("done", TaskState.COMPLETED))
        assert [n.sequence for n in record.events] == [1, 2]
        assert record.ended


async def test_a_follower_is_told_what_is_new_in_each_log(store_url: str) -> None:
    """Ours: each log by its own numbers, so that nothing hangs on the order of commits."""
    async with _accepted(store_url) as (journal, record):
        assert await journal.grown({"t1": 1, "absent": 0}) == []
        await journal.append(record, _said("one"), _said("two"))
        assert await journal.grown({"t1": 1, "absent": 0}) == ["t1"]
        assert await journal.events_after("t1", 1) == record.events[1:]
        assert await journal.grown({"t1": 3}) == []


async def test_steps_commands_and_pages_are_kept(store_url: str) -> None:
    """Ours: what a resumed turn stands on is the same on every engine."""
    async with _accepted(store_url) as (journal, record):
        step = StepRecord("k", 1, "tool", "post", {"a": [1, None]}, started_at=1.5)
        await journal.put_step("t1", step)
        step.result, step.ended_at = {"ok": True}, 2.5
        await journal.put_step("t1", step)
        assert await journal.steps("t1") == {"k": step}
        number = await journal.post("answer", "t1", "yes")
        (command,) = await journal.pending_commands()
        assert (command.number, command.body) == (number, "yes")
        await journal.settle_command(command, "done")
        assert await command_outcome(journal.database, number) == "done"
        again, _ = await journal.select("agent = ?", ("clerk",))
        assert [each.id for each in again] == ["t1"]
        twin = TaskRecord("t2", "clerk", "default", "local", "c1", record.message)
        first = Task(id="t2", context_id="c1", status=TaskStatus(state=TaskState.SUBMITTED))
        known = await journal.accept(twin, StreamResponse(task=first), lambda *_: None)
        assert known is not None
        assert known.id == "t1"
        (open_one,) = await journal.load_all(["t1", "absent"])
        assert open_one.snapshot() == record.snapshot()


async def test_one_process_owns_a_journal_and_others_are_told_which(store_url: str) -> None:
    """Ours: a second owner is refused with the process that holds it."""
    if store_url.startswith("sqlite"):
        assert await anyio.to_thread.run_sync(owner_of, store_url) is None
    async with owned(store_url):
        if store_url.startswith("sqlite"):
            assert await anyio.to_thread.run_sync(owner_of, store_url) == os.getpid()
        with pytest.raises(StoreOwnedError, match=str(os.getpid())):
            async with owned(store_url):
                pass
    async with owned(store_url):
        pass
