"""The analyst: five dimensions for each actor, judged against the humans, with what weighs most.

There is no single score. A verdict is `agent-like` where a dimension lies further out
than humans do (corrected for the number of questions), `human-like` where all that can
be told lies well within the humans, and `indeterminate` otherwise, with the reason.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from repertory.simulators.statistics import Estimate, benjamini_hochberg

from .events import EventTable
from .labels import Labels
from .measures import DIMENSIONS, MEASURE, MEASURES, Values, measures_of
from .null import FEWEST_PEERS, KEYS, SIGNED, Null, furthest, null_of, scaled_of, tail_p
from .profiles import Counts, Profiles, block_weights, distribution, profiles_of
from .roles import roles_of
from .verdicts import ActorResult, Dimension, Verdict
from .weights import weighty_events

N_MIN = 100
ALPHA = 0.05
DRAWS = 200
FEWEST_HUMANS = FEWEST_PEERS
# Labels are put to the test from so many of either kind on.
_TESTABLE = 5
# An actor is within the humans when so many of them lie further out.
_WITHIN = 0.1


@dataclass
class Analysis:
    """The result over a log; `measured` holds every actor's bootstrap draws by measure."""

    actors: list[ActorResult]
    notes: list[str]
    profiles: Profiles
    null: Null
    separation: Estimate | None = None
    n_min: int = N_MIN
    alpha: float = ALPHA

    def actor(self, name: str) -> ActorResult:
        """The result of one actor.

        Raises:
            LookupError: There is none of that name.
        """
        for each in self.actors:
            if each.name == name:
                return each
        raise LookupError(f"no actor {name!r} in the log")


@dataclass(frozen=True)
class Settings:
    """How an analysis is made; see the fields of `Analysis`."""

    n_min: int = N_MIN
    alpha: float = ALPHA
    draws: int = DRAWS
    seed: int = 0


def analyze(
    table: EventTable,
    labels: Labels | None = None,
    settings: Settings | None = None,
    *,
    extra: Mapping[str, Values] | None = None,
) -> Analysis:
    """Judge every actor of a table against its known humans.

    labels: without them every actor is measured against all others, which holds only
    where most of them are humans. extra: further measures by actor, as plans and
    choices give them, each of shape (1 + draws,).
    """
    chosen = settings or Settings()
    profiles = profiles_of(table)
    said = _log_roles(table)
    return analyze_profiles(
        profiles, table.actors, table.words["action"], labels, chosen, extra or {}, said, table
    )


def analyze_profiles(
    profiles: Profiles,
    names: Sequence[str],
    actions: Sequence[str],
    labels: Labels | None,
    settings: Settings,
    extra: Mapping[str, Values],
    said_roles: Mapping[str, str],
    table: EventTable | None = None,
) -> Analysis:
    """As `analyze`, from counts alone; without a table no events are named."""
    notes = list(table.notes) if table is not None else []
    known = labels or Labels({}, {})
    if table is not None and labels is not None:
        notes += labels.notes(table)
    counts = profiles.sums["events"].sum(-1)
    enough = [bool(n >= settings.n_min) for n in counts]
    humans = _humans(names, known, enough, labels is not None, notes)
    weights = block_weights(settings.draws, settings.seed)
    measured: list[Values] = [
        {**measures_of(profiles, i, weights), **extra.get(name, {})} if enough[i] else {}
        for i, name in enumerate(names)
    ]
    spread = [distribution(profiles.singles.of(i), len(actions)) for i in range(len(names))]
    is_human = [i in humans for i in range(len(names))]
    forming = is_human if any(is_human) else enough
    roles = roles_of(names, spread, forming, {**said_roles, **known.roles})
    null = null_of(measured, roles, sorted(humans), seed=settings.seed)
    found = _Judge(names, roles, known, measured, null, settings).judge([int(n) for n in counts])
    analysis = Analysis(found, notes, profiles, null, None, settings.n_min, settings.alpha)
    _test_labels(analysis)
    if table is not None:
        others = [names[int(i)] for i in null.humans]
        analysis.actors = [weighty_events(a, table, profiles, others) for a in analysis.actors]
    return analysis


def _humans(
    names: Sequence[str], known: Labels, enough: Sequence[bool], labelled: bool, notes: list[str]
) -> set[int]:
    there = {i for i, name in enumerate(names) if enough[i]}
    if not labelled or not known.humans:
        told = "no labels" if not labelled else "no actor is labelled human"
        notes.append(
            f"{told}: every actor is measured against all others, which is right only where most"
            " of them are humans"
        )
        return {i for i in there if known.kinds.get(names[i]) != "agent"}
    humans = {i for i in there if names[i] in known.humans}
    if len(humans) < FEWEST_HUMANS:
        notes.append(
            f"{len(humans)} labelled humans have enough events; {FEWEST_HUMANS} are the least that"
            " can tell what is human"
        )
    return humans


