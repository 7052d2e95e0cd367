"""Forget: delete packs with all that came of them, and make again what survives without them.

One transaction deletes the closure over lineage with every row that speaks of it,
recounts what it had counted, derives anew what was derived of others too, and writes
one ledger entry for each digest that is gone. Purging the files and proving it is the
work of `governance`, after this is committed.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from .connection import Connection
from .crash_points import crash_point
from .derivation import Derivation, Recipe, derive_rows
from .digests import Clock, instant, utc_now
from .ledger import append_entry
from .lineage import Selector, closure, selected
from .rebuild import counted
from .residue import Traces, texts_in, traces_of
from .tables import moment
from .trust import TrustRule

_CHUNK = 500
_TEXTS = ("goal", "situation")
_JSON_TEXTS = ("why", "how")
_STEP_TEXTS = ("state", "observation")
_STEP_JSON = ("action", "alternatives")

Tasks = frozenset[str]
Widen = Callable[[Connection, Tasks, Sequence[str]], Tasks]
"""More tasks that hold what these held, such as their callers, or that name one of these packs."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What one forget did; `traces` is what must be nowhere any more, and is never stored."""

    closure: tuple[str, ...] = ()
    rederived: Mapping[str, str] = field(default_factory=dict)
    tasks: Tasks = frozenset()
    retained: int = 0
    traces: Traces = field(default_factory=Traces)


