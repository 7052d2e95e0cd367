"""Runs of tasks with a gold plan: what an agent called, against what it should have.

Reads the trajectories of tau-bench (arXiv 2406.12045): a task's gold actions stand in
for the declared plan, the tool calls of the run for the behavior, and the reward says
whether the task was solved.
"""

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb
from pathlib import Path
from typing import Any

from repertory.simulators.errors import SimulatorInputError

from .plans import PlanScore, compare

_READS = ("get_", "search_", "list_", "find_", "calculate", "think", "transfer_to_human")


@dataclass(frozen=True)
class Trajectory:
    """One run: its task, whether it was solved, all calls, and plan against write calls."""

    task: str
    solved: bool
    calls: int
    repeated: int
    score: PlanScore


def load_trajectories(path: Path) -> list[Trajectory]:
    """The runs of a file of trajectories, JSON or gzipped JSON.

    Raises:
        SimulatorInputError: It is none.
    """
    try:
        data = path.read_bytes()
        runs = json.loads(gzip.decompress(data) if path.suffix == ".gz" else data)
        return [_trajectory(run) for run in runs]
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise SimulatorInputError(
            f"{path}: no file of trajectories ({type(error).__name__}: {error}); it is a list of"
            " {task_id, reward, info: {task: {actions}}, traj}",
            file=str(path),
        ) from None


def _trajectory(run: Mapping[str, Any]) -> Trajectory:
    task = str(run["task_id"])
    gold = [(a["name"], _canonical(a["kwargs"])) for a in run["info"]["task"]["actions"]]
    calls = [
        (call["function"]["name"], _canonical(call["function"]["arguments"]))
        for message in run["traj"]
        for call in message.get("tool_calls") or ()
    ]
    writes = [c for c in calls if not c[0].startswith(_READS)]
    plan = [g for g in gold if not g[0].startswith(_READS)]
    return Trajectory(
        task,
        float(run["reward"]) >= 1.0,
        len(calls),
        len(calls) - len(set(calls)),
        compare(plan, writes, actor="agent", plan=task),
    )


def _canonical(arguments: Any) -> str:
    value = json.loads(arguments) if isinstance(arguments, str) else arguments
    return json.dumps(value, sort_keys=True)


def pass_hat(runs: Sequence[Trajectory], k: int) -> float:
    """pass^k: the chance that k runs of a task are all solved, over tasks (tau-bench, section 4)."""
    by_task: dict[str, list[bool]] = {}
    for run in runs:
        by_task.setdefault(run.task, []).append(run.solved)
    shares = [comb(sum(r), k) / comb(len(r), k) for r in by_task.values() if len(r) >= k]
    return sum(shares) / len(shares) if shares else float("nan")
