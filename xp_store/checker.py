"""Run executable checks in processes of their own, under limits.

A server process is started with the first check and kept; it forks a child for each
check (`check_server`). Nothing of a check ever runs in this process.
"""

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from .checks import LANGUAGES, CheckSpec, Verdict
from .digests import cleaned, digest_of
from .errors import CheckError

_SERVER = Path(__file__).with_name("check_server.py")
_MAX_LINE = 256 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """What one check may take: seconds of time, MiB of memory, bytes of code and of subject."""

    seconds: float = 2.0
    memory_mib: int = 128
    code_bytes: int = 64 * 1024
    subject_bytes: int = 1024 * 1024


class _Server:
    """One server process; answers one check at a time."""

    def __init__(self, process: Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.process = process
        self._requests = process.stdin
        self._answers = BufferedByteReceiveStream(process.stdout)

    async def ask(self, request: bytes) -> tuple[bool | None, str]:
        await self._requests.send(request)
        passed, detail = json.loads(await self._answers.receive_until(b"\n", _MAX_LINE))
        return passed, detail

    async def aclose(self) -> None:
        with anyio.CancelScope(shield=True):
            if self.process.returncode is None:
                self.process.kill()
            await self.process.aclose()


class Checker:
    """Run checks, at most `processes` at once; open it with `open_checker`."""

    def __init__(self, limits: Limits, processes: int) -> None:
        self.limits = limits
        self._idle: list[_Server] = []
        self._slots = anyio.Semaphore(processes)

    async def run(self, spec: CheckSpec, subject: Any) -> Verdict:
        """Run `spec` on `subject`, which must be JSON; cancelling stops the check.

        A check that breaks a limit or raises has decided nothing: `passed` is None.

        Raises:
            CheckError: The check cannot be run at all: unknown language, too large, a
                subject that is not JSON, or no process to run it in.
        """
        request = self._request(spec, subject)
        async with self._slots:
            passed, detail = await self._ask(request)
        return Verdict(spec.name, passed, detail, spec.digest, digest_of(cleaned(subject)))

    def _request(self, spec: CheckSpec, subject: Any) -> bytes:
        if spec.lang not in LANGUAGES:
            raise CheckError(
                f"check {spec.name!r} is in {spec.lang!r}; known: {', '.join(LANGUAGES)}",
                check=spec.name,
                lang=spec.lang,
            )
        try:
            subject_text = json.dumps(subject, allow_nan=False)
        except (ValueError, TypeError, RecursionError) as error:
            raise CheckError(
                f"the subject of check {spec.name!r} is not JSON: {error}", check=spec.name
            ) from error
        for what, size, limit in (
            ("code", len(spec.code), self.limits.code_bytes),
            ("subject", len(subject_text), self.limits.subject_bytes),
        ):
            if size > limit:
                raise CheckError(
                    f"the {what} of check {spec.name!r} has {size} bytes; the limit is {limit}",
                    check=spec.name,
                    size=size,
                    limit=limit,
                )
        head = json.dumps(
            {
                "lang": spec.lang,
                "code": spec.code,
                "seconds": self.limits.seconds,
                "memory_bytes": self.limits.memory_mib * 2**20,
            }
        )
        return f'{head[:-1]}, "subject": {subject_text}}}\n'.encode()

    async def _ask(self, request: bytes) -> tuple[bool | None, str]:
        for last in (False, True):
            server = self._idle.pop() if self._idle else await _start()
            try:
                answer = await server.ask(request)
            except (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError, OSError):
                await server.aclose()
                if last:
                    raise CheckError("the process that runs checks died twice") from None
            except BaseException:
                # Cancelled in mid-check: the answer on its way would meet the next question.
                await server.aclose()
                raise
            else:
                self._idle.append(server)
                return answer
        raise AssertionError("unreachable")

    async def aclose(self) -> None:
        """Stop the server processes."""
        while self._idle:
            await self._idle.pop().aclose()


async def _start() -> _Server:
    try:
        process = await anyio.open_process(
            [sys.executable, "-I", str(_SERVER)], stderr=None, env={"PATH": "/usr/bin:/bin"}
        )
    except OSError as error:
        raise CheckError(f"no process could be started to run checks: {error}") from error
    return _Server(process)


@asynccontextmanager
async def open_checker(limits: Limits = Limits(), processes: int = 2) -> AsyncIterator[Checker]:
    """Hold a checker; its processes start when they are first needed."""
    checker = Checker(limits, processes)
    try:
        yield checker
    finally:
        await checker.aclose()


async def run_check(
    spec: CheckSpec, subject: Any, *, checker: Checker | None = None, limits: Limits = Limits()
) -> Verdict:
    """Run one check in `checker`, or in a process started for it alone under `limits`."""
    if checker is not None:
        return await checker.run(spec, subject)
    async with open_checker(limits, processes=1) as alone:
        return await alone.run(spec, subject)
