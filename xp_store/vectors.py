"""The vectors of packs in memory, read from SQL when first asked for.

A pack's text is immutable and its row's number is never given twice, so the vector
of (row, model) never changes, and what is held here needs no invalidation. Reading
10,000 vectors out of SQLite costs a hundred milliseconds; multiplying them, one.
"""

import sqlite3
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from .index import Vectors

Rows = NDArray[np.int64]
_CHUNK = 4096
_NOWHERE = -1


class VectorCache:
    """Up to `capacity` vectors of one embedding model; more are read from SQL every time."""

    def __init__(self, model: str, dimensions: int, capacity: int = 50_000) -> None:
        self._model = model
        self._dimensions = dimensions
        self._capacity = capacity
        self._matrix: Vectors = np.empty((0, dimensions), dtype=np.float32)
        self._place: Rows = np.empty(0, dtype=np.int64)
        self._held = 0
        # Two readers may ask at once.
        self._lock = Lock()

    def cosines(
        self, connection: sqlite3.Connection, rows: Rows, vector: Vectors
    ) -> tuple[Rows, Vectors]:
        """The cosines of `rows` with `vector`; rows without a vector yet are left out."""
        if len(rows) > self._capacity:
            parts = [
                self._read(connection, rows[start : start + _CHUNK], vector)
                for start in range(0, len(rows), _CHUNK)
            ]
            return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])
        with self._lock:
            places = self._places(connection, rows)
            found = places != _NOWHERE
            places = places[found]
            whole = len(places) == self._held
            # Multiplying everything held is faster than first copying most of it.
            likeness = (
                (self._matrix[: self._held] @ vector)[places]
                if whole
                else self._matrix[places] @ vector
            )
        return rows[found], likeness

    def _places(self, connection: sqlite3.Connection, rows: Rows) -> Rows:
        places = self._look(rows)
        missing = rows[places == _NOWHERE]
        if not len(missing):
            return places
        if self._held + len(missing) > self._capacity:
            self._held = 0
            self._place[:] = _NOWHERE
            missing = rows
        for start in range(0, len(missing), _CHUNK):
            numbers, vectors = self._fetch(connection, missing[start : start + _CHUNK])
            self._add(numbers, vectors)
        return self._look(rows)

    def _look(self, rows: Rows) -> Rows:
        known = rows < len(self._place)
        places = np.full(len(rows), _NOWHERE, dtype=np.int64)
        places[known] = self._place[rows[known]]
        return places

    def _add(self, rows: Rows, vectors: Vectors) -> None:
        if not len(rows):
            return
        until = self._held + len(rows)
        if until > len(self._matrix):
            grown = np.empty((max(until, 2 * len(self._matrix)), self._dimensions), np.float32)
            grown[: self._held] = self._matrix[: self._held]
            self._matrix = grown
        highest = int(rows.max())
        if highest >= len(self._place):
            place = np.full(max(highest + 1, 2 * len(self._place)), _NOWHERE, dtype=np.int64)
            place[: len(self._place)] = self._place
            self._place = place
        self._matrix[self._held : until] = vectors
        self._place[rows] = np.arange(self._held, until)
        self._held = until

    def _read(
        self, connection: sqlite3.Connection, rows: Rows, vector: Vectors
    ) -> tuple[Rows, Vectors]:
        numbers, vectors = self._fetch(connection, rows)
        return numbers, vectors @ vector

    def _fetch(self, connection: sqlite3.Connection, rows: Rows) -> tuple[Rows, Vectors]:
        wanted = rows.tolist()
        found = connection.execute(
            "SELECT pack_row, vector FROM xp_vector"
            f" WHERE model = ? AND pack_row IN ({', '.join('?' * len(wanted))})",
            (self._model, *wanted),
        ).fetchall()
        numbers = np.array([row for row, _ in found], dtype=np.int64)
        joined = b"".join(blob for _, blob in found)
        return numbers, np.frombuffer(joined, dtype=np.float32).reshape(-1, self._dimensions)
