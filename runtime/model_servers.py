"""The servers of models that a network starts itself: their command lines, files and states."""

import os
from collections.abc import Iterator
from pathlib import Path

from repertory.agents import ServerCommand, ServerState, advice_for, read_state

from .manifest import Manifest
from .manifest_models import VllmModel
from .tool_process import allowed_environment

# Where the GPUs are; everything else is named in the manifest.
_GPUS = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES")
# vLLM reports its use to its makers unless it is told not to.
_QUIET = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
# Between the words of a JSON answer small models put spaces until their room is used up.
_COMPACT = '{"backend":"xgrammar","disable_any_whitespace":true}'
_OTLP = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


def models_folder(manifest: Manifest) -> Path:
    """Where logs and states of the network's model servers lie."""
    return manifest.resolve(f".repertory/{manifest.network}-models")


def state_file(manifest: Manifest, model: str) -> Path:
    """What is told to other processes of the server of `model`; it holds no key."""
    return models_folder(manifest) / f"{model}.json"


def log_file(manifest: Manifest, model: str) -> Path:
    """What the server of `model` says."""
    return models_folder(manifest) / f"{model}.log"


def server_states(manifest: Manifest) -> Iterator[tuple[str, ServerState | None]]:
    """Every model with a server of its own, and what is known of that; None when it never ran."""
    for name, entry in manifest.models.items():
        if isinstance(entry, VllmModel) and entry.server is None:
            yield name, read_state(state_file(manifest, name))


def server_command(manifest: Manifest, model: str) -> ServerCommand:
    """How the server of `model` is started."""
    entry = manifest.models[model]
    assert isinstance(entry, VllmModel)
    argv = [
        *entry.argv,
        "serve",
        _place(manifest, entry.model),
        "--served-model-name",
        entry.model,
        *_tracing(manifest, entry),
    ]
    if entry.tensor_parallel > 1:
        argv += ["--tensor-parallel-size", str(entry.tensor_parallel)]
    if entry.lora:
        adapters = (f"{name}={_place(manifest, at)}" for name, at in entry.lora.items())
        argv += ["--enable-lora", "--lora-modules", *adapters]
    given = {word.partition("=")[0].replace("_", "-") for word in entry.arguments}
    if "--scheduling-policy" not in given:
        argv += ["--scheduling-policy", "priority"]
    if not {"--enable-prompt-tokens-details", "--no-enable-prompt-tokens-details"} & given:
        # Without it answers do not say what the prefix cache saved.
        argv.append("--enable-prompt-tokens-details")
    if not any(word.startswith("--structured-outputs-config") for word in given):
        argv += ["--structured-outputs-config", _COMPACT]
    return ServerCommand(
        argv=(*argv, *entry.arguments),
        cwd=manifest.folder,
        environment={
            **allowed_environment((*_GPUS, *entry.env)),
            **_QUIET,
            **_tracing_environment(manifest),
        },
        log=log_file(manifest, model),
        start_seconds=entry.start_seconds,
        intensity=entry.intensity,
        period=entry.period,
        silence=entry.silence,
        port=entry.port,
    )


def advice_of(state: ServerState) -> str:
    """What to do about a server that is down."""
    told = advice_for(state.said)
    return f"{told}; its log is {state.log}" if told else f"read its log: {state.log}"


def _place(manifest: Manifest, name: str) -> str:
    """A folder of the manifest as a path; what is no folder is a name on the hub."""
    folder = manifest.resolve(name)
    return str(folder) if folder.is_dir() else name


def _tracing(manifest: Manifest, entry: VllmModel) -> list[str]:
    endpoint = _endpoint(manifest)
    given = any(word.startswith("--otlp") for word in entry.arguments)
    return ["--otlp-traces-endpoint", endpoint] if endpoint and not given else []


def _tracing_environment(manifest: Manifest) -> dict[str, str]:
    if not _endpoint(manifest):
        return {}
    headers = os.environ.get("OTEL_EXPORTER_OTLP_HEADERS")
    return {
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
        **({"OTEL_EXPORTER_OTLP_HEADERS": headers} if headers else {}),
    }


def _endpoint(manifest: Manifest) -> str:
    """Where this network sends its spans, so that the server's join them; "" for nowhere."""
    if not manifest.telemetry.otlp:
        return ""
    traces, root = (os.environ.get(name, "") for name in _OTLP)
    return traces or (f"{root.rstrip('/')}/v1/traces" if root else "")
