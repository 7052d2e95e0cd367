"""The runtime's branch of the error tree, and how its sentences name the nearest known thing.

RepertoryError
└── NetworkError                             the network could not be run
    ├── ManifestError      (ValueError)      the manifest; `findings` lists every fault
    ├── KindError          (ImportError)     a `module:name` of the manifest does not load
    ├── PolicyError        (ValueError)      a rule's condition, or a validator that broke
    ├── InputError         (ValueError)      what was given to the network cannot be read
    ├── SupervisionError                     an agent crashed more often than is allowed
    ├── UnguardedError     (ValueError)      others could call, and nobody is asked who he is
    └── PortInUseError     (OSError)         something else listens there

A store that cannot be used raises the experience store's `StoreError`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, ClassVar, Literal

from repertory.protocol import RepertoryError


class NetworkError(RepertoryError):
    """The network could not be run as it is described."""

    reason: ClassVar[str] = "NETWORK_ERROR"


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault of a manifest, or one thing worth knowing, with its place.

    line: counted from 1; 0 when the file has no such place. key: the dotted
    path in the file, `agents.desk.model`.
    """

    severity: Literal["error", "warning"]
    file: str
    line: int
    key: str
    sentence: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.sentence}"


class ManifestError(NetworkError, ValueError):
    """The manifest is not one; the sentence has a line for every fault found.

    `findings` holds them all; `file`, `line` and `key` are those of the first.
    """

    reason = "MANIFEST_INVALID"

    def __init__(self, findings: Sequence[Finding], /, **facts: Any) -> None:
        first = findings[0]
        super().__init__(
            "\n".join(str(finding) for finding in findings),
            findings=tuple(findings),
            file=first.file,
            line=first.line,
            key=first.key,
            **facts,
        )


class KindError(NetworkError, ImportError):
    """A `module:name` of the manifest could not be imported or is not what is needed there."""

    reason = "KIND_NOT_LOADED"


class PolicyError(NetworkError, ValueError):
    """A rule's condition is not in the condition language, or a validator broke its promise."""

    reason = "POLICY_INVALID"


class InputError(NetworkError, ValueError):
    """What was given to the network, a file or a folder, cannot be read."""

    reason = "INPUT_INVALID"


class SupervisionError(NetworkError):
    """An agent crashed more often than the manifest allows, and took the network with it."""

    reason = "SUPERVISION_EXHAUSTED"


class UnguardedError(NetworkError, ValueError):
    """Others than this machine could reach the network, and nobody would be asked who he is."""

    reason = "UNGUARDED"


class PortInUseError(NetworkError, OSError):
    """Something else listens on the port that the network was to serve."""

    reason = "PORT_IN_USE"


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that `name` was probably meant to be, if any is near."""
    close = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return close[0] if close else None


def listed(names: Iterable[str]) -> str:
    """Names as a sentence shows them: `'critic', 'editor'`, or `none`."""
    return ", ".join(repr(name) for name in names) or "none"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown name: the nearest one, or all there are."""
    names = list(known)
    near = nearest(name, names)
    return f"did you mean {near!r}?" if near else f"known: {listed(names)}"
