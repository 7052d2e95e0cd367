"""Claims of a review and the evidence that is given for them, found by a fitted chain.

The task and its labels are SubstanReview's (Guo et al., EMNLP 2023): a claim is a
stretch that evaluates the paper, for or against it; evidence is a stretch of the same
review that says why. The finder is ours: a chain over clauses with words and places as
features, and a logistic rule that says how likely each claim is to be supported.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np

from .chain import Chain, Floats
from .review_text import Clause, clauses_of

Polarity = Literal["positive", "negative"]

LABELS = (
    "none",
    "begin-positive",
    "inside-positive",
    "begin-negative",
    "inside-negative",
    "overall",
    "evidence-positive",
    "evidence-negative",
)
# The labels that are told apart when a clause is named; where a claim begins comes after.
_KINDS = (
    ("none", (0,)),
    ("claim-positive", (1, 2)),
    ("claim-negative", (3, 4)),
    ("overall", (5,)),
    ("evidence-positive", (6,)),
    ("evidence-negative", (7,)),
)
# "None" counts this much where kinds compete: chosen by cross-validation within the
# training split of benchmarks/peer_review.py, for the mean F1 of the kinds.
_NONE_WEIGHT = 0.15
# Evidence this many clauses away from a claim belongs to none.
_REACH = 8
_WORD = re.compile(r"[A-Za-z]+(?:'[a-z]+)?|\d+(?:\.\d+)?%?|[?!():;,\"]")
_PLACE = re.compile(r"(?i)\b(?:fig|tab|sec|page|eq|equation|line|l\.|p\.|appendix)")
_CITES = re.compile(r"\b(?:19|20)\d\d\b|et al")


@dataclass(frozen=True, slots=True)
class FoundClaim:
    """A claim at `start` to `end` of a review, and the slices of its evidence.

    support: the estimated probability that an annotator would link evidence to it.
    probability: of being a claim at all.
    """

    start: int
    end: int
    polarity: Polarity
    evidence: tuple[tuple[int, int], ...]
    support: float
    probability: float

    @property
    def supported(self) -> bool:
        return bool(self.evidence)


@dataclass(frozen=True, slots=True)
class Reading:
    """What was found in a review. overall: slices that judge the paper as a whole.

    expected: the expected share of supported claims, or None where no claim was found.
    """

    claims: tuple[FoundClaim, ...]
    overall: tuple[tuple[int, int], ...]
    expected: float | None


def features_of(review: str, clauses: Sequence[Clause]) -> list[list[str]]:
    """The features of every clause: its words and its neighbors', its section and its place."""
    words = [_words(review[c.start : c.end]) for c in clauses]
    members: dict[int, list[int]] = {}
    for i, clause in enumerate(clauses):
        members.setdefault(clause.sentence, []).append(i)
    sentences = {s: [w for i in rows for w in words[i]] for s, rows in members.items()}
    return [
        _of_clause(clause, words[i])
        + _of_neighbors(i, words)
        + _of_sentence(clause.sentence, sentences)
        + _of_place(review, clauses, i, members[clause.sentence])
        for i, clause in enumerate(clauses)
    ]


def _words(text: str) -> list[str]:
    return ["0" if w[0].isdigit() else w.lower() for w in _WORD.findall(text)] or ["."]


def _of_clause(clause: Clause, words: Sequence[str]) -> list[str]:
    pairs = [f"b={a} {b}" for a, b in pairwise(words)]
    return [
        "bias",
        f"section={clause.section}",
        *(f"w={w}" for w in words),
        *pairs,
        f"first={words[0]}",
        f"first2={' '.join(words[:2])}",
        f"last={words[-1]}",
        f"length={min(len(words) // 4, 5)}",
    ]


def _of_neighbors(i: int, words: Sequence[Sequence[str]]) -> list[str]:
    before = words[i - 1] if i else ["^"]
    after = words[i + 1] if i + 1 < len(words) else ["$"]
    return [
        *(f"before={w}" for w in before),
        f"before-last={before[-1]}",
        f"after-first={after[0]}",
        f"after-first2={' '.join(after[:2])}",
    ]


