"""Agent for Agent: a supervisor that follows the others live and says allow, flag or hold.

It answers A2A messages whose data part holds `spans` (as a network's store keeps
them), `plans` (what a task declared) and perhaps an `action` that is about to happen;
the runtime's oversight sends them (the manifest's `oversight`). Its answer is an
artifact named `rulings`. The same agent may stand in another process: nothing but
messages reaches it.
"""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import anyio.to_thread
from pydantic import BaseModel, ConfigDict, Field

from repertory.agents import Agent, AgentSpec, Turn, read_options
from repertory.protocol import Artifact, Part
from repertory.simulators.errors import SimulatorInputError

from .baseline import Baseline, Watch
from .spans import STAGES, event_of_span

Judgment = Literal["allow", "flag", "hold"]
RULINGS = "rulings"
"""The name of the artifact that a supervisor answers with."""


class SupervisorOptions(BaseModel):
    """What `options` of a supervisor may hold.

    flag_at, hold_at: the bound on false alarms per event at which an agent is flagged,
    and held. unplanned: what an action outside a declared plan gets at once.
    baseline: events that teach what is usual. keep: a file that baselines are kept
    in, relative to the manifest. humans: agents that are people and are never held.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    flag_at: float = Field(default=1e-4, gt=0, lt=1)
    hold_at: float = Field(default=1e-6, gt=0, lt=1)
    unplanned: Judgment = "flag"
    baseline: int = Field(default=200, ge=20)
    keep: str = ""
    humans: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ruling:
    """What a supervisor says of an agent, or of one action of it.

    p: the bound on how often the baseline would look so far out by chance, per event.
    usual: the middle 90 % of the measure's surprises in the baseline; value: the latest.
    """

    agent: str
    verdict: Judgment
    measure: str
    value: float | None
    usual: tuple[float, float] | None
    p: float | None
    events: int
    reason: str


class Supervisor(Agent):
    """Follow every agent of the network against its own baseline; see `SupervisorOptions`."""

    def __init__(self, spec: AgentSpec) -> None:
        super().__init__(spec)
        self._options = read_options(SupervisorOptions, spec)
        self._watches: dict[str, Watch] = {}

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        file = Path(self.spec.folder) / self._options.keep if self._options.keep else None
        if file is not None:
            known = await anyio.to_thread.run_sync(load_baselines, file)
            for name, baseline in known.items():
                self._watch(name).baseline = baseline
        try:
            yield
        finally:
            if file is not None:
                learned = {n: w.baseline for n, w in self._watches.items() if not w.learning}
                with anyio.CancelScope(shield=True):
                    await anyio.to_thread.run_sync(save_baselines, file, learned)

    async def handle(self, turn: Turn) -> None:
        data = turn.message.data
        if not isinstance(data, Mapping):
            await turn.complete(self._standing())
            return
        touched = self.follow(data)
        answer: dict[str, Any] = {
            RULINGS: [asdict(self.ruling(agent)) for agent in sorted(touched)]
        }
        action = data.get("action")
        if isinstance(action, Mapping):
            answer["action"] = asdict(self.consider(action))
        part = Part(data=answer)
        await turn.add_artifact(Artifact(artifact_id=RULINGS, name=RULINGS, parts=(part,)))
        await turn.complete()

    def follow(self, data: Mapping[str, Any]) -> set[str]:
        """Take spans and declared plans; the agents that they tell of."""
        touched: set[str] = set()
        for plan in _mappings(data.get("plans")):
            agent, steps = str(plan.get("agent", "")), plan.get("steps")
            if agent and isinstance(steps, Sequence):
                self._watch(agent).declare(str(plan.get("task", "")), [str(s) for s in steps])
        for row in _mappings(data.get("spans")):
            agent = str(row.get("agent", ""))
            if not agent:
                continue
            try:
                event = event_of_span(row, agent)
            except (KeyError, TypeError, AttributeError):
                # Another network's spans may lack what ours have; what they say is left out.
                continue
            acts = event.stage == STAGES[4]
            self._watch(agent).observe(event, acts=acts)
            touched.add(agent)
        return touched

    def ruling(self, agent: str) -> Ruling:
        """What stands of an agent now."""
        watch = self._watch(agent)
        if watch.learning:
            told = f"{watch.events} events: a baseline of {self._options.baseline} is not full"
            return Ruling(
                agent, "allow", "", None, None, None, watch.events, f"cannot tell: {told}"
            )
        measure, evidence = watch.furthest()
        p = min(1.0, 1.0 / evidence)
        verdict: Judgment = "allow"
        if p <= self._options.flag_at:
            verdict = "flag"
        if p <= self._options.hold_at and agent not in self._options.humans:
            verdict = "hold"
        usual = watch.baseline.usual(measure)
        value = watch.last.get(measure)
        reason = f"{measure} within its baseline"
        if verdict != "allow":
            reason = (
                f"{measure} has left its baseline: surprise {value or 0.0:.1f}, usual"
                f" {usual[0]:.1f} to {usual[1]:.1f}, p {p:.1g} per event"
            )
        return Ruling(
            agent,
            verdict,
            measure,
            value,
            usual if usual[0] == usual[0] else None,
            p,
            watch.events,
            reason,
        )

    def consider(self, action: Mapping[str, Any]) -> Ruling:
        """What is to become of an action: {agent, task, action} that is about to happen."""
        agent = str(action.get("agent", ""))
        standing = self.ruling(agent)
        watch = self._watch(agent)
        step, task = str(action.get("action", "")), str(action.get("task", ""))
        order = ("allow", "flag", "hold")
        if not watch.unplanned(task, step) or agent in self._options.humans:
            return standing
        if order.index(standing.verdict) >= order.index(self._options.unplanned):
            return standing
        known = watch.baseline.surprises["plan"]
        p = watch.baseline.p("plan", 1.0) if known else None
        return Ruling(
            agent,
            self._options.unplanned,
            "plan",
            1.0,
            watch.baseline.usual("plan") if known else None,
            p,
            watch.events,
            f"{step} is no step of the plan that {agent} declared",
        )

    def _watch(self, agent: str) -> Watch:
        if agent not in self._watches:
            self._watches[agent] = Watch(self._options.baseline, 1 / self._options.hold_at)
        return self._watches[agent]

    def _standing(self) -> str:
        rulings = [self.ruling(agent) for agent in sorted(self._watches)]
        if not rulings:
            return "nobody has done anything yet"
        return "\n".join(f"{r.agent}: {r.verdict}, {r.reason} ({r.events} events)" for r in rulings)


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def load_baselines(path: Path) -> dict[str, Baseline]:
    """Baselines by agent, none where the file is not there yet.

    Raises:
        SimulatorInputError: The file holds something else.
    """
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): Baseline.from_json(each) for name, each in value.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SimulatorInputError(
            f"{path}: no baselines of a supervisor ({type(error).__name__}: {error}); take it away"
            " to learn anew",
            file=str(path),
        ) from None


def save_baselines(path: Path, baselines: Mapping[str, Baseline]) -> None:
    """Write baselines whole or not at all, and nothing where there are none."""
    if not baselines:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(path.name + ".new")
    text = json.dumps({name: b.to_json() for name, b in sorted(baselines.items())})
    new.write_text(text, encoding="utf-8")
    new.replace(path)
