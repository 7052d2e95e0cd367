"""A turn's memory of what it has already done: steps found in the journal are not done again.

A step is known by its kind, a digest of what was asked, and how often this turn
has asked the same before; so a replayed turn finds its steps whatever the order
in which concurrent ones had finished.
"""

from collections import Counter
from collections.abc import Callable
from hashlib import sha256
from time import time
from typing import Any

import orjson

from repertory.xp_store import Connection

from .dead_letters import step_identity
from .journal import Journal, StepRecord


class Effects:
    """The steps of one task, replayed and new."""

    def __init__(self, journal: Journal, task_id: str, known: dict[str, StepRecord]) -> None:
        self._journal = journal
        self._task_id = task_id
        self._known = known
        self._asked: Counter[str] = Counter()
        self._number = max((step.number for step in known.values()), default=0)
        self.done: list[StepRecord] = []

    def key(self, kind: str, request: Any) -> str:
        """The next key for such a request in this turn."""
        body = orjson.dumps(request, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
        digest = f"{kind}:{sha256(body).hexdigest()[:24]}"
        self._asked[digest] += 1
        return f"{digest}:{self._asked[digest]}"

    def known(self, key: str) -> StepRecord | None:
        """The step of an earlier life of this turn, finished or of unknown outcome."""
        step = self._known.get(key)
        if step is not None and step.finished:
            self.done.append(step)
        return step

    def new(self, key: str, kind: str, name: str, request: Any) -> StepRecord:
        """A step that begins now; nothing is written yet."""
        self._number += 1
        return StepRecord(
            key=key,
            number=self._number,
            kind=kind,
            name=name,
            request=request,
            started_at=time(),
        )

    async def begin(self, step: StepRecord) -> None:
        """Write that the step begins, before its effect can have happened."""
        await self._journal.put_step(self._task_id, step)

    async def finish(
        self,
        step: StepRecord,
        result: Any,
        *,
        is_error: bool = False,
        also: Callable[[Connection], Any] | None = None,
    ) -> None:
        """Write what came of the step, in one commit with `also`."""
        step.result, step.is_error, step.ended_at = result, is_error, time()
        await self._journal.put_step(self._task_id, step, also)
        self.done.append(step)

    def idempotency_key(self, step: StepRecord) -> str:
        """The key under which a tool may know this very call again after a kill."""
        # A retry knows a call of unknown outcome by the key of the task that it follows.
        known = step.request.get("key") if isinstance(step.request, dict) else None
        return known or step_identity(self._task_id, step.key)
