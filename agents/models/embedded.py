"""The model that comes along: SmolLM2-135M on the CPU, in a process of its own.

llama.cpp runs in a child process, so that its memory, its threads and its
crashes are not ours, and is asked over loopback with the same code as any other
server. It is good for two tiers, score and extract; what it writes freely is noise.
"""

import importlib.metadata
import json
import os
import secrets
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from subprocess import PIPE
from tempfile import TemporaryFile
from typing import IO, Any, TypeVar

import anyio
import anyio.to_thread
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from repertory.agents.errors import ModelUnavailableError
from repertory.xp_store import SMOLLM2, find_weights

from .answers import merge_candidates
from .deadlines import out_of_time
from .openai import OpenAIModel, Retry
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
from .schemas import bounded_schema
from .server_use import ServerUse
from .tiers import require_tier

EMBEDDED_MODEL = SMOLLM2
EMBEDDED_TIERS = frozenset({Tier.SCORE, Tier.EXTRACT})

_PROGRAM = Path(__file__).with_name("serve_embedded.py")
_START_SECONDS = 120.0
_STOP_SECONDS = 5.0
_LONGEST_LINE = 65_536
_Candidates = TypeVar("_Candidates", ChatRequest, CompletionRequest)
_Result = TypeVar("_Result", ChatResult, LabelScores)


@dataclass(frozen=True, slots=True)
class _Child:
    process: Process
    model: OpenAIModel
    # Its standard error: a file needs no reader, and is gone when it is closed.
    errors: IO[bytes]


