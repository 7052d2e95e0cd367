"""What recall costs and what it loses, beside exact search and beside Chroma alone.

    python benchmarks/recall.py [--size 10000] [--vectors clustered|random] [--questions 100] [--write]

A store of `size` packs with synthetic vectors (so that embedding them does not hide the
rest) is asked without a filter and with filters that keep 10%, 1% and 0.1%: by meaning
alone, which is compared with exact search, and as a whole, with eight words of which some
are very common. No question is asked twice, and the store remembers nothing of a word
between questions. Chroma alone holds the same vectors, with the family as metadata and
its own `where`. Ingest is set against what MiniLM needs for the same texts. Cold opening and
memory are those of a fresh process. `--write` puts the table into benchmarks/README.md.
"""

import argparse
import os
import random
import resource
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from hashlib import blake2b
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time
from typing import Any, TypeVar

# One thread of linear algebra, so that figures of two machines can be compared.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import anyio
import numpy as np
from numpy.typing import NDArray

# Run as a program, this file has only its own folder on the path.
sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.results import write
from repertory.xp_store import (
    Database,
    Floor,
    MiniLM,
    PackDraft,
    PackStore,
    find_weights,
    open_database,
    open_pack_store,
)

Vectors = NDArray[np.float32]
T = TypeVar("T")
DIMENSIONS = 384
ANYTHING = Floor(-1.0, 0.0)
FILTERS = {"none": None, "keeps 10%": "tenth", "keeps 1%": "hundredth", "keeps 0.1%": "thousandth"}
_BATCH = 1000
_VOCABULARY = 20_000
_WORDS = [f"w{number}" for number in range(_VOCABULARY)]
# Zipf's law, so that a few words stand in almost every pack.
_WEIGHTS = list(accumulate(1 / (rank + 2) for rank in range(_VOCABULARY)))


