"""Packs on their way between stores: a zip of JSONL, digests and cards, as it is written.

    bundle.json     format, version, when, and the head of the ledger it comes from
    packs.jsonl     id, revision, digest and all that the digest covers
    steps.jsonl     checks.jsonl     edges.jsonl
    cards/*.md      the same for people
    digests.txt     SHA-256 of every other file, as `sha256sum` prints it

Trust is not in it: that is for the store where a pack arrives. Reading is `arrivals`'.
"""

import hashlib
import io
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from .digests import instant
from .ledger import CONTENT, STEP_CONTENT
from .tables import Check, Edge, Pack, Step

FORMAT = "repertory-experience"
VERSION = 1
# So that the same packs make the same bytes.
_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Bundled:
    """One pack with what belongs to it, as it leaves a store. card: for people, in Markdown."""

    pack: Pack
    steps: Sequence[Step]
    checks: Sequence[Check]
    edges: Sequence[Edge]
    card: str


@dataclass(frozen=True, slots=True)
class Exported:
    """A bundle's bytes, what is in it, and what was left out with the reason."""

    data: bytes
    digest: str
    packs: int
    left_out: tuple[tuple[str, str], ...]


def write_bundle(packs: Iterable[Bundled], *, at: str, ledger_head: str) -> bytes:
    """Make the zip of these packs, in the order of their digests."""
    files: dict[str, bytes] = {}
    lines: dict[str, list[bytes]] = {name: [] for name in ("packs", "steps", "checks", "edges")}
    checks: dict[str, Check] = {}
    edges: set[tuple[str, str, str]] = set()
    given = sorted(packs, key=lambda each: each.pack.digest)
    digests = {each.pack.digest for each in given}
    for each in given:
        pack = each.pack
        head = {"id": pack.id, "rev": pack.rev, "digest": pack.digest, "salt": pack.salt}
        lines["packs"].append(_line({**head, "content": pack_content(pack)}))
        for step in each.steps:
            lines["steps"].append(
                _line({"pack": pack.digest, "digest": step.digest, "content": step_row(step)})
            )
        checks |= {check.digest: check for check in each.checks}
        edges |= {
            (edge.parent, edge.child, edge.rel)
            for edge in each.edges
            if edge.parent in digests and edge.child in digests
        }
        files[f"cards/{pack.digest[:16]}.md"] = each.card.encode()
    for digest, check in sorted(checks.items()):
        told = {"digest": digest, "name": check.name, "lang": check.lang, "code": check.code}
        lines["checks"].append(_line(told))
    lines["edges"] = [
        _line(dict(zip(("parent", "child", "rel"), e, strict=True))) for e in sorted(edges)
    ]
    files |= {f"{name}.jsonl": b"".join(each) for name, each in lines.items()}
    about = {"format": FORMAT, "version": VERSION, "exported_at": at, "packs": len(given)}
    files["bundle.json"] = orjson.dumps(
        {**about, "ledger_head": ledger_head}, option=orjson.OPT_INDENT_2
    )
    sums = [f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in sorted(files.items())]
    files["digests.txt"] = "".join(sums).encode()
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in sorted(files.items()):
            archive.writestr(zipfile.ZipInfo(name, _EPOCH), data, zipfile.ZIP_DEFLATED)
    return target.getvalue()


def pack_content(pack: Pack) -> dict[str, Any]:
    """What a pack's digest covers, as its columns hold it."""
    dumped = pack.model_dump()
    return {
        name: value if not isinstance(value := dumped[name], datetime) else instant(value)
        for name in CONTENT
    }


def step_row(step: Step) -> dict[str, Any]:
    """What a step's digest covers."""
    dumped = step.model_dump()
    return {
        name: value if not isinstance(value := dumped[name], datetime) else instant(value)
        for name in STEP_CONTENT
    }


def _line(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)
