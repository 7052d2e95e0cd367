"""`repertory serve`: the network's agents over HTTP until a signal comes."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import anyio
from anyio import create_task_group
from rich.text import Text

from repertory.xp_store import is_postgres

from .admission import require_guarded, signer_of
from .chosen import choose
from .cli_run import Interrupts, has_uvloop, running
from .exits import Exit
from .heap import settle_heap
from .model_starts import shown_starts
from .network import Network
from .opening import hosted_pools
from .replica import open_replica
from .screen import Screen
from .web import Served, serve


def serve_network(
    path: Path,
    host: str,
    port: int | None,
    replica: bool,
    pools: Sequence[str],
    store: str,
    as_json: bool,
) -> int:
    """Serve until interrupted; what was accepted by then is done, journaled, or others' to do."""
    screen, chosen = Screen(json=as_json), choose(path, store)
    place = chosen.manifest.serve
    at, number = host or place.host, place.port if port is None else port
    # Before anything is started: an error here costs nobody a model.
    require_guarded(chosen.manifest, at)
    signer = signer_of(chosen.manifest)
    hosted_pools(chosen.manifest, chosen.url, pools)

    async def work() -> None:
        opened: AbstractAsyncContextManager[Served] = (
            open_replica(chosen.manifest, store_url=chosen.store or None)
            if replica and not is_postgres(chosen.url)
            else running(screen, chosen, pools=pools)
        )
        async with (
            opened as network,
            serve(network, host=at, port=number) as url,
            create_task_group() as tasks,
        ):
            await tasks.start(Interrupts(screen).listen, network, tasks.cancel_scope)
            settle_heap()
            agents = {name: f"{url}/agents/{name}/mcp" for name in network.local_agents}
            if screen.json:
                told = {"network": network.name, "url": url, "agents": agents}
                screen.line({**told, "card_key": signer.thumbprint} if signer else told)
            else:
                screen.out.print(Text(f"{network.name} is served at {url}"))
                for address in agents.values():
                    screen.out.print(Text(f"  {address}"))
                if signer is not None:
                    screen.out.print(Text(f"cards are signed by {signer.thumbprint}"))
            if isinstance(network, Network):
                async with shown_starts(screen, network.models) as over:
                    await over.wait()

    anyio.run(work, backend_options={"use_uvloop": has_uvloop()})
    return Exit.DONE
