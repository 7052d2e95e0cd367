"""The state of a running network at one glance, folded from its events.

The board only counts; `cli_run` draws it while a network works.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from repertory.protocol import StreamResponse, TaskState

from .budget import Usage
from .record import USAGE_KEY
from .screen import duration, grid, short

if TYPE_CHECKING:
    from .network import NetworkEvent

_WAITING = (TaskState.INPUT_REQUIRED, TaskState.AUTH_REQUIRED)
_FAILED = (TaskState.FAILED, TaskState.REJECTED, TaskState.CANCELED)


@dataclass
class _Seat:
    """What is known of one task."""

    agent: str
    state: TaskState = TaskState.SUBMITTED
    text: str = ""
    usage: Usage = field(default_factory=Usage)


class Board:
    """Counts per agent, and the last words of each."""

    def __init__(self, agents: Sequence[str], total: int = 0) -> None:
        self._agents = list(agents)
        self._tasks: dict[str, _Seat] = {}
        self.total = total
        self.roots: set[str] = set()

    def take(self, event: "NetworkEvent") -> None:
        """Fold one event of the network into the board."""
        seat = self._tasks.setdefault(event.task_id, _Seat(event.agent))
        if event.agent not in self._agents:
            self._agents.append(event.agent)
        self.take_response(seat, event.event)

    def take_response(self, seat: _Seat, response: StreamResponse) -> None:
        """Fold what an event says into its task's seat."""
        task, update = response.task, response.status_update
        status = task.status if task is not None else update.status if update is not None else None
        if status is None:
            return
        seat.state = status.state
        if status.message is not None and status.message.text:
            seat.text = status.message.text
        if update is not None and USAGE_KEY in (update.metadata or {}):
            seat.usage = Usage.from_json((update.metadata or {})[USAGE_KEY])

    def count(self, agent: str, *states: TaskState) -> int:
        """How many tasks of `agent` are in one of `states`."""
        return sum(s.agent == agent and s.state in states for s in self._tasks.values())

    @property
    def ended(self) -> int:
        """How many of the root tasks have ended or wait for a person."""
        over = (TaskState.COMPLETED, *_FAILED, *_WAITING)
        return sum(s.state in over for t, s in self._tasks.items() if t in self.roots)

    def usage(self) -> Usage:
        """What the root tasks spent, with all they caused."""
        return sum((s.usage for t, s in self._tasks.items() if t in self.roots), Usage())

    def draw(self, seconds: float) -> Group:
        """The board as it stands after `seconds`."""
        rows = []
        for agent in self._agents:
            words = [s for s in self._tasks.values() if s.agent == agent and s.text]
            rows.append(
                (
                    agent,
                    self.count(agent, TaskState.WORKING) or "",
                    self.count(agent, TaskState.SUBMITTED) or "",
                    self.count(agent, *_WAITING) or "",
                    self.count(agent, TaskState.COMPLETED) or "",
                    self.count(agent, *_FAILED) or "",
                    short(words[-1].text, 60) if words else "",
                )
            )
        columns = (
            "agent",
            "working>",
            "queued>",
            "for a person>",
            "done>",
            "failed>",
            "last words",
        )
        table: Table = grid(columns, rows)
        parts = [f"{self.ended} of {self.total} inputs" if self.total else f"{self.ended} ended"]
        usage = self.usage()
        if usage.calls:
            parts.append(f"{usage.calls:,} calls, {usage.tokens:,} tokens")
        parts.append(duration(seconds))
        return Group(table, Text("  ".join(parts), style="bold"))
