"""A store's database: one writer thread with group commit, a few reader threads.

Whatever waits when the writer comes round is committed together, so an fsync is
shared by all who wait for it. Each unit of work is atomic by itself: a unit that
raises is rolled back alone. How that is done is the engines' (`sqlite_engine`,
`postgres_engine`); what the units mean (tasks, packs, spans) is not known here.
"""

import asyncio
import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import anyio

from .connection import Connection, Dialect
from .errors import StoreError
from .schema import Schema, refuse_newer, revision_of

T = TypeVar("T")
Durability = Literal["process", "full"]
Unit = Callable[[Connection], Any]

MAX_BATCH = 512
_MOST_NEWS = 1_000


class Job:
    """A unit on its way through a thread, and the loop that waits for it."""

    __slots__ = ("alone", "error", "future", "loop", "result", "then", "unit")

    def __init__(
        self,
        unit: Unit,
        loop: asyncio.AbstractEventLoop,
        then: Callable[[], None] | None = None,
        *,
        alone: bool = False,
    ) -> None:
        self.unit = unit
        # Outside of any transaction, and so by itself.
        self.alone = alone
        self.then = then
        self.loop = loop
        self.future: asyncio.Future[Any] = loop.create_future()
        self.result: Any = None
        self.error: BaseException | None = None

    def settle(self) -> None:
        """Answer whoever waits; on the loop's thread."""
        if self.then is not None and self.error is None:
            try:
                self.then()
            except Exception as error:  # noqa: BLE001 - kept for the waiting caller
                # Told to who waits for the write, which is durable all the same.
                self.error = error
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


def _settle_all(jobs: Sequence[Job]) -> None:
    for job in jobs:
        job.settle()


def _announce(jobs: Sequence[Job]) -> None:
    by_loop: dict[asyncio.AbstractEventLoop, list[Job]] = {}
    for job in jobs:
        by_loop.setdefault(job.loop, []).append(job)
    for loop, mine in by_loop.items():
        try:
            loop.call_soon_threadsafe(_settle_all, mine)
        except RuntimeError:
            # The loop was closed while its work was on the way; nobody waits any more.
            continue


