"""A model server that is ours: started, watched, started again, and gone with us.

The server (vLLM) runs under a guard (`guard`), a process that outlives neither us
nor it. It listens on loopback with a key that is made for each start and given by
the environment. It is asked with the same code as any other server.
"""

import json
import logging
import os
import secrets
import socket
import sys
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from subprocess import DEVNULL, PIPE
from time import time
from typing import Any, TypeVar

import anyio
import anyio.to_thread
import httpx
from anyio.abc import Process

from repertory.agents.errors import ModelUnavailableError

from .deadlines import out_of_time
from .openai import OpenAIModel
from .ports import (
    NO_CONTEXT,
    ChatRequest,
    ChatResult,
    CompletionRequest,
    LabelScores,
    ModelContext,
    ModelHealth,
    ModelInfo,
    ScoreRequest,
    Tier,
)
from .server_log import log_tail, start_phase, why_it_ended
from .server_use import ServerUse

_log = logging.getLogger(__name__)
_GUARD = Path(__file__).with_name("guard.py")
_HOST = "127.0.0.1"
_POLL_SECONDS = 0.25
_WATCH_SECONDS = 5.0
_TELL_SECONDS = 1.0
_DYING_SECONDS = 1.0
_R = TypeVar("_R")


@dataclass(frozen=True, slots=True)
class ServerCommand:
    """How a server is started.

    argv: the program and its arguments, without host and port. environment: all
    that it sees, beside its key. start_seconds: until it must answer. intensity,
    period: restarts within how many seconds are too many. silence: seconds without
    a healthy answer after which it is killed. grace: seconds it is given to end.
    port: 0 for a free one at each start.
    """

    argv: tuple[str, ...]
    cwd: Path
    environment: Mapping[str, str]
    log: Path
    start_seconds: float = 900.0
    intensity: int = 3
    period: float = 600.0
    silence: float = 60.0
    grace: float = 10.0
    port: int = 0


@dataclass(slots=True)
class ServerState:
    """What is told of a server to others on this machine; never its key.

    state: starting, running, restarting, down or stopped. since: seconds since the
    epoch. said: why it ended last, when it is down or started again. phase: what it
    does while it starts.
    """

    model: str
    state: str = "starting"
    url: str = ""
    pid: int | None = None
    owner: int = field(default_factory=os.getpid)
    since: float = field(default_factory=time)
    restarts: int = 0
    said: str = ""
    phase: str = ""
    log: str = ""


