"""The text search's postings on PostgreSQL: a table of ours, beside the packs.

A `tsvector` would be PostgreSQL's own way. It tells neither how often a word stands in a
row nor how long the row is, so its ranks could not be BM25's, and its words are those of
the server's locale. Here the words are `words.tokens`, as everywhere, and `bm25` ranks
both engines' packs by one formula.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import orjson
from numpy.typing import NDArray

from .connection import Connection
from .scope import Rows, rows_of
from .words import tokens

# What stands in a goal says more than what stands in a claim.
_WEIGHTS = (3.0, 2.0, 1.0)
# Longer ones are not written by people, and an index entry has an end.
_LONGEST = 256
_NEWEST = (
    "SELECT {rows} FROM (SELECT pack_row FROM xp_posting WHERE word = ?"
    " ORDER BY pack_row DESC LIMIT ?) AS found"
)
_BATCH = 500


def newest(connection: Connection, word: str, most: int) -> Rows:
    """As `fts5.newest`."""
    sql = _NEWEST.format(rows=connection.dialect.joined("pack_row"))
    return rows_of(connection.execute(sql, (word, most)).fetchone()[0])


def lengths(connection: Connection, rows: Sequence[int]) -> list[tuple[int, int]]:
    """As `fts5.lengths`."""
    return connection.execute(
        "SELECT pack_row, words FROM xp_text WHERE pack_row = ANY(?)", (list(rows),)
    ).fetchall()


def postings(connection: Connection, word: str) -> tuple[Rows, NDArray[np.float64]]:
    """As `fts5.postings`."""
    found = connection.execute(
        "SELECT pack_row, frequency FROM xp_posting WHERE word = ? ORDER BY pack_row", (word,)
    ).fetchall()
    return (
        np.array([row for row, _ in found], dtype=np.int64),
        np.array([frequency for _, frequency in found], dtype=np.float64),
    )


def lost(connection: Connection, terms: Sequence[str]) -> int:
    """As `fts5.lost`."""
    found: int = connection.execute(
        "SELECT count(*) FROM xp_posting WHERE word = ANY(?)"
        " AND pack_row NOT IN (SELECT row_id FROM xp_pack)",
        (list(terms),),
    ).fetchone()[0]
    return found


def write(connection: Connection, row: int, goal: str, situation: str, why: str) -> None:
    """Write a pack's postings; `why` is its column. They go with the pack, by a trigger."""
    claims = "\n".join(claim["text"] for claim in orjson.loads(why))
    frequencies: Counter[str] = Counter()
    length = 0
    for text, weight in zip((goal, situation, claims), _WEIGHTS, strict=True):
        found = tokens(text)
        length += len(found)
        for word in found:
            if len(word) <= _LONGEST:
                frequencies[word] += weight  # type: ignore[assignment]  # a counter of floats
    connection.execute("INSERT INTO xp_text (pack_row, words) VALUES (?, ?)", (row, length))
    connection.execute(
        "INSERT INTO xp_posting (word, pack_row, frequency)"
        " SELECT word, ?1, frequency FROM unnest(?2::text[], ?3::float8[]) AS t (word, frequency)",
        (row, list(frequencies), [float(each) for each in frequencies.values()]),
    )


def rebuild(connection: Connection) -> None:
    """Make all postings anew from the packs."""
    connection.execute("DELETE FROM xp_posting")
    connection.execute("DELETE FROM xp_text")
    after = 0
    while rows := connection.execute(
        "SELECT row_id, goal, situation, why FROM xp_pack WHERE row_id > ? ORDER BY row_id LIMIT ?",
        (after, _BATCH),
    ).fetchall():
        for row in rows:
            write(connection, *row)
        after = rows[-1][0]
