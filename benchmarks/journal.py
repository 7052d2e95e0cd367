"""What a durable message costs, beside a raw loop on the same engine in the same run.

    python benchmarks/journal.py             every arm, table on the screen
    python benchmarks/journal.py --write     the same, written into benchmarks/README.md

A message is sent, claimed and acknowledged, each durably: three commits, which so many
messages share as are under way. Ours is the journal as a network uses it: `accept`,
`Claims.some`, and `append` of the terminal event, by as many coroutines as messages are
under way. The raw loops are one thread with the driver alone (sqlite3, psycopg), in
transactions of as many messages, of the best form that the driver has (`executemany`,
which is pipelined over PostgreSQL):

- bare queue: one narrow row a message, inserted, claimed by its state, updated;
- the same rows: into the journal's own tables with their indexes, a task and two events
  a message, from values made before the clock starts. Ours makes them meanwhile, checks
  that the message is new and that the task is still its own, and answers each by itself.

AG2's hub is measured on the same texts where AG2 is installed: name its interpreter with
`--ag2 PYTHON`, or a folder with `--install-ag2 FOLDER` to install it there.
"""

import argparse
import asyncio
import json
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Run as a program, this file has only its own folder on the path.
sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.results import write
from repertory.protocol import (
    Message,
    StreamResponse,
    Task,
    TaskState,
    TaskStatus,
    TaskStatusUpdateEvent,
    user_message,
)
from repertory.runtime.claims import Claims
from repertory.runtime.heap import settle_heap
from repertory.runtime.journal import Journal, open_journal
from repertory.runtime.lease import Lease
from repertory.runtime.record import TaskRecord
from repertory.xp_store import open_database
from tests.cluster import Cluster, binaries

BODY = "x" * 1000
AG2 = "ag2>=1.2,<1.3"
# Messages of one measurement, by how many are under way.
MESSAGES = {1: 300, 16: 2000, 128: 4000}
AGENT = "worker"


@dataclass(frozen=True)
class Cost:
    """What one measurement found: messages a second, and CPU microseconds of this process each."""

    rate: float
    cpu: float


@dataclass
class Engine:
    """An engine and durability. raw: its connection, and what begins a transaction."""

    name: str
    durability: Any
    new_store: Callable[[], str]
    connect: Callable[[str], Any]
    mark: str = "?"
    skip_locked: str = ""
    found: dict[tuple[str, int], list[Cost]] = field(default_factory=dict)
    later: list[float] = field(default_factory=list)

    def note(self, arm: str, under_way: int, cost: Cost) -> None:
        self.found.setdefault((arm, under_way), []).append(cost)

    def median(self, arm: str, under_way: int) -> Cost:
        costs = self.found[arm, under_way]
        return Cost(
            statistics.median(each.rate for each in costs),
            statistics.median(each.cpu for each in costs),
        )

    def ratio(self, arm: str, under_way: int) -> float:
        """Our messages a second over those of a raw loop, round by round."""
        pairs = zip(self.found["ours", under_way], self.found[arm, under_way], strict=True)
        return statistics.median(ours.rate / raw.rate for ours, raw in pairs)


# -- ours ------------------------------------------------------------------------


def _record(number: int, name: str) -> TaskRecord:
    message = user_message(BODY, message_id=f"{name}-{number}")
    return TaskRecord(
        f"{name}-{number}", AGENT, "default", "client", f"context-{name}-{number}", message
    )


def _submitted(record: TaskRecord) -> StreamResponse:
    message: Message = record.message.model_copy(
        update={"task_id": record.id, "context_id": record.context_id}
    )
    return StreamResponse(
        task=Task(
            id=record.id,
            context_id=record.context_id,
            status=TaskStatus(state=TaskState.SUBMITTED),
            history=(message,),
        )
    )


def _completed(record: TaskRecord) -> StreamResponse:
    return StreamResponse(
        status_update=TaskStatusUpdateEvent(
            task_id=record.id,
            context_id=record.context_id,
            status=TaskStatus(state=TaskState.COMPLETED),
        )
    )


