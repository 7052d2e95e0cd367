"""`repertory xp`: the experience packs of a network, found, shown and indexed anew."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from anyio import run
from rich.console import Group, RenderableType
from rich.text import Text

from repertory.xp_store import (
    Check,
    CheckVerdict,
    Edge,
    Hit,
    Pack,
    PackNotFoundError,
    PackStore,
    Step,
    open_pack_store,
)

from .chosen import Chosen, choose, reading
from .cli_models import ensure_weights
from .errors import InputError
from .exits import Exit
from .models import open_embedder
from .screen import Screen, duration, grid, short

_SHORT_ID = 12


@asynccontextmanager
async def packs_of(
    screen: Screen, chosen: Chosen, *, index: Path | None = None
) -> AsyncIterator[PackStore]:
    """The packs of a network; without `index`, beside the process that runs it."""
    await ensure_weights(screen, chosen.manifest)
    async with (
        reading(chosen) as journal,
        open_pack_store(
            journal.database, embedder=open_embedder(chosen.manifest), index=index
        ) as packs,
    ):
        yield packs


def find_packs(path: Path, query: str, family: str, limit: int, store: str, as_json: bool) -> int:
    """Print the packs that fit a query, each with the reasons."""
    screen, chosen = Screen(json=as_json), choose(path, store)

    async def find() -> list[Hit]:
        async with packs_of(screen, chosen) as packs:
            return await packs.recall(query, family=family or None, limit=limit)

    hits = run(find)
    if screen.json:
        screen.document({"query": query, "hits": [_hit_data(hit) for hit in hits]})
        return Exit.DONE
    if not hits:
        screen.out.print(Text("nothing in the store fits this"))
        return Exit.DONE
    rows = [
        (
            hit.pack.id[-_SHORT_ID:] if screen.out.is_terminal else hit.pack.id,
            f"{hit.score:.2f}",
            hit.pack.family,
            hit.pack.status,
            short(hit.pack.goal, 60),
            str(hit.reasons),
        )
        for hit in hits
    ]
    screen.out.print(grid(("pack", "score>", "family", "status", "goal", "found by"), rows))
    return Exit.DONE


def _hit_data(hit: Hit) -> dict[str, Any]:
    pack = hit.pack
    return {
        "id": pack.id,
        "rev": pack.rev,
        "score": hit.score,
        "family": pack.family,
        "status": pack.status,
        "goal": pack.goal,
        "trust": pack.trust,
        "outcome": pack.outcome,
        "reasons": hit.reasons,
    }


def show_pack(path: Path, given: str, store: str, as_json: bool) -> int:
    """Print one pack whole."""
    screen, chosen = Screen(json=as_json), choose(path, store)

    async def read() -> tuple[Pack, list[Step], list[Check], list[CheckVerdict], list[Edge]]:
        async with packs_of(screen, chosen) as packs:
            pack = await _one(packs, given)
            return (
                pack,
                await packs.steps(pack),
                await packs.checks(pack),
                await packs.verdicts(pack),
                await packs.edges(pack),
            )

    pack, steps, checks, verdicts, edges = run(read)
    data = {
        **pack.model_dump(mode="json"),
        "trust": pack.trust,
        "steps": [step.model_dump(mode="json") for step in steps],
        "checks": [check.model_dump(mode="json") for check in checks],
        "verdicts": [verdict.model_dump(mode="json") for verdict in verdicts],
        "edges": [edge.model_dump(mode="json") for edge in edges],
    }
    screen.result(data, _drawn(pack, steps, checks, verdicts, edges))
    return Exit.DONE


async def _one(packs: PackStore, given: str) -> Pack:
    """The pack of an id, or of the end or beginning of one."""
    try:
        return await packs.get(given)
    except PackNotFoundError:
        listed = await packs.find(limit=100_000)
        near = [p for p in listed if given and (p.id.endswith(given) or p.id.startswith(given))]
        if len(near) > 1:
            several = ", ".join(pack.id for pack in near[:5])
            raise InputError(f"{given!r} is the id of {len(near)} packs: {several}") from None
        if not near:
            raise
        return near[0]


def _drawn(
    pack: Pack,
    steps: list[Step],
    checks: list[Check],
    verdicts: list[CheckVerdict],
    edges: list[Edge],
) -> RenderableType:
    names = {check.digest: check.name for check in checks}
    head = grid(
        ("", ""),
        [
            ("pack", f"{pack.id} rev {pack.rev}"),
            ("goal", pack.goal),
            ("family", f"{pack.family}, {pack.kind}, {pack.status}"),
            ("trust", f"{pack.trust:.2f} after {pack.uses} uses, {pack.wins} wins"),
            ("outcome", _facts(pack.outcome)),
            ("valid", f"{pack.valid_from:%Y-%m-%d} to {pack.valid_to or 'now'}"),
        ],
    )
    parts: list[RenderableType] = [head]
    for claim in pack.why:
        parts.append(Text(f"why: {claim.get('text', claim)}"))
    rows = [
        (
            step.seq,
            step.agent,
            f"{step.action.get('kind', '')} {step.action.get('name', '')}".strip(),
            short(step.observation, 80),
            "error" if step.is_error else "",
        )
        for step in steps
    ]
    parts.append(grid(("step>", "agent", "action", "observed", ""), rows, title="how"))
    if verdicts:
        told = [
            (
                names.get(verdict.check_digest, verdict.check_digest[:_SHORT_ID]),
                {True: "passed", False: "failed", None: "not run"}[verdict.passed],
            )
            for verdict in verdicts
        ]
        parts.append(grid(("check", "verdict"), told, title="checks"))
    if edges:
        lines = [(edge.rel, edge.parent, edge.child) for edge in edges]
        parts.append(grid(("line", "from", "to"), lines, title="lineage"))
    return Group(*parts)


def _facts(data: dict[str, Any]) -> str:
    cost = data.get("cost")
    parts = [
        f"{key} {value}" for key, value in data.items() if isinstance(value, (str, int, float))
    ]
    if isinstance(cost, dict):
        seconds = cost.get("seconds")
        parts += [f"{key} {value}" for key, value in cost.items() if key != "seconds" and value]
        if isinstance(seconds, (int, float)):
            parts.append(duration(seconds))
    return ", ".join(parts)


def reindex_packs(path: Path, store: str, as_json: bool) -> int:
    """Build the index anew; refused while another process owns it."""
    screen, chosen = Screen(json=as_json), choose(path, store)

    async def reindex() -> int:
        async with packs_of(screen, chosen, index=chosen.index) as packs:
            return await packs.reindex()

    count = run(reindex)
    told = f"{count} pack{'s' * (count != 1)} indexed in {chosen.index}"
    screen.result({"packs": count, "index": chosen.index}, Text(told))
    return Exit.DONE
