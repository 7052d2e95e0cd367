"""Comparisons of candidates before one audience: every pair twice, or as few as will do.

A `Bench` answers single questions (which of two, shown in this order); what is here
decides which questions are asked and what both orders together say: the same winner
twice, or a tie. With a budget the candidates are merge-sorted, which takes at most
n log2 n pairs and, with a judge that does not contradict itself, finds the same order as
all pairs do; what was not asked follows from it by adding logits along the order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from math import exp, log
from typing import Any, Literal, Protocol

Winner = Literal["first", "second", "tie"]

_SUREST = 0.99
_BY_LETTER: dict[str, Winner] = {"f": "first", "s": "second", "t": "tie"}


@dataclass(frozen=True, slots=True)
class Choice:
    """What was answered to one question: the winner by place, and how likely that is right.

    confidence: ½ to 1, as the judge has it.
    """

    winner: Winner
    confidence: float = 1.0
    reason: str = ""


class Bench(Protocol):
    """One audience with the candidates before it, numbered from 0."""

    async def compare(self, first: int, second: int) -> Choice:
        """Which of two would move this audience more, with `first` shown first."""
        ...

    async def rate(self, candidate: int) -> float:
        """How well a candidate would do with this audience, on the judge's own scale."""
        ...


@dataclass(frozen=True, slots=True)
class Pair:
    """What an audience said of candidates a < b.

    share: 1 for a, 0 for b, ½ for a tie. consistent: whether both orders named the
    same; None where only one thing was asked. inferred: not asked, follows from the order.
    answers: what was said with a shown first, and with b shown first, by place.
    """

    a: int
    b: int
    share: float
    confidence: float = 1.0
    consistent: bool | None = None
    inferred: bool = False
    answers: tuple[Winner, ...] = ()
    reason: str = ""

    def wire(self) -> list[Any]:
        """The pair as a JSON list; `parse` reads it back. A run sends thousands."""
        answers = "".join(word[0] for word in self.answers)
        sure = round(self.confidence, 4)
        known = None if self.consistent is None else int(self.consistent)
        return [self.a, self.b, self.share, sure, known, int(self.inferred), answers, self.reason]

    @classmethod
    def parse(cls, data: Sequence[Any]) -> "Pair":
        """Read what `wire` wrote."""
        a, b, share, sure, known, inferred, answers, reason = data
        said: tuple[Winner, ...] = tuple(_BY_LETTER[letter] for letter in answers)
        consistent = None if known is None else bool(known)
        return cls(int(a), int(b), share, sure, consistent, bool(inferred), said, reason)


async def both_orders(bench: Bench, a: int, b: int) -> Pair:
    """Ask about a pair in both orders; two different winners are a tie."""
    there, back = await bench.compare(a, b), await bench.compare(b, a)
    said: tuple[Winner, ...] = (there.winner, back.winner)
    flipped: dict[Winner, Winner] = {"first": "second", "second": "first", "tie": "tie"}
    consistent = there.winner == flipped[back.winner]
    share = {"first": 1.0, "second": 0.0, "tie": 0.5}[there.winner] if consistent else 0.5
    confidence = (there.confidence + back.confidence) / 2 if share != 0.5 else 0.5
    reason = there.reason or back.reason
    if a > b:
        a, b, share = b, a, 1.0 - share
        said = said[::-1]
    return Pair(a, b, share, confidence, consistent, answers=said, reason=reason)


async def all_pairs(bench: Bench, n: int) -> list[Pair]:
    """Every pair in both orders: n(n-1)/2 pairs."""
    return [await both_orders(bench, a, b) for a, b in combinations(range(n), 2)]


async def sorted_pairs(bench: Bench, n: int) -> list[Pair]:
    """At most n log2 n pairs in both orders, by merge sort, and the others inferred."""
    asked: dict[tuple[int, int], Pair] = {}
    runs = [[i] for i in range(n)]
    while len(runs) > 1:
        merged = [
            await _merge(bench, runs[i], runs[i + 1], asked) if i + 1 < len(runs) else runs[i]
            for i in range(0, len(runs), 2)
        ]
        runs = merged
    return _completed(runs[0] if runs else [], asked)


async def _merge(
    bench: Bench, left: list[int], right: list[int], asked: dict[tuple[int, int], Pair]
) -> list[int]:
    out: list[int] = []
    i = j = 0
    while i < len(left) and j < len(right):
        a, b = left[i], right[j]
        pair = asked[min(a, b), max(a, b)] = await both_orders(bench, a, b)
        a_first = pair.share >= 0.5 if pair.a == a else pair.share <= 0.5
        out.append(a if a_first else b)
        i, j = (i + 1, j) if a_first else (i, j + 1)
    return [*out, *left[i:], *right[j:]]


def _completed(order: Sequence[int], asked: dict[tuple[int, int], Pair]) -> list[Pair]:
    """The asked pairs and, for all others, what the order says: logits add along it."""
    heights = [0.0]
    for better, worse in pairwise(order):
        pair = asked[min(better, worse), max(better, worse)]
        heights.append(heights[-1] - (0.0 if pair.share == 0.5 else _logit(pair.confidence)))
    found = []
    for i, j in combinations(range(len(order)), 2):
        a, b = min(order[i], order[j]), max(order[i], order[j])
        known = asked.get((a, b))
        if known is not None:
            found.append(known)
            continue
        gap = heights[i] - heights[j]
        share = 0.5 if gap == 0 else float(order[i] == a)
        confidence = min(_SUREST, 1 / (1 + exp(-gap)))
        found.append(Pair(a, b, share, confidence if gap else 0.5, None, True))
    return sorted(found, key=lambda pair: (pair.a, pair.b))


def _logit(confidence: float) -> float:
    inside = min(max(confidence, 1 - _SUREST), _SUREST)
    return log(inside / (1 - inside))


async def rated_pairs(bench: Bench, n: int, tie: float = 0.0) -> tuple[list[float], list[Pair]]:
    """Each candidate rated once, and the pairs that follow; ratings within `tie` are equal."""
    ratings = [await bench.rate(i) for i in range(n)]
    pairs = []
    for a, b in combinations(range(n), 2):
        gap = ratings[a] - ratings[b]
        share = 0.5 if abs(gap) <= tie else float(gap > 0)
        pairs.append(Pair(a, b, share, 0.5 if share == 0.5 else 1 / (1 + exp(-min(abs(gap), 30)))))
    return ratings, pairs


def consistency(pairs: Sequence[Pair]) -> float:
    """Position consistency: the share of asked pairs with the same answer in both orders.

    NaN where no pair was asked in both orders.
    """
    known = [pair.consistent for pair in pairs if pair.consistent is not None]
    return sum(known) / len(known) if known else float("nan")


def first_share(pairs: Sequence[Pair]) -> float:
    """How often whoever was shown first won, of the answers that named one; ½ is no bias."""
    named = [word for pair in pairs for word in pair.answers if word != "tie"]
    return named.count("first") / len(named) if named else float("nan")
