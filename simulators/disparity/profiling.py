"""Red and blue without a network: how attackers behave, and what a profiler can tell of it.

The case is that of arXiv 2508.14415: defenders profile an attacker and trace him, and
an attacker who switches profiles misleads them. An identity is a way of behaving
(gaps and a chain of actions); a session is a sequence of acts; the profiler knows
identities from training sessions and reads a session act by act. Everything is
synthetic and ours, in virtual time, drawn by seeds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .profiles import Counts

ACTS = ("look", "scan", "log in", "list", "read", "try", "copy", "send", "wipe")
Kind = Literal["human", "agent"]
Policy = Literal["human", "scripted", "human-profile", "model-like", "profile-switching", "delayed"]
POLICIES: tuple[Policy, ...] = (
    "human",
    "scripted",
    "human-profile",
    "model-like",
    "profile-switching",
    "delayed",
)
"""Who plays a session: a human of the known ones (the control), or an attacker's policy."""

HUMANS = tuple(f"human {n}" for n in range(8))
AGENTS = ("script", "model")
LENGTH, SWITCH, WINDOW = 160, 80, 30
"""Acts of a session, where a switching attacker switches, and acts that a reading looks at."""

_BINS, _PER_DECADE = 28, 4
_SMOOTH = 0.5
# Of the humans' training sessions, the share that may cross the line that detects agents.
_FALSE_ALARMS = 0.02


@dataclass(frozen=True)
class Identity:
    """A way of behaving: gaps are lognormal (seconds), acts a Markov chain, retries repeat an act."""

    name: str
    kind: Kind
    gap: float
    spread: float
    chain: Counts
    pauses: float = 0.0
    retries: float = 0.0


@dataclass(frozen=True)
class Act:
    """One act at a virtual time; `identity` is who it was like, which the defender is not told."""

    at: float
    act: str
    identity: str = ""


def identities() -> dict[str, Identity]:
    """The known identities: eight humans with habits of their own, a script, a model."""
    rng = np.random.default_rng(2508)
    found = {}
    size = len(ACTS)
    for name in HUMANS:
        chain = rng.dirichlet(np.full(size, 0.45), size)
        gap, spread = float(rng.lognormal(np.log(9), 0.5)), float(rng.uniform(0.9, 1.4))
        found[name] = Identity(name, "human", gap, spread, chain, pauses=0.04)
    script = np.full((size, size), 0.01)
    for i in range(size):
        script[i, (i + 1) % size] += 1
    script /= script.sum(1, keepdims=True)
    found["script"] = Identity("script", "agent", 1.0, 0.08, script)
    model = rng.dirichlet(np.full(size, 1.5), size)
    found["model"] = Identity("model", "agent", 4.0, 0.45, model, retries=0.2)
    return found


def session(policy: Policy, seed: int, length: int = LENGTH) -> list[Act]:
    """What `policy` does in one session, act by act.

    A human-profile attacker copies one human's chain and hurries a little; a switching
    one is like one human, then like another or like the model from act `SWITCH` on; a
    delayed one is the script with a human's gaps.
    """
    rng = np.random.default_rng([seed, POLICIES.index(policy)])
    known = identities()
    human, other = (known[HUMANS[int(i)]] for i in rng.choice(len(HUMANS), 2, replace=False))
    first, second = human, human
    gaps: Identity | None = None
    if policy == "scripted":
        first = second = known["script"]
    elif policy == "model-like":
        first = second = known["model"]
    elif policy == "delayed":
        first = second = known["script"]
        gaps = human
    elif policy == "human-profile":
        hurried = Identity(
            human.name, "agent", human.gap * 0.5, human.spread * 0.6, human.chain, retries=0.05
        )
        first = second = hurried
    elif policy == "profile-switching":
        second = other if rng.random() < 0.5 else known["model"]
    acts: list[Act] = []
    at, state = 0.0, int(rng.integers(len(ACTS)))
    for i in range(length):
        by = first if i < SWITCH else second
        pace = gaps or by
        at += float(rng.lognormal(np.log(pace.gap), pace.spread))
        if rng.random() < pace.pauses:
            at += float(rng.exponential(240))
        if rng.random() >= by.retries:
            state = int(rng.choice(len(ACTS), p=by.chain[state]))
        acts.append(Act(at, ACTS[state], by.name))
    return acts


@dataclass(frozen=True)
class Reading:
    """What a profiler says after an act: the likeliest identity, and the evidence for an agent.

    evidence: the largest sum of log-likelihood ratios (agent over human, nats) of any
    run of acts that ends here (Page 1954). alarm: it has crossed the profiler's line.
    """

    identity: str
    evidence: float
    alarm: bool


