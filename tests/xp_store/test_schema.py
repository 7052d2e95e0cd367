"""Revisions: from any version's tables to the newest, by one process, wholly or not at all."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import psycopg
import pytest
import sqlalchemy
from alembic.autogenerate import produce_migrations, render_python_code
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from repertory.runtime.tables import JOURNAL, JournalTable
from repertory.xp_store import (
    EXPERIENCE,
    Schema,
    StoreError,
    StoreOwnedError,
    StoreVersionError,
    open_database,
    own_file,
    revision_of,
)
from repertory.xp_store.postgres_types import open_sqlalchemy
from repertory.xp_store.tables import metadata
from repertory.xp_store.urls import conninfo_of, is_postgres
from tests.cluster import Cluster

SCHEMAS = {"journal": (JOURNAL, JournalTable.metadata), "experience": (EXPERIENCE, metadata)}
both_rooms = pytest.mark.parametrize("room", SCHEMAS)


@contextmanager
def _sql(url: str) -> Iterator[sqlalchemy.Connection]:
    """SQLAlchemy's connection to a store, on which PostgreSQL keeps types as ours do."""
    if is_postgres(url):
        with (
            closing(psycopg.connect(conninfo_of(url))) as raw,
            open_sqlalchemy(raw) as connection,
            connection.begin(),
        ):
            yield connection
        return
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        yield connection
    engine.dispose()


async def _upgrade(url: str, *schemas: Schema) -> None:
    async with open_database(url) as database:
        for schema in schemas:
            await database.upgrade(schema)


def _sorted(found: Any) -> list[Any]:
    return sorted(found, key=str)


def _shape(connection: sqlalchemy.Connection, tables: list[str]) -> dict[str, Any]:
    """All that an engine tells of tables: columns, keys, uniqueness, indexes, and how rows lie."""
    inspector = sqlalchemy.inspect(connection)
    shape: dict[str, Any] = {}
    for table in tables:
        columns = {
            column["name"]: (
                str(column["type"].compile(connection.dialect)),
                column["nullable"],
                column["default"],
                bool(column.get("identity")),
            )
            for column in inspector.get_columns(table)
        }
        shape[table] = {
            "columns": columns,
            "key": inspector.get_pk_constraint(table)["constrained_columns"],
            "unique": _sorted(
                each["column_names"] for each in inspector.get_unique_constraints(table)
            ),
            "indexes": _sorted(
                (
                    each["name"],
                    each["column_names"],
                    each["unique"],
                    sorted(
                        (name, str(value))
                        for name, value in each.get("dialect_options", {}).items()
                    ),
                )
                for each in inspector.get_indexes(table)
            ),
            "foreign": inspector.get_foreign_keys(table),
            "checks": inspector.get_check_constraints(table),
        }
        if connection.dialect.name == "sqlite":
            made = connection.exec_driver_sql(
                "SELECT sql FROM sqlite_master WHERE name = ?", (table,)
            ).scalar_one()
            shape[table]["rows"] = ("WITHOUT ROWID" in made, "AUTOINCREMENT" in made)
    return shape


@both_rooms
async def test_all_revisions_together_make_what_the_models_say(
    room: str, store_url: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Ours: a changed model without a revision fails here, and here is what it needs."""
    schema, models = SCHEMAS[room]
    await _upgrade(store_url, schema)
    other = f"sqlite:///{tmp_path}/models.db"
    if is_postgres(store_url):
        cluster: Cluster = request.getfixturevalue("postgres")
        other = cluster.new_store()
    tables = sorted(models.tables)
    with _sql(store_url) as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                # Types and defaults are compared as the engine tells them, below.
                "compare_type": False,
                "include_name": lambda name, kind, parents: kind != "table" or name in tables,
            },
        )
        missing = produce_migrations(context, models).upgrade_ops
        assert missing is not None
        assert missing.is_empty(), render_python_code(missing)
        upgraded = _shape(connection, tables)
    with _sql(other) as connection:
        models.create_all(connection)
        assert upgraded == _shape(connection, tables)


@both_rooms
def test_the_newest_revision_is_the_one_that_the_code_names(room: str) -> None:
    """Ours: one line of revisions, each file named by its number, and a head that is its end."""
    schema, _ = SCHEMAS[room]
    script = ScriptDirectory(str(schema.folder), version_locations=[str(schema.folder)])
    assert script.get_heads() == [schema.head]
    numbers = [each.revision for each in script.walk_revisions()]
    assert numbers == [f"{number:04}" for number in range(len(numbers), 0, -1)]
    assert [each.split()[0] for each in schema.pending("")] == numbers[::-1]


@both_rooms
async def test_a_store_of_a_newer_revision_is_refused_and_not_touched(
    room: str, store_url: str
) -> None:
    """Ours: code that does not know a store's tables does not write to them."""
    schema, models = SCHEMAS[room]
    await _upgrade(store_url, schema)
    with _sql(store_url) as connection:
        connection.exec_driver_sql(f"UPDATE {schema.table} SET version_num = '0999'")
        before = _shape(connection, sorted(models.tables))
    with pytest.raises(StoreVersionError, match=f"newer version .{room} revision 0999"):
        await _upgrade(store_url, schema)
    with _sql(store_url) as connection:
        assert _shape(connection, sorted(models.tables)) == before


PROGRAM = """
import sys, anyio
from repertory.runtime.tables import JOURNAL
from repertory.xp_store import EXPERIENCE, arm_crash_points, open_database
async def main(url):
    async with open_database(url) as database:
        for schema in (JOURNAL, EXPERIENCE):
            await database.upgrade(schema)
arm_crash_points()
anyio.run(main, sys.argv[1])
print("alembic" in sys.modules)
"""


def _process(url: str, crash: str = "") -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, url],
        stdout=subprocess.PIPE,
        text=True,
        env={"REPERTORY_CRASH_AT": crash, "XDG_STATE_HOME": "/nonexistent"},
    )


