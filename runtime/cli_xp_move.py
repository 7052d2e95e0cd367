"""`repertory xp export` and `import`: packs on their way between stores."""

from pathlib import Path

import anyio
from anyio import run
from rich.console import Group
from rich.text import Text

from repertory.xp_store import (
    BundleError,
    Exported,
    Imported,
    Request,
    export_packs,
    import_packs,
)

from .chosen import choose
from .cli_xp import one_pack, packs_of
from .errors import InputError
from .exits import Exit
from .screen import Screen, grid

_MOST = 100_000
_NAMED = 2
_LARGEST = 64 * 1024 * 1024


def export_to(
    path: Path,
    file: Path,
    given: list[str],
    family: str,
    status: str,
    purpose: str,
    tenant: str,
    store: str,
    as_json: bool,
) -> int:
    """Write a bundle of the packs that were named, or of all that fit."""
    screen, chosen = Screen(json=as_json), choose(path, store)
    if file.exists():
        raise InputError(f"{file} is there already: name another file, or move this one away")

    async def work() -> Exported:
        async with packs_of(screen, chosen) as packs:
            if given:
                found = [await one_pack(packs, each, tenant) for each in given]
            else:
                found = await packs.find(
                    tenant=tenant,
                    family=family or None,
                    status=[status] if status else None,
                    limit=_MOST,
                )
            request = Request("export", purpose=purpose)
            return await export_packs(packs, found, request=request, tenant=tenant)

    done = run(work)
    if done.packs:
        _write(file, done.data)
    data = {
        "file": str(file) if done.packs else None,
        "sha256": done.digest,
        "packs": done.packs,
        "left_out": [{"id": each, "reason": reason} for each, reason in done.left_out],
    }
    told = (
        f"{done.packs} pack{'s' * (done.packs != 1)} in {file}, sha256 {done.digest}"
        if done.packs
        else "nothing was written: no pack may leave (experience.rights in the manifest says what"
        " packs that are recorded from now on may do)"
        if done.left_out
        else "nothing was written: no pack fits"
    )
    left: dict[str, list[str]] = {}
    for each, reason in done.left_out:
        left.setdefault(reason, []).append(each)
    rows = [(len(ids), reason, _some(ids)) for reason, ids in left.items()]
    table = grid(("left out>", "because", "packs"), rows) if rows else Text("")
    screen.result(data, Group(Text(told), table))
    return Exit.DONE if done.packs else Exit.FAILED


def _some(ids: list[str]) -> str:
    more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
    return ", ".join(ids[:_NAMED]) + more


def _write(file: Path, data: bytes) -> None:
    beside = file.with_name(f".{file.name}.part")
    try:
        beside.write_bytes(data)
        beside.replace(file)
    except OSError as error:
        raise InputError(f"{file} cannot be written: {error.strerror}") from None


def import_from(path: Path, file: Path, source: str, tenant: str, store: str, as_json: bool) -> int:
    """Take in the packs of a bundle."""
    screen, chosen = Screen(json=as_json), choose(path, store)

    async def work() -> Imported:
        try:
            size = (await anyio.Path(file).stat()).st_size
            if size > _LARGEST:
                raise BundleError(f"{file} has {size} bytes; a bundle may have {_LARGEST}")
            data = await anyio.Path(file).read_bytes()
        except OSError as error:
            raise InputError(f"{file} cannot be read: {error.strerror}") from None
        async with packs_of(screen, chosen) as packs:
            return await import_packs(
                packs, data, source=source or file.stem, name=file.name, tenant=tenant
            )

    done = run(work)
    count = len(done.ids)
    told = (
        f"{count} pack{'s' * (count != 1)} imported, quarantined until checked here;"
        f" {done.known} were here before"
    )
    data = {"imported": done.ids, "known": done.known, "ledger_head": done.ledger_head}
    screen.result({**data, "sha256": done.digest}, Text(told))
    return Exit.DONE
