"""A panel over one report: reviewers with traits, rebuttal, discussion, and an area chair.

After AgentReview (Jin et al., EMNLP 2024): five phases, reviewers responsible, benign or
knowledgeable or their opposites, a chair authoritarian, conformist or inclusive. Its
reviewers are language models; ours are rules over what of the report each one sees, and
every number below is ours. Noise follows from (report, seed, seat) and never from a
trait, so two committees on the same seeds differ by their traits alone.
"""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from statistics import NormalDist
from typing import Literal

import numpy as np

from repertory.simulators.statistics import Estimate, paired_difference

from .manuscript import Frozen
from .report import Report

Trait = Literal[
    "responsible",
    "irresponsible",
    "benign",
    "malicious",
    "knowledgeable",
    "unknowledgeable",
    "neutral",
    "placebo",
]
Chair = Literal["authoritarian", "conformist", "inclusive"]
SEATS = ("reviewer_1", "reviewer_2", "reviewer_3")

# A rating of 1 to 10 begins at what S is worth, and each seen issue takes from it.
_FLOOR, _SPAN, _MAJOR, _MINOR, _RISK = 3.0, 6.0, 0.5, 0.08, 4.0
_SEES = {"responsible": 0.95, "irresponsible": 0.35}
_KINDNESS = {"benign": 0.75, "malicious": -0.75}
_NOISE = {"knowledgeable": 0.4, "unknowledgeable": 1.2}
_MISJUDGES = {"knowledgeable": 0.05, "unknowledgeable": 0.35}
_USUAL_SIGHT, _USUAL_NOISE, _USUAL_MISJUDGED = 0.75, 0.8, 0.15
# A rebuttal answers this share of what was seen; who reads it gives back as much.
_ANSWERED, _READS_REBUTTAL = 0.4, {"responsible": 1.0, "irresponsible": 0.0}
_YIELDS = {"knowledgeable": 0.15, "unknowledgeable": 0.45}
_USUAL_YIELD = 0.3
# The chair's own rating weighs so much against the reviewers' mean.
_OWN = {"authoritarian": 0.8, "conformist": 0.0, "inclusive": 0.4}
ACCEPT = 5.5


class Case(Frozen):
    """What a panel is given of a report: its digest, scores, and issues by id and severity."""

    name: str
    digest: str
    S: float
    r_f: float
    issues: tuple[tuple[str, str], ...]


class Assessment(Frozen):
    """A reviewer's rating of 1 to 10, and the issues it saw, as it took them."""

    seat: str
    rating: float
    seen: tuple[tuple[str, str], ...]


class Meeting(Frozen):
    """One run of a panel: ratings before and after, and what the chair made of them."""

    name: str
    seed: int
    first: tuple[float, ...]
    final: tuple[float, ...]
    chair: float
    accepted: bool


class Effect(Frozen):
    """What one changed trait does: treated less baseline on the same seeds, by manuscript.

    placebo: the same difference between two baselines, of which the second has other noise
    in the changed seat: an effect inside its interval is none.
    """

    changed: str
    trait: str
    manuscripts: int
    seeds: int
    rating: dict[str, float | int | None]
    spread: dict[str, float | int | None]
    acceptance: dict[str, float | int | None]
    flipped: float
    placebo: dict[str, float | int | None]


def case_of(report: Report) -> Case:
    """A report as a panel sees it."""
    return Case(
        name=report.manuscript.name,
        digest=report.digest(),
        S=report.scores.S,
        r_f=report.scores.r_f,
        issues=tuple((issue.id, issue.severity) for issue in report.issues),
    )


def assess(case: Case, seat: str, trait: Trait, seed: int, noise: int = 0) -> Assessment:
    """Phase 1: a reviewer rates what it sees. noise: another stream of chance for this seat."""
    key = f"{case.digest} {seed} {seat} {noise}"
    sight = _SEES.get(trait, _USUAL_SIGHT)
    wrong = _MISJUDGES.get(trait, _USUAL_MISJUDGED)
    seen = []
    for issue, severity in case.issues:
        if _chance(key, issue, "seen") < sight:
            if _chance(key, issue, "taken") < wrong:
                severity = "minor" if severity == "major" else "major"
            seen.append((issue, severity))
    rating = _FLOOR + _SPAN * case.S - _RISK * case.r_f + _KINDNESS.get(trait, 0.0)
    rating -= sum(_MAJOR if severity == "major" else _MINOR for _, severity in seen)
    rating += _NOISE.get(trait, _USUAL_NOISE) * _normal(key, "rating")
    return Assessment(seat=seat, rating=_bounded(rating), seen=tuple(seen))


