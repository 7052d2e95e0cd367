"""Irrational patterns in choices: prospect theory, expected values, anchors, frames, orders, circles.

A choice log is JSON lines. Each row has an `actor` and is a gamble (`a` and `b`, lists
of [outcome, probability], with `choice` "a" or "b"), a preference (`a` and `b`, words,
with `choice`), or an estimate (`question`, `anchor`, `estimate`). Rows of one `problem`
that differ in `order` or `frame` are the same question asked otherwise.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from repertory.simulators.errors import SimulatorInputError
from repertory.simulators.statistics import Estimate, bootstrap, wilson

from .measures import Values
from .profiles import Counts

Gamble = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class GambleChoice:
    """One choice between two gambles; `picked` is 0 for `a` and 1 for `b`."""

    actor: str
    a: Gamble
    b: Gamble
    picked: int
    problem: str = ""
    order: str = ""
    frame: str = ""


@dataclass(frozen=True)
class Preference:
    """One choice between two named things."""

    actor: str
    winner: str
    loser: str


@dataclass(frozen=True)
class AnchoredEstimate:
    """A number that was given after another number had been named."""

    actor: str
    question: str
    anchor: float
    estimate: float


@dataclass
class ChoiceLog:
    """All choices of a log, by kind."""

    gambles: list[GambleChoice]
    preferences: list[Preference]
    estimates: list[AnchoredEstimate]
    notes: list[str]

    @property
    def actors(self) -> list[str]:
        rows: list[GambleChoice | Preference | AnchoredEstimate]
        rows = [*self.gambles, *self.preferences, *self.estimates]
        return sorted({row.actor for row in rows})

    def of(self, actor: str) -> "ChoiceLog":
        return ChoiceLog(
            [g for g in self.gambles if g.actor == actor],
            [p for p in self.preferences if p.actor == actor],
            [e for e in self.estimates if e.actor == actor],
            [],
        )


def load_choices(path: Path) -> ChoiceLog:
    """Read a choice log; rows that are none are counted in its notes.

    Raises:
        SimulatorInputError: The file is missing, or holds no choice.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise SimulatorInputError(f"{path}: not readable ({error})", file=str(path)) from None
    log, bad = ChoiceLog([], [], [], []), 0
    for line in lines:
        if line.strip():
            try:
                add_choice(log, orjson.loads(line))
            except (ValueError, KeyError, TypeError):
                bad += 1
    if bad:
        log.notes.append(f"{path.name}: {bad} rows are no choice and were left out")
    if not log.actors:
        raise SimulatorInputError(
            f"{path}: no choice in it; a row is JSON with actor, and a, b, choice or question,"
            " anchor, estimate",
            file=str(path),
        )
    return log


def add_choice(log: ChoiceLog, row: Mapping[str, Any]) -> None:
    """Put one row into the log.

    Raises:
        KeyError, TypeError, ValueError: It is no choice.
    """
    actor = str(row["actor"])
    if "estimate" in row:
        log.estimates.append(
            AnchoredEstimate(
                actor, str(row["question"]), float(row["anchor"]), float(row["estimate"])
            )
        )
        return
    picked = {"a": 0, "b": 1}[str(row["choice"]).strip().lower()]
    if isinstance(row["a"], str):
        things = (row["a"], str(row["b"]))
        log.preferences.append(Preference(actor, things[picked], things[1 - picked]))
        return
    a, b = (_gamble(row[side]) for side in ("a", "b"))
    told = [str(row.get(key, "")) for key in ("problem", "order", "frame")]
    log.gambles.append(GambleChoice(actor, a, b, picked, *told))


def _gamble(value: Any) -> Gamble:
    pairs = tuple((float(x), float(p)) for x, p in value)
    total = sum(p for _, p in pairs)
    if not pairs or any(p < 0 for _, p in pairs) or abs(total - 1) > 1e-3:
        raise ValueError(f"the probabilities of a gamble sum to {total:g}, not to 1")
    return pairs


# -- expected values ---------------------------------------------------------------


def expected(gamble: Gamble) -> float:
    """The expected value of a gamble."""
    return sum(x * p for x, p in gamble)


def ev_consistency(choices: Sequence[GambleChoice]) -> Estimate:
    """The share of choices of the gamble with the higher expected value, where one is higher."""
    better = _better(choices)
    return wilson(int(better.sum()), len(better))


