"""F18: the power fails; the disk keeps what was synced, and of the rest nothing or any part.

`strace` notes every write, truncation and sync of the store's files, with their bytes. From
this the disk is built as it would have been found at the moment at which a sender had just
been told that its message is accepted: what a finished `fdatasync` covers is there, what was
written later is not (in every second case: any 512-byte sectors of it are, others are not).
A fresh process is started on it, and everything that had been acknowledged must end.
"""

import re
import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from time import time

import anyio

from .books import open_books
from .client import open_client
from .fault import Bench, Fault, Outcome, SkippedError, doses
from .ledger import ENDED, Ledger
from .serving import Served, clerk, kind

_SECTOR = 512
_SETTLE = 30.0
_AT_ONCE = 2
_CONTROLS = 5
_SENDERS = 6
# What a message carries beside, so that the log is written back into the file now and then.
_PADDING = "x" * 6_000
_CALL = re.compile(r"^(?P<thread>\d+) +(?P<at>\d+\.\d+) (?P<rest>.*)$")
_ENDED = re.compile(r"^(?P<head>.*) += (?P<result>-?\d+)(?: \S.*)? <(?P<taken>\d+\.\d+)>$")
_BEGUN = re.compile(r"^(?P<head>.*?),? *<unfinished \.\.\.>$")
_RESUMED = re.compile(r"^<\.\.\. \w+ resumed>,? ?(?P<tail>.*)$")
_WORDS = re.compile(r"^(?P<name>\w+)\((?P<arguments>.*)\)$", re.DOTALL)
_FILE = re.compile(r"^\d+<(?P<path>[^>]*)>")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_TRACED = "pwrite64,write,pwritev,writev,ftruncate,fallocate,fsync,fdatasync,unlink,openat"


@dataclass(frozen=True, slots=True)
class Call:
    """One finished call of the traced process, by the wall clock."""

    name: str
    arguments: str
    result: int
    begun: float
    ended: float


@dataclass(slots=True)
class FileState:
    """A file as programs see it, and as the disk would give it back.

    changes: what was done since the last sync that covers it: when, where, and the bytes
    (None for a cut to that length). removed: when it was, as long as it may still come back.
    """

    kept: bytearray = field(default_factory=bytearray)
    exists: bool = False
    removed: float | None = None
    changes: list[tuple[float, int, bytes | None]] = field(default_factory=list)

    def sync(self, begun: float) -> None:
        """Keep what had been done when the sync began."""
        for _, place, piece in [each for each in self.changes if each[0] <= begun]:
            apply(self.kept, place, piece)
        self.changes = [each for each in self.changes if each[0] > begun]
        self.exists = True

    def found(self, dice: Random | None) -> bytes:
        """What is found after the power was cut; dice: which sectors of the rest were written."""
        image = bytearray(self.kept)
        for _, place, piece in self.changes if dice is not None else ():
            assert dice is not None
            if piece is None:
                if dice.random() < 0.5:
                    apply(image, place, None)
                continue
            for at in range(0, len(piece), _SECTOR):
                if dice.random() < 0.5:
                    apply(image, place + at, piece[at : at + _SECTOR])
        return bytes(image)


def apply(image: bytearray, place: int, piece: bytes | None) -> None:
    """Write a piece at its place, or cut the file there."""
    if piece is None:
        del image[place:]
        image.extend(bytes(place - len(image)))
        return
    if place > len(image):
        image.extend(bytes(place - len(image)))
    image[place : place + len(piece)] = piece


