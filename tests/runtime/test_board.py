import io
from datetime import UTC, datetime

from rich.console import Console

from repertory.protocol import (
    StreamResponse,
    TaskState,
    TaskStatus,
    TaskStatusUpdateEvent,
    agent_message,
)
from repertory.runtime.board import Board
from repertory.runtime.network import NetworkEvent


def event(task: str, agent: str, state: TaskState, text: str = "", tokens: int = 0) -> NetworkEvent:
    """A status of a task, as the network tells it."""
    message = agent_message(text, task_id=task) if text else None
    usage = {"tokensIn": tokens, "tokensOut": 0, "calls": 1, "usd": 0.0}
    update = TaskStatusUpdateEvent(
        task_id=task,
        context_id="c",
        status=TaskStatus(state=state, message=message),
        metadata={"dev.repertory/usage": usage} if tokens else None,
    )
    return NetworkEvent(task, agent, 1, StreamResponse(status_update=update), datetime.now(UTC))


def test_the_board_counts_each_task_once_in_its_last_state() -> None:
    """Ours: a glance tells who works, who waits and what is done."""
    board = Board(["desk", "clerk"], total=2)
    board.roots.update({"1", "2"})
    for each in (
        event("1", "desk", TaskState.WORKING, "reading"),
        event("1", "desk", TaskState.COMPLETED, "read", tokens=30),
        event("2", "desk", TaskState.WORKING),
        event("3", "clerk", TaskState.INPUT_REQUIRED, "may I?", tokens=12),
    ):
        board.take(each)
    assert board.count("desk", TaskState.WORKING) == 1
    assert board.count("desk", TaskState.COMPLETED) == 1
    assert board.count("clerk", TaskState.INPUT_REQUIRED) == 1
    assert board.ended == 1


def test_the_board_charges_only_the_roots() -> None:
    """Ours: a root's usage includes that of the tasks below it."""
    board = Board(["desk"])
    board.roots.add("1")
    board.take(event("1", "desk", TaskState.COMPLETED, tokens=30))
    board.take(event("2", "clerk", TaskState.COMPLETED, tokens=12))
    assert board.usage().tokens == 30


def test_the_board_draws_every_agent_with_its_last_words() -> None:
    """Ours: also one that only turned up while the network ran."""
    board = Board(["desk"], total=1)
    board.take(event("1", "stranger", TaskState.FAILED, "no such thing"))
    console = Console(file=io.StringIO(), width=120, record=True)
    console.print(board.draw(12.0))
    text = console.export_text()
    assert "desk" in text
    assert "stranger" in text
    assert "no such thing" in text
    assert "12.0 s" in text
