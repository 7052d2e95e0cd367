"""What an agent shows an MCP host beside its tools: resources, prompts and completions."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from re import Pattern
from re import compile as pattern
from typing import Any
from urllib.parse import unquote

from mcp.types import GetPromptResult, InputRequiredResult, PromptArgument

from .service import Call

Text = str | bytes


@dataclass(frozen=True)
class HostResource:
    """A resource at one URI; `read` gives its text or bytes as the caller may see them."""

    uri: str
    name: str
    read: Callable[[Call], Awaitable[Text]]
    description: str = ""
    mime_type: str = "text/plain"


@dataclass(frozen=True)
class HostTemplate:
    """Resources under a URI template of simple variables, such as `xp://packs/{id}`.

    read: gives the text or bytes for the variables, None where there is no such
    resource for this caller. complete: values of a variable that begin as given.
    """

    uri_template: str
    name: str
    read: Callable[[Mapping[str, str], Call], Awaitable[Text | None]]
    description: str = ""
    mime_type: str = "application/json"
    complete: Callable[[str, str, Call], Awaitable[Sequence[str]]] | None = None

    def variables(self, uri: str) -> dict[str, str] | None:
        """The variables in `uri`, None when it does not fit the template."""
        found = _matcher(self.uri_template).fullmatch(uri)
        return None if found is None else {k: unquote(v) for k, v in found.groupdict().items()}


@dataclass(frozen=True)
class HostPrompt:
    """A prompt; `get` gives its messages from the arguments and, on a second round, the answers."""

    name: str
    get: Callable[
        [Mapping[str, str], Mapping[str, Any]], Awaitable[GetPromptResult | InputRequiredResult]
    ]
    description: str = ""
    arguments: tuple[PromptArgument, ...] = ()
    complete: Callable[[str, str, Call], Awaitable[Sequence[str]]] | None = None


def _matcher(template: str) -> Pattern[str]:
    pieces = template.replace("{", "\0").replace("}", "\0").split("\0")
    text = "".join(
        f"(?P<{piece}>[^/]+)" if at % 2 else _escaped(piece) for at, piece in enumerate(pieces)
    )
    return pattern(text)


def _escaped(text: str) -> str:
    return "".join(each if each.isalnum() or each in "/:" else f"\\{each}" for each in text)
