"""What agents say to each other: parts, messages and artifacts (A2A 1.0, section 4.1)."""

from collections.abc import Mapping
from typing import Any, Self

from pydantic import model_validator
from uuid_utils import uuid7

from .wire import Base64, Required, Struct, Value, WireEnum, WireModel, require_one, to_base64


def new_id() -> str:
    """A UUID of version 7: unique everywhere, and later ones sort after earlier ones."""
    return str(uuid7())


class Role(WireEnum):
    """Who speaks: the side that asked, or the agent that answers."""

    USER = "ROLE_USER"
    AGENT = "ROLE_AGENT"


class Part(WireModel):
    """One piece of content: exactly one of `text`, `raw`, `url` and `data`.

    `data` may be any JSON value, also null: `Part(data=None)` is a part whose
    data is null, and `Part(text="x").data` is None because there is none.
    """

    text: str | None = None
    raw: Base64 | None = None
    url: str | None = None
    data: Value = None
    metadata: Struct = None
    filename: str = ""
    media_type: str = ""

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        count = (self.text is not None) + (self.raw is not None) + (self.url is not None)
        require_one(self, count + self.has_data, "text, raw, url, data")
        return self

    @property
    def has_data(self) -> bool:
        """Whether this is a data part, which `data is None` cannot tell."""
        return "data" in self.__pydantic_fields_set__

    def wire(self) -> dict[str, Any]:
        """This part as ProtoJSON; by hand because every message has one, and data may be null."""
        values = self.__dict__
        out: dict[str, Any]
        if (text := values["text"]) is not None:
            out = {"text": text}
        elif (raw := values["raw"]) is not None:
            out = {"raw": to_base64(raw)}
        elif (url := values["url"]) is not None:
            out = {"url": url}
        else:
            out = {"data": values["data"]}
        if (metadata := values["metadata"]) is not None:
            out["metadata"] = metadata
        if filename := values["filename"]:
            out["filename"] = filename
        if media_type := values["media_type"]:
            out["mediaType"] = media_type
        return out


class Message(WireModel):
    """One turn of a conversation; `message_id` is its sender's, and sending it twice is once."""

    message_id: Required
    role: Role
    parts: tuple[Part, ...] = ()
    context_id: str = ""
    task_id: str = ""
    metadata: Struct = None
    extensions: tuple[str, ...] = ()
    reference_task_ids: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The text parts, one per line."""
        return "\n".join(part.text for part in self.parts if part.text is not None)

    @property
    def data(self) -> Any | None:
        """What the first data part holds; None when there is none."""
        return next((part.data for part in self.parts if part.has_data), None)


class Artifact(WireModel):
    """An output of a task; `artifact_id` is unique within its task."""

    artifact_id: Required
    name: str = ""
    description: str = ""
    parts: tuple[Part, ...] = ()
    metadata: Struct = None
    extensions: tuple[str, ...] = ()


def user_message(
    content: str | Mapping[str, Any],
    *,
    message_id: str | None = None,
    context_id: str = "",
    task_id: str = "",
    metadata: Mapping[str, Any] | None = None,
) -> Message:
    """A message to an agent; text travels as a text part, a mapping as a data part."""
    return _message(Role.USER, content, message_id, context_id, task_id, metadata)


def agent_message(
    content: str | Mapping[str, Any],
    *,
    message_id: str | None = None,
    context_id: str = "",
    task_id: str = "",
    metadata: Mapping[str, Any] | None = None,
) -> Message:
    """A message from an agent; text travels as a text part, a mapping as a data part."""
    return _message(Role.AGENT, content, message_id, context_id, task_id, metadata)


def _message(
    role: Role,
    content: str | Mapping[str, Any],
    message_id: str | None,
    context_id: str,
    task_id: str,
    metadata: Mapping[str, Any] | None,
) -> Message:
    part = Part(text=content) if isinstance(content, str) else Part(data=content)
    return Message(
        message_id=message_id or new_id(),
        role=role,
        parts=(part,),
        context_id=context_id,
        task_id=task_id,
        metadata=None if metadata is None else dict(metadata),
    )
