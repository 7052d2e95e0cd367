"""Human reviews of the manuscripts of a batch, and how far the simulator agrees with them.

Lines of JSON: `{manuscript, review?, rating?, decision?}`, where `manuscript` is the name
of its file, with or without its ending. Several lines may speak of one manuscript.
"""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from repertory.simulators import SimulatorInputError
from repertory.simulators.statistics import (
    Estimate,
    auc,
    bootstrap,
    correlation,
    quadratic_weighted_kappa,
)

from .manuscript import Frozen
from .report import Report, Verdict
from .review_text import clauses_of

VERDICTS: tuple[Verdict, ...] = ("reject", "revise", "accept")
_RECOVERED = 0.35
_FEWEST_WORDS = 5
# An editor waits for these; the ends of an interval are known to about a hundredth.
_DRAWS = 400


@dataclass
class HumanReviews:
    """What people said of one manuscript; `decision` is None where nobody told it."""

    texts: list[str] = field(default_factory=list)
    ratings: list[float] = field(default_factory=list)
    decision: Verdict | None = None


class Agreement(Frozen):
    """Agreement with people. Estimates are `{value, low, high, level, n}`; null cannot be told.

    matched: manuscripts with human reviews. kappa: quadratic weighted, of the three verdicts.
    mae: in verdicts, reject 0, revise 1, accept 2. auc, balanced_accuracy: of acceptance, by S
    and by the recommendation, revise counting as not accepted. rho: of S with the mean rating.
    recovery: human concerns with one of ours at a cosine of .35 or more, matched one to one.
    shuffled_recovery: the same against the issues of other manuscripts, its control.
    confusion: counts by [human][ours], in the order reject, revise, accept.
    """

    matched: int
    kappa: dict[str, float | int | None]
    exact: dict[str, float | int | None]
    mae: dict[str, float | int | None]
    rho: dict[str, float | int | None]
    auc: dict[str, float | int | None]
    balanced_accuracy: dict[str, float | int | None]
    recovery: dict[str, float | int | None]
    shuffled_recovery: dict[str, float | int | None]
    confusion: tuple[tuple[int, ...], ...]
    calibration: tuple[tuple[float, float, int], ...]
    lines: tuple[str, ...]


def read_humans(path: Path, names: Sequence[str]) -> tuple[dict[str, HumanReviews], list[str]]:
    """The human reviews of the manuscripts `names`, and a sentence for each line left out.

    Raises:
        SimulatorInputError: The file cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SimulatorInputError(f"{path}: cannot be read: {error}") from None
    known = {key: name for name in names for key in (name.lower(), Path(name).stem.lower())}
    found: dict[str, HumanReviews] = defaultdict(HumanReviews)
    left: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        place = f"{path.name}:{number}"
        told = _told(line)
        if isinstance(told, str):
            left.append(f"{place}: {told}; left out")
        elif (name := known.get(str(told["manuscript"]).lower())) is None:
            left.append(
                f"{place}: no manuscript {told['manuscript']!r} in this batch; the review is left out"
            )
        else:
            _add(found[name], told)
    return dict(found), left


def _told(line: str) -> Mapping[str, Any] | str:
    """The line's object, or what is wrong with it."""
    try:
        told = json.loads(line)
    except (json.JSONDecodeError, RecursionError):
        return "is not JSON"
    if not isinstance(told, dict) or "manuscript" not in told:
        return "is no object {manuscript, review, rating, decision}"
    rating, decision, review = (told.get(k) for k in ("rating", "decision", "review"))
    if rating is not None and (isinstance(rating, bool) or not isinstance(rating, int | float)):
        return f"`rating` is {rating!r}, not a number"
    if decision is not None and _verdict(decision) is None:
        return f"`decision` is {decision!r}; it may be accept, revise or reject"
    if review is not None and not isinstance(review, str):
        return f"`review` is {type(review).__name__}, not text"
    return told


def _verdict(word: object) -> Verdict | None:
    text = str(word).strip().lower()
    if text.startswith(("major", "minor")):
        text = "revise"
    return next((v for v in VERDICTS if text.startswith(v)), None)


def _add(reviews: HumanReviews, told: Mapping[str, Any]) -> None:
    if told.get("review"):
        reviews.texts.append(told["review"])
    if told.get("rating") is not None:
        reviews.ratings.append(float(told["rating"]))
    if told.get("decision") is not None:
        reviews.decision = _verdict(told["decision"])


