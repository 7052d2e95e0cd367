"""How well found claims and evidence agree with annotators, beside a finder by keywords."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .review_text import clauses_of
from .substantiation import FoundClaim, Polarity, Reading
from .substantiation_training import Annotated

Mask = npt.NDArray[np.bool_]

_FOR = re.compile(
    r"(?i)\b(?:interesting|novel|well[- ](?:written|motivated|structured|organized)|clear(?:ly)?|strong|good|great|nice"
    r"|solid|impressive|convincing|thorough|comprehensive|useful|important|easy to (?:read|follow)|state-of-the-art"
    r"|outperforms?|like[ds]?|enjoyed|effective|original|valuable|sound|promising|simple)\b"
)
_AGAINST = re.compile(
    r"(?i)\b(?:unclear|not (?:clear|convinc\w+|sure|novel|well)|lack(?:s|ing)?|missing|weak(?:ness)?|limited|confus\w+|hard to"
    r"|difficult to|incremental|poor(?:ly)?|insufficient|should|would (?:be|have)|problem(?:atic)?|concern(?:s|ed)?|fails?"
    r"|however|unfortunately|misleading|questionable|only|no (?:comparison|evidence|analysis|discussion))\b"
)
_BECAUSE = re.compile(
    r"(?i)\b(?:because|since|for (?:example|instance)|e\.g|i\.e|in particular|specifically|such as|due to|given that|as in"
    r"|(?:section|table|figure|fig|page|line|eq)\.?\s*\d)"
)


def keyword_reading(review: str) -> Reading:
    """The baseline: a sentence with a word of praise or blame is a claim, one with a reason its evidence.

    The reason may stand in the claim's own sentence or in the next. The words were chosen
    by hand before anything was measured.
    """
    sentences: dict[int, list[int]] = {}
    for clause in clauses_of(review):
        sentences.setdefault(clause.sentence, []).extend((clause.start, clause.end))
    slices = [(min(ends), max(ends)) for ends in sentences.values()]
    claims: list[FoundClaim] = []
    for i, (start, end) in enumerate(slices):
        text = review[start:end]
        polarity: Polarity | None = (
            "negative" if _AGAINST.search(text) else "positive" if _FOR.search(text) else None
        )
        if polarity is None:
            continue
        cue = _BECAUSE.search(text)
        evidence: tuple[tuple[int, int], ...] = ()
        if cue and cue.start() > 0:
            evidence = ((start + cue.start(), end),)
        elif i + 1 < len(slices) and _BECAUSE.search(review[slice(*slices[i + 1])]):
            evidence = (slices[i + 1],)
        stop = evidence[0][0] if evidence and evidence[0][0] < end else end
        claims.append(FoundClaim(start, stop, polarity, evidence, float(bool(evidence)), 1.0))
    share = float(np.mean([c.supported for c in claims])) if claims else None
    return Reading(tuple(claims), (), share)


@dataclass(frozen=True, slots=True)
class Overlap:
    """Counts of characters, white space left out: in both, in what was found, in what is annotated."""

    both: int
    found: int
    annotated: int


KINDS = (
    "claim",
    "claim-positive",
    "claim-negative",
    "evidence",
    "evidence-positive",
    "evidence-negative",
)


def overlap(row: Annotated, reading: Reading, kind: str) -> Overlap:
    """The overlap of one review for a kind of `KINDS`, by characters."""
    what, _, polarity = kind.partition("-")
    gold = [(s.start, s.end) for s in row.spans if s.kind == what and polarity in ("", s.polarity)]
    claims = [c for c in reading.claims if polarity in ("", c.polarity)]
    found = [(c.start, c.end) for c in claims]
    if what == "evidence":
        found = [stretch for c in claims for stretch in c.evidence]
    solid = np.array([not c.isspace() for c in row.review], dtype=bool)
    a, b = _mask(gold, solid), _mask(found, solid)
    return Overlap(int((a & b).sum()), int(b.sum()), int(a.sum()))


def _mask(slices: Iterable[tuple[int, int]], solid: Mask) -> Mask:
    covered = np.zeros(len(solid), dtype=bool)
    for start, end in slices:
        covered[max(start, 0) : end] = True
    return np.logical_and(covered, solid)


def f1(overlaps: Sequence[Overlap]) -> float:
    """F1 over the characters of all reviews together; NaN where there are none on either side."""
    total = sum(o.found + o.annotated for o in overlaps)
    return 2 * sum(o.both for o in overlaps) / total if total else float("nan")


def matched_support(row: Annotated, reading: Reading) -> list[tuple[bool, float]]:
    """For each found claim that overlaps an annotated one: is that supported, and our estimate."""
    supported = set(row.supported)
    pairs = []
    for claim in reading.claims:
        shared = [
            (min(claim.end, s.end) - max(claim.start, s.start), (s.polarity, s.number))
            for s in row.spans
            if s.kind == "claim"
        ]
        if shared and max(shared)[0] > 0:
            pairs.append((max(shared)[1] in supported, claim.support))
    return pairs
