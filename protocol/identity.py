"""Who calls, for whom, and what for: the proven part of every call.

An `Identity` comes from what a transport proved (a token, a key, a certificate),
never from the caller's own words; who proves it is `guard`. `Capabilities` name
agents, skills and tools, and only ever narrow on the way from caller to callee.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from re import compile as pattern
from typing import Any, Final

from .errors import InvalidParamsError, PermissionDeniedError

LOCAL_PRINCIPAL: Final = "local"
DEFAULT_TENANT: Final = "default"
IDENTITY_KEY: Final = "repertory.identity"
"""Where an ASGI scope holds the `Identity` that `guard` proved."""

CAPABILITY: Final = pattern(r"(?=.{1,200}\Z)[\w*?-][\w.*?-]*(/[\w*?-][\w.*?-]*)?")
_MOST_SETS: Final = 64
_MOST_NAMES: Final = 256


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a call may ask and use: a name must be in every one of `sets`; none means everything.

    A name is an agent (`clerk`), one of its skills (`clerk/reading`) or a tool
    (`books.post`); `*` and `?` match as in file names, and an agent's name stands
    for all its skills. Each participant of a chain adds its set, so what is
    effective is their intersection, without any algebra of patterns.
    """

    sets: tuple[tuple[str, ...], ...] = ()

    def permits(self, name: str) -> bool:
        """Whether `name` may be asked or used."""
        agent = name.partition("/")[0]
        return all(
            any(fnmatchcase(name, each) or fnmatchcase(agent, each) for each in names)
            for names in self.sets
        )

    def reaches(self, agent: str) -> bool:
        """Whether `agent` may be asked for anything, be it for one of its skills alone."""
        return all(
            any(fnmatchcase(agent, each.partition("/")[0]) for each in names) for names in self.sets
        )

    def narrowed(self, names: Iterable[str] | None) -> "Capabilities":
        """These, and none that is not among `names`; None narrows nothing."""
        if names is None:
            return self
        added = tuple(sorted(set(names)))
        return self if added in self.sets else Capabilities((*self.sets, added))

    def within(self, other: "Capabilities") -> "Capabilities":
        """The intersection of both."""
        both = self
        for names in other.sets:
            both = both.narrowed(names)
        return both

    def require(self, name: str, *, principal: str = "", chain: tuple[str, ...] = ()) -> None:
        """Return when `name` is permitted.

        Raises:
            PermissionDeniedError: It is not.
        """
        if not self.permits(name):
            through = f" through {' and '.join(chain)}" if chain else ""
            raise PermissionDeniedError(
                f"{principal or 'the caller'} may not use {name!r}{through}", capability=name
            )

    def wire(self) -> list[list[str]]:
        """The sets as JSON."""
        return [list(names) for names in self.sets]

    @classmethod
    def parse(cls, value: Any) -> "Capabilities":
        """Read what `wire` gave.

        Raises:
            InvalidParamsError: It is no list of lists of names.
        """
        if (
            not isinstance(value, list)
            or len(value) > _MOST_SETS
            or not all(isinstance(names, list) and len(names) <= _MOST_NAMES for names in value)
            or not all(
                isinstance(name, str) and CAPABILITY.fullmatch(name)
                for names in value
                for name in names
            )
        ):
            raise InvalidParamsError(
                f"capabilities are at most {_MOST_SETS} lists of at most {_MOST_NAMES} names",
                path="capabilities",
            )
        return cls(tuple(tuple(names) for names in value))


EVERYTHING: Final = Capabilities()


@dataclass(frozen=True, slots=True)
class Identity:
    """Who is calling, as far as it was proven; by default nobody asked.

    principal: begins with how it was proven (`key:`, `oauth:`, `certificate:`),
    so that no issuer can name the agent or the user of another.
    """

    principal: str = LOCAL_PRINCIPAL
    tenant: str = DEFAULT_TENANT
    capabilities: Capabilities = EVERYTHING


LOCAL: Final = Identity()
NOBODY: Final = Identity("nobody", "", EVERYTHING.narrowed(()))
"""Who asks for what is told to everybody, and for nothing else."""


def identity_in(scope: Mapping[str, Any]) -> Identity:
    """The identity that was proven for an ASGI request; the local one where nothing asks."""
    identity = scope.get(IDENTITY_KEY, LOCAL)
    assert isinstance(identity, Identity)
    return identity
