"""`repertory xp promote`, `diff` and `rollback`: changes to memory, tried, compared, taken back."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer
from anyio import run
from rich.console import Group
from rich.text import Text

from repertory.xp_store import Finding, Pack, PackRef, PackStore, Selector

from .chosen import choose
from .cli_forget import moment_of, owning, owning_packs
from .cli_xp import one_pack, packs_of
from .errors import InputError
from .exits import Exit
from .journal import Journal
from .manifest import Manifest
from .replays import Replays
from .screen import Screen, grid, short


def promote_packs(
    path: Path, given: list[str], replays: int, tenant: str, store: str, as_json: bool
) -> int:
    """Try a change on retained tasks and promote its packs, or say why not."""
    screen, chosen = Screen(json=as_json), choose(path, store)
    if not given:
        raise InputError("name the packs to promote, or say --layers")

    async def promote() -> Finding:
        async with owning(screen, chosen) as (packs, journal):
            wanted = [await one_pack(packs, each, tenant) for each in given]
            return await released(chosen.manifest, packs, journal, wanted, replays, tenant)

    finding = run(promote)
    rows = [
        ("change", finding.change),
        ("replays", str(finding.replays)),
        ("passed with", f"{finding.with_packs:.0%}"),
        ("passed without", f"{finding.without:.0%}"),
        (
            "gain",
            f"{finding.gain[0]:+.2f}, 95% from {finding.gain[1]:+.2f} to {finding.gain[2]:+.2f}",
        ),
        ("tokens", f"{finding.cost:.2f} times those without"),
    ]
    said = (
        "promoted to stable" if finding.promoted else f"not promoted: {'; '.join(finding.reasons)}"
    )
    screen.result(finding.wire(), Group(grid(("", ""), rows), Text(said)))
    return Exit.DONE if finding.promoted else Exit.FAILED


async def released(
    manifest: Manifest,
    packs: PackStore,
    journal: Journal,
    wanted: Sequence[Pack],
    replays: int,
    tenant: str,
    actor: str = "operator",
) -> Finding:
    """Replay what the journal still holds with and without `wanted`, and decide by the manifest."""
    again = Replays(manifest, journal, wanted)
    retained = await packs.govern.retained(wanted, tenant=tenant, most=10 * replays)
    return await packs.govern.release(
        wanted,
        manifest.experience.demanded,
        again.run,
        tenant=tenant,
        actor=actor,
        cases=await again.runnable(retained, replays),
    )


def move_layers(path: Path, tenant: str, store: str, as_json: bool) -> int:
    """Move packs between layers by the manifest's rules."""
    screen, chosen = Screen(json=as_json), choose(path, store)
    rules = chosen.manifest.experience.layer_rules
    if not rules:
        raise InputError(f"{path} has no rules under experience.promote")

    async def move() -> list[PackRef]:
        async with owning_packs(screen, chosen) as packs:
            return await packs.govern.move_layers(rules, tenant=tenant, actor="operator")

    moved = run(move)
    screen.result([each.id for each in moved], Text(f"{len(moved)} packs moved up"))
    return Exit.DONE


def show_diff(path: Path, before: str, after: str, tenant: str, store: str, as_json: bool) -> int:
    """Print what became stable between two moments, and what no longer is."""
    screen, chosen = Screen(json=as_json), choose(path, store)
    moments = moment_of(before), moment_of(after)

    async def compare() -> list[tuple[str, str, str, str]]:
        async with packs_of(screen, chosen) as packs:
            one, two = [await packs.govern.stable_at(each, tenant=tenant) for each in moments]
            known = {pack.digest: pack for pack in await packs.find(tenant=tenant, limit=100_000)}
            rows: list[tuple[str, str, str, str]] = []
            for sign, digests, reasons in (
                ("+", sorted(two.keys() - one.keys()), two),
                ("-", sorted(one.keys() - two.keys()), one),
            ):
                for digest in digests:
                    pack = known.get(digest)
                    goal = short(pack.goal, 60) if pack else "no longer kept"
                    rows.append((sign, pack.id if pack else digest[:12], goal, reasons[digest]))
            return rows

    rows = run(compare)
    data = [dict(zip(("sign", "pack", "goal", "reason"), row, strict=True)) for row in rows]
    told: Any = grid(("", "pack", "goal", "reason"), rows) if rows else Text("no difference")
    screen.result(data, told)
    return Exit.DONE


def roll_back(
    path: Path,
    pack: str,
    change: str,
    source: str,
    reason: str,
    yes: bool,
    tenant: str,
    store: str,
    as_json: bool,
) -> int:
    """Retire a change, a source or a pack, with all that came of it."""
    screen, chosen = Screen(json=as_json), choose(path, store)
    if sum(bool(each) for each in (pack, change, source)) != 1:
        raise InputError("name one: a pack, --change or --source")

    async def retire() -> list[str]:
        async with owning_packs(screen, chosen) as packs:
            selector = None
            if not change:
                ids = ((await one_pack(packs, pack, tenant)).id,) if pack else ()
                selector = Selector(ids=ids, source=source)
                reach = await packs.govern.meant(selector, tenant=tenant)
                if not reach.meant:
                    raise InputError(f"no pack is meant by {selector}")
                if not yes and screen.out.is_terminal and not screen.json:
                    told = (
                        f"{len(reach.meant)} packs are meant, up to {len(reach.closure)}"
                        " with what came of them"
                    )
                    if not typer.confirm(f"{told}. Retire them?"):
                        raise InputError("nothing was retired")
            return await packs.govern.rollback(
                tenant=tenant, actor="operator", change=change, selector=selector, reason=reason
            )

    gone = run(retire)
    screen.result(gone, Text(f"{len(gone)} packs retired"))
    return Exit.DONE
