"""The composition root: opens everything that a manifest names, and closes it again.

`open_network` owns every task and connection of the network; nothing outlives
its block. What a network can be asked for while it runs is in `network`.
"""

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

from repertory.agents import Agent, AgentSpec, ChatModel
from repertory.protocol import AgentService, open_a2a_link, open_http_link
from repertory.xp_store import (
    Embedder,
    arm_crash_points,
    is_postgres,
    open_checker,
    open_database,
    open_pack_store,
)

from .audit import Audit
from .errors import InputError, did_you_mean
from .experience import open_redactor, prepare_experience
from .host import AgentHost
from .identity import own_identity
from .journal import open_journal, owned
from .kinds import load_kind, load_policy, load_reference
from .manifest import DEFAULT_POOL, AgentEntry, Manifest, load_manifest
from .models import open_embedder, open_models
from .network import Network
from .oversight import Overseer
from .pinned import CardPins, PinnedService
from .replica import held_lease
from .spans import SpanStore
from .state_key import state_key
from .telemetry import open_telemetry
from .tool_pins import StoredPins
from .tool_server import ToolServer
from .tools import ToolBox, open_tool_server

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider


@asynccontextmanager
async def open_network(
    manifest: Manifest | str | Path,
    *,
    store_url: str | None = None,
    pools: Collection[str] | None = None,
    tracer_provider: "TracerProvider | None" = None,
    meter_provider: "MeterProvider | None" = None,
    models: Mapping[str, ChatModel] | None = None,
    embedder: Embedder | None = None,
    kinds: Mapping[str, type[Agent]] | None = None,
) -> AsyncIterator[Network]:
    """Run the network of a manifest until the block ends; unfinished work stays in its journal.

    store_url: in place of the manifest's. pools: whose agents run here, where several
    processes share a server's database; by default those that name no pool.
    tracer_provider, meter_provider: the host program's own. models, kinds: ready-made
    models and agent classes by name, in place of what the manifest says (for embedding
    and tests).

    Raises:
        ManifestError: The manifest is not one.
        InputError: No agent is in one of the pools, or the store is for one process alone.
        StoreOwnedError: Another process runs a network on this store.
        StoreVersionError: A newer version wrote the store.
        SupervisionError: An agent crashed more often than the manifest allows.
    """
    arm_crash_points()
    if not isinstance(manifest, Manifest):
        manifest = await anyio.to_thread.run_sync(load_manifest, manifest)
    url = store_url or manifest.store_url
    hosted = hosted_pools(manifest, url, pools)
    async with AsyncExitStack() as stack:
        if not is_postgres(url):
            await stack.enter_async_context(owned(url))
        database = await stack.enter_async_context(open_database(url, manifest.store.durability))
        journal = await stack.enter_async_context(open_journal(database))
        spans = SpanStore(database) if manifest.telemetry.spans else None
        telemetry = await stack.enter_async_context(
            open_telemetry(
                network=manifest.network,
                tracer_provider=tracer_provider,
                meter_provider=meter_provider,
                store=spans,
                content=manifest.telemetry.content,
                spans=manifest.telemetry.spans or tracer_provider is not None,
                otlp=manifest.telemetry.otlp,
            )
        )
        database.on_batch = telemetry.journal_batch
        enter = stack.enter_async_context
        index = manifest.index_path if store_url is None else manifest.index_of(url)
        packs = open_pack_store(
            database,
            embedder=embedder or open_embedder(manifest),
            # An index is one process's; those who share the packs search them exactly.
            index=None if is_postgres(url) else index,
            beside=index,
            rule=manifest.experience.trust_rule,
            floor=manifest.experience.recall_floor,
            redactor=await open_redactor(manifest, database),
        )
        audit = Audit(database)
        pins = StoredPins(database, audit)
        servers: dict[str, ToolServer] = {
            name: await enter(open_tool_server(name, config, manifest.folder, pins))
            for name, config in manifest.tools.items()
        }
        lease = await enter(held_lease(journal, hosted, manifest.store.lease))
        network = Network(
            manifest=manifest,
            journal=journal,
            telemetry=telemetry,
            url=url,
            lease=lease,
            packs=await enter(packs),
            audit=audit,
            state_key=await state_key(database),
            tool_servers=servers,
            checker=await enter(open_checker()),
            models=await enter(open_models(manifest, models or {})),
            remote={
                name: await enter(open_peer(manifest, name, entry, audit))
                for name, entry in manifest.agents.items()
                if entry.is_remote
            },
        )
        await prepare_experience(manifest, network.packs, network.checker)
        overseer = Overseer(network, manifest.oversight) if manifest.oversight else None
        _make_hosts(network, servers, kinds or {}, overseer)
        try:
            async with anyio.create_task_group() as group:
                if overseer is not None:
                    telemetry.on_end = overseer.ended
                    group.start_soon(overseer.watch)
                await network.start(group)
                if overseer is not None:
                    group.start_soon(overseer.run)
                yield network
                network.close()
                group.cancel_scope.cancel()
        except BaseExceptionGroup as failures:
            raise _single(failures) from None
        finally:
            network.close()


