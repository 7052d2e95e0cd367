"""Drift: how an actor's measures have moved since the last analysis, beyond their intervals.

An actor is held against himself, so no human null is needed: a measure has drifted
when its change exceeds what both bootstrap intervals leave to chance (z on the
measure's scale, corrected by Benjamini and Hochberg over all actors and measures).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from repertory.simulators.statistics import benjamini_hochberg

from .measures import MEASURE
from .verdicts import ActorResult


@dataclass(frozen=True)
class Drift:
    """One measure of one actor that has moved: values then and now, and the adjusted p."""

    actor: str
    measure: str
    then: float
    now: float
    p: float


def drifts(
    earlier: Mapping[str, Any], actors: Sequence[ActorResult], *, alpha: float = 0.05
) -> list[Drift]:
    """What has drifted since an earlier result (`result_json`), the surest first."""
    from scipy.stats import norm

    before = {a["actor"]: a["measures"] for a in earlier.get("actors", ())}
    found: list[Drift] = []
    for actor in actors:
        for key, now in actor.measures.items():
            then = before.get(actor.name, {}).get(key)
            if then is None or key not in MEASURE:
                continue
            ends = [then["value"], then["low"], then["high"], now.value, now.low, now.high]
            if any(v is None or not np.isfinite(v) for v in ends):
                continue
            scale = MEASURE[key].scaled(np.array(ends, dtype=float))
            # Half-widths of 95 % intervals, as standard errors; a floor for what never varies.
            errors = [(scale[2] - scale[1]) / 3.92, (scale[5] - scale[4]) / 3.92]
            spread = float(np.sqrt(errors[0] ** 2 + errors[1] ** 2 + (MEASURE[key].floor / 2) ** 2))
            z = abs(float(scale[3] - scale[0])) / spread
            found.append(Drift(actor.name, key, ends[0], ends[3], float(2 * norm.sf(z))))
    adjusted = benjamini_hochberg([d.p for d in found])
    moved = [
        Drift(d.actor, d.measure, d.then, d.now, float(p))
        for d, p in zip(found, adjusted, strict=True)
        if p <= alpha
    ]
    return sorted(moved, key=lambda d: d.p)
