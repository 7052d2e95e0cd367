"""Bundles as they arrive: read within bounds, verified digest by digest, and distrusted.

Nothing is ever unpacked to disk, names outside the list are refused, sizes are bounded
before anything is inflated, and every digest is computed again. Every pack becomes the
draft of a quarantined one, under a new id, so that none can pose as a revision of ours.
"""

import hashlib
import io
import re
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from .bundle import FORMAT, VERSION
from .checks import LANGUAGES, CheckSpec, Language
from .digests import digest_of
from .drafts import Claim, Cost, Origin, Outcome, PackDraft, StepDraft
from .errors import BundleError
from .ledger import content_digest
from .rights import rights_of
from .tables import moment

MAX_BYTES = 64 * 1024 * 1024
MAX_INFLATED = 256 * 1024 * 1024
MAX_ENTRIES = 20_000
_NAMES = re.compile(
    r"bundle\.json|digests\.txt|(packs|steps|checks|edges)\.jsonl|cards/[0-9a-f]{16}\.md"
)
_NEEDED = ("bundle.json", "digests.txt", "packs.jsonl", "steps.jsonl", "checks.jsonl")
_ENCRYPTED = 0x1
_LINK = 0xA


@dataclass(frozen=True, slots=True)
class Arrival:
    """A pack of a bundle, verified: the draft it becomes here, and its digest there."""

    draft: PackDraft
    digest: str


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did. ids: of the packs that are new here; known: how many were not.

    ledger_head: the last hash of the ledger that the bundle came from.
    """

    digest: str
    ids: tuple[str, ...]
    known: int
    ledger_head: str


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle that was read and verified. edges: lineage among its packs, by foreign digests."""

    digest: str
    ledger_head: str
    arrivals: tuple[Arrival, ...]
    edges: tuple[tuple[str, str, str], ...]


def read_bundle(data: bytes, name: str = "the bundle") -> Bundle:
    """Read and verify a bundle; every pack becomes the draft of a quarantined one.

    name: of the file, for the sentences. The drafts' tenant and owner are still those
    of where they came from.

    Raises:
        BundleError: It is no bundle, too large, altered, or of a version to come.
        RightsError: A pack's license is unknown.
    """
    files = _entries(data, name)
    _verify_sums(files, name)
    about = _json(files["bundle.json"], f"{name}: bundle.json")
    if about.get("format") != FORMAT or about.get("version") != VERSION:
        raise BundleError(
            f"{name}: bundle.json says format {about.get('format')!r}, version"
            f" {about.get('version')!r}; this version of Repertory reads {FORMAT!r}, {VERSION}",
            file=name,
        )
    checks = _checks(files["checks.jsonl"], name)
    steps = _steps(files["steps.jsonl"], name)
    arrivals = []
    for place, line in _lines(files["packs.jsonl"], f"{name}: packs.jsonl"):
        try:
            arrivals.append(_arrival(line, steps, checks))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            if isinstance(error, BundleError):
                raise BundleError(f"{place}: {error}", file=name) from None
            raise BundleError(f"{place} is no pack: {error!r}", file=name) from error
    digests = {each.digest for each in arrivals}
    edges = [
        (str(line["parent"]), str(line["child"]), str(line["rel"]))
        for _, line in _lines(files.get("edges.jsonl", b""), f"{name}: edges.jsonl")
        if {"parent", "child", "rel"} <= line.keys()
    ]
    among = tuple(e for e in edges if e[0] in digests and e[1] in digests)
    digest = hashlib.sha256(data).hexdigest()
    return Bundle(digest, str(about.get("ledger_head", "")), tuple(arrivals), among)


def _entries(data: bytes, name: str) -> dict[str, bytes]:
    if len(data) > MAX_BYTES:
        raise BundleError(f"{name} has {len(data)} bytes; a bundle may have {MAX_BYTES}", file=name)
    files: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            listed = archive.infolist()
            if len(listed) > MAX_ENTRIES:
                raise BundleError(
                    f"{name} has {len(listed)} entries; a bundle may have {MAX_ENTRIES}", file=name
                )
            _refuse_odd(listed, name)
            for entry in listed:
                with archive.open(entry) as opened:
                    files[entry.filename] = opened.read(entry.file_size + 1)
                if len(files[entry.filename]) != entry.file_size:
                    raise BundleError(f"{name}: {entry.filename} is larger than it says", file=name)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, OSError, ValueError) as error:
        if isinstance(error, BundleError):
            raise
        raise BundleError(f"{name} is not a sound zip file: {error}", file=name) from error
    missing = [each for each in _NEEDED if each not in files]
    if missing:
        raise BundleError(f"{name} is no bundle: it has no {missing[0]}", file=name)
    return files


