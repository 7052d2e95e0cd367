"""The vector index: one contract for every implementation, and what only Chroma's folder needs."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from repertory.xp_store import (
    ChromaIndex,
    IndexUnavailableError,
    MemoryIndex,
    StoreOwnedError,
    VectorIndex,
)

KINDS: dict[str, Callable[[Path], VectorIndex]] = {
    "memory": lambda folder: MemoryIndex(),
    "chroma": lambda folder: ChromaIndex(folder / "index"),
}


@pytest.fixture(params=sorted(KINDS))
def index(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[VectorIndex]:
    """An open, empty index."""
    opened = KINDS[request.param](tmp_path)
    opened.own()
    opened.open("model")
    yield opened
    opened.close()


def unit(*values: float) -> np.ndarray:
    """A vector of length one."""
    vector = np.asarray(values, dtype=np.float32)
    return vector / np.linalg.norm(vector)


def test_the_nearest_come_first_with_their_cosines(index: VectorIndex) -> None:
    """Ours: cosine, and no more than there are."""
    index.upsert("t", ["a", "b", "c"], np.stack([unit(1, 0), unit(1, 1), unit(0, 1)]))
    found = index.nearest("t", unit(1, 0.1), 10)
    assert [each for each, _ in found] == ["a", "b", "c"]
    assert found[0][1] == pytest.approx(float(unit(1, 0) @ unit(1, 0.1)), abs=1e-5)
    assert [each for each, _ in index.nearest("t", unit(1, 0.1), 1)] == ["a"]


def test_tenants_do_not_see_each_other(index: VectorIndex) -> None:
    """Ours: a tenant's vectors stand apart."""
    index.upsert("one", ["a"], np.stack([unit(1, 0)]))
    index.upsert("two", ["b"], np.stack([unit(1, 0)]))
    assert [each for each, _ in index.nearest("one", unit(1, 0), 10)] == ["a"]
    assert (index.ids("one"), index.ids("two"), index.ids("three")) == ({"a"}, {"b"}, set())
    assert index.nearest("three", unit(1, 0), 10) == []


def test_telling_it_twice_changes_nothing(index: VectorIndex) -> None:
    """Ours: whatever a kill interrupts may be done again."""
    for vector in (unit(0, 1), unit(1, 0), unit(1, 0)):
        index.upsert("t", ["a"], np.stack([vector]))
    assert index.ids("t") == {"a"}
    assert index.nearest("t", unit(1, 0), 1)[0][1] == pytest.approx(1.0, abs=1e-5)


def test_it_remembers_when_it_is_opened_again(index: VectorIndex) -> None:
    """Ours: closing loses nothing."""
    index.upsert("t", ["a"], np.stack([unit(1, 0)]))
    index.close()
    index.own()
    index.open("model")
    assert index.ids("t") == {"a"}


def test_vectors_of_another_model_are_not_seen(index: VectorIndex) -> None:
    """Ours: vectors of two models cannot be compared."""
    index.upsert("t", ["a"], np.stack([unit(1, 0)]))
    index.close()
    index.own()
    index.open("another")
    assert index.ids("t") == set()
    index.upsert("t", ["b"], np.stack([unit(1, 0, 0)]))
    assert [each for each, _ in index.nearest("t", unit(1, 0, 0), 5)] == ["b"]


def test_clearing_forgets_and_goes_on(index: VectorIndex) -> None:
    """Ours: rebuilding begins with nothing."""
    index.upsert("t", ["a"], np.stack([unit(1, 0)]))
    index.clear("model")
    assert index.ids("t") == set()
    index.upsert("t", ["b"], np.stack([unit(1, 0)]))
    assert index.ids("t") == {"b"}


def test_a_second_opener_is_refused_with_the_owners_pid(tmp_path: Path) -> None:
    """Ours: embedded Chroma hangs its second opener for minutes; ours is told at once."""
    first, second = ChromaIndex(tmp_path), ChromaIndex(tmp_path)
    first.own()
    with pytest.raises(StoreOwnedError, match=f"belongs to process {os.getpid()}") as caught:
        second.own()
    assert caught.value.facts["pid"] == os.getpid()
    first.close()
    second.own()
    second.close()


def test_another_process_is_refused_and_a_killed_owner_is_no_owner(tmp_path: Path) -> None:
    """Ours: the lock is the kernel's, so it ends with its process."""
    code = (
        "import sys; from pathlib import Path; from repertory.xp_store import ChromaIndex;"
        " index = ChromaIndex(Path(sys.argv[1])); index.own(); print('owned', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "owned\n"
        index = ChromaIndex(tmp_path)
        with pytest.raises(StoreOwnedError) as caught:
            index.own()
        assert caught.value.facts["pid"] == owner.pid
        owner.kill()
        owner.wait()
    index.own()
    index.close()


def test_a_broken_folder_is_said_and_can_be_mended(tmp_path: Path) -> None:
    """Ours: the index is never the truth, so it may be made anew."""
    (tmp_path / "000001").mkdir()
    (tmp_path / "000001" / "chroma.sqlite3").write_bytes(b"no database" * 1000)
    index = ChromaIndex(tmp_path)
    with pytest.raises(IndexUnavailableError, match="rebuild it with a reindex"):
        index.open("model")
    index.clear("model")
    index.upsert("t", ["a"], np.stack([unit(1, 0)]))
    assert index.ids("t") == {"a"}
    index.close()


def test_an_index_whose_folder_cannot_be_is_a_broken_index_and_no_traceback(tmp_path: Path) -> None:
    """Ours: SQL is the truth, so a network opens without its index."""
    (tmp_path / "file").write_text("not a folder")
    index = ChromaIndex(tmp_path / "file" / "index")
    with pytest.raises(IndexUnavailableError, match=r"cannot be used \(Not a directory\)"):
        index.own()
