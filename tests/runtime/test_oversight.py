from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from anyio import Event, fail_after

from repertory.agents import Agent, Turn
from repertory.protocol import Artifact, Part, TaskState
from repertory.runtime import open_network
from repertory.runtime.errors import ManifestError
from repertory.runtime.manifest import parse_manifest
from repertory.runtime.spans import SpanRow, load_spans
from repertory.xp_store import open_database
from tests.claims import claim

AGENTS = """network: watched
embedder: {engine: hash}
agents:
  clerk: {kind: "x:Clerk", peers: [desk]}
  desk: {kind: "x:Desk"}
  guard: {kind: "x:Guard", memory: {record: false}}
"""
OVERSIGHT = "oversight: {agent: guard, patience: 5}\n"


class Clerk(Agent):
    """Says that it will ask the desk, and asks it."""

    async def handle(self, turn: Turn) -> None:
        await turn.declare(["desk"])
        answer = await turn.ask("desk", turn.message.text)
        await turn.complete(answer.status.state.name)


class Desk(Agent):
    """Has done at once what it is asked."""

    async def handle(self, turn: Turn) -> None:
        await turn.complete("done")


def _guard(seen: list[Mapping[str, Any]], verdict: str, *, silent: bool = False) -> type[Agent]:
    class Guard(Agent):
        async def handle(self, turn: Turn) -> None:
            data = turn.message.data
            assert isinstance(data, Mapping)
            seen.append(data)
            if silent and "action" in data:
                await Event().wait()
            answer: dict[str, Any] = {"rulings": []}
            if "action" in data:
                answer["action"] = {
                    "agent": data["action"]["agent"],
                    "verdict": verdict,
                    "measure": "inertia",
                    "value": 9.0,
                    "usual": [0.0, 1.0],
                    "p": 1e-7,
                    "reason": "it repeats itself",
                }
            part = Part(data=answer)
            await turn.add_artifact(Artifact(artifact_id="r", name="rulings", parts=(part,)))

    return Guard


def _open(folder: Path, guard: type[Agent], oversight: str = OVERSIGHT) -> Any:
    manifest = parse_manifest(AGENTS + oversight, folder=folder)
    kinds: dict[str, type[Agent]] = {"clerk": Clerk, "desk": Desk, "guard": guard}
    return open_network(manifest, kinds=kinds)


async def _rulings(folder: Path) -> list[SpanRow]:
    async with open_database(f"sqlite:///{folder}/.repertory/watched.db") as database:
        spans = await load_spans(database)
    return [row for row in spans if "repertory.oversight.verdict" in row.attributes]


async def test_the_supervisor_sees_spans_plans_and_actions_of_the_others_only(
    tmp_path: Path,
) -> None:
    """Paper: arXiv 2508.14415, agents for agents: the live stream goes to an agent over A2A."""
    seen: list[Mapping[str, Any]] = []
    with fail_after(20):
        async with _open(tmp_path, _guard(seen, "allow")) as network:
            task = await network.ask("clerk", "hello")
            while not any(s["name"] == "invoke_agent clerk" for d in seen for s in d["spans"]):
                await network.ask("desk", "more")
    assert task.status.state is TaskState.COMPLETED
    actions = [d["action"] for d in seen if "action" in d]
    assert actions == [{"agent": "clerk", "task": task.id, "action": "SendMessage desk"}]
    assert {"agent": "clerk", "task": task.id, "steps": ["SendMessage desk"]} in [
        p for d in seen for p in d["plans"]
    ]
    told = {s["name"]: s["agent"] for d in seen for s in d["spans"]}
    assert told["SendMessage"] == "clerk"
    assert told["invoke_agent desk"] == "desk"
    assert "invoke_agent guard" not in told
    assert not any(name.startswith("oversee") for name in told)


@claim("habd:supervisor")
async def test_a_hold_stops_the_action_and_asks_a_person(tmp_path: Path) -> None:
    """Ours: a hold is the policy's question; refusing it denies the action, approving lets it go."""
    with fail_after(20):
        async with _open(tmp_path, _guard([], "hold")) as network:
            for answer, end in (("refuse", TaskState.FAILED), ("approve", TaskState.COMPLETED)):
                task_id = await network.tell("clerk", f"hello {answer}")
                await network.idle()
                task = await network.task(task_id)
                assert task.status.state is TaskState.INPUT_REQUIRED
                assert task.status.message is not None
                assert "guard holds it: it repeats itself" in task.status.message.text
                await network.answer(task_id, answer)
                await network.idle()
                assert (await network.task(task_id)).status.state is end


@claim("habd:traced")
async def test_every_ruling_on_an_action_is_traced(tmp_path: Path) -> None:
    """Ours: who watches is watched: verdict, measure, null and p are a span of their own."""
    async with _open(tmp_path, _guard([], "flag")) as network:
        await network.ask("clerk", "hello")
    [ruled] = await _rulings(tmp_path)
    [event] = ruled.attributes["repertory.events"]
    assert ruled.attributes["repertory.oversight.verdict"] == "flag"
    assert event["agent"] == "clerk"
    assert event["action"] == "SendMessage desk"
    assert (event["measure"], event["p"], event["usual"]) == ("inertia", 1e-7, [0.0, 1.0])


@pytest.mark.parametrize(
    ("unanswered", "state"),
    [("allow", TaskState.COMPLETED), ("ask", TaskState.INPUT_REQUIRED), ("deny", TaskState.FAILED)],
)
async def test_silence_means_what_the_manifest_says(
    tmp_path: Path, unanswered: str, state: TaskState
) -> None:
    """Ours: a supervisor that hangs neither stops the network for ever nor opens it by default."""
    oversight = f"oversight: {{agent: guard, patience: 0.05, unanswered: {unanswered}}}\n"
    with fail_after(20):
        async with _open(tmp_path, _guard([], "allow", silent=True), oversight) as network:
            task_id = await network.tell("clerk", "hello")
            async for told in network.watch(task_id):
                update = told.event.status_update
                if update is not None and update.status.state is state:
                    break


def test_an_oversight_of_nobody_is_a_fault_of_the_manifest(tmp_path: Path) -> None:
    """Ours: said with the nearest name, before anything starts."""
    text = AGENTS + "oversight: {agent: gaurd}\n"
    with pytest.raises(ManifestError, match=r"oversight names no agent: 'gaurd'.*guard"):
        parse_manifest(text, folder=tmp_path)