def _output(process: "subprocess.Popen[str]") -> tuple[str, int]:
    told, _ = process.communicate(timeout=60)
    return told.strip(), process.returncode


async def _revisions(url: str) -> list[str]:
    async with open_database(url) as database:
        return await database.read(
            lambda connection: [revision_of(connection, each) for each in (JOURNAL, EXPERIENCE)]
        )


async def test_a_kill_within_an_upgrade_leaves_a_store_that_opens(store_url: str) -> None:
    """Ours: tables are changed with their revision's number, or not at all."""
    # In the second room's upgrade, so one of each is seen: one that was made and one that was not.
    killed = await anyio.to_thread.run_sync(_process, store_url, "in-upgrade:2")
    assert await anyio.to_thread.run_sync(_output, killed) == ("", -9)
    assert await _revisions(store_url) == [JOURNAL.head, ""]
    again = await anyio.to_thread.run_sync(_process, store_url)
    assert await anyio.to_thread.run_sync(_output, again) == ("True", 0)
    assert await _revisions(store_url) == [JOURNAL.head, EXPERIENCE.head]
    # And whoever comes later loads nothing of what an upgrade needs.
    later = await anyio.to_thread.run_sync(_process, store_url)
    assert await anyio.to_thread.run_sync(_output, later) == ("False", 0)


async def test_processes_that_start_at_once_upgrade_a_store_once(store_url: str) -> None:
    """Ours: replicas may be started together; one makes the tables and the others find them."""
    started = [await anyio.to_thread.run_sync(_process, store_url) for _ in range(3)]
    for each in started:
        assert (await anyio.to_thread.run_sync(_output, each))[1] == 0
    assert await _revisions(store_url) == [JOURNAL.head, EXPERIENCE.head]


HOLDER = """
import sys
from repertory.xp_store.ownership import own_file
file = own_file(sys.argv[1])
print("held", flush=True)
sys.stdin.read()
"""


def _holder(path: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


async def test_a_file_that_another_process_works_on_is_not_upgraded_under_it(
    tmp_path: Path,
) -> None:
    """Ours: an older version at work must not find its tables changed; its owner may change them."""
    path = tmp_path / "store.db"
    url = f"sqlite:///{path}"
    await _upgrade(url, JOURNAL)
    with _sql(url) as connection:
        connection.exec_driver_sql("UPDATE journal_version SET version_num = '0001'")
    holder = await anyio.to_thread.run_sync(_holder, path)
    try:
        assert holder.stdout is not None
        await anyio.to_thread.run_sync(holder.stdout.readline)
        with pytest.raises(StoreOwnedError, match=f"process {holder.pid} works on it: stop"):
            await _upgrade(url, JOURNAL)
        assert (await _revisions(url))[0] == "0001"
    finally:
        await anyio.to_thread.run_sync(holder.communicate)
    with await anyio.to_thread.run_sync(own_file, str(path)):
        await _upgrade(url, JOURNAL)
    assert (await _revisions(url))[0] == JOURNAL.head


async def test_a_failure_within_an_upgrade_leaves_what_was_there(
    store_url: str, tmp_path: Path
) -> None:
    """Ours: a revision that cannot be run changes nothing, and says in a sentence what refused."""
    folder = tmp_path / "revisions"
    await _upgrade(store_url, JOURNAL)
    await anyio.to_thread.run_sync(shutil.copytree, JOURNAL.folder, folder)
    (folder / "r0003_broken.py").write_text(
        "from alembic import op\n"
        "revision, down_revision = '0003', '0002'\n"
        "def upgrade():\n"
        "    op.execute('CREATE TABLE half (way INTEGER)')\n"
        "    op.execute('ALTER TABLE nowhere ADD COLUMN at_all INTEGER')\n"
    )
    broken = replace(JOURNAL, folder=folder, head="0003")
    with pytest.raises(StoreError, match=r"nowhere.*nothing was written"):
        await _upgrade(store_url, broken)
    assert (await _revisions(store_url))[0] == "0002"
    async with open_database(store_url) as database:
        assert not await database.read(lambda some: some.dialect.has_table(some, "half"))
