"""The doctor's look at a store: whether it is sound, whose it is now, and how much room is left."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Literal

import anyio

from repertory.protocol import RepertoryError
from repertory.xp_store import (
    Connection,
    StoreVersionError,
    file_of,
    open_database,
    shown_url,
)

from .lease import ProcessInfo, processes_of
from .revised import Revised, revisions_of

Told = tuple[str, Literal["ok", "warning", "error"], str, str]
_LITTLE_ROOM, _NO_ROOM = 1_000_000_000, 100_000_000
# A process holds a writer, three readers, a listener and the owner's connection.
_CONNECTIONS = 6
_FACTS = (
    "SELECT current_setting('server_version'), pg_database_size(current_database()),"
    " has_schema_privilege(current_schema(), 'CREATE'), current_setting('fsync'),"
    " current_setting('full_page_writes'), current_setting('max_connections')::int"
    " - (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')"
)
_CHECKED = (
    "SELECT c.relname, bt_index_check(c.oid) FROM pg_class c JOIN pg_am a ON a.oid = c.relam"
    " WHERE a.amname = 'btree' AND c.relkind = 'i'"
    " AND c.relnamespace = current_schema()::regnamespace"
)
_MAY_CHECK = (
    "SELECT coalesce(bool_or(has_function_privilege(p.oid, 'EXECUTE')), false)::int FROM pg_proc p"
    " WHERE p.proname = 'bt_index_check' AND pg_function_is_visible(p.oid)"
)


def look_at_store(url: str) -> Iterator[Told]:
    """Subject, state, finding and advice."""
    try:
        file = file_of(url)
        if file is None:
            yield from _server(url)
            return
    except RepertoryError as error:
        yield "store", "error", error.sentence, ""
        return
    if not file.exists():
        yield "store", "ok", f"none yet; the first run makes {file}", ""
    else:
        yield _soundness(file, url)
        yield from _tables(url)
        yield from _processes(url)
    yield _room(file)


def _tables(url: str) -> Iterator[Told]:
    """Which revisions the tables have; a newer one is what this version must not touch."""
    try:
        found = anyio.run(_read_revisions, url)
    except StoreVersionError as error:
        yield "tables", "error", error.sentence, ""
        return
    except RepertoryError:
        return  # The store is told of by itself.
    told = ", ".join(each.sentence for each in found)
    lacking = [
        f"{each.schema.name} {number}" for each in found if each.found for number in each.pending
    ]
    if lacking:
        advice = (
            "repertory store upgrade runs them now, else whatever opens the store next does;"
            " make a copy of the store before: there is no way back"
        )
        yield "tables", "warning", f"{told}; to be run: {', '.join(lacking)}", advice
    else:
        yield "tables", "ok", told, ""


async def _read_revisions(url: str) -> list[Revised]:
    async with open_database(url) as database:
        return await revisions_of(database)


def rows_of(url: str, query: str, *values: float) -> list[tuple[object, ...]]:
    """What the store says; nothing where there is none yet, or no such table."""
    try:
        file = file_of(url)
        if file is not None and not file.exists():
            return []
        return anyio.run(_ask, url, query, values)
    except RepertoryError:
        return []


async def _ask(url: str, query: str, values: tuple[float, ...]) -> list[tuple[object, ...]]:
    async with open_database(url) as database:
        return await database.read(lambda connection: connection.execute(query, values).fetchall())


def _processes(url: str) -> Iterator[Told]:
    """Who shares the store, and how long each may be silent yet."""
    found = _known(url)
    if not found:
        yield "processes", "ok", "none runs the network now", ""
    for each in found:
        work = f"runs {', '.join(each.pools)}" if each.pools else "only serves"
        told = f"{each.pid} on {each.host}, {work}, {each.tasks} tasks"
        if each.draining:
            told += ", draining"
        if each.lease is not None and each.lease > 0:
            told += f", renewed for {each.lease:.1f} s more"
        if each.lives:
            yield f"process {each.number}", "ok", told, ""
        elif each.tasks:
            gone = f"silent for {-each.lease:.0f} s" if each.lease is not None else "gone"
            advice = "the others take its tasks as they have places; start one if there is none"
            yield f"process {each.number}", "warning", f"{told}, {gone}", advice


def _known(url: str) -> list[ProcessInfo]:
    try:
        return anyio.run(_read_processes, url)
    except RepertoryError:
        return []  # The store is told of by itself.


async def _read_processes(url: str) -> list[ProcessInfo]:
    async with open_database(url) as database:
        if not await database.read(lambda some: some.dialect.has_table(some, "process")):
            return []
        return await processes_of(database)


def pools_run(url: str) -> frozenset[str]:
    """The pools whose agents a living process runs."""
    return frozenset(pool for each in _known(url) if each.lives for pool in each.pools)


def _soundness(file: Path, url: str) -> Told:
    restore = f"keep {file} as it is, and restore a copy of it, or begin anew with another 'store'"
    try:
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
            problems = [row[0] for row in connection.execute("PRAGMA integrity_check(5)")]
    except sqlite3.DatabaseError as error:
        return "store", "error", f"{file}: {error}", restore
    if problems != ["ok"]:
        return "store", "error", f"{file}: {'; '.join(problems)}", restore
    try:
        anyio.run(_open, url)
    except RepertoryError as error:
        return "store", "error", error.sentence, ""
    return "store", "ok", f"{file}, {file.stat().st_size / 1e6:.1f} MB, sound", ""


async def _open(url: str) -> None:
    async with open_database(url):
        pass


def _room(file: Path) -> Told:
    folder = next(parent for parent in file.absolute().parents if parent.exists())
    free = shutil.disk_usage(folder).free
    told = f"{free / 1e9:.1f} GB free in {folder}"
    if free < _NO_ROOM:
        return "disk", "error", told, "make room, or put 'store' on another disk"
    if free < _LITTLE_ROOM:
        return "disk", "warning", told, "make room soon"
    return "disk", "ok", told, ""


def _server(url: str) -> Iterator[Told]:
    try:
        yield from anyio.run(_look, url)
    except RepertoryError as error:
        yield "store", "error", error.sentence, ""
        return
    yield from _tables(url)
    yield from _processes(url)


async def _look(url: str) -> list[Told]:
    async with open_database(url) as database:
        return await database.read(lambda connection: [*_facts(connection, shown_url(url))])


def _facts(connection: Connection, name: str) -> Iterator[Told]:
    version, size, may, fsync, pages, free = connection.execute(_FACTS).fetchone()
    told = f"{name}, PostgreSQL {version}, {size / 1e6:.1f} MB"
    if not may:
        advice = "GRANT CREATE, USAGE ON SCHEMA to this role: docs/postgresql.md"
        yield "store", "error", f"{told}; this role may make no tables", advice
    elif not connection.execute(_MAY_CHECK).fetchone()[0]:
        advice = ""
        yield "store", "ok", f"{told}, answers; its indexes are not checked without amcheck", advice
    else:
        count = len(connection.execute(_CHECKED).fetchall())
        yield "store", "ok", f"{told}, {count} indexes checked by amcheck", ""
    if (fsync, pages) != ("on", "on"):
        advice = "set fsync and full_page_writes to on, and restart the server"
        told = f"fsync is {fsync}, full_page_writes {pages}: a crash loses acknowledged work"
        yield "store durability", "error", told, advice
    if free < _CONNECTIONS:
        advice = "raise max_connections, or let fewer processes use it"
        told = f"{free} connections are left; a process needs {_CONNECTIONS}"
        yield "store connections", "warning", told, advice
