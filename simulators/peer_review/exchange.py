"""How the agents of a review hand each other manuscripts and reports: data, and gzipped JSON.

A manuscript goes to six agents, and every message is kept in the journal; packed it is a
tenth of its size. Who asks an agent from elsewhere may send it as plain data instead.
"""

import gzip
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from repertory.agents import TaskFailedError, Turn
from repertory.protocol import Artifact, Message, Part, Role, Task, TaskState

from .manuscript import Manuscript

Data = dict[str, Any]
_Model = TypeVar("_Model", bound=BaseModel)
_MOST = 64_000_000


def packed(model: BaseModel) -> Part:
    """A model as gzipped JSON; the same model gives the same bytes."""
    content = gzip.compress(model.model_dump_json().encode(), mtime=0)
    name = f"{type(model).__name__.lower()}.json.gz"
    return Part(raw=content, media_type="application/gzip", filename=name)


def unpacked(kind: type[_Model], part: Part) -> _Model:
    """The model that `packed` packed.

    Raises:
        TaskFailedError: It is none, or unpacks to more than 64 MB.
    """
    try:
        with gzip.open(BytesIO(part.raw or b""), "rb") as stream:
            content = stream.read(_MOST + 1)
        if len(content) > _MOST:
            raise TaskFailedError(f"{part.filename or 'a part'} unpacks to more than 64 MB")
        return kind.model_validate_json(content)
    except (OSError, EOFError, ValidationError):
        raise TaskFailedError(f"{part.filename or 'a part'} is no packed {kind.__name__}") from None


def manuscript_of(turn: Turn) -> tuple[Manuscript, Data]:
    """The manuscript of a turn's message, packed or plain, and the other data with it.

    Raises:
        TaskFailedError: The message has none.
    """
    parts = turn.message.parts
    data: Data = {}
    for part in parts:
        if part.has_data and isinstance(part.data, Mapping):
            data.update(part.data)
    for part in parts:
        if part.raw is not None:
            return unpacked(Manuscript, part), data
    if "manuscript" not in data:
        raise TaskFailedError(f"{turn.agent} takes data with a manuscript, not words")
    try:
        return Manuscript.model_validate(data["manuscript"]), data
    except ValidationError as error:
        told = error.errors()[0]
        where = ".".join(map(str, told["loc"]))
        raise TaskFailedError(f"the manuscript is none: {where}: {told['msg']}") from None


def sent(turn: Turn, peer: str, manuscript: Part, data: Data | None = None) -> Message:
    """A message to `peer` with a packed manuscript; replayed, it is the same message."""
    parts = (manuscript,) if data is None else (Part(data=data), manuscript)
    return Message(message_id=f"{turn.task_id}-{peer}", role=Role.USER, parts=parts)


async def answer(turn: Turn, data: Data, *more: Part) -> None:
    """End the turn with data, and with packed parts beside it."""
    parts = (Part(data=data), *more)
    await turn.add_artifact(Artifact(artifact_id="answer", name="answer", parts=parts))
    await turn.complete()


def answered(task: Task) -> tuple[Data, Sequence[Part]]:
    """The data of a peer that ended well, and its packed parts.

    Raises:
        TaskFailedError: It did not end well.
    """
    parts = [part for artifact in task.artifacts for part in artifact.parts]
    data = next((part.data for part in parts if part.has_data), None)
    if task.status.state is not TaskState.COMPLETED or not isinstance(data, Mapping):
        message = task.status.message
        told = (
            message.text if message is not None and message.text else "a step of the review failed"
        )
        raise TaskFailedError(told)
    return dict(data), [part for part in parts if part.raw is not None]