class ManagedServer:
    """One server under its guard; `open_managed_server` runs it.

    state_file: where its state is left for other processes. key: of its present
    life, numbered by `era` from 1.
    """

    def __init__(self, name: str, command: ServerCommand, state_file: Path | None = None) -> None:
        self.name = name
        self.command = command
        self.state = ServerState(name, log=str(command.log))
        self.key = ""
        self.era = 0
        self._state_file = state_file
        self._changed = anyio.Event()
        self._restarts: deque[float] = deque()

    @property
    def change(self) -> anyio.Event:
        """The next change of `state`; take it first, then look, and none is missed."""
        return self._changed

    async def running(self, after: int = 0) -> int:
        """Wait until it runs, in a life later than `after`; the number of that life.

        Raises:
            ModelUnavailableError: It is down, and stays so.
        """
        while not (self.state.state == "running" and self.era > after):
            if self.state.state in ("down", "stopped"):
                raise ModelUnavailableError(
                    f"the server of model {self.name!r} is {self.state.state}"
                    + (f": {self.state.said}" if self.state.said else "")
                    + f"; its log is {self.command.log}; `repertory doctor` says what to do",
                    model=self.name,
                    log=str(self.command.log),
                )
            await self._changed.wait()
        return self.era

    async def run(self) -> None:
        """Start it, watch it, and start it again, until cancelled or until it fails too often."""
        try:
            while True:
                why = await self._one_life()
                now = anyio.current_time()
                self._restarts.append(now)
                while self._restarts[0] <= now - self.command.period:
                    self._restarts.popleft()
                if len(self._restarts) > self.command.intensity:
                    await self._tell("down", said=why, url="", pid=None, phase="")
                    _log.error("the server of model %s stays down: %s", self.name, why)
                    return
                _log.warning("the server of model %s ended (%s); restarting it", self.name, why)
                restarts = self.state.restarts + 1
                await self._tell("restarting", said=why, restarts=restarts, phase="")
                await anyio.sleep(min(5.0, 0.25 * 2.0 ** (len(self._restarts) - 1)))
        finally:
            with anyio.CancelScope(shield=True):
                if self.state.state != "down":
                    await self._tell("stopped", said="", url="", pid=None, phase="")

    async def _one_life(self) -> str:
        """Start it and wait for its end; why it ended."""
        port = self.command.port or await anyio.to_thread.run_sync(_free_port)
        if self.command.port and await anyio.to_thread.run_sync(_is_taken, port):
            # It would load for minutes before it said so.
            return f"{_HOST}:{port} is in use"
        self.key = secrets.token_urlsafe(24)
        url = f"http://{_HOST}:{port}"
        await anyio.to_thread.run_sync(_begin_log, self.command.log)
        guard = await anyio.open_process(
            [sys.executable, "-P", str(_GUARD)],
            stdin=PIPE,
            stdout=PIPE,
            stderr=DEVNULL,
            start_new_session=True,
        )
        try:
            assert guard.stdin is not None
            assert guard.stdout is not None
            await guard.stdin.send(json.dumps(self._settings(port)).encode() + b"\n")
            said = json.loads(await guard.stdout.receive())
            if "error" in said:
                return str(said["error"])
            await self._tell("starting", url=url, pid=said["pid"], phase="starting its program")
            ended: list[str] = []
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._watch, url, ended, tasks.cancel_scope)
                await guard.wait()
                tasks.cancel_scope.cancel()
            # What it said last, unless it was us who ended it.
            return ended[0] if ended else await self._reason(guard.returncode)
        except (anyio.EndOfStream, anyio.BrokenResourceError, ValueError):
            return "its guard ended"
        finally:
            with anyio.CancelScope(shield=True):
                await _end_guard(guard, self.command.grace, self.state.pid)

    def _settings(self, port: int) -> dict[str, Any]:
        argv = [*self.command.argv, "--host", _HOST, "--port", str(port)]
        environment = {**self.command.environment, "VLLM_API_KEY": self.key}
        return {
            "argv": argv,
            "cwd": str(self.command.cwd),
            "environment": environment,
            "log": str(self.command.log),
            "grace": self.command.grace,
        }

    async def _watch(self, url: str, ended: list[str], scope: anyio.CancelScope) -> None:
        """Wait until it is healthy, then see that it stays so; end the life when it does not."""
        began = heard = told = anyio.current_time()
        healthy = False
        # The waits have bounds of their own, below.
        no_time_out = httpx.Timeout(None)
        async with httpx.AsyncClient(trust_env=False, timeout=no_time_out) as client:
            while True:
                patience = self.command.silence if healthy else self.command.start_seconds
                with anyio.move_on_after(max(0.1, heard + patience - anyio.current_time())):
                    with suppress(httpx.HTTPError):
                        if (await client.get(f"{url}/health")).is_success:
                            heard = anyio.current_time()
                            if not healthy:
                                healthy = True
                                self.era += 1
                                await self._tell("running", said="", phase="")
                now = anyio.current_time()
                if now - heard >= patience:
                    ended.append(
                        f"it gave no sign of health for {patience:g} s"
                        if healthy
                        else f"it was not ready after {patience:g} s"
                    )
                    scope.cancel()
                    return
                if not healthy and now - told >= _TELL_SECONDS:
                    told = now
                    phase = await anyio.to_thread.run_sync(start_phase, self.command.log)
                    if phase and phase != self.state.phase:
                        passed = now - began
                        _log.info("model %s: its server is %s, %.0f s", self.name, phase, passed)
                        await self._tell("starting", phase=phase)
                await anyio.sleep(
                    min(_WATCH_SECONDS, self.command.silence / 4) if healthy else _POLL_SECONDS
                )

    async def _reason(self, status: int | None) -> str:
        log, killed = self.command.log, status is not None and status > 128
        words = await anyio.to_thread.run_sync(why_it_ended, log)
        if not words and not killed:
            words = "".join(await anyio.to_thread.run_sync(log_tail, log, 1))
        how = f"killed by signal {(status or 0) - 128}" if killed else f"exit {status}"
        return f"{how}; its last words: {words}" if words else how

    async def _tell(self, state: str, **facts: Any) -> None:
        """Change the state, wake who waits for it, and leave it in a file for other processes."""
        since = self.state.since if state == self.state.state else time()
        self.state = replace(self.state, state=state, since=since, **facts)
        if self._state_file is not None:
            # Whoever hears of a state can read it too, also at the end.
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(_write, self._state_file, asdict(self.state))
        changed, self._changed = self._changed, anyio.Event()
        changed.set()


@asynccontextmanager
async def open_managed_server(
    name: str, command: ServerCommand, *, state_file: Path | None = None
) -> AsyncIterator[ManagedServer]:
    """Start a server, and hold it; the block does not wait until it runs, questions do."""
    server = ManagedServer(name, command, state_file)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server.run)
            try:
                yield server
            finally:
                tasks.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        # What the block raised is no group to who opened it.
        if len(group.exceptions) == 1:
            raise group.exceptions[0] from None
        raise


