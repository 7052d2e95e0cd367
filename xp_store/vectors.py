"""The vectors of packs beside their rows, memory-mapped: row 7's vector is the file's seventh.

SQL holds the truth; this file only saves reading it again (10,000 vectors out of SQLite
cost a hundred milliseconds, out of a map two). A pack's text is immutable and its row's
number is never given twice, so a vector never changes. A vector counts as present when
its length is 1: one that was never written, or was torn by a kill, is read from SQL.
"""

import logging
import os
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .connection import Connection
from .index import Vectors
from .scope import Rows, marks

_CHUNK = 4096
# Gathered rows of one block stay in the processor's cache.
_BLOCK = 1024
_STEP = 4096
_TOLERANCE = 1e-3
_log = logging.getLogger("repertory.xp_store")


class VectorCache:
    """Cosines of rows with a vector, for one embedding model.

    folder: where the file is kept; None for memory alone. owner: whether this process
    may write it; another process reads it and keeps what it adds to itself.
    """

    def __init__(
        self, model: str, dimensions: int, folder: Path | None = None, *, owner: bool = True
    ) -> None:
        self._model = model
        self._dimensions = dimensions
        name = sha256(f"{model}\0{dimensions}".encode()).hexdigest()[:16]
        self._folder = folder
        self._file = None if folder is None else folder / f"vectors-{name}.f32"
        self._owner = owner
        self._matrix: Vectors = np.empty((0, dimensions), dtype="<f4")
        # What this process has seen to be whole.
        self._sound: NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)
        self._begun = False
        # Two readers may ask at once.
        self._lock = Lock()

    def cosines(self, connection: Connection, rows: Rows, vector: Vectors) -> tuple[Rows, Vectors]:
        """The cosines of `rows` with `vector`, ascending; rows without a vector yet are left out."""
        if not len(rows):
            return rows, np.empty(0, dtype=np.float32)
        rows = np.sort(rows)
        with self._lock:
            self._reach(int(rows[-1]) + 1)
            missing = rows[~self._sound[rows]]
            if len(missing):
                self._load(connection, missing)
            matrix, held = self._matrix, rows[self._sound[rows]]
        return held, _products(matrix, held, vector)

    def between(self, connection: Connection, rows: Rows) -> tuple[Rows, Vectors]:
        """The cosines of `rows` with each other, shape (n, n), and the rows that have vectors."""
        held, _ = self.cosines(connection, rows, np.zeros(self._dimensions, np.float32))
        vectors = self._matrix[held]
        return held, vectors @ vectors.T

    def clear(self) -> None:
        """Forget everything, in memory and on disk; what is asked for is read from SQL again."""
        with self._lock:
            if self._owner and self._folder is not None:
                # Removed and never cut short: who still reads the old map would be killed.
                for file in self._folder.glob("vectors-*.f32"):
                    file.unlink(missing_ok=True)
            self._matrix = np.empty((0, self._dimensions), dtype="<f4")
            self._sound = np.zeros(0, dtype=np.bool_)
            self._begun = True

    def _reach(self, rows: int) -> None:
        if not self._begun:
            self._begin()
        if rows <= len(self._matrix):
            return
        wanted = rows + max(_STEP, rows // 4)
        self._matrix = self._grown(wanted)
        sound = np.zeros(wanted, dtype=np.bool_)
        sound[: len(self._sound)] = self._sound
        self._sound = sound

    def _begin(self) -> None:
        self._begun = True
        file = self._file
        if file is None or self._folder is None:
            return
        if self._owner:
            for other in self._folder.glob("vectors-*.f32"):
                if other != file:
                    other.unlink(missing_ok=True)
        try:
            rows = file.stat().st_size // (4 * self._dimensions)
            if rows:
                self._matrix = self._mapped(file, rows)
                self._sound = np.zeros(rows, dtype=np.bool_)
        except (OSError, ValueError):
            # Not there yet, or not readable: SQL has them all.
            return

    def _mapped(self, file: Path, rows: int) -> Vectors:
        mode: Literal["r+", "c"] = "r+" if self._owner else "c"
        shape = (rows, self._dimensions)
        return np.asarray(np.memmap(file, dtype=np.dtype("<f4"), mode=mode, shape=shape))

    def _grown(self, rows: int) -> Vectors:
        if self._owner and self._file is not None:
            try:
                size = rows * self._dimensions * 4
                with self._file.open("ab") as opened:
                    _reserve(opened.fileno(), size)
                return self._mapped(self._file, rows)
            except OSError as error:
                _log.warning("vectors are kept in memory, not in %s: %s", self._file, error)
                self._file = None
        grown: Vectors = np.zeros((rows, self._dimensions), dtype="<f4")
        grown[: len(self._matrix)] = self._matrix
        return grown

    def _load(self, connection: Connection, missing: Rows) -> None:
        for start in range(0, len(missing), _CHUNK):
            chunk = missing[start : start + _CHUNK]
            block = self._matrix[chunk]
            lengths = np.einsum("ij,ij->i", block, block)
            whole = np.abs(lengths - 1.0) < _TOLERANCE
            self._sound[chunk[whole]] = True
            numbers, vectors = self._fetch(connection, chunk[~whole])
            self._matrix[numbers] = vectors
            self._sound[numbers] = True

    def _fetch(self, connection: Connection, rows: Rows) -> tuple[Rows, Vectors]:
        wanted = rows.tolist()
        found = connection.execute(
            "SELECT pack_row, vector FROM xp_vector"
            f" WHERE model = ? AND pack_row IN ({marks(wanted)})",
            (self._model, *wanted),
        ).fetchall()
        numbers = np.array([row for row, _ in found], dtype=np.int64)
        joined = b"".join(blob for _, blob in found)
        return numbers, np.frombuffer(joined, dtype="<f4").reshape(-1, self._dimensions)


def _products(matrix: Vectors, rows: Rows, vector: Vectors) -> Vectors:
    if not len(rows):
        return np.empty(0, dtype=np.float32)
    first, beyond = int(rows[0]), int(rows[-1]) + 1
    # Multiplying a whole stretch is faster than first copying most of it.
    if beyond - first <= 1.5 * len(rows):
        stretch: Vectors = (matrix[first:beyond] @ vector)[rows - first]
        return stretch
    answer = np.empty(len(rows), dtype=np.float32)
    for start in range(0, len(rows), _BLOCK):
        answer[start : start + _BLOCK] = matrix[rows[start : start + _BLOCK]] @ vector
    return answer


def _reserve(file: int, size: int) -> None:
    # A map of a file with holes kills its process when the disk is full; this says so before.
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
        return
    missing = size - os.fstat(file).st_size
    while missing > 0:
        missing -= os.write(file, bytes(min(missing, 1 << 20)))
