"""Reuse, counted honestly: what was recalled, what of it was used, and whether that helped.

A network may hold out a share of its tasks, drawn by lot: what recall found for them is
withheld, and noted. So each family has two arms that differ in nothing but the packs,
and the difference of their shares of passed tasks is what the packs do; without a
held-out arm nothing is said of it. A pack helped (harmed) where the same question
passed (failed) with it and failed (passed) when it was withheld.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from typing import Any

from .connection import Connection
from .drafts import PackDraft, PackRef
from .evidence import count_use

_Z = 1.959964
# The newest task of the other arm that asked the same and was decided.
_OTHER = (
    "SELECT {verdict} FROM xp_use u JOIN xp_pack o ON o.digest = u.by"
    " JOIN xp_pack e ON e.digest = ? WHERE u.pack_id = ? AND u.tenant = ? AND u.kind = ?"
    " AND o.goal = e.goal AND o.situation = e.situation AND o.family = e.family"
    " AND {verdict} IN ('pass', 'fail')"
    " ORDER BY u.row_id DESC LIMIT 1"
)
_COUNTS = (
    "SELECT family, count(*), sum(recalled), sum(uses), sum(helped), sum(harmed) FROM xp_pack"
    " WHERE tenant = ? AND current = 1 {family} GROUP BY family ORDER BY family"
)
# The arm of a task: any pack withheld from it puts it into the one without.
_ARMS = (
    "SELECT family, without, count(CASE WHEN verdict = 'pass' THEN 1 END), count(*) FROM ("
    "SELECT t.family, max(CASE WHEN u.kind = 'withheld' THEN 1 ELSE 0 END) AS without,"
    " {verdict} AS verdict"
    " FROM xp_use u JOIN xp_pack t ON t.digest = u.by"
    " WHERE u.tenant = ? AND u.kind IN ('recalled', 'withheld') {family}"
    " GROUP BY t.digest, t.family, t.outcome) AS arm"
    " WHERE verdict IN ('pass', 'fail') GROUP BY family, without"
)
_WITHHELD = (
    "SELECT p.family, count(*) FROM xp_use u JOIN xp_pack p ON p.id = u.pack_id AND p.current = 1"
    " WHERE u.tenant = ? AND u.kind = 'withheld' {family} GROUP BY p.family"
)


@dataclass(frozen=True, slots=True)
class Share:
    """So many of so many tasks passed, with Wilson's 95% interval; 0 to 1 where there are none."""

    passed: int
    tasks: int

    @property
    def interval(self) -> tuple[float, float]:
        if not self.tasks:
            return 0.0, 1.0
        share, n = self.passed / self.tasks, self.tasks
        middle = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
        half = _Z / (1 + _Z**2 / n) * sqrt(share * (1 - share) / n + _Z**2 / (4 * n * n))
        return max(0.0, middle - half), min(1.0, middle + half)


@dataclass(frozen=True, slots=True)
class Reuse:
    """What became of the packs of one family. with_packs, without: the decided tasks of each arm."""

    family: str
    packs: int
    recalled: int
    withheld: int
    used: int
    helped: int
    harmed: int
    with_packs: Share
    without: Share

    @property
    def difference(self) -> tuple[float, float, float] | None:
        """Passed with packs less passed without, and its 95% interval (Newcombe 1998, method 10).

        None while one arm has no decided task.
        """
        a, b = self.with_packs, self.without
        if not a.tasks or not b.tasks:
            return None
        one, other = a.passed / a.tasks, b.passed / b.tasks
        (low1, high1), (low2, high2) = a.interval, b.interval
        gap = one - other
        return (
            gap,
            gap - sqrt((one - low1) ** 2 + (high2 - other) ** 2),
            gap + sqrt((high1 - one) ** 2 + (other - low2) ** 2),
        )

    def wire(self) -> dict[str, Any]:
        """As JSON; `difference` is null while nothing can be said."""
        gap = self.difference
        named = None if gap is None else dict(zip(("value", "low", "high"), gap, strict=True))
        return {**asdict(self), "difference": named}


def count_recalls(connection: Connection, draft: PackDraft, ref: PackRef, at: str) -> None:
    """Count what a task's recall gave or withheld, in the transaction of its pack."""
    for kind, packs in (("recalled", draft.recalled), ("withheld", draft.withheld)):
        for pack in dict.fromkeys(each.id for each in packs):
            count_use(connection, pack, draft.tenant, kind, ref.digest, at)
            _compare(connection, draft, ref, pack, kind, at)


def _compare(
    connection: Connection, draft: PackDraft, ref: PackRef, pack: str, kind: str, at: str
) -> None:
    if draft.outcome.verdict == "unknown":
        return
    other = "withheld" if kind == "recalled" else "recalled"
    found = connection.execute(
        _OTHER.format(verdict=connection.dialect.json_text("o.outcome", "verdict")),
        (ref.digest, pack, draft.tenant, other),
    ).fetchone()
    if found is None or found[0] == draft.outcome.verdict:
        return
    with_packs = draft.outcome.verdict if kind == "recalled" else found[0]
    change = "helped" if with_packs == "pass" else "harmed"
    count_use(connection, pack, draft.tenant, change, ref.digest, at)


def reuse_of(connection: Connection, tenant: str, family: str | None) -> list[Reuse]:
    """What became of a tenant's packs, by family."""
    values: Sequence[str] = (tenant,) if family is None else (tenant, family)

    verdict = connection.dialect.json_text("t.outcome", "verdict")

    def asked(sql: str, column: str) -> list[tuple[Any, ...]]:
        clause = "" if family is None else f"AND {column} = ?"
        return connection.execute(sql.format(family=clause, verdict=verdict), values).fetchall()

    arms: dict[tuple[str, int], Share] = {
        (name, without): Share(passed, tasks)
        for name, without, passed, tasks in asked(_ARMS, "t.family")
    }
    withheld = dict(asked(_WITHHELD, "p.family"))
    none = Share(0, 0)
    return [
        Reuse(
            name,
            packs,
            recalled,
            withheld.get(name, 0),
            used,
            helped,
            harmed,
            arms.get((name, 0), none),
            arms.get((name, 1), none),
        )
        for name, packs, recalled, used, helped, harmed in asked(_COUNTS, "family")
    ]
