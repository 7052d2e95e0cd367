"""Licences: SPDX expressions, and what their terms allow to be done with a pack.

The names and their categories are those of the `license-expression` library. What a
category allows here is our reading for a store of experience and no legal advice:

- public domain and permissive: everything.
- copyleft: everything, but what is derived keeps the licence, two of different
  families do not mix, and nothing may be added when it leaves the store.
- by name, `NC`: not for commercial purposes; `ND`: nothing is derived; `SA`: copyleft.
- RAIL: may be passed on, with its use restrictions (Stronger Together: "always ...
  at minimum the same use-based restrictions"); `IMPLIED` is our rendering of them.
- any other (commercial, proprietary, unstated): inside the store only.

Of alternatives (`OR`) one that allows is enough; of parts (`AND`) all must allow.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

from .errors import RightsError

INTERNAL = "LicenseRef-Internal"
"""Ours: not licensed to anybody outside."""

IMPLIED = frozenset(
    {
        "automated-legal-decisions",
        "disinformation",
        "discrimination",
        "impersonation",
        "law-enforcement",
        "medical-advice",
    }
)
_INSIDE = frozenset({INTERNAL, "LicenseRef-Proprietary"})
# The library knows this name and not ours.
_STANDS_FOR_INSIDE = "LicenseRef-scancode-proprietary-license"
_OPEN = frozenset({"Permissive", "Public Domain"})
_COPYLEFT = frozenset({"Copyleft", "Copyleft Limited"})
# Which licences a work under the key may take in, by their own terms on compatibility.
_TAKES_IN = {
    "GPL-3.0": ("CC-BY-SA-4.0", "LGPL-2.1", "LGPL-3.0", "MPL-2.0"),
    "AGPL-3.0": ("CC-BY-SA-4.0", "GPL-3.0", "LGPL-2.1", "LGPL-3.0", "MPL-2.0"),
    "GPL-2.0": ("LGPL-2.1", "MPL-2.0"),
}

Expression: TypeAlias = tuple[str, tuple["Expression", ...]] | str
"""A licence's name, or ("AND" | "OR", parts)."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What one licence allows. family: its name without version suffix where it is copyleft."""

    derive: bool = True
    commercial: bool = True
    share: bool = True
    family: str = ""
    implied: frozenset[str] = frozenset()


@cache
def expression_of(licence: str) -> Expression:
    """Read an SPDX expression.

    Raises:
        RightsError: It is none, or a name in it is unknown.
    """
    if licence in _INSIDE:
        return licence
    from license_expression import ExpressionError

    spoken = licence
    for name in _INSIDE:
        spoken = spoken.replace(name, _STANDS_FOR_INSIDE)
    try:
        parsed = _licensing().parse(spoken, validate=True, strict=True)
    except ExpressionError as error:
        raise RightsError(
            f"unknown licence {licence!r} ({error}): name it as an SPDX expression such as"
            f" 'Apache-2.0', or {INTERNAL!r} for what stays inside",
            licence=licence,
        ) from None
    if parsed is None:
        raise RightsError(
            f"the licence is empty: {INTERNAL!r} is for what stays inside", licence=licence
        )
    return _read(parsed)


@cache
def _licensing() -> Any:
    from license_expression import get_spdx_licensing

    return get_spdx_licensing()


def _read(node: Any) -> Expression:
    name = type(node).__name__
    if name in ("AND", "OR"):
        return name, tuple(_read(each) for each in node.args)
    # An exception only ever allows more, so the licence alone is the safe reading.
    symbol = getattr(node, "license_symbol", node)
    key = str(symbol.key)
    return INTERNAL if key == _STANDS_FOR_INSIDE else key


def allows(licence: str, action: str, purpose: str) -> str:
    """Why `licence` forbids `action` for `purpose`; empty when it allows it."""
    return _refusal(expression_of(licence), action, purpose)


