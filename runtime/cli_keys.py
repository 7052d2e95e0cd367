"""`repertory keys` and `repertory audit`: who may call a network, and who was refused.

Both work on the store, beside the process that runs the network.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from time import time
from typing import Any

from anyio import run
from rich.text import Text

from repertory.protocol import Capabilities, KeyRecord, RepertoryError
from repertory.xp_store import Database, open_database

from .audit import AuditEntry, read_audit, write_audit
from .chosen import Chosen, choose
from .errors import InputError
from .exits import Exit
from .journal import open_journal
from .keyring import Keyring
from .screen import Screen, grid

_DAY = 86_400.0


@asynccontextmanager
async def _opened(chosen: Chosen) -> AsyncIterator[Database]:
    async with open_database(chosen.url) as database, open_journal(database):
        yield database


def add_key(
    path: Path,
    name: str,
    tenant: str,
    can: Sequence[str],
    days: float | None,
    store: str,
    as_json: bool,
) -> int:
    """Make an API key and show it, once."""
    screen, chosen = Screen(json=as_json), choose(path, store)
    if not name.replace("-", "").replace("_", "").isalnum() or not tenant:
        raise InputError(f"{name!r} is no name for a key: letters, digits, '-' and '_'")
    try:
        Capabilities.parse([list(can)])
    except RepertoryError:
        raise InputError(
            f"--can takes an agent, a skill or a tool, as 'clerk', 'clerk/reading' or"
            f" 'books.post'; given: {', '.join(can)}"
        ) from None
    expires = None if days is None else time() + days * _DAY

    async def make() -> tuple[str, KeyRecord]:
        async with _opened(chosen) as database:
            made = await Keyring(database).add(
                name, tenant=tenant, capabilities=tuple(can) or None, expires_at=expires
            )
            told = f"{made[1].id}, for {', '.join(can) or 'everything'}"
            await write_audit(database, AuditEntry("key added", f"key:{name}", tenant, reason=told))
            return made

    text, record = run(make)
    if screen.json:
        screen.document({"key": text, **_data(record)})
    else:
        screen.out.print(Text(text))
        screen.say("This is the only time it is shown; send it as 'Authorization: Bearer KEY'.")
    if not chosen.manifest.serve.auth.keys:
        screen.warn("the manifest does not ask for keys yet: add 'serve: {auth: {keys: true}}'")
    return Exit.DONE


def list_keys(path: Path, store: str, as_json: bool) -> int:
    """Show the keys there are; their secrets are kept nowhere."""
    screen, chosen = Screen(json=as_json), choose(path, store)

    async def read() -> list[KeyRecord]:
        async with _opened(chosen) as database:
            return await Keyring(database).records()

    found = run(read)
    rows = [
        (
            record.id,
            record.name,
            record.tenant,
            "everything" if record.capabilities is None else ", ".join(record.capabilities),
            _state(record),
        )
        for record in found
    ]
    screen.result(
        {"keys": [_data(record) for record in found]},
        grid(("id", "name", "tenant", "may", "state"), rows),
    )
    return Exit.DONE


def revoke_key(path: Path, name: str, store: str, as_json: bool) -> int:
    """Take a key back; a network that runs refuses it within seconds."""
    screen, chosen = Screen(json=as_json), choose(path, store)

    async def revoke() -> int:
        async with _opened(chosen) as database:
            count = await Keyring(database).revoke(name)
            if count:
                await write_audit(database, AuditEntry("key revoked", f"key:{name}"))
            return count

    count = run(revoke)
    if not count:
        raise InputError(f"no key in use is named {name!r}; repertory keys list shows them")
    screen.result({"revoked": count}, Text(f"revoked {name}"))
    return Exit.DONE


def show_audit(path: Path, limit: int, store: str, as_json: bool) -> int:
    """Show the newest entries of the audit."""
    screen, chosen = Screen(json=as_json), choose(path, store)

    async def read() -> Sequence[AuditEntry]:
        async with _opened(chosen) as database:
            return await read_audit(database, limit=limit)

    entries = run(read)
    rows = [
        (
            _moment(entry.at),
            entry.what,
            entry.principal or "?",
            " asks ".join((*entry.chain, entry.agent)) if entry.agent else "",
            entry.target,
            entry.reason + (f" (and {entry.missed} more before it)" if entry.missed else ""),
        )
        for entry in entries
    ]
    screen.result(
        {"entries": entries}, grid(("at", "what", "who", "through", "target", "reason"), rows)
    )
    return Exit.DONE


def _state(record: KeyRecord) -> str:
    if record.revoked:
        return "revoked"
    if record.expires_at is None:
        return "in use"
    ended = record.expires_at <= time()
    return f"{'expired' if ended else 'until'} {_moment(record.expires_at)}"


def _data(record: KeyRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "name": record.name,
        "tenant": record.tenant,
        "capabilities": record.capabilities,
        "expires_at": None if record.expires_at is None else _moment(record.expires_at),
        "state": _state(record),
    }


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
