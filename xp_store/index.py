"""The vector index beside the tables: a port, Chroma behind it, and one in memory.

An index holds ids and vectors, never text, and can always be rebuilt from SQL. Its
methods block and are called from worker threads only. It knows no filters: recall
filters in SQL, which is 10 to 1,000 times faster than filtering in Chroma.
"""

import hashlib
import os
import shutil
import struct
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import IO, TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .crash_points import crash_point
from .errors import IndexUnavailableError, StoreOwnedError

if TYPE_CHECKING:
    from chromadb.api.client import Client
    from chromadb.api.models.Collection import Collection

Vectors = NDArray[np.float32]
_LOCK_FILE = "owner.lock"
_CHROMA_BATCH = 1000
# Version, offset, room, elements, bytes of one: how Chroma's hnswlib begins its header.
_HNSW_HEADER = struct.Struct("<iQQQQ")


class VectorIndex(Protocol):
    """Nearest neighbors by cosine, kept apart by tenant."""

    def own(self) -> None:
        """Take the index for this owner, quickly and without loading it.

        Raises:
            StoreOwnedError: Another owner has it.
            IndexUnavailableError: Its folder cannot be used.
        """
        ...

    def open(self, model: str) -> None:
        """Make ready for vectors of embedding model `model`; others' vectors are not seen.

        Raises:
            IndexUnavailableError: It cannot be used.
        """
        ...

    def upsert(self, tenant: str, ids: Sequence[str], vectors: Vectors) -> None: ...

    def nearest(self, tenant: str, vector: Vectors, limit: int) -> list[tuple[str, float]]:
        """Up to `limit` ids of `tenant` with their cosines, nearest first."""
        ...

    def ids(self, tenant: str) -> set[str]:
        """Every id of `tenant` that the index knows."""
        ...

    def clear(self, model: str) -> None:
        """Forget everything and be ready again for `model`; also mends a broken index."""
        ...

    def scrub(self) -> None:
        """Leave nothing in the files that is no vector of a pack; called after a `clear`."""
        ...

    def close(self) -> None: ...


class MemoryIndex:
    """An index in memory, exact: for tests, and for stores that need no files."""

    def __init__(self) -> None:
        self._vectors: dict[str, dict[str, Vectors]] = {}
        self._model: str | None = None

    def own(self) -> None:
        """Nothing to take: who holds the object owns it."""

    def open(self, model: str) -> None:
        if self._model != model:
            self._vectors = {}
        self._model = model

    def upsert(self, tenant: str, ids: Sequence[str], vectors: Vectors) -> None:
        self._vectors.setdefault(tenant, {}).update(zip(ids, vectors, strict=True))

    def nearest(self, tenant: str, vector: Vectors, limit: int) -> list[tuple[str, float]]:
        known = self._vectors.get(tenant, {})
        if not known:
            return []
        cosines = np.stack(list(known.values())) @ vector
        order = np.argsort(-cosines, kind="stable")[:limit]
        names = list(known)
        return [(names[at], float(cosines[at])) for at in order]

    def ids(self, tenant: str) -> set[str]:
        return set(self._vectors.get(tenant, {}))

    def clear(self, model: str) -> None:
        self._vectors = {}
        self._model = model

    def scrub(self) -> None:
        """There are no files."""

    def close(self) -> None:
        """Keep what was indexed: opening again with the same model finds it."""