class Ours:
    """The journal of one store, used by so many coroutines at once."""

    def __init__(self, journal: Journal, claims: Claims) -> None:
        self._journal = journal
        self._claims = claims
        self._count = 0

    async def run(self, messages: int, under_way: int) -> Cost:
        """Send, claim and acknowledge so many messages."""
        self._count += 1
        made = []
        for number in range(messages):
            record = _record(number, f"m{self._count}")
            made.append((record, _submitted(record), _completed(record)))
        messages_left = iter(made)
        # What was made before is none of the journal's to look through for garbage.
        settle_heap()
        waiting: dict[str, asyncio.Future[None]] = {}
        sent = asyncio.Event()
        loop = asyncio.get_running_loop()

        async def worker() -> None:
            for record, submitted, completed in messages_left:
                waiting[record.id] = claimed = loop.create_future()
                await self._journal.accept(record, submitted, lambda *_: sent.set(), claim=False)
                await claimed
                await self._journal.append(record, completed)

        async def claim() -> None:
            while True:
                await sent.wait()
                sent.clear()
                taken, _ = await self._claims.some({AGENT: under_way})
                for task_id in taken:
                    waiting.pop(task_id).set_result(None)

        began, spent = time.perf_counter(), time.process_time()
        claiming = asyncio.ensure_future(claim())
        await asyncio.gather(*(worker() for _ in range(under_way)))
        seconds, cpu = time.perf_counter() - began, time.process_time() - spent
        claiming.cancel()
        return Cost(messages / seconds, cpu / messages * 1e6)


@asynccontextmanager
async def _ours(engine: Engine) -> AsyncIterator[Ours]:
    async with (
        open_database(engine.new_store(), engine.durability) as database,
        open_journal(database) as journal,
    ):
        lease = Lease(database, pools=("default",), shared=True, seconds=1e6)
        await lease.begin()
        journal.lease = lease
        yield Ours(journal, Claims(database, lease))


# -- raw loops ---------------------------------------------------------------------

_QUEUE = (
    "CREATE TABLE queue (id TEXT PRIMARY KEY, at DOUBLE PRECISION, state INTEGER, body TEXT)",
    "CREATE INDEX queue_next ON queue (state, at)",
)
_TASK = (
    "INSERT INTO task (id, agent, tenant, principal, message_id, context_id, parent_task, message,"
    " state, sequence, ended, attempts, seconds, budget, chain, traceparent, park, text,"
    " created_at, updated_at, capabilities, owner) VALUES"
    " (?, 'worker', 'default', 'client', ?, ?, '', ?, 'TASK_STATE_SUBMITTED', 1, 0, 0, NULL,"
    """ '{"tokens":null,"calls":null,"usd":null}', '[]', '', '', '', ?, ?, '[]', 0)"""
)
_EVENT = "INSERT INTO event (task_id, sequence, at, body) VALUES (?, ?, ?, ?)"
_END = (
    "UPDATE task SET state='TASK_STATE_COMPLETED', sequence=2, ended=1, updated_at=?"
    " WHERE id=? AND sequence=1 AND owner=1"
)


