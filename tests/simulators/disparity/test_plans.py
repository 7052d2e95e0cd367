from pathlib import Path
from typing import Any

import numpy as np
import pytest

from repertory.simulators import SimulatorInputError
from repertory.simulators.disparity.events import Event, EventColumns
from repertory.simulators.disparity.plans import compare, plan_values, plans_of
from repertory.simulators.disparity.spans import events_of_spans
from repertory.simulators.disparity.trajectories import load_trajectories, pass_hat
from repertory.simulators.statistics import auc
from tests.claims import claim


def test_a_plan_is_compared_as_a_set_and_as_a_sequence() -> None:
    """Ours: precision, recall, F1, order and duplicates of a case worked out by hand."""
    score = compare(["a", "b", "c", "d"], ["a", "c", "b", "x", "x"])
    assert score.precision == pytest.approx(3 / 5)
    assert score.recall == pytest.approx(3 / 4)
    assert score.f1 == pytest.approx(2 / 3)
    assert score.order == pytest.approx(2 / 5)
    assert score.unplanned == ("x", "x")
    assert score.undone == ("d",)
    assert score.duplicates == pytest.approx(1 / 5)
    assert score.sentence == "planned and not done: d; done and not planned: x, x"


def test_doing_what_was_planned_and_planning_nothing_are_exact() -> None:
    """Ours: the two ends of the scale."""
    assert compare(["a", "b"], ["b", "a"]).exact
    assert compare([], []).f1 == 1
    assert compare([], ["a"]).f1 == compare(["a"], []).f1 == 0


def test_plans_of_a_log_are_its_announced_events() -> None:
    """Ours: steps that failed were not done; events without a plan belong to none."""
    columns = EventColumns()
    for at, action, outcome, planned in (
        (1, "read", "", True),
        (2, "post", "", True),
        (3, "read", "ok", False),
        (4, "post", "error", False),
        (5, "mail", "ok", False),
    ):
        columns.add(Event("a", at, action, "case 1", outcome=outcome, plan="p1", planned=planned))
    columns.add(Event("a", 6, "alone", "case 1"))
    [score] = plans_of(columns.table())
    assert (score.precision, score.recall) == (0.5, 0.5)
    assert score.sentence == (
        "planned and not done: post on case 1; done and not planned: mail on case 1"
    )
    drawn = plan_values([score, score], 50)["a"]["plan_f1"]
    assert drawn.shape == (51,)
    assert np.allclose(drawn, 0.5)


def test_what_a_turn_declares_is_a_plan_of_its_spans() -> None:
    """Ours: `Turn.declare` is held against the tools and peers that the task then used."""
    facts = {"gen_ai.agent.name": "planner", "a2a.task.id": "t1"}
    rows: list[dict[str, Any]] = [
        {"name": "invoke_agent planner", "attributes": {**facts, "plan.steps": _STEPS}},
        {"name": "SendMessage", "attributes": {**facts, "gen_ai.agent.name": "desk"}},
        {"name": "execute_tool pay", "attributes": {**facts, "gen_ai.tool.name": "pay"}},
    ]
    columns = EventColumns()
    for i, row in enumerate(rows):
        of = {"gen_ai.operation.name": str(row["name"]).split()[0]}
        ids = {"trace_id": "t", "span_id": f"s{i}", "parent_id": "s0" if i else ""}
        times = {"start_ns": i * 10**9, "end_ns": i * 10**9 + 1, "status": "UNSET"}
        attributes = {**row["attributes"], **of} if i != 1 else {**row["attributes"], **_SENT}
        rows[i] = {**row, **ids, **times, "kind": "CLIENT", "attributes": attributes}
    columns.extend(events_of_spans(rows))
    [score] = plans_of(columns.table())
    assert score.actor == "planner"
    assert score.sentence == (
        "planned and not done: SendMessage desk; done and not planned: execute_tool pay"
    )


_STEPS = ["SendMessage desk", "SendMessage desk"]
_SENT = {"a2a.method.name": "SendMessage"}


@claim("habd:plans")
def test_plan_against_action_predicts_the_reward_of_real_runs(data_folder: Path) -> None:
    """Paper: tau-bench (arXiv 2406.12045): pass^k by its formula; F1 of plan and action tells success."""
    runs = load_trajectories(data_folder / "taubench" / "airline_trajectories.json.gz")
    solved = [run.solved for run in runs]
    assert pass_hat(runs, 1) == pytest.approx(np.mean(solved))
    assert [pass_hat(runs, k) for k in (2, 3, 4)] == sorted(
        (pass_hat(runs, k) for k in (2, 3, 4)), reverse=True
    )
    assert auc(solved, [run.score.f1 for run in runs]) > 0.9
    length = auc(solved, [-run.calls for run in runs])
    assert auc(solved, [run.score.f1 for run in runs]) > length + 0.1
    repeated = [np.mean([r.repeated for r in runs if r.solved is s]) for s in (True, False)]
    assert repeated[0] < repeated[1]
    shuffled = np.random.default_rng(0).permutation(solved)
    assert auc(shuffled, [run.score.f1 for run in runs]) == pytest.approx(0.5, abs=0.12)


def test_a_file_that_holds_no_trajectories_is_refused(tmp_path: Path) -> None:
    """Ours: one sentence that names the file."""
    path = tmp_path / "runs.json"
    path.write_text("[{}]", encoding="utf-8")
    with pytest.raises(SimulatorInputError, match=r"runs\.json: no file of trajectories"):
        load_trajectories(path)
