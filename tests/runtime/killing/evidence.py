"""What a killed network left behind, read from a copy of its store, and what is wrong with it.

Only a copy is opened: opening the store itself would recover it before the runtime can.
"""

import json
import shutil
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg

_ENDED = {
    "TASK_STATE_COMPLETED",
    "TASK_STATE_FAILED",
    "TASK_STATE_CANCELED",
    "TASK_STATE_REJECTED",
}
_ASKS = "TASK_STATE_INPUT_REQUIRED"
_MODEL = ("chat", "text_completion")


@dataclass(frozen=True, slots=True)
class StoredTask:
    """A row of the journal's tasks; `file` is the input it came from, "" for a callee's."""

    id: str
    agent: str
    parent: str
    state: str
    sequence: int
    ended: bool
    park: str
    file: str


@dataclass(slots=True)
class Evidence:
    """A store at one moment. effects: `chat DIGEST` or `tool KEY` of every finished call."""

    integrity: str = "ok"
    tasks: dict[str, StoredTask] = field(default_factory=dict)
    events: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    steps: dict[tuple[str, str], str] = field(default_factory=dict)
    effects: Counter[str] = field(default_factory=Counter)
    packs: Counter[str] = field(default_factory=Counter)

    def roots(self) -> list[StoredTask]:
        """The tasks that were given from outside."""
        return [task for task in self.tasks.values() if task.file]

    def waiting(self) -> list[str]:
        """The tasks that ask a person."""
        return [task.id for task in self.tasks.values() if task.state == _ASKS]

    def decisions(self) -> dict[str, str]:
        """What became of each file, as the state's last word."""
        return {task.file: task.state.removeprefix("TASK_STATE_") for task in self.roots()}

    def artifact(self, task_id: str, artifact_id: str) -> Mapping[str, Any]:
        """The data of an artifact as it was last given; empty when it was not."""
        for _, body in reversed(self.events.get(task_id, [])):
            given = json.loads(body).get("artifactUpdate", {}).get("artifact", {})
            if given.get("artifactId") == artifact_id:
                return dict(given["parts"][0]["data"])
        return {}


def read_evidence(store: Path | str) -> Evidence:
    """Read a store that nobody has open, a file or a server's by its URL; an absent one is empty."""
    if isinstance(store, str):
        with psycopg.connect(store) as connection:
            return _read(connection)
    if not store.exists():
        return Evidence()
    with TemporaryDirectory() as folder:
        for suffix in ("", "-wal", "-shm"):
            part = store.with_name(store.name + suffix)
            if part.exists():
                shutil.copy(part, folder)
        with closing(sqlite3.connect(Path(folder) / store.name)) as copy:
            names = {name for (name,) in copy.execute("SELECT name FROM sqlite_master")}
            if not {"task", "event", "step", "xp_pack"} <= names:
                return Evidence()
            found = _read(copy)
            found.integrity = copy.execute("PRAGMA integrity_check").fetchone()[0]
            return found


def _read(copy: "sqlite3.Connection | psycopg.Connection[Any]") -> Evidence:
    found = Evidence()
    for row in copy.execute(
        "SELECT id, agent, parent_task, state, sequence, ended, park, message FROM task"
    ):
        *facts, message = row
        file = (json.loads(message).get("metadata") or {}).get("dev.repertory/file", "")
        task_id, agent, parent, state, sequence, ended, park = facts
        found.tasks[task_id] = StoredTask(
            task_id, agent, parent, state, sequence, bool(ended), park, file
        )
    for task_id, sequence, body in copy.execute(
        "SELECT task_id, sequence, body FROM event ORDER BY task_id, sequence"
    ):
        found.events.setdefault(task_id, []).append((sequence, body))
    for task_id, key, kind, request, result in copy.execute(
        "SELECT task_id, key, kind, request, result FROM step WHERE ended_at IS NOT NULL"
    ):
        found.steps[task_id, key] = result
        if kind in _MODEL:
            found.effects[f"chat {_digest(json.loads(request))}"] += 1
        elif kind == "tool":
            found.effects[f"tool {sha256(f'{task_id}/{key}'.encode()).hexdigest()[:32]}"] += 1
    found.packs.update(owner for (owner,) in copy.execute("SELECT owner FROM xp_pack"))
    return found