def calls_of(log: Path) -> list[Call]:
    """The calls of a log of `strace -f -ttt -T -xx -y`, in the order in which they ended."""
    open_calls: dict[str, tuple[str, float]] = {}
    found: list[Call] = []
    with log.open(encoding="ascii") as lines:
        for line in lines:
            told = _CALL.match(line.rstrip("\n"))
            if told is None:
                continue
            thread, at, rest = told["thread"], float(told["at"]), told["rest"]
            begun, ended = at, 0.0
            if begin := _BEGUN.match(rest):
                open_calls[thread] = (begin["head"], at)
                continue
            resumed = _RESUMED.match(rest)
            if resumed is not None:
                if thread not in open_calls:
                    continue
                head, begun = open_calls.pop(thread)
                tail = resumed["tail"]
                rest = head + ("" if tail.startswith(")") or head.endswith("(") else ", ") + tail
                ended = at
            done = _ENDED.match(rest)
            if done is None:
                continue
            words = _WORDS.match(done["head"].rstrip())
            if words is None:
                continue
            ended = ended or begun + float(done["taken"])
            found.append(Call(words["name"], words["arguments"], int(done["result"]), begun, ended))
    return sorted(found, key=lambda call: call.ended)


class Disk:
    """Files under a folder, grown by calls."""

    def __init__(self) -> None:
        self.files: dict[Path, FileState] = defaultdict(FileState)
        self.syncs = 0

    def take(self, call: Call) -> None:
        """Let one call have happened."""
        if call.result < 0:
            return
        if call.name == "unlink":
            text = _TEXT.search(call.arguments)
            assert text is not None
            # It comes back after a cut, until its folder is synced.
            self.files[Path(_bytes(text[1]).decode())].removed = call.ended
            return
        place = _FILE.match(call.arguments)
        if place is None:
            return
        path = Path(_bytes(place["path"]).decode())
        match call.name:
            case "pwrite64":
                piece, at = _written(call)
                if self.files[path].removed is not None:
                    self.files[path] = FileState()
                self.files[path].changes.append((call.ended, at, piece))
            case "ftruncate":
                length = int(call.arguments.rpartition(",")[2])
                self.files[path].changes.append((call.ended, length, None))
            case "fsync" | "fdatasync":
                self.syncs += 1
                self.files[path].sync(call.begun)
                for each, state in list(self.files.items()):
                    if each.parent == path and (state.removed or call.begun) < call.begun:
                        del self.files[each]
            case "write" | "writev" | "pwritev" | "fallocate":
                raise NotImplementedError(f"the store's files are written by {call.name}")

    def lay_out(self, old: Path, new: Path, dice: Random | None) -> None:
        """Write what is found of the files of `old` into `new`."""
        for path, state in self.files.items():
            if state.exists and path.is_relative_to(old) and path != old:
                target = new / path.relative_to(old)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(state.found(dice))


def _bytes(hexadecimal: str) -> bytes:
    if "\\x" not in hexadecimal:
        return hexadecimal.encode()
    return bytes.fromhex(hexadecimal.replace("\\x", ""))


def _written(call: Call) -> tuple[bytes, int]:
    text = _TEXT.search(call.arguments)
    assert text is not None, call.arguments[:200]
    at = int(call.arguments.rpartition(",")[2])
    return _bytes(text[1])[: call.result], at


@dataclass(slots=True)
class _History:
    """What the driver knows of the life that was traced. acknowledged: name, task, when."""

    acknowledged: list[tuple[str, str, float]] = field(default_factory=list)
    effects: list[tuple[str, str, float]] = field(default_factory=list)
    steps: dict[str, int] = field(default_factory=dict)


class _TimedLedger(Ledger):
    """A ledger that knows when each effect happened."""

    __slots__ = ("history",)

    def __init__(self, path: Path, history: _History) -> None:
        super().__init__(path)
        self.history = history

    def do(self, key: str, what: str) -> bool:
        """As any ledger, and note the time."""
        done = super().do(key, what)
        if done:
            self.history.effects.append((key, what, time()))
        return done