class News:
    """What was notified on a channel since the last look: hints that looking is worth while."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._fresh: set[str] = set()
        self._event = anyio.Event()

    async def wait(self) -> frozenset[str]:
        """Wait for news; the payloads since the last call, each once.

        "" among them means that some may have been missed, so everything is worth a look.
        """
        await self._event.wait()
        fresh, self._fresh, self._event = self._fresh, set(), anyio.Event()
        return frozenset(fresh)

    def tell(self, payloads: Sequence[str]) -> None:
        """Add payloads; from any thread."""
        try:
            self._loop.call_soon_threadsafe(self._add, payloads)
        except RuntimeError:
            # The loop was closed meanwhile; nobody listens any more.
            return

    def _add(self, payloads: Sequence[str]) -> None:
        self._fresh.update(payloads)
        if len(self._fresh) > _MOST_NEWS:
            self._fresh = {""}
        self._event.set()


class Database(ABC):
    """A store shared by the journal, the packs and the spans of one network.

    Open it with `open_database`. Units run on the database's own threads and must
    not touch the event loop. A unit may be run more than once before it is
    committed (a deadlock, a lost connection), so it must have no effect but on its
    connection, and its last answer counts. name: how sentences call the store; it
    holds no secret. file: the store's file, None for memory and for servers.
    """

    readers = 2

    def __init__(self, name: str, durability: Durability, file: Path | None = None) -> None:
        self.name = name
        self.durability = durability
        self.file = file
        self.batches = 0
        self.units = 0
        # Told the size of every group commit, on the writer's thread.
        self.on_batch: Callable[[int], None] | None = None
        self._writes: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._reads: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._closed = False
        self._listeners: dict[str, list[News]] = {}
        self._listening = threading.Lock()

    @property
    @abstractmethod
    def dialect(self) -> Dialect:
        """The SQL in which this engine differs from the other."""

    @property
    @abstractmethod
    def key_base(self) -> str:
        """The path of the store's key file without its ending; see `keys`. Blocking."""

    async def transact(
        self, unit: Callable[[Connection], T], then: Callable[[], None] | None = None
    ) -> T:
        """Run `unit` in the next commit and return its result once that is durable.

        Cancelling gives up the answer, not the write. then: called on the event
        loop once the write is durable, in the order of the commits, also when the
        answer was given up.

        Raises:
            StoreError: The database refused (disk full, corrupt, locked for too long).
        """
        result: T = await self._put(self._writes, unit, then)
        return result

    async def read(self, unit: Callable[[Connection], T]) -> T:
        """Run `unit` on a reading connection; it sees every commit that was acknowledged."""
        result: T = await self._put(self._reads if self.readers else self._writes, unit)
        return result

    async def alone(self, unit: Callable[[Connection], T]) -> T:
        """Run `unit` on the writing connection outside of any transaction, by itself."""
        result: T = await self._put(self._writes, unit, alone=True)
        return result

    async def upgrade(self, schema: Schema) -> None:
        """Bring a room's tables to their newest revision, all of it or nothing.

        Where they have it already this is one look.

        Raises:
            StoreVersionError: A newer version wrote the store; nothing was changed.
            StoreOwnedError: Another process owns the file, and may be of an older version.
        """
        found = await self.read(partial(revision_of, schema=schema))
        refuse_newer(found, schema, self.name)
        if found != schema.head:
            await self._upgrade(schema)

    @abstractmethod
    async def _upgrade(self, schema: Schema) -> None:
        """Run the revisions that the store lacks, in one transaction and by one process alone."""

    @abstractmethod
    async def compact(self, before: Sequence[str] = ()) -> None:
        """Rewrite the store without what was deleted.

        before: statements that need no transaction, such as an FTS5 `optimize`.

        Raises:
            StoreError: The database refused, for example since another process reads it.
        """

    @contextmanager
    def listen(self, channel: str) -> Iterator[News]:
        """The news of a channel while the block runs: what `Connection.notify` told with commits.

        They are wake-ups and no messages: what is true stands in the tables. From other
        processes they come on PostgreSQL only.
        """
        news = News(asyncio.get_running_loop())
        with self._listening:
            self._listeners.setdefault(channel, []).append(news)
        self._listen()
        try:
            yield news
        finally:
            with self._listening:
                self._listeners[channel].remove(news)

    def _tell(self, notes: Sequence[tuple[str, str]]) -> None:
        """Hand notified payloads to this process's listeners; on a thread of the database."""
        with self._listening:
            told: dict[str, list[str]] = {}
            for channel, payload in notes:
                told.setdefault(channel, []).append(payload)
            for channel, payloads in told.items():
                for news in self._listeners.get(channel, ()):
                    news.tell(payloads)

    def _missed(self) -> None:
        """Tell every listener that it may have missed something."""
        with self._listening:
            for listeners in self._listeners.values():
                for news in listeners:
                    news.tell([""])

    async def _put(
        self,
        where: "queue.SimpleQueue[Job | None]",
        unit: Unit,
        then: Callable[[], None] | None = None,
        *,
        alone: bool = False,
    ) -> Any:
        if self._closed:
            raise StoreError(
                f"the store {self.name} is closed; nothing was written", path=self.name
            )
        job = Job(unit, asyncio.get_running_loop(), then, alone=alone)
        where.put(job)
        return await job.future

    # -- threads -----------------------------------------------------------

    @abstractmethod
    def _connect(self) -> None:
        """Connect the writer, or say in a sentence why not; on the thread that opens."""

    @abstractmethod
    def _commit(self, jobs: Sequence[Job]) -> None:
        """Run the jobs' units in one transaction, each of them atomic."""

    @abstractmethod
    def _run_alone(self, job: Job) -> None:
        """Run a job outside of any transaction."""

    @abstractmethod
    def _disconnect(self) -> None:
        """Let the writer's connection go."""

    @abstractmethod
    def _reader(self) -> "Reader":
        """A connection for one reading thread."""

    @abstractmethod
    def _listen(self) -> None:
        """Begin to hear what other processes notify, if the engine can."""

    def open(self) -> None:
        """Connect and start the threads; blocking."""
        self._connect()
        writer = threading.Thread(target=self._write_loop, name="repertory-writer", daemon=True)
        self._threads.append(writer)
        for number in range(self.readers):
            self._threads.append(
                threading.Thread(
                    target=self._read_loop, name=f"repertory-reader-{number}", daemon=True
                )
            )
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Write what waits and stop the threads; blocking."""
        self._closed = True
        self._writes.put(None)
        for _ in range(self.readers):
            self._reads.put(None)
        for thread in self._threads:
            thread.join()

    def _write_loop(self) -> None:
        stopping = False
        while not stopping:
            job = self._writes.get()
            jobs: list[Job] = []
            single: Job | None = None
            while job is not None:
                if job.alone:
                    single = job
                    break
                jobs.append(job)
                if len(jobs) >= MAX_BATCH:
                    break
                try:
                    job = self._writes.get_nowait()
                except queue.Empty:
                    break
            stopping = job is None
            if jobs:
                self._commit(jobs)
                _announce(jobs)
            if single is not None:
                self._run_alone(single)
                _announce([single])
        self._disconnect()

    def _committed(self, jobs: Sequence[Job]) -> None:
        self.batches += 1
        self.units += len(jobs)
        if self.on_batch is not None:
            self.on_batch(len(jobs))

    def _read_loop(self) -> None:
        reader = self._reader()
        while (job := self._reads.get()) is not None:
            reader.run(job)
            _announce([job])
        reader.close()


class Reader(ABC):
    """A reading thread's connection."""

    @abstractmethod
    def run(self, job: Job) -> None:
        """Run the job's unit, and keep its answer or its error."""

    @abstractmethod
    def close(self) -> None:
        """Let the connection go."""