def _log_roles(table: EventTable) -> dict[str, str]:
    """The role that the log gives most of an actor's events."""
    if not table.has("role"):
        return {}
    said = {}
    starts = table.starts
    for i, name in enumerate(table.actors):
        codes = table.codes["role"][starts[i] : starts[i + 1]]
        codes = codes[codes > 0]
        if len(codes):
            said[name] = table.words["role"][int(np.bincount(codes).argmax())]
    return said


@dataclass
class _Judge:
    """Measures every actor by the humans' yardstick and decides."""

    names: Sequence[str]
    roles: Sequence[str]
    known: Labels
    measured: Sequence[Values]
    null: Null
    settings: Settings

    def judge(self, counts: Sequence[int]) -> list[ActorResult]:
        told = [self._dimensions(i, counts[i]) for i in range(len(self.names))]
        _adjust(told, [name in self.known.humans for name in self.names])
        results = []
        for i, name in enumerate(self.names):
            verdict, reason = self._verdict(told[i], counts[i])
            results.append(
                ActorResult(
                    name,
                    self.known.kinds.get(name, ""),
                    self.roles[i],
                    counts[i],
                    verdict,
                    reason,
                    tuple(told[i]),
                    {key: estimate_of(v, counts[i]) for key, v in self.measured[i].items()},
                )
            )
        return results

    def _dimensions(self, i: int, count: int) -> list[Dimension]:
        if count < self.settings.n_min:
            why = f"{count} events, fewer than {self.settings.n_min}"
            return [_untold(name, why) for name in DIMENSIONS]
        own = self.null.own(i)
        return [self._dimension(name, i, own, count) for name in DIMENSIONS]

    def _dimension(self, name: str, i: int, own: Counts, count: int) -> Dimension:
        told = SIGNED[name] & ~np.isnan(own)
        if not told.any():
            return _untold(name, self._why_untold(name, i))
        mine, theirs = self.null.against(i, told)
        if len(theirs) < FEWEST_HUMANS - 1:
            return _untold(name, f"{len(theirs)} humans to compare with are too few")
        # A labelled human is part of the yardstick: no tail is fitted to call him strange.
        suspect = self.names[i] not in self.known.humans
        p = tail_p(mine, theirs, tail=suspect)
        low, high = np.quantile(theirs, [0.025, 0.975])
        best = KEYS[int(np.nanargmax(np.where(told, own, np.nan)))]
        deviation = estimate_of(self._draws(i, own, told), count)
        return Dimension(name, deviation, best, p, p, (float(low), float(high)))

    def _draws(self, i: int, own: Counts, told: npt.NDArray[np.bool_]) -> Counts:
        """The dimension's deviation by bootstrap draw: (1 + draws,)."""
        rows = []
        for row in np.flatnonzero(told):
            draws = scaled_of(self.measured[i], KEYS[row])
            rows.append(own[row] + (draws - draws[0]) / self.null.scale[row, i])
        return furthest(np.array(np.broadcast_arrays(*rows)))

    def _why_untold(self, name: str, i: int) -> str:
        measures = [m for m in MEASURES if m.dimension == name]
        if name.startswith("intention") and "plan_f1" not in self.measured[i]:
            return "the log has no plans"
        if name.startswith("irrational") and "ev_consistency" not in self.measured[i]:
            return "the log has no choices; `repertory battery` puts some to an agent"
        if len(self.null.humans) < FEWEST_PEERS:
            return "too few humans to compare with"
        if any(m.by_role for m in measures):
            return "too few humans do this actor's work"
        return "too few events of this kind"

    def _verdict(self, told: Sequence[Dimension], count: int) -> tuple[Verdict, str]:
        if count < self.settings.n_min:
            return "indeterminate", f"{count} events are fewer than {self.settings.n_min}"
        there = [d for d in told if d.told]
        if not there:
            reasons = dict.fromkeys(d.reason for d in told)
            # That a log has no plans or choices is the least of what it lacks then.
            about = [r for r in reasons if not r.startswith("the log has no")]
            return "indeterminate", "; ".join(about or reasons)
        apart = [d for d in there if d.adjusted <= self.settings.alpha]
        if apart:
            worst = min(apart, key=lambda d: d.adjusted)
            says = MEASURE[worst.measure].says
            return "agent-like", f"{worst.name}: {says} (p {worst.adjusted:.2g} after correction)"
        out = [d for d in there if d.p < _WITHIN]
        if out:
            worst = min(out, key=lambda d: d.p)
            return (
                "indeterminate",
                f"{worst.name} stands out (p {worst.p:.2g}), but not beyond doubt",
            )
        if len(there) < 2:
            return "indeterminate", f"within the humans, but only {there[0].name} can be told"
        return "human-like", f"within the humans in {len(there)} of {len(DIMENSIONS)} dimensions"


