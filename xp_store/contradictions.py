"""Packs that contradict each other are shown together: the reader decides, not the ranking."""

import sqlite3
from collections.abc import Sequence

from .scope import Scope, admitted, marks

_PAIRS = (
    "SELECT a.row_id, b.row_id FROM xp_pack a"
    " JOIN xp_edge e ON e.rel = 'contradicts' AND e.{own} = a.digest"
    " JOIN xp_pack b ON b.digest = e.{other} AND b.tenant = a.tenant AND b.current = 1"
    " WHERE a.row_id IN ({marks})"
)


def contradicting(
    connection: sqlite3.Connection, rows: Sequence[int], scope: Scope
) -> dict[int, list[int]]:
    """For each of `rows`, the packs in scope that contradict it, whichever of them said so."""
    found: dict[int, list[int]] = {}
    for own, other in (("parent", "child"), ("child", "parent")):
        sql = _PAIRS.format(own=own, other=other, marks=marks(rows))
        for row, opponent in connection.execute(sql, rows):
            if opponent not in found.setdefault(row, []):
                found[row].append(opponent)
    opponents = list({each for pair in found.values() for each in pair})
    allowed = admitted(connection, "row_id", opponents, scope)
    kept = {row: [each for each in pair if each in allowed] for row, pair in found.items()}
    return {row: pair for row, pair in kept.items() if pair}
