"""Spans kept in the network's own database, for a person without any other viewer.

The store takes spans without waiting and writes them behind, in batches, in the
same group commit as everything else. What it holds is bounded twice: the queue
in memory (full: the newest are dropped and counted) and the rows in the table
(the oldest go). How the spans of a task are drawn is `trace_view`.
"""

import logging
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import orjson
from anyio import Event, move_on_after

from repertory.xp_store import Connection, Database, StoreError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

logger = logging.getLogger(__name__)

_JSON = orjson.OPT_NON_STR_KEYS
_LINGER_SECONDS = 0.1
_IDLE_SECONDS = 1.0
_BATCH = 512
_PRUNE_EVERY = 16
_COLUMNS = "trace_id, span_id, parent_id, name, kind, start_ns, end_ns, status, attributes, task_id"
_WRITE = f"""INSERT INTO span ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (trace_id, span_id) DO UPDATE SET
        end_ns = excluded.end_ns, status = excluded.status,
        attributes = excluded.attributes, task_id = excluded.task_id"""
# A task's spans and all below them: also those of the peers that it asked.
_OF_TASK = f"""WITH RECURSIVE below(id) AS (
        SELECT id FROM span WHERE task_id = ?
        UNION
        SELECT span.id FROM span
            JOIN span AS above ON span.trace_id = above.trace_id AND span.parent_id = above.span_id
            JOIN below ON above.id = below.id
    )
    SELECT {_COLUMNS} FROM span WHERE id IN (SELECT id FROM below) ORDER BY start_ns, id"""
_ALL = f"SELECT {_COLUMNS} FROM span ORDER BY start_ns, id"
_OF_TRACE = f"SELECT {_COLUMNS} FROM span WHERE trace_id = ? ORDER BY start_ns, id"


@dataclass(frozen=True, slots=True)
class SpanRow:
    """A span as the table holds it; ids in lowercase hex, times in epoch nanoseconds.

    parent_id: "" for the root of a trace. end_ns: None while it runs, and for
    ever if the process was killed meanwhile. status: UNSET, OK or ERROR.
    """

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: str
    start_ns: int
    end_ns: int | None
    status: str
    attributes: Mapping[str, Any]
    task_id: str = ""


class Recorded(Protocol):
    """What the store takes: something that can become a row, later and on another thread."""

    def row(self) -> SpanRow: ...


class SpanStore:
    """A bounded queue of spans before a table of the network's database.

    Give it to `open_telemetry`, which runs and closes it. keep: the rows that stay.
    """

    def __init__(
        self, database: Database, *, queue_size: int = 32_768, keep: int = 200_000
    ) -> None:
        self._database = database
        self._queue: deque[Recorded | SpanRow] = deque()
        self._size = queue_size
        self._keep = keep
        self._waiting = Event()
        self._stopping = Event()
        self._stopped = Event()
        self._running = False
        self._closed = False
        self._batches = 0
        self.dropped = 0

    @property
    def waiting(self) -> int:
        """Spans that are not written yet."""
        return len(self._queue)

    def add(self, span: Recorded | SpanRow) -> None:
        """Take a span, started or ended; never waits, drops it when the queue is full."""
        if len(self._queue) >= self._size or self._closed:
            self.dropped += 1
            return
        self._queue.append(span)
        if not self._waiting.is_set():
            self._waiting.set()

    async def run(self) -> None:
        """Write what is added until `aclose`; a store that refuses costs spans, nothing else."""
        self._running = True
        try:
            while not self._stopping.is_set():
                # Spans of other threads set no event that this loop would see at once.
                with move_on_after(_IDLE_SECONDS):
                    await self._waiting.wait()
                with move_on_after(_LINGER_SECONDS):
                    await self._stopping.wait()
                self._waiting = Event()
                await self.flush()
        finally:
            self._running = False
            self._stopped.set()

    async def flush(self) -> None:
        """Write everything that was added before this call."""
        while self._queue:
            batch = [self._queue.popleft() for _ in range(min(_BATCH, len(self._queue)))]
            try:
                await self._database.transact(partial(self._write, batch))
            except StoreError as error:
                self.dropped += len(batch)
                logger.warning("%d spans were not kept: %s", len(batch), error)

    async def aclose(self) -> None:
        """Stop taking spans and write those that wait."""
        self._closed = True
        self._stopping.set()
        self._waiting.set()
        if self._running:
            await self._stopped.wait()
        await self.flush()
        if self.dropped:
            logger.warning("%d spans of this run were dropped", self.dropped)

    def _write(self, batch: Sequence[Recorded | SpanRow], connection: Connection) -> None:
        # A span that started and ended within one batch is written once, as ended.
        latest: dict[tuple[str, str], SpanRow] = {}
        for item in {id(item): item for item in batch}.values():
            row = item if isinstance(item, SpanRow) else item.row()
            latest[row.trace_id, row.span_id] = row
        connection.executemany(_WRITE, [_values(row) for row in latest.values()])
        self._batches += 1
        if self._batches % _PRUNE_EVERY == 0:
            connection.execute(
                "DELETE FROM span WHERE id <= (SELECT max(id) FROM span) - ?", (self._keep,)
            )


