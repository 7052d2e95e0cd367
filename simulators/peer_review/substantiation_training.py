"""Fitting the finder of claims and evidence to annotated reviews, and the gold it is held to.

Rows are SubstanReview's: `{id, review, label}`, where a label is `[start, end, name]`
and names are Eval_pos_1, Jus_pos_1 (the evidence of claim Eval_pos_1), Major_claim.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from repertory.simulators import SimulatorInputError

from .chain import Features, Floats, fit_chain
from .review_text import Clause, clauses_of
from .substantiation import (
    LABELS,
    Finder,
    Group,
    claims_among,
    features_of,
    kinds_of,
    support_features,
)

_L2 = 2.0
_FOLDS = 3
_NAMES = {"pos": "positive", "neg": "negative"}


@dataclass(frozen=True, slots=True)
class Span:
    """An annotated slice. kind: claim, evidence or overall. number: links evidence to its claim."""

    start: int
    end: int
    kind: str
    polarity: str
    number: str


@dataclass(frozen=True, slots=True)
class Annotated:
    """A review with its annotators' spans."""

    id: str
    review: str
    spans: tuple[Span, ...]

    @property
    def claims(self) -> tuple[tuple[str, str], ...]:
        """Every claim as (polarity, number), sorted; one may have several spans."""
        return tuple(sorted({(s.polarity, s.number) for s in self.spans if s.kind == "claim"}))

    @property
    def supported(self) -> tuple[tuple[str, str], ...]:
        """The claims for which evidence is annotated."""
        evidence = {(s.polarity, s.number) for s in self.spans if s.kind == "evidence"}
        return tuple(c for c in self.claims if c in evidence)

    @property
    def share(self) -> float:
        """Supported claims of claims; NaN without claims."""
        return len(self.supported) / len(self.claims) if self.claims else float("nan")


def annotated(row: Mapping[str, Any], place: str) -> Annotated:
    """A row of SubstanReview; `place` says where it stands, for the error.

    Raises:
        SimulatorInputError: A key is missing, or a label is none of SubstanReview's.
    """
    review, labels = row.get("review"), row.get("label")
    if not isinstance(review, str) or not isinstance(labels, list):
        raise SimulatorInputError(f"{place}: needs `review` (text) and `label` (a list of spans)")
    return Annotated(
        str(row.get("id", place)), review, tuple(_span(each, place) for each in labels)
    )


def _span(told: Any, place: str) -> Span:
    match told:
        case [int(start), int(end), "Major_claim"]:
            return Span(start, end, "overall", "", "")
        case [int(start), int(end), str(name)] if name.count("_") == 2:
            kind, polarity, number = name.split("_")
            if kind in {"Eval", "Jus"} and polarity in _NAMES:
                kind = "claim" if kind == "Eval" else "evidence"
                return Span(start, end, kind, _NAMES[polarity], number)
    raise SimulatorInputError(
        f"{place}: label {told!r} is not [start, end, name] with a name like"
        " Eval_pos_1, Jus_neg_2 or Major_claim"
    )


def fit_finder(rows: Sequence[Annotated], *, l2: float = _L2) -> Finder:
    """Fit the chain on all `rows`, and the support rule on claims found in rows held out from it.

    Raises:
        SimulatorInputError: There are too few rows to hold any out.
    """
    if len(rows) < 2 * _FOLDS or not any(row.claims for row in rows):
        raise SimulatorInputError(
            f"a finder is fitted on at least {2 * _FOLDS} reviews with claims; there are {len(rows)}"
        )
    clauses = [clauses_of(row.review) for row in rows]
    features: list[Features] = [
        features_of(row.review, c) for row, c in zip(rows, clauses, strict=True)
    ]
    labels = [labels_of(row, c) for row, c in zip(rows, clauses, strict=True)]
    told: list[list[float]] = []
    truth: list[bool] = []
    for fold in range(_FOLDS):
        kept = [i for i in range(len(rows)) if i % _FOLDS != fold]
        chain = fit_chain(
            [features[i] for i in kept], [labels[i] for i in kept], names=LABELS, l2=l2
        )
        for i in range(fold, len(rows), _FOLDS):
            chances = chain.marginals(features[i])
            for group, is_supported, n in _matched(rows[i], chances, clauses[i]):
                told.append(support_features(group, chances, clauses[i], n))
                truth.append(is_supported)
    return Finder(fit_chain(features, labels, names=LABELS, l2=l2), _logistic(told, truth))


def labels_of(row: Annotated, clauses: Sequence[Clause]) -> list[str]:
    """The label of every clause: that of most of its characters."""
    owner: list[Span | None] = [None] * len(row.review)
    for span in row.spans:
        for i in range(max(span.start, 0), min(span.end, len(owner))):
            owner[i] = span
    labels = []
    before: tuple[str, str] | None = None
    for clause in clauses:
        commonest = Counter(owner[clause.start : clause.end]).most_common(1)[0][0]
        if commonest is None:
            label, claim = "none", None
        elif commonest.kind == "claim":
            claim = (commonest.polarity, commonest.number)
            label = f"{'inside' if claim == before else 'begin'}-{commonest.polarity}"
        else:
            claim = None
            label = "overall" if commonest.kind == "overall" else f"evidence-{commonest.polarity}"
        labels.append(label)
        before = claim
    return labels


def _matched(
    row: Annotated, chances: Floats, clauses: Sequence[Clause]
) -> list[tuple[Group, bool, int]]:
    """The found claims that overlap an annotated one, and whether that one is supported."""
    groups = claims_among(kinds_of(chances), chances, clauses) if clauses else []
    supported = set(row.supported)
    found = []
    for group in groups:
        start, end = clauses[group.first].start, clauses[group.last].end
        overlap = Counter[tuple[str, str]]()
        for span in row.spans:
            if span.kind == "claim":
                shared = min(end, span.end) - max(start, span.start)
                overlap[span.polarity, span.number] += max(0, shared)
        if overlap and overlap.most_common(1)[0][1] > 0:
            found.append((group, overlap.most_common(1)[0][0] in supported, len(groups)))
    return found


def _logistic(told: Sequence[Sequence[float]], truth: Sequence[bool]) -> tuple[float, ...]:
    """The weights of a logistic rule with a weak penalty, its constant first."""
    from sklearn.linear_model import LogisticRegression

    if len(set(truth)) < 2:
        raise SimulatorInputError(
            "no claim of the training reviews is supported, or all are; the rule needs both"
        )
    rule = LogisticRegression(C=1.0, max_iter=1000).fit(np.array(told), np.array(truth))
    return (float(rule.intercept_[0]), *(float(w) for w in rule.coef_[0]))
