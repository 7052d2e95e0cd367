"""How far the reports of one manuscript lie apart when it is reviewed again and again."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import stdev

from .report import Report, Verdict


@dataclass(frozen=True, slots=True)
class Spread:
    """The standard deviation of S over repeated reviews, and how often the verdict was another.

    flip_rate: share of the runs after the first whose verdict differs from the first's.
    """

    times: int
    mean: float
    sd: float
    flip_rate: float
    verdicts: tuple[Verdict, ...]

    def __str__(self) -> str:
        told = ", ".join(dict.fromkeys(self.verdicts))
        return (
            f"{self.times} reviews: S {self.mean:.4f}, standard deviation {self.sd:.4f};"
            f" flip rate {self.flip_rate:.2f} ({told})"
        )


def spread_of(reports: Sequence[Report]) -> Spread:
    """The spread of at least two reports of one manuscript.

    Raises:
        ValueError: Fewer than two, or of different manuscripts.
    """
    if len(reports) < 2 or len({report.basis.manuscript for report in reports}) > 1:
        raise ValueError("a spread needs two reports or more, all of one manuscript")
    values = [report.scores.S for report in reports]
    verdicts: tuple[Verdict, ...] = tuple(report.decision.verdict for report in reports)
    flips = sum(verdict != verdicts[0] for verdict in verdicts[1:]) / (len(verdicts) - 1)
    return Spread(len(reports), sum(values) / len(values), stdev(values), flips, verdicts)