class EmbeddedModel:
    """Serve a GGUF on 127.0.0.1 from a child process, started when first asked.

    weights: a GGUF of one's own; None for SmolLM2 from the cache. tiers: what it
    is trusted with. threads: None for all cores but one; with other work on the
    machine more threads are slower. concurrency: questions computed at once, which on
    a CPU is for fairness and not for speed. context_length: tokens of each of them;
    4,096 take 90 MB, beside 150 MB for the model and its engine.

    reuse_prompts: keep the last prompts, and compute only what differs. That makes
    a question with a known beginning many times faster, and the same question
    then gets slightly different log-probabilities and other samples, depending on
    what was asked before: off, so that runs can be repeated.

    Several agents may share one; whoever opens it closes it. The child ends when
    it is closed, and when this process dies in any way. A child that dies is
    started again with the next question.
    """

    def __init__(
        self,
        *,
        weights: Path | None = None,
        name: str = EMBEDDED_MODEL,
        tiers: frozenset[Tier] = EMBEDDED_TIERS,
        threads: int | None = None,
        concurrency: int = 2,
        context_length: int = 4096,
        reuse_prompts: bool = False,
        patience: float = 300.0,
    ) -> None:
        self._weights = weights
        self._info = ModelInfo(name, "embedded", tiers, context_length)
        self._threads = threads or max(1, (os.cpu_count() or 2) - 1)
        self._slots = concurrency
        self._reuse_prompts = reuse_prompts
        self._patience = patience
        self._child: _Child | None = None
        self._changing = anyio.Lock()
        self._closed = False

    @property
    def info(self) -> ModelInfo:
        return self._info

    @property
    def process_id(self) -> int | None:
        """The child's, while there is one."""
        return self._child.process.pid if self._child is not None else None

    @property
    def use(self) -> tuple[ServerUse, ...]:
        """What is asked of the child, while there is one."""
        return self._child.model.use if self._child is not None else ()

    async def chat(self, request: ChatRequest, context: ModelContext = NO_CONTEXT) -> ChatResult:
        """Go on with a conversation; strings and lists of a schema get an end where they have none."""
        require_tier(self._info, request.duty)
        if request.json_schema is not None:
            bounded = bounded_schema(request.json_schema)
            request = request.model_copy(update={"json_schema": bounded})
        return merge_candidates(
            [
                await self._ask(partial(OpenAIModel.chat, request=each, context=context), context)
                for each in self._rounds(request)
            ]
        )

    async def complete(
        self, request: CompletionRequest, context: ModelContext = NO_CONTEXT
    ) -> ChatResult:
        require_tier(self._info, request.duty)
        return merge_candidates(
            [
                await self._ask(
                    partial(OpenAIModel.complete, request=each, context=context), context
                )
                for each in self._rounds(request)
            ]
        )

    async def score(self, request: ScoreRequest, context: ModelContext = NO_CONTEXT) -> LabelScores:
        require_tier(self._info, request.duty)
        return await self._ask(
            partial(OpenAIModel.score, request=request, context=context), context
        )

    async def probe(self) -> ModelHealth:
        """Start the model if need be, and ask it."""
        try:
            child = await self._started()
        except ModelUnavailableError as error:
            return ModelHealth(False, detail=error.sentence)
        health = await child.model.probe()
        version = await anyio.to_thread.run_sync(importlib.metadata.version, "xllamacpp")
        return ModelHealth(health.answers, f"xllamacpp {version}", health.features, health.detail)

    async def aclose(self) -> None:
        """End the child and wait until it is gone."""
        self._closed = True
        with anyio.CancelScope(shield=True):
            async with self._changing:
                await self._stop()

    def _rounds(self, request: _Candidates) -> Iterator[_Candidates]:
        """The request for `n` candidates as requests that the engine takes: one slot for each."""
        for start in range(0, request.n, self._slots):
            seed = None if request.seed is None else request.seed + start
            count = min(self._slots, request.n - start)
            yield request.model_copy(update={"n": count, "seed": seed})

    async def _ask(
        self, ask: Callable[[OpenAIModel], Awaitable[_Result]], context: ModelContext
    ) -> _Result:
        child = await self._started_within(context)
        try:
            return await ask(child.model)
        except ModelUnavailableError:
            if not await _has_ended(child.process):
                raise
        # Killed, or out of memory: once more with a new one.
        child = await self._started_within(context)
        return await ask(child.model)

    async def _started_within(self, context: ModelContext) -> _Child:
        with anyio.move_on_after(context.seconds_left()):
            return await self._started()
        raise out_of_time(self._info.name, "while it was starting")

    async def _started(self) -> _Child:
        async with self._changing:
            if self._closed:
                raise ModelUnavailableError(
                    f"model {self._info.name!r} was closed; open it anew", model=self._info.name
                )
            if self._child is not None and self._child.process.returncode is None:
                return self._child
            await self._stop()
            self._child = await self._start()
            return self._child

    async def _start(self) -> _Child:
        path = self._weights or await anyio.to_thread.run_sync(find_weights, SMOLLM2)
        if path is None:
            raise ModelUnavailableError(
                f"the weights of model {self._info.name!r} are not on this machine; run"
                " `repertory models install`",
                model=self._info.name,
            )
        key = secrets.token_urlsafe(24)
        errors = await anyio.to_thread.run_sync(TemporaryFile)
        process = await anyio.open_process(
            [sys.executable, "-P", str(_PROGRAM)], stdin=PIPE, stdout=PIPE, stderr=errors
        )
        try:
            answer = await self._told(process, path, key)
            if "url" not in answer:
                raise await self._refused(process, errors, answer.get("error", "it ended"))
        except BaseException:
            with anyio.CancelScope(shield=True):
                await _end(process)
                await anyio.to_thread.run_sync(errors.close)
            raise
        model = OpenAIModel(
            answer["url"],
            self._info.name,
            tiers=self._info.tiers,
            concurrency=self._slots,
            patience=self._patience,
            # A child that died comes back at another address; nothing to wait for here.
            retry=Retry(attempts=1),
            reuse_prompts=self._reuse_prompts,
            read_key=lambda: key,
        )
        return _Child(process, model, errors)

    async def _told(self, process: Process, path: Path, key: str) -> dict[str, Any]:
        """Give the child its settings and read where it serves; {} when it ended without a word."""
        settings = {
            "path": str(path),
            "model": self._info.name,
            "key": key,
            "threads": self._threads,
            "slots": self._slots,
            "context_length": self._info.context_length,
            "reuse_prompts": self._reuse_prompts,
        }
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            with anyio.fail_after(_START_SECONDS):
                await process.stdin.send(json.dumps(settings).encode() + b"\n")
                stream = BufferedByteReceiveStream(process.stdout)
                line = await stream.receive_until(b"\n", _LONGEST_LINE)
        except TimeoutError:
            return {"error": f"it was not ready after {_START_SECONDS:g} s"}
        except (anyio.BrokenResourceError, anyio.EndOfStream, anyio.IncompleteRead):
            return {}
        answer: dict[str, Any] = json.loads(line)
        return answer

    async def _refused(
        self, process: Process, errors: IO[bytes], why: str
    ) -> ModelUnavailableError:
        said = await anyio.to_thread.run_sync(partial(_tail, errors))
        code = process.returncode
        return ModelUnavailableError(
            f"model {self._info.name!r} did not start: {why}"
            + (f" (exit {code})" if code is not None else "")
            + (f"; it said: {said}" if said else "")
            + ". Run `repertory doctor`; `repertory models install` fetches altered weights anew",
            model=self._info.name,
        )

    async def _stop(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        with anyio.CancelScope(shield=True):
            await child.model.aclose()
            await _end(child.process)
            await anyio.to_thread.run_sync(child.errors.close)


@asynccontextmanager
async def open_embedded_model(
    *,
    weights: Path | None = None,
    name: str = EMBEDDED_MODEL,
    tiers: frozenset[Tier] = EMBEDDED_TIERS,
    threads: int | None = None,
    concurrency: int = 2,
    context_length: int = 4096,
    reuse_prompts: bool = False,
    patience: float = 300.0,
) -> AsyncIterator[EmbeddedModel]:
    """Hold an `EmbeddedModel` (which explains the arguments); its child is gone after the block."""
    model = EmbeddedModel(
        weights=weights,
        name=name,
        tiers=tiers,
        threads=threads,
        concurrency=concurrency,
        context_length=context_length,
        reuse_prompts=reuse_prompts,
        patience=patience,
    )
    try:
        yield model
    finally:
        await model.aclose()


async def _has_ended(process: Process) -> bool:
    """Whether the process is gone; its exit is heard of a moment after its connections break."""
    with anyio.move_on_after(1.0):
        await process.wait()
    return process.returncode is not None


async def _end(process: Process) -> None:
    """Close the child's input, which ends it; kill it if it does not."""
    if process.stdin is not None:
        try:
            await process.stdin.aclose()
        except OSError:
            # It was gone already.
            pass
    with anyio.move_on_after(_STOP_SECONDS):
        await process.wait()
    if process.returncode is None:
        process.kill()
    await process.wait()
    await process.aclose()


def _tail(errors: IO[bytes]) -> str:
    size = errors.seek(0, os.SEEK_END)
    errors.seek(max(0, size - 2000))
    lines = errors.read().decode("utf-8", "replace").split("\n")
    return " / ".join(line.strip() for line in lines[-4:] if line.strip())
