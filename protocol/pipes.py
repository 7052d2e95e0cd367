"""The carrier over a child process's pipes: MCP on stdio, from the client's side.

The MCP SDK starts the child, frames its lines and ends its process tree; here
are the requests under way. Its own client session is not used because it drops
pushed events when their reader is slow.
"""

import sys
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import count
from typing import Any, Final, TextIO

import anyio
from anyio.streams.memory import MemoryObjectSendStream
from mcp import StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.shared.message import SessionMessage
from mcp.types import JSONRPCNotification, JSONRPCRequest

from .carriers import Push, push_of, request_body, result_of
from .errors import LinkError

_Inbox = MemoryObjectSendStream[dict[str, Any]]
# Pushes that may wait for a slow reader. Further ones are dropped and pulled from the
# log later: were the pipe read no further, the reader's own calls would find no answer.
_WAITING_PUSHES: Final = 256


class PipeCarrier:
    """Carries requests over one pair of streams, many at a time."""

    def __init__(self, name: str, write: Any) -> None:
        self._name = name
        self._write = write
        self._numbers = count(1)
        self._inboxes: dict[int, _Inbox] = {}
        self._stop = anyio.Event()
        self._dead = False
        self._gone = anyio.Event()

    async def request(
        self, method: str, params: dict[str, Any], meta: dict[str, Any]
    ) -> dict[str, Any]:
        """Send a request and wait for its result."""
        async for item in self.stream(method, params, meta):
            if isinstance(item, dict):
                return item
        raise self._broken()

    async def stream(
        self, method: str, params: dict[str, Any], meta: dict[str, Any]
    ) -> AsyncGenerator[Push | dict[str, Any], None]:
        """Send a request and yield what is pushed for it; the result comes last."""
        if self._dead:
            raise self._broken()
        number = next(self._numbers)
        # One place more than pushes may take, for the answer.
        inbox, mail = anyio.create_memory_object_stream[dict[str, Any]](_WAITING_PUSHES + 1)
        self._inboxes[number] = inbox
        answered = False
        try:
            await self._send(JSONRPCRequest(**request_body(number, method, params, meta)))
            async for message in mail:
                if "method" not in message:
                    answered = True
                    yield result_of(message)
                    return
                if (push := push_of(message)) is not None:
                    yield push
            raise self._broken()
        finally:
            del self._inboxes[number]
            inbox.close()
            mail.close()
            if not answered and not self._dead:
                with anyio.CancelScope(shield=True):
                    await self._cancel(number)

    async def aclose(self) -> None:
        """Ask the owner to end the child, and wait until it is gone."""
        self._stop.set()
        await self._gone.wait()

    async def serve(self, read: Any) -> None:
        """Give every line from the child to the request it belongs to, until it closes."""
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._stopped, group.cancel_scope)
                async for line in read:
                    if isinstance(line, SessionMessage):
                        self._deliver(line.message.model_dump(by_alias=True, exclude_none=True))
                group.cancel_scope.cancel()
        finally:
            # Nothing will answer any more: every request under way ends now.
            self._dead = True
            for inbox in self._inboxes.values():
                inbox.close()

    def gone(self) -> None:
        """Say that the child has ended and nothing of it is left."""
        self._gone.set()

    async def _stopped(self, scope: anyio.CancelScope) -> None:
        await self._stop.wait()
        scope.cancel()

    def _deliver(self, message: dict[str, Any]) -> None:
        number = message.get("id")
        pushed = number is None
        if pushed:
            params = message.get("params")
            number = params.get("requestId") if isinstance(params, dict) else None
        inbox = self._inboxes.get(number) if isinstance(number, int) else None
        if inbox is None:
            return
        if pushed and inbox.statistics().current_buffer_used >= _WAITING_PUSHES:
            return
        # Whatever comes after the answer finds no room, and is of no use.
        with suppress(anyio.WouldBlock):
            inbox.send_nowait(message)

    async def _send(self, message: JSONRPCRequest | JSONRPCNotification) -> None:
        try:
            await self._write.send(SessionMessage(message))
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            raise self._broken() from error

    async def _cancel(self, number: int) -> None:
        params = {"requestId": number}
        method = "notifications/cancelled"
        with anyio.move_on_after(1.0):
            try:
                await self._send(JSONRPCNotification(jsonrpc="2.0", method=method, params=params))
            except LinkError:
                return  # A child that is gone has nothing to cancel.

    def _broken(self) -> LinkError:
        return LinkError(
            f"the process {self._name!r} is gone; its calls have no answer",
            process=self._name,
            final=True,
        )


@asynccontextmanager
async def open_pipes(
    argv: Sequence[str], env: Mapping[str, str] | None = None
) -> AsyncIterator[PipeCarrier]:
    """Start `argv` and carry requests over its pipes until the block or `aclose` ends it.

    The child sees a short list of harmless variables and `env`, nothing else of
    this process's environment. Its error output goes to ours.

    Raises:
        LinkError: The process could not be started.
    """
    server = StdioServerParameters(command=argv[0], args=list(argv[1:]), env=dict(env or {}))
    opened, inlet = anyio.create_memory_object_stream[PipeCarrier | LinkError](1)
    failure: Exception | None = None
    async with anyio.create_task_group() as group:
        # One task owns the connection from start to end, so `aclose` may come from any.
        group.start_soon(_own, server, opened)
        try:
            async with inlet:
                carrier = await inlet.receive()
            if isinstance(carrier, LinkError):
                raise carrier
            try:
                yield carrier
            finally:
                with anyio.CancelScope(shield=True):
                    await carrier.aclose()
        except Exception as error:  # noqa: BLE001 - raised below, unwrapped by the group
            failure = error
    if failure is not None:
        raise failure


async def _own(
    server: StdioServerParameters, opened: MemoryObjectSendStream[PipeCarrier | LinkError]
) -> None:
    """Hold the connection: enter it, serve it and leave it in this one task."""
    carrier: PipeCarrier | None = None
    async with opened:
        try:
            async with stdio_client(server, errlog=_error_output()) as (read, write):
                carrier = PipeCarrier(server.command, write)
                await opened.send(carrier)
                await carrier.serve(read)
        except (OSError, ValueError) as error:
            if carrier is not None:
                raise
            sentence = f"cannot start {server.command!r}: {error}"
            await opened.send(LinkError(sentence, process=server.command, final=True))
        finally:
            if carrier is not None:
                carrier.gone()


def _error_output() -> TextIO:
    """Our error output, or the process's own where ours was replaced by one without a file."""
    try:
        sys.stderr.fileno()
    except (OSError, ValueError, AttributeError):
        return sys.__stderr__ or sys.stderr
    return sys.stderr
