"""The text search's postings on SQLite: FTS5's, which triggers keep.

The full-text table is contentless: the texts stand once, in the pack, and triggers
(`revisions`) keep the index in step, so that whoever writes or deletes a pack cannot
forget it. FTS5 must be told the old text when a row goes, which is why the claims'
text is always built from the row, in the same way. (External content over a view
was tried: SQLite 3.40 answers its `rebuild` with "SQL logic error".) There is no
stemming: packs may be in any language, and the vector arm carries paraphrase.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from .connection import Connection
from .scope import Rows, marks, rows_of

OPTIMIZE_TEXT = ("INSERT INTO xp_fts (xp_fts) VALUES ('optimize')",)
REBUILD_TEXT = (
    "INSERT INTO xp_fts (xp_fts) VALUES ('delete-all')",
    """INSERT INTO xp_fts (rowid, goal, situation, why)
        SELECT row_id, goal, situation,
            coalesce((SELECT group_concat(json_extract(value, '$.text'), char(10))
                FROM json_each(xp_pack.why)), '')
        FROM xp_pack""",
)

_COLUMNS = 3
_NEWEST = (
    "SELECT {rows} FROM (SELECT rowid AS place FROM xp_fts WHERE xp_fts MATCH ?"
    " ORDER BY rowid DESC LIMIT ?) AS found"
)
# What stands in a goal says more than what stands in a claim.
_WEIGHT = "CASE col WHEN 'goal' THEN 3 WHEN 'situation' THEN 2 ELSE 1 END"


def newest(connection: Connection, word: str, most: int) -> Rows:
    """The newest rows that hold `word`, at most `most`, of all tenants."""
    sql = _NEWEST.format(rows=connection.dialect.joined("place"))
    return rows_of(connection.execute(sql, (f'"{word}"', most)).fetchone()[0])


def lengths(connection: Connection, rows: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Each of `rows` with the number of its words."""
    sql = f"SELECT id, sz FROM xp_fts_docsize WHERE id IN ({marks(rows)})"
    for row, size in connection.execute(sql, rows):
        yield row, _length(size)


def postings(connection: Connection, word: str) -> tuple[Rows, NDArray[np.float64]]:
    """The rows that hold `word`, ascending, and how often, weighed by column."""
    told = connection.dialect.joined(f"doc || ',' || {_WEIGHT}")
    sql = f"SELECT {told} FROM xp_fts_places WHERE term = ?"
    places = rows_of(connection.execute(sql, (word,)).fetchone()[0])
    rows, which = np.unique(places[::2], return_inverse=True)
    weights = places[1::2].astype(np.float64)
    return rows, np.bincount(which, weights=weights, minlength=len(rows)).astype(np.float64)


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
