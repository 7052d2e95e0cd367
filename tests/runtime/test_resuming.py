"""What an earlier version left in the middle is finished by this one."""

import sqlite3
from contextlib import closing
from pathlib import Path

import anyio.to_thread
import pytest

from repertory.runtime.tables import JOURNAL, JournalTable
from repertory.xp_store import EXPERIENCE, Database, Schema, open_database, revision_of
from repertory.xp_store.tables import metadata
from tests.runtime.killing.resuming import kept_stores, restore, resume


def _database(name: str, request: pytest.FixtureRequest) -> str:
    if not name.startswith("postgresql"):
        return ""
    url: str = request.getfixturevalue("postgres").new_database()
    return url


@pytest.mark.slow
@pytest.mark.parametrize("name", kept_stores())
async def test_a_store_of_an_earlier_version_is_upgraded_and_its_tasks_finished(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Ours: fault F16; nothing is lost, no finished call is made again, each invoice is posted once."""
    url = _database(name, request)
    tally = await anyio.to_thread.run_sync(resume, name, tmp_path / "desk", url)
    assert tally.faults == []
    # And there was something to finish: a question and calls whose outcome was unknown.
    assert tally.lives == 2
    assert tally.calls["tool"] >= 4


async def _columns(database: Database, table: str) -> set[str]:
    return await database.read(
        lambda connection: {
            each[0] for each in connection.execute(f"SELECT * FROM {table} LIMIT 0").description
        }
    )


@pytest.mark.parametrize("name", kept_stores())
async def test_a_store_from_before_revisions_were_kept_gets_all_of_them(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Ours: hand-written code had changed such stores in part; what is there stays."""
    url = _database(name, request)
    job = await anyio.to_thread.run_sync(restore, name, tmp_path / "desk", url)
    async with open_database(url or f"sqlite:///{job.store}") as database:

        async def revisions(*schemas: Schema) -> list[str]:
            return await database.read(
                lambda connection: [revision_of(connection, each) for each in schemas]
            )

        assert await revisions(JOURNAL, EXPERIENCE) == ["0000", "0000"]
        packs = await database.read(
            lambda connection: connection.execute("SELECT count(*) FROM xp_pack").fetchone()
        )
        for schema, models in ((JOURNAL, JournalTable.metadata), (EXPERIENCE, metadata)):
            await database.upgrade(schema)
            for table in models.sorted_tables:
                assert await _columns(database, table.name) == set(table.columns.keys())
        assert await revisions(JOURNAL, EXPERIENCE) == [JOURNAL.head, EXPERIENCE.head]
        kept = await database.read(
            lambda connection: connection.execute(
                "SELECT count(*) FROM xp_pack p JOIN xp_rights r"
                " ON r.tenant = p.tenant AND r.key = p.rights_key"
            ).fetchone()
        )
        assert kept == packs


async def test_versions_from_before_revisions_refuse_a_store_that_has_them(tmp_path: Path) -> None:
    """Ours: they read a number that the file holds, and know none above 2."""
    async with open_database(f"sqlite:///{tmp_path}/new.db") as database:
        await database.upgrade(JOURNAL)
    with closing(sqlite3.connect(tmp_path / "new.db")) as connection:
        assert connection.execute("PRAGMA user_version").fetchone()[0] == 3
