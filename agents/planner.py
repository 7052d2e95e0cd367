"""The stock planner: splits a goal, gives the pieces to peers, gathers, and plans again on failure."""

from collections.abc import Mapping, Sequence
from typing import Any

import anyio

from repertory.protocol import Artifact, Part, RepertoryError, Task, TaskState

from .agent import Agent
from .errors import OutputInvalidError, TaskFailedError
from .layout import as_data, as_json, history_messages, pack_section, system_text, words_of
from .models import ChatMessage, ChatRequest, Tier
from .output import faults_of, typed_answer
from .plan import Subtask, plan_schema, read_plan, ready
from .turn import Turn

_MAX_TOKENS = 1024
_MAX_SUBTASKS = 12
_REPLANS = 2
_DUTY = (
    "Split the goal into subtasks for your peers. Give each to the peer whose card fits best, say"
    " why it is needed, and name the subtasks it must come after; leave `after` empty for those"
    " that can begin at once."
)
_GATHER = "All subtasks are done. Answer the goal from their results."


class Planner(Agent):
    """Reach a goal through peers.

    The plan is a graph of subtasks with reasons; independent ones run at the
    same time. When one fails, the model plans again with what is known, at most
    `replans` times (2). Options: `replans`, `max_subtasks` (12), `max_tokens`
    (1024). The answer is text, or JSON where the agent has an output schema.
    """

    async def handle(self, turn: Turn) -> None:
        goal = words_of(turn.message)
        hits = await turn.recall(goal, limit=self.spec.recall) if self.spec.recall else ()
        opening = [
            ChatMessage(
                role="system",
                content=system_text(
                    self.spec.instructions, _DUTY, _peer_section(turn), pack_section(hits)
                ),
            ),
            *history_messages(turn.history),
            ChatMessage(role="user", content=as_data(goal)),
        ]
        results: dict[str, Any] = {}
        failures: list[str] = []
        for _ in range(1 + self.spec.options.get("replans", _REPLANS)):
            tasks = await self._plan(turn, opening, results, failures)
            failed = await self._carry_out(turn, goal, tasks, results)
            if not failed:
                break
            failures.extend(failed)
            await turn.report(f"planning again: {'; '.join(failed)}")
        else:
            raise TaskFailedError(
                f"{self.spec.name} gave up after planning"
                f" {1 + self.spec.options.get('replans', _REPLANS)} times: {'; '.join(failures)}",
                failures=tuple(failures),
            )
        await self._gather(turn, opening, results)

    async def _plan(
        self,
        turn: Turn,
        opening: Sequence[ChatMessage],
        results: Mapping[str, Any],
        failures: Sequence[str],
    ) -> tuple[Subtask, ...]:
        messages = list(opening)
        if results or failures:
            messages.append(
                ChatMessage(
                    role="user",
                    content="Results so far:\n"
                    + as_data(as_json(results))
                    + "\nThese subtasks failed:\n"
                    + as_data("\n".join(failures))
                    + "\nPlan what is still to be done, another way.",
                )
            )
        schema = plan_schema(turn.peers, self.spec.options.get("max_subtasks", _MAX_SUBTASKS))
        async with turn.phase("plan"):
            fault = ""
            for _ in range(2):
                answer = await turn.chat(self._request(messages, schema))
                tasks, fault = _read(answer.parsed, schema, results)
                if not fault:
                    return tasks
                messages += [
                    ChatMessage(role="assistant", content=answer.text),
                    ChatMessage(role="user", content=f"That plan is not one: {as_data(fault)}"),
                ]
        raise OutputInvalidError(
            f"{self.spec.name}'s model gave no plan, also after one repair: {fault}",
            agent=self.spec.name,
        )

    def _request(
        self, messages: Sequence[ChatMessage], schema: dict[str, Any] | None = None
    ) -> ChatRequest:
        return ChatRequest(
            messages=tuple(messages),
            duty=Tier.JUDGE,
            json_schema=schema,
            max_tokens=self.spec.options.get("max_tokens", _MAX_TOKENS),
            seed=self.spec.options.get("seed"),
        )

    async def _carry_out(
        self, turn: Turn, goal: str, tasks: Sequence[Subtask], results: dict[str, Any]
    ) -> list[str]:
        """Run the graph; fills `results`, returns what failed. Nothing new begins after a failure."""
        failed: list[str] = []
        begun: set[str] = set(results)

        async def run(task: Subtask) -> None:
            await turn.note(task.why)
            needed = {name: results[name] for name in task.after if name in results}
            try:
                answer = await turn.ask(
                    task.peer, {"goal": task.goal, "of": goal, "results": needed}
                )
            except RepertoryError as error:
                failed.append(f"{task.id} by {task.peer}: {error.sentence}")
                return
            if answer.status.state is TaskState.COMPLETED:
                results[task.id] = result_of(answer)
                start()
            else:
                said = answer.status.message.text if answer.status.message else ""
                failed.append(f"{task.id} by {task.peer}: {said or answer.status.state.name}")

        def start() -> None:
            if failed:
                return
            for task in ready(tasks, results, begun):
                begun.add(task.id)
                group.start_soon(run, task)

        async with anyio.create_task_group() as group:
            start()
        return failed

    async def _gather(
        self, turn: Turn, opening: Sequence[ChatMessage], results: Mapping[str, Any]
    ) -> None:
        messages = [
            *opening,
            ChatMessage(role="user", content=f"{_GATHER}\n{as_data(as_json(results))}"),
        ]
        request = self._request(messages)
        if self.spec.output_schema is not None:
            part = Part(data=await typed_answer(turn, request, self.spec))
        else:
            part = Part(text=(await turn.chat(request)).text)
        await turn.add_artifact(Artifact(artifact_id="answer", name="answer", parts=(part,)))
        await turn.complete()


def result_of(task: Task) -> Any:
    """What a finished task gave: its last artifact's data or text, else its last words."""
    for artifact in reversed(task.artifacts):
        for part in artifact.parts:
            if part.kind == "data":
                return part.data
            if part.kind == "text":
                return part.text
    message = task.status.message
    if message is None:
        return None
    return message.data if message.data is not None else message.text


def _read(
    value: Any, schema: Mapping[str, Any], results: Mapping[str, Any]
) -> tuple[tuple[Subtask, ...], str]:
    faults = ["it is not JSON"] if value is None else faults_of(value, schema, None)
    if faults:
        return (), "; ".join(faults)
    try:
        return read_plan(value, results), ""
    except ValueError as error:
        return (), str(error)


def _peer_section(turn: Turn) -> str:
    lines = []
    for name, card in sorted(turn.peers.items()):
        skills = "; ".join(f"{skill.name}: {skill.description}" for skill in card.skills)
        lines.append(f"- {name}: {as_data(f'{card.description} {skills}'.strip())}")
    return "Your peers:\n" + "\n".join(lines)
