from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from anyio import fail_after, to_thread

from repertory.agents import Agent, AgentSpec, OptionsInvalidError, Turn
from repertory.protocol import TaskState
from repertory.runtime import open_network
from repertory.runtime.manifest import parse_manifest
from repertory.simulators import SimulatorInputError
from repertory.simulators.disparity import Supervisor
from repertory.simulators.disparity.baseline import Watch
from repertory.simulators.disparity.events import Event
from repertory.simulators.disparity.supervisor import load_baselines, save_baselines
from tests.claims import claim

USUAL = ("search", "chat", "read", "chat", "post", "mail")


def _usual(seed: int, count: int) -> Iterator[Event]:
    """An agent with a routine, odd steps now and then, and lognormal gaps."""
    rng, at = np.random.default_rng(seed), 0.0
    for i in range(count):
        at += rng.lognormal(0, 1)
        odd = rng.random() < 0.1
        action = str(rng.choice(USUAL[:3])) if odd else USUAL[i % len(USUAL)]
        yield Event("a", at, action, f"task {i // len(USUAL)}")


def _until(watch: Watch, evidence: float, at: float) -> int:
    """How many identical fast actions it takes to reach the evidence."""
    for count in range(1, 200):
        watch.observe(Event("a", at + count * 0.1, "post", "loop"), acts=True)
        if watch.furthest()[1] >= evidence:
            return count
    return 200


def test_a_loop_is_noticed_within_a_few_actions_and_the_usual_is_let_be() -> None:
    """Paper: Shin, Ramdas and Rinaldo (2022): few false alarms, and a short way to a true one."""
    alarms, delays = 0, []
    for seed in range(5):
        watch, last = Watch(200), 0.0
        for event in _usual(seed, 4000):
            watch.observe(event, acts=True)
            alarms += watch.furthest()[1] >= 1e4
            last = event.time
        delays.append(_until(watch, 1e4, last))
    assert alarms <= 20
    assert max(delays) <= 12


def test_an_agent_that_comes_back_is_let_go() -> None:
    """Ours: evidence is bounded, so that the usual wins it back within some dozens of events."""
    watch = Watch(200)
    events = list(_usual(0, 1000))
    for event in events[:700]:
        watch.observe(event, acts=True)
    _until(watch, 1e6, events[699].time)
    for event in events[700:]:
        watch.observe(event, acts=True)
    assert watch.furthest()[1] < 1e4


def _supervisor(folder: Path, **options: Any) -> Supervisor:
    return Supervisor(AgentSpec(name="guard", options=options, folder=str(folder)))


def _span(event: Event, agent: str = "clerk") -> dict[str, Any]:
    return {
        "trace_id": "t",
        "span_id": f"{event.time}",
        "parent_id": "",
        "name": f"execute_tool {event.action}",
        "kind": "INTERNAL",
        "start_ns": int(event.time * 1e9),
        "end_ns": int(event.time * 1e9) + 1,
        "status": "UNSET",
        "attributes": {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": event.action,
            "a2a.task.id": event.object,
        },
        "agent": agent,
    }


def test_a_ruling_names_the_measure_its_null_and_p(tmp_path: Path) -> None:
    """Ours: allow, cannot tell, flag and hold, each with its reason."""
    guard = _supervisor(tmp_path)
    events = list(_usual(0, 600))
    guard.follow({"spans": [_span(e) for e in events[:50]]})
    assert guard.ruling("clerk").verdict == "allow"
    assert "cannot tell: 50 events" in guard.ruling("clerk").reason
    guard.follow({"spans": [_span(e) for e in events[50:]]})
    calm = guard.ruling("clerk")
    assert calm.verdict == "allow"
    last = events[-1].time
    loop = [Event("clerk", last + i * 0.1, "post", "loop") for i in range(40)]
    guard.follow({"spans": [_span(e) for e in loop[:9]]})
    assert guard.ruling("clerk").verdict == "flag"
    guard.follow({"spans": [_span(e) for e in loop[9:]]})
    held = guard.ruling("clerk")
    assert held.verdict == "hold"
    assert held.measure in ("inertia", "next action")
    assert held.p is not None
    assert held.usual is not None
    assert held.p <= 1e-6
    assert held.value is not None
    assert held.value > held.usual[1]
    assert guard.consider({"agent": "clerk", "task": "loop", "action": "x"}).verdict == "hold"


