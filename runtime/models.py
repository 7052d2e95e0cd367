"""The manifest's models and embedder, opened: each engine by its own rules, lazily where it can be."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

import anyio.to_thread

from repertory.agents import (
    ChatModel,
    CircuitBreaker,
    FunctionModel,
    OpenAIModel,
    Price,
    RecordedModel,
    Retry,
    open_embedded_model,
)
from repertory.xp_store import Embedder, HashEmbedder, MiniLM

from .errors import NetworkError
from .kinds import load_reference
from .manifest import EmbeddedModel as EmbeddedEntry
from .manifest import FunctionModel as FunctionEntry
from .manifest import Manifest, ModelLimits
from .manifest import OpenAIModel as OpenAIEntry
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
        for name in manifest.models:
            await _open(manifest, name, opened, stack, ())
        yield opened


async def _open(
    manifest: Manifest,
    name: str,
    opened: dict[str, ChatModel],
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
        model = OpenAIModel(
            entry.url,
            entry.model,
            tiers=manifest.tiers_of(name),
            api_key_env=entry.api_key_env or None,
            concurrency=entry.limits.concurrency,
            patience=entry.limits.seconds,
            retry=Retry(attempts=entry.limits.attempts),
            breaker=_breaker(entry.limits),
            price=Price(input=entry.price.input, output=entry.price.output),
        )
        stack.push_async_callback(model.aclose)
    elif isinstance(entry, FunctionEntry):
        model = FunctionModel(
            load_reference(manifest, entry.function), name=name, tiers=manifest.tiers_of(name)
        )
    else:
        inner = (
            await _open(manifest, entry.inner, opened, stack, (*above, name))
            if entry.inner is not None
            else None
        )
        path = manifest.resolve(entry.path)
        model = await anyio.to_thread.run_sync(RecordedModel, inner, path)
    opened[name] = WithParameters(model, entry.parameters) if entry.parameters else model
    return opened[name]


def _breaker(limits: ModelLimits) -> CircuitBreaker:
    return CircuitBreaker(failures=limits.failures, rest=limits.rest)


def open_embedder(manifest: Manifest) -> Embedder:
    """The manifest's embedder; its files are read at the first use."""
    return HashEmbedder() if manifest.embedder.engine == "hash" else MiniLM()
