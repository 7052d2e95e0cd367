"""The journal by itself: what is durable when, and what a refused write leaves behind."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

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
from repertory.runtime.journal import Journal, open_journal
from repertory.runtime.record import TaskRecord
from repertory.xp_store import StoreError, open_database


@asynccontextmanager
async def _accepted(folder: Path) -> AsyncIterator[tuple[Journal, TaskRecord]]:
    message = user_message("count the chairs")
    record = TaskRecord("t1", "clerk", "default", "local", "c1", message)
    first = Task(id="t1", context_id="c1", status=TaskStatus(state=TaskState.SUBMITTED))
    async with (
        open_database(f"sqlite:///{folder / 'store.db'}") as database,
        open_journal(database) as journal,
    ):
        await journal.accept(record, StreamResponse(task=first), lambda _: None)
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


async def test_what_is_said_on_the_way_is_one_write_with_what_follows(tmp_path: Path) -> None:
    """Ours: two reports and the end are published in order, by one unit of one commit."""
    async with _accepted(tmp_path) as (journal, record):
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
    tmp_path: Path,
) -> None:
    """Ours: a report of an agent that then thinks for long is not held back."""
    async with _accepted(tmp_path) as (journal, record):
        await journal.emit(record, _said("one"))
        await record.wait_beyond(1)
        await journal.emit(record, _said("two"))
        await journal.settle()
        assert record.last_sequence == 3


async def test_a_burst_of_reports_waits_for_the_store(tmp_path: Path) -> None:
    """Ours: an agent that says much cannot fill the memory; all of it is kept in order."""
    async with _accepted(tmp_path) as (journal, record):
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
    async with _accepted(tmp_path) as (journal, record):
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
