"""The vectors in memory: always what SQL holds, however few may be held."""

import sqlite3
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from repertory.xp_store.vectors import VectorCache

DIMENSIONS = 4
KNOWN = 30
VECTORS = np.random.default_rng(7).standard_normal((KNOWN, DIMENSIONS)).astype(np.float32)


@pytest.fixture(scope="module")
def vectors() -> Any:
    """Thirty vectors of one model, and one of another."""
    opened = sqlite3.connect(":memory:")
    opened.execute("CREATE TABLE xp_vector (pack_row INTEGER PRIMARY KEY, model, vector)")
    rows = [(row, "m", VECTORS[row].tobytes()) for row in range(KNOWN)]
    opened.executemany("INSERT INTO xp_vector VALUES (?, ?, ?)", rows)
    opened.execute("INSERT INTO xp_vector VALUES (?, 'other', ?)", (KNOWN, VECTORS[0].tobytes()))
    yield opened
    opened.close()


@given(
    questions=st.lists(st.lists(st.integers(0, KNOWN + 5), unique=True), max_size=6),
    capacity=st.integers(0, 40),
)
def test_what_is_held_is_what_sql_holds(
    vectors: sqlite3.Connection, questions: list[list[int]], capacity: int
) -> None:
    """Ours: a cache may forget, and must not be wrong; rows without a vector are left out."""
    cache = VectorCache("m", DIMENSIONS, capacity)
    asked = np.ones(DIMENSIONS, dtype=np.float32)
    for rows in questions:
        found, cosines = cache.cosines(vectors, np.array(rows, dtype=np.int64), asked)
        expected = {row: float(VECTORS[row] @ asked) for row in rows if row < KNOWN}
        assert dict(zip(found.tolist(), cosines.tolist(), strict=True)) == pytest.approx(
            expected, abs=1e-5
        )


def test_a_vector_that_came_later_is_seen(vectors: sqlite3.Connection) -> None:
    """Ours: a pack is recorded first and embedded afterwards."""
    cache = VectorCache("m", DIMENSIONS)
    asked, late = np.ones(DIMENSIONS, dtype=np.float32), np.array([1000], dtype=np.int64)
    assert len(cache.cosines(vectors, late, asked)[0]) == 0
    insert = "INSERT INTO xp_vector VALUES (1000, 'm', ?)"
    vectors.execute(insert, (VECTORS[3].tobytes(),))
    assert cache.cosines(vectors, late, asked)[0].tolist() == [1000]
