"""F9: the disk is full, or fails now and then, and works again later."""

import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import anyio

from .books import open_books
from .client import Client, RefusedError, open_client
from .fault import Bench, Fault, Outcome, SkippedError, doses
from .ledger import ENDED, Ledger
from .serving import Served, clerk

_DISK_BYTES = 24 * 1024 * 1024
_PIECE = 256 * 1024
_PADDING = "x" * 20_000
_SETTLE = 30.0
_REFUSALS = 3
# Beside 507 for what cannot be stored: where results cannot be, the mailbox fills up.
_REFUSING = frozenset({503, 507, 500, 400})


@contextmanager
def small_disk(place: Path) -> Iterator[Path]:
    """A disk of its own, a tmpfs, while the block runs.

    Raises:
        SkippedError: This machine does not let us mount one.
    """
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={_DISK_BYTES}", "tmpfs", str(place)],
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
    with anyio.move_on_after(_SETTLE) as patience:
        while not await writer.send():  # noqa: ASYNC110 - another process makes up its mind
            await anyio.sleep(0.05)
    if patience.cancelled_caught:
        outcome.broken.append(f"it still refused {_SETTLE:g} s after there was room")


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


FAULTS = (
    Fault(
        "F9",
        "a full disk",
        "the store's disk, a small tmpfs, is filled to the last byte, and emptied again",
        doses(20, 200, 2),
        fill_disks,
        stores=("sqlite",),
    ),
)
