"""What recall answers with: packs, how well they fit, why they were found, or why nothing was.

Plain values, so that agents may name them without loading the tables.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from .floor import Asked, Floor

if TYPE_CHECKING:
    from .tables import Pack


@dataclass(frozen=True, slots=True)
class Reasons:
    """Why a pack was found: its rank (from 1) in each arm, and what each arm saw.

    text_rank, vector_rank: None where that arm did not find the pack. matched: the
    query's terms that the pack holds, rarest first. overlap: the share of the
    query's information (inverse document frequency) in those terms. cosine: None
    while the pack has no vector of the present model. fused: the sum of 1/(60+rank).
    contradicts: the ids of packs that say otherwise, which are among the hits as well.
    """

    text_rank: int | None
    vector_rank: int | None
    matched: tuple[str, ...]
    overlap: float
    cosine: float | None
    fused: float
    trust: float
    valid_from: str
    valid_to: str | None
    contradicts: tuple[str, ...] = ()

    def __str__(self) -> str:
        """One line for a person."""
        parts = []
        if self.cosine is not None:
            place = "" if self.vector_rank is None else f" (rank {self.vector_rank})"
            parts.append(f"meaning {self.cosine:.2f}{place}")
        if self.matched:
            place = "" if self.text_rank is None else f" (rank {self.text_rank})"
            parts.append(f"words {', '.join(self.matched[:5])}{place}")
        parts.append(f"trust {self.trust:.2f}")
        if self.contradicts:
            parts.append(f"contradicts {', '.join(self.contradicts)}")
        return "; ".join(parts)


@dataclass(frozen=True, slots=True)
class Hit:
    """A recalled pack. `score` is 1.0 for the first of both arms and orders the hits."""

    pack: "Pack"
    score: float
    reasons: Reasons

    def wire(self) -> dict[str, Any]:
        """The hit as JSON, for a journal; `parse` reads it back."""
        reasons = asdict(self.reasons)
        reasons["matched"] = list(self.reasons.matched)
        reasons["contradicts"] = list(self.reasons.contradicts)
        return {
            "pack": self.pack.model_dump(mode="json"),
            "score": self.score,
            "reasons": reasons,
        }

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> "Hit":
        """Read what `wire` wrote."""
        from .tables import Pack

        reasons = dict(data["reasons"])
        reasons["matched"] = tuple(reasons["matched"])
        reasons["contradicts"] = tuple(reasons.get("contradicts", ()))
        return cls(
            pack=Pack.model_validate(data["pack"]),
            score=data["score"],
            reasons=Reasons(**reasons),
        )


Fate: TypeAlias = Literal[
    "chosen", "no evidence", "low score", "repeats", "over budget", "beyond the limit"
]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A pack that recall looked at, and what became of it.

    fate: `no evidence` is below the floor, `repeats` is too like a chosen one.
    """

    id: str
    goal: str
    score: float
    reasons: Reasons
    fate: Fate


@dataclass(frozen=True, slots=True)
class Recall:
    """An answer with its reasons. `silence` says why there is no hit, and is "" when there is one.

    terms: each word of the query, in how many packs it occurs, and whether the search
    by words went after it (very common ones are left out). how: which way the vectors
    were searched. considered: the candidates whose evidence was looked at, best first.
    """

    hits: tuple[Hit, ...]
    query: str
    terms: tuple[tuple[str, int, bool], ...]
    how: str
    considered: tuple[Candidate, ...]
    floor: Floor
    silence: str

    def asked(self, *, known: bool) -> Asked:
        """The evidence of this answer as a question for `calibrated`."""
        return Asked(
            known, tuple((c.reasons.cosine or 0.0, c.reasons.overlap) for c in self.considered)
        )
