"""What a run is about: who speaks, to whom, with which aim, and what may be said.

`load_scenario` reads the YAML file a person writes and says in one sentence what is
wrong with it. What is made of a scenario (advice, candidates) is here too, as plain
values that travel between agents; making them is the agents' work.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from repertory.simulators import SimulatorInputError

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=20_000)]
Line = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]
Kind = Literal["standard", "unorthodox"]
Segment = Literal["", "same", "opposite"]

# Weights are written with two digits, so three equal ones sum to .99.
_SUM = 0.011


def _share(value: Any) -> Any:
    """40% as 0.4."""
    if isinstance(value, str) and value.strip().endswith("%"):
        try:
            return float(value.strip()[:-1]) / 100
        except ValueError:
            return value
    return value


class Entry(BaseModel):
    """What all parts of a scenario share: no unknown keys, no change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Audience(Entry):
    """Who listens, and how much that counts for the goal.

    segment: where they stand to what the speaker wants: the same side, the opposite
    one, or not known. cares_about: in their words; a deterministic judge compares
    candidates with it.
    """

    name: Line
    description: str = ""
    weight: Annotated[float, BeforeValidator(_share), Field(ge=0, le=1)]
    segment: Segment = ""
    cares_about: str = ""


class Advice(Entry):
    """A piece of advice that the speaker remembers.

    sentences: how it may be carried out, one per candidate of a set, where no model
    writes. place: where they go. edit: what else is done to the draft. source: who
    gave it: scenario, model, library or experience. effect: what an earlier run measured.
    """

    text: Line
    kind: Kind = "standard"
    sentences: tuple[Line, ...] = ()
    place: Literal["opening", "body", "closing"] = "opening"
    edit: Literal["", "shorten", "lead"] = ""
    source: Literal["scenario", "model", "library", "experience"] = "scenario"
    effect: float | None = None


class Given(Entry):
    """A candidate that the scenario brings along; advice: positions in its list, from 1."""

    name: Line
    text: Text
    advice: tuple[Annotated[int, Field(ge=1)], ...] = ()


class Baselines(Entry):
    """Baselines written elsewhere, for runs without a model that writes."""

    zero_shot: str = ""
    chain_of_thought: str = ""


class Rating(Entry):
    """What people said of a candidate: ratings on any scale, one per rater."""

    candidate: Line
    ratings: tuple[float, ...] = Field(min_length=1)
    audience: str = ""


class Search(Entry):
    """How widely is searched: pieces of advice, the largest set of them, candidates per set."""

    standard: int = Field(default=3, ge=0, le=20)
    unorthodox: int = Field(default=1, ge=0, le=20)
    largest_set: int = Field(default=2, ge=1, le=6)
    candidates_per_set: int = Field(default=3, ge=1, le=10)


class Scenario(Entry):
    """One occasion to say something. See examples/audience for complete ones."""

    name: Line = Field(alias="scenario")
    speaker: Line
    situation: Text
    goal: Text
    channel: str = ""
    constraints: tuple[Line, ...] = ()
    facts: tuple[Line, ...] = ()
    draft: str = ""
    audiences: tuple[Audience, ...] = ()
    advice: tuple[Advice, ...] = ()
    candidates: tuple[Given, ...] = ()
    baselines: Baselines = Baselines()
    ratings: tuple[Rating, ...] = ()
    search: Search = Search()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_audiences(self.audiences)
        _check_candidates(self)
        return self

    def brief(self) -> str:
        """The occasion in a few lines, for a model or a recall."""
        lines = [f"Speaker: {self.speaker}", f"Situation: {self.situation}", f"Goal: {self.goal}"]
        if self.channel:
            lines.append(f"Channel: {self.channel}")
        lines += [f"Constraint: {each}" for each in self.constraints]
        return "\n".join(lines)

    def wire(self) -> dict[str, Any]:
        """The scenario as JSON; `Scenario.model_validate` reads it back."""
        return self.model_dump(mode="json", by_alias=True)


