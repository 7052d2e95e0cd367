"""The text search's postings on SQLite: FTS5's, which triggers keep (`ddl`)."""

from collections.abc import Sequence

from .connection import Connection

_COLUMNS = 3
_COUNTED = (
    "SELECT count(*), coalesce(sum(CASE WHEN p.tenant = ? AND p.current = 1 THEN 1 ELSE 0 END), 0),"
    " coalesce(min(p.row_id), 0) FROM (SELECT rowid AS place FROM xp_fts WHERE xp_fts MATCH ?"
    " ORDER BY rowid DESC LIMIT ?) found JOIN xp_pack p ON p.row_id = found.place"
)
# What stands in a goal says more than what stands in a claim.
_FREQUENCY = "sum(CASE a.col WHEN 'goal' THEN 3.0 WHEN 'situation' THEN 2.0 ELSE 1.0 END)"


def counted(connection: Connection, tenant: str, word: str, most: int) -> tuple[int, int, int]:
    """Of the newest rows that hold `word`, at most `most`: how many, the tenant's, the oldest."""
    found: tuple[int, int, int] = connection.execute(
        _COUNTED, (tenant, f'"{word}"', most)
    ).fetchone()
    return found


def lengths(connection: Connection, tenant: str, every: int) -> list[int]:
    """How many words each of the tenant's packs has; one row in `every`."""
    return [
        _length(size)
        for (size,) in connection.execute(
            "SELECT z.sz FROM xp_pack p JOIN xp_fts_docsize z ON z.id = p.row_id"
            " WHERE p.tenant = ? AND p.current = 1 AND p.row_id % ? = 0",
            (tenant, every),
        )
    ]


def postings(connection: Connection, word: str) -> list[tuple[int, float, int]]:
    """The rows that hold `word`: how often, weighed by column, and their lengths in words."""
    return [
        (row, frequency, _length(size))
        for row, frequency, size in connection.execute(
            f"SELECT a.doc, {_FREQUENCY}, z.sz FROM xp_fts_places a"
            " JOIN xp_fts_docsize z ON z.id = a.doc WHERE a.term = ? GROUP BY a.doc",
            (word,),
        )
    ]


def lost(connection: Connection, terms: Sequence[str]) -> int:
    """How often the index says a word of a pack that is no more."""
    found = 0
    for term in terms:
        found += connection.execute(
            "SELECT count(*) FROM xp_fts WHERE xp_fts MATCH ?"
            " AND rowid NOT IN (SELECT row_id FROM xp_pack)",
            (f'"{term}"',),
        ).fetchone()[0]
    return found


def _length(size: bytes) -> int:
    """The words of a row: FTS5 keeps those of each column as a big-endian varint."""
    if len(size) == _COLUMNS:
        return sum(size)
    total = value = 0
    for byte in size:
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            total, value = total + value, 0
    return total
