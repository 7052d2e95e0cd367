"""`repertory run` and `repertory ask`, and the work that follows `repertory answer`."""

import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from time import monotonic
from typing import Any, Protocol

import anyio
from anyio import TASK_STATUS_IGNORED, create_task_group, open_signal_receiver, sleep
from anyio.abc import TaskGroup, TaskStatus
from rich.console import Group
from rich.live import Live
from rich.text import Text

from repertory.protocol import (
    Message,
    NetworkClosedError,
    Task,
    TaskState,
    is_interrupted,
    is_terminal,
    user_message,
)

from .board import Board
from .chosen import Chosen, choose
from .cli_models import ensure_weights
from .exits import Exit
from .inputs import input_files
from .model_starts import ServerStarts, shown_starts
from .network import Network
from .opening import open_network
from .report import Outcome, RunReport, render, standard_report
from .screen import Screen, word
from .summaries import TaskSummary

_DRAWS_PER_SECOND = 5.0
_LOOK_SECONDS = 0.5
_SOON_SECONDS = 0.05
_MOST = 100_000
FILE_KEY = "dev.repertory/file"


class Drained(Protocol):
    """What is given time to finish before it stops: a network, or a replica of one."""

    async def drain(self) -> None: ...


class Interrupts:
    """Ctrl-C once: no new work, finish or journal what runs. Twice: stop now."""

    def __init__(self, screen: Screen) -> None:
        self.screen = screen
        self.came = False

    async def listen(
        self,
        network: Drained,
        scope: anyio.CancelScope,
        *,
        task_status: TaskStatus[None] = TASK_STATUS_IGNORED,
    ) -> None:
        """Wait for signals; drain at the first, cancel `scope` then or at the second."""
        with open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            task_status.started()
            async with create_task_group() as draining:
                async for _ in signals:
                    if self.came:
                        break
                    self.came = True
                    self.screen.warn("finishing or journaling what runs; once more stops now")
                    draining.start_soon(self._drain, network, scope)
                draining.cancel_scope.cancel()
        scope.cancel()

    async def _drain(self, network: Drained, scope: anyio.CancelScope) -> None:
        await network.drain()
        scope.cancel()


@asynccontextmanager
async def running(
    screen: Screen, chosen: Chosen, *, pools: Sequence[str] = ()
) -> AsyncIterator[Network]:
    """The chosen network at work, with the weights it needs; pools: as in `open_network`."""
    await ensure_weights(screen, chosen.manifest)
    screen.say(f"starting {chosen.manifest.network}")
    opened = open_network(chosen.manifest, store_url=chosen.store or None, pools=pools)
    async with opened as network:
        yield network


def run_network(
    path: Path,
    given: Sequence[Path],
    words: Sequence[str],
    store: str,
    wait: bool,
    again: bool,
    as_json: bool,
) -> int:
    """Give a network its input, let it work, and report."""
    messages = [user_message(text) for text in words]
    return give_input(
        Screen(json=as_json), choose(path, store), given, messages, wait=wait, again=again
    )


def give_input(
    screen: Screen,
    chosen: Chosen,
    given: Sequence[Path],
    messages: Sequence[Message],
    *,
    wait: bool = False,
    again: bool = False,
) -> int:
    """Give files and messages to the chosen network, let it work, and report; the exit status."""
    files = input_files(chosen.manifest.network, given) if given else []
    source = given[0] if given else None
    run = _Run(screen, chosen, [*(f.message for f in files), *messages], source, wait, again)
    return anyio.run(run.work, backend_options={"use_uvloop": has_uvloop()})


_UNDONE = (TaskState.FAILED, TaskState.CANCELED)


