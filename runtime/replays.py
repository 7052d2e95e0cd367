"""Retained tasks run again on a copy of the store, with packs and without: the canary of a change.

The copy has no journal, so nothing unfinished goes on in it; the task's own pack and
what it leaves there are kept out of recall. Only agents that touch nothing are run: one
that has tools or peers would post, mail or pay a second time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from anyio import TemporaryDirectory

from repertory.protocol import Message
from repertory.xp_store import Arm, Case, Connection, Database, Pack, copy_packs, open_database

from .errors import InputError
from .journal import Journal
from .manifest import Manifest
from .opening import open_network

_EMPTIED = ("task", "event", "step", "command", "webhook", "span")


@dataclass(frozen=True, slots=True)
class Asked:
    """A case with the agent that worked on it and the message that it was given."""

    case: Case
    agent: str
    message: Message


class Replays:
    """Run cases of a network again; `run` is a `changes.Replay`."""

    def __init__(self, manifest: Manifest, journal: Journal, packs: Sequence[Pack]) -> None:
        self._manifest = manifest
        self._journal = journal
        self._packs = packs

    async def runnable(self, cases: Sequence[Case], most: int) -> list[Case]:
        """Those cases whose message the journal still holds and whose agent touches nothing."""
        kept: list[Case] = []
        for case in cases:
            if len(kept) < most and await self._asked(case) is not None:
                kept.append(case)
        return kept

    async def run(self, cases: Sequence[Case], findable: bool) -> list[Arm]:
        """Run every case once, the packs in question findable or not."""
        asked = [found for case in cases if (found := await self._asked(case)) is not None]
        agents = {each.agent for each in asked}
        async with TemporaryDirectory(prefix="repertory-replay-") as folder:
            copy = Path(folder) / "copy.db"
            hidden = [each.digest for each in cases]
            hidden += [] if findable else [pack.digest for pack in self._packs]
            await _copied(self._journal.database, copy, hidden)
            return await self._arms(asked, agents, f"sqlite:///{copy}")

    async def _arms(self, asked: Sequence[Asked], agents: set[str], url: str) -> list[Arm]:
        arms: list[Arm] = []
        async with open_network(_alone(self._manifest, agents), store_url=url) as network:
            await network.packs.wait_indexed()
            for number, each in enumerate(asked):
                message = each.message.model_copy(update={"message_id": f"replay-{number}"})
                task = await network.ask(each.agent, message)
                made = [
                    pack
                    for pack in await network.packs.find(limit=5)
                    if pack.origin.get("a2a_task_id") == task.id
                ]
                for pack in made:
                    await network.packs.govern.set_status(
                        pack, "quarantined", tenant=pack.tenant, actor="replay", reason="a replay"
                    )
                cost = made[0].outcome["cost"] if made else {}
                tokens = int(cost.get("tokens_in", 0) + cost.get("tokens_out", 0))
                arms.append(Arm(bool(made) and made[0].outcome["verdict"] == "pass", tokens))
        return arms

    async def _asked(self, case: Case) -> Asked | None:
        record = await self._journal.load(case.task_id) if case.task_id else None
        entry = self._manifest.agents.get(record.agent) if record is not None else None
        if record is None or entry is None or entry.is_remote:
            return None
        if entry.tools or entry.peers or not entry.memory.record:
            return None
        return Asked(case, record.agent, record.message)


def _alone(manifest: Manifest, agents: set[str]) -> Manifest:
    """The manifest with these agents only, and nothing that they could touch."""
    if not agents:
        raise InputError("no retained task can be run again: their agents have tools or peers")
    kept = {
        name: entry.model_copy(update={"depends": ()})
        for name, entry in manifest.agents.items()
        if name in agents
    }
    alone = {"agents": kept, "tools": {}, "entry": min(agents), "report": None, "oversight": None}
    return manifest.model_copy(update=alone)


async def _copied(source: Database, target: Path, hidden: Sequence[str]) -> None:
    """Copy the packs of a store into a file, some of them as if they were not to be found."""
    await copy_packs(source, target)
    async with open_database(f"sqlite:///{target}") as copy:
        await copy.transact(lambda connection: _empty(connection, hidden))


def _empty(connection: Connection, hidden: Sequence[str]) -> None:
    for table in _EMPTIED:
        if connection.dialect.has_table(connection, table):
            connection.execute(f"DELETE FROM {table}")
    connection.executemany(
        "UPDATE xp_pack SET status = 'quarantined' WHERE digest = ?",
        [(digest,) for digest in hidden],
    )