@dataclass(frozen=True, slots=True)
class Purge:
    """What else holds what packs hold, such as a journal: more tasks, and their deletion.

    delete: delete all of these tasks in the same transaction, and return the texts that
    they held.
    """

    widen: Widen
    delete: Callable[[Connection, Tasks], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Reach:
    """What a selector means, and how far forgetting it would reach: digests, and ids of tasks."""

    meant: tuple[str, ...]
    closure: tuple[str, ...]
    tasks: Tasks = frozenset()

    def wire(self) -> dict[str, list[str]]:
        """As JSON."""
        return {
            "meant": list(self.meant),
            "closure": list(self.closure),
            "tasks": sorted(self.tasks),
        }


@dataclass(frozen=True, slots=True)
class _Gone:
    digest: str
    id: str
    rev: int
    row: int
    recipe: Recipe | None
    recorded_at: str


def forget_rows(
    selector: Selector,
    tenant: str,
    *,
    actor: str,
    reason: str,
    rule: TrustRule,
    registry: Mapping[str, Derivation],
    purge: Purge | None = None,
    clock: Clock = utc_now,
) -> Callable[[Connection], Forgotten]:
    """Return the unit that forgets what `selector` means and all that came of it."""
    at = instant(clock())

    def write(connection: Connection) -> Forgotten:
        reach = reach_of(connection, tenant, selector, purge)
        digests, tasks, chosen = reach.closure, reach.tasks, set(reach.meant)
        gone = [_described(connection, tenant, digest) for digest in digests]
        texts = list(_texts(connection, gone))
        vectors = list(_vectors(connection, gone))
        if purge is not None:
            texts += purge.delete(connection, tasks)
        touched = _users(connection, gone)
        _delete(connection, tenant, gone)
        for digest in digests:
            append_entry(
                connection,
                at=at,
                tenant=tenant,
                actor=actor,
                verb="forget",
                before=digest,
                reason=reason,
            )
        _recount(connection, touched)
        rederived = _derive_again(connection, gone, chosen, rule, registry)
        _sweep(connection, tenant)
        retained = connection.execute(
            "SELECT count(*) FROM xp_pack WHERE tenant = ?", (tenant,)
        ).fetchone()[0]
        crash_point("in-forget")
        traces = traces_of(texts, (*selector.text, *(each.id for each in gone)), vectors)
        return Forgotten(digests, rederived, tasks, retained, traces)

    return write


def reach_of(
    connection: Connection, tenant: str, selector: Selector, purge: Purge | None = None
) -> Reach:
    """The closure of what is selected; tasks and packs widen each other until nothing is added."""
    meant = selected(connection, tenant, selector)
    digests = closure(connection, tenant, meant, shown=True)
    tasks: Tasks = frozenset()
    while purge is not None:
        own = _tasks_of(connection, tenant, digests)
        wider = purge.widen(connection, tasks | own, _ids_of(connection, tenant, digests))
        held = _packs_of(connection, tenant, wider)
        more = closure(connection, tenant, [*digests, *held], shown=True)
        if wider == tasks and len(more) == len(digests):
            break
        digests, tasks = more, wider
    return Reach(tuple(meant), tuple(digests), tasks)


def _tasks_of(connection: Connection, tenant: str, digests: Sequence[str]) -> Tasks:
    found: set[str] = set()
    for some in _chunks(digests):
        for (origin,) in connection.execute(
            f"SELECT origin FROM xp_pack WHERE tenant = ? AND digest IN ({_marks(some)})",
            (tenant, *some),
        ):
            found.add(str(orjson.loads(origin).get("a2a_task_id") or ""))
    return frozenset(found - {""})


def _ids_of(connection: Connection, tenant: str, digests: Sequence[str]) -> list[str]:
    return [
        row[0]
        for some in _chunks(digests)
        for row in connection.execute(
            f"SELECT DISTINCT id FROM xp_pack WHERE tenant = ? AND digest IN ({_marks(some)})",
            (tenant, *some),
        )
    ]


def _packs_of(connection: Connection, tenant: str, tasks: Tasks) -> list[str]:
    if not tasks:
        return []
    rows = connection.execute("SELECT digest, origin FROM xp_pack WHERE tenant = ?", (tenant,))
    return [digest for digest, origin in rows if orjson.loads(origin).get("a2a_task_id") in tasks]


def _described(connection: Connection, tenant: str, digest: str) -> _Gone:
    row, pack, rev, owner, how, recorded = connection.execute(
        "SELECT row_id, id, rev, owner, how, recorded_at FROM xp_pack"
        " WHERE digest = ? AND tenant = ?",
        (digest, tenant),
    ).fetchone()
    made = orjson.loads(how).get("derivation")
    recipe = None
    if made:
        parents = connection.execute(
            "SELECT parent FROM xp_edge WHERE child = ? AND rel = 'derived_from'", (digest,)
        )
        recipe = Recipe(
            name=made["name"],
            parents=tuple(parent for (parent,) in parents),
            tenant=tenant,
            owner=owner,
            params=made["params"],
            purpose=made.get("purpose", ""),
        )
    return _Gone(digest, pack, rev, row, recipe, recorded)


def _texts(connection: Connection, gone: Sequence[_Gone]) -> Iterator[str]:
    for each in gone:
        row = connection.execute(
            f"SELECT {', '.join((*_TEXTS, *_JSON_TEXTS))} FROM xp_pack WHERE row_id = ?",
            (each.row,),
        ).fetchone()
        yield from row[: len(_TEXTS)]
        why, how = (orjson.loads(text) for text in row[len(_TEXTS) :])
        yield from (claim["text"] for claim in why)
        # What is common to all packs of a kind (the name of a derivation) tells nothing.
        yield from texts_in({name: value for name, value in how.items() if name != "derivation"})
        steps = connection.execute(
            f"SELECT {', '.join((*_STEP_TEXTS, *_STEP_JSON))} FROM xp_step"
            " WHERE pack_id = ? AND rev = ?",
            (each.id, each.rev),
        )
        for step in steps:
            yield from step[: len(_STEP_TEXTS)]
            for text in step[len(_STEP_TEXTS) :]:
                yield from texts_in(orjson.loads(text))
        for (detail,) in connection.execute(
            "SELECT detail FROM xp_verdict WHERE pack_id = ? AND rev = ?", (each.id, each.rev)
        ):
            yield detail


def _vectors(connection: Connection, gone: Sequence[_Gone]) -> Iterator[bytes]:
    for each in gone:
        for (vector,) in connection.execute(
            "SELECT vector FROM xp_vector WHERE pack_row = ?", (each.row,)
        ):
            yield bytes(vector)


def _users(connection: Connection, gone: Sequence[_Gone]) -> set[tuple[str, int]]:
    """The revisions whose counters told of uses by what is gone."""
    found: set[tuple[str, int]] = set()
    for each in gone:
        found |= set(
            connection.execute(
                "SELECT DISTINCT pack_id, rev FROM xp_use WHERE by = ?", (each.digest,)
            )
        )
    return found


def _delete(connection: Connection, tenant: str, gone: Sequence[_Gone]) -> None:
    for each in gone:
        steps = [
            row[0]
            for row in connection.execute(
                "SELECT digest FROM xp_step WHERE pack_id = ? AND rev = ?", (each.id, each.rev)
            )
        ]
        for some in _chunks([each.digest, *steps]):
            marks = _marks(some)
            connection.execute(
                f"DELETE FROM xp_edge WHERE parent IN ({marks}) OR child IN ({marks})",
                (*some, *some),
            )
        for table in ("xp_step", "xp_verdict"):
            connection.execute(
                f"DELETE FROM {table} WHERE pack_id = ? AND rev = ?", (each.id, each.rev)
            )
        connection.execute(
            "DELETE FROM xp_subject WHERE tenant = ? AND digest = ?", (tenant, each.digest)
        )
        connection.execute("DELETE FROM xp_use WHERE pack_id = ? OR by = ?", (each.id, each.digest))
        connection.execute("DELETE FROM xp_pack WHERE row_id = ?", (each.row,))
    lost = {each.digest for each in gone}
    changes = connection.execute("SELECT id, packs FROM xp_change WHERE tenant = ?", (tenant,))
    for change, packs in changes.fetchall():
        if lost & set(orjson.loads(packs)):
            connection.execute("DELETE FROM xp_change WHERE id = ?", (change,))


def _recount(connection: Connection, revisions: Iterable[tuple[str, int]]) -> None:
    for pack, rev in revisions:
        sums = counted(connection, pack, rev)
        changes = ", ".join(f"{name} = ?" for name in sums)
        connection.execute(
            f"UPDATE xp_pack SET {changes} WHERE id = ? AND rev = ?", (*sums.values(), pack, rev)
        )


def _derive_again(
    connection: Connection,
    gone: Sequence[_Gone],
    chosen: set[str],
    rule: TrustRule,
    registry: Mapping[str, Derivation],
) -> dict[str, str]:
    """Make again, oldest first, what was derived of packs that are left; its digest by the old."""
    made: dict[str, str] = {}
    lost = {each.digest for each in gone}
    for each in gone:
        recipe = each.recipe
        if recipe is None or each.digest in chosen or recipe.name not in registry:
            continue
        parents = tuple(
            made.get(parent, parent)
            for parent in recipe.parents
            if parent not in lost or parent in made
        )
        if not parents:
            continue
        again = Recipe(
            recipe.name, parents, recipe.tenant, recipe.owner, recipe.params, recipe.purpose
        )
        # As of then: what is made is what would have been made had the others been all.
        ref = derive_rows(
            again,
            moment(each.recorded_at),
            registry=registry,
            rule=rule,
            reason="derived again after a forget",
        )(connection)
        if ref is not None:
            made[each.digest] = ref.digest
    return made


def _sweep(connection: Connection, tenant: str) -> None:
    """Delete what no pack refers to any more: rights in common, and checks with their code."""
    connection.execute(
        "DELETE FROM xp_rights WHERE tenant = ? AND NOT EXISTS (SELECT 1 FROM xp_pack p"
        " WHERE p.tenant = xp_rights.tenant AND p.rights_key = xp_rights.key)",
        (tenant,),
    )
    used: set[str] = set()
    for (checks,) in connection.execute("SELECT DISTINCT checks FROM xp_pack"):
        used |= set(orjson.loads(checks))
    for query in (
        "SELECT DISTINCT check_digest FROM xp_verdict",
        "SELECT check_digest FROM xp_admission",
    ):
        used |= {digest for (digest,) in connection.execute(query)}
    for (digest,) in connection.execute("SELECT digest FROM xp_check").fetchall():
        if digest not in used:
            connection.execute("DELETE FROM xp_check WHERE digest = ?", (digest,))


def _chunks(values: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(values), _CHUNK):
        yield values[start : start + _CHUNK]


def _marks(values: Sequence[Any]) -> str:
    return ", ".join("?" * len(values))
