"""Which process takes a task: claims of what nobody, or a dead process, works on.

Over SQLite the process that holds the store's lock takes everything. On a server the
processes take what they have places for, each a row that no other is taking
(`FOR UPDATE SKIP LOCKED`). The tasks of one dialogue stay in order: one can be taken
only when no earlier one is left to be taken, and none is at work at another process.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from repertory.xp_store import Connection, Database

from .lease import WORK, Lease

_MOST: Final = 500
# Agents from which on those are asked for first that have something to be had.
_MANY: Final = 16
# What a sign or an empty text is added to is left out of the choice of an index: the one by
# dialogue is right whatever the statistics say, which are missing or old while a queue grows.
_CLAIMABLE = """
SELECT t.id FROM task t
WHERE t.ended=0 AND t.agent=? AND t.owner IN ({had}) AND NOT EXISTS (
    SELECT 1 FROM task e
    WHERE e.tenant=t.tenant AND e.context_id=t.context_id AND +e.ended=0
    AND e.agent || ''=t.agent AND e.principal || ''=t.principal AND e.park='' AND e.id<>t.id
    AND CASE WHEN e.owner IN ({had})
        THEN e.created_at < t.created_at OR (e.created_at = t.created_at AND e.id < t.id)
        ELSE e.owner<>? END)
ORDER BY t.created_at, t.id LIMIT ?"""
# What is this process's already and comes before what it takes: asked for each by itself, so
# that every plan goes by the dialogue.
_BEFORE = """
SELECT t.id, (
    SELECT {joined} FROM task e
    WHERE e.tenant=t.tenant AND e.context_id=t.context_id AND +e.ended=0 AND e.agent || ''=t.agent
    AND e.principal || ''=t.principal AND e.park='' AND +e.owner=? AND e.id<>t.id
    AND (e.created_at < t.created_at OR (e.created_at = t.created_at AND e.id < t.id)))
FROM task t WHERE t.id IN ({marks})"""


class Claims:
    """What this process takes of the journal's tasks, and gives back."""

    def __init__(self, database: Database, lease: Lease) -> None:
        self._database = database
        self._lease = lease
        self._lapsed = f"SELECT number FROM process WHERE lease_until < {lease.now}"
        self._claimable = _CLAIMABLE
        if lease.locks:
            self._claimable += " FOR UPDATE OF t SKIP LOCKED"

    async def all(self, agents: Collection[str]) -> list[str]:
        """Take every task of these agents that has not ended, where this process is alone."""
        me = self._lease.number
        names = frozenset(agents)
        free = "ended=0 AND owner<>?"

        def unit(connection: Connection) -> list[str]:
            rows = connection.execute(f"SELECT DISTINCT agent FROM task WHERE {free}", (me,))
            mine = [name for (name,) in rows.fetchall() if name in names]
            found: list[str] = []
            for start in range(0, len(mine), _MOST):
                some = mine[start : start + _MOST]
                taken = connection.execute(
                    f"UPDATE task SET owner=? WHERE {free} AND agent IN"
                    f" ({','.join('?' * len(some))}) RETURNING id",
                    (me, me, *some),
                )
                found += [row[0] for row in taken.fetchall()]
            return found

        return await self._database.transact(unit)

    async def some(self, places: Mapping[str, int]) -> tuple[list[str], list[tuple[str, str]]]:
        """Take tasks of agents, the oldest first, at most as many as each has places.

        And which of them comes behind what of its dialogue is this process's.
        """
        me = self._lease.number

        def unit(connection: Connection) -> tuple[list[str], list[tuple[str, str]]]:
            found: list[str] = []
            # Whose tasks are to be had: nobody's, and those of processes whose lease lapsed.
            lapsed = connection.execute(self._lapsed).fetchall()
            owners = (0, *(row[0] for row in lapsed))
            had = ",".join("?" * len(owners))
            statement = self._claimable.format(had=had)
            asked: Mapping[str, int] = places
            if len(places) > _MANY:
                # Of very many agents few have something to do.
                wanted = connection.execute(
                    f"SELECT DISTINCT agent FROM task WHERE ended=0 AND owner IN ({had})", owners
                ).fetchall()
                asked = {name: places[name] for (name,) in wanted if name in places}
            for agent, most in asked.items():
                rows = connection.execute(
                    statement, (agent, *owners, *owners, me, min(most, _MOST))
                )
                ids = [row[0] for row in rows.fetchall()]
                if ids:
                    connection.execute(
                        f"UPDATE task SET owner=? WHERE id IN ({','.join('?' * len(ids))})",
                        (me, *ids),
                    )
                found += ids
            if not found:
                return [], []
            joined = connection.dialect.joined("e.id")
            before = _BEFORE.format(joined=joined, marks=",".join("?" * len(found)))
            behind = connection.execute(before, (me, *found)).fetchall()
            return found, [
                (task_id, earlier)
                for task_id, all_earlier in behind
                for earlier in (all_earlier or "").split(",")
                if earlier
            ]

        return await self._database.transact(unit)

    async def unclaimed(self) -> bool:
        """Whether a task waits that no process has taken."""
        query = "SELECT 1 FROM task WHERE ended=0 AND owner=0 LIMIT 1"
        return await self._database.read(
            lambda connection: connection.execute(query).fetchone() is not None
        )

    async def depth(self, agent: str) -> int:
        """How many tasks of an agent no process has taken."""
        query = "SELECT count(*) FROM task WHERE ended=0 AND owner=0 AND agent=?"
        return await self._database.read(
            lambda connection: int(connection.execute(query, (agent,)).fetchone()[0])
        )

    async def at_work(self, agents: Collection[str]) -> bool:
        """Whether any process has work left for these agents, or nobody has taken it yet."""
        names = frozenset(agents)
        query = "SELECT DISTINCT agent FROM task WHERE ended=0 AND park=''"
        return await self._database.read(
            lambda connection: any(name in names for (name,) in connection.execute(query))
        )

    async def held(self) -> set[str]:
        """The tasks that are this process's and have not ended."""
        query = "SELECT id FROM task WHERE ended=0 AND owner=?"

        def unit(connection: Connection) -> set[str]:
            return {row[0] for row in connection.execute(query, (self._lease.number,))}

        return await self._database.read(unit)

    async def give_back(self, ids: Sequence[str]) -> None:
        """Leave tasks that are still this process's to whoever takes them."""
        rows: list[tuple[Any, ...]] = [(task_id, self._lease.number) for task_id in ids]

        def unit(connection: Connection) -> None:
            connection.executemany(
                "UPDATE task SET owner=0 WHERE id=? AND owner=? AND ended=0", rows
            )
            connection.notify(WORK)

        await self._database.transact(unit)