def _refuse_odd(listed: Sequence[zipfile.ZipInfo], name: str) -> None:
    seen: set[str] = set()
    inflated = 0
    for entry in listed:
        if not _NAMES.fullmatch(entry.filename):
            raise BundleError(
                f"{name} has an entry {entry.filename[:80]!r}; a bundle has only packs.jsonl,"
                " steps.jsonl, checks.jsonl, edges.jsonl, bundle.json, digests.txt and cards/",
                file=name,
            )
        if entry.filename in seen:
            raise BundleError(f"{name} has {entry.filename!r} twice", file=name)
        seen.add(entry.filename)
        if entry.flag_bits & _ENCRYPTED or entry.external_attr >> 28 == _LINK:
            raise BundleError(
                f"{name}: {entry.filename} is encrypted or a link; a bundle has plain files",
                file=name,
            )
        inflated += entry.file_size
    if inflated > MAX_INFLATED:
        raise BundleError(
            f"{name} would inflate to {inflated} bytes; a bundle may have {MAX_INFLATED}",
            file=name,
        )


def _verify_sums(files: Mapping[str, bytes], name: str) -> None:
    told: dict[str, str] = {}
    for line in files["digests.txt"].decode("utf-8", "replace").splitlines():
        digest, _, file = line.partition("  ")
        told[file] = digest
    others = {each for each in files if each != "digests.txt"}
    if others != told.keys():
        odd = min(others ^ told.keys())
        raise BundleError(
            f"{name}: digests.txt and the entries disagree about {odd[:80]!r}", file=name
        )
    for file in sorted(others):
        if hashlib.sha256(files[file]).hexdigest() != told[file]:
            raise BundleError(f"{name}: {file} was altered after it was exported", file=name)


def _checks(data: bytes, name: str) -> dict[str, CheckSpec]:
    checks: dict[str, CheckSpec] = {}
    for place, line in _lines(data, f"{name}: checks.jsonl"):
        lang = line.get("lang")
        known: list[Language] = [each for each in LANGUAGES if each == lang]
        if not known:
            raise BundleError(
                f"{place}: unknown language {lang!r} of a check; known: {', '.join(LANGUAGES)}",
                file=name,
            )
        spec = CheckSpec(str(line.get("name", "")), known[0], str(line.get("code", "")))
        if spec.digest != line.get("digest"):
            raise BundleError(
                f"{place}: the check {spec.name!r} is not what its digest says", file=name
            )
        checks[spec.digest] = spec
    return checks


def _steps(data: bytes, name: str) -> dict[str, list[tuple[str, dict[str, Any]]]]:
    steps: dict[str, list[tuple[str, dict[str, Any]]]] = {}
    for place, line in _lines(data, f"{name}: steps.jsonl"):
        content = line.get("content")
        if not isinstance(content, dict) or digest_of(content) != line.get("digest"):
            raise BundleError(f"{place}: a step is not what its digest says", file=name)
        steps.setdefault(str(line.get("pack")), []).append((str(line["digest"]), content))
    return steps


def _arrival(
    line: Mapping[str, Any],
    steps: Mapping[str, list[tuple[str, dict[str, Any]]]],
    checks: Mapping[str, CheckSpec],
) -> Arrival:
    content, digest = line["content"], str(line["digest"])
    if content_digest(content, line["salt"]) != digest:
        raise BundleError(f"the pack {digest[:12]!r} is not what its digest says")
    own = sorted(steps.get(digest, []), key=lambda step: step[1]["seq"])
    held = content["how"]["steps"]
    digests = [each for each, _ in own]
    if held != {"count": len(own), "root": digest_of(digests)}:
        raise BundleError(
            f"the pack {digest[:12]!r} lacks steps, or has others than it was made with"
        )
    absent = [each for each in content["checks"] if each not in checks]
    if absent:
        raise BundleError(f"the pack {digest[:12]!r} names a check that is not in checks.jsonl")
    place = {each: at for at, each in enumerate(digests)}
    outcome, origin = content["outcome"], content["origin"]
    how = {name: value for name, value in content["how"].items() if name != "steps"}
    draft = PackDraft(
        tenant=content["tenant"],
        owner=content["owner"],
        goal=content["goal"],
        situation=content["situation"],
        family=content["family"],
        kind=content["kind"],
        layer=content["layer"],
        why=tuple(
            Claim(c["text"], tuple(place[e] for e in c["evidence"] if e in place), c["confidence"])
            for c in content["why"]
        ),
        steps=tuple(_step(each) for _, each in own),
        how=how or None,
        checks=tuple(checks[each] for each in content["checks"]),
        outcome=Outcome(outcome["verdict"], outcome["score"], Cost(**outcome["cost"])),
        valid_from=moment(content["valid_from"]),
        valid_to=None if content["valid_to"] is None else moment(content["valid_to"]),
        rights=rights_of(content["rights"]),
        origin=Origin(**origin),
        source=content["source"],
        status="quarantined",
    )
    return Arrival(draft, digest)


def _step(content: Mapping[str, Any]) -> StepDraft:
    return StepDraft(
        action=content["action"],
        observation=content["observation"],
        at=moment(content["at"]),
        agent=content["agent"],
        state=content["state"],
        is_error=content["is_error"],
        reward=content["reward"],
        span_id=content["span_id"],
        alternatives=tuple(content["alternatives"]),
    )


def _lines(data: bytes, place: str) -> Iterable[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(data.splitlines(), start=1):
        yield f"{place} line {number}", _json(line, f"{place} line {number}")


def _json(data: bytes, place: str) -> dict[str, Any]:
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise BundleError(f"{place} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise BundleError(f"{place} is not a JSON object")
    return value
