"""What an agent is: something that answers messages, and knows nothing of hosting."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .errors import OptionsInvalidError
from .turn import Turn

_Options = TypeVar("_Options", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class AgentSpec:
    """What the manifest says of an agent, as the agent sees it.

    options: the keys of the manifest's `options` of this agent, for kinds of the user's own.
    recall: how many packs its stock kinds put before the model. family: the family of
    packs that it writes and that its stock kinds recall, "" for all. folder: the manifest's.
    """

    name: str
    description: str = ""
    instructions: str = ""
    output_schema: Mapping[str, Any] | None = None
    output_type: type[Any] | None = None
    skills: Sequence[Mapping[str, Any]] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    recall: int = 0
    family: str = ""
    folder: str = ""


class ModelOptions(BaseModel):
    """How a stock agent asks its model: tokens of one answer, temperature and seed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_tokens: int = Field(default=512, ge=1)
    temperature: float = Field(default=0.0, ge=0.0)
    seed: int | None = None


def read_options(kind: type[_Options], spec: AgentSpec) -> _Options:
    """The agent's options, checked.

    Raises:
        OptionsInvalidError: An option is not known, or its value is not one.
    """
    try:
        return kind.model_validate(dict(spec.options))
    except ValidationError as error:
        known = ", ".join(kind.model_fields)
        told = "; ".join(
            f"no option {'.'.join(map(str, each['loc']))!r}, known: {known}"
            if each["type"] == "extra_forbidden"
            else f"{'.'.join(map(str, each['loc']))}: {each['msg']}"
            for each in error.errors()
        )
        raise OptionsInvalidError(
            f"the options of agent {spec.name} are wrong: {told}", agent=spec.name
        ) from None


class Agent(ABC):
    """Answer messages, one turn at a time, several turns at once.

    Subclasses take an `AgentSpec`; state that must survive belongs in the turn
    (journaled) or in the agent's tools, not in `self`.
    """

    def __init__(self, spec: AgentSpec) -> None:
        self.spec = spec

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Hold what the agent needs while it runs; entered again after each restart."""
        yield

    @abstractmethod
    async def handle(self, turn: Turn) -> None:
        """Answer `turn.message`.

        Returning completes the task unless it was ended. Raising a
        `RepertoryError` fails it with that sentence; any other exception is a
        crash of the agent and goes to its supervisor.
        """
