"""The stock planner: splits a goal, gives the pieces to peers, gathers, and plans again on failure."""

from collections.abc import Mapping, Sequence
from typing import Any

import anyio
from pydantic import Field

from repertory.protocol import AgentCard, Artifact, Part, RepertoryError, TaskState

from .agent import Agent, AgentSpec, ModelOptions, read_options
from .errors import AgentNotFoundError, OutputInvalidError, TaskFailedError
from .layout import as_data, as_json, opening, shape_section, shortened, system_text, words_of
from .models import ChatMessage, ChatResult, Tier
from .output import again, answer_faults, chat_request, recalled, result_of, typed_answer
from .plan import Subtask, plan_schema, read_plan, ready
from .turn import Turn

# What the model sees of one result and of one failure, in characters.
_RESULT = 4000
_FAILURE = 500
_DUTY = (
    "First split the goal into subtasks for your peers. Give each to the peer whose card fits best,"
    " say why it is needed, and name the subtasks whose results it needs in `after`; leave `after`"
    " empty for those that can begin at once. A peer sees its subtask, the goal and those results."
)
_REPLAN = (
    "Plan what is still to be done, another way. Subtasks with a result are done: do not plan them"
    " again, name them in `after` where their results are needed."
)
_GATHER = "All subtasks are done. Now answer the goal from their results:"


class PlannerOptions(ModelOptions):
    """What `options` of a planner may hold."""

    max_tokens: int = Field(default=1024, ge=1)
    max_subtasks: int = Field(default=12, ge=1, le=100)
    replans: int = Field(default=2, ge=0)


class Planner(Agent):
    """Reach a goal through peers.

    The plan is a graph of subtasks with reasons; independent ones run at the
    same time, and everything whose needs are met is run, also after a failure,
    so that the outcome hangs on the peers' answers and never on who was faster.
    Then the model plans again with what is known, at most `replans` times (2).
    Options: `replans`, `max_subtasks` of one plan (12), `max_tokens` (1024),
    `temperature` (0), `seed`. The answer is text, or JSON where the agent has
    an output schema.
    """

    def __init__(self, spec: AgentSpec) -> None:
        super().__init__(spec)
        self._options = read_options(PlannerOptions, spec)

    async def handle(self, turn: Turn) -> None:
        goal = words_of(turn.message)
        if not turn.peers:
            raise AgentNotFoundError(
                f"{self.spec.name} plans, but has nobody to give work to; name agents under its"
                " 'peers' in the manifest",
                name="",
            )
        hits = await recalled(turn, self.spec, goal)
        schema = plan_schema(turn.peers, self._options.max_subtasks)
        system = system_text(
            self.spec.instructions,
            _DUTY,
            f"A plan is JSON that fits this schema: {as_json(schema)}",
            _peer_section(turn.peers),
        )
        beginning = opening(system, hits, turn.history, goal)
        results: dict[str, Any] = {}
        failures: list[str] = []
        for attempt in range(1 + self._options.replans):
            if attempt:
                await turn.report(f"planning again: {'; '.join(failures[-3:])}")
            tasks = await self._plan(turn, schema, beginning, results, failures)
            await turn.declare([task.peer for task in tasks])
            failed = await _carry_out(turn, goal, tasks, results)
            if not failed:
                await self._gather(turn, beginning, results)
                return
            failures.extend(failed)
        raise TaskFailedError(
            f"{self.spec.name} gave up after planning {1 + self._options.replans} times:"
            f" {'; '.join(failures)}",
            failures=tuple(failures),
        )

    async def _plan(
        self,
        turn: Turn,
        schema: Mapping[str, Any],
        beginning: Sequence[ChatMessage],
        results: Mapping[str, Any],
        failures: Sequence[str],
    ) -> tuple[Subtask, ...]:
        messages = list(beginning)
        if failures:
            told = f"Results so far:\n{_told(results)}\nThese subtasks failed:\n"
            messages.append(
                ChatMessage(role="user", content=f"{told}{as_data(as_json(failures))}\n{_REPLAN}")
            )
        request = chat_request(self._options, messages, Tier.JUDGE, schema)
        async with turn.phase("plan"):
            answer = await turn.chat(request)
            tasks, faults = _read(answer, schema, results)
            if faults:
                answer = await turn.chat(again(request, answer, faults))
                tasks, faults = _read(answer, schema, results)
        if faults:
            raise OutputInvalidError(
                f"{self.spec.name}'s model gave no plan, also after one repair:"
                f" {'; '.join(faults)}",
                agent=self.spec.name,
                faults=tuple(faults),
            )
        return tasks

    async def _gather(
        self, turn: Turn, beginning: Sequence[ChatMessage], results: Mapping[str, Any]
    ) -> None:
        shape = shape_section(self.spec.output_schema)
        content = "\n".join(part for part in (_GATHER, _told(results), shape) if part)
        messages = [*beginning, ChatMessage(role="user", content=content)]
        request = chat_request(self._options, messages, Tier.JUDGE)
        if self.spec.output_schema is not None:
            part = Part(data=await typed_answer(turn, request, self.spec))
        else:
            part = Part(text=(await turn.chat(request)).text)
        await turn.add_artifact(Artifact(artifact_id="answer", name="answer", parts=(part,)))
        await turn.complete()


async def _carry_out(
    turn: Turn, goal: str, tasks: Sequence[Subtask], results: dict[str, Any]
) -> list[str]:
    """Run what can run of the graph; fills `results`, returns what failed, in the plan's order."""
    failed: dict[str, str] = {}
    begun: set[str] = set(results)

    async def run(task: Subtask) -> None:
        await turn.note(task.why, about=task.peer)
        needed = {name: results[name] for name in task.after}
        content = {"goal": task.goal, "of": goal, "results": needed}
        try:
            answer = await turn.ask(task.peer, content)
        except RepertoryError as error:
            failed[task.id] = error.sentence
            return
        if answer.status.state is TaskState.COMPLETED:
            results[task.id] = result_of(answer)
            start()
        else:
            said = answer.status.message.text if answer.status.message else ""
            failed[task.id] = said or answer.status.state.name

    def start() -> None:
        for task in ready(tasks, results, begun):
            begun.add(task.id)
            group.start_soon(run, task)

    async with anyio.create_task_group() as group:
        start()
    return [
        shortened(f"{task.id} by {task.peer} ({task.goal}): {failed[task.id]}", _FAILURE)
        for task in tasks
        if task.id in failed
    ]


def _read(
    answer: ChatResult, schema: Mapping[str, Any], results: Mapping[str, Any]
) -> tuple[tuple[Subtask, ...], list[str]]:
    faults = answer_faults(answer, schema)
    if faults:
        return (), faults
    try:
        return read_plan(answer.parsed, results), []
    except ValueError as error:
        return (), [str(error)]


def _told(results: Mapping[str, Any]) -> str:
    lines = [
        f"{name}: {shortened(as_json(value), _RESULT)}" for name, value in sorted(results.items())
    ]
    return as_data("\n".join(lines))


def _peer_section(peers: Mapping[str, AgentCard]) -> str:
    lines = []
    for name, card in sorted(peers.items()):
        told = [card.description, *(f"{skill.name}: {skill.description}" for skill in card.skills)]
        lines.append(f"{name}:\n{as_data(chr(10).join(told))}")
    return "\n".join(["Your peers, as their cards describe them:", *lines])
