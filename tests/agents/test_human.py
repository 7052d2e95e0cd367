from pathlib import Path
from typing import Any

import pytest

from repertory.protocol import InvalidParamsError, TaskState
from repertory.runtime import Network
from tests.agents.stage import Script, answered, said, stage

_BOSS = "  boss: {kind: human}\n"


async def _question(network: Network) -> Any:
    await network.idle()
    (row,) = await network.tasks(state=TaskState.INPUT_REQUIRED)
    return row.question


async def test_a_message_is_a_question_and_the_answer_is_the_result(tmp_path: Path) -> None:
    """Ours: INPUT_REQUIRED on the task, `answer` goes on."""
    async with stage(tmp_path, _BOSS) as network:
        task_id = await network.tell("boss", "May we?")
        assert await _question(network) == {"text": "May we?", "options": [], "context": {}}
        await network.answer(task_id, "yes, but soon")
        await network.idle()
        task = await network.task(task_id)
    assert task.status.state is TaskState.COMPLETED
    assert answered(task) == said(task) == "yes, but soon"


async def test_data_names_question_options_and_context(tmp_path: Path) -> None:
    """Ours: another agent asks a person with facts beside the question."""
    asked = {"question": "Pay it?", "options": ["pay", "refuse"], "context": {"amount": 12000}}
    async with stage(tmp_path, _BOSS) as network:
        task_id = await network.tell("boss", asked)
        question = await _question(network)
        assert question["text"] == "Pay it?"
        assert question["options"] == ["pay", "refuse"]
        assert question["context"] == {"amount": 12000}
        with pytest.raises(InvalidParamsError, match="one of pay, refuse"):
            await network.answer(task_id, "perhaps")
        await network.answer(task_id, "refuse")
        await network.idle()
        assert answered(await network.task(task_id)) == "refuse"


@pytest.mark.parametrize(
    ("content", "text", "context"),
    [
        ({"question": "Pay?", "amount": 3}, "Pay?", {"amount": 3}),
        (
            {"goal": "Approve it", "of": "x", "results": {}},
            "Approve it",
            {"of": "x", "results": {}},
        ),
        ({"amount": 3}, '{"amount": 3}', {}),
        ({"question": "Pay?", "options": "yes", "context": [1]}, "Pay?", {"context": [1]}),
    ],
)
async def test_other_facts_stand_beside_the_question(
    tmp_path: Path, content: dict[str, Any], text: str, context: dict[str, Any]
) -> None:
    """Ours: nothing the sender said is lost, and nonsense for options is free text."""
    async with stage(tmp_path, _BOSS) as network:
        await network.tell("boss", content)
        assert await _question(network) == {"text": text, "options": [], "context": context}


async def test_options_of_the_manifest_stand_whatever_a_message_says(tmp_path: Path) -> None:
    """Ours: a message cannot widen what may be answered."""
    agents = "  boss: {kind: human, options: {options: [approve, refuse]}}\n"
    async with stage(tmp_path, agents) as network:
        await network.tell("boss", {"question": "Pay?", "options": ["approve", "approve all"]})
        assert (await _question(network))["options"] == ["approve", "refuse"]


async def test_a_question_waits_over_a_restart(tmp_path: Path) -> None:
    """Ours: asked once, answered in a later life."""
    async with stage(tmp_path, _BOSS) as network:
        task_id = await network.tell("boss", {"question": "Pay?", "options": ["yes", "no"]})
        before = await _question(network)
    async with stage(tmp_path, _BOSS) as network:
        assert await _question(network) == before
        await network.answer(task_id, "no")
        await network.idle()
        task = await network.task(task_id)
        states = [event.event.status_update async for event in network.watch(task_id)]
    assert answered(task) == "no"
    asked = [s for s in states if s and s.status.state is TaskState.INPUT_REQUIRED]
    assert len(asked) == 1


async def test_a_planner_may_give_a_subtask_to_a_person(tmp_path: Path) -> None:
    """Ours: people are peers; the goal is the question, what is known stands beside it."""
    agents = "  lead: {kind: planner, memory: {recall: 0}, peers: [boss]}\n" + _BOSS
    subtask = {"id": "a", "peer": "boss", "goal": "Approve it", "why": "w", "after": []}
    script = Script({"subtasks": [subtask]}, "Approved.")
    async with stage(tmp_path, agents, model=script.model) as network:
        task_id = await network.tell("lead", "Pay the bill")
        question = await _question(network)
        assert question["text"] == "Approve it"
        assert question["context"] == {"of": "Pay the bill", "results": {}}
        await network.answer(task_id, "go ahead")
        await network.idle()
        assert answered(await network.task(task_id)) == "Approved."
    assert 'a: "go ahead"' in script.asked[1].messages[-1].content