class Planned:
    """An embedder that makes a text's vector from the text's digest alone."""

    min_cosine = 0.3
    dimensions = DIMENSIONS

    def __init__(self, shape: str, size: int) -> None:
        self.name = f"planned-{shape}-{size}"
        centers = max(10, size // 100) if shape == "clustered" else 0
        made = np.random.default_rng(20261125).standard_normal((centers, DIMENSIONS))
        self._centers = made.astype(np.float32)

    async def embed(self, texts: Sequence[str]) -> Vectors:
        """Around one of the centers with a cosine of about .8, or anywhere."""
        vectors = np.empty((len(texts), DIMENSIONS), np.float32)
        for row, text in enumerate(texts):
            digest = int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")
            vector = np.random.default_rng(digest).standard_normal(DIMENSIONS).astype(np.float32)
            if len(self._centers):
                vector = self._centers[digest % len(self._centers)] + 0.75 * vector
            vectors[row] = vector / np.linalg.norm(vector)
        return vectors


def family_of(number: int) -> str:
    """Families of a tenth, a hundredth and a thousandth of all packs, and the rest."""
    if number % 10 == 1:
        return "tenth"
    if number % 100 == 2:
        return "hundredth"
    return "thousandth" if number % 1000 == 3 else "other"


def texts_of(size: int) -> list[tuple[str, str]]:
    """A goal and a situation for each pack."""
    chance = random.Random(size)
    draw = chance.choices
    return [
        (
            " ".join(draw(_WORDS, cum_weights=_WEIGHTS, k=10)),
            " ".join(draw(_WORDS, cum_weights=_WEIGHTS, k=20)),
        )
        for _ in range(size)
    ]


def questions_of(count: int, seed: str = "") -> list[str]:
    """Eight words each, drawn as the packs' words are."""
    chance = random.Random(f"{count} {seed}")
    return [" ".join(chance.choices(_WORDS, cum_weights=_WEIGHTS, k=8)) for _ in range(count)]


def _all(connection: Any, units: Sequence[Callable[[Any], Any]]) -> None:
    for unit in units:
        unit(connection)


async def ingest(
    database: Database, store: PackStore, texts: Sequence[tuple[str, str]]
) -> dict[str, float]:
    """Record and index all packs; CPU microseconds a pack, and packs a second."""
    began, before = perf_counter(), process_time()
    for start in range(0, len(texts), _BATCH):
        units = [
            store.unit(PackDraft("default", "bench", goal, situation, family=family_of(start + at)))
            for at, (goal, situation) in enumerate(texts[start : start + _BATCH])
        ]
        await database.transact(partial(_all, units=units))
    recorded = process_time()
    store.wake()
    await store.wait_indexed()
    ended, after = perf_counter(), process_time()
    size = len(texts)
    return {
        "record": (recorded - before) / size * 1e6,
        "index": (after - recorded) / size * 1e6,
        "rate": size / (ended - began),
    }


def spread(samples: Sequence[float]) -> str:
    """The median and the 95th percentile in milliseconds."""
    low, high = np.percentile(np.array(samples) * 1000, [50, 95])
    return f"{low:.2f} / {high:.2f}"


async def with_cpu(measured: Awaitable[T], count: int) -> tuple[T, float]:
    """What `measured` gives, and the CPU milliseconds of this process for each of `count`."""
    before = process_time()
    found = await measured
    return found, (process_time() - before) / count * 1000


async def asked(
    store: PackStore, questions: Sequence[str], family: str | None
) -> tuple[list[float], list[list[str]]]:
    """Seconds of each recall, and the ids that came back."""
    seconds: list[float] = []
    found: list[list[str]] = []
    for question in questions:
        began = perf_counter()
        hits = await store.recall(question, family=family, limit=10, diversity=0.0)
        seconds.append(perf_counter() - began)
        found.append([hit.pack.id for hit in hits])
    return seconds, found


def exactly(matrix: Vectors, rows: NDArray[np.int64], vector: Vectors) -> NDArray[np.int64]:
    """The ten rows nearest to a vector, all of them scored."""
    cosines = (matrix if len(rows) == len(matrix) else matrix[rows]) @ vector
    top = np.argpartition(-cosines, min(10, len(rows)) - 1)[:10]
    return rows[top]


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds and result of one call."""
    began = perf_counter()
    result = function()
    return perf_counter() - began, result


class Bare:
    """Chroma as it comes, with the family as metadata."""

    def __init__(self, folder: Path, vectors: Vectors) -> None:
        import chromadb
        from chromadb.config import Settings

        client = chromadb.PersistentClient(
            str(folder), settings=Settings(anonymized_telemetry=False)
        )
        self._packs: Any = client.create_collection(
            "packs", configuration={"hnsw": {"space": "cosine"}}, embedding_function=None
        )
        before = process_time()
        for start in range(0, len(vectors), _BATCH):
            stop = min(start + _BATCH, len(vectors))
            numbers = range(start, stop)
            self._packs.add(
                ids=[str(number) for number in numbers],
                embeddings=vectors[start:stop],
                metadatas=[{"family": family_of(number)} for number in numbers],
            )
        self.cpu = (process_time() - before) / len(vectors) * 1e6

    def nearest(self, vector: Vectors, family: str | None) -> list[int]:
        """The numbers of the ten nearest."""
        where = None if family is None else {"family": family}
        got = self._packs.query(
            query_embeddings=vector[None], n_results=10, where=where, include=[]
        )
        return [int(each) for each in got["ids"][0]]


async def embedding_cost(texts: Sequence[tuple[str, str]]) -> float | None:
    """CPU microseconds of MiniLM for one of these texts; None where its weights are not."""
    if find_weights("minilm-int8") is None:
        return None
    embedder = MiniLM(threads=1)
    some = ["\n".join(text) for text in texts[:128]]
    await embedder.embed(some[:8])
    before = process_time()
    await embedder.embed(some)
    return (process_time() - before) / len(some) * 1e6


COLD = """
import resource, sys
from time import perf_counter
from pathlib import Path
import anyio
sys.path.insert(0, sys.argv[1])
from benchmarks.recall import ANYTHING, Planned, questions_of
from repertory.xp_store import open_database, open_pack_store
import numpy, sqlmodel
def peak():
    # A child's ru_maxrss begins with its parent's; Linux has the process's own.
    told = Path("/proc/self/status")
    if told.exists():
        return int(told.read_text().partition("VmHWM:")[2].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
async def main():
    folder, shape, size = Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    idle, began = peak(), perf_counter()
    async with (
        open_database(f"sqlite:///{folder}/store.db") as database,
        open_pack_store(database, embedder=Planned(shape, size), index=folder / "index",
            floor=ANYTHING) as store,
    ):
        opened = perf_counter()
        await store.recall(questions_of(1)[0], family="hundredth", limit=10)
        filtered = perf_counter()
        await store.recall(questions_of(1)[0], limit=10)
        wide = perf_counter()
        for question in questions_of(20):
            await store.recall(question, limit=10)
            await store.recall(question, family="tenth", limit=10)
        print(opened - began, filtered - opened, wide - filtered, idle, peak())
anyio.run(main)
"""


def cold(folder: Path, shape: str, size: int) -> list[float]:
    """Seconds to open, to the first filtered and the first wide answer; MiB before and after."""
    repository = str(Path(__file__).parent.parent)
    command = [sys.executable, "-c", COLD, repository, str(folder), shape, str(size)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [float(each) for each in done.stdout.split()]


async def measure(folder: Path, shape: str, size: int, count: int) -> list[str]:
    """All rows of one size and shape, as lines of Markdown."""
    embedder = Planned(shape, size)
    texts = texts_of(size)
    vectors = await embedder.embed(["\n".join(text) for text in texts])
    lines: list[str] = []
    async with (
        open_database(f"sqlite:///{folder}/store.db") as database,
        open_pack_store(
            database, embedder=embedder, index=folder / "index", floor=ANYTHING
        ) as store,
    ):
        cost = await ingest(database, store, texts)
        packs = await store.find(limit=size)
        number_of = {pack.id: size - 1 - at for at, pack in enumerate(packs)}
        bare = Bare(folder / "bare", vectors)
        for name, family in FILTERS.items():
            numbers = [n for n in range(size) if family is None or family_of(n) == family]
            rows = np.array(numbers, dtype=np.int64)
            await asked(store, [f"before{n} {name}" for n in range(10)], family)
            strangers = [f"meaning{number} {name}" for number in range(count)]
            asked_vectors = await embedder.embed(strangers)
            words = questions_of(count, name)
            (meaning, found), cpu = await with_cpu(asked(store, strangers, family), count)
            (whole, _), whole_cpu = await with_cpu(asked(store, words, family), count)
            exact = [timed(partial(exactly, vectors, rows, each)) for each in asked_vectors]
            bare_asked = [timed(partial(bare.nearest, each, family)) for each in asked_vectors]
            truth = [set(nearest.tolist()) for _, nearest in exact]
            ours = [{number_of[each] for each in ids} for ids in found]
            theirs = [set(numbers) for _, numbers in bare_asked]
            lines.append(
                f"| {size:,} {shape} | {name}"
                f" | {spread(meaning)}; {cpu:.1f}; {_share(ours, truth)} | {spread(whole)}; {whole_cpu:.1f}"
                f" | {spread([each for each, _ in exact])}"
                f" | {spread([each for each, _ in bare_asked])}; {_share(theirs, truth)} |"
            )
            print(lines[-1], flush=True)
    embedded = await embedding_cost(texts)
    opened, filtered, wide, idle, full = cold(folder, shape, size)
    ours_cost = cost["record"] + cost["index"]
    lines += [
        "",
        f"{size:,} {shape}: ingest {cost['rate']:,.0f} packs/s; CPU a pack: {cost['record']:.0f} µs"
        f" to record, {cost['index']:.0f} µs to keep the vector and index it (Chroma alone:"
        f" {bare.cpu:.0f} µs)"
        + (
            ""
            if embedded is None
            else f"; MiniLM needs {embedded:,.0f} µs for the text, so ingest costs"
            f" {(ours_cost + embedded) / embedded:.2f} times the embedding"
        )
        + f". A fresh process opens in {opened * 1000:.0f} ms, answers its first filtered question in"
        f" {filtered * 1000:.0f} ms and its first unfiltered one in {wide * 1000:.0f} ms (Chroma's"
        f" import and load included where it is asked), and grows from {idle:.0f} to {full:.0f} MiB.",
    ]
    print(lines[-1], flush=True)
    return lines


def _share(found: Sequence[set[int]], truth: Sequence[set[int]]) -> str:
    held = sum(len(a & b) for a, b in zip(found, truth, strict=True))
    return f"{held / sum(len(each) for each in truth):.3f}"


async def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--size", type=int, action="append", help="may be repeated; 10,000")
    parser.add_argument("--vectors", choices=["clustered", "random"], default="clustered")
    parser.add_argument("--questions", type=int, default=100)
    parser.add_argument("--write", action="store_true", help="write into benchmarks/README.md")
    options = parser.parse_args()
    table = [
        "| packs | filter | by meaning; CPU; recall at 10 | whole query; CPU | exact (NumPy) | Chroma alone; recall at 10 |",
        "|---|---|---|---|---|---|",
    ]
    told: list[str] = []
    for size in options.size or [10_000]:
        with TemporaryDirectory(prefix="recall-") as folder:
            lines = await measure(Path(folder), options.vectors, size, options.questions)
        table += [each for each in lines if each.startswith("|")]
        told += [each for each in lines if each and not each.startswith("|")]
    if options.write:
        write(f"recall {options.vectors}", "\n".join([*table, "", *told]))
    print(
        f"peak memory of this program: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB"
    )


if __name__ == "__main__":
    anyio.run(main)
