"""F9 and F20 on PostgreSQL: the server's disk is full, and its processes are killed.

One backend that dies of `kill -9` may have left anything in the memory that all share, so the
server ends every connection and recovers from its log: to its clients that is a crash of the
whole server.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic

import anyio
import anyio.to_thread

from tests.cluster import Cluster, binaries

from .books import open_books
from .client import WITH_ROOM, Client, open_client
from .disks import fill, small_disk
from .fault import Bench, Fault, Outcome, doses
from .kills import Flow
from .ledger import Ledger
from .serving import Served, clerk, kind
from .stores import MissingStoreError, PostgresStore

_PAUSE = 1.0
_PER_KILL = 8
_DISK_BYTES = 160 * 1024 * 1024
_FULL_SECONDS = 1.5
_AGENTS = {"desk": kind("Desk", peers=["clerk"], concurrency=4), "clerk": clerk(concurrency=4)}


async def kill_backends(bench: Bench) -> Outcome:
    """F20: kill one of the server's backends again and again, under work."""
    outcome = Outcome(dose=f"{bench.dose} kills over {_PER_KILL * bench.dose} tasks")
    assert isinstance(bench.store, PostgresStore)
    cluster, ledger = bench.store.cluster, Ledger(bench.folder / "ledger.txt")
    async with (
        open_books(ledger, bench.dice, slow=0.05) as books,
        Served(bench, "backends", _AGENTS, books.url) as served,
        open_client(served.url) as client,
        anyio.create_task_group() as group,
    ):
        database = served.store_url.partition("?")[0].rpartition("/")[2]
        await served.start()
        flow = Flow(client, "desk", ledger, _PER_KILL * bench.dose, bench.dice)
        group.start_soon(flow.run)
        for number in range(bench.dose):
            flow.allow((number + 1) / bench.dose)
            await anyio.sleep(_PAUSE * (0.3 + 0.7 * bench.dice.random()))
            os.kill(bench.dice.choice(backends(cluster.process, database)), signal.SIGKILL)
            outcome.recoveries.append(await _answered(client, f"probe-{number}", outcome))
            if not served.alive:
                assert served.life is not None
                outcome.broken.append(f"the runtime ended: {served.life.words()[-300:]}")
                await served.start()
            if (number + 1) % max(1, bench.dose // 4) == 0:
                bench.say(f"{number + 1} backends killed, {len(ledger.accepted)} accepted")
        await flow.over.wait()
        await flow.judge(outcome)
        await served.kill()
        if damage := bench.store.damage(served.store_url):
            outcome.broken.append(f"the store says {damage}")
    outcome.note = (
        f"{ledger.asked_again} calls made again under their own key; the runtime's process stayed"
        " the same; recovery is from the kill to the end of the next task that was sent"
    )
    return outcome


async def _answered(client: Client, name: str, outcome: Outcome) -> float:
    """How many seconds a message takes from now to its answer."""
    began = monotonic()
    task = await client.send("desk", name, {"steps": 0}, wait=True, give_up=WITH_ROOM)
    outcome.accepted += 1
    state = task["status"]["state"]
    while not state.endswith("COMPLETED") and monotonic() - began < 30.0:
        # Whoever waited for it may have been cut off.
        await anyio.sleep(0.02)
        state = await client.state("desk", task["id"])
    if not state.endswith("COMPLETED"):
        await client.state("desk", task["id"])
        outcome.stuck.append(f"{name} is {state}: {client.words.get(task['id'], '')}")
    return monotonic() - began


def backends(server: int, database: str) -> list[int]:
    """The processes that serve connections to a database."""
    found = []
    for pid in Path(f"/proc/{server}/task/{server}/children").read_text().split():
        with suppress(OSError):
            if f" {database} " in Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " "):
                found.append(int(pid))
    return found


@contextmanager
def _small_cluster(bench: Bench) -> Iterator[tuple[Cluster, Path]]:
    """A server of its own, with all that it has on a small disk."""
    found = binaries()
    if found is None:
        raise MissingStoreError("there is no PostgreSQL; Debian's package is `postgresql`")
    with small_disk(bench.folder / "disk", _DISK_BYTES) as disk:
        bench.folder.chmod(0o755)
        cluster = Cluster(disk / "pg", found, durable=True)
        cluster.start()
        try:
            yield cluster, disk
        finally:
            if cluster.runs:
                cluster.stop()


async def fill_disks(bench: Bench) -> Outcome:
    """F9: fill the disk of the server, which may end of it; make room, start it if it has ended."""
    outcome, restarts = Outcome(dose=f"{bench.dose} times full"), 0
    ledger = Ledger(bench.folder / "ledger.txt")
    with _small_cluster(bench) as (cluster, disk):
        store = PostgresStore(cluster)
        url = store.url(bench.folder, "full")
        async with (
            open_books(ledger, bench.dice, slow=0.02) as books,
            Served(bench, "full", _AGENTS, books.url, store={"url": url}) as served,
            open_client(served.url) as client,
            anyio.create_task_group() as group,
        ):
            served.store_url = url
            await served.start()
            flow = Flow(client, "desk", ledger, _PER_KILL * bench.dose, bench.dice, _PADDING)
            group.start_soon(flow.run)
            for number in range(bench.dose):
                flow.allow((number + 0.5) / bench.dose)
                ballast = fill(disk)
                # Until it has something to write that does not fit, or has had time to.
                flow.allow((number + 1) / bench.dose)
                with anyio.move_on_after(_FULL_SECONDS):
                    while cluster.runs:  # noqa: ASYNC110 - another process ends
                        await anyio.sleep(0.05)
                ballast.unlink()
                if not cluster.runs:
                    restarts += 1
                    await anyio.to_thread.run_sync(cluster.start)
                outcome.recoveries.append(await _answered(client, f"probe-{number}", outcome))
                if not served.alive:
                    outcome.broken.append("the runtime ended of its server's full disk")
                    await served.start()
            await flow.over.wait()
            await flow.judge(outcome)
            await served.kill()
            if damage := store.damage(url):
                outcome.broken.append(f"the store says {damage}")
    outcome.note = (
        f"{client.busy} times asked to come later; the server ended of it {restarts} times and was"
        " started again, as an init system does; recovery is from then to the end of the next task"
    )
    return outcome


# What a message carries, so that the server soon needs room.
_PADDING = "x" * 60_000

FAULTS = (
    Fault(
        "F9",
        "a full disk under the server",
        "the disk of the PostgreSQL server, a small tmpfs, is filled to the last byte, and emptied"
        " again",
        doses(20, 200, 2),
        fill_disks,
        stores=("postgresql",),
    ),
    Fault(
        "F20",
        "kill -9 of a server's backend",
        "a backend of the PostgreSQL server is killed under work, so the server ends all"
        " connections and recovers",
        doses(20, 200, 2),
        kill_backends,
        stores=("postgresql",),
    ),
)
