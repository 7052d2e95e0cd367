"""`repertory xp serve`: the store of a network to an MCP host, on pipes or on loopback."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
from anyio import to_thread
from mcp.server import Server
from rich.text import Text

from repertory.protocol import Identity, mcp_endpoint, serve_stdio
from repertory.xp_store import (
    Finding,
    ForgetCertificate,
    Meant,
    Offices,
    Pack,
    PackStore,
    Reach,
    experience_server,
)

from .chosen import Chosen, choose
from .cli_change import released
from .cli_forget import Asked, owning, purge_of, selector_of
from .cli_run import has_uvloop
from .cli_xp import packs_of
from .erasure import log_files
from .exits import Exit
from .journal import Journal
from .listener import listen, web_server
from .screen import Screen

_LOOPBACK = "127.0.0.1"
_REPLAYS = 8


@asynccontextmanager
async def _server(screen: Screen, chosen: Chosen, govern: bool) -> AsyncIterator[Server[Any]]:
    if not govern:
        async with packs_of(screen, chosen) as packs:
            yield experience_server(packs)
        return
    async with owning(screen, chosen) as (packs, journal):
        yield experience_server(packs, _offices(chosen, packs, journal))


def _offices(chosen: Chosen, packs: PackStore, journal: Journal) -> Offices:
    async def promote(wanted: Sequence[Pack], who: Identity) -> Finding:
        return await released(
            chosen.manifest, packs, journal, wanted, _REPLAYS, who.tenant, who.principal
        )

    async def forget(meant: Meant, who: Identity) -> tuple[Reach, ForgetCertificate | None]:
        asked = Asked(
            meant.ids, meant.subject, meant.source, query=meant.query, reason=meant.reason
        )
        selector = await selector_of(packs, asked, who.tenant)
        purge = purge_of(asked)
        reach = await packs.govern.meant(selector, tenant=who.tenant, purge=purge)
        if meant.dry:
            return reach, None
        issued = await packs.govern.forget(
            selector,
            tenant=who.tenant,
            actor=who.principal,
            reason=meant.reason,
            purge=purge,
            also_scan=await to_thread.run_sync(log_files, chosen.index.parent),
        )
        return reach, issued

    return Offices(local=True, promote=promote, forget=forget)


def serve_packs(path: Path, http: bool, port: int, govern: bool, store: str) -> int:
    """Serve until the host closes its pipe, or until interrupted."""
    # Standard output belongs to the protocol.
    screen, chosen = Screen(), choose(path, store)

    async def on_pipes() -> None:
        async with _server(screen, chosen, govern) as made:
            await serve_stdio(made)

    async def over_http() -> None:
        listener = listen(_LOOPBACK, port)
        async with _server(screen, chosen, govern) as made:
            endpoint = mcp_endpoint(made)
            server = web_server(endpoint, chosen.manifest)
            async with endpoint.running(), anyio.create_task_group() as group:
                group.start_soon(partial(server.serve, sockets=[listener]))
                url = f"http://{_LOOPBACK}:{listener.getsockname()[1]}/mcp"
                screen.out.print(Text(f"the store of {chosen.manifest.network} is served at {url}"))

    work = over_http if http else on_pipes
    anyio.run(work, backend_options={"use_uvloop": has_uvloop()})
    return Exit.DONE
