"""Rights: what may be done with a pack, by whom and for what; they only tighten down the lineage.

`permits` is the one place where a use is allowed or refused, for record, read, recall,
derive and export alike. `inherit` gives a derived pack every restriction of what it
comes from (Stronger Together's licence case), so no chain of derivations loses one.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal, TypeAlias

import orjson

from .connection import Connection
from .digests import digest_of, instant
from .drafts import Rights
from .errors import RightsError
from .licences import (
    allows,
    closed_to_additions,
    expression_of,
    implied,
    joined,
    sharing_conflict,
)

Action: TypeAlias = Literal["record", "read", "recall", "derive", "export"]
ACTIONS: tuple[Action, ...] = ("record", "read", "recall", "derive", "export")
CLASSIFICATIONS = ("public", "internal", "confidential", "secret")
NOBODY = "nobody!"
"""What is left where audiences or purposes have nothing in common; no name can be this."""

_SHARED = (
    "licence",
    "restrictions",
    "purposes",
    "audience",
    "classification",
    "policy_rev",
)


@dataclass(frozen=True, slots=True)
class Request:
    """A use that is asked for. principal: whose; clearance: the highest class it may see.

    purpose: what for, "" when nothing is said. at: when, for retention.
    """

    action: Action
    principal: str = ""
    purpose: str = ""
    clearance: str = "secret"
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a use is allowed; `reason` is a sentence when it is not."""

    allowed: bool
    reason: str = ""


def permits(rights: Rights, request: Request) -> Decision:
    """Decide whether `rights` allow `request`."""
    reason = _refusal(rights, request)
    return Decision(not reason, reason)


def _refusal(rights: Rights, request: Request) -> str:
    action, purpose = request.action, request.purpose
    until = rights.retain_until
    if until is not None and request.at is not None and request.at >= until and action != "read":
        return f"it was to be kept until {instant(until)[:10]}"
    if CLASSIFICATIONS.index(rights.classification) > CLASSIFICATIONS.index(request.clearance):
        return f"it is {rights.classification}, and the clearance is {request.clearance}"
    if rights.audience and request.principal not in rights.audience:
        return f"{request.principal or 'nobody in particular'!r} is not in its audience"
    reuse = action in ("recall", "derive", "export")
    if reuse and rights.purposes and purpose not in rights.purposes:
        wanted = ", ".join(sorted(rights.purposes))
        return f"it is for {wanted}, not for {purpose or 'an unnamed purpose'}"
    forbidden = {action, purpose} & (rights.restrictions | implied(rights.licence))
    if forbidden and reuse:
        return f"it is restricted: no {min(forbidden)}"
    if action == "export" and rights.restrictions and closed_to_additions(rights.licence):
        return f"{rights.licence} may not be passed on with further restrictions"
    conflict = sharing_conflict(rights.licence) if action == "export" else ""
    return conflict or allows(rights.licence, action, purpose)


def require(rights: Rights, request: Request, what: str) -> None:
    """Refuse what `rights` do not allow.

    Raises:
        RightsError: With the reason in its sentence.
    """
    decision = permits(rights, request)
    if not decision.allowed:
        raise RightsError(
            f"{what} may not be used for {request.action}: {decision.reason}",
            action=request.action,
            reason=decision.reason,
        )


def checked(rights: Rights) -> Rights:
    """`rights` as they may be stored, with the restrictions that their licence implies.

    Raises:
        RightsError: The licence or the classification is unknown.
    """
    expression_of(rights.licence)
    if rights.classification not in CLASSIFICATIONS:
        raise RightsError(
            f"unknown classification {rights.classification!r};"
            f" known: {', '.join(CLASSIFICATIONS)}",
            classification=rights.classification,
        )
    return replace(rights, restrictions=rights.restrictions | implied(rights.licence))


def inherit(own: Rights, parents: Sequence[Rights]) -> Rights:
    """The rights of a pack that comes from `parents`: its own, and all that theirs demand.

    Restrictions and subjects are united, audiences and purposes intersected, the
    strictest class and the earliest end of retention win, every licence holds.

    Raises:
        RightsError: A parent may not be derived from, or licences do not mix.
    """
    if not parents:
        return checked(own)
    every = [checked(each) for each in (own, *parents)]
    for each in parents:
        if "derive" in each.restrictions:
            raise RightsError("a pack it comes from is restricted: no derive")
    ends = [each.retain_until for each in every if each.retain_until is not None]
    return checked(
        Rights(
            licence=joined([each.licence for each in every]),
            restrictions=frozenset().union(*(each.restrictions for each in every)),
            purposes=frozenset(_common(each.purposes for each in every)),
            audience=tuple(sorted(_common(each.audience for each in every))),
            classification=max((each.classification for each in every), key=CLASSIFICATIONS.index),
            subjects=tuple(sorted({s for each in every for s in each.subjects})),
            retain_until=min(ends, default=None),
            policy_rev=max(each.policy_rev for each in every),
        )
    )


def _common(sets: Iterable[Iterable[str]]) -> set[str]:
    # An empty set names nobody in particular, which is everybody.
    named = [set(each) for each in sets if each]
    if not named:
        return set()
    return set.intersection(*named) or {NOBODY}


def rights_of(data: Mapping[str, Any]) -> Rights:
    """Read back what `Rights.wire` wrote."""
    until = data.get("retain_until")
    return Rights(
        licence=data["licence"],
        restrictions=frozenset(data["restrictions"]),
        purposes=frozenset(data["purposes"]),
        audience=tuple(data["audience"]),
        classification=data["classification"],
        subjects=tuple(data.get("subjects", ())),
        retain_until=None if until is None else datetime.fromisoformat(until),
        policy_rev=data["policy_rev"],
    )


def shared(rights: Mapping[str, Any]) -> dict[str, Any]:
    """What packs may have in common of their rights: all but whom they are about and how long."""
    return {name: rights[name] for name in _SHARED}


def key_of(rights: Mapping[str, Any]) -> str:
    """The key of `shared` rights in `xp_rights`."""
    return digest_of(shared(rights))[:16]


def allowed_keys(connection: Connection, tenant: str, request: Request) -> list[str] | None:
    """The keys of the tenant's rights that allow `request`; None when all of them do.

    They are few, so recall decides once for each of them and filters packs in SQL by
    `rights_key`; retention is a column of its own.
    """
    rows = connection.execute(
        "SELECT key, rights FROM xp_rights WHERE tenant = ?", (tenant,)
    ).fetchall()
    allowed = [key for key, text in rows if permits(rights_of(orjson.loads(text)), request).allowed]
    return None if len(allowed) == len(rows) else allowed