def _refusal(node: Expression, action: str, purpose: str) -> str:
    if isinstance(node, str):
        return _refusal_of(node, action, purpose)
    refusals = [_refusal(each, action, purpose) for each in node[1]]
    if node[0] == "OR":
        return "" if "" in refusals else refusals[0]
    return next(filter(None, refusals), "")


def _refusal_of(name: str, action: str, purpose: str) -> str:
    terms = terms_of(name)
    if action in ("record", "read"):
        return ""
    if not terms.derive and action in ("recall", "derive"):
        return f"{name} allows nothing to be derived"
    if not terms.commercial and purpose == "commercial":
        return f"{name} is not for commercial purposes"
    if not terms.share and action == "export":
        return f"{name} stays inside the store"
    return ""


@cache
def terms_of(name: str) -> Terms:
    """The terms of one licence by its SPDX name."""
    if name in _INSIDE:
        return Terms(share=False)
    if "rail" in name.lower():
        return Terms(implied=IMPLIED)
    parts = name.split("-")
    category = _categories().get(name, "")
    copyleft = category in _COPYLEFT or "SA" in parts
    named = name.startswith("CC-BY")
    return Terms(
        derive="ND" not in parts,
        commercial="NC" not in parts,
        share=named or copyleft or category in _OPEN,
        family=_family(name) if copyleft else "",
    )


def _family(name: str) -> str:
    return name.removesuffix("-only").removesuffix("-or-later").removesuffix("+")


@cache
def _categories() -> dict[str, str]:
    from license_expression import get_license_index

    return {
        str(each["spdx_license_key"]): str(each["category"])
        for each in get_license_index()
        if each.get("spdx_license_key")
    }


def implied(licence: str) -> frozenset[str]:
    """The use restrictions that come with a licence whoever names it."""
    found = [terms_of(name).implied for name in _names(expression_of(licence))]
    return frozenset().union(*found)


def _names(node: Expression) -> Iterator[str]:
    if isinstance(node, str):
        yield node
        return
    for each in node[1]:
        yield from _names(each)


def sharing_conflict(licence: str) -> str:
    """Why parts of a licence forbid each other to be passed on together; empty when they do not."""
    required = [each for each in _parts(expression_of(licence)) if isinstance(each, str)]
    copyleft = [name for name in required if terms_of(name).family]
    narrower = [
        name
        for name in required
        if name not in copyleft and not (terms_of(name).commercial and terms_of(name).derive)
    ]
    if copyleft and narrower:
        return f"{copyleft[0]} may not be passed on together with {narrower[0]}"
    return ""


def closed_to_additions(licence: str) -> bool:
    """Whether its copyleft forbids to pass it on with further restrictions."""
    required = _parts(expression_of(licence))
    return any(isinstance(each, str) and terms_of(each).family for each in required)


def joined(licences: Sequence[str]) -> str:
    """The licence of what is derived from all of these: every part holds.

    Raises:
        RightsError: Two copyleft licences in it do not mix, or one allows no derivation.
    """
    parts: dict[str, Expression] = {}
    for licence in licences:
        for each in _parts(expression_of(licence)):
            parts.setdefault(_written(each), each)
    for written, each in parts.items():
        refusal = _refusal(each, "derive", "")
        if refusal:
            raise RightsError(f"{refusal}, so no pack is made of it", licence=written)
    _mixes([each for each in parts.values() if isinstance(each, str)])
    return " AND ".join(sorted(parts))


def _mixes(names: Sequence[str]) -> None:
    families = {terms_of(name).family for name in names} - {""}
    if len(families) < 2:
        return
    for family in families:
        if families - {family} <= set(_TAKES_IN.get(family, ())):
            return
    listed = " and ".join(sorted(families))
    raise RightsError(f"{listed} do not mix in one pack", licences=sorted(families))


def _parts(node: Expression) -> tuple[Expression, ...]:
    return node[1] if not isinstance(node, str) and node[0] == "AND" else (node,)


def _written(node: Expression) -> str:
    if isinstance(node, str):
        return node
    inner = f" {node[0]} ".join(_written(each) for each in node[1])
    return f"({inner})"