async def cut_power(bench: Bench) -> Outcome:
    """Work under `strace`, then find the disk as it was at `dose` acknowledgments."""
    outcome = Outcome(dose=f"{bench.dose} cuts, each at an acknowledgment")
    seconds = bench.at(2, 10, 60)
    history, log = await _live(bench, "full", seconds)
    calls = calls_of(log)
    chosen = bench.dice.sample(history.acknowledged, min(bench.dose, len(history.acknowledged)))
    moments = sorted(at for _, _, at in chosen)
    bench.say(f"{len(history.acknowledged)} acknowledged, {len(calls)} calls noted")
    syncs = await _find_again(bench, history, calls, moments, outcome)
    gone = await _control(bench, outcome)
    outcome.note = (
        f"{syncs} syncs before the last cut; in every second case any part of what was not synced"
        f" was found. In the mode `process`, which promises no such thing, the same cut lost {gone}"
    )
    return outcome


async def _live(bench: Bench, durability: str, seconds: float) -> tuple[_History, Path]:
    """One life under `strace`, until it is killed."""
    if shutil.which("strace") is None:
        raise SkippedError("there is no `strace`; Debian's package is `strace`")
    history, name = _History(), f"traced-{durability}"
    ledger = _TimedLedger(bench.folder / f"{name}.txt", history)
    async with open_books(ledger, bench.dice, slow=0.01) as books:
        async with _served(bench, name, books.url, durability) as served:
            log, store = served.folder / "strace.log", served.folder / ".repertory"
            paths = [store, *(store / f"power.db{end}" for end in ("", "-wal", "-journal"))]
            store.mkdir()
            await served.start(
                cold=True,
                before=[
                    *("strace", "-f", "-qq", "-y", "-ttt", "-T", "-xx", "-s", "200000"),
                    *("-o", str(log), "-e", f"trace={_TRACED}"),
                    *(word for path in paths for word in ("-P", str(path))),
                ],
            )
            async with open_client(served.url) as client:
                numbers = iter(range(100_000))

                async def send() -> None:
                    for number in numbers:
                        task = f"t{number}"
                        history.steps[task] = bench.dice.randint(1, 2)
                        facts = {"steps": history.steps[task], "padding": _PADDING}
                        given = await client.send("desk", task, facts)
                        history.acknowledged.append((task, given["id"], time()))

                with anyio.move_on_after(seconds):
                    async with anyio.create_task_group() as group:
                        for _ in range(_SENDERS):
                            group.start_soon(send)
            # The tracer is what was started; whom it traces dies with it or before.
            await _kill_traced(served)
    return history, log


def _served(bench: Bench, name: str, books: str, durability: str) -> Served:
    url = f"sqlite:///{bench.folder / name / '.repertory' / 'power.db'}"
    agents = {"desk": kind("Desk", peers=["clerk"], concurrency=4), "clerk": clerk()}
    served = Served(
        bench, name, agents, books, network="power", store={"url": url, "durability": durability}
    )
    served.store_url = url
    return served


async def _kill_traced(served: Served) -> None:
    import os
    import signal
    from contextlib import suppress

    assert served.life is not None
    children = Path(f"/proc/{served.life.pid}/task/{served.life.pid}/children").read_text()
    for child in children.split():
        with suppress(ProcessLookupError):
            os.kill(int(child), signal.SIGKILL)
    # It ends by itself, with the log written, when nobody is left to be traced.
    await anyio.to_thread.run_sync(served.life.wait)