class Profiler:
    """Knows identities from training sessions, and reads sessions that it has not seen."""

    def __init__(self, training: int = 12, seed: int = 7) -> None:
        self._known = identities()
        self._gaps: dict[str, Counts] = {}
        self._steps: dict[str, Counts] = {}
        for name, identity in self._known.items():
            plays = [_play(identity, [seed, i, len(name)]) for i in range(training)]
            self._gaps[name], self._steps[name] = _learned(plays)
        self.line = float("inf")
        trained = [_play(self._known[h], [seed, 1000 + i]) for h in HUMANS for i in range(training)]
        peaks = [max(r.evidence for r in self.read(play)) for play in trained]
        self.line = float(np.quantile(peaks, 1 - _FALSE_ALARMS))

    def read(self, acts: Sequence[Act]) -> list[Reading]:
        """A reading after each act; the acts' own identities are not looked at."""
        weights = self._weights(acts)
        names = list(self._known)
        humans = [i for i, n in enumerate(names) if self._known[n].kind == "human"]
        agents = [i for i, n in enumerate(names) if self._known[n].kind == "agent"]
        readings, evidence = [], 0.0
        total = np.vstack([np.zeros(len(names)), np.cumsum(weights, axis=0)])
        for i in range(len(acts)):
            window = total[i + 1] - total[max(0, i + 1 - WINDOW)]
            # The ratio of mixtures over the window decides who; act by act it is summed up.
            ratio = _mixed(weights[i, agents]) - _best_human(window, humans, weights[i])
            evidence = max(0.0, evidence + ratio)
            identity = names[int(window.argmax())]
            readings.append(Reading(identity, evidence, evidence > self.line))
        return readings

    def _weights(self, acts: Sequence[Act]) -> Counts:
        """Log-likelihoods of each act under each identity: (acts, identities)."""
        codes = np.array([ACTS.index(a.act) if a.act in ACTS else 0 for a in acts], dtype=int)
        bins = _bins(np.array([a.at for a in acts]))
        rows = np.zeros((len(acts), len(self._known)))
        for j, name in enumerate(self._known):
            rows[:, j] = np.log(self._gaps[name][bins])
            rows[1:, j] += np.log(self._steps[name][codes[:-1], codes[1:]])
        return rows


def _mixed(weights: Counts) -> float:
    return float(np.logaddexp.reduce(weights) - np.log(len(weights)))


def _best_human(window: Counts, humans: Sequence[int], weights: Counts) -> float:
    """The act's likelihood under the humans, each by how well he fits the window."""
    fit = window[list(humans)]
    share = fit - np.logaddexp.reduce(fit)
    return float(np.logaddexp.reduce(share + weights[list(humans)]))


def _bins(at: Counts) -> npt.NDArray[np.int64]:
    gaps = np.diff(at, prepend=at[0] - 1.0 if len(at) else 0.0)
    place = (np.log10(np.maximum(gaps, 1e-3)) + 3) * _PER_DECADE
    return np.asarray(np.clip(place, 0, _BINS - 1), dtype=np.int64)


def _learned(plays: Sequence[Sequence[Act]]) -> tuple[Counts, Counts]:
    gaps = np.full(_BINS, _SMOOTH)
    steps = np.full((len(ACTS), len(ACTS)), _SMOOTH)
    for play in plays:
        codes = [ACTS.index(a.act) for a in play]
        np.add.at(gaps, _bins(np.array([a.at for a in play])), 1)
        np.add.at(steps, (codes[:-1], codes[1:]), 1)
    return gaps / gaps.sum(), steps / steps.sum(1, keepdims=True)


def _play(identity: Identity, seed: Sequence[int], length: int = LENGTH) -> list[Act]:
    rng = np.random.default_rng(list(seed))
    acts, at, state = [], 0.0, int(rng.integers(len(ACTS)))
    for _ in range(length):
        at += float(rng.lognormal(np.log(identity.gap), identity.spread))
        if rng.random() < identity.pauses:
            at += float(rng.exponential(240))
        if rng.random() >= identity.retries:
            state = int(rng.choice(len(ACTS), p=identity.chain[state]))
        acts.append(Act(at, ACTS[state], identity.name))
    return acts


@dataclass(frozen=True)
class SessionResult:
    """How one session was read: shares of right attributions before and after `SWITCH`.

    peak: the largest evidence for an agent. detected: acts until the alarm, seconds
    until it in virtual time; both 0 without one.
    """

    policy: Policy
    seed: int
    before: float
    after: float
    peak: float
    detected: int
    seconds: float


def judge(
    policy: Policy, seed: int, acts: Sequence[Act], readings: Sequence[Reading]
) -> SessionResult:
    """Hold the readings of a session against what was played."""
    right = np.array([r.identity == a.identity for r, a in zip(readings, acts, strict=True)])
    # A window that is not full yet, or that spans the switch, is not held against anybody.
    before, after = right[WINDOW:SWITCH], right[SWITCH : SWITCH + WINDOW]
    alarm = next((i for i, r in enumerate(readings) if r.alarm), None)
    return SessionResult(
        policy,
        seed,
        float(before.mean()) if len(before) else float("nan"),
        float(after.mean()) if len(after) else float("nan"),
        max((r.evidence for r in readings), default=0.0),
        alarm + 1 if alarm is not None else 0,
        acts[alarm].at - acts[0].at if alarm is not None else 0.0,
    )


def from_json(values: Sequence[Mapping[str, Any]]) -> list[Act]:
    """Acts as they travel: without their identities."""
    return [Act(float(v["at"]), str(v["act"])) for v in values]
