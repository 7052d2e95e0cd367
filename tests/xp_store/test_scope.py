"""The filter before the ranking: what it asks of SQLite."""

from typing import Any

from repertory.xp_store.scope import Scope, marks
from repertory.xp_store.sqlite_engine import SqliteSql

SCOPE = Scope("default", "2026", "2026", ("stable", "candidate"), rights=("a",), min_trust=0.5)


def plan(connection: Any, sql: str, values: Any) -> str:
    """The way SQLite goes for the packs."""
    rows = connection.execute(f"EXPLAIN QUERY PLAN {sql}", values).fetchall()
    return next(str(row[3]) for row in rows if " p " in row[3])


def test_packs_that_are_named_are_looked_up_and_not_searched_for(connection: Any) -> None:
    """Ours: a hundred ids out of the index cost a hundred look-ups, however large the tenant."""
    where, values = SCOPE.where_of_few(SqliteSql())
    ways = {
        "id": "sqlite_autoindex_xp_pack_1",
        "row_id": "INTEGER PRIMARY KEY",
        "digest": "xp_pack_digest",
    }
    for column, way in ways.items():
        some = ["x"] * 100
        sql = f"SELECT p.row_id FROM xp_pack p WHERE p.{column} IN ({marks(some)}) AND {where}"
        assert way in plan(connection, sql, (*some, *values))


def test_a_filter_reads_its_index_alone(connection: Any) -> None:
    """Ours: filtering does not read through the packs."""
    scope = Scope("default", "2026", "2026", ("stable",), family="f", rights=("a",))
    where, values = scope.where()
    sql = f"SELECT p.row_id FROM xp_pack p WHERE {where}"
    assert "COVERING INDEX xp_pack_scope" in plan(connection, sql, values)
