"""An agent's own baseline, and how soon it is noticed that the agent leaves it.

The first events teach what is usual, the next ones how surprising the usual is; from
then on each event's surprise becomes a conformal p-value (Vovk and others 2005), and
the p-values of a measure feed an e-detector of the CUSUM kind (Shin, Ramdas and
Rinaldo 2022) with the bet p^(-1/2)/2. Were the events exchangeable, it would exceed
1/alpha falsely no more often than in a share alpha of events; they are not quite, so
false alarms are measured and not promised. The four surprises are ours.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import log, log10
from typing import Any

from .events import Event

SURPRISES = ("pace", "next action", "inertia", "plan")
"""Gap since the agent's last event, action after the last one, identical repeats, and
actions outside the declared plan."""

_PER_DECADE = 4
_LOWEST, _GAP_BINS = -4, 48
_TASKS = 2048
_LONGEST_RUN = 50
# How far an e-detector may run past what holds an agent, so that it can come back.
_CAP = 100.0


@dataclass
class Chain:
    """What an agent did last within one task."""

    time: float
    action: str
    run: int = 0


@dataclass
class Baseline:
    """What is usual for one agent: counts from its first events, surprises from the next."""

    gaps: list[float] = field(default_factory=lambda: [0.0] * _GAP_BINS)
    steps: dict[str, dict[str, int]] = field(default_factory=dict)
    actions: dict[str, int] = field(default_factory=dict)
    surprises: dict[str, list[float]] = field(default_factory=lambda: {s: [] for s in SURPRISES})
    learned: int = 0

    def learn(self, gap: float, before: str, action: str) -> None:
        """Take one of the first events."""
        self.gaps[gap_bin(gap)] += 1
        row = self.steps.setdefault(before, {})
        row[action] = row.get(action, 0) + 1
        self.actions[action] = self.actions.get(action, 0) + 1
        self.learned += 1

    def surprise(self, gap: float, before: str, action: str, run: int) -> dict[str, float]:
        """How surprising an event is by each measure that needs no plan, in nats or repeats."""
        total = sum(self.gaps)
        near = sum(self.gaps[max(0, gap_bin(gap) - 1) : gap_bin(gap) + 2])
        row = self.steps.get(before, {})
        kinds = len(self.actions) + 1
        return {
            "pace": -log((near + 0.5) / (total + 0.5 * _GAP_BINS)),
            "next action": -log((row.get(action, 0) + 0.5) / (sum(row.values()) + 0.5 * kinds)),
            "inertia": float(min(run, _LONGEST_RUN)),
        }

    def p(self, measure: str, surprise: float) -> float:
        """The share of the baseline that is at least as surprising, counting the event itself."""
        known = self.surprises[measure]
        return (1 + sum(each >= surprise for each in known)) / (1 + len(known))

    def usual(self, measure: str) -> tuple[float, float]:
        """The middle 90 % of the baseline's surprises."""
        known = sorted(self.surprises[measure])
        if not known:
            return float("nan"), float("nan")
        last = len(known) - 1
        return known[round(0.05 * last)], known[round(0.95 * last)]

    def to_json(self) -> dict[str, Any]:
        return {
            "gaps": self.gaps,
            "steps": self.steps,
            "actions": self.actions,
            "surprises": self.surprises,
            "learned": self.learned,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Baseline":
        """A baseline that `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: It is none.
        """
        surprises = {s: [float(v) for v in value["surprises"][s]] for s in SURPRISES}
        gaps = [float(v) for v in value["gaps"]]
        if len(gaps) != _GAP_BINS:
            raise ValueError(f"it has {len(gaps)} bins of gaps, not {_GAP_BINS}")
        steps = {str(k): {str(a): int(n) for a, n in v.items()} for k, v in value["steps"].items()}
        actions = {str(k): int(v) for k, v in value["actions"].items()}
        return cls(gaps, steps, actions, surprises, int(value["learned"]))


def gap_bin(gap: float) -> int:
    """The bin of a gap in seconds: four for each power of ten from 0.1 ms."""
    if gap <= 10.0**_LOWEST:
        return 0
    return min(_GAP_BINS - 1, max(0, int((log10(gap) - _LOWEST) * _PER_DECADE) + 1))


@dataclass
class Watch:
    """Follows one agent: learns its baseline from `size` events, then says how far it has left it.

    limit: the e-value that holds an agent, which also bounds how high one may run.
    """

    size: int = 200
    limit: float = 1e6
    baseline: Baseline = field(default_factory=Baseline)
    evidence: dict[str, float] = field(default_factory=lambda: dict.fromkeys(SURPRISES, 1.0))
    last: dict[str, float] = field(default_factory=dict)
    last_p: dict[str, float] = field(default_factory=dict)
    events: int = 0
    _chains: "OrderedDict[str, Chain]" = field(default_factory=OrderedDict)
    _plans: "OrderedDict[str, set[str]]" = field(default_factory=OrderedDict)

    @property
    def learning(self) -> bool:
        """Whether the baseline is not full yet."""
        return len(self.baseline.surprises["next action"]) < self.size - self.size // 2

    def declare(self, task: str, steps: list[str]) -> None:
        """Take the declared plan of a task: the actions that belong to it."""
        self._plans[task] = set(steps)
        while len(self._plans) > _TASKS:
            self._plans.popitem(last=False)

    def unplanned(self, task: str, action: str) -> bool:
        """Whether the task has a plan and this action is none of its steps."""
        plan = self._plans.get(task)
        return plan is not None and action not in plan

    def observe(self, event: Event, *, acts: bool) -> None:
        """Take one event of the agent; acts: it is an action that a plan would name."""
        self.events += 1
        chain = self._chains.pop(event.object, None)
        now = Chain(event.time, event.action)
        self._chains[event.object] = now
        while len(self._chains) > _TASKS:
            self._chains.popitem(last=False)
        gap = max(0.0, event.time - chain.time) if chain else float("nan")
        before = chain.action if chain else ""
        if chain is not None and chain.action == event.action:
            now.run = chain.run + 1
        if self.baseline.learned < self.size // 2:
            self.baseline.learn(0.0 if gap != gap else gap, before, event.action)
            return
        surprise = self.baseline.surprise(0.0 if gap != gap else gap, before, event.action, now.run)
        if gap != gap:
            # The first event of a task follows nothing, so it has no pace.
            del surprise["pace"]
        if acts and event.object in self._plans:
            surprise["plan"] = float(self.unplanned(event.object, event.action))
        if self.learning:
            for measure, value in surprise.items():
                self.baseline.surprises[measure].append(value)
            return
        for measure, value in surprise.items():
            if not self.baseline.surprises[measure]:
                continue
            p = self.baseline.p(measure, value)
            self.last[measure], self.last_p[measure] = value, p
            grown = max(1.0, self.evidence[measure]) * 0.5 * p**-0.5
            self.evidence[measure] = min(grown, self.limit * _CAP)

    def furthest(self) -> tuple[str, float]:
        """The measure with the most evidence against the baseline, and its e-value.

        Among those that ran to the bound, the one whose latest event is the least usual.
        """
        measure = max(SURPRISES, key=lambda s: (self.evidence[s], -self.last_p.get(s, 1.0)))
        return measure, self.evidence[measure]
