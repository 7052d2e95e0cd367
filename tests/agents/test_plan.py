from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from repertory.agents.output import faults_of
from repertory.agents.plan import Subtask, plan_schema, read_plan, ready


def _plan(**after: list[str]) -> dict[str, Any]:
    return {
        "subtasks": [
            {"id": name, "peer": "p", "goal": f"do {name}", "why": "w", "after": names}
            for name, names in after.items()
        ]
    }


def test_the_schema_is_one_and_knows_the_peers() -> None:
    """Ours: an unknown peer is a fault that names those there are."""
    schema = plan_schema(["editor", "critic"], 3)
    Draft202012Validator.check_schema(schema)
    (fault,) = faults_of(_plan(a=[]), schema)
    assert fault == "subtasks.0.peer: 'p' is not one of ['critic', 'editor']"
    assert faults_of(_plan(a=[], b=[], c=[], d=[]), plan_schema(["p"], 3)) != []


def test_a_cycle_is_refused_and_drawn() -> None:
    """Ours: subtasks that wait for each other would never begin."""
    with pytest.raises(ValueError, match=r"wait for each other: .* after "):
        read_plan(_plan(a=["b"], b=["a"]))


def test_a_subtask_that_waits_for_itself_is_refused() -> None:
    """Ours: the smallest cycle."""
    with pytest.raises(ValueError, match="a after a"):
        read_plan(_plan(a=["a"]))


def test_an_unknown_predecessor_is_refused_unless_it_is_done() -> None:
    """Ours: a new plan may build on results of the one before."""
    with pytest.raises(ValueError, match="subtask b comes after a, which is not there"):
        read_plan(_plan(b=["a"]))
    assert read_plan(_plan(b=["a"]), done=["a"]) == (Subtask("b", "p", "do b", "w", ("a",)),)


def test_an_id_used_twice_is_refused() -> None:
    """Ours: results are known by their subtask's id."""
    plan = _plan(a=[])
    plan["subtasks"] *= 2
    with pytest.raises(ValueError, match="used twice: a"):
        read_plan(plan)


@given(st.lists(st.sets(st.integers(0, 7), max_size=4), min_size=1, max_size=8))
def test_every_subtask_of_a_plan_is_ready_once_and_after_its_predecessors(
    needs: list[set[int]],
) -> None:
    """Ours: working off what is ready reaches all of a graph without cycles."""
    graph = {f"t{n}": [f"t{m}" for m in some if m < n] for n, some in enumerate(needs)}
    tasks = read_plan(_plan(**graph))
    done: list[str] = []
    while now := ready(tasks, done, done):
        for task in now:
            assert set(task.after) <= set(done)
        done.extend(task.id for task in now)
    assert sorted(done) == sorted(graph)
