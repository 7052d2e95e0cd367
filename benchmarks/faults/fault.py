"""A fault: what is done, how often, and what came of it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from statistics import median
from typing import Literal

import anyio

from .processes import Starter
from .stores import Store

Size = Literal["tiny", "ci", "nightly"]


class SkippedError(Exception):
    """This machine cannot do the fault, and why."""


@dataclass(slots=True)
class Outcome:
    """What a fault did. The first three lists name every case; recoveries are seconds.

    broken: what else should have held and did not. again: calls made again under their own key.
    """

    accepted: int = 0
    lost: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    recoveries: list[float] = field(default_factory=list)
    again: int = 0
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

    def part(self, number: int, of: int) -> "Bench":
        """The bench of one of several that share the dose and work side by side."""
        folder = self.folder / f"part-{number}"
        folder.mkdir()
        share = self.dose // of + (number < self.dose % of)
        return replace(self, folder=folder, dose=share, dice=Random(self.dice.random()))

    def at(self, tiny: float, ci: float, nightly: float) -> float:
        """The one of three measures that the size asks for."""
        return {"tiny": tiny, "ci": ci, "nightly": nightly}[self.size]


async def side_by_side(
    bench: Bench, most: int, do: Callable[[Bench], Awaitable[Outcome]]
) -> list[Outcome]:
    """Do a fault that mostly waits in up to `most` places at once, each with a share of the dose."""
    of = max(1, min(most, bench.dose // 2))
    outcomes: list[Outcome] = []

    async def one(part: Bench) -> None:
        outcomes.append(await do(part))

    async with anyio.create_task_group() as group:
        for number in range(of):
            group.start_soon(one, bench.part(number, of))
    return outcomes


def summed(outcomes: Sequence[Outcome]) -> Outcome:
    """What several outcomes come to; dose and note are left to whoever knows them."""
    total = Outcome()
    for each in outcomes:
        total.accepted += each.accepted
        total.again += each.again
        for name in ("lost", "repeated", "stuck", "broken", "recoveries"):
            getattr(total, name).extend(getattr(each, name))
    return total


@dataclass(frozen=True, slots=True)
class Fault:
    """One row of the table.

    doses: how often, by size. stores: where it makes sense. waits: whether it mostly waits,
    so that it may be done beside what works. shared: whether the stores share the dose.
    """

    id: str
    title: str
    done: str
    doses: Mapping[Size, int]
    run: Callable[[Bench], Awaitable[Outcome]]
    stores: tuple[str, ...] = ("sqlite", "postgresql")
    waits: bool = False
    shared: bool = False

    def dose(self, size: Size) -> int:
        """How often it is done on one store."""
        return self.doses[size] // len(self.stores) if self.shared else self.doses[size]

    @property
    def family(self) -> str:
        """The fault that it is a kind of: F9 for F9e."""
        return self.id.rstrip("abcdefghijklmnopqrstuvwxyz")


def doses(ci: int, nightly: int, tiny: int) -> dict[Size, int]:
    """How often a fault is done, by size."""
    return {"ci": ci, "nightly": nightly, "tiny": tiny}