def _of_sentence(sentence: int, sentences: Mapping[int, Sequence[str]]) -> list[str]:
    words = sentences[sentence]
    return [
        *(f"s={w}" for w in words),
        f"s-first2={' '.join(words[:2])}",
        f"s-first3={' '.join(words[:3])}",
        f"s-before={' '.join(sentences.get(sentence - 1, ['^'])[:2])}",
        f"s-after={' '.join(sentences.get(sentence + 1, ['$'])[:2])}",
        f"s-length={min(len(words) // 8, 6)}",
    ]


def _of_place(review: str, clauses: Sequence[Clause], i: int, rows: Sequence[int]) -> list[str]:
    clause = clauses[i]
    text = review[clause.start : clause.end]
    gap = review[clauses[i - 1].end : clause.start] if i else "\n"
    whole = review[clauses[rows[0]].start : clauses[rows[-1]].end]
    place = "only" if len(rows) == 1 else {rows[0]: "first", rows[-1]: "last"}.get(i, "middle")
    told = {
        "new-line": "\n" in gap,
        "bullet": any(c in gap for c in "-*•"),
        "question": "?" in whole,
        "bracket": text[0] in "([",
        "capital": text[0].isupper(),
        "place-named": bool(_PLACE.search(text)),
        "cites": bool(_CITES.search(text)),
    }
    return [
        f"in-sentence={place}",
        f"tenth={10 * i // len(clauses)}",
        f"ends={'a' if text[-1].isalnum() else text[-1]}",
        *(name for name, holds in told.items() if holds),
    ]


@dataclass(frozen=True)
class Finder:
    """A fitted finder of claims and evidence.

    support: the weights of the logistic rule over `_SUPPORT`, its constant first.
    """

    chain: Chain
    support: tuple[float, ...]

    def read(self, review: str) -> Reading:
        """Find the claims of `review`, link their evidence, and estimate their support."""
        clauses = clauses_of(review)
        if not clauses:
            return Reading((), (), None)
        chances = self.chain.marginals(features_of(review, clauses))
        kinds = kinds_of(chances)
        groups = claims_among(kinds, chances, clauses)
        linked = linked_evidence(kinds, groups)
        claims = []
        for group, evidence in zip(groups, linked, strict=True):
            chance = chances[group.first : group.last + 1]
            claims.append(
                FoundClaim(
                    start=clauses[group.first].start,
                    end=clauses[group.last].end,
                    polarity=group.polarity,
                    evidence=tuple((clauses[a].start, clauses[b].end) for a, b in evidence),
                    support=self._support(group, chances, clauses, len(groups)),
                    probability=float(chance[:, 1:5].sum(1).max()),
                )
            )
        overall = [
            (clauses[a].start, clauses[b].end) for a, b, kind in runs_of(kinds) if kind == "overall"
        ]
        return Reading(tuple(claims), tuple(overall), _expected(claims))

    def _support(
        self, group: "Group", chances: Floats, clauses: Sequence[Clause], claims: int
    ) -> float:
        told = support_features(group, chances, clauses, claims)
        z = self.support[0] + sum(w * v for w, v in zip(self.support[1:], told, strict=True))
        return 1 / (1 + math.exp(-max(-30.0, min(30.0, z))))

    def as_json(self) -> str:
        """The finder as JSON text, one feature a line."""
        told = self.chain.as_dict()
        rows = ",\n".join(
            f"{json.dumps(k)}:{json.dumps(v, separators=(',', ':'))}"
            for k, v in told.pop("weights").items()
        )
        head = json.dumps({"support": [round(v, 4) for v in self.support], **told})
        return f'{head[:-1]}, "weights": {{\n{rows}\n}}}}\n'

    @classmethod
    def from_json(cls, text: str) -> "Finder":
        """The finder that `as_json` told, but for its rounding."""
        told: dict[str, Any] = json.loads(text)
        return cls(Chain.from_dict(told), tuple(told["support"]))


