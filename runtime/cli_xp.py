"""`repertory xp find`, `show` and `reindex`: packs looked for, shown and indexed anew."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anyio import run
from rich.console import Group, RenderableType
from rich.text import Text

from repertory.xp_store import (
    PARTS,
    Check,
    CheckVerdict,
    Edge,
    Pack,
    PackNotFoundError,
    PackStore,
    Recall,
    Request,
    Step,
    arm_crash_points,
    candidate_data,
    hit_data,
    open_pack_store,
    pack_data,
)

from .chosen import Chosen, choose, reading
from .cli_models import ensure_weights
from .errors import InputError
from .exits import Exit
from .models import open_embedder
from .screen import Screen, duration, grid, short
from .step_view import how_of, plain, why_of

_SHORT_ID = 12
_NEAREST = 3


@asynccontextmanager
async def packs_of(
    screen: Screen, chosen: Chosen, *, index: Path | None = None
) -> AsyncIterator[PackStore]:
    """The packs of a network; without `index`, beside the process that runs it."""
    arm_crash_points()
    await ensure_weights(screen, chosen.manifest)
    async with (
        reading(chosen) as journal,
        open_pack_store(
            journal.database,
            embedder=open_embedder(chosen.manifest),
            index=index,
            beside=chosen.index,
            rule=chosen.manifest.experience.trust_rule,
            floor=chosen.manifest.experience.recall_floor,
        ) as packs,
    ):
        yield packs


@dataclass(frozen=True, slots=True)
class Question:
    """What is looked for, by whom it may be found, and how much of it."""

    query: str
    family: str
    limit: int
    tokens: int | None
    purpose: str
    tenant: str


def find_packs(path: Path, question: Question, explain: bool, store: str, as_json: bool) -> int:
    """Print the packs that fit a question, each with the reasons."""
    screen, chosen = Screen(json=as_json), choose(path, store)

    async def find() -> Recall:
        async with packs_of(screen, chosen) as packs:
            return await packs.explain(
                question.query,
                tenant=question.tenant,
                family=question.family or None,
                request=Request("recall", purpose=question.purpose),
                limit=question.limit,
                tokens=question.tokens,
            )

    answer = run(find)
    if screen.json:
        data: dict[str, Any] = {
            "query": question.query,
            "hits": [hit_data(hit) for hit in answer.hits],
            "silence": answer.silence,
        }
        if explain:
            data["how"], data["terms"] = answer.how, answer.terms
            data["floor"] = answer.floor
            data["considered"] = [candidate_data(each) for each in answer.considered]
        screen.document(data)
        return Exit.DONE
    if answer.silence:
        screen.out.print(Text(answer.silence))
        for each in answer.considered[:_NEAREST] if not explain else ():
            near = f"  {each.id[-_SHORT_ID:]}  {short(plain(each.goal), 60)}  ({each.reasons})"
            screen.out.print(Text(near))
    else:
        rows = [
            (
                hit.pack.id[-_SHORT_ID:] if screen.out.is_terminal else hit.pack.id,
                f"{hit.score:.2f}",
                hit.pack.family,
                hit.pack.status,
                short(plain(hit.pack.goal), 60),
                str(hit.reasons),
            )
            for hit in answer.hits
        ]
        screen.out.print(grid(("pack", "score>", "family", "status", "goal", "found by"), rows))
    if explain:
        screen.out.print(_explained(answer))
    return Exit.DONE


def _explained(answer: Recall) -> RenderableType:
    """The words, the way the vectors were searched, and what became of each candidate."""
    led = ", ".join(f"{word} ({packs})" for word, packs, asked in answer.terms if asked)
    left = ", ".join(f"{word} ({packs})" for word, packs, asked in answer.terms if not asked)
    floor = answer.floor
    lines = [
        f"words searched for, and in how many packs they are: {led or 'none'}",
        f"words left out, unknown or too common: {left or 'none'}",
        f"vectors: {answer.how}",
        f"needed: a cosine of {floor.cosine:.2f}, or words that tell {floor.overlap:.0%} of the question",
    ]
    rows = [
        (
            each.id[-_SHORT_ID:],
            f"{each.score:.2f}",
            "" if each.reasons.cosine is None else f"{each.reasons.cosine:.2f}",
            f"{each.reasons.overlap:.0%}",
            each.fate,
            short(plain(each.goal), 60),
        )
        for each in answer.considered
    ]
    table = grid(("pack", "score>", "cosine>", "words>", "became", "goal"), rows, title="looked at")
    return Group(*(Text(line) for line in lines), table)


def show_pack(
    path: Path, given: str, parts: frozenset[str], tenant: str, store: str, as_json: bool
) -> int:
    """Print one pack, whole or the parts that are named."""
    screen, chosen = Screen(json=as_json), choose(path, store)
    wanted = parts or PARTS

    async def read() -> tuple[dict[str, Any], RenderableType]:
        async with packs_of(screen, chosen) as packs:
            pack = await one_pack(packs, given, tenant)
            await packs.require(pack, Request("read"))
            drawn = _drawn(
                pack,
                await packs.steps(pack),
                await packs.checks(pack),
                await packs.verdicts(pack),
                await packs.edges(pack),
                wanted,
            )
            return await pack_data(packs, pack, wanted), drawn

    data, drawn = run(read)
    screen.result(data, drawn)
    return Exit.DONE


async def one_pack(packs: PackStore, given: str, tenant: str) -> Pack:
    """The pack of an id, or of the end or beginning of one."""
    try:
        return await packs.get(given, tenant=tenant)
    except PackNotFoundError:
        listed = await packs.find(tenant=tenant, limit=100_000)
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
    wanted: frozenset[str],
) -> RenderableType:
    parts: list[RenderableType] = [_head(pack)]
    if "why" in wanted:
        parts += why_of(pack, steps)
    if "how" in wanted:
        parts += how_of(pack, steps)
    if "checks" in wanted and not verdicts:
        parts.append(Text("checks: none ran on its result"))
    elif "checks" in wanted:
        names = {check.digest: check.name for check in checks}
        told = [
            (
                names.get(verdict.check_digest, verdict.check_digest[:_SHORT_ID]),
                {True: "passed", False: "failed", None: "not run"}[verdict.passed],
                "counted" if verdict.counted else "not counted",
                f"{verdict.at:%Y-%m-%d %H:%M}",
            )
            for verdict in verdicts
        ]
        parts.append(grid(("check", "verdict", "for trust", "when"), told, title="checks"))
    if "lineage" in wanted and not edges:
        parts.append(Text("lineage: it came of no other pack, and no pack came of it"))
    elif "lineage" in wanted:
        lines = [(edge.rel, _own(edge.parent, pack), _own(edge.child, pack)) for edge in edges]
        parts.append(grid(("line", "from", "to"), lines, title="lineage"))
    return Group(*parts)


def _head(pack: Pack) -> RenderableType:
    rights = pack.rights
    reuse = f"recalled {pack.recalled}, used {pack.uses}, won {pack.wins}"
    return grid(
        ("", ""),
        [
            ("pack", f"{pack.id} rev {pack.rev}"),
            ("goal", short(plain(pack.goal), 200)),
            ("family", f"{pack.family}, {pack.kind}, {pack.layer}, {pack.status}"),
            ("made by", f"{pack.owner}, {pack.source}"),
            ("trust", f"{pack.trust:.2f}"),
            ("reuse", f"{reuse}, helped {pack.helped}, harmed {pack.harmed}"),
            ("outcome", _facts(pack.outcome)),
            ("valid", f"{pack.valid_from:%Y-%m-%d} to {pack.valid_to or 'now'}"),
            ("rights", f"{rights.get('licence', '')}, {rights.get('classification', '')}"),
        ],
    )


def _own(digest: str, pack: Pack) -> str:
    return "this pack" if digest == pack.digest else digest[:_SHORT_ID]


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
