"""A tool server that is a child process: an MCP transport which knows how its child ended.

The SDK's own stdio transport lets more of the environment through than a manifest
allows, keeps the exit status to itself and waits seconds for a server that hangs.
Here the child gets the variables it was given and no others, a process group of its
own that ends with it, and its last words on stderr are kept for the error.
"""

import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from subprocess import PIPE

from anyio import (
    BrokenResourceError,
    CancelScope,
    ClosedResourceError,
    EndOfStream,
    Event,
    create_memory_object_stream,
    create_task_group,
    move_on_after,
    open_process,
    sleep,
    wait_readable,
)
from anyio.abc import AnyByteReceiveStream, AnyByteSendStream, Process
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage
from mcp_types import jsonrpc_message_adapter

from .trace_context import scrub

logger = logging.getLogger(__name__)

BASE_ENVIRONMENT = ("PATH", "HOME", "LANG", "TMPDIR")
_WINDOWS_ENVIRONMENT = ("SYSTEMROOT", "TEMP", "PATHEXT")
_LINE_BYTES = 32 * 1024 * 1024
_GRACE_SECONDS = 1.0
_POLL_SECONDS = 0.1
_WORDS_BYTES = 4096

Inbound = SessionMessage | Exception
Streams = tuple[MemoryObjectReceiveStream[Inbound], MemoryObjectSendStream[SessionMessage]]


def allowed_environment(names: Sequence[str]) -> dict[str, str]:
    """PATH, HOME, LANG, TMPDIR and the variables named, where this process has them."""
    base = BASE_ENVIRONMENT + (_WINDOWS_ENVIRONMENT if sys.platform == "win32" else ())
    return {name: os.environ[name] for name in (*base, *names) if name in os.environ}


class ToolProcess:
    """One child, run for one `async with`; `ended` is set when it exited or closed its output."""

    def __init__(self, argv: Sequence[str], *, cwd: Path, environment: Mapping[str, str]) -> None:
        self._argv = tuple(argv)
        self._cwd = cwd
        self._environment = dict(environment)
        self._process: Process | None = None
        self._words = bytearray()
        self._drained = Event()
        self.exited = Event()
        self.ended = Event()
        self._context = self._run()

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    def ending(self) -> str:
        """How the child ended, with its last words; for a sentence."""
        if self._process is None:
            return "it was not started"
        code = self._process.returncode
        if code is None:
            how = "it closed its output"
        elif code < 0:
            how = f"killed by {signal.Signals(-code).name}"
        else:
            how = f"exit status {code}"
        lines = self._words.decode(errors="replace").strip().splitlines()
        return f"{how}; its last words: {scrub(lines[-1])}" if lines else how

    async def __aenter__(self) -> Streams:
        return await self._context.__aenter__()

    async def __aexit__(self, *failure: object) -> bool | None:
        return await self._context.__aexit__(*failure)  # type: ignore[arg-type]

    @asynccontextmanager
    async def _run(self) -> AsyncIterator[Streams]:
        try:
            process = self._process = await open_process(
                self._argv,
                stdin=PIPE,
                stdout=PIPE,
                stderr=PIPE,
                cwd=self._cwd,
                env=self._environment,
                start_new_session=True,
            )
        except (FileNotFoundError, PermissionError) as error:
            # Not every event loop says which program it looked for.
            raise type(error)(error.errno, error.strerror, self._argv[0]) from None
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        inbound, received = create_memory_object_stream[Inbound](0)
        sending, outbound = create_memory_object_stream[SessionMessage](0)
        try:
            async with create_task_group() as tasks:
                tasks.start_soon(self._read, process.stdout, inbound)
                tasks.start_soon(self._write, process.stdin, outbound)
                tasks.start_soon(self._listen, process.stderr)
                tasks.start_soon(self._watch, process, inbound)
                try:
                    yield received, sending
                finally:
                    with CancelScope(shield=True):
                        await self._stop(process)
                    tasks.cancel_scope.cancel()
        finally:
            for stream in (inbound, received, sending, outbound):
                stream.close()
            _signal_group(process.pid, signal.SIGKILL)
            with CancelScope(shield=True), move_on_after(_GRACE_SECONDS):
                await process.aclose()

    async def _read(
        self, stdout: AnyByteReceiveStream, inbound: MemoryObjectSendStream[Inbound]
    ) -> None:
        pending = bytearray()
        try:
            async for chunk in _chunks(stdout):
                pending += chunk
                *lines, rest = pending.split(b"\n")
                pending = bytearray(rest)
                for line in lines:
                    if line.strip():
                        await inbound.send(_parse(bytes(line)))
                if len(pending) > _LINE_BYTES:
                    logger.error("a tool server wrote a line above %d bytes", _LINE_BYTES)
                    break
        except (BrokenResourceError, ClosedResourceError):
            # The session has gone; a child that still writes must not block on its pipe.
            async for _ in _chunks(stdout):
                continue
        finally:
            self._drained.set()
            self.ended.set()
            inbound.close()

    async def _write(
        self, stdin: AnyByteSendStream, outbound: MemoryObjectReceiveStream[SessionMessage]
    ) -> None:
        try:
            async for message in outbound:
                text = message.message.model_dump_json(by_alias=True, exclude_unset=True)
                await stdin.send(text.encode() + b"\n")
        except (BrokenResourceError, ClosedResourceError, OSError):
            self.ended.set()
        finally:
            outbound.close()

    async def _listen(self, stderr: AnyByteReceiveStream) -> None:
        async for chunk in _chunks(stderr):
            self._words += chunk
            del self._words[:-_WORDS_BYTES]

    async def _watch(self, process: Process, inbound: MemoryObjectSendStream[Inbound]) -> None:
        await _wait_exit(process)
        self.exited.set()
        # A grandchild may hold the pipe open: what the server said last, but no longer.
        with move_on_after(_POLL_SECONDS):
            await self._drained.wait()
        self.ended.set()
        inbound.close()

    async def _stop(self, process: Process) -> None:
        assert process.stdin is not None
        with suppress(OSError, BrokenResourceError, ClosedResourceError):
            await process.stdin.aclose()
        for escalation in (signal.SIGTERM, signal.SIGKILL):
            with move_on_after(_GRACE_SECONDS):
                await self.exited.wait()
                return
            _signal_group(process.pid, escalation)
        with move_on_after(_GRACE_SECONDS):
            await self.exited.wait()


async def _chunks(stream: AnyByteReceiveStream) -> AsyncIterator[bytes]:
    with suppress(EndOfStream, BrokenResourceError, ClosedResourceError, OSError):
        while True:
            yield await stream.receive()


async def _wait_exit(process: Process) -> None:
    """Wait for the child itself; `Process.wait` also waits for whoever inherited its pipes."""
    if sys.platform == "linux":
        with suppress(OSError):
            handle = os.pidfd_open(process.pid)
            try:
                await wait_readable(handle)
            finally:
                os.close(handle)
            with move_on_after(_GRACE_SECONDS):
                while process.returncode is None:  # noqa: ASYNC110 -- set without any event
                    await sleep(0.002)
            return
    while process.returncode is None:  # noqa: ASYNC110 -- set without any event
        await sleep(_POLL_SECONDS)


def _signal_group(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def _parse(line: bytes) -> Inbound:
    try:
        return SessionMessage(jsonrpc_message_adapter.validate_json(line, by_name=False))
    except ValueError as error:
        return error