class ChromaIndex:
    """An embedded Chroma in a folder of its own, one collection per tenant and model.

    Embedded Chroma is for one process: a second opener can hang for minutes, and
    several writers corrupt it. So the folder is locked with the owner's pid in the
    lock file, and a second opener is refused at once. The lock goes with the process.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock: IO[str] | None = None
        self._client: Client | None = None
        self._collections: dict[str, Collection] = {}
        self._model = ""
        # Chroma's own threads do the work; one caller at a time keeps its state simple.
        self._busy = Lock()

    def own(self) -> None:
        if self._lock is None:
            self._lock = _lock(self.folder)

    def open(self, model: str) -> None:
        self.own()
        self._model = model
        with self._busy, self._translated():
            self._disconnect()
            self._connect()

    def upsert(self, tenant: str, ids: Sequence[str], vectors: Vectors) -> None:
        with self._busy, self._translated():
            collection = self._collection(tenant)
            for start in range(0, len(ids), _CHROMA_BATCH):
                stop = start + _CHROMA_BATCH
                collection.upsert(ids=list(ids[start:stop]), embeddings=vectors[start:stop])

    def nearest(self, tenant: str, vector: Vectors, limit: int) -> list[tuple[str, float]]:
        with self._busy, self._translated():
            answer = self._collection(tenant).query(
                query_embeddings=vector[np.newaxis, :], n_results=limit, include=["distances"]
            )
            distances = answer["distances"]
            if distances is None:
                return []
            return [
                (each, 1.0 - float(distance))
                for each, distance in zip(answer["ids"][0], distances[0], strict=True)
            ]

    def ids(self, tenant: str) -> set[str]:
        with self._busy, self._translated():
            return set(self._collection(tenant).get(include=[])["ids"])

    def clear(self, model: str) -> None:
        """Remove the files and begin anew: Chroma's own deletes leave vectors behind."""
        self.own()
        self._model = model
        with self._busy, self._translated():
            self._disconnect()
            old = self._generations()
            # A folder of a new name: Chroma remembers in memory that it failed to open one.
            (self.folder / f"{int(old[-1].name) + 1 if old else 1:06}").mkdir()
            crash_point("in-clear")
            for each in old:
                shutil.rmtree(each)
            self._connect()

    def scrub(self) -> None:
        self.own()
        with self._busy, self._translated():
            open_before = self._client is not None
            self._disconnect()
            self._zero_unused()
            if open_before:
                self._connect()

    def close(self) -> None:
        with self._busy, self._translated():
            self._disconnect()
            if self._lock is not None:
                self._zero_unused()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _connect(self) -> None:
        import chromadb
        from chromadb.api.client import Client
        from chromadb.config import Settings

        settings = Settings(anonymized_telemetry=False)
        newest = self._generations()[-1:] or [self.folder / "000001"]
        client = chromadb.PersistentClient(str(newest[0]), settings=settings)
        assert isinstance(client, Client)
        self._client = client

    def _zero_unused(self) -> None:
        # hnswlib writes its whole allocation, and what no element has filled yet is whatever
        # lay there in memory: often the vectors of an index that was just removed.
        for data in self.folder.rglob("data_level0.bin"):
            header = data.with_name("header.bin").read_bytes()
            version, _, most, count, size = _HNSW_HEADER.unpack_from(header)
            if version == 1 and most * size == data.stat().st_size:
                with data.open("r+b") as file:
                    file.seek(count * size)
                    file.write(bytes((most - count) * size))

    def _generations(self) -> list[Path]:
        return sorted(each for each in self.folder.iterdir() if each.name.isdecimal())

    def _disconnect(self) -> None:
        client, self._client = self._client, None
        self._collections = {}
        if client is not None:
            client.close()

    def _collection(self, tenant: str) -> "Collection":
        found = self._collections.get(tenant)
        if found is not None:
            return found
        if self._client is None:
            raise IndexUnavailableError(f"the index {self.folder} is not open", path=self.folder)
        # Chroma's names are short and ASCII; a tenant's and a model's need not be.
        name = "xp-" + hashlib.sha256(f"{tenant}\0{self._model}".encode()).hexdigest()[:40]
        found = self._client.get_or_create_collection(
            name,
            embedding_function=None,
            configuration={"hnsw": {"space": "cosine", "ef_construction": 200, "ef_search": 200}},
        )
        self._collections[tenant] = found
        return found

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except IndexUnavailableError:
            raise
        except BaseException as error:
            # A panic in Chroma's Rust code is no Exception; it must not end this process.
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            raise IndexUnavailableError(
                f"the vector index {self.folder} cannot be used ({error}): recall goes on without"
                " it; rebuild it with a reindex",
                path=self.folder,
            ) from error


def _lock(folder: Path) -> IO[str]:
    path = folder / _LOCK_FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Kept open as long as the index: the lock is on the open file, and ends with the process.
        file = path.open("a+", encoding="ascii")
    except OSError as error:
        raise IndexUnavailableError(
            f"the index folder {folder} cannot be used ({error.strerror}): make it writable, or"
            " name another; recall goes on in SQL",
            path=str(folder),
        ) from error
    try:
        _hold(file)
    except OSError:
        file.seek(0)
        pid = file.read().strip()
        file.close()
        raise StoreOwnedError(
            f"the vector index {folder} belongs to process {pid}: stop that process, or name"
            " another folder",
            path=folder,
            pid=int(pid) if pid.isdigit() else None,
        ) from None
    file.seek(0)
    file.truncate()
    file.write(str(os.getpid()))
    file.flush()
    return file


def _hold(file: IO[Any]) -> None:
    if sys.platform == "win32":
        import msvcrt

        # Beyond the pid, which others must be able to read.
        file.seek(1 << 20)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