def hosted_pools(
    manifest: Manifest, url: str, pools: Collection[str] | None = None
) -> tuple[str, ...]:
    """Whose agents a process over the store at `url` runs; all of them where it is alone.

    Raises:
        InputError: No agent is in one of the pools, or the store is for one process alone.
    """
    known = manifest.pools
    if not is_postgres(url):
        if pools:
            raise InputError(
                f"a store in a file is for one process, which runs every agent; --pool"
                f" {', '.join(pools)} needs a PostgreSQL store"
            )
        return known
    wanted = tuple(dict.fromkeys(pools or (DEFAULT_POOL,)))
    for pool in wanted:
        if pool not in (*known, DEFAULT_POOL):
            raise InputError(f"no agent is in pool {pool!r}; {did_you_mean(pool, known)}")
    return wanted


def _make_hosts(
    network: Network,
    servers: Mapping[str, ToolServer],
    kinds: Mapping[str, type[Agent]],
    overseer: Overseer | None,
) -> None:
    manifest = network.manifest
    policy = load_policy(manifest)
    if overseer is not None:
        policy = policy.also(overseer.validate)
    for name in manifest.start_order():
        entry = manifest.agents[name]
        if entry.is_remote or entry.pool not in network.lease.pools:
            continue
        kind = kinds.get(name) or load_kind(manifest, name)
        spec = _spec(manifest, name, entry)
        model = network.models.get(manifest.model_of(name))
        network.hosts[name] = AgentHost(
            network,
            name,
            entry,
            lambda kind=kind, spec=spec: kind(spec),  # type: ignore[misc]  # bound per agent
            model=model,
            toolbox=ToolBox(servers, entry.tools),
            policy=policy,
            telemetry=network.telemetry,
        )


@asynccontextmanager
async def open_peer(
    manifest: Manifest, name: str, entry: AgentEntry, audit: Audit
) -> AsyncIterator[AgentService]:
    """The link to an agent elsewhere, by this network's own identity there."""
    assert entry.url is not None
    place, folder = f"agents.{name}", manifest.folder
    known = await anyio.to_thread.run_sync(
        partial(
            own_identity, entry.credentials, entry.url, place=f"{place}.credentials", folder=folder
        )
    )
    # At the URL of a card the agent is met in the best interface that it offers, A2A's own too.
    open_at = open_a2a_link if entry.url.endswith(".json") else open_http_link
    async with open_at(entry.url, credentials=known.tokens, tls=known.tls) as link:
        if not entry.card_keys:
            yield link
            return
        pins = await anyio.to_thread.run_sync(
            partial(CardPins, entry.card_keys, place=f"{place}.card_keys", folder=folder)
        )
        yield PinnedService(link, entry.url, pins, audit)


def _spec(manifest: Manifest, name: str, entry: AgentEntry) -> AgentSpec:
    schema: Mapping[str, Any] | None = None
    output_type: type[Any] | None = None
    if isinstance(entry.output, str):
        loaded: Any = load_reference(manifest, entry.output)
        output_type, schema = loaded, loaded.model_json_schema()
    elif entry.output is not None:
        schema = entry.output
    return AgentSpec(
        name=name,
        description=entry.description,
        instructions=entry.instructions,
        output_schema=schema,
        output_type=output_type,
        skills=tuple(skill.model_dump() for skill in entry.skills),
        options=entry.options,
        recall=entry.memory.recall,
        family=entry.memory.family or name,
        folder=str(manifest.folder),
    )


def _single(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one error that a task group wrapped, or the group itself."""
    inner = group.exceptions
    if len(inner) != 1:
        return group
    return _single(inner[0]) if isinstance(inner[0], BaseExceptionGroup) else inner[0]
