"""Which engine a store's URL names, and how it is opened."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from .database import Database, Durability
from .sqlite_engine import SqliteDatabase
from .urls import SQLITE, conninfo_of, is_postgres, shown_url, sqlite_path, unknown_engine

if TYPE_CHECKING:
    from .postgres_engine import PostgresOwner


def _database(url: str, durability: Durability) -> Database:
    if is_postgres(url):
        from .postgres_engine import PostgresDatabase

        return PostgresDatabase(conninfo_of(url), shown_url(url), durability)
    if url.startswith(SQLITE):
        return SqliteDatabase(sqlite_path(url), durability)
    raise unknown_engine(url)


def owner_in(url: str, what: str) -> "PostgresOwner":
    """Try to own `what` in a PostgreSQL database; `owned` says whether that worked; blocking."""
    from .postgres_engine import PostgresOwner

    return PostgresOwner(conninfo_of(url), shown_url(url), what)


@asynccontextmanager
async def open_database(url: str, durability: Durability = "process") -> AsyncIterator[Database]:
    """Open `sqlite:///FILE`, `sqlite:///:memory:` or `postgresql://USER@HOST/DATABASE`.

    A file and its folder are made; a server's database must be there. durability:
    `process` survives the death of the process, `full` also the loss of power (an
    fsync for every group commit). On PostgreSQL a commit always waits for the
    server's disk; `full` waits for its synchronous standbys too.

    Raises:
        StoreError: It cannot be opened as a store.
        StoreVersionError: A newer version of Repertory wrote it.
    """
    database = _database(url, durability)
    await anyio.to_thread.run_sync(database.open)
    try:
        yield database
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(database.close)
