"""`repertory xp check`, `verify` and `card`: what counts, whether it is sound, and what it is."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anyio import run, to_thread
from rich.console import RenderableType
from rich.text import Text

from repertory.xp_store import (
    LedgerReport,
    PackStore,
    check_again,
    open_checker,
    read_certificate,
)

from .chosen import choose
from .cli_forget import owning_packs
from .cli_xp import one_pack, packs_of
from .errors import InputError
from .exits import Exit
from .experience import Admitted, admit_checks, spec_of
from .screen import Screen, grid

_UNFINISHED = (
    "a forget of {} packs was interrupted: they are deleted, but their bytes may still be in the"
    " files; finish it with: repertory xp forget --unfinished --yes"
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which card is asked for."""

    pack: str = ""
    agent: str = ""
    model: str = ""
    data: bool = False
    charter: bool = False


def show_checks(path: Path, tenant: str, store: str, as_json: bool) -> int:
    """Put the manifest's checks through the gates and print what they found."""
    screen, chosen = Screen(json=as_json), choose(path, store)
    if not chosen.manifest.experience.checks:
        raise InputError(f"{path} names no checks under experience.checks")

    async def admit() -> list[Admitted]:
        async with owning_packs(screen, chosen) as packs, open_checker() as checker:
            return await admit_checks(chosen.manifest, packs, checker, tenant=tenant)

    found = run(admit)
    rows = [(each.name, each.status, str(each.gates)) for each in found]
    screen.result(
        [
            {
                "name": each.name,
                "status": each.status,
                "digest": each.spec.digest,
                **each.gates.wire(),
            }
            for each in found
        ],
        grid(("check", "standing", "gates"), rows),
    )
    return Exit.DONE if all(each.status == "admitted" for each in found) else Exit.FAILED


def check_pack(path: Path, given: str, tenant: str, store: str, as_json: bool) -> int:
    """Run a pack's checks again on what they were recorded with; a flaky one is quarantined."""
    screen, chosen = Screen(json=as_json), choose(path, store)

    async def again() -> tuple[list[tuple[str, str, str]], float]:
        async with owning_packs(screen, chosen) as packs, open_checker() as checker:
            pack = await one_pack(packs, given, tenant)
            found = await check_again(packs, pack, checker, tenant=tenant, actor="operator")
            return [
                (each.check, each.verdict, each.about) for each in found
            ], chosen.manifest.experience.trust_rule.of(
                await packs.get(pack.id, tenant=tenant), packs.now()
            )

    rows, trust = run(again)
    data = [{"check": name, "verdict": said, "about": about} for name, said, about in rows]
    told: RenderableType = grid(("check", "verdict", ""), rows, title=f"trust {trust:.2f}")
    if not rows:
        told = Text(f"no admitted check has run on {given}: there is nothing to run again")
    screen.result({"pack": given, "trust": trust, "checks": data}, told)
    return Exit.FAILED if any(said == "FAILED" for _, said, _ in rows) else Exit.DONE


def verify_store(path: Path, certificate: Path | None, store: str, as_json: bool) -> int:
    """Print what the ledger and everything it tells of are worth."""
    screen, chosen = Screen(json=as_json), choose(path, store)

    async def verify() -> tuple[LedgerReport, list[str], list[str]]:
        async with packs_of(screen, chosen) as packs:
            report = await packs.verify_ledger()
            left = await packs.govern.unfinished()
            problems = list(report.problems)
            if certificate is not None:
                problems += await _certificate_problems(packs, certificate)
            return report, problems, left

    report, problems, left = run(verify)
    data: dict[str, Any] = {
        "entries": report.entries,
        "packs": report.packs,
        "head": report.head,
        "problems": problems,
        "unfinished": left,
    }
    told = f"{report.entries} entries and {report.packs} packs are sound; head {report.head}"
    lines = problems or [told]
    if left:
        lines = [*lines, _UNFINISHED.format(len(left))]
    screen.result(data, Text("\n".join(lines)))
    return Exit.FAILED if problems else Exit.DONE


async def _certificate_problems(packs: PackStore, file: Path) -> list[str]:
    issued = await to_thread.run_sync(read_certificate, file)
    keys = await packs.govern.keys()
    problems = []
    if not issued.verify():
        problems.append(f"{file} was altered after it was signed")
    if issued.public_key != keys.public:
        problems.append(f"{file} was signed with another key than this store's")
    if not await packs.govern.has_entry(issued.ledger_hash):
        problems.append(f"{file} names a ledger's head that this ledger never had")
    if not issued.complete:
        problems.append(f"{file} is honest that something is left: {issued.residue_scan}")
    return problems


def show_card(path: Path, wanted: Wanted, tenant: str, store: str, as_json: bool) -> int:
    """Print one card."""
    screen, chosen = Screen(json=as_json), choose(path, store)
    asked = [wanted.pack, wanted.agent, wanted.model, wanted.data, wanted.charter]
    if sum(bool(each) for each in asked) != 1:
        raise InputError("name one: a pack, --agent, --model, --data or --charter")

    async def made() -> str:
        async with packs_of(screen, chosen) as packs:
            govern = packs.govern
            if wanted.agent:
                return await govern.agent_card(wanted.agent, tenant=tenant)
            if wanted.model:
                return await govern.model_card(wanted.model, tenant=tenant)
            if wanted.data:
                return await govern.data_statement(tenant=tenant)
            if wanted.charter:
                manifest = chosen.manifest
                charter = [
                    (
                        each.value,
                        {spec_of(manifest, name).digest: name for name in each.checks},
                    )
                    for each in manifest.experience.charter
                ]
                if not charter:
                    raise InputError(f"{path} names no values under experience.charter")
                return await govern.charter_card(charter, tenant=tenant)
            return await govern.pack_card(await one_pack(packs, wanted.pack, tenant))

    card = run(made)
    screen.result({"card": card}, Text(card.rstrip()))
    return Exit.DONE
