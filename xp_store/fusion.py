"""From two ranked lists to an answer: fused, held against the evidence, diverse, within a budget.

The arms are fused by reciprocal rank (Cormack et al. 2009) with k = 60; `Hit.score` is
that sum over its greatest possible value. Ranks say which pack is nearest, not whether
it is near. So a pack must also show evidence: a cosine or an overlap of informative
words above a floor. With none above it, recall returns nothing. What remains is chosen
by maximal marginal relevance (Carbonell and Goldstein 1998), so that one story told
five times does not fill an answer.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

import numpy as np
import orjson

from .connection import Connection
from .contradictions import contradicting
from .floor import Floor
from .hits import Candidate, Fate, Hit, Reasons
from .index import Vectors
from .recall import Arms, Term
from .scope import Scope, marks, trust_of
from .tables import PACK_COLUMNS, Pack, from_row, moment
from .trust import TrustRule
from .vectors import VectorCache
from .words import words

K = 60
_FEW = 16
_CHARACTERS_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class Wants:
    """What the caller wants of the answer; see `PackStore.recall`."""

    limit: int
    now: datetime
    min_score: float = 0.0
    tokens: int | None = None
    diversity: float = 0.2


@dataclass(frozen=True, slots=True)
class _Evidence:
    matched: tuple[str, ...]
    overlap: float
    cosine: float | None
    tokens: int
    id: str
    goal: str
    valid_from: str
    valid_to: str | None

    def suffices(self, floor: Floor) -> bool:
        near = self.cosine is not None and self.cosine >= floor.cosine
        return near or self.overlap >= floor.overlap


def fuse(
    connection: Connection,
    arms: Arms,
    cosines: dict[int, float],
    vector: Vectors | None,
    cache: VectorCache,
    floor: Floor,
    wants: Wants,
    rule: TrustRule,
    scope: Scope,
) -> tuple[list[Hit], list[Candidate]]:
    """Join the arms and give the hits with their reasons, and what became of every candidate."""
    ranks = (_ranks(arms.text), _ranks(cosines))
    fused = {
        row: sum(1.0 / (K + ranked[row]) for ranked in ranks if row in ranked)
        for row in ranks[0] | ranks[1]
    }
    score = {row: fused[row] * (K + 1) / 2 for row in fused}
    best = [row for row in fused if score[row] >= wants.min_score]
    fates: dict[int, Fate] = dict.fromkeys(fused.keys() - best, "low score")
    shown: dict[int, _Evidence] = {}
    trust: dict[int, float] = {}
    enough = 2 * wants.limit
    # Most questions are answered by the first few, so packs are looked at a few at a time.
    for rows in _few(best, fused):
        trust |= trust_of(connection, rows, rule, wants.now)
        there = [row for row in rows if row in trust]
        some = sorted(there, key=lambda row: (-fused[row], -trust[row], row))
        seen = dict(_evidence(connection, some, arms.terms, cosines, vector, cache))
        for row in some:
            shown[row] = seen[row]
            if not seen[row].suffices(floor):
                fates[row] = "no evidence"
        if sum(row not in fates for row in shown) >= enough:
            break
    sound = [row for row in shown if row not in fates]
    chosen = _chosen(connection, sound, score, shown, cache, wants, fates)
    opponents = contradicting(connection, chosen, scope) if chosen else {}
    absent = sorted({each for pair in opponents.values() for each in pair} - set(chosen))
    if absent:
        # What contradicts a hit is shown with it, whatever its own rank.
        shown |= dict(_evidence(connection, absent, arms.terms, cosines, vector, cache))
        trust |= trust_of(connection, absent, rule, wants.now)
        for row in absent:
            score[row] = fused.setdefault(row, 0.0) * (K + 1) / 2
            fates[row] = "chosen"
    chosen = _paired(chosen, opponents, lambda row: (trust[row], shown[row].valid_from))
    packs = {pack.row_id: pack for pack in load_packs(connection, chosen)}

    against: dict[int, list[int]] = {}
    for row, pair in opponents.items():
        for each in pair:
            against.setdefault(row, []).append(each)
            if each in absent:
                against.setdefault(each, []).append(row)

    def reasons(row: int) -> Reasons:
        evidence = shown[row]
        return Reasons(
            text_rank=ranks[0].get(row),
            vector_rank=ranks[1].get(row),
            matched=evidence.matched,
            overlap=evidence.overlap,
            cosine=evidence.cosine,
            fused=fused[row],
            trust=trust[row],
            valid_from=evidence.valid_from,
            valid_to=evidence.valid_to,
            contradicts=tuple(shown[each].id for each in against.get(row, ())),
        )

    hits = [Hit(packs[row], score[row], reasons(row)) for row in chosen]
    candidates = [
        Candidate(shown[row].id, shown[row].goal, score[row], reasons(row), fates[row])
        for row in shown
    ]
    return hits, candidates


def _few(rows: Sequence[int], fused: Mapping[int, float]) -> Iterator[list[int]]:
    """The best rows first, some at a time; those that fit alike stay together."""
    some: list[int] = []
    for _, alike in groupby(sorted(rows, key=lambda row: -fused[row]), key=fused.__getitem__):
        some += alike
        if len(some) >= _FEW:
            yield some
            some = []
    if some:
        yield some


def _paired(
    chosen: Sequence[int],
    opponents: Mapping[int, Sequence[int]],
    weight: Callable[[int], tuple[float, str]],
) -> list[int]:
    """The chosen, each with its opponents behind it, the most trusted and the newest first."""
    placed: list[int] = []
    for row in chosen:
        if row not in placed:
            rivals = [each for each in opponents.get(row, ()) if each not in placed]
            placed += sorted([row, *rivals], key=weight, reverse=True) if rivals else [row]
    return placed


def _chosen(
    connection: Connection,
    sound: Sequence[int],
    score: dict[int, float],
    shown: dict[int, _Evidence],
    cache: VectorCache,
    wants: Wants,
    fates: dict[int, Fate],
) -> list[int]:
    """Maximal marginal relevance over `sound`, whose first is always the first."""
    alike: dict[tuple[int, int], float] = {}
    if wants.diversity > 0 and len(sound) > 1:
        held, matrix = cache.between(connection, np.array(sound, dtype=np.int64))
        numbers = held.tolist()
        alike = {
            (a, b): float(matrix[i, j])
            for i, a in enumerate(numbers)
            for j, b in enumerate(numbers)
        }
    left = list(sound)
    chosen: list[int] = []
    room = wants.tokens
    # The nearest of the chosen, kept as the choice grows.
    repeats = dict.fromkeys(left, 0.0)
    while left and len(chosen) < wants.limit:
        row = max(
            left,
            key=lambda each: (
                (1 - wants.diversity) * score[each] - wants.diversity * repeats[each],
                -left.index(each),
            ),
        )
        left.remove(row)
        if room is not None and shown[row].tokens > room:
            fates[row] = "over budget"
            continue
        chosen.append(row)
        fates[row] = "chosen"
        if room is not None:
            room -= shown[row].tokens
        for each in left:
            repeats[each] = max(repeats[each], alike.get((row, each), 0.0))
    for row in left:
        fates[row] = "repeats" if repeats[row] > score[row] else "beyond the limit"
    return chosen


def _evidence(
    connection: Connection,
    rows: Sequence[int],
    terms: Sequence[Term],
    cosines: dict[int, float],
    vector: Vectors | None,
    cache: VectorCache,
) -> Iterator[tuple[int, _Evidence]]:
    known = dict(cosines)
    unknown = [row for row in rows if row not in known]
    if vector is not None and unknown:
        numbers, found = cache.cosines(connection, np.array(unknown, dtype=np.int64), vector)
        known |= dict(zip(numbers.tolist(), found.tolist(), strict=True))
    total = sum(term.weight for term in terms)
    for row, pack, goal, situation, why, how, valid_from, valid_to in connection.execute(
        "SELECT row_id, id, goal, situation, why, length(how), valid_from, valid_to FROM xp_pack"
        f" WHERE row_id IN ({marks(rows)})",
        rows,
    ):
        text = "\n".join([goal, situation, *(claim["text"] for claim in orjson.loads(why))])
        held = set(words(text))
        matched = [term for term in terms if term.word in held]
        yield (
            row,
            _Evidence(
                tuple(term.word for term in matched),
                sum(term.weight for term in matched) / total if total else 0.0,
                known.get(row),
                # As long as it is in a prompt: what was done and what came of it, too.
                -(-(len(text) + how) // _CHARACTERS_PER_TOKEN),
                pack,
                goal,
                moment(valid_from).isoformat(),
                None if valid_to is None else moment(valid_to).isoformat(),
            ),
        )


def _ranks(scores: dict[int, float]) -> dict[int, int]:
    # Equals share a rank, so that trust can decide between them.
    ranks: dict[int, int] = {}
    rank, last = 0, None
    for place, row in enumerate(sorted(scores, key=lambda row: -scores[row]), start=1):
        score = round(scores[row], 6)
        if score != last:
            rank, last = place, score
        ranks[row] = rank
    return ranks


def load_packs(connection: Connection, rows: Sequence[int]) -> list[Pack]:
    """The packs of these rows, in no order."""
    cursor = connection.execute(
        f"SELECT {', '.join(PACK_COLUMNS)} FROM xp_pack WHERE row_id IN ({marks(rows)})", rows
    )
    return [from_row(Pack, row) for row in cursor]
