"""The deterministic judge's function: a linear score of a text, as plain numbers in JSON.

Surface features, two features of a text in its company, and the directions of its
embedding, each with a weight per segment of readers. Learning it is `training`'s.
"""

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from repertory.simulators import SimulatorInputError

from .features import LENGTH, SURFACE, surface_matrix

Floats = npt.NDArray[np.float64]

# How near a text is to the middle of its company, and to the question or the goal.
MEANING = ("near the others", "near the question")
_FARTHEST = 4.0


def meaning_matrix(vectors: Floats, question: Floats) -> Floats:
    """Features of meaning for one company of texts, shape (n, 2 + d).

    vectors: unit vectors of the texts, shape (n, d). question: of what they speak to, (d,).
    """
    middle = vectors.mean(0) if len(vectors) else question
    return np.hstack([(vectors @ middle)[:, None], (vectors @ question)[:, None], vectors])


def standardized(raw: Floats, mean: Floats, scale: Floats) -> Floats:
    """Features in deviations, no farther out than `_FARTHEST`: odd texts must not weigh most."""
    inside: Floats = np.clip((raw - mean) / scale, -_FARTHEST, _FARTHEST)
    return inside


class Head(BaseModel):
    """The weights of one segment of readers; slope turns scores into logits of one vote."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weights: tuple[float, ...]
    slope: float = Field(gt=0)


class LinearModel(BaseModel):
    """A trained judge.

    embedder: the name of the embedder whose vectors it knows, "" for surface features
    only. mean, scale: of each feature over the training texts. heads: by segment, ""
    for all readers. about: data, licence, what it reached.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ignored_types=(cached_property,))

    embedder: str
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    heads: dict[str, Head]
    about: dict[str, Any] = {}

    @model_validator(mode="after")
    def _fits(self) -> Self:
        width = len(self.mean)
        sizes = {len(self.scale), *(len(head.weights) for head in self.heads.values())}
        if sizes != {width} or "" not in self.heads:
            raise ValueError("needs a head '' and as many weights as features in every head")
        if bool(self.embedder) != (width > len(SURFACE)) or width < len(SURFACE):
            raise ValueError(f"has {width} features, which are not those of this version")
        return self

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The features' names; the directions of an embedding are all called `meaning`."""
        rest = max(0, len(self.mean) - len(SURFACE) - len(MEANING))
        return (*SURFACE, *MEANING, *["meaning"] * rest)[: len(self.mean)]

    def matrix(
        self, texts: Sequence[str], vectors: Floats | None, question: Floats | None
    ) -> Floats:
        """Standardized features of one company of texts, shape (n, features)."""
        raw = surface_matrix(texts)
        if self.embedder:
            if vectors is None or question is None:
                raise ValueError(f"this judge reads the vectors of {self.embedder}")
            raw = np.hstack([raw, meaning_matrix(vectors, question)])
        return standardized(raw, np.array(self.mean), np.array(self.scale))

    def parts(self, matrix: Floats, segment: str = "") -> Floats:
        """What each feature adds to each text's score, in logits, shape (n, features)."""
        head = self.heads[segment]
        parts: Floats = matrix * (np.array(head.weights) * head.slope)
        return parts

    def without_length(self) -> Self:
        """The same judge, blind to how long a text is: the control for length."""
        kept = np.array([name not in LENGTH for name in self.names])
        heads = {
            segment: Head(weights=tuple(np.array(head.weights) * kept), slope=head.slope)
            for segment, head in self.heads.items()
        }
        return self.model_copy(update={"heads": heads})

    def rounded(self) -> Self:
        """The same judge with six digits a number, as it is written."""
        data = self.model_dump()
        return type(self).model_validate(_six_digits(data))


def load_linear(path: str | Path) -> LinearModel:
    """Read a trained judge from its JSON.

    Raises:
        SimulatorInputError: There is no such file, or it holds no judge of this version.
    """
    try:
        data = json.loads(Path(path).read_text("utf-8"))
        return LinearModel.model_validate(data)
    except OSError as error:
        raise SimulatorInputError(
            f"the judge {path} cannot be read: {error.strerror}", path=str(path)
        ) from None
    except (ValueError, ValidationError) as error:
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise SimulatorInputError(f"{path} holds no judge: {reason}", path=str(path)) from None


def save_linear(model: LinearModel, path: str | Path) -> None:
    """Write a judge as JSON, one key a line."""
    data = model.rounded().model_dump(mode="json")
    Path(path).write_text(json.dumps(data, indent=None, separators=(",", ":")) + "\n", "utf-8")


def _six_digits(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {key: _six_digits(each) for key, each in value.items()}
    return [_six_digits(each) for each in value] if isinstance(value, list | tuple) else value
