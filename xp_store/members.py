"""Which rows are in a scope, remembered, and kept in step by reading on in the ledger.

Filtering 100,000 packs in SQL costs tens of milliseconds, and most questions ask within
the same few scopes. Every verb that moves a pack in or out of a scope has an entry in
the ledger that names the pack, in the same transaction: so what was remembered is true
again once the packs of the later entries are looked at anew. Time moves packs as well:
each set is remembered until the first moment at which a pack comes or goes by itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from .connection import Connection
from .scope import Rows, Scope, admitted, among, marks, rows_within

_MOST_SCOPES = 32
_MOST_ENTRIES = 500
# Verbs whose entries name every pack that they move; after any other all is read again.
_NAMING = frozenset(
    {
        *("record", "check", "use", "recall", "propose", "promote", "refuse", "rollback"),
        *("quarantine", "retire", "restore", "export", "import"),
        *("admitted", "refused", "quarantined"),
    }
)
_FOREVER = "9999"


@dataclass(frozen=True, slots=True)
class _Known:
    """The rows of a scope as of the ledger's entry `seq`, true from `since` until `until`."""

    seq: int
    since: tuple[str, str]
    until: tuple[str, str]
    rows: Rows

    def holds(self, scope: Scope) -> bool:
        return (
            self.since[0] <= scope.at < self.until[0] and self.since[1] <= scope.now < self.until[1]
        )


class Members:
    """The rows of the scopes that were asked for last."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], _Known] = {}

    def rows(self, connection: Connection, scope: Scope) -> Rows:
        """The rows in `scope`, ascending."""
        if scope.min_trust > 0.0:
            # Trust ages from moment to moment.
            return rows_within(connection, scope, -1)
        seq = connection.execute("SELECT coalesce(max(seq), 0) FROM xp_ledger").fetchone()[0]
        known = self._known.get(scope.key)
        if known is None or not known.holds(scope) or known.seq > seq:
            known = _read(connection, scope, seq)
        elif known.seq < seq:
            known = _later(connection, scope, known, seq)
        # What was asked for last stands last, and the first goes.
        self._known.pop(scope.key, None)
        if len(self._known) >= _MOST_SCOPES:
            self._known.pop(next(iter(self._known)), None)
        self._known[scope.key] = known
        return known.rows

    def clear(self) -> None:
        """Forget all of it."""
        self._known.clear()


def _read(connection: Connection, scope: Scope, seq: int) -> _Known:
    where, values = scope.where(timeless=True)
    until = _turning(connection, scope, where, values)
    return _Known(seq, (scope.at, scope.now), until, rows_within(connection, scope, -1))


def _later(connection: Connection, scope: Scope, known: _Known, seq: int) -> _Known:
    """`known` after the entries up to `seq`."""
    entries = connection.execute(
        "SELECT verb, before, after FROM xp_ledger WHERE seq > ? AND seq <= ? LIMIT ?",
        (known.seq, seq, _MOST_ENTRIES + 1),
    ).fetchall()
    if len(entries) > _MOST_ENTRIES or any(verb not in _NAMING for verb, _, _ in entries):
        return _read(connection, scope, seq)
    digests = sorted({each for _, *named in entries for each in named if each is not None})
    touched = _rows_of(connection, digests)
    if not touched:
        return replace(known, seq=seq)
    inside = admitted(connection, "row_id", touched, scope).values()
    kept = known.rows[~among(known.rows, np.array(touched, dtype=np.int64))]
    rows = np.union1d(kept, np.array(list(inside), dtype=np.int64))
    where, values = scope.where_of_few(connection.dialect, timeless=True)
    named = f"p.row_id IN ({marks(touched)}) AND {where}"
    turning = _turning(connection, scope, named, [*touched, *values])
    return _Known(
        seq,
        known.since,
        (min(known.until[0], turning[0]), min(known.until[1], turning[1])),
        rows,
    )


def _rows_of(connection: Connection, digests: list[str]) -> list[int]:
    found: list[int] = []
    for start in range(0, len(digests), _MOST_ENTRIES):
        some = digests[start : start + _MOST_ENTRIES]
        rows = connection.execute(
            f"SELECT row_id FROM xp_pack WHERE digest IN ({marks(some)})", some
        )
        found += [row for (row,) in rows]
    return sorted(found)


def _turning(
    connection: Connection, scope: Scope, where: str, values: Sequence[object]
) -> tuple[str, str]:
    """The first moments after the scope's at which a pack comes or goes by itself."""
    if scope.everything:
        return _FOREVER, _FOREVER
    begins, ends, kept = connection.execute(
        "SELECT min(CASE WHEN p.valid_from > ? THEN p.valid_from END),"
        " min(CASE WHEN p.valid_to > ? THEN p.valid_to END),"
        " min(CASE WHEN p.retain_until > ? THEN p.retain_until END)"
        f" FROM xp_pack p WHERE {where}",
        (scope.at, scope.at, scope.now, *values),
    ).fetchone()
    return min(begins or _FOREVER, ends or _FOREVER), kept or _FOREVER
