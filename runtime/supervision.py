"""What becomes of crashed agents: the verdicts of `supervisor`, carried out.

One task answers the crashes, one after the other. A crash of a life that has been ended
since, because the agent was stopped and started again with another, is no news.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio
from anyio.abc import TaskGroup

from .audit import AuditEntry, write_audit
from .errors import SupervisionError, listed
from .supervisor import Supervisor, Verdict

if TYPE_CHECKING:
    from repertory.xp_store import Database

    from .host import AgentHost
    from .manifest import Supervision as Rules

_log = logging.getLogger(__name__)
GAVE_UP = "gave up"
"""How the audit calls that an agent, or the network with it, was given up."""


@dataclass(frozen=True, slots=True)
class Crash:
    """How a life of an agent ended."""

    life: int
    error: Exception


class Supervision:
    """Restarts the agents of one process, as the manifest says.

    hosts: in the order in which they start.
    """

    def __init__(
        self, hosts: "Mapping[str, AgentHost]", rules: "Rules", database: "Database"
    ) -> None:
        self._hosts = hosts
        self._rules = rules
        self._database = database
        # The latest of each agent, so there are never more than agents.
        self._crashes: dict[str, Crash] = {}
        self._arrived = anyio.Event()
        self._over = False

    def crashed(self, agent: str, life: int, error: Exception) -> None:
        """Learn that an agent has ended by an error; never waits."""
        if not self._over:
            self._crashes.pop(agent, None)
            self._crashes[agent] = Crash(life, error)
            self._arrived.set()

    def end(self) -> None:
        """Let what ends from now on be no news."""
        self._over = True

    async def run(self, group: TaskGroup) -> None:
        """Answer crashes until cancelled; agents are started in `group`.

        Raises:
            SupervisionError: An agent crashed too often, and the manifest gives up the
                network with it.
        """
        rules = self._rules
        supervisor = Supervisor(
            {name: host.entry.restart for name, host in self._hosts.items()},
            strategy=rules.strategy,
            intensity=rules.intensity,
            period=rules.period,
            # Where one agent is given up alone, its crashes are its own.
            apart=rules.escalate == "agent",
        )
        while True:
            while self._crashes:
                agent = next(iter(self._crashes))
                crash = self._crashes.pop(agent)
                if crash.life != self._hosts[agent].life:
                    continue
                told = f"{type(crash.error).__name__}: {crash.error}"
                verdict = supervisor.exited(agent, abnormal=True)
                if verdict.exhausted:
                    await self._give_up(agent, told, crash.error)
                else:
                    await self._restart(agent, told, verdict, group)
            self._arrived = anyio.Event()
            await self._arrived.wait()

    async def _give_up(self, agent: str, told: str, error: Exception) -> None:
        rules = self._rules
        sentence = (
            f"agent {agent} crashed more than {rules.intensity} times in {rules.period:g} s;"
            f" the last time: {told}"
        )
        alone = rules.escalate == "agent"
        entry = AuditEntry(GAVE_UP, agent=agent, target="" if alone else "network", reason=sentence)
        await write_audit(self._database, entry)
        if not alone:
            raise SupervisionError(sentence, agent=agent) from error
        _log.error("%s; it stays down", sentence)
        await self._hosts[agent].give_up(sentence)

    async def _restart(self, agent: str, told: str, verdict: Verdict, group: TaskGroup) -> None:
        _log.warning("agent %s crashed (%s); restarting %s", agent, told, listed(verdict.restart))
        for name in reversed(verdict.restart):
            await self._hosts[name].stop()
        for name in verdict.down:
            await self._hosts[name].stop()
            why = "crashed" if name == agent else f"was stopped with {agent}, which crashed"
            await self._hosts[name].give_up(
                f"agent {name} {why} ({told}); it is temporary, so it is not started again"
            )
        for name in verdict.restart:
            await self._hosts[name].restart(group)
