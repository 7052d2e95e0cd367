"""The store's database: group commit, atomic units, versions."""

import sqlite3
from pathlib import Path

import anyio
import pytest

from repertory.xp_store import Connection, Database, StoreError, StoreVersionError, open_database


def _insert(number: int):  # type: ignore[no-untyped-def]  # a closure for one statement
    def unit(connection: Connection) -> int:
        connection.execute("INSERT INTO numbers VALUES (?)", (number,))
        return number

    return unit


async def _numbers(db: Database) -> list[int]:
    return await db.read(
        lambda connection: [
            row[0] for row in connection.execute("SELECT n FROM numbers ORDER BY n")
        ]
    )


async def _create(db: Database) -> None:
    await db.transact(
        lambda connection: connection.execute("CREATE TABLE numbers (n INTEGER PRIMARY KEY)")
    )


async def test_what_waits_together_is_committed_together(store_url: str) -> None:
    """Ours: an fsync is shared by all who wait for it."""
    async with open_database(store_url, "full") as db:
        await _create(db)
        before = db.batches
        async with anyio.create_task_group() as group:
            for number in range(200):
                group.start_soon(db.transact, _insert(number))
        assert await _numbers(db) == list(range(200))
        assert db.batches - before < 100


async def test_a_unit_that_raises_is_rolled_back_alone(store_url: str) -> None:
    """Ours: one caller's mistake costs its neighbors in the batch nothing."""

    def broken(connection: Connection) -> None:
        connection.execute("INSERT INTO numbers VALUES (7)")
        raise ValueError("half way")

    async with open_database(store_url) as db:
        await _create(db)
        outcomes: list[str] = []

        async def run_broken() -> None:
            try:
                await db.transact(broken)
            except ValueError as error:
                outcomes.append(str(error))

        async with anyio.create_task_group() as group:
            group.start_soon(db.transact, _insert(1))
            group.start_soon(run_broken)
            group.start_soon(db.transact, _insert(2))
        assert outcomes == ["half way"]
        assert await _numbers(db) == [1, 2]


async def test_what_is_looked_at_later_undoes_its_unit_alone(store_url: str) -> None:
    """Ours: a server is waited for once a batch, and whose check fails is undone all the same."""

    def careful(number: int, wanted: int):  # type: ignore[no-untyped-def]  # a closure
        def unit(connection: Connection) -> None:
            done = connection.execute("UPDATE numbers SET n=n+10 WHERE n=?", (number,))
            connection.execute("INSERT INTO numbers VALUES (?)", (number + 100,))

            def look() -> None:
                if done.rowcount != wanted:
                    raise ValueError(f"{done.rowcount} of {number}")
                connection.execute("INSERT INTO numbers VALUES (?)", (number + 200,))

            connection.later(look)

        return unit

    async with open_database(store_url) as db:
        await _create(db)
        await db.transact(_insert(1))
        outcomes: list[str] = []

        async def run(number: int) -> None:
            try:
                await db.transact(careful(number, 1))
            except ValueError as error:
                outcomes.append(str(error))

        async with anyio.create_task_group() as group:
            for number in (7, 1, 8):
                group.start_soon(run, number)
        assert sorted(outcomes) == ["0 of 7", "0 of 8"]
        assert await _numbers(db) == [11, 101, 201]


async def test_who_listens_is_told_once_of_what_a_batch_tells(store_url: str) -> None:
    """Ours: notices go with the commit, and those of a unit that failed do not go."""

    def telling(payload: str, *, fails: bool = False):  # type: ignore[no-untyped-def]  # a closure
        def unit(connection: Connection) -> None:
            connection.notify("colors", payload)
            if fails:
                raise ValueError(payload)

        return unit

    async with open_database(store_url) as db:
        with db.listen("colors") as news, anyio.fail_after(10):
            if store_url.startswith("postgresql"):
                # That the ear has begun to hear is told as something that was missed.
                assert await news.wait() == {""}

            async def run_failing() -> None:
                with pytest.raises(ValueError, match="green"):
                    await db.transact(telling("green", fails=True))

            async with anyio.create_task_group() as group:
                group.start_soon(db.transact, telling("red"))
                group.start_soon(run_failing)
                group.start_soon(db.transact, telling("blue"))
            told: set[str] = set()
            while not {"red", "blue"} <= told:
                told |= await news.wait()
            assert told == {"red", "blue"}


async def test_an_acknowledged_write_is_seen_by_the_next_read(store_url: str) -> None:
    """Ours: readers see every commit that was acknowledged."""
    async with open_database(store_url) as db:
        await _create(db)
        for number in range(50):
            await db.transact(_insert(number))
            assert (await _numbers(db))[-1] == number


async def test_a_store_of_a_newer_version_is_refused_in_words(tmp_path: Path) -> None:
    """Ours: bad input gets a clear error, and nothing is changed."""
    path = tmp_path / "store.db"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(StoreVersionError, match="newer version"):
        async with open_database(f"sqlite:///{path}"):
            pass


async def test_a_file_that_is_no_database_is_refused_in_words(tmp_path: Path) -> None:
    """Ours: bad input gets a clear error that names the file."""
    path = tmp_path / "store.db"
    path.write_text("this is a letter, not a database, and it is long enough to be read")
    with pytest.raises(StoreError, match=r"store\.db cannot be opened"):
        async with open_database(f"sqlite:///{path}"):
            pass


@pytest.mark.parametrize(
    "url",
    [
        "mysql://me:secret@host/db",
        "postgresql://me:secret@127.0.0.1:1/db",
        "postgresql://127.0.0.1:1/db?user=me&password=secret",
        "postgresql://me:secret@host:port/db",
        "postgresql://me:secret@host/db?no=such&password=secret",
    ],
)
async def test_a_store_that_cannot_be_opened_is_refused_without_its_password(url: str) -> None:
    """Ours: secrets never reach an error."""
    with pytest.raises(StoreError) as caught:
        async with open_database(url):
            pass
    error: BaseException | None = caught.value
    while error is not None:
        assert "secret" not in f"{error}{error!r}"
        error = error.__cause__


async def test_a_closed_store_refuses_work(store_url: str) -> None:
    """Ours: nothing is written after the block, and nobody waits for it."""
    async with open_database(store_url) as db:
        await _create(db)
    with pytest.raises(StoreError, match="is closed"):
        await db.transact(_insert(1))
