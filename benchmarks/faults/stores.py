"""The stores that faults are done on, as an operator would set them up."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Protocol


class Store(Protocol):
    """Where the networks of a fault keep their state."""

    name: str

    def url(self, folder: Path, network: str) -> str:
        """The URL of a fresh store for a network in `folder`."""
        ...

    def damage(self, url: str) -> str:
        """What is wrong with the store itself; "" when it is sound."""
        ...


class SqliteStore:
    """A file beside the manifest."""

    name = "sqlite"

    def url(self, folder: Path, network: str) -> str:
        return f"sqlite:///{folder / '.repertory' / f'{network}.db'}"

    def damage(self, url: str) -> str:
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as file:
            said = str(file.execute("PRAGMA integrity_check").fetchone()[0])
        return "" if said == "ok" else said


@contextmanager
def open_store(name: str) -> Iterator[Store]:
    """The store of that name, started where it is a server."""
    if name != "sqlite":
        raise SystemExit(f"--store {name}: there is 'sqlite'")
    yield SqliteStore()
