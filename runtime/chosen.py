"""Which network a command is about: a manifest, and a store that may be another than its own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from repertory.xp_store import Connection, Database, StoreError, file_of, open_database

from .manifest import Manifest, load_manifest

if TYPE_CHECKING:
    from .journal import Journal


@dataclass(frozen=True, slots=True)
class Chosen:
    """A manifest and the store that a command was told to look at; "" for the manifest's own."""

    manifest: Manifest
    path: Path
    store: str = ""

    @property
    def url(self) -> str:
        return self.store or self.manifest.store_url

    @property
    def index(self) -> Path:
        """The vector index of that store."""
        return self.manifest.index_of(self.store) if self.store else self.manifest.index_path


def choose(path: Path, store: str) -> Chosen:
    """The manifest at `path`, with another store than its own when one is given."""
    return Chosen(load_manifest(path), path, store)


@asynccontextmanager
async def reading(chosen: Chosen) -> "AsyncIterator[Journal]":
    """The journal of a network that has run at least once.

    Raises:
        StoreError: There is no store yet.
    """
    # The tables and what makes them cost most of a second to load.
    from .journal import open_journal

    async with at_hand(chosen) as database, open_journal(database) as journal:
        yield journal


@asynccontextmanager
async def at_hand(chosen: Chosen) -> AsyncIterator[Database]:
    """The store of a network that has run at least once, with the tables that it has.

    Raises:
        StoreError: There is no store yet.
    """
    file = file_of(chosen.url)
    if file is not None and not await anyio.Path(file).exists():
        raise _no_store(chosen, str(file))
    async with open_database(chosen.url) as database:
        if file is None and not await database.read(_has_journal):
            raise _no_store(chosen, database.name)
        yield database


def _has_journal(connection: Connection) -> bool:
    return connection.dialect.has_table(connection, "task")


def _no_store(chosen: Chosen, where: str) -> StoreError:
    return StoreError(
        f"network {chosen.manifest.network!r} has no store yet ({where}); "
        f"it begins with: repertory run {chosen.path}",
        url=where,
    )
