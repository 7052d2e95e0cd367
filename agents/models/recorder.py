"""Real answers kept in a file, and given again exactly: for tests and runs that must not vary.

The file is JSON lines. The first says whose answers they are, each other one
holds a request's digest, the request and its answer, so that a person can read
what was asked and a diff shows what changed.
"""

import json
import os
from pathlib import Path
from typing import Any, TypeVar

import anyio
import anyio.to_thread

from repertory.agents.errors import ModelRefusedError

from .deadlines import require_time
from .ports import (
    NO_CONTEXT,
    ChatModel,
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
from .tiers import require_tier

_FORMAT = "repertory-recording-1"
_Result = TypeVar("_Result", ChatResult, LabelScores)


class RecordedModel:
    """Answer from `path`; ask `inner` for what is not there, and keep its answer.

    inner: None to replay only: an unknown request is then refused. The same
    request has the same answer each time, also at a temperature above 0; what
    failed is not kept. name, tiers: what `info` says, else the inner model's, else
    the recording's. Reads the file when it is made; on an event loop, make it
    in a thread. One process may record into a file at a time.

    Raises:
        ModelRefusedError: The file is missing without an `inner`, or is no recording.
    """

    def __init__(
        self,
        inner: ChatModel | None,
        path: str | Path,
        *,
        name: str = "",
        tiers: frozenset[Tier] = frozenset(),
    ) -> None:
        self._inner = inner
        self._path = Path(path)
        self._answers: dict[str, dict[str, Any]] = {}
        self._writing = anyio.Lock()
        recorded = self._load()
        if recorded is None and inner is None:
            raise ModelRefusedError(
                f"there is no recording at {self._path}; record one with a model that answers",
                path=str(self._path),
            )
        self._is_new = recorded is None
        known = inner.info if inner is not None else recorded
        assert known is not None
        self._info = ModelInfo(
            name or known.name, "recorded", tiers or known.tiers, known.context_length
        )

    @property
    def info(self) -> ModelInfo:
        """The recorded model's name and tiers, unless others were given."""
        return self._info

    @property
    def inner(self) -> ChatModel | None:
        """The model that answers what is not recorded."""
        return self._inner

    async def chat(self, request: ChatRequest, context: ModelContext = NO_CONTEXT) -> ChatResult:
        require_tier(self._info, request.duty)
        require_time(self._info.name, context)
        if (kept := self._kept(request, ChatResult)) is not None:
            return kept
        result = await self._asked(request).chat(request, context)
        return await self._keep(request, result)

    async def complete(
        self, request: CompletionRequest, context: ModelContext = NO_CONTEXT
    ) -> ChatResult:
        require_tier(self._info, request.duty)
        require_time(self._info.name, context)
        if (kept := self._kept(request, ChatResult)) is not None:
            return kept
        result = await self._asked(request).complete(request, context)
        return await self._keep(request, result)

    async def score(self, request: ScoreRequest, context: ModelContext = NO_CONTEXT) -> LabelScores:
        require_tier(self._info, request.duty)
        require_time(self._info.name, context)
        if (kept := self._kept(request, LabelScores)) is not None:
            return kept
        result = await self._asked(request).score(request, context)
        return await self._keep(request, result)

    async def probe(self) -> ModelHealth:
        """The inner model's health; a replay always answers."""
        if self._inner is not None:
            return await self._inner.probe()
        return ModelHealth(True, f"{len(self._answers)} recorded answers")

    async def aclose(self) -> None:
        """Close the inner model."""
        if self._inner is not None:
            await self._inner.aclose()

    def _kept(
        self, request: ChatRequest | CompletionRequest | ScoreRequest, kind: type[_Result]
    ) -> _Result | None:
        data = self._answers.get(request.digest())
        return None if data is None else kind.from_json(data)

    def _asked(self, request: ChatRequest | CompletionRequest | ScoreRequest) -> ChatModel:
        if self._inner is None:
            raise ModelRefusedError(
                f"{self._path} holds no answer to this {type(request).__name__}"
                f" ({request.digest()[:12]}), only to {len(self._answers)} others; what is asked"
                " has changed since, so record anew with the model itself",
                path=str(self._path),
                digest=request.digest(),
            )
        return self._inner

    async def _keep(
        self, request: ChatRequest | CompletionRequest | ScoreRequest, result: _Result
    ) -> _Result:
        digest = request.digest()
        async with self._writing:
            if digest in self._answers:
                # The same question was on its way twice; the first answer stands.
                return type(result).from_json(self._answers[digest])
            line: dict[str, Any] = {
                "digest": digest,
                "kind": type(request).__name__,
                "request": request.to_json(),
                "result": result.to_json(),
            }
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self._append, line)
            self._answers[digest] = line["result"]
        return result

    def _append(self, line: dict[str, Any]) -> None:
        lines = [line]
        if self._is_new:
            tiers = [tier.value for tier in sorted(self._info.tiers)]
            lines.insert(0, {"format": _FORMAT, "model": self._info.name, "tiers": tiers})
            self._path.parent.mkdir(parents=True, exist_ok=True)
        text = "".join(
            json.dumps(each, ensure_ascii=False, sort_keys=True) + "\n" for each in lines
        )
        with self._path.open("a", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        self._is_new = False

    def _load(self) -> ModelInfo | None:
        """Read the file; None when there is none. A torn last line is cut off."""
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return None
        whole = content.rfind(b"\n") + 1
        if whole < len(content) and self._inner is not None:
            # A kill in mid-write; the next record must begin on a line of its own.
            os.truncate(self._path, whole)
        info: ModelInfo | None = None
        for number, text in enumerate(content[:whole].decode("utf-8").split("\n")[:-1], start=1):
            try:
                line = json.loads(text)
                if info is None:
                    if line["format"] != _FORMAT:
                        raise ValueError(line["format"])
                    tiers = frozenset(Tier(tier) for tier in line["tiers"])
                    info = ModelInfo(str(line["model"]), "recorded", tiers)
                else:
                    self._answers[line["digest"]] = line["result"]
            except (ValueError, KeyError, TypeError) as error:
                raise ModelRefusedError(
                    f"{self._path}, line {number}, is no line of a recording; delete the file and"
                    " record anew",
                    path=str(self._path),
                    line=number,
                ) from error
        return info
