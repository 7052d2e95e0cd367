"""The vectors beside the rows: always what SQL holds, in memory, on disk and after a tear."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from repertory.xp_store import Connection
from repertory.xp_store.sqlite_engine import connect
from repertory.xp_store.vectors import VectorCache

DIMENSIONS = 4
KNOWN = 30
VECTORS = np.random.default_rng(7).standard_normal((KNOWN, DIMENSIONS)).astype(np.float32)
VECTORS /= np.linalg.norm(VECTORS, axis=1, keepdims=True)
ASKED = np.ones(DIMENSIONS, dtype=np.float32)


@pytest.fixture(scope="module")
def vectors() -> Any:
    """Thirty vectors of one model, and one of another."""
    opened = connect(":memory:")
    opened.execute("CREATE TABLE xp_vector (pack_row INTEGER PRIMARY KEY, model, vector)")
    rows = [(row, "m", VECTORS[row].tobytes()) for row in range(KNOWN)]
    opened.executemany("INSERT INTO xp_vector VALUES (?, ?, ?)", rows)
    opened.execute("INSERT INTO xp_vector VALUES (?, 'other', ?)", (KNOWN, VECTORS[0].tobytes()))
    yield opened
    opened.close()


def seen(cache: VectorCache, connection: Connection, rows: list[int]) -> dict[int, float]:
    """What the cache says of `rows`."""
    found, cosines = cache.cosines(connection, np.array(rows, dtype=np.int64), ASKED)
    return dict(zip(found.tolist(), cosines.tolist(), strict=True))


def true(rows: list[int]) -> Any:
    """What SQL says of `rows`."""
    return pytest.approx(
        {row: float(VECTORS[row] @ ASKED) for row in rows if row < KNOWN}, abs=1e-5
    )


@given(questions=st.lists(st.lists(st.integers(0, KNOWN + 5), unique=True), max_size=6))
def test_what_is_held_is_what_sql_holds(vectors: Connection, questions: list[list[int]]) -> None:
    """Ours: a cache may forget, and must not be wrong; rows without a vector are left out."""
    cache = VectorCache("m", DIMENSIONS)
    for rows in questions:
        assert seen(cache, vectors, rows) == true(rows)


def test_a_vector_that_came_later_is_seen(vectors: Connection) -> None:
    """Ours: a pack is recorded first and embedded afterwards."""
    cache = VectorCache("m", DIMENSIONS)
    assert seen(cache, vectors, [1000]) == {}
    insert = "INSERT INTO xp_vector VALUES (1000, 'm', ?)"
    vectors.execute(insert, (VECTORS[3].tobytes(),))
    assert list(seen(cache, vectors, [1000])) == [1000]


def test_the_file_answers_without_sql_and_a_torn_vector_is_mended(
    vectors: Connection, tmp_path: Path
) -> None:
    """Ours: the next process reads a map; what a kill tore is no vector, and SQL has it."""
    rows = list(range(KNOWN))
    empty = connect(":memory:")
    empty.execute("CREATE TABLE xp_vector (pack_row INTEGER PRIMARY KEY, model, vector)")
    assert seen(VectorCache("m", DIMENSIONS, tmp_path), vectors, rows) == true(rows)
    assert seen(VectorCache("m", DIMENSIONS, tmp_path), empty, rows) == true(rows)
    (file,) = tmp_path.glob("vectors-*.f32")
    with file.open("r+b") as opened:
        opened.seek(7 * DIMENSIONS * 4 + 4)
        opened.write(bytes(DIMENSIONS * 4 - 4))
    assert 7 not in seen(VectorCache("m", DIMENSIONS, tmp_path), empty, rows)
    assert seen(VectorCache("m", DIMENSIONS, tmp_path), vectors, rows) == true(rows)
    empty.close()


def test_who_does_not_own_the_file_leaves_it_as_it_was(vectors: Connection, tmp_path: Path) -> None:
    """Ours: a second process may look beside the owner, and writes nothing."""
    seen(VectorCache("m", DIMENSIONS, tmp_path), vectors, [1, 2])
    (file,) = tmp_path.glob("vectors-*.f32")
    before = file.read_bytes()
    reader = VectorCache("m", DIMENSIONS, tmp_path, owner=False)
    assert seen(reader, vectors, list(range(KNOWN))) == true(list(range(KNOWN)))
    far = [5, 50_000]
    assert seen(reader, vectors, far) == true(far)
    reader.clear()
    assert file.read_bytes() == before


def test_clearing_removes_the_file_and_another_models_is_not_kept(
    vectors: Connection, tmp_path: Path
) -> None:
    """Ours: what is forgotten leaves no bytes beside the store."""
    cache = VectorCache("m", DIMENSIONS, tmp_path)
    seen(cache, vectors, [3])
    cache.clear()
    assert list(tmp_path.iterdir()) == []
    assert seen(cache, vectors, [3]) == true([3])
    assert seen(VectorCache("other", DIMENSIONS, tmp_path), vectors, [KNOWN]) != {}
    (left,) = tmp_path.iterdir()
    assert seen(VectorCache("other", DIMENSIONS, tmp_path), vectors, [3]) == {}
    assert left.exists()


def test_a_folder_that_cannot_be_written_costs_memory_and_nothing_else(
    vectors: Connection, tmp_path: Path
) -> None:
    """Ours: the file only saves reading."""
    (tmp_path / "taken").write_text("a file")
    cache = VectorCache("m", DIMENSIONS, tmp_path / "taken" / "folder")
    assert seen(cache, vectors, [1, 4]) == true([1, 4])
