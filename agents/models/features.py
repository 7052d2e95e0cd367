"""What an OpenAI-compatible server takes, read from what it says of itself; no I/O.

Servers ignore fields they do not know, so an unknown field is silence and not an
error: llama.cpp accepts vLLM's `structured_outputs` and answers free text. What
is not seen here is therefore not sent.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Engine = Literal["vllm", "llama.cpp", "openai"]

_CHAT = "/v1/chat/completions"
_OPTIONAL_FIELDS = ("priority", "cache_salt", "session_id", "response_format", "logprobs")


@dataclass(frozen=True, slots=True)
class ServerFeatures:
    """What was seen of a server.

    engine: whose dialect it speaks; "openai" when nothing tells. models: the
    names it serves, empty when it does not say. features: see `ModelHealth`.
    most_logprobs: how many alternatives per token may be asked of its engine.
    """

    engine: Engine
    version: str = ""
    models: tuple[str, ...] = ()
    context_length: int | None = None
    features: frozenset[str] = frozenset()

    @property
    def most_logprobs(self) -> int:
        """The alternatives per token that the engine gives by default."""
        return {"vllm": 20, "llama.cpp": 200, "openai": 5}[self.engine]


def read_features(
    version: Mapping[str, Any] | None,
    openapi: Mapping[str, Any] | None,
    models: Mapping[str, Any] | None,
    model: str,
) -> ServerFeatures:
    """Read the answers of /version, /openapi.json and /v1/models; None for one it has not."""
    entries = _entries(models)
    owners = {str(entry.get("owned_by", "")) for entry in entries}
    release = str((version or {}).get("version", ""))
    served = _taken_fields(openapi or {})
    engine: Engine = "openai"
    features = {"json_schema", "logprobs"}
    if "llamacpp" in owners:
        engine = "llama.cpp"
        features |= {"tokenize", "cache_prompt"}
    elif "vllm" in owners or (release and "cache_salt" in served):
        engine = "vllm"
        # vLLM takes the trace from the header whenever it traces at all.
        features = {"traceparent"}
    if served:
        features -= {"json_schema", "logprobs"}
        features |= {
            {"response_format": "json_schema"}.get(field, field)
            for field in _OPTIONAL_FIELDS
            if field in served
        }
    elif engine == "vllm":
        # A proxy may hide /openapi.json; these two are vLLM's since it speaks OpenAI.
        features |= {"json_schema", "logprobs"}
    paths = (openapi or {}).get("paths")
    if isinstance(paths, Mapping) and "/tokenize" in paths:
        features.add("tokenize")
    return ServerFeatures(
        engine=engine,
        version=release,
        models=tuple(name for entry in entries for name in _names(entry)),
        context_length=_context_length(entries, model),
        features=frozenset(features),
    )


def _entries(models: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    data = (models or {}).get("data")
    if not isinstance(data, list):
        return []
    return [entry for entry in data if isinstance(entry, Mapping)]


def _names(entry: Mapping[str, Any]) -> Iterator[str]:
    aliases = entry.get("aliases")
    names = [entry.get("id"), *(aliases if isinstance(aliases, list) else ())]
    yield from dict.fromkeys(str(name) for name in names if name)


def _context_length(entries: list[Mapping[str, Any]], model: str) -> int | None:
    for entry in entries:
        if entry.get("id") == model or len(entries) == 1:
            meta = entry.get("meta")
            length = entry.get("max_model_len")
            if length is None and isinstance(meta, Mapping):
                length = meta.get("n_ctx")
            return length if isinstance(length, int) else None
    return None


def _taken_fields(openapi: Mapping[str, Any]) -> frozenset[str]:
    """The fields of a chat request, whichever way its schema is composed."""
    try:
        body = openapi["paths"][_CHAT]["post"]["requestBody"]["content"]["application/json"]
        return frozenset(_properties(body["schema"], openapi, depth=0))
    except (KeyError, TypeError):
        return frozenset()


def _properties(schema: Any, openapi: Mapping[str, Any], depth: int) -> Iterator[str]:
    if not isinstance(schema, Mapping) or depth > 8:
        return
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#/"):
        target: Any = openapi
        for step in reference.removeprefix("#/").split("/"):
            target = target[step]
        yield from _properties(target, openapi, depth + 1)
    yield from schema.get("properties", {})
    for way in ("allOf", "anyOf", "oneOf"):
        for member in schema.get(way, ()):
            yield from _properties(member, openapi, depth + 1)