def _better(choices: Sequence[GambleChoice]) -> npt.NDArray[np.bool_]:
    told = []
    for c in choices:
        gap = expected(c.b) - expected(c.a)
        if abs(gap) > 1e-9:
            told.append((gap > 0) == (c.picked == 1))
    return np.array(told, dtype=bool)


# -- cumulative prospect theory ------------------------------------------------------


@dataclass(frozen=True)
class Prospect:
    """Parameters of cumulative prospect theory (Tversky and Kahneman 1992).

    alpha, beta: curvature of gains and losses. lambda_: loss aversion. gamma: weighting
    of probabilities, 1 for none. temperature: of the softmax over values, in the unit
    of values; small is decided.
    """

    alpha: float
    beta: float
    lambda_: float
    gamma: float
    temperature: float


def gamble_arrays(choices: Sequence[GambleChoice]) -> tuple[Counts, Counts, Counts, Counts]:
    """Outcomes and probabilities of all `a` and all `b`, padded with zeros: four of (n, k)."""
    k = max(max(len(c.a), len(c.b)) for c in choices)
    found = []
    for side in ("a", "b"):
        for place in (0, 1):
            rows = [[pair[place] for pair in getattr(c, side)] for c in choices]
            found.append(np.array([row + [0.0] * (k - len(row)) for row in rows]))
    return found[0], found[1], found[2], found[3]


def prospect_value(x: Counts, p: Counts, by: Prospect) -> Counts:
    """The value of gambles, (n, k) -> (n,), by rank-dependent weights of gains and of losses."""
    return _side(np.maximum(x, 0), p * (x > 0), by.alpha, by.gamma) - by.lambda_ * _side(
        np.maximum(-x, 0), p * (x < 0), by.beta, by.gamma
    )


def _side(size: Counts, p: Counts, power: float, gamma: float) -> Counts:
    order = np.argsort(-size, axis=1, kind="stable")
    size, p = np.take_along_axis(size, order, 1), np.take_along_axis(p, order, 1)
    reached = np.clip(np.cumsum(p, axis=1), 0.0, 1.0)
    weight = _weighted(reached, gamma)
    weight = np.diff(weight, axis=1, prepend=0.0)
    return np.asarray((weight * size**power).sum(1))


def _weighted(p: Counts, gamma: float) -> Counts:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(p**gamma / (p**gamma + (1 - p) ** gamma) ** (1 / gamma))


def fit_prospect(
    choices: Sequence[GambleChoice], *, curves: int = 1, starts: int = 2, seed: int = 0
) -> Prospect:
    """The parameters of greatest likelihood, by L-BFGS-B from several starts.

    curves: 1 holds alpha = beta, without which lambda hangs on the unit of the outcomes
    and is hardly told from beta (Nilsson and others 2011); 2 lets them differ.

    Raises:
        SimulatorInputError: There are fewer than 20 choices.
    """
    from scipy.optimize import minimize

    if len(choices) < 20:
        raise SimulatorInputError(
            f"{len(choices)} choices are too few to fit prospect theory to; 20 are the least"
        )
    ax, ap, bx, bp = gamble_arrays(choices)
    picked = np.array([c.picked for c in choices], dtype=float)
    unit = float(np.median(np.abs(np.concatenate([ax[ax != 0], bx[bx != 0]]))))

    def read(theta: Counts) -> Prospect:
        alpha, beta, *rest = np.exp(theta if curves > 1 else np.insert(theta, 1, theta[0]))
        return Prospect(float(alpha), float(beta), *(float(r) for r in rest))

    def loss(theta: Counts) -> float:
        by = read(theta)
        gap = prospect_value(bx / unit, bp, by) - prospect_value(ax / unit, ap, by)
        odds = np.clip(gap / by.temperature, -500, 500) * (2 * picked - 1)
        return float(np.logaddexp(0, -odds).mean())

    rng = np.random.default_rng(seed)
    first = np.array([0.0] * curves + [0.2, 0.0, -1.0])
    bounds = [(-1.6, 0.7)] * curves + [(-1.6, 2.0), (-1.3, 0.4), (-7.0, 3.0)]
    tries = [
        minimize(
            loss,
            first + (0.3 * rng.normal(size=len(first)) if i else 0.0),
            method="L-BFGS-B",
            bounds=bounds,
        )
        for i in range(starts)
    ]
    found = read(min(tries, key=lambda t: float(t.fun)).x)
    return Prospect(
        found.alpha,
        found.beta,
        # Values were fitted in units of the median outcome, of which lambda takes a power.
        found.lambda_ * unit ** (found.alpha - found.beta),
        found.gamma,
        found.temperature * unit**found.alpha,
    )


