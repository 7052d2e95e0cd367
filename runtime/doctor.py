"""`repertory doctor`: what is here, what answers, what is sound, and what to do about the rest."""

import importlib.metadata
import platform
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.text import Text

from repertory import __version__
from repertory.protocol import RepertoryError
from repertory.xp_store import WEIGHTS, file_of, verify_weights

from .cli_models import needed_weights
from .doctor_guards import examine_guards
from .doctor_store import look_at_store, pools_run
from .doctor_work import examine_work
from .exits import Exit
from .inspection import check_manifest
from .manifest import Manifest, load_manifest
from .screen import Screen, colored, grid

_PACKAGES = (
    "mcp",
    "anyio",
    "pydantic",
    "sqlmodel",
    "chromadb",
    "onnxruntime",
    "tokenizers",
    "xllamacpp",
    "httpx",
    "aiohttp",
    "uvicorn",
    "opentelemetry-sdk",
)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One thing that was looked at: what was found, and what to do when it is not well."""

    subject: str
    state: Literal["ok", "warning", "error"]
    found: str
    advice: str = ""


def examine(path: Path | None, store: str, as_json: bool) -> int:
    """Print a diagnosis of this machine, and of the network at `path` when one is given."""
    screen = Screen(json=as_json)
    found = [*_installation(), *_weights(path)]
    if path is not None:
        found.extend(_manifest(path))
        if all(each.state != "error" for each in found if each.subject == "manifest"):
            found.extend(_network(load_manifest(path), store))
    errors = [each for each in found if each.state == "error"]
    if screen.json:
        screen.document({"sound": not errors, "version": __version__, "diagnoses": found})
    else:
        rows = [(each.subject, colored(each.state), _told(each)) for each in found]
        screen.out.print(grid(("what", "state", "found, and what to do"), rows))
    if any(each.subject == "manifest" for each in errors):
        return Exit.USAGE
    return Exit.ENVIRONMENT if errors else Exit.DONE


def _told(each: Diagnosis) -> Text:
    text = Text(each.found)
    return text.append(f"\n{each.advice}", style="bold") if each.advice else text


def _installation() -> Iterator[Diagnosis]:
    python = (
        f"{platform.python_implementation()} {platform.python_version()} on {platform.machine()}"
    )
    yield Diagnosis("repertory", "ok", f"{__version__}, {python}")
    versions, missing = [], []
    for package in _PACKAGES:
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(package)
    if missing:
        advice = "install repertory again in this environment: pip install --upgrade repertory"
        yield Diagnosis("packages", "error", f"missing: {', '.join(missing)}", advice)
    else:
        yield Diagnosis("packages", "ok", ", ".join(versions))


def _weights(path: Path | None) -> Iterator[Diagnosis]:
    needed: tuple[str, ...] = ()
    if path is not None:
        try:
            needed = needed_weights(load_manifest(path))
        except RepertoryError:
            pass  # The manifest is told of by itself.
    for name in WEIGHTS:
        try:
            yield Diagnosis(f"weights {name}", "ok", str(verify_weights(name)))
        except RepertoryError as error:
            state: Literal["warning", "error"] = "error" if name in needed else "warning"
            advice = "repertory models install" if "models install" not in error.sentence else ""
            yield Diagnosis(f"weights {name}", state, error.sentence, advice)


def _manifest(path: Path) -> Iterator[Diagnosis]:
    findings = check_manifest(path)
    if not findings:
        yield Diagnosis("manifest", "ok", str(path))
    for finding in findings:
        yield Diagnosis("manifest", finding.severity, str(finding))


def _network(manifest: Manifest, store: str) -> Iterator[Diagnosis]:
    # Engines load only when there is a network to look at.
    from .doctor_models import examine_models

    for told in examine_models(manifest):
        yield Diagnosis(*told)
    if any(entry.is_remote for entry in manifest.agents.values()):
        from .doctor_peers import examine_peers

        for peer in examine_peers(manifest):
            yield Diagnosis(*peer)
    yield from examine_store(store or manifest.store_url)
    yield from _work(manifest, store or manifest.store_url)
    for each in examine_guards(manifest, store or manifest.store_url):
        yield Diagnosis(*each)
    yield _port(manifest.serve.host, manifest.serve.port)


def examine_store(url: str) -> Iterator[Diagnosis]:
    """Whether the store at `url` is sound, whose it is now, and how much room is left."""
    for each in look_at_store(url):
        yield Diagnosis(*each)


def _work(manifest: Manifest, url: str) -> Iterator[Diagnosis]:
    try:
        file = file_of(url)
    except RepertoryError:
        return  # The store is told of by itself.
    if file is not None and not file.exists():
        return
    run = pools_run(url)
    for each in examine_work(manifest, url, running=bool(run)):
        yield Diagnosis(*each)
    for pool in manifest.pools:
        if run and pool not in run:
            advice = f"start one there: repertory serve {manifest.path.name} --pool {pool}"
            yield Diagnosis(f"pool {pool}", "warning", "no living process runs it", advice)


def _port(host: str, port: int) -> Diagnosis:
    if port == 0:
        return Diagnosis("port", "ok", "a free one is taken")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            advice = "needed only by 'repertory serve': stop what listens there, or give --port"
            return Diagnosis("port", "warning", f"{host}:{port}: {error.strerror}", advice)
    return Diagnosis("port", "ok", f"{host}:{port} is free")