def span_processor(store: SpanStore) -> "SpanProcessor":
    """A processor that puts every ended span of an SDK tracer provider into `store`.

    For a program that wants the spans of its own provider in the network's store
    too; the network's own spans are there without it. Flushing needs the event
    loop, so `force_flush` only says whether nothing waits: await `SpanStore.flush`.
    """
    from opentelemetry.sdk.trace import SpanProcessor

    class StoreProcessor(SpanProcessor):
        def on_end(self, span: "ReadableSpan") -> None:
            store.add(row_of(span))

        def force_flush(self, timeout_millis: int = 30_000) -> bool:
            return store.waiting == 0

    return StoreProcessor()


def row_of(span: "ReadableSpan") -> SpanRow:
    """The row of an ended span of the OpenTelemetry SDK."""
    context = span.get_span_context()
    attributes = dict(span.attributes or {})
    if span.status.description:
        attributes["error.message"] = span.status.description
    return SpanRow(
        trace_id=f"{context.trace_id:032x}" if context else "",
        span_id=f"{context.span_id:016x}" if context else "",
        parent_id=f"{span.parent.span_id:016x}" if span.parent else "",
        name=span.name,
        kind=span.kind.name,
        start_ns=span.start_time or 0,
        end_ns=span.end_time,
        status=span.status.status_code.name,
        attributes=attributes,
        task_id=str(attributes.get("a2a.task.id", "")),
    )


async def load_trace(
    database: Database, *, task_id: str = "", trace_id: str = ""
) -> Sequence[SpanRow]:
    """The spans of a task with all below them, or those of a whole trace, oldest first.

    A network that never kept a span has none.
    """
    if task_id:
        return await _read(database, _OF_TASK, task_id)
    return await _read(database, _OF_TRACE, trace_id)


async def load_spans(database: Database) -> Sequence[SpanRow]:
    """Every span that the store keeps, oldest first."""
    return await _read(database, _ALL)


async def _read(database: Database, query: str, *wanted: str) -> Sequence[SpanRow]:
    def read(connection: Connection) -> list[SpanRow]:
        return [_row(values) for values in connection.execute(query, wanted)]

    return await database.read(read)


def _values(row: SpanRow) -> tuple[Any, ...]:
    return (
        row.trace_id,
        row.span_id,
        row.parent_id,
        row.name,
        row.kind,
        row.start_ns,
        row.end_ns,
        row.status,
        orjson.dumps(dict(row.attributes), default=str, option=_JSON).decode(),
        row.task_id,
    )


def _row(values: Sequence[Any]) -> SpanRow:
    facts = dict(zip(_COLUMNS.split(", "), values, strict=True))
    return SpanRow(**{**facts, "attributes": orjson.loads(facts["attributes"])})