def rebut(case: Case, assessments: Sequence[Assessment], seed: int) -> tuple[str, ...]:
    """Phase 2: the issues that the authors can answer, of those that anybody saw."""
    raised = sorted({issue for a in assessments for issue, _ in a.seen})
    return tuple(i for i in raised if _chance(f"{case.digest} {seed}", i, "answered") < _ANSWERED)


def discuss(
    own: Assessment, others: Sequence[float], answered: Sequence[str], trait: Trait
) -> float:
    """Phase 3: give back what the rebuttal answered, then yield to the others' mean."""
    reads = _READS_REBUTTAL.get(trait, 0.7)
    back = sum(
        _MAJOR if severity == "major" else _MINOR
        for issue, severity in own.seen
        if issue in answered
    )
    rating = own.rating + reads * back
    if others:
        rating += _YIELDS.get(trait, _USUAL_YIELD) * (float(np.mean(others)) - rating)
    return _bounded(rating)


def conclude(case: Case, final: Sequence[float], chair: Chair, seed: int) -> float:
    """Phases 4 and 5: the chair's score, from the reviewers' mean and its own reading."""
    own = assess(case, "chair", "neutral", seed).rating
    return _OWN[chair] * own + (1 - _OWN[chair]) * float(np.mean(final))


def meet(
    case: Case,
    traits: Mapping[str, Trait],
    chair: Chair,
    seed: int,
    noise: Mapping[str, int] | None = None,
) -> Meeting:
    """A whole panel without a network: the same steps as its agents take."""
    other = noise or {}
    first = [assess(case, s, traits.get(s, "neutral"), seed, other.get(s, 0)) for s in SEATS]
    answered = rebut(case, first, seed)
    final = tuple(
        discuss(
            a,
            [b.rating for b in first if b.seat != a.seat],
            answered,
            traits.get(a.seat, "neutral"),
        )
        for a in first
    )
    return meeting_of(case, first, final, chair, seed)


def meeting_of(
    case: Case, first: Sequence[Assessment], final: Sequence[float], chair: Chair, seed: int
) -> Meeting:
    """The meeting that these ratings make."""
    score = conclude(case, final, chair, seed)
    return Meeting(
        name=case.name,
        seed=seed,
        first=tuple(a.rating for a in first),
        final=tuple(final),
        chair=round(score, 4),
        accepted=score >= ACCEPT,
    )


def effect_of(
    changed: str,
    trait: str,
    baseline: Sequence[Meeting],
    treated: Sequence[Meeting],
    renewed: Sequence[Meeting],
) -> Effect:
    """The effect of a trait from three runs of the same manuscripts and seeds.

    renewed: the baseline again, with other noise in the changed seat.
    """
    names = [m.name for m in baseline]

    def difference(a: Sequence[float], b: Sequence[float]) -> dict[str, float | int | None]:
        return _told(paired_difference(a, b, groups=names, draws=500))

    flips = [a.accepted != b.accepted for a, b in zip(treated, baseline, strict=True)]
    base = [m.chair for m in baseline]
    return Effect(
        changed=changed,
        trait=trait,
        manuscripts=len(set(names)),
        seeds=len({m.seed for m in baseline}),
        rating=difference([m.chair for m in treated], base),
        spread=difference(
            [float(np.std(m.final)) for m in treated], [float(np.std(m.final)) for m in baseline]
        ),
        acceptance=difference([m.accepted for m in treated], [m.accepted for m in baseline]),
        flipped=float(np.mean(flips)) if flips else float("nan"),
        placebo=difference([m.chair for m in renewed], base),
    )


def _told(found: Estimate) -> dict[str, float | int | None]:
    return found.as_dict()


def _chance(*key: str) -> float:
    """A number in [0, 1) that follows from its key alone."""
    return int.from_bytes(sha256(" ".join(key).encode()).digest()[:7]) / 256**7


def _normal(*key: str) -> float:
    return NormalDist().inv_cdf(min(max(_chance(*key), 1e-9), 1 - 1e-9))


def _bounded(rating: float) -> float:
    return round(min(max(rating, 1.0), 10.0), 4)