class Raw:
    """One thread with the driver alone."""

    def __init__(self, engine: Engine, url: str) -> None:
        self._connection = engine.connect(url)
        self._mark = engine.mark
        self._skip = engine.skip_locked
        self._count = 0

    def _sql(self, statement: str) -> Any:
        parts = statement.split("?")
        return "".join(
            part + (self._mark.format(number + 1) if number < len(parts) - 1 else "")
            for number, part in enumerate(parts)
        )

    def _many(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        self._connection.cursor().executemany(self._sql(statement), rows)

    @contextmanager
    def _commit(self) -> Iterator[None]:
        self._connection.execute("BEGIN")
        yield
        self._connection.execute("COMMIT")

    def make_queue(self) -> None:
        """The narrow table."""
        for statement in _QUEUE:
            self._connection.execute(statement)

    def bare(self, messages: int, group: int) -> Cost:
        """A queue of one narrow row a message."""
        self._count += 1
        rows = [(f"{self._count}-{n}", float(n), BODY) for n in range(messages)]
        began, spent = time.perf_counter(), time.process_time()
        for start in range(0, messages, group):
            with self._commit():
                self._many("INSERT INTO queue VALUES (?, ?, 0, ?)", rows[start : start + group])
            with self._commit():
                claimed = self._claim("queue", "state=0", "at", "state=1", group)
            with self._commit():
                self._many("UPDATE queue SET state=2 WHERE id=?", claimed)
        return _cost(messages, began, spent)

    def same_rows(self, messages: int, group: int) -> Cost:
        """The rows that the journal writes, from values made before."""
        self._count += 1
        tasks, firsts, lasts = [], [], []
        for number in range(messages):
            record = _record(number, f"r{self._count}")
            now = time.time()
            first = json.dumps(_submitted(record).wire())
            body = json.dumps(record.message.wire())
            tasks.append((record.id, record.message.message_id, record.context_id, body, now, now))
            firsts.append((record.id, 1, now, first))
            lasts.append((record.id, 2, now, json.dumps(_completed(record).wire())))
        began, spent = time.perf_counter(), time.process_time()
        for start in range(0, messages, group):
            some = slice(start, start + group)
            with self._commit():
                self._many(_TASK, tasks[some])
                self._many(_EVENT, firsts[some])
            with self._commit():
                self._claim(
                    "task", "ended=0 AND agent='worker' AND owner=0", "created_at", "owner=1", group
                )
            with self._commit():
                self._many(_END, [(row[2], row[0]) for row in lasts[some]])
                self._many(_EVENT, lasts[some])
        return _cost(messages, began, spent)

    def _claim(self, table: str, free: str, order: str, take: str, most: int) -> list[Any]:
        found = self._connection.execute(
            self._sql(f"SELECT id FROM {table} WHERE {free} ORDER BY {order} LIMIT ?{self._skip}"),
            (most,),
        ).fetchall()
        ids = [row[0] for row in found]
        marks = ", ".join("?" * len(ids))
        self._connection.execute(self._sql(f"UPDATE {table} SET {take} WHERE id IN ({marks})"), ids)
        return [(task_id,) for task_id in ids]

    def close(self) -> None:
        """Let the connection go."""
        self._connection.close()


def _cost(messages: int, began: float, spent: float) -> Cost:
    seconds, cpu = time.perf_counter() - began, time.process_time() - spent
    return Cost(messages / seconds, cpu / messages * 1e6)


# -- engines -----------------------------------------------------------------------


def _sqlite(folder: Path, durability: str) -> Engine:
    count = iter(range(10_000))

    def connect(url: str) -> Any:
        connection = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
        connection.execute("PRAGMA journal_mode=WAL")
        synchronous = "FULL" if durability == "full" else "NORMAL"
        connection.execute(f"PRAGMA synchronous={synchronous}")
        return connection

    return Engine(
        f"SQLite, `durability: {durability}`",
        durability,
        lambda: f"sqlite:///{folder}/{durability}{next(count)}.db",
        connect,
    )


def _postgres(cluster: Cluster) -> Engine:
    import psycopg

    def connect(url: str) -> Any:
        connection = psycopg.connect(url, autocommit=True, cursor_factory=psycopg.RawCursor)
        connection.prepare_threshold = 1
        return connection

    return Engine(
        "PostgreSQL 15",
        "process",
        cluster.new_database,
        connect,
        mark="${}",
        skip_locked=" FOR UPDATE SKIP LOCKED",
    )


# -- measuring ---------------------------------------------------------------------


async def measure(engine: Engine, rounds: int) -> None:
    """Every arm in turn, round by round, so that ratios are of the same minutes."""
    url = engine.new_store()
    async with open_database(url) as database, open_journal(database):
        pass
    raw = Raw(engine, url)
    raw.make_queue()
    async with _ours(engine) as ours:
        for _ in range(rounds):
            for group, messages in MESSAGES.items():
                engine.note("ours", group, await ours.run(messages, group))
                engine.note("same", group, raw.same_rows(messages, group))
                engine.note("bare", group, raw.bare(messages, group))
    raw.close()
    for _ in range(rounds):
        async with _ours(engine) as ours:
            rates = [(await ours.run(1000, 16)).rate for _ in range(10)]
            engine.later.append(rates[9] / rates[0])


def ag2_rate(python: str, folder: Path) -> tuple[float, float]:
    """Messages a second of AG2's hub on SQLite, around message 100 and around message 1,000."""
    program = Path(__file__).with_name("ag2_hub.py")
    done = subprocess.run(
        [python, str(program), str(folder), "1050"], check=True, capture_output=True, text=True
    )
    seconds: list[float] = json.loads(done.stdout.splitlines()[-1])
    return 100 / sum(seconds[50:150]), 100 / sum(seconds[950:1050])


def install_ag2(folder: Path) -> str:
    """Put AG2 into an environment of its own; its interpreter."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    subprocess.run([str(python), "-m", "pip", "install", "--quiet", AG2], check=True)
    return str(python)


def _row(engine: Engine, group: int) -> str:
    ours, same, bare = (engine.median(arm, group) for arm in ("ours", "same", "bare"))
    cells = " | ".join(f"{each.rate:,.0f}/s; {each.cpu:,.0f} µs" for each in (ours, same, bare))
    ratios = f"{engine.ratio('same', group):.2f} | {engine.ratio('bare', group):.2f}"
    return f"| {engine.name} | {group} | {cells} | {ratios} |"


def table(engines: Sequence[Engine]) -> str:
    """What was found, as it stands in the README."""
    head = (
        "| | under way | ours | raw loop, the same rows | raw loop, bare queue | ours over the same"
        " rows | over the bare queue |\n|---|---|---|---|---|---|---|\n"
    )
    rows = "\n".join(_row(engine, group) for engine in engines for group in MESSAGES)
    later = "; ".join(f"{each.name} {statistics.median(each.later):.2f}" for each in engines)
    return (
        f"{head}{rows}\n\nEach cell: messages a second, and CPU of this process for each (a"
        " server's own is not in it). The last two columns are messages a second, medians of the"
        " rounds' ratios. Rate at message 10,000 over that at 1,000, 16 under way (goal: at least"
        f" 0.80): {later}."
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ag2", default="", help="an interpreter that has AG2 1.2")
    parser.add_argument("--install-ag2", type=Path, help="a folder to install it into")
    chosen = parser.parse_args()
    python = install_ag2(chosen.install_ag2) if chosen.install_ag2 else chosen.ag2
    with tempfile.TemporaryDirectory(prefix="repertory-", dir="/tmp") as name:
        folder = Path(name)
        # The server runs as another user where this runs as root.
        folder.chmod(0o755)
        engines = [_sqlite(folder, "process"), _sqlite(folder, "full")]
        found = binaries()
        with ExitStack() as stack:
            if found is not None:
                cluster = Cluster(folder / "pg", found, durable=True)
                cluster.start()
                stack.callback(cluster.stop)
                engines.append(_postgres(cluster))
            for engine in engines:
                asyncio.run(measure(engine, chosen.rounds))
        text = table(engines)
        if found is None:
            text += " PostgreSQL is not installed here, so it was not measured."
        if python:
            early, late = ag2_rate(python, folder)
            one = engines[0].median("ours", 1).rate
            text += (
                f"\n\nAG2 1.2's hub on SQLite, the same texts one at a time: {early:,.0f}/s around"
                f" message 100, {late:,.0f}/s around message 1,000. Ours, one at a time, sent,"
                f" claimed and acknowledged: {one / late:,.0f} times the latter."
            )
        else:
            text += "\n\nAG2 was not measured: name an interpreter that has it with `--ag2`."
    print(text)
    if chosen.write:
        write("journal", text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
