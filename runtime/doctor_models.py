"""What `repertory doctor` says of a network's models and of the servers that it starts itself."""

import socket
from collections.abc import Iterator
from typing import Literal

import anyio

from .manifest import Manifest
from .manifest_models import VllmModel
from .model_servers import advice_of
from .model_status import ModelReport, model_reports

Told = tuple[str, Literal["ok", "warning", "error"], str, str]


def examine_models(manifest: Manifest) -> Iterator[Told]:
    """Each model: what was found, and what to do when it is not well; starts no server."""
    for name, report in anyio.run(model_reports, manifest).items():
        entry = manifest.models[name]
        if isinstance(entry, VllmModel):
            if entry.server is None:
                yield from _own_server(name, entry, report)
            continue
        health = report.health
        if health.answers:
            told = ", ".join(part for part in (health.version, *sorted(health.features)) if part)
            # Of several servers some may be down while the model answers.
            state: Literal["ok", "warning"] = "warning" if health.detail else "ok"
            yield f"model {name}", state, told or "answers", health.detail
        else:
            advice = "start its server, or correct 'url' and 'model' in the manifest"
            yield f"model {name}", "error", health.detail or "does not answer", advice


def _own_server(name: str, entry: VllmModel, report: ModelReport) -> Iterator[Told]:
    subject = f"model {name}"
    server = report.server
    if server is not None and report.state == "down":
        yield subject, "error", f"down: {server.said}", advice_of(server)
    elif report.state == "error":
        yield subject, "error", report.health.detail, "see its log, or restart the network"
    elif report.state in ("starting", "restarting"):
        yield subject, "warning", report.health.detail, "wait, or see its log"
    elif report.state == "stopped" and entry.port and _is_taken(entry.port):
        advice = "stop what listens there, or take 'port' out"
        yield subject, "error", f"127.0.0.1:{entry.port} is in use", advice
    else:
        yield subject, "ok", report.health.detail, ""


def _is_taken(port: int) -> bool:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False
