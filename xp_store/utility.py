"""How useful a store is without asking a model: whether like packs lie beside each other."""

import math
import random

import numpy as np

from .certificate import Interval
from .connection import Connection

_SAMPLE = 200
_MOST = 5_000
_Z = 1.959964


def utility(connection: Connection, tenant: str, *, seed: int = 0) -> Interval | None:
    """The share of packs whose nearest other pack is of the same family; None below two packs.

    Of at most 200 packs among the newest 5,000 with vectors. A store that lost what
    it should not have would lose neighbors.
    """
    rows = connection.execute(
        "SELECT p.family, v.vector FROM xp_pack p JOIN xp_vector v ON v.pack_row = p.row_id"
        " WHERE p.tenant = ? AND p.current = 1 ORDER BY p.row_id DESC LIMIT ?",
        (tenant, _MOST),
    ).fetchall()
    if len(rows) < 2 or len({len(vector) for _, vector in rows}) != 1:
        return None
    families = [family for family, _ in rows]
    matrix = np.stack([np.frombuffer(vector, dtype=np.float32) for _, vector in rows])
    chosen = random.Random(seed).sample(range(len(rows)), min(_SAMPLE, len(rows)))
    cosines = matrix[chosen] @ matrix.T
    cosines[np.arange(len(chosen)), chosen] = -np.inf
    nearest = cosines.argmax(axis=1)
    hits = sum(
        families[at] == families[int(near)] for at, near in zip(chosen, nearest, strict=True)
    )
    return wilson(hits, len(chosen))


def wilson(successes: int, n: int) -> Interval:
    """Wilson's interval of a share at 95%."""
    share = successes / n
    scale = 1 + _Z**2 / n
    middle = (share + _Z**2 / (2 * n)) / scale
    half = _Z / scale * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
    return Interval(
        value=round(share, 4),
        low=round(max(0.0, middle - half), 4),
        high=round(min(1.0, middle + half), 4),
        n=n,
    )
