"""The text search's postings on PostgreSQL: a table of ours, beside the packs.

A `tsvector` would be PostgreSQL's own way. It tells neither how often a word stands in a
row nor how long the row is, so its ranks could not be BM25's, and its words are those of
the server's locale. Here the words are `words.tokens`, as everywhere, and `bm25` ranks
both engines' packs by one formula.
"""

from collections import Counter
from collections.abc import Sequence

import orjson

from .connection import Connection
from .words import tokens

# What stands in a goal says more than what stands in a claim.
_WEIGHTS = (3.0, 2.0, 1.0)
# Longer ones are not written by people, and an index entry has an end.
_LONGEST = 256
_COUNTED = (
    "SELECT count(*), coalesce(sum(CASE WHEN p.tenant = ? AND p.current = 1 THEN 1 ELSE 0 END), 0),"
    " coalesce(min(p.row_id), 0) FROM (SELECT pack_row FROM xp_posting WHERE word = ?"
    " ORDER BY pack_row DESC LIMIT ?) found JOIN xp_pack p ON p.row_id = found.pack_row"
)
_BATCH = 500


def counted(connection: Connection, tenant: str, word: str, most: int) -> tuple[int, int, int]:
    """As `fts5.counted`."""
    found: tuple[int, int, int] = connection.execute(_COUNTED, (tenant, word, most)).fetchone()
    return found


def lengths(connection: Connection, tenant: str, every: int) -> list[int]:
    """As `fts5.lengths`."""
    return [
        length
        for (length,) in connection.execute(
            "SELECT t.words FROM xp_pack p JOIN xp_text t ON t.pack_row = p.row_id"
            " WHERE p.tenant = ? AND p.current = 1 AND p.row_id % ? = 0",
            (tenant, every),
        )
    ]


def postings(connection: Connection, word: str) -> list[tuple[int, float, int]]:
    """As `fts5.postings`."""
    return connection.execute(
        "SELECT o.pack_row, o.frequency, t.words FROM xp_posting o"
        " JOIN xp_text t ON t.pack_row = o.pack_row WHERE o.word = ?",
        (word,),
    ).fetchall()


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
