"""Venue profiles: weights, thresholds and the checklist of a venue, as YAML.

Four ship with the package; a user's own is a file of the same form.
"""

from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Self

import rfc8785
import yaml
from pydantic import Field, ValidationError, model_validator

from .checklist import QUESTION_OF
from .errors import ProfileInvalidError
from .manuscript import Frozen
from .report import Task

_Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
_Weight = Annotated[float, Field(ge=0, le=100, allow_inf_nan=False)]


class Weights(Frozen):
    """How much each part counts in S."""

    coherence: _Weight = 1.0
    evidential_fit: _Weight = 1.0
    methodological_validity: _Weight = 1.0


class Thresholds(Frozen):
    """θ_f (risk), θ_r (reject) and θ_a (accept) of the decision rule."""

    risk: _Share = 0.6
    reject: _Share = 0.35
    accept: _Share = 0.7


class Ratings(Frozen):
    """The mean human rating from which a manuscript is accepted, on the venue's own scale."""

    accept: float


class Profile(Frozen):
    """A venue's profile. skip, major: questions of the checklist not asked, or raised to major."""

    name: str = Field(min_length=1, max_length=80)
    task: Task = "HCReview"
    weights: Weights = Weights()
    thresholds: Thresholds = Thresholds()
    ratings: Ratings | None = None
    skip: tuple[str, ...] = ()
    major: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if sum(self.weights.model_dump().values()) <= 0:
            raise ValueError("weights: all are 0; at least one must be above")
        limits = self.thresholds
        if limits.reject >= limits.accept:
            raise ValueError(
                f"thresholds: reject is {limits.reject:g} and accept {limits.accept:g};"
                " reject must be below accept, or nothing could be revised"
            )
        if limits.risk <= 0:
            raise ValueError("thresholds.risk: 0 would reject every manuscript; it must be above")
        for key in ("skip", "major"):
            for name in getattr(self, key):
                if name not in QUESTION_OF:
                    known = ", ".join(QUESTION_OF)
                    raise ValueError(f"{key}: there is no question {name!r}; known: {known}")
        return self

    def digest(self) -> str:
        """SHA-256 of the profile in canonical JSON."""
        return sha256(rfc8785.dumps(self.model_dump(mode="json"))).hexdigest()


def shipped() -> dict[str, str]:
    """The profiles of the package: name to YAML."""
    folder = resources.files("repertory.simulators.peer_review").joinpath("profiles")
    found = {
        entry.name.removesuffix(".yaml"): entry.read_text(encoding="utf-8")
        for entry in folder.iterdir()
        if entry.name.endswith(".yaml")
    }
    return dict(sorted(found.items()))


def load_profile(name: str, folder: str = "") -> Profile:
    """A profile by the name of one that ships, or by the path of a YAML file.

    folder: what a relative path is relative to.

    Raises:
        ProfileInvalidError: There is no such profile, or a key of it is wrong.
    """
    known = shipped()
    if name.lower() in known:
        return parse_profile(known[name.lower()], f"{name.lower()}.yaml")
    path = Path(folder, name) if folder else Path(name)
    if not path.is_file():
        sentence = f"no venue profile {name!r}: neither a file nor one of {', '.join(known)}"
        raise ProfileInvalidError(sentence, name=name)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ProfileInvalidError(f"{path}: it cannot be read: {error}", name=name) from None
    return parse_profile(text, str(path))


def parse_profile(text: str, source: str) -> Profile:
    """The profile that a YAML text holds.

    Raises:
        ProfileInvalidError: The sentence names the file, the key and what may stand there.
    """
    try:
        data: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        place = getattr(error, "problem_mark", None)
        line = f", line {place.line + 1}" if place is not None else ""
        raise ProfileInvalidError(f"{source}{line}: this is no YAML", name=source) from None
    if not isinstance(data, dict):
        raise ProfileInvalidError(f"{source}: a profile is a mapping with a `name`", name=source)
    try:
        return Profile.model_validate(data)
    except ValidationError as error:
        told = "; ".join(_told(each) for each in error.errors())
        raise ProfileInvalidError(f"{source}: {told}", name=source) from None


def _told(error: Any) -> str:
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "value_error":
        return str(error["ctx"]["error"])
    if error["type"] == "extra_forbidden":
        return f"{key}: there is no such key; known: {', '.join(Profile.model_fields)}"
    if error["type"] == "missing":
        return f"{key}: it is missing"
    return f"{key}: {error['msg'].lower()}, not {error['input']!r}"
