"""The kill switch: what a person has stopped, and what that holds back.

A stop is a row of the journal, so it outlives the process and holds in every
process over the same store. Work that it meets stays in the journal, as after the
end of a process, and goes on when the stop is lifted. Ending turns is `host`'s work.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from time import time
from typing import Final, Literal

from repertory.protocol import StoppedError
from repertory.xp_store import Connection, Database

from .audit import AuditEntry, audited
from .lease import WORK

Kind = Literal["network", "agent", "tenant"]
# Seconds within which stopped turns have ended.
STOP_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Stop:
    """What was stopped, why, and by whom; the network's own name is ""."""

    kind: Kind
    name: str
    reason: str
    by: str
    at: float

    @property
    def subject(self) -> str:
        """What rests, as a sentence names it."""
        return f"{self.kind} {self.name}" if self.name else "the network"

    @property
    def key(self) -> str:
        """What tells it from another stop of the same subject."""
        return f"{self.subject}@{self.at!r}"

    def holds(self, agent: str, tenant: str) -> bool:
        """Whether it holds back this tenant's work at this agent."""
        return self.kind == "network" or self.name == (agent if self.kind == "agent" else tenant)

    @property
    def sentence(self) -> str:
        """What a caller is told."""
        when = datetime.fromtimestamp(self.at, UTC).isoformat(timespec="seconds")
        why = f" ({self.reason})" if self.reason else ""
        option = f" --{self.kind} {self.name}" if self.name else ""
        return (
            f"{self.subject} was stopped at {when} by {self.by}{why}; it takes no work until"
            f" 'repertory resume{option}'"
        )


def subject_of(agent: str, tenant: str) -> tuple[Kind, str]:
    """What a stop with these options is about.

    Raises:
        ValueError: Both are named.
    """
    if agent and tenant:
        raise ValueError("a stop is for an agent or for a tenant; stop each by itself")
    return ("agent", agent) if agent else ("tenant", tenant) if tenant else ("network", "")


class Stops:
    """The stops that stand, as this process knows them."""

    def __init__(self, standing: Iterable[Stop] = ()) -> None:
        self._standing = {(stop.kind, stop.name): stop for stop in standing}

    def __iter__(self) -> Iterator[Stop]:
        return iter(tuple(self._standing.values()))

    def of(self, agent: str, tenant: str) -> Stop | None:
        """The widest stop that holds back this tenant's work at this agent."""
        if not self._standing:
            return None
        keys: tuple[tuple[Kind, str], ...] = (
            ("network", ""),
            ("tenant", tenant),
            ("agent", agent),
        )
        return next((self._standing[key] for key in keys if key in self._standing), None)

    def stops_agent(self, agent: str) -> bool:
        """Whether the agent rests for everybody."""
        return ("network", "") in self._standing or ("agent", agent) in self._standing

    def require(self, agent: str, tenant: str) -> None:
        """Return when the agent may take work of the tenant.

        Raises:
            StoppedError: It was stopped.
        """
        stop = self.of(agent, tenant)
        if stop is not None:
            raise StoppedError(stop.sentence, kind=stop.kind, name=stop.name)

    async def refresh(self, database: Database) -> bool:
        """Read again what stands; whether anything has changed."""
        found = {(stop.kind, stop.name): stop for stop in await read_stops(database)}
        changed = found != self._standing
        self._standing = found
        return changed


async def read_stops(database: Database) -> list[Stop]:
    """The stops that stand, oldest first."""

    def unit(connection: Connection) -> list[Stop]:
        return [
            Stop(*row)
            for row in connection.execute(
                "SELECT kind, name, reason, by, at FROM stop ORDER BY at, kind, name"
            ).fetchall()
        ]

    return await database.read(unit)


async def put_stop(database: Database, kind: Kind, name: str, *, reason: str, by: str) -> Stop:
    """Let a stop stand, and audit it; the stop that stands, which may be an earlier one."""
    stop = Stop(kind, name, reason[:500], by, time())
    note = audited(AuditEntry("stopped", principal=by, target=stop.subject, reason=stop.reason))

    def unit(connection: Connection) -> Stop:
        connection.execute(
            "INSERT INTO stop (kind, name, reason, by, at) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT (kind, name) DO NOTHING",
            (stop.kind, stop.name, stop.reason, stop.by, stop.at),
        )
        note(connection)
        connection.notify(WORK)
        row = connection.execute(
            "SELECT kind, name, reason, by, at FROM stop WHERE kind=? AND name=?", (kind, name)
        ).fetchone()
        return Stop(*row)

    return await database.transact(unit)


async def lift_stop(database: Database, kind: Kind, name: str, *, by: str) -> bool:
    """Take a stop away, and audit it; whether there was one."""
    subject = Stop(kind, name, "", by, 0.0).subject
    note = audited(AuditEntry("resumed", principal=by, target=subject))

    def unit(connection: Connection) -> bool:
        gone = connection.execute("DELETE FROM stop WHERE kind=? AND name=?", (kind, name))
        if not gone.rowcount:
            return False
        note(connection)
        connection.notify(WORK)
        return True

    return await database.transact(unit)