def _digest(request: Any) -> str:
    return sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()


def faults_between(earlier: Evidence, later: Evidence) -> Iterator[str]:
    """What was durable at an earlier moment and is not, or not the same, at a later one."""
    for task_id in earlier.tasks.keys() - later.tasks.keys():
        yield f"task {task_id} was accepted and is gone"
    for task_id, events in earlier.events.items():
        if later.events.get(task_id, [])[: len(events)] != events:
            yield f"task {task_id}: events that were durable have changed"
    for step, result in earlier.steps.items():
        if later.steps.get(step) != result:
            yield f"step {step[1]} of task {step[0]} had a result that has changed"


def faults_at_rest(
    found: Evidence, given: Sequence[str], recorders: Collection[str] | None = None
) -> Iterator[str]:
    """What is wrong with a store whose network had nothing left to do.

    recorders: the agents that leave a pack for each ended task; by default all.
    """
    if found.integrity != "ok":
        yield f"integrity_check says {found.integrity}"
    counted = Counter(task.file for task in found.roots())
    for name in given:
        if counted[name] != 1:
            yield f"{name} has {counted[name]} tasks"
    for name in counted.keys() - set(given):
        yield f"{name} was never given"
    for task in found.tasks.values():
        yield from _faults_of(task, found.events.get(task.id, []))
    ended = Counter(
        task.agent
        for task in found.tasks.values()
        if task.ended and (recorders is None or task.agent in recorders)
    )
    if ended != found.packs:
        yield f"ended tasks left {dict(found.packs)} packs, not {dict(ended)}"


def _faults_of(task: StoredTask, events: list[tuple[int, str]]) -> Iterator[str]:
    if not (task.ended or task.state == _ASKS or task.park):
        yield f"task {task.id} of {task.agent} is stuck as {task.state}"
    sequences = [sequence for sequence, _ in events]
    if sequences != list(range(1, task.sequence + 1)):
        yield f"task {task.id}: its events are {sequences}, its last should be {task.sequence}"
    states = [state for _, body in events if (state := _state(json.loads(body)))]
    ends = [state for state in states if state in _ENDED]
    if len(ends) > 1 or (ends and states[-1] not in _ENDED) or bool(ends) != task.ended:
        yield f"task {task.id} has the states {states} and is {'' if task.ended else 'not '}ended"
    elif states and states[-1] != task.state:
        yield f"task {task.id} is {task.state}, its events say {states[-1]}"


def _state(event: Mapping[str, Any]) -> str:
    held = event.get("task") or event.get("statusUpdate") or {}
    return str(held.get("status", {}).get("state", ""))


def faults_of_repetition(
    begun: Sequence[Counter[str]], known: Sequence[Evidence], final: Evidence
) -> Iterator[str]:
    """Calls that were made although their result was already in the journal.

    begun: per life of the process, the calls that began. known: the store before
    each of these lives.
    """
    for life, (calls, before) in enumerate(zip(begun, known, strict=True)):
        for call, times in calls.items():
            allowed = final.effects[call] - before.effects[call]
            if times > allowed:
                yield (
                    f"in life {life} {call} was made {times} times; the journal had"
                    f" {before.effects[call]} of {final.effects[call]} results"
                )


def faults_of_children(evidence: Evidence) -> Iterator[str]:
    """Callees of one task and agent that are more than one, where each is asked once."""
    children: dict[tuple[str, str], list[str]] = defaultdict(list)
    for task in evidence.tasks.values():
        if task.parent:
            children[task.parent, task.agent].append(task.id)
    for (parent, agent), ids in children.items():
        if len(ids) > 1:
            yield f"task {parent} asked {agent} {len(ids)} times: {', '.join(ids)}"
