"""The gates that a check passes before its verdicts count (EvoCUA's admission, section 2).

G1 it is false on the untouched start, G2 true on the reference, G3 says the same three
times, G4 kills mutants of the reference, G5 is no near duplicate of a held-out task.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MIN_MUTATION_SCORE = 0.8


@dataclass(frozen=True, slots=True)
class Gates:
    """What the gates found of one check.

    mutation_score: the share of wrong results that it refuses; None when none could be
    made. fooled_by: the attacks that it takes for right. duplicate_of: the held-out
    task that it repeats.
    """

    start_false: bool = False
    reference_true: bool = False
    deterministic: bool = False
    mutation_score: float | None = None
    mutants: int = 0
    fooled_by: tuple[str, ...] = ()
    duplicate_of: str = ""
    start: str = ""
    reference: str = ""
    about: tuple[str, ...] = ()

    @property
    def failures(self) -> tuple[str, ...]:
        """Every gate that it did not pass, as a phrase."""
        score = self.mutation_score
        found = [
            ("G1 it passes the untouched start", not self.start_false),
            ("G2 it fails the reference", not self.reference_true),
            ("G3 it does not always say the same", not self.deterministic),
            ("G4 no wrong result could be made of the reference", score is None),
            (
                f"G4 it kills {score or 0.0:.0%} of {self.mutants} wrong results",
                score is not None and score < MIN_MUTATION_SCORE,
            ),
            (f"G4 it is fooled by {', '.join(self.fooled_by)}", bool(self.fooled_by)),
            (f"G5 it repeats the held-out task {self.duplicate_of!r}", bool(self.duplicate_of)),
        ]
        return tuple(phrase for phrase, failed in found if failed)

    @property
    def passed(self) -> bool:
        return not self.failures

    def __str__(self) -> str:
        told = "; ".join(self.failures)
        return told or f"passed all gates, {self.mutation_score:.0%} of {self.mutants} mutants"

    def wire(self) -> dict[str, Any]:
        """The gates as the JSON column holds them; `parse` reads them back."""
        score = self.mutation_score
        return {
            "start_false": self.start_false,
            "reference_true": self.reference_true,
            "deterministic": self.deterministic,
            "mutation_score": None if score is None else round(score, 6),
            "mutants": self.mutants,
            "fooled_by": list(self.fooled_by),
            "duplicate_of": self.duplicate_of,
            "start": self.start,
            "reference": self.reference,
            "about": list(self.about),
        }

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> "Gates":
        """Read what `wire` wrote."""
        lists = {name: tuple(data[name]) for name in ("fooled_by", "about")}
        return cls(**{**data, **lists})
