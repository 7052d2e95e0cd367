"""Packs that contradict each other are shown together: the reader decides, not the ranking."""

from collections.abc import Sequence

from .connection import Connection
from .scope import Scope, admitted, marks


def contradicting(
    connection: Connection, rows: Sequence[int], scope: Scope
) -> dict[int, list[int]]:
    """For each of `rows`, the packs in scope that contradict it, whichever of them said so."""
    own = dict(
        connection.execute(
            f"SELECT digest, row_id FROM xp_pack WHERE row_id IN ({marks(rows)})", rows
        )
    )
    digests = list(own)
    # Step by step, since SQLite would walk the whole tenant for a join of the three.
    pairs: set[tuple[str, str]] = set()
    for end in ("parent", "child"):
        found = connection.execute(
            f"SELECT p.parent, p.child FROM xp_edge p WHERE p.{end} IN ({marks(digests)}) AND "
            + connection.dialect.unindexed("p.rel = 'contradicts'"),
            digests,
        )
        for parent, child in found:
            pairs.add((parent, child) if end == "parent" else (child, parent))
    allowed = admitted(connection, "digest", list({other for _, other in pairs}), scope)
    opponents: dict[int, list[int]] = {}
    for mine, other in sorted(pairs):
        if other in allowed and allowed[other] not in opponents.setdefault(own[mine], []):
            opponents[own[mine]].append(allowed[other])
    return {row: each for row, each in opponents.items() if each}
