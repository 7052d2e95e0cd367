"""F9: the disk is full, fails now and then, or takes no writes, and works again later.

A full disk is a small tmpfs that is filled. One that fails or has become read-only is made by
libfiu, which answers the process's own writes to its files with EIO or EROFS: so the files are
open when it happens, as when a kernel finds its disk broken.
"""

import shutil
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from time import monotonic

import anyio

from .books import open_books
from .client import Client, RefusedError, open_client
from .fault import Bench, Fault, Outcome, SkippedError, doses
from .ledger import ENDED, Ledger
from .processes import Life
from .serving import Served, clerk

_DISK_BYTES = 24 * 1024 * 1024
_PIECE = 256 * 1024
_PADDING = "x" * 20_000
_SETTLE = 30.0
_REFUSALS = 3
_TRIED = 10
# Beside 507 for what cannot be stored: where results cannot be, the mailbox fills up.
_REFUSING = frozenset({503, 507, 500, 400})


@contextmanager
def small_disk(place: Path, size: int = _DISK_BYTES) -> Iterator[Path]:
    """A disk of its own, a tmpfs, while the block runs.

    Raises:
        SkippedError: This machine does not let us mount one.
    """
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)],
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SkippedError(f"no tmpfs can be mounted here ({done.stderr.strip()})")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk: Path) -> Path:
    """Write a file until nothing more fits."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * _PIECE)
        except OSError:
            pass
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            return ballast


class _Writer:
    """Sends tasks one after the other, and knows which were acknowledged."""

    def __init__(self, client: Client, ledger: Ledger) -> None:
        self.client = client
        self.ledger = ledger
        self.number = 0
        self.refusals: list[RefusedError] = []

    async def send(self) -> bool:
        """Send one task; whether it was accepted."""
        name, self.number = f"t{self.number}", self.number + 1
        try:
            task = await self.client.send(
                "clerk",
                name,
                {"steps": 1, "padding": _PADDING},
                patience=10.0,
                give_up=_REFUSING,
            )
        except RefusedError as refusal:
            self.refusals.append(refusal)
            return False
        self.ledger.accepted[name] = task["id"]
        return True


async def fill_disks(bench: Bench) -> Outcome:
    """Fill the store's disk while it works, ask until it refuses, make room, and ask again."""
    outcome = Outcome(dose=f"{bench.dose} times full")
    ledger = Ledger(bench.folder / "ledger.txt")
    with small_disk(bench.folder / "disk") as disk:
        async with open_books(ledger, bench.dice, slow=0.02) as books:
            store = {"url": f"sqlite:///{disk}/full.db", "index": str(disk / "index")}
            async with (
                _served(bench, books.url, store) as served,
                open_client(served.url, patience=20.0) as client,
            ):
                await served.start()
                writer = _Writer(client, ledger)
                for number in range(bench.dose):
                    await _fill_once(bench, served, disk, writer, outcome)
                    if (number + 1) % max(1, bench.dose // 4) == 0:
                        bench.say(f"{number + 1} times full, {len(ledger.accepted)} accepted")
                await _judge(bench, served, client, ledger, outcome)
    statuses = sorted({refusal.status for refusal in writer.refusals})
    outcome.note = (
        f"{len(writer.refusals)} messages refused with {', '.join(map(str, statuses))}; the same"
        " process accepted again when there was room"
    )
    outcome.broken += [
        f"refused with {refusal}, not with 507"
        for refusal in writer.refusals
        if refusal.status != 507 and '"BUSY"' not in refusal.words and "'BUSY'" not in refusal.words
    ][:3]
    return outcome


async def _fill_once(
    bench: Bench, served: Served, disk: Path, writer: _Writer, outcome: Outcome
) -> None:
    for _ in range(bench.dice.randint(1, 4)):
        await writer.send()
    ballast = fill(disk)
    refused = 0
    for _ in range(400):
        refused = 0 if await writer.send() else refused + 1
        if refused >= _REFUSALS:
            break
    else:
        outcome.broken.append("a full disk refused nothing")
    assert served.life is not None
    if not served.life.alive:
        outcome.broken.append(f"the runtime ended on a full disk: {served.life.words()[-300:]}")
        ballast.unlink()
        await served.start()
        return
    ballast.unlink()
    outcome.recoveries.append(await _wait_accepting(writer, outcome))


@asynccontextmanager
async def _served(bench: Bench, books: str, store: dict[str, str]) -> AsyncIterator[Served]:
    served = Served(bench, "full", {"clerk": clerk()}, books, store=store)
    served.store_url = store["url"]
    async with served:
        yield served


async def _judge(
    bench: Bench, served: Served, client: Client, ledger: Ledger, outcome: Outcome
) -> None:
    states = await client.states("clerk", ledger.accepted, ENDED, patience=_SETTLE)
    outcome.accepted += len(ledger.accepted)
    outcome.lost += ledger.lost(states, dict.fromkeys(ledger.accepted, 1))
    outcome.lost += [f"{n} ended as {s}" for n, s in states.items() if s in ENDED - {"COMPLETED"}]
    outcome.repeated += ledger.repeated()
    outcome.stuck += ledger.stuck(states)
    await served.kill()
    if damage := bench.store.damage(served.store_url):
        outcome.broken.append(f"the store says {damage}")


class Fiu:
    """Lets the writes of a process fail, by libfiu's library in the process and `fiu-ctrl`."""

    def __init__(self, folder: Path) -> None:
        libraries = [Path("/usr/lib/fiu") / f"fiu_{name}_preload.so" for name in ("run", "posix")]
        if shutil.which("fiu-ctrl") is None or not all(each.exists() for each in libraries):
            raise SkippedError(
                "there is no libfiu; Debian's packages are `fiu-utils` and `libfiu0`"
            )
        self._at = folder / "fiu"
        self.environment = {
            "LD_PRELOAD": ":".join(map(str, libraries)),
            "FIU_CTRL_FIFO": str(self._at),
        }

    async def tell(self, life: Life, *commands: str) -> None:
        """Carry out commands of libfiu in the process."""
        words = [word for command in commands for word in ("-c", command)]
        await anyio.run_process(["fiu-ctrl", "-f", str(self._at), *words, str(life.pid)])


async def fail_now_and_then(bench: Bench) -> Outcome:
    """One write in a hundred fails with EIO, and one sync in twenty."""
    begin = (
        "enable_random name=posix/io/rw/pwrite,probability=0.01,failinfo=5",
        "enable_random name=posix/io/sync/*,probability=0.05,failinfo=5",
    )
    end = ("disable name=posix/io/rw/pwrite", "disable name=posix/io/sync/*")
    outcome = Outcome(dose=f"{bench.dose} times {_TRIED} messages at 1% EIO")
    return await _break_disk(bench, begin, end, outcome, always=False)


async def take_no_writes(bench: Bench) -> Outcome:
    """Every write and every sync fails with EROFS, as on a disk that the kernel gave up."""
    names = ("posix/io/rw/pwrite", "posix/io/sync/*")
    begin = tuple(f"enable name={name},failinfo=30" for name in names)
    end = tuple(f"disable name={name}" for name in names)
    outcome = Outcome(dose=f"{bench.dose} times read-only")
    return await _break_disk(bench, begin, end, outcome, always=True)


async def _break_disk(
    bench: Bench,
    begin: Sequence[str],
    end: Sequence[str],
    outcome: Outcome,
    *,
    always: bool,
) -> Outcome:
    ledger, fiu = Ledger(bench.folder / "ledger.txt"), Fiu(bench.folder)
    async with (
        open_books(ledger, bench.dice, slow=0.01) as books,
        Served(bench, "broken", {"clerk": clerk()}, books.url) as served,
        open_client(served.url, patience=20.0) as client,
    ):
        await served.start(cold=True, environment=fiu.environment)
        writer, refused = _Writer(client, ledger), 0
        for number in range(bench.dose):
            await writer.send()
            assert served.life is not None
            await fiu.tell(served.life, *begin)
            for _ in range(_REFUSALS if always else _TRIED):
                sent = await writer.send()
                if sent and always:
                    outcome.broken.append("a message was accepted that cannot have been written")
                refused += not sent
            await fiu.tell(served.life, *end)
            if not served.alive:
                outcome.broken.append(f"the runtime ended: {served.life.words()[-300:]}")
                await served.start(cold=True, environment=fiu.environment)
            outcome.recoveries.append(await _wait_accepting(writer, outcome))
            if (number + 1) % max(1, bench.dose // 4) == 0:
                bench.say(f"{number + 1} times broken, {len(ledger.accepted)} accepted")
        await _judge(bench, served, client, ledger, outcome)
    statuses = Counter(refusal.status for refusal in writer.refusals)
    told = ", ".join(f"{n} with {status}" for status, n in sorted(statuses.items()))
    outcome.note = (
        f"refused {told}; the same process accepted again; recovery is from the disk's own to"
        " the next message that was accepted"
    )
    outcome.broken += [
        f"refused with {refusal}" for refusal in writer.refusals if refusal.status not in (503, 507)
    ][:3]
    return outcome


async def _wait_accepting(writer: _Writer, outcome: Outcome) -> float:
    """Send until a message is accepted; how many seconds that took."""
    began = monotonic()
    with anyio.move_on_after(_SETTLE) as patience:
        while not await writer.send():  # noqa: ASYNC110 - another process makes up its mind
            await anyio.sleep(0.05)
    if patience.cancelled_caught:
        outcome.broken.append(f"it still refused {_SETTLE:g} s after the disk was well again")
    return monotonic() - began


FAULTS = (
    Fault(
        "F9",
        "a full disk",
        "the store's disk, a small tmpfs, is filled to the last byte, and emptied again",
        doses(20, 200, 2),
        fill_disks,
        stores=("sqlite",),
    ),
    Fault(
        "F9e",
        "a disk that fails now and then",
        "writes to the store's files fail with EIO now and then (libfiu)",
        doses(20, 200, 2),
        fail_now_and_then,
        stores=("sqlite",),
    ),
    Fault(
        "F9r",
        "a disk that takes no writes",
        "every write to the store's files fails with EROFS (libfiu), and works again later",
        doses(20, 200, 2),
        take_no_writes,
        stores=("sqlite",),
    ),
)