class _Run:
    """One `repertory run`."""

    def __init__(
        self,
        screen: Screen,
        chosen: Chosen,
        messages: Sequence[Message],
        source: Path | None,
        wait: bool,
        again: bool,
    ) -> None:
        self.screen = screen
        self.chosen = chosen
        self.manifest = chosen.manifest
        self.messages = messages
        self.source = source
        self.wait = wait
        self.again = again
        self.interrupts = Interrupts(screen)
        self.board = Board(list(self.manifest.agents), len(self.messages))
        self.started = monotonic()

    async def work(self) -> int:
        status: int = Exit.INTERRUPTED
        async with running(self.screen, self.chosen) as network, create_task_group() as tasks:
            await tasks.start(self.interrupts.listen, network, tasks.cancel_scope)
            starts = ServerStarts(self.screen, network.models)
            if self.screen.live:
                tasks.start_soon(self._follow, network)
                tasks.start_soon(starts.follow)
            async with self._drawing(tasks, starts):
                ids = await self._give(network)
                await self._idle(network)
            if not self.interrupts.came:
                status = await self._report(network, ids)
            tasks.cancel_scope.cancel()
        if self.interrupts.came:
            self.screen.warn("interrupted; the same command goes on where this one stopped")
            return Exit.INTERRUPTED
        return status

    async def _give(self, network: Network) -> list[str]:
        ids = []
        for message in self.messages:
            try:
                task_id = await self._tell(network, message)
            except NetworkClosedError:
                # Interrupted while it was given: the next run gives the rest.
                break
            self.board.roots.add(task_id)
            ids.append(task_id)
        return ids or await self._left_over(network)

    async def _tell(self, network: Network, message: Message) -> str:
        """Give one message, or meet the task of its last try; with `again`, try what failed anew."""
        entry = self.manifest.entry
        task_id = await network.tell(entry, message)
        while (await network.task(task_id)).status.state in _UNDONE:
            # Derived from the failed task, so that a kill in between makes no third one.
            anew = sha256(f"{message.message_id}/{task_id}".encode()).hexdigest()[:32]
            if not self.again and not await network.has_message(entry, anew):
                break
            message = message.model_copy(update={"message_id": anew})
            task_id = await network.tell(entry, message)
        return task_id

    async def _left_over(self, network: Network) -> list[str]:
        """Every task that was given to the entry agent from outside, oldest first."""
        rows = await network.tasks(agent=self.manifest.entry, limit=_MOST)
        roots = sorted((row for row in rows if not row.parent), key=lambda row: row.created)
        self.board.roots.update(row.id for row in roots)
        self.board.total = len(roots)
        return [row.id for row in roots]

    async def _idle(self, network: Network) -> None:
        # Answers that were left in the journal come first: they may set work going again.
        while await network.journal.pending_commands():  # noqa: ASYNC110 - another process writes them
            await sleep(_SOON_SECONDS)
        await network.idle()
        while self.wait and await _waiting(network):
            await sleep(_LOOK_SECONDS)
            await network.idle()

    async def _report(self, network: Network, ids: Sequence[str]) -> int:
        outcomes = [await outcome_of(network, task_id) for task_id in ids]
        seconds = monotonic() - self.started
        report = RunReport(self.manifest, network, outcomes, seconds, self.source)
        waiting = await _waiting(network)
        told = await render(report)
        if self.screen.json:
            self.screen.document(
                {
                    "network": self.manifest.network,
                    "outcomes": [outcome_data(outcome) for outcome in outcomes],
                    "waiting": waiting,
                    "seconds": round(seconds, 3),
                    "report": told if not hasattr(told, "__rich_console__") else None,
                }
            )
        else:
            drawn = standard_report(report, len(waiting)) if told is None else told
            self.screen.out.print(Text(drawn) if isinstance(drawn, str) else drawn)
            self._say_waiting(waiting)
        if waiting:
            return Exit.WAITING
        return Exit.FAILED if report.failed else Exit.DONE

    def _say_waiting(self, waiting: Sequence[TaskSummary]) -> None:
        for row in waiting[:5]:
            asked = (row.question or {}).get("text", "") if row.question else row.text
            self.screen.say(f"waits for a person: {asked}")
            self.screen.say(f"  repertory answer {row.id} ANSWER -m {self.chosen.path}")

    async def _follow(self, network: Network) -> None:
        async for event in network.watch():
            self.board.take(event)

    @asynccontextmanager
    async def _drawing(self, tasks: TaskGroup, starts: ServerStarts) -> AsyncIterator[None]:
        """Draw the board on stderr while the block runs, at a terminal."""
        if not self.screen.live:
            yield
            return
        with Live(console=self.screen.err, auto_refresh=False, transient=True) as live:
            scope = anyio.CancelScope()

            async def draw() -> None:
                with scope:
                    while True:
                        board = self.board.draw(monotonic() - self.started)
                        live.update(Group(board, starts.draw()), refresh=True)
                        await sleep(1 / _DRAWS_PER_SECOND)

            tasks.start_soon(draw)
            try:
                yield
            finally:
                scope.cancel()