def _untold(name: str, reason: str) -> Dimension:
    nothing = Estimate(float("nan"), float("nan"), float("nan"), 0)
    return Dimension(name, nothing, reason=reason)


def estimate_of(draws: Counts, n: int) -> Estimate:
    """A value with its bootstrap interval, freed of the bootstrap's own shift of the median."""
    value = float(draws[0])
    drawn = draws[1:][~np.isnan(draws[1:])]
    if np.isnan(value) or len(drawn) < len(draws) / 2:
        return Estimate(value, float("nan"), float("nan"), n)
    low, middle, high = np.quantile(drawn, [0.025, 0.5, 0.975])
    shift = middle - value
    return Estimate(value, min(float(low - shift), value), max(float(high - shift), value), n)


def _adjust(told: list[list[Dimension]], labelled_human: Sequence[bool]) -> None:
    """Correct for all questions: of one actor's dimensions, then of all actors in doubt.

    Both steps are Benjamini and Hochberg's, over families as in Benjamini and Bogomolov
    (2014). Labelled humans are a family of their own: they are no suspects.
    """
    within = [benjamini_hochberg([d.p for d in dimensions]) for dimensions in told]
    for family in (True, False):
        there = [
            i
            for i in range(len(told))
            if labelled_human[i] is family and any(d.told for d in told[i])
        ]
        least = np.array([np.nanmin(within[i]) for i in there])
        across = benjamini_hochberg(least) if there else least
        for i, p, corrected in zip(there, least, across, strict=True):
            told[i] = [
                replace(d, adjusted=min(1.0, float(own * corrected / p)))
                for d, own in zip(told[i], within[i], strict=True)
            ]


def _test_labels(analysis: Analysis) -> None:
    """Whether the labels tell anything: actors of labels that do not are all indeterminate."""
    agents = [i for i, a in enumerate(analysis.actors) if a.label == "agent" and a.told]
    humans = [h for h in analysis.null.left_out if analysis.actors[int(h)].label == "human"]
    if min(len(agents), len(humans)) < _TESTABLE:
        return
    analysis.separation = separation(analysis.null, agents, humans)
    if analysis.separation.low > 0.5:
        return
    analysis.notes.append(
        f"the labels cannot be told apart by behavior (AUC {analysis.separation}): no verdict"
    )
    told = "labelled humans and agents cannot be told apart here"
    analysis.actors = [
        replace(
            a,
            verdict="indeterminate",
            reason=a.reason if a.verdict == "indeterminate" else told,
            weighty=(),
        )
        for a in analysis.actors
    ]


def separation(null: Null, agents: Sequence[int], humans: Sequence[Any]) -> Estimate:
    """The AUC of agents against humans, over pairs whose yardstick holds neither.

    Leave-pair-out, since leaving out one at a time is biased against the labels where
    they mean nothing (Airola and others 2011). The interval resamples actors of both kinds.
    """
    wins = np.empty((len(agents), len(humans)))
    for column, human in enumerate(humans):
        place = int(np.flatnonzero(null.left_out == human)[0])
        scores = null.scores(null.deviations[place])
        wins[:, column] = (scores[agents] > scores[human]) + 0.5 * (scores[agents] == scores[human])
    rng = np.random.default_rng(0)
    drawn = [
        wins[rng.integers(0, len(agents), len(agents))][
            :, rng.integers(0, len(humans), len(humans))
        ].mean()
        for _ in range(1000)
    ]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Estimate(float(wins.mean()), float(low), float(high), len(agents) + len(humans))


def result_json(analysis: Analysis) -> dict[str, Any]:
    """The analysis for JSON; what cannot be told is null."""
    return {
        "n_min": analysis.n_min,
        "alpha": analysis.alpha,
        "humans": len(analysis.null.humans),
        "separation_auc": analysis.separation.as_dict() if analysis.separation else None,
        "notes": analysis.notes,
        "actors": [
            {
                "actor": a.name,
                "label": a.label,
                "role": a.role,
                "events": a.events,
                "verdict": a.verdict,
                "reason": a.reason,
                "dimensions": [
                    {
                        "name": d.name,
                        "deviation": d.deviation.as_dict(),
                        "measure": d.measure,
                        "p": _finite(d.p),
                        "p_adjusted": _finite(d.adjusted),
                        "humans": [_finite(d.humans[0]), _finite(d.humans[1])],
                        "reason": d.reason,
                    }
                    for d in a.dimensions
                ],
                "measures": {key: e.as_dict() for key, e in a.measures.items()},
                "events_that_weigh_most": [w.told for w in a.weighty],
            }
            for a in analysis.actors
        ],
    }


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
