"""A process that runs a network on a disk, dies and is started again."""

from collections.abc import Awaitable, Callable, Mapping
from random import Random
from typing import Any

import anyio
from anyio.abc import TaskGroup

from repertory.agents import Agent
from repertory.protocol import AgentService, RepertoryError
from repertory.runtime.audit import Audit
from repertory.runtime.journal import open_journal
from repertory.runtime.lease import Lease
from repertory.runtime.manifest import Manifest
from repertory.runtime.network import Network
from repertory.runtime.opening import _make_hosts
from repertory.runtime.telemetry import open_telemetry
from repertory.runtime.tool_server import ToolServer
from repertory.xp_store import HashEmbedder, open_checker, open_pack_store

from .disk import Disk, OnLoop, ServerDisk

Operation = Callable[[AgentService], Awaitable[Any]]


class Process:
    """Lives of one network, one after the other, all on one disk."""

    def __init__(
        self,
        manifest: Manifest,
        kinds: Mapping[str, type[Agent]],
        tools: Mapping[str, ToolServer],
        *,
        seed: str,
        tell: Callable[[str], None],
        disk: Disk | ServerDisk,
    ) -> None:
        self.name = manifest.network
        self.disk = disk
        self.network: Network | None = None
        self.remote: Mapping[str, Callable[[Random], AgentService]] = {}
        self.lives = 0
        self._manifest = manifest
        self._kinds = kinds
        self._tools = tools
        self._seed = seed
        self._tell = tell
        self._database: OnLoop | None = None
        self._scope: anyio.CancelScope | None = None
        self._group: TaskGroup | None = None
        self._under_way: dict[anyio.Event, None] = {}

    async def live(self) -> None:
        """One life, until it is cancelled or `die` is called."""
        self.lives += 1
        dice = Random(f"{self._seed}/{self.name}/{self.lives}")
        self._database = database = self.disk.open()
        database.begin(dice, self._told)
        self._tell(f"{self.name} starts")
        try:
            with anyio.CancelScope() as self._scope:
                await self._serve(database, dice)
        except Exception:
            # What the unwinding of a dead process raises is nobody's.
            if not database.dead:
                raise

    async def _serve(self, database: OnLoop, dice: Random) -> None:
        async with (
            open_journal(database) as journal,
            open_telemetry(network=self.name, spans=False, otlp=False) as telemetry,
            open_pack_store(database, embedder=HashEmbedder()) as packs,
            open_checker() as checker,
        ):
            journal.lease = lease = Lease(database, pools=self._manifest.pools)
            await lease.begin()
            network = Network(
                manifest=self._manifest,
                journal=journal,
                telemetry=telemetry,
                url=self._manifest.store_url,
                lease=lease,
                packs=packs,
                checker=checker,
                models={},
                remote={name: make(dice) for name, make in self.remote.items()},
                audit=Audit(database),
                state_key=b"simulated",
            )
            _make_hosts(network, self._tools, self._kinds, None)
            async with anyio.create_task_group() as group:
                await network.start(group)
                self.network, self._group = network, group
                await anyio.sleep_forever()

    def die(self) -> None:
        """End this life at once: what its unwinding does reaches neither the disk nor a wire."""
        if self._database is None or self._database.dead:
            return
        self._tell(f"{self.name} dies")
        self._database.die()
        if self.network is not None:
            self.network.close()
        self.network = self._group = None
        # In the order of the calls; the scope would tell its tasks in the order of their addresses.
        for over in self._under_way:
            over.set()
        self._under_way.clear()
        assert self._scope is not None
        self._scope.cancel()

    def deliver(
        self, agent: str, operation: Operation, delay: float, answer: list[Any] | None = None
    ) -> anyio.Event | None:
        """Carry out an operation here in a moment; set when it has answered, or died with its process.

        None when nobody lives here.
        """
        network, group = self.network, self._group
        if network is None or group is None:
            return None
        over = anyio.Event()
        self._under_way[over] = None

        async def carry_out() -> None:
            try:
                await anyio.sleep(delay)
                result: Any = await operation(network.service(agent))
            except RepertoryError as error:
                result = error
            finally:
                over.set()
                self._under_way.pop(over, None)
            if answer is not None and self.network is network:
                answer.append(result)

        group.start_soon(carry_out)
        return over

    def _told(self, what: str) -> None:
        self._tell(f"{self.name} {what}")
