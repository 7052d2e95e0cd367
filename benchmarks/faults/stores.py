"""The stores that faults are done on, as an operator would set them up."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from tests.cluster import Cluster, binaries


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


class PostgresStore:
    """A server of the run's own, with `fsync` on; each network gets a database."""

    name = "postgresql"

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def url(self, folder: Path, network: str) -> str:
        return self.cluster.new_database()

    def damage(self, url: str) -> str:
        database = url.partition("?")[0].rpartition("/")[2]
        try:
            # Every index of the database is held against its table (contrib's amcheck).
            self.cluster.sql("CREATE EXTENSION IF NOT EXISTS amcheck", database)
            self.cluster.sql(_CHECK, database)
        except RuntimeError as error:
            return str(error)
        return ""


_CHECK = (
    "SELECT bt_index_check(c.oid, true) FROM pg_class c JOIN pg_am a ON a.oid = c.relam"
    " JOIN pg_namespace n ON n.oid = c.relnamespace"
    " WHERE a.amname = 'btree' AND c.relkind = 'i' AND n.nspname = 'public'"
)


@contextmanager
def open_store(name: str) -> Iterator[Store]:
    """The store of that name, started where it is a server.

    Raises:
        MissingStoreError: This machine has no such server.
    """
    if name == "sqlite":
        yield SqliteStore()
        return
    found = binaries()
    if found is None:
        raise MissingStoreError("there is no PostgreSQL; Debian's package is `postgresql`")
    # A socket's path may have 107 bytes, and another user must reach its folder.
    with TemporaryDirectory(prefix="faults-pg-", dir="/tmp") as folder:
        cluster = Cluster(Path(folder), found, durable=True)
        cluster.start()
        try:
            yield PostgresStore(cluster)
        finally:
            cluster.stop()


class MissingStoreError(Exception):
    """This machine lacks the store's server."""
