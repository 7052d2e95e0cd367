"""Advice for a scenario: given, recalled, from the library or from a model, and how diverse it is.

Near-duplicates are dropped, the earlier of two being kept; diversity is one less the
mean similarity of pairs. Asking a model is `writing`'s; the agents put both together.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from repertory.xp_store import Embedder, Hit

from .scenario import Advice

Floats = npt.NDArray[np.float64]

FAMILY = "audience"
# Above it two pieces of advice say the same; measured nowhere, set for MiniLM by eye.
_SAME = 0.8


@cache
def library() -> tuple[Advice, ...]:
    """The packaged advice, standard and unorthodox."""
    entries = yaml.safe_load(Path(__file__).with_name("advice.yaml").read_text("utf-8"))
    return tuple(Advice.model_validate({**each, "source": "library"}) for each in entries)


async def similarities(texts: Sequence[str], embedder: Embedder) -> Floats:
    """How alike the texts are, shape (n, n), 1 on the diagonal."""
    vectors = (await embedder.embed(list(texts))).astype(float)
    alike: Floats = vectors @ vectors.T
    return alike


def distinct(alike: Floats, *, limit: float = _SAME) -> list[int]:
    """The positions that stay when of two alike ones the later is dropped."""
    kept: list[int] = []
    for i in range(len(alike)):
        if all(alike[i, j] < limit for j in kept):
            kept.append(i)
    return kept


def diversity(alike: Floats) -> float | None:
    """1 - the mean similarity over pairs; None for fewer than two."""
    n = len(alike)
    if n < 2:
        return None
    return float(1 - (alike.sum() - np.trace(alike)) / (n * (n - 1)))


async def choose(
    pools: Sequence[Iterable[Advice]], standard: int, unorthodox: int, embedder: Embedder
) -> tuple[list[Advice], list[str], float | None]:
    """`standard` and `unorthodox` pieces, the first pools first, none twice.

    All of the first pool is taken, even if it is more: what a person gave is not cut.
    Returns the advice, what was dropped for saying the same, and the diversity.
    """
    given = [list(pool) for pool in pools]
    every = [each for pool in given for each in pool]
    if not every:
        return [], [], None
    alike = await similarities([each.text for each in every], embedder)
    kept, chosen = distinct(alike), list[int]()
    room = {"standard": standard, "unorthodox": unorthodox}
    for i in kept:
        kind = every[i].kind
        if i < len(given[0]) or room[kind] > 0:
            chosen.append(i)
            room[kind] -= 1
    dropped = [every[i].text for i in range(len(every)) if i not in kept]
    order = sorted(chosen, key=lambda i: (i >= len(given[0]), every[i].kind == "unorthodox", i))
    rows = np.array(order, np.intp)
    return [every[i] for i in order], dropped, diversity(alike[np.ix_(rows, rows)])


def recalled(hits: Sequence[Hit]) -> list[Advice]:
    """Advice that helped in earlier runs, the strongest effect first.

    A pack is data from outside: only advice of our own shape with a measured effect whose
    interval lies above zero is taken from it.
    """
    found: dict[str, Advice] = {}
    for hit in hits:
        how = hit.pack.how
        result = how.get("result") if how else None
        for entry in _entries(result):
            try:
                advice = Advice.model_validate(entry)
            except ValueError:
                continue
            known = found.get(advice.text)
            if known is None or (known.effect or 0) < (advice.effect or 0):
                found[advice.text] = advice
    return sorted(found.values(), key=lambda each: -(each.effect or 0.0))


def _entries(result: Any) -> Iterable[dict[str, Any]]:
    told = result.get("worked") if isinstance(result, Mapping) else None
    for entry in told if isinstance(told, list) else []:
        if isinstance(entry, Mapping) and isinstance(entry.get("effect"), float):
            keys = ("text", "kind", "sentences", "place", "edit", "effect")
            yield {**{key: entry[key] for key in keys if key in entry}, "source": "experience"}


def worked(advice: Sequence[Advice], effects: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What to remember: advice whose measured effect lies above zero with its whole interval."""
    kept = []
    for piece, told in zip(advice, effects, strict=True):
        measured = told["measured"]
        if measured["low"] is not None and measured["low"] > 0:
            data = piece.model_dump(mode="json", exclude={"source", "effect"})
            kept.append({**data, "effect": float(measured["value"]), "n": measured["n"]})
    return kept
