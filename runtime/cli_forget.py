"""`repertory xp forget`: say what is meant, ask, forget it everywhere, and write the certificate."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import typer
from anyio import run, to_thread
from rich.text import Text

from repertory.xp_store import (
    Connection,
    ForgetCertificate,
    PackNotFoundError,
    PackStore,
    Purge,
    Reach,
    Request,
    Selector,
    arm_crash_points,
    open_pack_store,
    utc_now,
)

from .chosen import Chosen, choose, reading
from .cli_models import ensure_weights
from .cli_xp import one_pack
from .erasure import journal_purge, log_files, tasks_that_say
from .errors import InputError
from .exits import Exit
from .journal import Journal, owned
from .models import open_embedder
from .screen import Screen, grid


@dataclass(frozen=True, slots=True)
class Asked:
    """What was typed; texts and moments as they were."""

    packs: tuple[str, ...] = ()
    subject: str = ""
    source: str = ""
    since: str = ""
    until: str = ""
    query: str = ""
    expired: bool = False
    reason: str = "asked for"
    unfinished: bool = False
    dry_run: bool = False
    yes: bool = False


@asynccontextmanager
async def owning(screen: Screen, chosen: Chosen) -> AsyncIterator[tuple[PackStore, Journal]]:
    """The packs and the journal of a network that does not run, to be changed.

    Raises:
        StoreOwnedError: It runs.
    """
    arm_crash_points()
    await ensure_weights(screen, chosen.manifest)
    experience = chosen.manifest.experience
    async with (
        owned(chosen.url),
        reading(chosen) as journal,
        open_pack_store(
            journal.database,
            embedder=open_embedder(chosen.manifest),
            index=chosen.index,
            rule=experience.trust_rule,
            floor=experience.recall_floor,
        ) as packs,
    ):
        yield packs, journal


@asynccontextmanager
async def owning_packs(screen: Screen, chosen: Chosen) -> AsyncIterator[PackStore]:
    """The packs of a network that does not run, to be changed.

    Raises:
        StoreOwnedError: It runs.
    """
    async with owning(screen, chosen) as (packs, _):
        yield packs


def forget_packs(
    path: Path, asked: Asked, certificate: Path | None, tenant: str, store: str, as_json: bool
) -> int:
    """Forget what is asked for; refused while the network runs."""
    screen, chosen = Screen(json=as_json), choose(path, store)

    async def forget() -> ForgetCertificate | None:
        async with owning_packs(screen, chosen) as packs:
            selector = await selector_of(packs, asked, tenant)
            left = await packs.govern.unfinished(tenant=tenant)
            if asked.unfinished and not left:
                raise InputError("no forget was interrupted: there is nothing to finish")
            if selector == Selector() and not asked.unfinished:
                raise InputError(
                    "say what to forget: a pack's id, --subject, --source, --since, --until,"
                    " --query or --expired"
                )
            purge = purge_of(asked)
            reach = await packs.govern.meant(selector, tenant=tenant, purge=purge)
            told = told_reach(reach)
            if left:
                told += f"; the files are purged of {len(left)} that an interrupted forget deleted"
            if asked.dry_run:
                screen.result({**reach.wire(), "unfinished": left}, Text(told))
                return None
            if not reach.closure and not reach.tasks and not left:
                raise PackNotFoundError(f"no pack is meant by {selector}")
            if not asked.yes:
                _confirm(screen, told)
            return await packs.govern.forget(
                selector,
                tenant=tenant,
                actor="operator",
                reason=asked.reason,
                purge=purge,
                also_scan=await to_thread.run_sync(log_files, chosen.index.parent),
            )

    issued = run(forget)
    if issued is None:
        return Exit.DONE
    if certificate is not None:
        certificate.write_text(issued.model_dump_json(indent=2) + "\n", "utf-8")
    screen.result(issued.model_dump(mode="json"), grid(("", ""), _told(issued, certificate)))
    return Exit.DONE if issued.complete else Exit.FAILED


def told_reach(reach: Reach) -> str:
    """How far forgetting reaches, as a sentence."""
    meant, every, tasks = len(reach.meant), len(reach.closure), len(reach.tasks)
    return (
        f"{meant} {'pack is' if meant == 1 else 'packs are'} meant; with all that came of"
        f" {'it' if meant == 1 else 'them'}, and with the tasks in which it is told,"
        f" {every} pack{'s' * (every != 1)} and {tasks} task{'s' * (tasks != 1)} go"
    )


def purge_of(asked: Asked) -> Purge:
    """What the journal forgets with the packs."""
    purge = journal_purge()
    if not asked.subject:
        return purge
    text = asked.subject

    def widen(
        connection: Connection, tasks: frozenset[str], packs: Sequence[str]
    ) -> frozenset[str]:
        # Also tasks that left no pack, but in which the person is named.
        return purge.widen(connection, tasks | tasks_that_say(connection, [text]), packs)

    return replace(purge, widen=widen)


async def selector_of(packs: PackStore, asked: Asked, tenant: str) -> Selector:
    """What is meant by what was typed."""
    ids = [(await one_pack(packs, given, tenant)).id for given in asked.packs]
    if asked.query:
        request = Request("read")
        hits = await packs.recall(asked.query, tenant=tenant, request=request, limit=50)
        ids += [hit.pack.id for hit in hits]
        if not ids:
            raise InputError(f"nothing in the store fits {asked.query!r}; nothing was forgotten")
    keys = await packs.govern.keys()
    subject = asked.subject
    return Selector(
        ids=tuple(ids),
        subjects=(keys.pseudonym(subject),) if subject else (),
        source=asked.source,
        since=moment_of(asked.since) if asked.since else None,
        until=moment_of(asked.until) if asked.until else None,
        text=(subject,) if subject else (),
        expired=utc_now() if asked.expired else None,
    )


def moment_of(text: str) -> datetime:
    """A moment as a person types it: `now`, a date, or ISO 8601; UTC where no zone is named.

    Raises:
        InputError: It is none.
    """
    if text == "now":
        return utc_now()
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise InputError(
            f"{text!r} is no moment: write 'now', a date such as 2026-11-20, or 2026-11-20T14:30"
        ) from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _confirm(screen: Screen, told: str) -> None:
    if screen.json or not screen.out.is_terminal:
        raise InputError(f"{told}: this cannot be undone; say --yes, or --dry-run to look only")
    if not typer.confirm(f"{told}. Forget them for good?"):
        raise InputError("nothing was forgotten")


def _told(issued: ForgetCertificate, file: Path | None) -> list[tuple[str, str]]:
    left = sum(issued.residue_scan.values())
    after = issued.utility_after
    before = issued.utility_before
    rows = [
        ("deleted", f"packs: {issued.deleted}, tasks: {issued.tasks}"),
        ("derived again", str(issued.rederived)),
        ("kept", str(issued.retained)),
        ("residue", f"{left} left in {issued.files} files ({issued.bytes_read:,} bytes read)"),
        ("as if it had never been", "yes" if issued.rebuild_digest_equal else "NO"),
        ("ledger", f"{issued.ledger_entries} entries, head {issued.ledger_hash[:16]}"),
    ]
    if before is not None and after is not None:
        rows.append(
            ("like packs beside each other", f"{before.value:.0%} before, {after.value:.0%} after")
        )
    if file is not None:
        rows.append(("certificate", str(file)))
    return rows
