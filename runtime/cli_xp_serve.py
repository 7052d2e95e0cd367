"""`repertory xp serve`: the store of a network to an MCP host, on pipes or on loopback."""

from functools import partial
from pathlib import Path

import anyio
from rich.text import Text

from repertory.protocol import mcp_endpoint, serve_stdio
from repertory.xp_store import experience_server

from .chosen import choose
from .cli_run import has_uvloop
from .cli_xp import packs_of
from .exits import Exit
from .listener import listen, web_server
from .screen import Screen

_LOOPBACK = "127.0.0.1"


def serve_packs(path: Path, http: bool, port: int, store: str) -> int:
    """Serve until the host closes its pipe, or until interrupted."""
    # Standard output belongs to the protocol.
    screen, chosen = Screen(), choose(path, store)

    async def on_pipes() -> None:
        async with packs_of(screen, chosen) as packs:
            await serve_stdio(experience_server(packs))

    async def over_http() -> None:
        listener = listen(_LOOPBACK, port)
        async with packs_of(screen, chosen) as packs:
            endpoint = mcp_endpoint(experience_server(packs))
            server = web_server(endpoint, chosen.manifest)
            async with endpoint.running(), anyio.create_task_group() as group:
                group.start_soon(partial(server.serve, sockets=[listener]))
                url = f"http://{_LOOPBACK}:{listener.getsockname()[1]}/mcp"
                screen.out.print(Text(f"the store of {chosen.manifest.network} is served at {url}"))

    work = over_http if http else on_pipes
    anyio.run(work, backend_options={"use_uvloop": has_uvloop()})
    return Exit.DONE
