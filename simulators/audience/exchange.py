"""What the agents of the network say to each other, and how their options are read.

Data parts in, data parts out; a peer's failure is the asking turn's failure, with the
peer's own words.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from repertory.agents import AgentSpec, OptionsInvalidError, TaskFailedError, Turn, result_of
from repertory.protocol import Artifact, Message, Part, Task, TaskState
from repertory.simulators import SimulatorInputError
from repertory.xp_store import Embedder, HashEmbedder, MiniLM

from .scenario import Scenario, check_audiences, read_scenario

Data = dict[str, Any]
_Kind = TypeVar("_Kind", bound=BaseModel)


class Options(BaseModel):
    """What options of these agents have in common: no unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def scenario_of(message: Message) -> tuple[Scenario, str]:
    """The scenario of the message that began the run, and its file's name."""
    part = next(iter(message.parts), Part(text=""))
    file = part.filename or "the scenario"
    if part.has_data:
        try:
            return Scenario.model_validate(part.data), file
        except ValidationError as error:
            raise SimulatorInputError(f"{file}: {error.errors()[0]['msg']}", file=file) from None
    raw = part.raw if part.raw is not None else (part.text or "").encode()
    try:
        return read_scenario(raw.decode("utf-8"), file), file
    except UnicodeDecodeError:
        raise SimulatorInputError(
            f"{file} cannot be read: it is no UTF-8 text", file=file
        ) from None


def scenario_in(turn: Turn) -> Scenario:
    """The scenario that another agent of the network sent."""
    scenario = Scenario.model_validate(data_in(turn)["scenario"])
    check_audiences(scenario.audiences)
    return scenario


def data_in(turn: Turn) -> Mapping[str, Any]:
    """What another agent of the network sent."""
    data = turn.message.data
    if not isinstance(data, Mapping) or "scenario" not in data:
        raise SimulatorInputError(
            f"{turn.agent} answers the other agents of its network; give a scenario to the"
            " network's entry agent instead",
            agent=turn.agent,
        )
    return data


def answer_of(task: Task, name: str = "") -> Data:
    """The data of a peer's answer; its failure is this turn's as well."""
    if task.status.state is not TaskState.COMPLETED:
        message = task.status.message
        reason = message.text if message is not None else task.status.state.name.lower()
        raise TaskFailedError(reason, task=task.id)
    for each in task.artifacts:
        if each.artifact_id == name:
            return dict(each.parts[0].data)
    return dict(result_of(task))


def artifact(name: str, data: Mapping[str, Any]) -> Artifact:
    """An artifact of one data part."""
    return Artifact(artifact_id=name, name=name, parts=(Part(data=dict(data)),))


async def end(turn: Turn, data: Data) -> None:
    """Answer with `data` and complete."""
    await turn.add_artifact(artifact("answer", data))
    await turn.complete()


def read_options(kind: type[_Kind], spec: AgentSpec) -> _Kind:
    """The options of an agent, checked.

    Raises:
        OptionsInvalidError: One is not known, or its value is not one.
    """
    try:
        return kind.model_validate(dict(spec.options))
    except ValidationError as error:
        fault = error.errors()[0]
        name = ".".join(map(str, fault["loc"]))
        known = ", ".join(kind.model_fields)
        told = (
            f"no option {name!r}, known: {known}"
            if fault["type"] == "extra_forbidden"
            else f"{name}: {fault['msg']}"
        )
        raise OptionsInvalidError(
            f"the options of agent {spec.name} are wrong: {told}", agent=spec.name
        ) from None


@cache
def minilm() -> Embedder:
    """The embedder that all agents of a process share."""
    # One session for all audiences of a process; one thread, since runs share the machine.
    return MiniLM(threads=1)


def embedder(meaning: bool) -> Embedder:
    """What compares texts: by meaning, or by shared words."""
    return minilm() if meaning else HashEmbedder(256)
