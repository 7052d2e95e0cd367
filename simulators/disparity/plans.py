"""Intention against behavior: what was planned, what was done, and what nobody planned.

Steps are compared as multisets (precision, recall, F1, exact match) and as sequences
(the longest common subsequence over the longer one). The choice of measures is ours.
"""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .events import EventTable, is_failure
from .measures import Values
from .profiles import Counts

Step = Hashable


@dataclass(frozen=True)
class PlanScore:
    """One plan against its execution; all shares are 0 to 1.

    order: longest common subsequence over the longer sequence. unplanned, undone:
    the steps without a partner. duplicates: share of steps that repeat an identical
    earlier one of the same run.
    """

    actor: str
    plan: str
    planned: int
    executed: int
    precision: float
    recall: float
    f1: float
    exact: bool
    order: float
    unplanned: tuple[Step, ...]
    undone: tuple[Step, ...]
    duplicates: float

    @property
    def sentence(self) -> str:
        """What was planned and not done, and what was done without a plan, in words."""
        if self.exact:
            return f"planned {self.planned} steps and did them"
        parts = []
        if self.undone:
            parts.append(f"planned and not done: {_listed(self.undone)}")
        if self.unplanned:
            parts.append(f"done and not planned: {_listed(self.unplanned)}")
        return "; ".join(parts) or "did what was planned, in another order"


def _listed(steps: Sequence[Step], most: int = 4) -> str:
    told = [" on ".join(filter(None, s)) if isinstance(s, tuple) else str(s) for s in steps[:most]]
    return ", ".join(told) + (f" and {len(steps) - most} more" if len(steps) > most else "")


def compare(
    planned: Sequence[Step], executed: Sequence[Step], *, actor: str = "", plan: str = ""
) -> PlanScore:
    """Compare a plan with what was done; a plan of nothing that was followed scores 1."""
    want, did = Counter(planned), Counter(executed)
    both = sum((want & did).values())
    precision = both / len(executed) if executed else float(not planned)
    recall = both / len(planned) if planned else float(not executed)
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    longest = max(len(planned), len(executed))
    return PlanScore(
        actor,
        plan,
        len(planned),
        len(executed),
        precision,
        recall,
        f1,
        want == did,
        _common(planned, executed) / longest if longest else 1.0,
        tuple((did - want).elements()),
        tuple((want - did).elements()),
        1 - len(did) / len(executed) if executed else 0.0,
    )


def _common(a: Sequence[Step], b: Sequence[Step]) -> int:
    """The length of the longest common subsequence."""
    row = [0] * (len(b) + 1)
    for x in a:
        before = 0
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], before + 1 if x == y else max(row[j], row[j - 1])
    return row[-1]


def plans_of(table: EventTable) -> list[PlanScore]:
    """Every plan of a log that was announced (`planned` events), against its executed events.

    A step is an action and its object, or the action alone where plans name no objects.
    Events without a plan's name belong to none.
    """
    if not table.planned.any():
        return []
    with_objects = bool((table.codes["object"][table.planned] > 0).any())
    announced: dict[tuple[str, str], list[Step]] = {}
    done: dict[tuple[str, str], list[Step]] = {}
    for row in np.flatnonzero(table.codes["plan"] > 0):
        i = int(row)
        key = (table.word("actor", i), table.word("plan", i))
        step = (table.word("action", i), table.word("object", i) if with_objects else "")
        if table.planned[i]:
            announced.setdefault(key, []).append(step)
        elif not is_failure(table.word("outcome", i)):
            done.setdefault(key, []).append(step)
    return [
        compare(steps, done.get(key, ()), actor=key[0], plan=key[1])
        for key, steps in sorted(announced.items())
    ]


def plan_values(scores: Sequence[PlanScore], draws: int, seed: int = 0) -> dict[str, Values]:
    """The plan measures of every actor, with bootstrap draws over his plans: (1 + draws,)."""
    values: dict[str, Values] = {}
    rng = np.random.default_rng(seed)
    for actor in sorted({s.actor for s in scores}):
        own = [s for s in scores if s.actor == actor]
        f1 = np.array([s.f1 for s in own])
        unplanned = np.array([1 - s.precision for s in own])
        rows = rng.integers(0, len(own), (draws, len(own)))
        values[actor] = {"plan_f1": _drawn(f1, rows), "unplanned": _drawn(unplanned, rows)}
    return values


def _drawn(values: Counts, rows: npt.NDArray[np.int64]) -> Counts:
    return np.concatenate([[values.mean()], values[rows].mean(1)])
