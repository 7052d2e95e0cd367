"""A copy of a store's packs in a file, whichever engine holds them: for replays beside it."""

import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import anyio.to_thread

from .connection import Connection
from .database import Database
from .engines import open_database
from .schema import EXPERIENCE
from .tables import metadata


async def copy_packs(source: Database, target: Path) -> None:
    """Copy a store into the new SQLite file `target`: all of a file, the packs of a server."""
    if source.file is not None:
        await anyio.to_thread.run_sync(_copy_file, str(source.file), str(target))
        return
    tables = await source.read(_rows)
    async with open_database(f"sqlite:///{target}") as copy:
        await copy.upgrade(EXPERIENCE)
        await copy.transact(partial(_fill, tables=tables))


def _copy_file(source: str, target: str) -> None:
    with (
        closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as origin,
        closing(sqlite3.connect(target)) as copy,
    ):
        origin.backup(copy)


def _rows(connection: Connection) -> dict[str, list[Any]]:
    # Both engines keep the same in the same columns.
    return {
        table.name: connection.execute(
            f"SELECT {', '.join(column.name for column in table.columns)} FROM {table.name}"
        ).fetchall()
        for table in metadata.sorted_tables
    }


def _fill(connection: Connection, tables: dict[str, list[Any]]) -> None:
    for name, rows in tables.items():
        columns = metadata.tables[name].columns
        connection.executemany(
            f"INSERT INTO {name} ({', '.join(column.name for column in columns)})"
            f" VALUES ({', '.join('?' * len(columns))})",
            rows,
        )
