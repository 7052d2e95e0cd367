"""`repertory xp use` and `stats`: reuse, counted and shown."""

from pathlib import Path
from typing import Any

from anyio import run
from rich.console import Group
from rich.text import Text

from repertory.xp_store import Pack, Request, Reuse, Share, Step, pack_data

from .chosen import choose
from .cli_xp import one_pack, packs_of
from .errors import InputError
from .exits import Exit
from .screen import Screen, grid, short
from .step_view import how_of, plain, why_of


def use_packs(
    path: Path,
    given: list[str],
    won: bool,
    lost: bool,
    purpose: str,
    tenant: str,
    store: str,
    as_json: bool,
) -> int:
    """Count the use of packs and print their HOW, or what became of it."""
    if won and lost:
        raise InputError("--won and --lost exclude each other: what became of the work?")
    screen, chosen = Screen(json=as_json), choose(path, store)

    async def count() -> tuple[int, list[tuple[Pack, list[Step], dict[str, Any]]]]:
        async with packs_of(screen, chosen) as packs:
            found = [await one_pack(packs, each, tenant) for each in given]
            for pack in found:
                await packs.require(pack, Request("recall", purpose=purpose))
            ids = [pack.id for pack in found]
            counted = (
                await packs.mark_outcome(ids, won=won, tenant=tenant)
                if won or lost
                else await packs.mark_used(ids, tenant=tenant)
            )
            held = [
                (each, await packs.steps(each), await pack_data(packs, each, _PARTS))
                for each in found
            ]
            return counted, held

    counted, held = run(count)
    became = "won" if won else "lost" if lost else "used"
    if screen.json:
        data = [each for _, _, each in held]
        screen.document({"counted": counted, "as": became, "packs": data})
        return Exit.DONE
    for pack, steps, _ in held:
        screen.out.print(Text(f"{became}: {pack.id} {short(plain(pack.goal), 200)}"))
        if became == "used":
            screen.out.print(Group(*why_of(pack, steps), *how_of(pack, steps)))
    return Exit.DONE


_PARTS = frozenset({"why", "how"})


def show_stats(path: Path, family: str, tenant: str, store: str, as_json: bool) -> int:
    """Print what became of packs, by family."""
    screen, chosen = Screen(json=as_json), choose(path, store)

    async def read() -> list[Reuse]:
        async with packs_of(screen, chosen) as packs:
            return await packs.stats(tenant=tenant, family=family or None)

    found = run(read)
    rows = [
        (
            each.family or "(none)",
            *(each.packs, each.recalled, each.withheld, each.used, each.helped, each.harmed),
            _share(each.with_packs),
            _share(each.without),
            _difference(each),
        )
        for each in found
    ]
    columns = ("family", "packs>", "recalled>", "withheld>", "used>", "helped>", "harmed>")
    arms = ("passed with>", "passed without>", "difference")
    screen.result([each.wire() for each in found], grid((*columns, *arms), rows))
    return Exit.DONE


def _share(share: Share) -> str:
    return f"{share.passed} of {share.tasks}" if share.tasks else "no task"


def _difference(reuse: Reuse) -> str:
    if reuse.difference is None:
        return "unknown: no task was held out" if not reuse.without.tasks else "unknown"
    value, low, high = reuse.difference
    return f"{value:+.2f} ({low:+.2f} to {high:+.2f})"
