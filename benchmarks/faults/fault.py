"""A fault: what is done, how often, and what came of it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from statistics import median
from typing import Literal

from .processes import Starter
from .stores import Store

Size = Literal["tiny", "ci", "nightly"]


class SkippedError(Exception):
    """This machine cannot do the fault, and why."""


@dataclass(slots=True)
class Outcome:
    """What a fault did. The first three lists name every case; recoveries are seconds.

    broken: what else should have held and did not.
    """

    accepted: int = 0
    lost: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    recoveries: list[float] = field(default_factory=list)
    note: str = ""
    dose: str = ""
    seconds: float = 0.0
    skipped: str = ""

    @property
    def wrong(self) -> list[str]:
        """Everything that should not have been."""
        return [*self.lost, *self.repeated, *self.stuck, *self.broken]

    @property
    def recovery(self) -> str:
        """The median and the longest recovery."""
        if not self.recoveries:
            return ""
        return f"{median(self.recoveries):.2f} / {max(self.recoveries):.2f} s"


@dataclass(slots=True)
class Bench:
    """What a fault is done with."""

    folder: Path
    store: Store
    starter: Starter
    dice: Random
    dose: int
    size: Size
    say: Callable[[str], None]

    def at(self, tiny: float, ci: float, nightly: float) -> float:
        """The one of three measures that the size asks for."""
        return {"tiny": tiny, "ci": ci, "nightly": nightly}[self.size]


@dataclass(frozen=True, slots=True)
class Fault:
    """One row of the table. doses: how often, by size. stores: where it makes sense."""

    id: str
    title: str
    done: str
    doses: Mapping[Size, int]
    run: Callable[[Bench], Awaitable[Outcome]]
    stores: tuple[str, ...] = ("sqlite", "postgresql")


def doses(ci: int, nightly: int, tiny: int) -> dict[Size, int]:
    """How often a fault is done, by size."""
    return {"ci": ci, "nightly": nightly, "tiny": tiny}
