"""What the analyst tells of a run: shortlist, advice effects, controls, flags, agreement.

Plain data out, ready for JSON, pages and packs. Every preference is told next to what
else would explain it: length, place, who wrote it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from repertory.simulators.statistics import Estimate, correlation, pearson, spearman

from .candidates import Candidate
from .comparing import Pair, consistency, first_share
from .ranking import Ranking, cyclic_share, rank, weight_sensitivity
from .scenario import Advice, Rating, Scenario

Floats = npt.NDArray[np.float64]

# A preference is "mostly length" when length alone orders the candidates this well.
MOSTLY = 0.7
# One audience is strongly against a candidate that the others would take.
_AGAINST = -1.0
_SHORTLIST = 3
_BASELINES = ("zero-shot", "chain-of-thought", "plain", "draft")


@dataclass(frozen=True, slots=True)
class Heard:
    """What one audience said, and what heard it.

    words: a sentence of the audience per candidate, by position, where the judge has one.
    ratings: one per candidate on the judge's scale, where candidates were rated.
    """

    audience: str
    weight: float
    pairs: tuple[Pair, ...]
    judge: str
    words: Mapping[int, str]
    ratings: tuple[float, ...] = ()
    questions: int = 0


def analyze(
    scenario: Scenario,
    advice: Sequence[Advice],
    candidates: Sequence[Candidate],
    heard: Sequence[Heard],
) -> dict[str, Any]:
    """All that is told of one run, as JSON data."""
    n = len(candidates)
    weights = {each.audience: each.weight for each in heard}
    ranking = rank([each.pairs for each in heard], list(weights.values()), n)
    return {
        "verdict": ranking.verdict,
        "why": ranking.why,
        "winner": candidates[ranking.order[0]].id if ranking.verdict == "winner" else None,
        "tie_set": [candidates[i].id for i in ranking.ties],
        "shortlist": [candidates[i].id for i in shortlist(candidates, ranking)],
        "candidates": [_told(i, candidates, heard, ranking) for i in ranking.order],
        "audiences": [_told_audience(each, n) for each in heard],
        "advice": advice_effects(advice, candidates, ranking),
        "controls": controls(candidates, heard, ranking),
        "agreement": agreement(scenario.ratings, candidates, heard, ranking),
        "risks": risks(candidates, heard, ranking),
    }


def shortlist(candidates: Sequence[Candidate], ranking: Ranking) -> list[int]:
    """The first three that differ in more than wording: of each set of advice the best only."""
    found: dict[tuple[str, tuple[int, ...]], int] = {}
    for i in ranking.order:
        each = candidates[i]
        # What was not made from advice stands for itself.
        kind = each.id if each.origin != "advice" else ""
        found.setdefault((kind, each.advice), i)
    return list(found.values())[:_SHORTLIST]


def _told(
    i: int, candidates: Sequence[Candidate], heard: Sequence[Heard], ranking: Ranking
) -> dict[str, Any]:
    candidate = candidates[i]
    return {
        **candidate.model_dump(mode="json", exclude={"flags"}),
        "title": candidate.title,
        "flags": [str(flag) for flag in candidate.flags],
        "score": _number(ranking.overall[i]),
        "low": _number(ranking.low[i]),
        "high": _number(ranking.high[i]),
        "by_audience": {
            each.audience: _number(ranking.by_audience[k, i]) for k, each in enumerate(heard)
        },
        "words": {each.audience: each.words[i] for each in heard if i in each.words},
    }


def _told_audience(heard: Heard, n: int) -> dict[str, Any]:
    asked = [pair for pair in heard.pairs if not pair.inferred]
    return {
        "name": heard.audience,
        "weight": heard.weight,
        "judge": heard.judge,
        "pairs": len(asked),
        "questions": heard.questions,
        "position_consistency": _number(consistency(heard.pairs)),
        "first_share": _number(first_share(heard.pairs)),
        "cyclic_share": _number(cyclic_share(heard.pairs, n)),
        "ratings": [_number(each) for each in heard.ratings],
    }


def advice_effects(
    advice: Sequence[Advice], candidates: Sequence[Candidate], ranking: Ranking
) -> list[dict[str, Any]]:
    """What each piece adds: score with less score without, matched on the rest of the advice.

    A candidate of {i, j} is matched with that of {j} of the same number in its set; one
    of {i} with the draft, where the draft is what it was made from. The interval draws
    the matches anew in every draw of the scores, so that it has the audiences' doubt in it.
    """
    rng = np.random.default_rng(0)
    place = {
        (each.advice, each.id.rpartition("/")[2]): k
        for k, each in enumerate(candidates)
        if each.origin == "advice"
    }
    draft = next((k for k, each in enumerate(candidates) if each.origin == "draft"), None)
    told = []
    for i, piece in enumerate(advice):
        matches = []
        for (subset, variant), k in place.items():
            if i not in subset:
                continue
            rest = tuple(j for j in subset if j != i)
            match = place.get((rest, variant))
            if not rest and candidates[k].writer == "sentences":
                match = draft
            if match is not None:
                matches.append((k, match))
        effect = _effect(matches, ranking, rng)
        told.append(
            {**piece.model_dump(mode="json", exclude={"sentences"}), "measured": effect.as_dict()}
        )
    return told


def _effect(
    matches: Sequence[tuple[int, int]], ranking: Ranking, rng: np.random.Generator
) -> Estimate:
    if not matches:
        return Estimate(float("nan"), float("nan"), float("nan"), 0)
    with_it, without = np.array(matches, np.intp).T
    gaps = ranking.drawn[:, with_it] - ranking.drawn[:, without]
    rows = rng.integers(0, len(matches), gaps.shape)
    low, high = np.quantile(np.take_along_axis(gaps, rows, 1).mean(1), [0.025, 0.975])
    value = float((ranking.overall[with_it] - ranking.overall[without]).mean())
    return Estimate(value, min(float(low), value), max(float(high), value), len(matches))


def controls(
    candidates: Sequence[Candidate], heard: Sequence[Heard], ranking: Ranking
) -> dict[str, Any]:
    """What else might explain the scores, in figures and in plain sentences."""
    lengths = np.array([len(each.text) for each in candidates], float)
    baseline = np.array([each.origin in _BASELINES for each in candidates], float)
    with_length = correlation(ranking.overall, lengths, draws=400)
    with_origin = correlation(ranking.overall, baseline, kind="pearson", draws=400)
    adjusted = _without_trend(ranking.overall, np.log(np.maximum(lengths, 1)))
    pairs = [pair for each in heard for pair in each.pairs]
    weights = {each.audience: each.weight for each in heard}
    moved = weight_sensitivity(ranking.by_audience, weights)
    cycles = [cyclic_share(each.pairs, len(candidates)) for each in heard]
    finite = [each for each in cycles if np.isfinite(each)]
    found = {
        "length": with_length.as_dict(),
        "winner_without_length": candidates[int(np.argmax(adjusted))].id,
        "longest": candidates[int(np.argmax(lengths))].id,
        "baseline_origin": with_origin.as_dict(),
        "by_origin": _by_origin(candidates, ranking.overall),
        "position_consistency": _number(consistency(pairs)),
        "first_share": _number(first_share(pairs)),
        "cyclic_share": _number(float(np.mean(finite)) if finite else float("nan")),
        "weights": {case: candidates[i].id for case, i in moved.items()},
    }
    best = candidates[ranking.order[0]].id
    titles = {each.id: each.title for each in candidates}
    return {**found, "sentences": _sentences(found, best, titles, with_length)}


def _sentences(
    found: Mapping[str, Any], first: str, titles: Mapping[str, str], length: Estimate
) -> list[str]:
    """The controls in plain language; what cannot be told is said so."""
    said = []
    best = f"“{titles[first]}”"
    r = length.value
    if not np.isfinite(r):
        said.append("Length: cannot be told, since the scores or the lengths do not vary.")
    elif abs(r) >= MOSTLY:
        longer = "longer" if r > 0 else "shorter"
        said.append(
            f"Length: the preference for {best} is mostly its length; {longer} candidates won"
            f" (rank correlation {r:.2f})."
        )
    else:
        said.append(
            f"Length: it explains little of the preference (rank correlation {r:.2f},"
            f" from {length.low:.2f} to {length.high:.2f})."
        )
    without = found["winner_without_length"]
    said.append(
        f"Length taken away: {best} stays first."
        if without == first
        else f"Length taken away: “{titles[without]}” would be first, not {best}."
    )
    steady, shown = found["position_consistency"], found["first_share"]
    if steady is None:
        said.append("Place: each candidate was judged by itself, so its place could not matter.")
    else:
        said.append(
            f"Place: {steady:.0%} of the pairs got the same answer in both orders"
            + (
                f"; who was shown first won {shown:.0%} of the answers."
                if shown is not None
                else "."
            )
        )
    cycles = found["cyclic_share"]
    said.append(
        "Contradictions: there are no three candidates with a winner in every pair."
        if cycles is None
        else f"Contradictions: {cycles:.1%} of the triples go in a circle (by lot: 25%)."
    )
    others = sorted({case for case, name in found["weights"].items() if name != first})
    said.append(
        f"Weights: {best} stays first under equal weights and when any weight changes by half."
        if not others
        else f"Weights: another candidate would be first with {', '.join(others)}."
    )
    return said


def agreement(
    ratings: Sequence[Rating],
    candidates: Sequence[Candidate],
    heard: Sequence[Heard],
    ranking: Ranking,
) -> dict[str, Any] | None:
    """How the scores agree with people's ratings, beside the length control; None without any.

    Ratings of one audience are compared with its scores, others with the overall ones.
    noise_corrected: Pearson's r over the root of the raters' split-half reliability.
    pick_rating, baseline_rating: people's mean of the best scored candidate that is no
    baseline, and of the baselines and the draft; None where no such one was rated.
    """
    place = {each.id: i for i, each in enumerate(candidates)}
    row = {each.audience: k for k, each in enumerate(heard)}
    rated = [each for each in ratings if each.candidate in place]
    if len(rated) < 3:
        return None
    scores = [
        ranking.by_audience[row[each.audience], place[each.candidate]]
        if each.audience
        else ranking.overall[place[each.candidate]]
        for each in rated
    ]
    people = [float(np.mean(each.ratings)) for each in rated]
    lengths = [len(candidates[place[each.candidate]].text) for each in rated]
    reliability = _reliability(rated)
    r = pearson(scores, people)
    corrected = r / np.sqrt(reliability) if reliability > 0 else float("nan")
    plain = [candidates[place[each.candidate]].origin in _BASELINES for each in rated]
    picked = [(s, p) for s, p, base in zip(scores, people, plain, strict=True) if not base]
    beside = [p for p, base in zip(people, plain, strict=True) if base]
    return {
        "rated": len(rated),
        "pearson": correlation(scores, people, kind="pearson").as_dict(),
        "spearman": correlation(scores, people).as_dict(),
        "length_pearson": correlation(lengths, people, kind="pearson").as_dict(),
        "length_spearman": correlation(lengths, people).as_dict(),
        "reliability": _number(reliability),
        "noise_corrected": _number(float(corrected)),
        "best_rated": rated[int(np.argmax(people))].candidate,
        "best_scored": rated[int(np.argmax(scores))].candidate,
        "pick_rating": max(picked)[1] if picked else None,
        "baseline_rating": float(np.mean(beside)) if beside else None,
    }


def _reliability(rated: Sequence[Rating], draws: int = 50) -> float:
    """Split-half over raters, stepped up by Spearman–Brown; NaN with fewer than two of them."""
    if min(len(each.ratings) for each in rated) < 2:
        return float("nan")
    rng = np.random.default_rng(0)
    found = []
    for _ in range(draws):
        halves = []
        for each in rated:
            order = rng.permutation(len(each.ratings))
            values, cut = np.array(each.ratings)[order], len(order) // 2
            halves.append((values[:cut].mean(), values[cut:].mean()))
        found.append(pearson(*np.array(halves).T))
    half = float(np.mean([r for r in found if np.isfinite(r)] or [float("nan")]))
    return 2 * half / (1 + half) if half > -1 else float("nan")


def risks(
    candidates: Sequence[Candidate], heard: Sequence[Heard], ranking: Ranking
) -> list[dict[str, str]]:
    """What a person should look at before using one of the shortlist."""
    found = []
    for i in shortlist(candidates, ranking):
        candidate = candidates[i]
        found += [{"candidate": candidate.id, "risk": str(flag)} for flag in candidate.flags]
        for k, each in enumerate(heard):
            if ranking.by_audience[k, i] <= _AGAINST:
                sentence = f"{each.audience} is strongly against it"
                found.append({"candidate": candidate.id, "risk": sentence})
    lengths = [len(each.text) for each in candidates]
    if len(candidates) > 2 and abs(spearman(ranking.overall, lengths)) >= MOSTLY:
        sentence = "the preference is mostly its length"
        found.append({"candidate": candidates[ranking.order[0]].id, "risk": sentence})
    return found


def _by_origin(candidates: Sequence[Candidate], scores: Floats) -> dict[str, float | None]:
    origins = list(dict.fromkeys(each.origin for each in candidates))
    return {
        origin: _number(
            float(
                np.mean([s for s, c in zip(scores, candidates, strict=True) if c.origin == origin])
            )
        )
        for origin in origins
    }


def _without_trend(scores: Floats, x: Floats) -> Floats:
    """The scores less their straight-line trend over x."""
    spread = x - x.mean()
    scale = float(spread @ spread)
    trend = (float(spread @ scores) / scale) * spread if scale > 0 else np.zeros(len(x))
    left: Floats = scores - trend
    return left


def _number(value: float | np.floating[Any]) -> float | None:
    """A number for JSON, to six digits; None where there is none."""
    return float(f"{float(value):.6g}") if np.isfinite(value) else None