def _expected(claims: Sequence[FoundClaim]) -> float | None:
    """The mean support of claims, each counted by its probability of being one."""
    if not claims:
        return None
    return float(np.average([c.support for c in claims], weights=[c.probability for c in claims]))


@cache
def packaged_finder() -> Finder:
    """The finder fitted on the shared part of SubstanReview, as it is packaged."""
    place = Path(__file__).with_name("substantiation.json")
    return Finder.from_json(place.read_text(encoding="utf-8"))


@dataclass(frozen=True, slots=True)
class Group:
    """A claim as clauses `first` to `last`."""

    first: int
    last: int
    polarity: Polarity


def kinds_of(chances: Floats) -> list[str]:
    """The kind of every clause: the likeliest, with "none" discounted."""
    columns = [chances[:, list(rows)].sum(1) for _, rows in _KINDS]
    columns[0] = columns[0] * _NONE_WEIGHT
    return [_KINDS[i][0] for i in np.stack(columns, 1).argmax(1)]


def runs_of(kinds: Sequence[str]) -> list[tuple[int, int, str]]:
    """The stretches of one kind as (first, last, kind), without "none"."""
    found: list[tuple[int, int, str]] = []
    for i, kind in enumerate(kinds):
        if found and kind == found[-1][2] and found[-1][1] == i - 1:
            found[-1] = (found[-1][0], i, kind)
        else:
            found.append((i, i, kind))
    return [run for run in found if run[2] != "none"]


def claims_among(kinds: Sequence[str], chances: Floats, clauses: Sequence[Clause]) -> list[Group]:
    """The claims: runs of one polarity, cut at sentences and where a new one rather begins."""
    found: list[Group] = []
    for first, last, kind in runs_of(kinds):
        if not kind.startswith("claim-"):
            continue
        polarity: Polarity = "positive" if kind == "claim-positive" else "negative"
        begin = 1 if polarity == "positive" else 3
        starts = [first]
        for i in range(first + 1, last + 1):
            new = clauses[i].sentence != clauses[i - 1].sentence
            if new or chances[i, begin] > chances[i, begin + 1]:
                starts.append(i)
        ends = [s - 1 for s in starts[1:]] + [last]
        found += [Group(a, b, polarity) for a, b in zip(starts, ends, strict=True)]
    return found


def linked_evidence(
    kinds: Sequence[str], groups: Sequence[Group]
) -> list[tuple[tuple[int, int], ...]]:
    """For each claim, the stretches of evidence (first, last) that belong to it.

    A stretch belongs to the nearest claim of its polarity, rather to one before it than
    to one after it. On the annotators' own spans this finds their links: the share of
    supported claims correlates .98 with theirs over reviews.
    """
    linked: list[list[tuple[int, int]]] = [[] for _ in groups]
    for first, last, kind in runs_of(kinds):
        if not kind.startswith("evidence-"):
            continue
        near = [
            (first - g.last - 0.5 if first > g.last else g.first - last + 1.0, i)
            for i, g in enumerate(groups)
            if g.polarity == kind.removeprefix("evidence-")
        ]
        if near and min(near)[0] < _REACH:
            linked[min(near)[1]].append((first, last))
    return [tuple(stretches) for stretches in linked]


_SUPPORT = ("negative", "evidence_after", "evidence_before", "clauses", "claims", "length")


def support_features(
    group: Group, chances: Floats, clauses: Sequence[Clause], claims: int
) -> list[float]:
    """What the logistic rule sees of a claim, by `_SUPPORT`; logarithms keep long reviews apart."""
    column = 6 if group.polarity == "positive" else 7
    after = chances[group.last + 1 : group.last + 1 + _REACH, column]
    before = chances[max(0, group.first - 3) : group.first, column]
    return [
        float(group.polarity == "negative"),
        math.log1p(float(after.sum())),
        math.log1p(float(before.sum())),
        math.log1p(len(clauses)),
        math.log1p(claims),
        math.log1p(group.last - group.first),
    ]
