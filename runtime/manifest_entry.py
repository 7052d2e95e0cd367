"""What every part of the manifest stands on: its model, and the names and measures used in all."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z][A-Za-z0-9_-]*$",
        max_length=64,
        description="Letters, digits, '-' and '_', beginning with a letter.",
    ),
]
CapabilityName = Annotated[
    str,
    Field(
        pattern=r"^[\w*?-][\w.*?-]*(/[\w*?-][\w.*?-]*)?$",
        max_length=200,
        description="An agent ('clerk'), a skill ('clerk/reading') or a tool ('books.post');"
        " '*' and '?' match as in file names.",
    ),
]
Reference = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$",
        description="'module:name'; the manifest's folder comes first on the import path.",
    ),
]
Seconds = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class Entry(BaseModel):
    """A part of the manifest: frozen, and without keys of its own invention."""

    model_config = ConfigDict(extra="forbid", frozen=True)
