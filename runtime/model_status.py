"""How a network's models stand, and what their servers say of their work; starts none of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from time import time

import anyio
import anyio.to_thread

from repertory.agents import (
    ModelHealth,
    OpenAIModel,
    ServerMetrics,
    ServerState,
    ServerUse,
    Tier,
    read_server_metrics,
)

from .manifest import Manifest
from .manifest_models import OpenAIModel as OpenAIEntry
from .manifest_models import VllmModel
from .model_servers import advice_of, server_states
from .model_use import read_use
from .probes import probe_all
from .screen import duration

_SAMPLE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class ServerReport:
    """One server at one moment.

    metrics: what it says of itself, all None when it says nothing. use: what this
    network asks of it; None when it does not run. tokens_per_second,
    prompt_tokens_per_second: over the second that was looked at.
    """

    url: str
    metrics: ServerMetrics
    use: ServerUse | None = None
    tokens_per_second: float | None = None
    prompt_tokens_per_second: float | None = None

    @property
    def cache_hit_rate(self) -> float | None:
        """By its own figures, or else by the answers that this network got."""
        if self.metrics.cache_hit_rate is not None or self.use is None:
            return self.metrics.cache_hit_rate
        return self.use.cache_hit_rate


@dataclass(frozen=True, slots=True)
class ModelReport:
    """One model: its health, the state of a server of its own, and its servers' figures.

    state: "ok" or "error", and of a server of its own also "starting", "restarting",
    "stopped" (its network does not run) or "down".
    """

    state: str
    health: ModelHealth
    server: ServerState | None = None
    servers: tuple[ServerReport, ...] = ()

    @property
    def is_well(self) -> bool:
        """Whether nobody needs to do anything."""
        return self.state not in ("error", "down")


async def model_reports(manifest: Manifest) -> dict[str, ModelReport]:
    """Every model of the manifest, in its order; takes a second where servers tell figures."""
    states = dict(await anyio.to_thread.run_sync(lambda: list(server_states(manifest))))
    asked = {name: entry for name, entry in manifest.models.items() if entry.engine != "vllm"}
    found: dict[str, ModelReport] = {}

    async def ask() -> None:
        for name, health in (await probe_all(manifest, tuple(asked))).items():
            found[name] = ModelReport("ok" if health.answers else "error", health)

    async def look(name: str, state: ServerState | None) -> None:
        found[name] = await _report(state)

    servers: dict[str, tuple[ServerReport, ...]] = {}

    async def measure(name: str, urls: Sequence[str], key: str | None) -> None:
        servers[name] = await _measure(urls, key)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        for name, state in states.items():
            tasks.start_soon(look, name, state)
            if state is not None and state.url:
                tasks.start_soon(measure, name, (state.url,), None)
        for name, entry in asked.items():
            if isinstance(entry, OpenAIEntry):
                tasks.start_soon(measure, name, entry.servers, entry.api_key_env or None)
    uses = await anyio.to_thread.run_sync(read_use, manifest)
    for name, model in manifest.models.items():
        if isinstance(model, VllmModel) and model.server is not None:
            found[name] = found[model.server]
    return {
        name: ModelReport(
            each.state,
            each.health,
            each.server,
            _with_use(servers.get(name, ()), uses.get(name, {})),
        )
        for name in manifest.models
        for each in (found[name],)
    }


def _with_use(
    servers: Sequence[ServerReport], uses: Mapping[str, ServerUse]
) -> tuple[ServerReport, ...]:
    """The servers with what is asked of them, and those that are asked and tell nothing."""
    told = {each.url for each in servers}
    return (
        *(replace(each, use=uses.get(each.url)) for each in servers),
        *(
            ServerReport(url, ServerMetrics(), use=use)
            for url, use in uses.items()
            if url not in told
        ),
    )


async def _report(state: ServerState | None) -> ModelReport:
    """What the process that runs a server left of it, seen against what answers there now."""
    if state is None:
        detail = "its server has not run yet; `repertory run` and `serve` start it"
        return ModelReport("stopped", ModelHealth(False, detail=detail))
    told = state.state
    if told == "running":
        client = OpenAIModel(state.url, state.model, tiers=frozenset(Tier))
        healthy = await client.is_healthy()
        await client.aclose()
        detail = f"process {state.pid}, {state.restarts} restarts"
        if healthy:
            return ModelReport("ok", ModelHealth(True, detail=detail), state)
        detail = f"its server runs and does not answer ({detail}); its log is {state.log}"
        return ModelReport("error", ModelHealth(False, detail=detail), state)
    if told in ("starting", "restarting"):
        told += f" for {duration(max(0.0, time() - state.since))}"
    words = state.phase or state.said
    said = f": {words}" if words else ""
    advice = f"; {advice_of(state)}" if state.state == "down" else ""
    return ModelReport(state.state, ModelHealth(False, detail=f"{told}{said}{advice}"), state)


async def _measure(urls: Sequence[str], key: str | None) -> tuple[ServerReport, ...]:
    """Read /metrics of each twice; a server that has none is left out."""
    clients = [OpenAIModel(url, "", tiers=frozenset(), api_key_env=key) for url in urls]
    first = await _read(clients)
    began = anyio.current_time()
    if any(first):
        await anyio.sleep(_SAMPLE_SECONDS)
    second = await _read(clients) if any(first) else first
    seconds = anyio.current_time() - began
    reports = []
    for client, earlier, later in zip(clients, first, second, strict=True):
        await client.aclose()
        before, now = read_server_metrics(earlier), read_server_metrics(later)
        if now != ServerMetrics():
            reports.append(
                ServerReport(
                    client.address,
                    now,
                    tokens_per_second=_rate(before.generated_tokens, now.generated_tokens, seconds),
                    prompt_tokens_per_second=_rate(
                        before.prompt_tokens, now.prompt_tokens, seconds
                    ),
                )
            )
    return tuple(reports)


async def _read(clients: Sequence[OpenAIModel]) -> list[str]:
    texts = [""] * len(clients)

    async def read(index: int) -> None:
        texts[index] = await clients[index].read_metrics()

    async with anyio.create_task_group() as tasks:
        for index in range(len(clients)):
            tasks.start_soon(read, index)
    return texts


def _rate(before: float | None, now: float | None, seconds: float) -> float | None:
    if before is None or now is None or seconds <= 0.0:
        return None
    # A server that was started anew in between counts from 0.
    return max(0.0, now - before) / seconds