async def _find_again(
    bench: Bench, history: _History, calls: list[Call], moments: list[float], outcome: Outcome
) -> int:
    """Start on the disk of each moment; how many syncs there were by the last."""
    disk, place = Disk(), 0
    old = bench.folder / "traced-full" / ".repertory"
    ledger_of: dict[int, Ledger] = {}
    limiter = anyio.CapacityLimiter(_AT_ONCE)

    async def one(number: int, moment: float) -> None:
        async with limiter:
            await _judge(bench, history, number, moment, ledger_of[number], outcome)

    async with anyio.create_task_group() as group:
        for number, moment in enumerate(moments):
            while place < len(calls) and calls[place].ended <= moment:
                disk.take(calls[place])
                place += 1
            folder = bench.folder / f"found-{number}"
            ledger = ledger_of[number] = Ledger(bench.folder / f"ledger-{number}.txt")
            for key, what, at in history.effects:
                if at <= moment:
                    ledger.ask(key, what)
                    ledger.do(key, what)
            ledger.accepted = {n: i for n, i, at in history.acknowledged if at <= moment}
            image = bench.folder / f"image-{number}"
            disk.lay_out(old, image, Random(number) if number % 2 else None)
            assert not folder.exists()
            group.start_soon(one, number, moment)
            if (number + 1) % max(1, len(moments) // 4) == 0:
                bench.say(f"{number + 1} of {len(moments)} disks laid out")
    return disk.syncs


async def _judge(
    bench: Bench, history: _History, number: int, moment: float, ledger: Ledger, outcome: Outcome
) -> None:
    name = f"found-{number}"
    async with (
        open_books(ledger, bench.dice, slow=0.005) as books,
        _served(bench, name, books.url, "full") as served,
    ):
        shutil.move(bench.folder / f"image-{number}", served.folder / ".repertory")
        taken = await served.start()
        outcome.recoveries.append(taken)
        async with open_client(served.url) as client:
            states = await client.states("desk", ledger.accepted, ENDED, patience=_SETTLE)
        await served.kill()
        if damage := bench.store.damage(served.store_url):
            outcome.broken.append(f"the store that was found at cut {number} says {damage}")
    outcome.accepted += len(ledger.accepted)
    outcome.lost += [f"at cut {number}: {w}" for w in ledger.lost(states, history.steps)]
    outcome.lost += [
        f"at cut {number}: {n} ended as {s}"
        for n, s in states.items()
        if s in ENDED - {"COMPLETED"}
    ]
    outcome.repeated += [f"at cut {number}: {what}" for what in ledger.repeated()]
    outcome.stuck += [f"at cut {number}: {what}" for what in ledger.stuck(states)]
    shutil.rmtree(bench.folder / name)


async def _control(bench: Bench, outcome: Outcome) -> str:
    """What the same cut loses without the syncs: a test that cannot fail says nothing."""
    history, log = await _live(bench, "process", bench.at(1, 2, 5))
    calls, disk, place, lost, told = calls_of(log), Disk(), 0, 0, 0
    for cut in range(1, _CONTROLS + 1):
        acknowledged = history.acknowledged[: len(history.acknowledged) * cut // _CONTROLS]
        while place < len(calls) and calls[place].ended <= acknowledged[-1][2]:
            disk.take(calls[place])
            place += 1
        image = bench.folder / f"control-{cut}"
        disk.lay_out(bench.folder / "traced-process" / ".repertory", image, None)
        found = set(_tasks_in(image / "power.db"))
        lost += sum(task_id not in found for _, task_id, _ in acknowledged)
        told += len(acknowledged)
    if not lost:
        outcome.broken.append("without the syncs nothing was lost either, so this shows nothing")
    return f"{lost} of {told} acknowledged tasks at {_CONTROLS} cuts"


def _tasks_in(path: Path) -> Iterator[str]:
    import sqlite3
    from contextlib import closing

    if not path.exists():
        return
    with closing(sqlite3.connect(path)) as file:
        tables: Mapping[str, int] = dict(
            file.execute("SELECT name, 1 FROM sqlite_master WHERE type='table'").fetchall()
        )
        if "task" in tables:
            yield from (row[0] for row in file.execute("SELECT id FROM task"))


FAULTS = (
    Fault(
        "F18",
        "power loss",
        "the store is found again as the disk would give it back: what was synced, and of the"
        " rest nothing or any part (`durability: full`)",
        doses(50, 500, 3),
        cut_power,
        stores=("sqlite",),
    ),
)