def ask_agent(
    path: Path,
    agent: str,
    text: str,
    context: str,
    within: float | None,
    store: str,
    as_json: bool,
) -> int:
    """Ask one agent and print its answer."""
    screen, chosen = Screen(json=as_json), choose(path, store)
    content = sys.stdin.read() if text == "-" else text

    async def ask() -> int:
        async with running(screen, chosen) as network, create_task_group() as tasks:
            interrupts = Interrupts(screen)
            await tasks.start(interrupts.listen, network, tasks.cancel_scope)
            async with shown_starts(screen, network.models):
                task = await network.ask(agent, content, context_id=context, within=within)
            status = _show_task(screen, task)
            tasks.cancel_scope.cancel()
            return status
        return Exit.INTERRUPTED

    return anyio.run(ask, backend_options={"use_uvloop": has_uvloop()})


async def answer_here(screen: Screen, chosen: Chosen, task_id: str, text: str) -> int:
    """Answer a task of a network that no process runs, and let the work go on until it rests."""
    async with running(screen, chosen) as network, create_task_group() as tasks:
        interrupts = Interrupts(screen)
        await tasks.start(interrupts.listen, network, tasks.cancel_scope)
        async with shown_starts(screen, network.models):
            task = await network.answer(task_id, text)
            await network.idle()
        status = _show_task(screen, await network.task(task.id))
        left = await _waiting(network)
        tasks.cancel_scope.cancel()
        if left and status is Exit.DONE:
            screen.say(f"{len(left)} more wait for a person: repertory tasks --waiting")
        return status
    return Exit.INTERRUPTED


async def outcome_of(network: Network, task_id: str) -> Outcome:
    """A task as it stands now, with the name of the file it came from."""
    task = await network.task(task_id)
    first: Message | None = task.history[0] if task.history else None
    name = (first.metadata or {}).get(FILE_KEY, "") if first is not None else ""
    return Outcome(str(name), task)


def outcome_data(outcome: Outcome) -> dict[str, Any]:
    """An outcome as `--json` shows it."""
    return {
        "name": outcome.name,
        "task": outcome.task.id,
        "state": word(outcome.state),
        "text": outcome.text,
        "artifacts": outcome.task.artifacts,
    }


async def _waiting(network: Network) -> list[TaskSummary]:
    return list(await network.tasks(state=TaskState.INPUT_REQUIRED, limit=_MOST))


def _show_task(screen: Screen, task: Task) -> int:
    message = task.status.message
    said = message.text if message is not None else ""
    if screen.json:
        screen.document(task)
    else:
        for artifact in task.artifacts:
            for part in artifact.parts:
                if part.text is not None:
                    screen.out.print(Text(part.text))
                elif part.data is not None:
                    screen.document(part.data)
        if said:
            screen.out.print(Text(said))
    if is_interrupted(task.status.state):
        screen.warn(f"it waits for a person: repertory answer {task.id} ANSWER")
        return Exit.WAITING
    if task.status.state is TaskState.COMPLETED:
        return Exit.DONE
    if not is_terminal(task.status.state):
        screen.warn(f"task {task.id} goes on: repertory watch {task.id}")
        return Exit.DONE
    screen.warn(f"task {task.id} ended as {word(task.status.state)}")
    return Exit.FAILED


def has_uvloop() -> bool:
    """Whether the faster event loop is installed; it is not on every platform."""
    try:
        import uvloop  # noqa: F401 - only asked whether it is there
    except ImportError:
        return False
    return True
