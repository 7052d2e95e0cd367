"""The doctor's look at agents elsewhere: whether each answers, and as whom."""

from collections.abc import Iterator
from typing import Literal

import anyio

from repertory.protocol import Call, RepertoryError
from repertory.xp_store import open_database

from .audit import Audit
from .journal import open_journal
from .manifest import Manifest
from .opening import open_peer

Told = tuple[str, Literal["ok", "warning", "error"], str, str]
_SECONDS = 5.0


def examine_peers(manifest: Manifest) -> Iterator[Told]:
    """Subject, state, finding and advice for each agent that others run."""
    yield from anyio.run(_look, manifest)


async def _look(manifest: Manifest) -> list[Told]:
    found: dict[str, Told] = {}

    async def ask(name: str) -> None:
        found[name] = await _ask(manifest, name)

    async with anyio.create_task_group() as group:
        for name, entry in manifest.agents.items():
            if entry.is_remote:
                group.start_soon(ask, name)
    return [found[name] for name in manifest.agents if name in found]


async def _ask(manifest: Manifest, name: str) -> Told:
    subject, entry = f"peer {name}", manifest.agents[name]
    advice = f"start what serves it, or correct agents.{name}.url and credentials"
    try:
        # What a link notes of a peer's card is nobody's here.
        async with open_database("sqlite:///:memory:") as database, open_journal(database):
            with anyio.fail_after(_SECONDS):
                async with open_peer(manifest, name, entry, Audit(database)) as service:
                    card = await service.get_agent_card(Call())
    except RepertoryError as error:
        return subject, "error", error.sentence, advice
    except TimeoutError:
        return subject, "error", f"{entry.url} does not answer within {_SECONDS:g} s", advice
    return subject, "ok", f"{card.name} at {entry.url} answers", ""
