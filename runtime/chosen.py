"""Which network a command is about: a manifest, and a store that may be another than its own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio

from repertory.xp_store import StoreError, open_database

from .journal import Journal, open_journal
from .manifest import Manifest, load_manifest


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
        beside = Path(self.store.removeprefix("sqlite:///") + "-index")
        return beside if self.store else self.manifest.index_path


def choose(path: Path, store: str) -> Chosen:
    """The manifest at `path`, with another store than its own when one is given."""
    return Chosen(load_manifest(path), path, store)


@asynccontextmanager
async def reading(chosen: Chosen) -> AsyncIterator[Journal]:
    """The journal of a network that has run at least once.

    Raises:
        StoreError: There is no store yet.
    """
    file = chosen.url.partition(":///")[2]
    if not await anyio.Path(file).exists():
        raise StoreError(
            f"network {chosen.manifest.network!r} has no store yet ({file}); "
            f"it begins with: repertory run {chosen.path}",
            url=chosen.url,
        )
    async with open_database(chosen.url) as database, open_journal(database) as journal:
        yield journal
