"""Derivation: a pack made of others by a named, pure function, so that it can be made again.

What a derived pack says depends on nothing but the contents of its parents (not on
their ids, trust or counters) and on its parameters. When a parent is forgotten it is
therefore made anew of those that are left, as if that one had never been.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeAlias

from .connection import Connection
from .drafts import Claim, PackDraft, PackRef
from .errors import DraftInvalidError, PackNotFoundError
from .record import pack_rows
from .rights import Request, require, rights_of
from .tables import PACK_COLUMNS, STEP_COLUMNS, Pack, Step, from_row
from .trust import TrustRule


@dataclass(frozen=True, slots=True)
class Parent:
    """A pack that another is derived from, with its steps."""

    pack: Pack
    steps: tuple[Step, ...]


Derivation: TypeAlias = Callable[[Sequence[Parent], Mapping[str, Any]], PackDraft | None]
"""Make a draft of parents (oldest first) and parameters; None when too little is left."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one pack is derived: by which function, from which digests, for whom."""

    name: str
    parents: tuple[str, ...]
    tenant: str
    owner: str
    params: Mapping[str, Any]
    purpose: str = ""


def tally(parents: Sequence[Parent], params: Mapping[str, Any]) -> PackDraft | None:
    """A rule: of these episodes so many passed, and these actions were usual among them."""
    if not parents:
        return None
    family = parents[0].pack.family
    verdicts = Counter(each.pack.outcome.get("verdict", "unknown") for each in parents)
    passed = [each for each in parents if each.pack.outcome.get("verdict") == "pass"]
    ways = Counter(
        " > ".join(str(step.action.get("name", "")) for step in each.steps) for each in passed
    )
    usual = sorted(ways.items(), key=lambda item: (-item[1], item[0]))[:1]
    told = ", ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items()))
    claims = [Claim(f"of {len(parents)} episodes: {told}")]
    claims += [Claim(f"usual way: {way} ({count} of {len(passed)})") for way, count in usual if way]
    return PackDraft(
        tenant="",
        owner="",
        kind="rule",
        layer="semantic",
        family=family,
        goal=str(params.get("goal") or f"how {family or 'tasks'} are done"),
        situation="\n".join(dict.fromkeys(each.pack.goal for each in parents)),
        why=tuple(claims),
    )


DERIVATIONS: Mapping[str, Derivation] = {"tally": tally}


def derive_rows(
    recipe: Recipe,
    now: datetime,
    *,
    registry: Mapping[str, Derivation],
    rule: TrustRule,
    reason: str = "derived",
) -> Callable[[Connection], PackRef | None]:
    """Return the unit that derives a pack; it returns None when the function makes none.

    The unit raises PackNotFoundError for a parent that the tenant does not have, and
    RightsError for one that may not be derived from.
    """
    function = registry.get(recipe.name)
    if function is None:
        known = ", ".join(sorted(registry)) or "none"
        raise DraftInvalidError(f"no derivation {recipe.name!r}; known: {known}", name=recipe.name)

    def write(connection: Connection) -> PackRef | None:
        parents = load_parents(connection, recipe.tenant, recipe.parents)
        request = Request("derive", recipe.owner, recipe.purpose, at=now)
        for each in parents:
            require(rights_of(each.pack.rights), request, f"pack {each.pack.id}")
        made = function(parents, recipe.params)
        if made is None:
            return None
        how = {"name": recipe.name, "params": dict(recipe.params), "purpose": recipe.purpose}
        draft = replace(
            made,
            tenant=recipe.tenant,
            owner=recipe.owner,
            how={**(made.how or {}), "derivation": how},
            parents=tuple((each.pack.digest, "derived_from") for each in parents),
            valid_from=now,
            reason=reason,
        )
        return pack_rows(draft, lambda: now, rule=rule)(connection)

    return write


def load_parents(connection: Connection, tenant: str, digests: Sequence[str]) -> list[Parent]:
    """The packs of these digests with their steps, oldest first.

    Raises:
        PackNotFoundError: The tenant has no pack of such a digest.
    """
    found: list[Parent] = []
    for digest in dict.fromkeys(digests):
        row = connection.execute(
            f"SELECT {', '.join(PACK_COLUMNS)} FROM xp_pack WHERE digest = ? AND tenant = ?",
            (digest, tenant),
        ).fetchone()
        if row is None:
            raise PackNotFoundError(f"no pack with the digest {digest[:12]!r}", digest=digest)
        pack = from_row(Pack, row)
        steps = connection.execute(
            f"SELECT {', '.join(STEP_COLUMNS)} FROM xp_step WHERE pack_id = ? AND rev = ?"
            " ORDER BY seq",
            (pack.id, pack.rev),
        ).fetchall()
        found.append(Parent(pack, tuple(from_row(Step, each) for each in steps)))
    return sorted(found, key=lambda each: (each.pack.recorded_at, each.pack.digest))
