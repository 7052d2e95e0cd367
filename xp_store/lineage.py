"""Lineage: what came of a pack, over edges, steps and revisions; and what a person may select.

Everything that came of a pack may hold some of it, whichever the relation, but for
`UNRELATED` ones. So forgetting, rolling back and the inheritance of rights all follow
the same closure.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import orjson

from .connection import Connection, Dialect
from .digests import instant
from .drafts import UNRELATED

_CHUNK = 500


@dataclass(frozen=True, slots=True)
class Selector:
    """Which packs are meant; what is given must all hold, and something must be given.

    ids: of packs. subjects: keyed hashes of persons. source: an owner, a principal,
    a task or a trace. since, until: when they were recorded. text: words that stand
    in them, whole. expired: those whose retention has ended by this moment.
    """

    ids: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()
    source: str = ""
    since: datetime | None = None
    until: datetime | None = None
    text: tuple[str, ...] = ()
    expired: datetime | None = None

    def __str__(self) -> str:
        told = [
            ("packs", ", ".join(self.ids)),
            ("subjects", f"{len(self.subjects)} hashed" if self.subjects else ""),
            ("source", self.source),
            ("since", instant(self.since) if self.since else ""),
            ("until", instant(self.until) if self.until else ""),
            ("text", f"{len(self.text)} given" if self.text else ""),
            ("expired by", instant(self.expired) if self.expired else ""),
        ]
        return "; ".join(f"{name} {value}" for name, value in told if value)


def selected(connection: Connection, tenant: str, selector: Selector) -> list[str]:
    """The digests of the tenant's packs that `selector` means, oldest first.

    subjects and text widen each other (a rule may not have found every name); all else
    narrows.
    """
    if not str(selector):
        return []
    clauses, values = ["tenant = ?"], [tenant]
    if selector.ids:
        clauses.append(f"id IN ({_marks(selector.ids)})")
        values += selector.ids
    for column, bound, moment in (
        ("recorded_at", ">=", selector.since),
        ("recorded_at", "<", selector.until),
        ("retain_until", "<=", selector.expired),
    ):
        if moment is not None:
            clauses.append(f"{column} {bound} ?")
            values.append(instant(moment))
    about = [*_about(selector, connection.dialect)]
    if about:
        clauses.append("(" + " OR ".join(clause for clause, _ in about) + ")")
        for _, given in about:
            values += given
    rows = connection.execute(
        f"SELECT digest, owner, origin FROM xp_pack p WHERE {' AND '.join(clauses)}"
        " ORDER BY row_id",
        values,
    )
    return [
        digest
        for digest, owner, origin in rows
        if not selector.source or selector.source in (owner, *_sources(origin))
    ]


def _about(selector: Selector, dialect: Dialect) -> Iterable[tuple[str, list[str]]]:
    if selector.subjects:
        marks = _marks(selector.subjects)
        yield (
            "digest IN (SELECT digest FROM xp_subject s WHERE s.tenant = p.tenant"
            f" AND s.subject IN ({marks}))",
            list(selector.subjects),
        )
    for text in selector.text:
        # As JSON columns hold it; a text with quotes or beyond ASCII is written otherwise there.
        quoted = orjson.dumps(text).decode()[1:-1]
        columns = ("goal", "situation", "why", "how", "origin", "outcome")
        told = " OR ".join(dialect.holds(f"p.{column}") for column in columns)
        steps = ("state", "action", "observation", "alternatives")
        stepped = " OR ".join(dialect.holds(f"t.{column}") for column in steps)
        yield (
            f"({told} OR EXISTS (SELECT 1 FROM xp_step t WHERE t.pack_id = p.id AND t.rev = p.rev"
            f" AND ({stepped})))",
            [
                *(text if column in ("goal", "situation") else quoted for column in columns),
                *(text if column in ("state", "observation") else quoted for column in steps),
            ],
        )


def _sources(origin: str) -> tuple[str, ...]:
    found = orjson.loads(origin)
    return tuple(
        str(found.get(name) or "") for name in ("principal", "a2a_task_id", "trace_id", "imported")
    )


def closure(
    connection: Connection, tenant: str, digests: Sequence[str], *, shown: bool = False
) -> list[str]:
    """These packs and all that came of them: every revision, and down every edge; oldest first.

    shown: also the packs of tasks that were only shown one of them, whose steps hold it.
    """
    found: set[str] = set()
    waiting = list(digests)
    while waiting:
        fresh = [each for each in dict.fromkeys(waiting) if each not in found]
        found.update(fresh)
        waiting = []
        for start in range(0, len(fresh), _CHUNK):
            some = fresh[start : start + _CHUNK]
            waiting += _next(connection, tenant, some, shown)
    rows = _order(connection, tenant, list(found))
    return [digest for _, digest in sorted(rows)]


def _next(connection: Connection, tenant: str, digests: Sequence[str], shown: bool) -> list[str]:
    marks = _marks(digests)
    unrelated = _marks(list(UNRELATED))
    revisions = connection.execute(
        "SELECT o.digest FROM xp_pack p JOIN xp_pack o ON o.id = p.id AND o.tenant = p.tenant"
        f" WHERE p.tenant = ? AND p.digest IN ({marks})",
        (tenant, *digests),
    ).fetchall()
    steps = [
        row[0]
        for row in connection.execute(
            "SELECT s.digest FROM xp_step s JOIN xp_pack p ON p.id = s.pack_id AND p.rev = s.rev"
            f" WHERE p.tenant = ? AND p.digest IN ({marks})",
            (tenant, *digests),
        )
    ]
    children: list[str] = []
    every = [*digests, *steps]
    for start in range(0, len(every), _CHUNK):
        some = every[start : start + _CHUNK]
        children += [
            row[0]
            for row in connection.execute(
                f"SELECT child FROM xp_edge WHERE parent IN ({_marks(some)})"
                f" AND rel NOT IN ({unrelated})",
                (*some, *UNRELATED),
            )
        ]
    if shown:
        children += [
            row[0]
            for row in connection.execute(
                "SELECT u.by FROM xp_pack p JOIN xp_use u ON u.pack_id = p.id"
                f" WHERE p.tenant = ? AND u.tenant = p.tenant AND p.digest IN ({marks})",
                (tenant, *digests),
            )
        ]
    return [row[0] for row in revisions] + children


def _order(connection: Connection, tenant: str, digests: Sequence[str]) -> list[tuple[int, str]]:
    rows: list[tuple[int, str]] = []
    for start in range(0, len(digests), _CHUNK):
        some = digests[start : start + _CHUNK]
        rows += connection.execute(
            f"SELECT row_id, digest FROM xp_pack WHERE tenant = ? AND digest IN ({_marks(some)})",
            (tenant, *some),
        ).fetchall()
    return rows


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))