def agreement(
    reports: Sequence[Report], humans: Mapping[str, HumanReviews], lines: Sequence[str] = ()
) -> Agreement:
    """How far reports agree with the human reviews of their manuscripts."""
    pairs = [(r, humans[r.manuscript.name]) for r in reports if r.manuscript.name in humans]
    decided = [(r, h.decision) for r, h in pairs if h.decision is not None]
    ours = [VERDICTS.index(r.decision.verdict) for r, _ in decided]
    theirs = [VERDICTS.index(decision) for _, decision in decided]
    accepted = [t == 2 for t in theirs]
    quality = [r.scores.S for r, _ in decided]
    rated = [(r.scores.S, float(np.mean(h.ratings))) for r, h in pairs if h.ratings]
    recovered, shuffled = _recoveries(pairs)
    confusion = np.zeros((3, 3), dtype=int)
    for t, o in zip(theirs, ours, strict=True):
        confusion[t, o] += 1
    return Agreement(
        matched=len(pairs),
        kappa=_told_of(_kappa, theirs, ours),
        exact=_told_of(lambda a, b: float(np.mean(a == b)), theirs, ours),
        mae=_told_of(lambda a, b: float(np.mean(np.abs(a - b))), theirs, ours),
        rho=correlation([s for s, _ in rated], [m for _, m in rated], draws=_DRAWS).as_dict()
        if rated
        else _unknown(),
        auc=_told_of(auc, accepted, quality),
        balanced_accuracy=_told_of(_balanced, accepted, [o == 2 for o in ours]),
        recovery=_told_of(_share, [a for a, _ in recovered], [b for _, b in recovered]),
        shuffled_recovery=_told_of(_share, [a for a, _ in shuffled], [b for _, b in shuffled]),
        confusion=tuple(tuple(int(v) for v in row) for row in confusion),
        calibration=calibration(quality, accepted),
        lines=tuple(lines),
    )


def _told_of(of: Any, *columns: Sequence[Any]) -> dict[str, float | int | None]:
    return bootstrap(of, *columns, draws=_DRAWS).as_dict() if len(columns[0]) else _unknown()


def _unknown() -> dict[str, float | int | None]:
    return Estimate(float("nan"), float("nan"), float("nan"), 0).as_dict()


def _kappa(a: Any, b: Any) -> float:
    return quadratic_weighted_kappa(list(a), list(b), [0, 1, 2])


def _balanced(truth: Any, said: Any) -> float:
    yes, no = truth.astype(bool), ~truth.astype(bool)
    if not yes.any() or not no.any():
        return float("nan")
    return float((said[yes].mean() + (1 - said[no]).mean()) / 2)


def _share(part: Any, whole: Any) -> float:
    return float(np.sum(part) / np.sum(whole)) if np.sum(whole) else float("nan")


def calibration(
    scores: Sequence[float], accepted: Sequence[bool]
) -> tuple[tuple[float, float, int], ...]:
    """(mean S, share accepted, n) of up to five bins of equal size; none for fewer than five."""
    if len(scores) < 5:
        return ()
    order = np.argsort(np.asarray(scores), kind="stable")
    bins = np.array_split(order, min(5, len(scores) // 2))
    s, a = np.asarray(scores, dtype=float), np.asarray(accepted, dtype=float)
    return tuple((round(float(s[b].mean()), 4), round(float(a[b].mean()), 4), len(b)) for b in bins)


def concerns_of(review: str) -> list[str]:
    """The sentences of a human review that weigh against the paper or ask something of it.

    Where the form has headings, those under weaknesses, questions and comments; otherwise
    the negative claims that our finder finds, as whole sentences.
    """
    from .substantiation import packaged_finder

    clauses = clauses_of(review)
    sentences: dict[int, tuple[int, int, str]] = {}
    for clause in clauses:
        start, _, section = sentences.get(clause.sentence, (clause.start, 0, clause.section))
        sentences[clause.sentence] = (start, clause.end, section)
    wanted = {"weaknesses", "questions", "comments"}
    if any(section in wanted for _, _, section in sentences.values()):
        slices = [(a, b) for a, b, section in sentences.values() if section in wanted]
    else:
        negative = [
            c.start for c in packaged_finder().read(review).claims if c.polarity == "negative"
        ]
        slices = [(a, b) for a, b, _ in sentences.values() if any(a <= at < b for at in negative)]
    return [review[a:b] for a, b in slices if len(review[a:b].split()) >= _FEWEST_WORDS]


def _recoveries(
    pairs: Sequence[tuple[Report, HumanReviews]],
) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """(recovered, concerns) of each manuscript, by its own issues and by the next one's."""
    told = [
        ([c for text in h.texts for c in concerns_of(text)], [i.text for i in r.issues])
        for r, h in pairs
        if h.texts
    ]
    own = [(recovered(concerns, issues), len(concerns)) for concerns, issues in told]
    if len(told) < 2:
        return own, []
    others = [told[(i + 1) % len(told)][1] for i in range(len(told))]
    return own, [
        (recovered(concerns, issues), len(concerns))
        for (concerns, _), issues in zip(told, others, strict=True)
    ]


def recovered(concerns: Sequence[str], issues: Sequence[str], *, at: float = _RECOVERED) -> int:
    """How many concerns have an issue at a TF-IDF cosine of `at`, one to one (Hungarian).

    After TRACE-R (Saqr 2026); its words are weighed over concerns and issues together.
    """
    from scipy.optimize import linear_sum_assignment
    from sklearn.feature_extraction.text import TfidfVectorizer

    if not concerns or not issues:
        return 0
    try:
        vectors = TfidfVectorizer(stop_words="english", sublinear_tf=True).fit_transform(
            [*concerns, *issues]
        )
    except ValueError:  # Nothing but stop words, which are alike in nothing.
        return 0
    likeness = (vectors[: len(concerns)] @ vectors[len(concerns) :].T).toarray()
    rows, columns = linear_sum_assignment(-likeness)
    return int((likeness[rows, columns] >= at).sum())
