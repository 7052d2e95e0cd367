"""Which engine a store's URL names, and how it is opened."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import anyio
import anyio.to_thread

from .database import Database, Durability
from .errors import StoreError
from .sqlite_engine import SqliteDatabase

if TYPE_CHECKING:
    from .postgres_engine import PostgresOwner

_SQLITE_URL = "sqlite:///"
_POSTGRES = ("postgresql", "postgres", "postgresql+psycopg", "postgresql+asyncpg")


def is_postgres(url: str) -> bool:
    """Whether the URL names a PostgreSQL database."""
    return url.split("://", 1)[0] in _POSTGRES


def sqlite_path(url: str) -> str:
    """The file that a `sqlite:///FILE` URL names.

    Raises:
        StoreError: The URL names another engine.
    """
    if not url.startswith(_SQLITE_URL):
        scheme = url.split(":", 1)[0]
        raise StoreError(
            f"store url {shown_url(url)!r}: this needs a store in a file, and engine {scheme!r} has"
            " none; use sqlite:///FILE",
            url=scheme,
        )
    return url[len(_SQLITE_URL) :]


def shown_url(url: str) -> str:
    """The URL as it may be shown: without a password and without parameters."""
    if not is_postgres(url):
        return url.rsplit("@", maxsplit=1)[-1]
    try:
        parts = urlsplit(url)
        place = f"{parts.hostname or ''}{f':{parts.port}' if parts.port else ''}"
    except ValueError:
        return "postgresql://…"
    user = f"{parts.username}@" if parts.username else ""
    return f"postgresql://{user}{place}{parts.path}"


def file_of(url: str) -> Path | None:
    """The file of a store, None for memory and for a server."""
    if is_postgres(url):
        return None
    path = sqlite_path(url)
    return None if path == ":memory:" else Path(path)


def _database(url: str, durability: Durability) -> Database:
    if is_postgres(url):
        from .postgres_engine import PostgresDatabase

        return PostgresDatabase(conninfo_of(url), shown_url(url), durability)
    if url.startswith(_SQLITE_URL):
        return SqliteDatabase(sqlite_path(url), durability)
    scheme = url.split(":", 1)[0]
    raise StoreError(
        f"store url {shown_url(url)!r}: engine {scheme!r} is not supported; use sqlite:///FILE or"
        " postgresql://USER@HOST/DATABASE",
        url=scheme,
    )


def conninfo_of(url: str) -> str:
    """The URL as libpq reads it."""
    return "postgresql://" + url.split("://", 1)[1]


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
