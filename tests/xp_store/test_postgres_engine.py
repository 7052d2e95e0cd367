"""The engine for servers: what it does when the server takes its connections away."""

import os
import signal
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import anyio
import anyio.lowlevel
import psycopg
import pytest
from anyio import create_task_group, fail_after

from repertory.xp_store import Connection, open_database
from repertory.xp_store.postgres_engine import translated_marks
from repertory.xp_store.urls import conninfo_of
from tests.cluster import Cluster, binaries


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A server that may be broken without hurting other tests."""
    found = binaries()
    if found is None:
        pytest.skip("no PostgreSQL on this machine; install the package postgresql")
    with TemporaryDirectory(prefix="repertory-pg-", dir="/tmp") as folder:
        own = Cluster(Path(folder), found)
        own.start()
        try:
            yield own
        finally:
            own.stop()


def _write(number: int) -> Callable[[Connection], int]:
    def unit(connection: Connection) -> int:
        connection.execute("INSERT INTO numbers VALUES (?)", (number,))
        return _backend(connection)

    return unit


def _backend(connection: Connection) -> int:
    return int(connection.execute("SELECT pg_backend_pid()").fetchone()[0])


def _create(connection: Connection) -> None:
    # Without a key: what was written twice would be there twice.
    connection.execute("CREATE TABLE numbers (n BIGINT)")


async def _end(url: str, *backends: int) -> None:
    """End connections as an administrator does."""
    async with await psycopg.AsyncConnection.connect(conninfo_of(url), autocommit=True) as sql:
        for backend in backends:
            await sql.execute("SELECT pg_terminate_backend(%s)", (backend,))


async def test_what_was_acknowledged_is_there_once_though_backends_are_killed(
    cluster: Cluster,
) -> None:
    """Ours: a backend dies of kill -9, the server drops all and recovers; nobody is told, nothing is lost."""
    acknowledged: list[int] = []
    writers: set[int] = set()

    with fail_after(60):
        async with open_database(cluster.new_database()) as database:
            await database.transact(_create)

            async def write(first: int) -> None:
                for number in range(first, first + 60):
                    writers.add(await database.transact(_write(number)))
                    acknowledged.append(number)

            async with create_task_group() as group:
                for first in range(0, 480, 60):
                    group.start_soon(write, first)
                for done in (40, 200, 360):
                    while len(acknowledged) < done:
                        await anyio.lowlevel.checkpoint()
                    os.kill(await database.transact(_backend), signal.SIGKILL)
            rows = await database.read(
                lambda connection: connection.execute("SELECT n FROM numbers").fetchall()
            )
    assert Counter(number for (number,) in rows) == Counter(range(480))
    assert len(writers) > 1, "a killed backend was never the writer's"


class Wire:
    """Carries bytes between a client and the server, and breaks at a COMMIT when it is told to."""

    def __init__(self, server: str) -> None:
        self._server = server
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        # Whether the next COMMIT breaks the wire before or after it has arrived.
        self.cut: Literal["", "before", "after"] = ""
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    @property
    def is_cut(self) -> bool:
        """Whether it did what it was told."""
        return not self.cut

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._server)
                for source, target in ((client, server), (server, client)):
                    threading.Thread(
                        target=self._carry, args=(source, target, source is client), daemon=True
                    ).start()

    def _carry(self, source: socket.socket, target: socket.socket, asks: bool) -> None:
        with suppress(OSError), source, target:
            while data := source.recv(65536):
                # A session's first COMMIT goes in letters; its answer always has them.
                if self.cut == ("before" if asks else "after") and b"COMMIT" in data:
                    self.cut = ""
                    break
                target.sendall(data)
            for each in (source, target):
                each.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("cut", ["before", "after"])
async def test_a_commit_that_is_not_answered_is_made_once(
    cut: Literal["before", "after"], cluster: Cluster
) -> None:
    """Ours: whether the server had it is looked up, not guessed, when the wire breaks there."""
    url = cluster.new_database()
    wire = Wire(f"{cluster.folder}/.s.PGSQL.5432")
    through = url.partition("?")[0].replace("@/", f"@127.0.0.1:{wire.port}/")
    with fail_after(30):
        async with open_database(url) as direct, open_database(through) as database:
            await direct.transact(_create)
            wire.cut = cut
            await database.transact(_write(7))
            assert wire.is_cut, "no commit went over the wire"
            rows = await direct.read(
                lambda connection: connection.execute("SELECT n FROM numbers").fetchall()
            )
    wire.close()
    assert rows == [(7,)]


async def test_a_read_whose_connection_ended_is_asked_again(cluster: Cluster) -> None:
    """Ours: an administrator who ends connections, or a failover, costs a reader time and no error."""
    url = cluster.new_database()
    with fail_after(30):
        async with open_database(url) as database:
            first = {await database.read(_backend) for _ in range(20)}
            await _end(url, *first)
            assert not first & {await database.read(_backend) for _ in range(20)}


async def test_a_listener_whose_connection_ended_is_told_to_look(cluster: Cluster) -> None:
    """Ours: notices of the time in between are lost, so everything is worth a look; then it hears on."""
    url = cluster.new_database()
    with fail_after(30):
        async with open_database(url) as database, open_database(url) as other:
            with database.listen("work") as news:
                assert "" in await news.wait()
                ears = await database.read(
                    lambda connection: connection.execute(
                        "SELECT pid FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
                    ).fetchall()
                )
                assert ears
                await _end(url, *(pid for (pid,) in ears))
                assert "" in await news.wait()
                await other.transact(lambda connection: connection.notify("work", "now"))
                assert "now" in await news.wait()


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT ? , ?", "SELECT $1 , $2"),
        ("SELECT ?2, ?1, ?2", "SELECT $2, $1, $2"),
        ("SELECT '?', \"?\", ?", "SELECT '?', \"?\", $1"),
        ("SELECT 'it''s ?', ?", "SELECT 'it''s ?', $1"),
        ("SELECT 1 WHERE 1 IN ()", "SELECT 1 WHERE 1 = ANY('{}')"),
        ("SELECT 1 WHERE 1 NOT IN ()", "SELECT 1 WHERE 1 <> ALL('{}')"),
        ("SELECT 'never closed ?", "SELECT 'never closed ?"),
    ],
)
def test_marks_of_values_are_the_servers_and_texts_stay(sql: str, expected: str) -> None:
    """Ours: units are written once, for both engines."""
    assert translated_marks(sql) == expected.encode()
