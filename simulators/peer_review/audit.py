"""The audit of reviews that people (or models) wrote, with the yardstick of our own reports.

For each review: its claims and whether evidence is given for them (substantiation),
the places of the paper it points to, and the compatibility metric of the paper's
Study 1. For a corpus: the same with intervals, and what they owe to length.
"""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from repertory.simulators import SimulatorInputError
from repertory.simulators.statistics import Estimate, bootstrap, correlation, wilson

from .manuscript import Frozen
from .substantiation import Finder, FoundClaim, packaged_finder

# Study 1 looks for its cues anywhere in a word ("format" in "information"); so does the metric.
_CUE = re.compile(
    "serious|fatal|critical|blocking|irreproducible|plagiarism|fraud|unethical|invalid"
    "|minor|typo|grammar|format|clarity|style|small|editorial",
    re.IGNORECASE,
)
_ANCHOR = re.compile(
    r"\b(?:page\s*\d+|p\.\s*\d+|fig(?:ure)?\.?\s*\d+|table\s*\d+|section\s*\d+)", re.IGNORECASE
)
_STOP = re.compile(r"(?<=[.!?])\s+")
_PLACE = re.compile(
    r"\b(?:pages?|pp?\.|fig(?:ure|s|ures)?\.?|tab(?:le|les)?\.?|sec(?:tion|tions|\.)?|eqs?\.|equations?|eqns?\.?"
    r"|lines?|l\.|appendix|algorithm|theorem|lemma|paragraph)\s*\(?(?:\d+|[A-Z]\b|[IVX]+\b)",
    re.IGNORECASE,
)
_COMPLIANT = 0.2


class AuditClaim(Frozen):
    """A claim of a review as text, with the evidence that is given for it."""

    start: int
    end: int
    text: str
    polarity: str
    evidence: tuple[dict[str, Any], ...]
    support: float


class Study1(Frozen):
    """Compliance by the rule of Study 1 (Saqr, arXiv 2510.02027): a compatibility metric only.

    issues: sentences with a severity cue, at least 1. compliant: whether a fifth names a place.
    """

    issues: int
    anchored: int
    fraction: float
    compliant: bool


class ReviewAudit(Frozen):
    """What is said of one review.

    supported: claims for which evidence was found. share: supported of claims.
    substantiation: the expected share, from each claim's probability of being supported;
    it follows annotators better than the count, so it is the score. None without claims.
    anchor_fraction: claims that name a place of the paper, themselves or in their evidence.
    places: named places in the whole review.
    """

    id: str
    words: int
    claims: int
    supported: int
    share: float | None
    substantiation: float | None
    negative: int
    negative_supported: int
    positive: int
    positive_supported: int
    anchored: int
    anchor_fraction: float | None
    places: int
    study1: Study1
    spans: tuple[AuditClaim, ...]


class Corpus(Frozen):
    """The audits of many reviews. Estimates are `{value, low, high, level, n}`; null cannot be told.

    length: Spearman's correlation of the score with the number of words, its control.
    """

    reviews: int
    with_claims: int
    words_median: float | None
    claims: int
    supported_share: dict[str, float | int | None]
    positive_supported_share: dict[str, float | int | None]
    negative_supported_share: dict[str, float | int | None]
    substantiation: dict[str, float | int | None]
    anchor_fraction: dict[str, float | int | None]
    study1_fraction: dict[str, float | int | None]
    study1_compliance: dict[str, float | int | None]
    length: dict[str, float | int | None]


class Audit(Frozen):
    """An audit of a file of reviews. skipped: lines that were left out, and why."""

    corpus: Corpus
    reviews: tuple[ReviewAudit, ...]
    skipped: tuple[str, ...]


def audit_review(id: str, review: str, *, finder: Finder | None = None) -> ReviewAudit:  # noqa: A002 - the row's own key
    """Audit one review, by the packaged finder or another."""
    found = (finder or packaged_finder()).read(review)
    spans = tuple(_told(review, claim) for claim in found.claims)
    n, supported = len(spans), sum(bool(s.evidence) for s in spans)
    anchored = sum(_names_place(s) for s in spans)
    negative = [s for s in spans if s.polarity == "negative"]
    positive = [s for s in spans if s.polarity == "positive"]
    return ReviewAudit(
        id=id,
        words=len(review.split()),
        claims=n,
        supported=supported,
        share=supported / n if n else None,
        substantiation=None if found.expected is None else round(found.expected, 4),
        negative=len(negative),
        negative_supported=sum(bool(s.evidence) for s in negative),
        positive=len(positive),
        positive_supported=sum(bool(s.evidence) for s in positive),
        anchored=anchored,
        anchor_fraction=anchored / n if n else None,
        places=len(_PLACE.findall(review)),
        study1=study1_of(review),
        spans=spans,
    )


