"""What the analyst says of one actor: five dimensions, a verdict, and the events that weigh most."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from repertory.simulators.statistics import Estimate

Verdict = Literal["human-like", "agent-like", "indeterminate"]


@dataclass(frozen=True)
class Dimension:
    """One dimension of one actor.

    deviation: the mean of the two measures that lie furthest towards agents, in the
    humans' spread, with its bootstrap interval. measure: the furthest. p: against the human null; `adjusted` for all
    questions asked of the unlabelled (Benjamini and Hochberg). humans: the null's
    middle 95 %. reason: why nothing can be told, "" where it can.
    """

    name: str
    deviation: Estimate
    measure: str = ""
    p: float = float("nan")
    adjusted: float = float("nan")
    humans: tuple[float, float] = (float("nan"), float("nan"))
    reason: str = ""

    @property
    def told(self) -> bool:
        return not self.reason


@dataclass(frozen=True)
class Weighty:
    """An event that weighs most in a verdict, and why."""

    row: int
    told: str


@dataclass(frozen=True)
class ActorResult:
    """What the analyst says of one actor."""

    name: str
    label: str
    role: str
    events: int
    verdict: Verdict
    reason: str
    dimensions: tuple[Dimension, ...]
    measures: Mapping[str, Estimate]
    weighty: tuple[Weighty, ...] = ()

    @property
    def told(self) -> bool:
        """Whether any dimension could be told."""
        return any(d.told for d in self.dimensions)