# -- anchors, frames, orders, circles --------------------------------------------------


def anchoring_index(estimates: Sequence[AnchoredEstimate]) -> Estimate:
    """How much an estimate moves with its anchor, 0 to 1 (Jacowitz and Kahneman 1995).

    (median after the high anchor - median after the low one) / (high - low), averaged
    over questions with two anchors; the interval resamples questions.
    """
    by_question: dict[str, dict[float, list[float]]] = {}
    for e in estimates:
        by_question.setdefault(e.question, {}).setdefault(e.anchor, []).append(e.estimate)
    shifts = []
    for answers in by_question.values():
        low, high = min(answers), max(answers)
        if high > low:
            shifts.append((np.median(answers[high]) - np.median(answers[low])) / (high - low))
    if not shifts:
        return wilson(0, 0)
    return bootstrap(lambda s: float(np.mean(s)), np.array(shifts))


def flips(choices: Sequence[GambleChoice], by: str) -> Estimate:
    """The share of problems in which another order, or frame, turned the choice.

    by: "order" or "frame". A choice is of the gamble, not of its letter: rows of one
    problem name the same gambles `a` and `b` in whatever order they were shown.
    """
    groups: dict[str, dict[str, set[int]]] = {}
    for c in choices:
        if c.problem and getattr(c, by):
            groups.setdefault(c.problem, {}).setdefault(getattr(c, by), set()).add(c.picked)
    pairs = [list(g.values()) for g in groups.values() if len(g) > 1]
    turned = sum(any(x != y for x, y in combinations(p, 2)) for p in pairs)
    return wilson(turned, len(pairs))


def intransitivity(preferences: Sequence[Preference]) -> Estimate:
    """The share of circles among triples whose three pairs were all asked; .25 at random."""
    beats: dict[tuple[str, str], int] = {}
    for p in preferences:
        beats[p.winner, p.loser] = beats.get((p.winner, p.loser), 0) + 1
    things = sorted({thing for pair in beats for thing in pair})
    circles = triples = 0
    for trio in combinations(things, 3):
        signs = [
            beats.get((x, y), 0) - beats.get((y, x), 0)
            for x, y in ((trio[0], trio[1]), (trio[1], trio[2]), (trio[2], trio[0]))
        ]
        if all(signs):
            triples += 1
            circles += len({s > 0 for s in signs}) == 1
    return wilson(circles, triples)


def patterns(log: ChoiceLog) -> dict[str, Estimate]:
    """Every irrational pattern of one actor's choices, NaN where the log has no such question."""
    return {
        "ev_consistency": ev_consistency(log.gambles),
        "intransitivity": intransitivity(log.preferences),
        "order_flips": flips(log.gambles, "order"),
        "framing_flips": flips(log.gambles, "frame"),
        "anchoring": anchoring_index(log.estimates),
    }


def choice_values(log: ChoiceLog, draws: int, seed: int = 0) -> dict[str, Values]:
    """What choices add to the irrational dimension, by actor, with draws over choices: (1 + draws,)."""
    values: dict[str, Values] = {}
    rng = np.random.default_rng(seed)
    for actor in log.actors:
        own = log.of(actor)
        better = _better(own.gambles).astype(float)
        values[actor] = {}
        if len(better) >= 20:
            rows = rng.integers(0, len(better), (draws, len(better)))
            drawn = better[rows].mean(1)
            values[actor]["ev_consistency"] = np.concatenate([[better.mean()], drawn])
        for key, estimate in (
            ("intransitivity", intransitivity(own.preferences)),
            ("order_flips", flips(own.gambles, "order")),
        ):
            if estimate.n:
                drawn = rng.binomial(estimate.n, estimate.value, draws) / estimate.n
                values[actor][key] = np.concatenate([[estimate.value], drawn])
    return values
