"""Actors of known behavior: what measures must recover, and a company to be judged.

Nothing here is a record of anybody. `office` writes the log of a company whose clerks
work in roles, shifts and sessions, beside one automaton that takes what customers send
around the clock; its shape follows the published figures of BPI Challenge 2012.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .events import DAY, HOUR, Event, Floats

MONDAY = 1_317_600_000.0
"""Monday, 3 October 2011, 0 o'clock UTC, where synthetic logs begin."""

ROLES: Mapping[str, tuple[str, ...]] = {
    "intake": ("W_Handle leads+start", "W_Handle leads", "A_PREACCEPTED", "A_DECLINED"),
    "offers": (
        "W_Complete application+start",
        "W_Complete application",
        "A_ACCEPTED",
        "O_SELECTED",
        "O_CREATED",
        "O_SENT",
        "A_FINALIZED",
    ),
    "calls": ("W_Call after offers+start", "W_Call after offers", "O_CANCELLED", "A_CANCELLED"),
    "validation": (
        "W_Validate application+start",
        "W_Validate application",
        "A_APPROVED",
        "A_REGISTERED",
        "A_ACTIVATED",
        "O_ACCEPTED",
        "A_DECLINED",
    ),
}
"""The work of each role of the synthetic office; what follows an action is mostly the next one."""

AUTOMATED = ("A_SUBMITTED", "A_PARTLYSUBMITTED")


def renewal(
    name: str, gaps: Floats, actions: Sequence[str], start: float = MONDAY
) -> Iterator[Event]:
    """An actor who does `actions` with these gaps (seconds) between them."""
    time = start + np.cumsum(gaps)
    for at, action in zip(time, actions, strict=True):
        yield Event(name, float(at), action)


def chain(matrix: Floats, length: int, rng: np.random.Generator) -> list[int]:
    """A path of a Markov chain with transition probabilities `matrix`, from state 0."""
    steps = np.cumsum(matrix, axis=1)
    state, path = 0, []
    for draw in rng.random(length):
        state = int(np.searchsorted(steps[state], draw))
        path.append(state)
    return path


@dataclass(frozen=True)
class Office:
    """How large the synthetic office is; a night worker is a clerk who works from 21 to 5."""

    clerks: int = 57
    automata: int = 1
    weeks: int = 22
    events: int = 180_000
    night_workers: int = 0
    seed: int = 0


def office(settings: Office | None = None) -> Iterator[Event]:
    """The events of the office, actor by actor; automata are named `automaton N`.

    A clerk's role goes through the roles in turn and is not written into the events.
    """
    chosen = settings or Office()
    rng = np.random.default_rng(chosen.seed)
    per_clerk = chosen.events * 0.8 / max(chosen.clerks, 1)
    for number in range(chosen.clerks):
        role = tuple(ROLES)[number % len(ROLES)]
        night = number >= chosen.clerks - chosen.night_workers
        size = int(per_clerk * rng.lognormal(-0.3, 0.8)) + 200
        yield from _clerk(f"clerk {number:02d}", ROLES[role], size, night, chosen, rng)
    for number in range(chosen.automata):
        size = int(chosen.events * 0.2 / chosen.automata)
        yield from _automaton(f"automaton {number}", size, chosen, rng)


def _clerk(
    name: str, work: Sequence[str], size: int, night: bool, of: Office, rng: np.random.Generator
) -> Iterator[Event]:
    """Sessions of a shift, with pauses; each clerk has a pace, a burst and habits of his own."""
    begins = (21.0 if night else rng.normal(8.5, 0.8)) * HOUR
    length = rng.normal(7.5, 0.8) * HOUR
    pace, burst = rng.lognormal(np.log(90), 0.7), rng.normal(1.5, 0.35)
    fast = np.clip(rng.beta(2, 6), 0.02, 0.8)
    late = rng.random() < 0.25
    weeks = int(rng.integers(of.weeks // 2, of.weeks + 1))
    days = [d for d in range(weeks * 7) if d % 7 < 5 or rng.random() < 0.12]
    matrix = _habits(len(work), rng)
    case, state, made = int(rng.integers(10_000)), 0, 0
    while made < size:
        day = MONDAY + days[int(rng.integers(len(days)))] * DAY
        at = day + begins + rng.normal(0, 0.4 * HOUR)
        if late and rng.random() < 0.15:
            at += rng.uniform(3, 6) * HOUR
        until = at + length
        while at < until and made < size:
            yield Event(name, float(at), work[state], f"case {case}", zone=7200.0)
            made += 1
            state = int(np.searchsorted(matrix[state], rng.random()))
            if state == 0:
                case = int(rng.integers(13_000))
            if rng.random() < fast:
                at += rng.exponential(0.3)
            else:
                at += rng.lognormal(np.log(pace), burst)


def _habits(size: int, rng: np.random.Generator) -> Floats:
    """Cumulated transition probabilities: mostly on to the next action, in each clerk's own way."""
    matrix = rng.dirichlet(np.ones(size), size) * 0.35
    for i in range(size):
        matrix[i, (i + 1) % size] += 0.65
    return np.minimum(np.cumsum(matrix, axis=1), 1.0) + np.eye(1, size, size - 1) * 1e-9


# Shares of a day's applications by hour: evenings are busy, nights are not empty.
_ARRIVALS = np.array(
    [20, 10, 5, 3, 3, 4, 8, 22, 60, 88, 96, 92, 80, 84, 88, 84, 72, 56, 44, 48, 52, 50, 42, 32],
    dtype=float,
)


def _automaton(name: str, size: int, of: Office, rng: np.random.Generator) -> Iterator[Event]:
    """Takes applications when they are sent, alone or as an agency's batch, in the same two steps."""
    share = np.cumsum(_ARRIVALS / _ARRIVALS.sum())
    made = 0
    while made < size:
        hour = int(np.searchsorted(share, rng.random()))
        day = int(rng.integers(of.weeks * 7))
        at = MONDAY + day * DAY + (hour + rng.random()) * HOUR - 7200.0
        for _ in range(1 + int(rng.geometric(0.1)) * (rng.random() < 0.5)):
            case = int(rng.integers(13_000))
            for action in AUTOMATED:
                yield Event(name, float(at), action, f"case {case}", zone=7200.0)
                made += 1
                at += rng.lognormal(np.log(0.7), 0.4)
            at += rng.exponential(20.0)
