"""What a person at a terminal sees of model servers that start with a network, or start again.

A vLLM server takes a minute or ten to load. Meanwhile each has a line with what it
does and for how long; when one fails, the end of its log is shown. Who is no
terminal hears of it in the task's error, `repertory models` and `doctor`.
"""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from time import time

import anyio
import anyio.to_thread
from rich.live import Live
from rich.text import Text

from repertory.agents import ChatModel, ManagedModel, ManagedServer, advice_for, innermost, log_tail

from .screen import Screen, duration

_DRAWS_PER_SECOND = 5.0
_TAIL_LINES = 12
_STARTING = ("starting", "restarting")


class ServerStarts:
    """The servers of some models, in words."""

    def __init__(self, screen: Screen, models: Mapping[str, ChatModel]) -> None:
        self._screen = screen
        self.servers = dict(_servers(models))

    def draw(self) -> Text:
        """A line for each server that is starting now; empty when there is none."""
        lines = []
        for name, server in self.servers.items():
            state = server.state
            if state.state in _STARTING:
                phase = state.phase or state.state
                lines.append(f"{name}: {phase} ({duration(max(0.0, time() - state.since))})")
        return Text("\n".join(lines), style="yellow")

    @property
    def are_over(self) -> bool:
        """Whether none is starting."""
        return all(server.state.state not in _STARTING for server in self.servers.values())

    async def follow(self) -> None:
        """Tell when one answers, ends or stays down; returns when all have, or are stopped."""
        async with anyio.create_task_group() as tasks:
            for name, server in self.servers.items():
                tasks.start_soon(self._follow, name, server)

    async def _follow(self, name: str, server: ManagedServer) -> None:
        began, seen = server.state.since, "starting"
        while True:
            change, state = server.change, server.state
            if state.state != seen:
                seen = state.state
                if seen == "starting":
                    began = state.since
                elif seen == "running":
                    self._screen.say(f"{name} answers after {duration(state.since - began)}")
                elif seen == "down":
                    await self._tell_end(server)
            if seen in ("down", "stopped"):
                return
            await change.wait()

    async def _tell_end(self, server: ManagedServer) -> None:
        # That it is down was logged; this is what only a person wants to read.
        said, log = server.state.said, server.command.log
        lines = await anyio.to_thread.run_sync(partial(log_tail, log, _TAIL_LINES))
        if lines:
            self._screen.say("\n".join((f"the end of {log}:", *(f"  {line}" for line in lines))))
        if advice := advice_for(said):
            self._screen.say(f"what to do: {advice}")


@asynccontextmanager
async def shown_starts(
    screen: Screen, models: Mapping[str, ChatModel]
) -> AsyncIterator[anyio.Event]:
    """Show at a terminal how the servers start while the block runs; the event: none starts now."""
    starts, over = ServerStarts(screen, models), anyio.Event()
    if not screen.live or starts.are_over:
        over.set()
        yield over
        return
    with Live(console=screen.err, auto_refresh=False, transient=True) as live:

        async def draw() -> None:
            while not starts.are_over:
                live.update(starts.draw(), refresh=True)
                await anyio.sleep(1 / _DRAWS_PER_SECOND)
            live.update(Text(), refresh=True)
            over.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(starts.follow)
            tasks.start_soon(draw)
            yield over
            tasks.cancel_scope.cancel()


def _servers(models: Mapping[str, ChatModel]) -> Iterator[tuple[str, ManagedServer]]:
    """Each server once, under the model that has it."""
    for name, outer in models.items():
        model = innermost(outer)
        if isinstance(model, ManagedModel) and model.server.name == name:
            yield name, model.server
