"""What the processes of a network ask of its models' servers, told to `repertory models`.

Each process keeps one file beside its servers' states, which it writes when the
figures have changed, once a second at most, and takes away when it ends. What the
servers say of themselves is read from them (`model_status`); here is what only
their clients know: the breaker, what has no answer yet, and what went wrong.
"""

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from time import time

import anyio
import anyio.to_thread

from repertory.agents import ChatModel, ServerUse, use_of

from .lease import runs
from .manifest import Manifest
from .model_servers import models_folder

_PERIOD = 1.0
_WORST = ("closed", "half-open", "open")

Uses = Mapping[str, Sequence[ServerUse]]


async def keep_use(manifest: Manifest, models: Mapping[str, ChatModel]) -> None:
    """Keep this process's file until cancelled; there is none while no server was asked."""
    if not models:
        # Nothing is written, so no thread is needed to take it away.
        return
    file = models_folder(manifest) / f"use.{os.getpid()}.json"
    told: Uses = {}
    try:
        while True:
            uses = {name: use for name, model in models.items() if (use := use_of(model))}
            if uses != told:
                told = uses
                await anyio.to_thread.run_sync(_write, file, uses)
            await anyio.sleep(_PERIOD)
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(partial(file.unlink, missing_ok=True))


def read_use(manifest: Manifest) -> dict[str, dict[str, ServerUse]]:
    """What the processes that run now ask, added up: by model, then by the server's URL."""
    found: dict[str, dict[str, ServerUse]] = {}
    for file in sorted(models_folder(manifest).glob("use.*.json")):
        for name, uses in _read(file).items():
            of_model = found.setdefault(name, {})
            for use in uses:
                other = of_model.get(use.url)
                of_model[use.url] = use if other is None else _sum(other, use)
    return found


def _write(file: Path, uses: Uses) -> None:
    now = time()
    data = {
        name: [{**asdict(use), "rest": now + use.rest if use.rest else 0.0} for use in of_model]
        for name, of_model in uses.items()
    }
    # A full disk costs the figures and nothing else.
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        for other in file.parent.glob("use.*.json"):
            if not runs(_process(other)):
                other.unlink(missing_ok=True)
        unfinished = file.with_suffix(".part")
        unfinished.write_text(json.dumps(data), "utf-8")
        unfinished.replace(file)


def _read(file: Path) -> Uses:
    if not runs(_process(file)):
        return {}
    now = time()
    try:
        return {
            name: [replace(use, rest=max(0.0, use.rest - now)) for use in map(_use, of_model)]
            for name, of_model in json.loads(file.read_text("utf-8")).items()
        }
    except (OSError, ValueError, TypeError, AttributeError):
        # It ends just now, or another version wrote it.
        return {}


def _use(data: Mapping[str, str]) -> ServerUse:
    return ServerUse(**data)  # type: ignore[arg-type]  # what `asdict` gave


def _process(file: Path) -> int:
    number = file.name.split(".")[1]
    return int(number) if number.isdecimal() else 0


def _sum(one: ServerUse, other: ServerUse) -> ServerUse:
    return ServerUse(
        one.url,
        breaker=max(one.breaker, other.breaker, key=_WORST.index),
        outstanding=one.outstanding + other.outstanding,
        questions=one.questions + other.questions,
        failures=one.failures + other.failures,
        tokens_in=one.tokens_in + other.tokens_in,
        cached_tokens=one.cached_tokens + other.cached_tokens,
        tokens_out=one.tokens_out + other.tokens_out,
        said=one.said or other.said,
        rest=max(one.rest, other.rest),
    )