def check_audiences(audiences: Sequence[Audience]) -> None:
    """Refuse double names and weights that do not sum to 1.

    Raises:
        ValueError: With one sentence.
    """
    names = [audience.name for audience in audiences]
    double = next((name for name in names if names.count(name) > 1), None)
    if double is not None:
        raise ValueError(f"audiences: {double!r} is named twice; every audience needs its own name")
    total = sum(audience.weight for audience in audiences)
    if audiences and abs(total - 1) > _SUM:
        told = ", ".join(f"{each.name} {each.weight:g}" for each in audiences)
        raise ValueError(f"audiences: the weights sum to {total:g} and not to 1 ({told})")


def _check_candidates(scenario: Scenario) -> None:
    texts = {"draft": scenario.draft, **scenario.baselines.model_dump()}
    names = [name for name, text in texts.items() if text.strip()]
    for given in scenario.candidates:
        if given.name in names or given.name in texts:
            raise ValueError(f"candidates: {given.name!r} is taken; give it another name")
        names.append(given.name)
        texts[given.name] = given.text
        beyond = [i for i in given.advice if i > len(scenario.advice)]
        if beyond:
            raise ValueError(
                f"candidates: {given.name!r} follows advice {beyond[0]}, and"
                f" {len(scenario.advice)} pieces are given"
            )
    written = sorted((" ".join(texts[name].split()), name) for name in names)
    for (one, a), (other, b) in pairwise(written):
        if one == other:
            raise ValueError(
                f"candidates: {a!r} and {b!r} say the same words; nothing can tell them apart"
            )
    audiences = [""] + [audience.name for audience in scenario.audiences]
    for rating in scenario.ratings:
        if rating.candidate not in names:
            known = ", ".join(names) or "none"
            raise ValueError(
                f"ratings: no candidate {rating.candidate!r}; those with a name are: {known}"
            )
        if rating.audience not in audiences:
            known = ", ".join(audiences[1:]) or "none"
            raise ValueError(f"ratings: no audience {rating.audience!r}; there are: {known}")


def load_scenario(path: str | Path) -> Scenario:
    """Read a scenario's file.

    Raises:
        SimulatorInputError: It cannot be read, or something in it is wrong.
    """
    try:
        text = Path(path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise SimulatorInputError(f"{path} cannot be read: {reason}", file=str(path)) from None
    return read_scenario(text, str(path))


def read_scenario(text: str, file: str) -> Scenario:
    """Read a scenario from its YAML; `file` is how it is called in what is said of it.

    Raises:
        SimulatorInputError: Something in it is wrong.
    """
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or "it is no YAML"
        raise SimulatorInputError(f"{file}{place}: {problem}", file=file) from None
    if not isinstance(data, Mapping):
        raise SimulatorInputError(
            f"{file} holds no scenario: it should be a mapping with the keys"
            " scenario, speaker, situation, goal and audiences",
            file=file,
        )
    try:
        return Scenario.model_validate(data)
    except ValidationError as error:
        raise SimulatorInputError(_told(error, file), file=file) from None


def _told(error: ValidationError, file: str) -> str:
    """The first fault, in a sentence."""
    fault = error.errors()[0]
    key = ".".join(str(part + 1 if isinstance(part, int) else part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        return f"{file}: there is no key {key!r} in a scenario"
    if fault["type"] == "missing":
        return f"{file}: {key!r} is missing"
    if fault["type"] == "string_too_short":
        return f"{file}: {key!r} is empty"
    if fault["type"] == "value_error":
        return f"{file}: {fault.get('ctx', {}).get('error')}"
    given = fault["input"]
    shown = repr(given) if len(repr(given)) < 60 else type(given).__name__
    return f"{file}: {key!r} is {shown}: {fault['msg'][0].lower()}{fault['msg'][1:]}"