def test_an_action_outside_the_declared_plan_gets_what_the_options_say(tmp_path: Path) -> None:
    """Ours: intention against behavior, before the action happens."""
    for unplanned in ("allow", "flag", "hold"):
        guard = _supervisor(tmp_path, unplanned=unplanned)
        guard.follow({"plans": [{"agent": "clerk", "task": "t1", "steps": ["SendMessage desk"]}]})
        asked = {"agent": "clerk", "task": "t1", "action": "execute_tool pay"}
        ruling = guard.consider(asked)
        assert ruling.verdict == unplanned
        planned = guard.consider({**asked, "action": "SendMessage desk"})
        assert planned.verdict == "allow"
        assert guard.consider({**asked, "task": "no plan"}).verdict == "allow"


def test_people_are_never_held_and_rubbish_is_left_out(tmp_path: Path) -> None:
    """Ours: what cannot be read of a span is no reason to stop."""
    guard = _supervisor(tmp_path, humans=["ana"])
    events = [Event("ana", float(i), "type", "t") for i in range(600)]
    guard.follow({"spans": [_span(e, "ana") for e in events]})
    guard.follow(
        {"spans": [_span(Event("ana", 600 + i / 99, f"x{i}", "t"), "ana") for i in range(60)]}
    )
    assert guard.ruling("ana").verdict == "flag"
    assert guard.follow({"spans": [{"agent": "ana"}, 7, {}], "plans": "none"}) == set()
    with pytest.raises(OptionsInvalidError, match="unplanned"):
        _supervisor(tmp_path, unplanned="shoot")


def test_baselines_are_kept_whole_and_other_files_are_refused(tmp_path: Path) -> None:
    """Ours: what an agent's usual was is known again after a restart."""
    watch = Watch(40)
    for event in _usual(1, 60):
        watch.observe(event, acts=True)
    file = tmp_path / "kept" / "baselines.json"
    save_baselines(file, {"a": watch.baseline})
    assert load_baselines(file) == {"a": watch.baseline}
    assert load_baselines(tmp_path / "nowhere.json") == {}
    file.write_text('{"a": {}}', encoding="utf-8")
    with pytest.raises(SimulatorInputError, match="no baselines of a supervisor"):
        load_baselines(file)


class Caller(Agent):
    """Asks the desk once, or again and again where the message says so."""

    async def handle(self, turn: Turn) -> None:
        for i in range(40 if turn.message.text == "loop" else 2):
            await turn.ask("desk", f"question {i}")


class Desk(Agent):
    """Answers at once."""

    async def handle(self, turn: Turn) -> None:
        await turn.complete("yes")


@claim("habd:supervisor")
async def test_a_live_agent_that_begins_to_loop_is_held_before_its_next_action(
    tmp_path: Path,
) -> None:
    """Paper: arXiv 2508.14415, Agent for Agent: the hold reaches a person through the policy."""
    text = """network: live
embedder: {engine: hash}
agents:
  caller: {kind: "x:Caller", peers: [desk], memory: {record: false}}
  desk: {kind: "x:Desk", memory: {record: false}}
  guard:
    kind: repertory.simulators.disparity:Supervisor
    memory: {record: false}
    options: {baseline: 60, keep: baselines.json, flag_at: 1.0e-3, hold_at: 1.0e-4}
oversight: {agent: guard, patience: 5}
"""
    manifest = parse_manifest(text, folder=tmp_path)
    kinds: dict[str, type[Agent]] = {"caller": Caller, "desk": Desk}
    with fail_after(40):
        async with open_network(manifest, kinds=kinds) as network:
            for i in range(24):
                task = await network.ask("caller", f"usual {i}")
                assert task.status.state is TaskState.COMPLETED
            task_id = await network.tell("caller", "loop")
            await network.idle()
            held = await network.task(task_id)
            assert held.status.state is TaskState.INPUT_REQUIRED
            assert held.status.message is not None
            assert "guard holds it" in held.status.message.text
            assert "left its baseline" in held.status.message.text
            standing = await network.ask("guard", "how do they do?")
            assert standing.status.message is not None
            assert "caller: hold" in standing.status.message.text
            await network.answer(task_id, "refuse")
            await network.idle()
            assert (await network.task(task_id)).status.state is TaskState.FAILED
    kept = await to_thread.run_sync(load_baselines, tmp_path / "baselines.json")
    assert set(kept) >= {"caller"}