class ManagedModel:
    """Ask a model of a managed server: the one that it was started with, or one of its adapters.

    make: makes the client for a URL and a function that reads the key. A question
    waits while the server starts, within the caller's deadline; one that a dying
    server left unanswered is asked once more of the next.
    """

    def __init__(
        self,
        server: ManagedServer,
        name: str,
        tiers: frozenset[Tier],
        make: Callable[[str, Callable[[], str]], OpenAIModel],
    ) -> None:
        self._server = server
        self._name = name
        self._tiers = tiers
        self._make = make
        self._client: OpenAIModel | None = None
        self._era = 0
        self._changing = anyio.Lock()

    @property
    def info(self) -> ModelInfo:
        length = self._client.info.context_length if self._client is not None else None
        return ModelInfo(self._name, "vllm", self._tiers, length)

    @property
    def server(self) -> ManagedServer:
        """The server, for those who show its state."""
        return self._server

    @property
    def use(self) -> tuple[ServerUse, ...]:
        """What is asked of the server; nothing before the first question of its present life."""
        return self._client.use if self._client is not None else ()

    async def chat(self, request: ChatRequest, context: ModelContext = NO_CONTEXT) -> ChatResult:
        """Go on with a conversation."""
        return await self._ask(partial(OpenAIModel.chat, request=request, context=context), context)

    async def complete(
        self, request: CompletionRequest, context: ModelContext = NO_CONTEXT
    ) -> ChatResult:
        return await self._ask(
            partial(OpenAIModel.complete, request=request, context=context), context
        )

    async def score(self, request: ScoreRequest, context: ModelContext = NO_CONTEXT) -> LabelScores:
        return await self._ask(
            partial(OpenAIModel.score, request=request, context=context), context
        )

    async def probe(self) -> ModelHealth:
        """Say how the server stands; ask it only when it runs, since a start takes minutes."""
        state = self._server.state
        if state.state != "running":
            said = f": {words}" if (words := state.phase or state.said) else ""
            return ModelHealth(False, detail=f"its server is {state.state}{said}")
        return await (await self._ready(0)).probe()

    async def aclose(self) -> None:
        """Close the connections; the server belongs to whoever opened it."""
        if self._client is not None:
            await self._client.aclose()

    async def _ask(self, ask: Callable[[OpenAIModel], Awaitable[_R]], context: ModelContext) -> _R:
        client = await self._ready_within(0, context)
        era = self._era
        try:
            return await ask(client)
        except ModelUnavailableError:
            if not await self._lost(era, context):
                raise
        return await ask(await self._ready_within(era, context))

    async def _lost(self, era: int, context: ModelContext) -> bool:
        """Whether the server of that life is gone; it may outlive its connections by a moment.

        A server that says itself that it is ill counts as gone: vLLM does so when only its
        engine died, and ends some seconds later; else the watch ends it.
        """
        state, left = self._server.state, context.seconds_left()
        with anyio.move_on_after(_DYING_SECONDS if left is None else min(left, _DYING_SECONDS)):
            while self._lives(era):
                if state.pid is None or not _is_alive(state.pid):
                    return True
                await anyio.sleep(_DYING_SECONDS / 20)
        silence, left = self._server.command.silence, context.seconds_left()
        with anyio.move_on_after(silence if left is None else min(left, silence)):
            while self._lives(era):
                change = self._server.change
                if self._client is None or await self._client.is_healthy():
                    return False
                with anyio.move_on_after(_DYING_SECONDS):
                    await change.wait()
        return not self._lives(era)

    def _lives(self, era: int) -> bool:
        return self._server.era == era and self._server.state.state == "running"

    async def _ready_within(self, after: int, context: ModelContext) -> OpenAIModel:
        with anyio.move_on_after(context.seconds_left()):
            return await self._ready(after)
        raise out_of_time(self._name, "while its server was starting")

    async def _ready(self, after: int) -> OpenAIModel:
        async with self._changing:
            era = await self._server.running(after)
            if self._client is None or era != self._era:
                old, self._era = self._client, era
                self._client = self._make(self._server.state.url, lambda: self._server.key)
                if old is not None:
                    await old.aclose()
            return self._client


def read_state(file: Path) -> ServerState | None:
    """What the process that runs a server wrote of it; None when there is nothing to read."""
    try:
        state = ServerState(**json.loads(file.read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    if state.state not in ("down", "stopped") and not _is_alive(state.owner):
        return replace(state, state="stopped", url="", pid=None, said="its network was killed")
    return state


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _free_port() -> int:
    with socket.socket() as free:
        free.bind((_HOST, 0))
        return int(free.getsockname()[1])


def _is_taken(port: int) -> bool:
    with socket.socket() as listener:
        # A server that was ended a moment ago does not count.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((_HOST, port))
        except OSError:
            return True
    return False


def _begin_log(path: Path) -> None:
    """A log of its own for each start; the one before it is kept as `NAME.log.0`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        path.replace(path.with_name(path.name + ".0"))
    path.touch(mode=0o600)


def _write(path: Path, data: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_text(json.dumps(data), "utf-8")
    unfinished.replace(path)


async def _end_guard(guard: Process, grace: float, server: int | None) -> None:
    """Close the guard's input, which ends server and guard; kill both if it does not."""
    if guard.stdin is not None:
        with suppress(OSError, anyio.BrokenResourceError):
            await guard.stdin.aclose()
    with anyio.move_on_after(grace + 5.0):
        await guard.wait()
    if guard.returncode is None:
        guard.kill()
    await guard.wait()
    await guard.aclose()
    # Where the guard itself was killed, the server is still there.
    if server is not None and guard.returncode is not None and guard.returncode < 0:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(server, 9)
