"""The evidence pack: what was judged, on what, in a chain of hashes that an auditor can walk.

The chain is the experience store's ledger's: an entry's hash covers the entry and the
hash before it, as digests of canonical JSON (RFC 8785). Content stands beside its
entry, which holds the content's digest; `before` is the digest of the log judged.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from repertory.simulators.errors import SimulatorInputError
from repertory.xp_store import digest_of

GENESIS = "0" * 64
FORMAT = "repertory-evidence/1"
_FIELDS = (
    "seq",
    "at",
    "tenant",
    "actor",
    "verb",
    "before",
    "after",
    "reason",
    "policy_rev",
    "span_id",
    "prev_hash",
    "evidence",
)


def evidence_pack(
    logs: Sequence[Path], contents: Sequence[tuple[str, str, Any]], *, at: datetime | None = None
) -> dict[str, Any]:
    """A pack over `logs`: one entry for each log, then one for each content.

    contents: verb, reason in words, and what was found, as JSON values.
    """
    moment = (at or datetime.now(UTC)).isoformat(timespec="seconds")
    entries: list[dict[str, Any]] = []
    previous = GENESIS
    digests = [(f"{path.name}, {path.stat().st_size:,} bytes", file_digest(path)) for path in logs]
    judged = digest_of([digest for _, digest in digests])
    todo: list[tuple[str, str, Any, str]] = [
        ("read", told, {"sha256": digest}, digest) for told, digest in digests
    ]
    todo += [(verb, reason, content, judged) for verb, reason, content in contents]
    for number, (verb, reason, content, before) in enumerate(todo, 1):
        entry = {
            "seq": number,
            "at": moment,
            "tenant": "default",
            "actor": "disparity analyst",
            "verb": verb,
            "before": before,
            "after": digest_of(content),
            "reason": reason,
            "policy_rev": 0,
            "span_id": None,
            "prev_hash": previous,
            "evidence": None,
        }
        previous = digest_of(entry)
        entries.append({**entry, "hash": previous, "content": content})
    return {"format": FORMAT, "head": previous, "entries": entries}


def file_digest(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def load_pack(path: Path) -> Mapping[str, Any]:
    """An evidence pack from its file, unverified.

    Raises:
        SimulatorInputError: It is none.
    """
    try:
        pack = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SimulatorInputError(
            f"{path}: not readable as JSON ({error})", file=str(path)
        ) from None
    if not isinstance(pack, Mapping) or pack.get("format") != FORMAT:
        raise SimulatorInputError(
            f"{path}: no evidence pack; its `format` is {FORMAT!r} in one", file=str(path)
        )
    return pack


def pack_problems(pack: Mapping[str, Any], logs: Sequence[Path] = ()) -> list[str]:
    """Every break of a pack's chain as a sentence; logs: files that it must have been made of."""
    problems: list[str] = []
    previous = GENESIS
    entries = pack.get("entries")
    if not isinstance(entries, list) or not entries:
        return ["the pack has no entries"]
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, Mapping) or not {*_FIELDS, "hash", "content"} <= set(entry):
            problems.append(f"entry {number} is no entry of a ledger")
            continue
        if entry["seq"] != number:
            problems.append(f"entry {number} is missing before entry {entry['seq']}")
        if entry["prev_hash"] != previous:
            problems.append(f"entry {number} does not follow entry {number - 1}")
        if digest_of({name: entry[name] for name in _FIELDS}) != entry["hash"]:
            problems.append(f"entry {number} was altered after it was written")
        if digest_of(entry["content"]) != entry["after"]:
            problems.append(f"what entry {number} found was altered after it was written")
        previous = entry["hash"]
    if pack.get("head") != previous:
        problems.append("entries are missing at the end")
    known = {e["before"] for e in entries if isinstance(e, Mapping) and e.get("verb") == "read"}
    for path in logs:
        if file_digest(path) not in known:
            problems.append(f"{path} is not a log that the pack was made of, or has changed since")
    return problems
