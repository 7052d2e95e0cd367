"""Whether each model of a manifest answers, asked of each alone."""

from collections.abc import Sequence
from typing import Any

import anyio

from repertory.agents import ModelHealth
from repertory.protocol import RepertoryError

from .manifest import Manifest
from .models import open_models


async def probe_all(manifest: Manifest, names: Sequence[str]) -> dict[str, ModelHealth]:
    """What each of these models answers to a probe; each alone, so that one tells of itself."""
    found: dict[str, ModelHealth] = {}

    async def probe(name: str) -> None:
        try:
            async with open_models(_only(manifest, name), {}) as opened:
                found[name] = await opened[name].probe()
        except RepertoryError as error:
            found[name] = ModelHealth(answers=False, detail=error.sentence)

    async with anyio.create_task_group() as tasks:
        for name in names:
            tasks.start_soon(probe, name)
    return {name: found[name] for name in names}


def _only(manifest: Manifest, name: str) -> Manifest:
    """The manifest with one model, and those that it records."""
    wanted: dict[str, Any] = {}
    each: str | None = name
    while each is not None:
        wanted[each] = manifest.models[each]
        each = getattr(wanted[each], "inner", None)
    return manifest.model_copy(update={"models": wanted})
