"""Residue: whether anything of what was deleted is left in the files, byte for byte.

Of every text that was deleted a few short pieces are looked for, in each form in which
it may have been written, and the beginnings of its vectors. A piece that also stands
in what was kept is no residue; it is told apart by asking the tables.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from . import fts5, postings
from .connection import Connection
from .words import words

_PIECE = 32
_SHORTEST = 10
_MOST = 600
_VECTOR_BYTES = 48
_BLOCK = 16 * 2**20
_TERM = 6


@dataclass(frozen=True, slots=True)
class Traces:
    """What to look for: pieces of text, whole names that must be nowhere, pieces of vectors."""

    texts: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    vectors: tuple[bytes, ...] = ()
    terms: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        return len(self.texts) + len(self.names) + len(self.vectors) + len(self.terms)


@dataclass(frozen=True, slots=True)
class Residue:
    """What a scan found: occurrences by file or table, and those that what was kept explains."""

    files: int
    bytes_read: int
    found: dict[str, int] = field(default_factory=dict)
    kept: dict[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return sum(self.found.values())


def traces_of(
    texts: Iterable[str], names: Iterable[str] = (), vectors: Iterable[bytes] = ()
) -> Traces:
    """Pieces of the texts that a page break is unlikely to cut, the telling ones first."""
    pieces: dict[str, None] = {}
    terms: dict[str, None] = {}
    for text in sorted(set(texts), key=len, reverse=True):
        for piece in _pieces(text):
            pieces.setdefault(piece)
        for word in words(text)[:200]:
            if len(word) >= _TERM:
                terms.setdefault(word)
    return Traces(
        tuple(pieces)[:_MOST],
        tuple(dict.fromkeys(name for name in names if name)),
        tuple(dict.fromkeys(each[:_VECTOR_BYTES] for each in vectors)),
        tuple(terms)[:_MOST],
    )


def _pieces(text: str) -> Iterator[str]:
    if len(text) < _SHORTEST:
        return
    if len(text) <= 2 * _PIECE:
        yield text[:_PIECE]
        return
    middle = len(text) // 2
    for start in (0, middle, len(text) - _PIECE):
        yield text[start : start + _PIECE]


def texts_in(value: Any) -> Iterator[str]:
    """Every text in a JSON value, keys left out."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from texts_in(each)
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from texts_in(each)


def files_of(store: str, index: Path | None, also: Sequence[Path] = ()) -> list[Path]:
    """The files in which a store may have left something: its own, its index's, and `also`."""
    found: list[Path] = []
    if store != ":memory:":
        base = Path(store)
        found += [Path(f"{base}{end}") for end in ("", "-wal", "-shm", "-journal")]
    for folder in (index, *also):
        if folder is None:
            continue
        found += sorted(folder.rglob("*")) if folder.is_dir() else [folder]
    return [each for each in dict.fromkeys(found) if each.is_file()]


def scan(connection: Connection, traces: Traces, files: Sequence[Path]) -> Residue:
    """Read `files` through for `traces`, and ask the tables about whatever is found; blocking."""
    if connection.dialect.engine == "postgresql":
        return _scan_tables(connection, traces)
    forms: dict[bytes, str] = {}
    for text in (*traces.texts, *traces.names):
        for form in _forms(text):
            forms[form] = text
    for vector in traces.vectors:
        forms[vector] = ""
    found: dict[str, int] = {}
    kept: dict[str, int] = {}
    read = 0
    explained: dict[str, bool] = {}
    for path in files:
        hits, size = _search(path, forms)
        read += size
        for form, count in hits.items():
            text = forms[form]
            if text and text not in traces.names:
                if text not in explained:
                    explained[text] = _stands(connection, text)
                if explained[text]:
                    kept[path.name] = kept.get(path.name, 0) + count
                    continue
            elif not text and _vector_stands(connection, form):
                kept[path.name] = kept.get(path.name, 0) + count
                continue
            found[path.name] = found.get(path.name, 0) + count
    lost = fts5.lost(connection, traces.terms)
    if lost:
        found["words of the text index"] = lost
    return Residue(len(files), read, found, kept)


def _scan_tables(connection: Connection, traces: Traces) -> Residue:
    """Ask every table of a server's database, whose files are not ours to read."""
    found = {f"the name {name!r}": 1 for name in traces.names if _stands(connection, name)}
    kept = sum(_stands(connection, text) for text in traces.texts)
    kept += sum(_vector_stands(connection, piece) for piece in traces.vectors)
    lost = postings.lost(connection, traces.terms)
    if lost:
        found["words of the text index"] = lost
    tables, size = connection.execute(
        "SELECT count(*), coalesce(sum(pg_total_relation_size(c.oid)), 0) FROM pg_class c"
        " WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace"
    ).fetchone()
    return Residue(tables, size, found, {"tables": kept} if kept else {})


def _forms(text: str) -> set[bytes]:
    plain = [text, json.dumps(text)[1:-1], orjson.dumps(text).decode()[1:-1]]
    # JSON within JSON, as in the body of a recorded call.
    plain += [json.dumps(each)[1:-1] for each in plain]
    return {each.encode() for each in plain} | {text.encode("utf-16-le")}


def _search(path: Path, forms: dict[bytes, str]) -> tuple[dict[bytes, int], int]:
    overlap = max((len(form) for form in forms), default=1) - 1
    hits: dict[bytes, int] = {}
    size, tail = 0, b""
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                size += len(block)
                text = tail + block
                for form in forms:
                    # What lies in the tail alone was counted with the block before.
                    count = text.count(form) - tail.count(form)
                    if count:
                        hits[form] = hits.get(form, 0) + count
                tail = text[-overlap:] if overlap else b""
    except FileNotFoundError:
        # A log that SQLite has removed meanwhile holds nothing any more.
        return {}, size
    return hits, size


def _stands(connection: Connection, text: str) -> bool:
    quoted = orjson.dumps(text).decode()[1:-1]
    twice = json.dumps(text)[1:-1]
    for table, columns in _text_columns(connection):
        told = " OR ".join(
            connection.dialect.holds(column, mark)
            for column in columns
            for mark in ("?1", "?2", "?3")
        )
        if connection.execute(
            f"SELECT 1 FROM {table} WHERE {told} LIMIT 1", (text, quoted, twice)
        ).fetchone():
            return True
    return False


def _text_columns(connection: Connection) -> Iterator[tuple[str, list[str]]]:
    if connection.dialect.engine == "postgresql":
        yield from connection.execute(
            "SELECT quote_ident(table_name), array_agg(quote_ident(column_name))"
            " FROM information_schema.columns WHERE table_schema = current_schema()"
            " AND data_type = 'text' GROUP BY table_name"
        ).fetchall()
        return
    tables = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'xp_fts%'"
        " AND name NOT LIKE 'sqlite_%'"
    ).fetchall()
    for (table,) in tables:
        columns = [
            f'"{row[1]}"'
            for row in connection.execute(f'PRAGMA table_info("{table}")')
            if row[2].upper().startswith(("TEXT", "VARCHAR", "JSON", "CHAR"))
        ]
        if columns:
            yield f'"{table}"', columns


def _vector_stands(connection: Connection, piece: bytes) -> bool:
    return (
        connection.execute(
            f"SELECT 1 FROM xp_vector WHERE substr(vector, 1, {len(piece)}) = ? LIMIT 1", (piece,)
        ).fetchone()
        is not None
    )