def _told(review: str, claim: FoundClaim) -> AuditClaim:
    evidence = [{"start": a, "end": b, "text": review[a:b]} for a, b in claim.evidence]
    return AuditClaim(
        start=claim.start,
        end=claim.end,
        text=review[claim.start : claim.end],
        polarity=claim.polarity,
        evidence=tuple(evidence),
        support=round(claim.support, 4),
    )


def _names_place(claim: AuditClaim) -> bool:
    return any(_PLACE.search(t) for t in (claim.text, *(e["text"] for e in claim.evidence)))


def study1_of(review: str) -> Study1:
    """Study 1's rule: issues are sentences with a severity cue, or one dummy issue without an anchor.

    Line breaks are no ends of sentences there, so they are none here.
    """
    issues = [s for s in _STOP.split(review) if _CUE.search(s)]
    anchored = sum(bool(_ANCHOR.search(s)) for s in issues)
    fraction = anchored / len(issues) if issues else 0.0
    return Study1(
        issues=max(len(issues), 1),
        anchored=anchored,
        fraction=fraction,
        compliant=fraction >= _COMPLIANT,
    )


def audit_rows(
    rows: Iterable[tuple[str, str]], *, finder: Finder | None = None, skipped: Sequence[str] = ()
) -> Audit:
    """Audit (id, review) rows and sum them up."""
    audits = [audit_review(key, text, finder=finder) for key, text in rows]
    return Audit(corpus=corpus_of(audits), reviews=tuple(audits), skipped=tuple(skipped))


def corpus_of(audits: Sequence[ReviewAudit]) -> Corpus:
    """The audits summed up; intervals resample reviews, whose claims belong together."""
    scored = [a for a in audits if a.substantiation is not None]
    score = [a.substantiation for a in scored if a.substantiation is not None]
    n, compliant = len(audits), sum(a.study1.compliant for a in audits)
    return Corpus(
        reviews=n,
        with_claims=len(scored),
        words_median=float(np.median([a.words for a in audits])) if audits else None,
        claims=sum(a.claims for a in audits),
        supported_share=_ratio([a.supported for a in audits], [a.claims for a in audits]),
        positive_supported_share=_ratio(
            [a.positive_supported for a in audits], [a.positive for a in audits]
        ),
        negative_supported_share=_ratio(
            [a.negative_supported for a in audits], [a.negative for a in audits]
        ),
        substantiation=_mean(score),
        anchor_fraction=_mean([a.anchor_fraction for a in scored]),
        study1_fraction=_mean([a.study1.fraction for a in audits]),
        study1_compliance=wilson(compliant, n).as_dict(),
        length=correlation([a.words for a in scored], score).as_dict(),
    )


def _ratio(part: Sequence[int], whole: Sequence[int]) -> dict[str, float | int | None]:
    def of(a: Any, b: Any) -> float:
        return float(np.sum(a) / np.sum(b)) if np.sum(b) else float("nan")

    return _or_unknown(of, part, whole)


def _mean(values: Sequence[Any]) -> dict[str, float | int | None]:
    return _or_unknown(lambda v: float(np.mean(v)) if len(v) else float("nan"), values)


def _or_unknown(of: Any, *columns: Sequence[Any]) -> dict[str, float | int | None]:
    if not columns[0]:
        return Estimate(float("nan"), float("nan"), float("nan"), 0).as_dict()
    return bootstrap(of, *columns).as_dict()


def read_reviews(path: Path) -> tuple[list[tuple[str, str]], list[str]]:
    """The (id, review) rows of a JSON Lines file, and a sentence for each line that is none.

    Raises:
        SimulatorInputError: The file cannot be read, or no line of it holds a review.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise SimulatorInputError(f"{path}: not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise SimulatorInputError(f"{path}: cannot be read: {error.strerror}") from None
    rows: list[tuple[str, str]] = []
    skipped: list[str] = []
    seen: set[str] = set()
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        told = _row(line)
        if isinstance(told, str):
            skipped.append(f"{path.name}:{number}: {told}")
        elif told[0] in seen:
            skipped.append(f"{path.name}:{number}: id {told[0]!r} was there before; left out")
        else:
            seen.add(told[0])
            rows.append(told)
    if not rows:
        why = skipped[0] if skipped else f"{path.name}: is empty"
        raise SimulatorInputError(f"{path}: no line holds a review, {{id, review}}; {why}")
    return rows, skipped


def _row(line: str) -> tuple[str, str] | str:
    """The row of a line, or what is wrong with it."""
    try:
        told = json.loads(line)
    except (json.JSONDecodeError, RecursionError):
        return "is not JSON; left out"
    if not isinstance(told, dict):
        return f"is {type(told).__name__}, not an object {{id, review}}; left out"
    key, review = told.get("id"), told.get("review")
    if not isinstance(key, str | int) or isinstance(key, bool):
        return "has no `id` (text or a whole number); left out"
    if not isinstance(review, str):
        return f"`review` of {key!r} is {type(review).__name__}, not text; left out"
    if not review.strip():
        return f"`review` of {key!r} is empty; left out"
    return str(key), review
