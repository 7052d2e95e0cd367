"""What red and blue came to: attribution, detection, time to detect and false alarms, by policy."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from anyio import to_thread
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from repertory.simulators.commands import Run
from repertory.simulators.pages import Bar, Site, interval_bars
from repertory.simulators.statistics import (
    Estimate,
    auc,
    bootstrap,
    paired_difference,
    wilson,
)

from .duel import result_of_session
from .profiling import LENGTH, POLICIES, SWITCH, WINDOW, SessionResult
from .report import TEMPLATES

_CONTROL = "human"


@dataclass(frozen=True)
class PolicyResult:
    """One policy over its sessions; `auc` and `detected` of the human control are false alarms."""

    policy: str
    sessions: int
    before: Estimate
    after: Estimate
    fall: Estimate
    detection: Estimate
    detected: Estimate
    acts: float
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """The result for JSON."""
        estimates = {
            k: v.as_dict() if isinstance(v, Estimate) else v for k, v in vars(self).items()
        }
        return {
            k: None if isinstance(v, float) and np.isnan(v) else v for k, v in estimates.items()
        }


def by_policy(results: Sequence[SessionResult]) -> list[PolicyResult]:
    """The sessions put together, policy by policy, against the human sessions."""
    humans = [r for r in results if r.policy == _CONTROL]
    found = []
    for policy in POLICIES:
        own = [r for r in results if r.policy == policy]
        if not own:
            continue
        before, after = ([getattr(r, key) for r in own] for key in ("before", "after"))
        caught = [r for r in own if r.detected]
        labels = [0] * len(humans) + [1] * len(own)
        peaks = [r.peak for r in (*humans, *own)]
        told = policy != _CONTROL and bool(humans)
        nothing = Estimate(float("nan"), float("nan"), float("nan"), 0)
        found.append(
            PolicyResult(
                policy,
                len(own),
                bootstrap(_mean, before),
                bootstrap(_mean, after),
                paired_difference(before, after),
                bootstrap(auc, labels, peaks) if told else nothing,
                wilson(len(caught), len(own)),
                float(np.median([r.detected for r in caught])) if caught else float("nan"),
                float(np.median([r.seconds for r in caught])) if caught else float("nan"),
            )
        )
    return found


def _mean(values: Any) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


class DuelOutcome:
    """The duel's result, for a terminal, for JSON, and as a page."""

    def __init__(self, results: Sequence[SessionResult], failed: int, folder: Path | None) -> None:
        self.policies = by_policy(results)
        self.failed = failed
        self.folder = folder

    def sentences(self) -> list[str]:
        """What follows, in plain words."""
        told = []
        by_name = {p.policy: p for p in self.policies}
        switching = by_name.get("profile-switching")
        if switching is not None:
            told.append(
                f"when the attacker switches profiles, attribution falls from"
                f" {switching.before.value:.0%} to {switching.after.value:.0%} over the next"
                f" {WINDOW} acts (difference {switching.fall})"
            )
        delayed, script = by_name.get("delayed"), by_name.get("scripted")
        if delayed is not None and script is not None:
            told.append(
                f"random delays take detection of the script from {script.detected.value:.0%} to"
                f" {delayed.detected.value:.0%} of sessions, and its time from"
                f" {script.acts:.0f} to {delayed.acts:.0f} acts"
            )
        human = by_name.get(_CONTROL)
        if human is not None:
            told.append(f"false alarms: {human.detected} of {human.sessions} human sessions")
        if self.failed:
            told.append(f"{self.failed} sessions failed and are left out")
        return told

    def __rich__(self) -> RenderableType:
        table = Table(box=None, pad_edge=False)
        headings = (
            "policy",
            "who: before",
            "after",
            "detection AUC",
            "detected",
            "acts",
            "seconds",
        )
        for heading in headings:
            table.add_column(heading, justify="left" if heading == "policy" else "right")
        for p in self.policies:
            table.add_row(
                p.policy,
                _told(p.before),
                _told(p.after),
                _told(p.detection),
                _told(p.detected),
                _number(p.acts),
                _number(p.seconds),
            )
        parts: list[RenderableType] = [table, *(Text(s) for s in self.sentences())]
        if self.folder is not None:
            parts.append(Text(f"the page is {self.folder / 'duel.html'}"))
        return Group(*parts)

    def as_dict(self) -> dict[str, Any]:
        """The outcome for `--json`."""
        return {"policies": [p.as_dict() for p in self.policies], "told": self.sentences()}

    def write(self, folder: Path) -> None:
        """Write `duel.html` and `duel.json`.

        Raises:
            SimulatorError: The folder cannot be written.
        """
        bars = [
            Bar(f"{p.policy}, {when}", e.value, e.low, e.high, mark=when == "after")
            for p in self.policies
            for when, e in (("before", p.before), ("after", p.after))
        ]
        picture = interval_bars(
            bars,
            title="Right attributions before and after the switch",
            unit=f"share of acts {WINDOW} to {SWITCH}, and of the {WINDOW} after them",
            domain=(0.0, 1.0),
        )
        site = Site(folder, TEMPLATES)
        page = site.render(
            "duel.html", outcome=self, picture=picture, length=LENGTH, switch=SWITCH, window=WINDOW
        )
        text = json.dumps(self.as_dict(), indent=2, ensure_ascii=False) + "\n"
        site.write({"duel.html": page, "duel.json": text})


def _told(e: Estimate) -> str:
    if np.isnan(e.value):
        return "–"
    return f"{e.value:.2f} [{e.low:.2f}, {e.high:.2f}]"


def _number(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:,.0f}"


async def render_duel(run: Run) -> DuelOutcome:
    """The report of a run of the red and blue network; pages where the umpire's `out` says."""
    results = [result_of_session(o.task) for o in run.outcomes]
    kept = [r for r in results if r is not None]
    out = run.options_of("umpire").get("out")
    folder = Path(str(out)) if out else None
    outcome = await to_thread.run_sync(DuelOutcome, kept, len(results) - len(kept), folder)
    if folder is not None:
        await to_thread.run_sync(outcome.write, folder)
    return outcome
