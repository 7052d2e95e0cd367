"""What a running network says of itself in its journal, for whoever looks from beside it.

What is not well has a row: agents that are down, and models whose circuit breaker
stopped the asking. So has every stop that the process obeys, with what of it has not
ended. Rows are written when they change, by the process that knows, and say nothing
once no process runs the network.
"""

from collections.abc import Mapping
from time import time
from typing import Literal

from repertory.xp_store import Connection, Database

from .stops import Stop

Standing = Mapping[tuple[Literal["agent", "model", "stop"], str], str]


async def write_standing(database: Database, process: int, standing: Standing) -> None:
    """Replace what a process says: a sentence for each subject, "" where it is well."""
    now = time()
    rows = [(kind, name, process, detail[:500], now) for (kind, name), detail in standing.items()]

    def unit(connection: Connection) -> None:
        connection.execute(
            "DELETE FROM standing WHERE process=? OR process NOT IN (SELECT number FROM process)",
            (process,),
        )
        connection.executemany(
            "INSERT INTO standing (kind, name, process, detail, at) VALUES (?, ?, ?, ?, ?)", rows
        )

    await database.transact(unit)


async def read_standing(database: Database) -> dict[tuple[str, str], str]:
    """What was said last by the processes that are there, of what is not well."""

    def unit(connection: Connection) -> dict[tuple[str, str], str]:
        rows = connection.execute(
            "SELECT kind, name, detail FROM standing"
            " WHERE detail<>'' AND process IN (SELECT number FROM process)"
            " ORDER BY kind, name, process"
        )
        return {(kind, name): detail for kind, name, detail in rows.fetchall()}

    return await database.read(unit)


async def obeyed(database: Database, stop: Stop) -> dict[int, str]:
    """The processes that obey a stop, and what of it each could not end: "" for nothing."""

    def unit(connection: Connection) -> dict[int, str]:
        query = "SELECT process, detail FROM standing WHERE kind='stop' AND name=?"
        return dict(connection.execute(query, (stop.key,)).fetchall())

    return await database.read(unit)
