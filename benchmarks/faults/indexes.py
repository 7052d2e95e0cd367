"""F15: the owner of the vector index is killed while it writes to it, and the index is removed."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

import anyio

from .fault import Bench, Fault, Outcome, doses
from .processes import Life

_PATIENCE = 120.0
_QUICK = 10.0
_KILL_SECONDS = 0.03


class _Owner:
    """One life of the process that owns the index, and what it says."""

    def __init__(self, bench: Bench, number: int, packs: int) -> None:
        self.number = number
        self.folder = bench.folder
        self.log = bench.folder / f"owner-{number}.log"
        self.life: Life = bench.starter.start(
            bench.folder,
            [str(bench.folder), str(number), str(packs)],
            self.log,
            entry="benchmarks.faults.packing:main",
            load=("chromadb", "benchmarks.faults.packing"),
        )

    def said(self) -> list[dict[str, Any]]:
        """What it has said by now, without what is not a sentence of its own."""
        text = self.log.read_text() if self.log.exists() else ""
        return [json.loads(line) for line in text.split("\n")[:-1] if line.startswith('{"what"')]

    async def wait_for(self, what: str, after: int = 0) -> list[dict[str, Any]]:
        """Wait until it has said so, after its first sentences; all that it has said."""
        until = monotonic() + _PATIENCE
        while True:
            said = self.said()
            if any(each["what"] == what for each in said[after:]):
                return said
            if not self.life.alive or monotonic() > until:
                raise RuntimeError(
                    f"the owner of the index did not come to {what!r}: {self.life.words()}"
                )
            await anyio.sleep(0.002)


async def kill_owner(bench: Bench) -> Outcome:
    """Kill it in an upsert `dose` times; every third time the index is gone as well."""
    packs = int(bench.at(300, 5000, 5000))
    outcome = Outcome(
        dose=f"{bench.dose} kills, every third time the index's folder removed, {packs} packs"
    )
    recorded: set[str] = set()
    first = _Owner(bench, 0, packs)
    said = await first.wait_for("full")
    recorded |= _ids(said)
    first.life.kill()
    inside = rebuilt = removed = 0
    for number in range(1, bench.dose + 1):
        owner = _Owner(bench, number, packs)
        said = await owner.wait_for("looked")
        rebuilt += _judge(bench.folder, number, recorded, said, outcome)
        said = await owner.wait_for("upserting", after=len(said))
        await anyio.sleep(_KILL_SECONDS * bench.dice.random())
        owner.life.kill()
        said = owner.said()
        inside += [each["what"] for each in said if each["what"].startswith("upsert")][
            -1
        ] == "upserting"
        recorded |= _ids(said)
        if number % 3 == 0:
            shutil.rmtree(bench.folder / "index")
            removed += 1
        if number % max(1, bench.dose // 4) == 0:
            bench.say(f"{number} kills, {inside} of them in an upsert, {len(recorded)} packs")
    last = _Owner(bench, bench.dose + 1, packs)
    said = await last.wait_for("looked")
    rebuilt += _judge(bench.folder, bench.dose + 1, recorded, said, outcome)
    last.life.kill()
    outcome.accepted = len(recorded)
    outcome.note = (
        f"{inside} kills in an upsert, {removed} times no index at all, {rebuilt} times rebuilt by"
        " `reindex` because it could not be opened; the index had the same ids as SQL each time;"
        " recovery is from the start of the process to the last of 20 right answers by the index"
    )
    if not inside:
        outcome.broken.append("no kill came in the middle of an upsert")
    return outcome


def _ids(said: list[dict[str, Any]]) -> set[str]:
    return {one for each in said if each["what"] == "recorded" for one in each["ids"]}


def _judge(
    folder: Path, number: int, recorded: set[str], said: list[dict[str, Any]], outcome: Outcome
) -> bool:
    """Whether the index had to be rebuilt by hand."""
    load: Callable[[str], list[str]] = lambda name: json.loads((folder / name).read_text())  # noqa: E731 - twice the same
    sql, index = load(f"sql-{number}.json"), load(f"index-{number}.json")
    looked = next(each for each in said if each["what"] == "looked")
    outcome.lost += [f"pack {each} is gone from SQL" for each in recorded - set(sql)]
    outcome.lost += [f"pack {each} is not in the index" for each in set(sql) - set(index)]
    outcome.broken += [f"pack {each} is in the index alone" for each in set(index) - set(sql)]
    outcome.broken += [f"pack {each} was not found by its own words" for each in looked["wrong"]]
    if len(sql) > len(set(sql)):
        outcome.repeated.append("a pack is recorded twice")
    outcome.recoveries.append(looked["seconds"])
    if looked["seconds"] > _QUICK:
        outcome.broken.append(f"answers were right only after {looked['seconds']:.1f} s")
    return bool(looked["rebuilt"])


FAULTS = (
    Fault(
        "F15",
        "the owner of the vector index killed",
        "the process that owns Chroma is killed in the middle of an upsert; the index is removed",
        doses(30, 300, 3),
        kill_owner,
        stores=("sqlite",),
    ),
)
