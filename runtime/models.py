"""The manifest's models and embedder, opened: each engine by its own rules, lazily where it can be."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import anyio.to_thread
from anyio import create_task_group

from repertory.agents import (
    ChatModel,
    CircuitBreaker,
    FunctionModel,
    ManagedModel,
    ManagedServer,
    ModelPool,
    OpenAIModel,
    Price,
    RecordedModel,
    Retry,
    open_embedded_model,
    open_managed_server,
)
from repertory.xp_store import Embedder, HashEmbedder, MiniLM

from .errors import NetworkError
from .kinds import load_reference
from .manifest import Manifest
from .manifest_models import EmbeddedModel as EmbeddedEntry
from .manifest_models import FunctionModel as FunctionEntry
from .manifest_models import ModelEntry
from .manifest_models import OpenAIModel as OpenAIEntry
from .manifest_models import VllmModel as VllmEntry
from .model_servers import server_command, state_file
from .parameters import WithParameters


@asynccontextmanager
async def open_models(
    manifest: Manifest, ready: Mapping[str, ChatModel]
) -> AsyncIterator[Mapping[str, ChatModel]]:
    """The manifest's models by name; those in `ready` are taken as they are, and not closed.

    Raises:
        KindError: A function does not load.
        NetworkError: Recorded models name each other in a circle.
    """
    async with AsyncExitStack() as stack:
        opened: dict[str, ChatModel] = dict(ready)
        servers: dict[str, ManagedServer] = {}
        for name, entry in manifest.models.items():
            # Their servers begin to start now; questions wait for them, the network does not.
            if isinstance(entry, VllmEntry) and entry.server is None and name not in ready:
                command = await anyio.to_thread.run_sync(server_command, manifest, name)
                server = open_managed_server(name, command, state_file=state_file(manifest, name))
                servers[name] = await stack.enter_async_context(server)
        for name in manifest.models:
            await _open(manifest, name, opened, servers, stack, ())
        yield opened


async def _open(
    manifest: Manifest,
    name: str,
    opened: dict[str, ChatModel],
    servers: Mapping[str, ManagedServer],
    stack: AsyncExitStack,
    above: tuple[str, ...],
) -> ChatModel:
    if name in opened:
        return opened[name]
    if name in above:
        raise NetworkError(f"models record each other in a circle: {' of '.join((*above, name))}")
    entry = manifest.models[name]
    model: ChatModel
    if isinstance(entry, EmbeddedEntry):
        model = await stack.enter_async_context(
            open_embedded_model(
                threads=entry.threads,
                reuse_prompts=entry.reuse_prompts,
                tiers=manifest.tiers_of(name),
                concurrency=entry.limits.concurrency,
                patience=entry.limits.seconds,
            )
        )
    elif isinstance(entry, OpenAIEntry):
        clients = [_client(manifest, name, entry, url) for url in entry.servers]
        model = clients[0]
        if len(clients) > 1:
            pool = model = ModelPool(clients, hedge=entry.hedge)
            watching = await stack.enter_async_context(create_task_group())
            stack.callback(watching.cancel_scope.cancel)
            watching.start_soon(pool.watch)
        stack.push_async_callback(model.aclose)
    elif isinstance(entry, VllmEntry):
        model = ManagedModel(
            servers[entry.server or name],
            entry.model,
            manifest.tiers_of(name),
            partial(_managed_client, manifest, name, entry),
        )
        stack.push_async_callback(model.aclose)
    elif isinstance(entry, FunctionEntry):
        model = FunctionModel(
            load_reference(manifest, entry.function), name=name, tiers=manifest.tiers_of(name)
        )
    else:
        inner = (
            await _open(manifest, entry.inner, opened, servers, stack, (*above, name))
            if entry.inner is not None
            else None
        )
        path = manifest.resolve(entry.path)
        model = await anyio.to_thread.run_sync(RecordedModel, inner, path)
    opened[name] = WithParameters(model, entry.parameters) if entry.parameters else model
    return opened[name]


def _client(manifest: Manifest, name: str, entry: OpenAIEntry, url: str) -> OpenAIModel:
    return OpenAIModel(
        url,
        entry.model,
        tiers=manifest.tiers_of(name),
        api_key_env=entry.api_key_env or None,
        # Of several servers one failure is told at once, since another one can be asked.
        retry=Retry(attempts=1 if len(entry.servers) > 1 else entry.limits.attempts),
        **_limits(entry),
    )


def _managed_client(
    manifest: Manifest, name: str, entry: VllmEntry, url: str, read_key: Callable[[], str]
) -> OpenAIModel:
    return OpenAIModel(
        url,
        entry.model,
        tiers=manifest.tiers_of(name),
        retry=Retry(attempts=entry.limits.attempts),
        read_key=read_key,
        **_limits(entry),
    )


def _limits(entry: ModelEntry) -> dict[str, Any]:
    limits = entry.limits
    return {
        "concurrency": limits.concurrency,
        "patience": limits.seconds,
        "breaker": CircuitBreaker(failures=limits.failures, rest=limits.rest),
        "price": Price(input=entry.price.input, output=entry.price.output),
    }


def open_embedder(manifest: Manifest) -> Embedder:
    """The manifest's embedder; its files are read at the first use."""
    return HashEmbedder() if manifest.embedder.engine == "hash" else MiniLM()
