"""A plan as data: subtasks with reasons, given to peers, in a graph without cycles."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any


@dataclass(frozen=True, slots=True)
class Subtask:
    """One piece of a goal: what, why, by whom, and after which others."""

    id: str
    peer: str
    goal: str
    why: str
    after: tuple[str, ...] = ()


def plan_schema(peers: Iterable[str], most: int) -> dict[str, Any]:
    """The JSON Schema of a plan over these peers, of at most `most` subtasks."""
    return {
        "type": "object",
        "properties": {
            "subtasks": {
                "type": "array",
                "minItems": 1,
                "maxItems": most,
                "items": {
                    "type": "object",
                    "properties": {
                        "id": {"type": "string", "maxLength": 24},
                        "peer": {"enum": sorted(peers)},
                        "goal": {"type": "string", "maxLength": 600},
                        "why": {"type": "string", "maxLength": 300},
                        "after": {
                            "type": "array",
                            "maxItems": most,
                            "items": {"type": "string", "maxLength": 24},
                        },
                    },
                    "required": ["id", "peer", "goal", "why", "after"],
                    "additionalProperties": False,
                },
            }
        },
        "required": ["subtasks"],
        "additionalProperties": False,
    }


def read_plan(value: Mapping[str, Any], done: Iterable[str] = ()) -> tuple[Subtask, ...]:
    """A plan from JSON that fits `plan_schema`; `done` are subtasks of an earlier plan.

    Raises:
        ValueError: Names twice, `after` of nothing, or a cycle, named in the sentence.
    """
    tasks = [
        Subtask(each["id"], each["peer"], each["goal"], each["why"], tuple(each["after"]))
        for each in value["subtasks"]
    ]
    names = [task.id for task in tasks]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"subtask ids used twice: {', '.join(twice)}")
    known = {*names, *done}
    for task in tasks:
        if missing := [name for name in task.after if name not in known]:
            raise ValueError(f"subtask {task.id} comes after {missing[0]}, which is not there")
    try:
        tuple(TopologicalSorter({task.id: task.after for task in tasks}).static_order())
    except CycleError as error:
        raise ValueError(f"subtasks wait for each other: {' after '.join(error.args[1])}") from None
    return tuple(tasks)


def ready(tasks: Sequence[Subtask], done: Iterable[str], begun: Iterable[str]) -> list[Subtask]:
    """The subtasks that can begin now."""
    finished, started = set(done), set(begun)
    return [task for task in tasks if task.id not in started and finished.issuperset(task.after)]
