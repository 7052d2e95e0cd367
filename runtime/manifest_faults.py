"""What can be wrong with a manifest's shape and names, said in sentences with a line each.

Pydantic finds most of it; here its findings become what a person can act on.
"""

from collections.abc import Iterator, Mapping
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Final, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from .errors import Finding, PolicyError, did_you_mean, listed
from .yaml_source import Location, YamlSource, dotted

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from .manifest import Manifest

_EXPECTED = {
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "dict_type": "a mapping",
    "float_parsing": "a number",
    "float_type": "a number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "model_attributes_type": "a mapping",
    "model_type": "a mapping",
    "string_type": "text",
    "tuple_type": "a list",
}


def shape_findings(
    error: ValidationError, model: type[BaseModel], source: YamlSource
) -> list[Finding]:
    """Every fault pydantic found, in the order of the file."""
    findings: dict[tuple[str, str], Finding] = {}
    for detail in error.errors(include_url=False):
        at = _as_written(detail["loc"], source.data)
        sentence = _sentence(detail, at, model)
        finding = Finding("error", source.name, source.line_of(at), dotted(at), sentence)
        findings.setdefault((finding.key, sentence), finding)
    return sorted(findings.values(), key=lambda finding: finding.line)


def name_findings(manifest: "Manifest") -> list[Finding]:
    """Every name in the manifest that nothing answers to, and cycles of `depends`."""
    findings = [
        manifest.finding("error", location, sentence)
        for location, sentence in _unmet_names(manifest)
    ]
    if not findings:
        cycle = _cycle({name: agent.depends for name, agent in manifest.agents.items()})
        if cycle:
            told = " -> ".join(repr(name) for name in cycle)
            at: Location = ("agents", cycle[0], "depends")
            sentence = f"agents depend on each other in a circle: {told}; take one 'depends' away"
            findings.append(manifest.finding("error", at, sentence))
    return sorted(findings, key=lambda finding: finding.line)


def _unmet_names(manifest: "Manifest") -> Iterator[tuple[Location, str]]:
    agents, models = list(manifest.agents), list(manifest.models)
    if manifest.entry not in manifest.agents:
        known = did_you_mean(manifest.entry, agents)
        yield ("entry",), f"entry names no agent: {manifest.entry!r}; {known}"
    if manifest.oversight is not None and manifest.oversight.agent not in manifest.agents:
        known = did_you_mean(manifest.oversight.agent, agents)
        sentence = f"oversight names no agent: {manifest.oversight.agent!r}; {known}"
        yield ("oversight", "agent"), sentence
    for name, agent in manifest.agents.items():
        at: Location = ("agents", name)
        if agent.model is not None and agent.model not in models:
            known = did_you_mean(agent.model, models)
            yield (
                (*at, "model"),
                f"agents.{name} uses a model {agent.model!r} not in 'models'; {known}",
            )
        for key, others in (("peers", agent.peers), ("depends", agent.depends)):
            for index, other in enumerate(others):
                if other == name:
                    yield (*at, key, index), f"agents.{name} has itself among its {key}"
                elif other not in manifest.agents:
                    known = did_you_mean(other, agents)
                    sentence = f"agents.{name} has {other!r} among its {key}, but no agent has that name; {known}"
                    yield (*at, key, index), sentence
        yield from _unmet_tools(manifest, name)
        for key in ("credentials", "card_keys"):
            if getattr(agent, key) and not agent.is_remote:
                yield (*at, key), f"agents.{name} runs here, so {key!r} are for nobody"
        if agent.is_remote:
            given = agent.model_fields_set - {
                "url",
                "credentials",
                "card_keys",
                "description",
                "skills",
                "patience",
                "concurrency",
            }
            for key in sorted(given):
                yield (
                    (*at, key),
                    f"agents.{name} runs elsewhere ('url'), so {key!r} is not for here",
                )
    for name, model in manifest.models.items():
        inner = getattr(model, "inner", None)
        if inner is not None and inner not in models:
            known = did_you_mean(inner, models)
            yield (
                ("models", name, "inner"),
                f"models.{name} records a model {inner!r} not in 'models'; {known}",
            )
        yield from _unmet_server(manifest, name)
    inners = {name: (getattr(m, "inner", None),) for name, m in manifest.models.items()}
    cycle = _cycle({name: tuple(i for i in inner if i) for name, inner in inners.items()})
    if cycle:
        told = " -> ".join(repr(name) for name in cycle)
        yield ("models", cycle[0], "inner"), f"models record each other in a circle: {told}"


def _unmet_server(manifest: "Manifest", name: str) -> Iterator[tuple[Location, str]]:
    """A model that is an adapter of another one's server."""
    model = manifest.models[name]
    server = getattr(model, "server", None)
    if model.engine != "vllm" or server is None:
        return
    own = {
        other: each
        for other, each in manifest.models.items()
        if each.engine == "vllm" and each.server is None
    }
    at: Location = ("models", name)
    if server not in own:
        known = did_you_mean(server, own)
        sentence = (
            f"models.{name} names a server {server!r} that no model of engine 'vllm' has; {known}"
        )
        yield (*at, "server"), sentence
    elif model.model not in own[server].lora:
        known = did_you_mean(model.model, own[server].lora)
        sentence = (
            f"models.{name} names {model.model!r}, no adapter in models.{server}.lora; {known}"
        )
        yield (*at, "model"), sentence


def _unmet_tools(manifest: "Manifest", name: str) -> Iterator[tuple[Location, str]]:
    for index, tool in enumerate(manifest.agents[name].tools):
        server, _, one = tool.partition(".")
        at: Location = ("agents", name, "tools", index)
        entry = manifest.tools.get(server)
        if entry is None:
            known = did_you_mean(server, manifest.tools)
            yield at, f"agents.{name} uses a tool server {server!r} not in 'tools'; {known}"
        elif one and entry.allow is not None and one not in entry.allow:
            known = did_you_mean(one, entry.allow)
            yield at, f"agents.{name} uses {tool!r}, which tools.{server} does not allow; {known}"


def _cycle(edges: Mapping[str, tuple[str, ...]]) -> list[str]:
    """A circle among `edges`, closed by its first name again; empty when there is none."""
    done: set[str] = set()
    for start in edges:
        path: list[str] = []
        stack: list[Iterator[str]] = [iter((start,))]
        while stack:
            name = next(stack[-1], None)
            if name is None:
                stack.pop()
                if path:
                    done.add(path.pop())
            elif name in path:
                return [*path[path.index(name) :], name]
            elif name not in done and name in edges:
                path.append(name)
                stack.append(iter(edges[name]))
    return []


def _sentence(detail: "ErrorDetails", at: Location, model: type[BaseModel]) -> str:
    kind, given, context = detail["type"], detail["input"], detail.get("ctx", {})
    place = dotted(at)
    if kind == "extra_forbidden":
        around = dotted(at[:-1]) or "the manifest"
        key = str(at[-1])
        return f"{around} has no key {key!r}; {did_you_mean(key, _keys(model, at[:-1], detail['loc']))}"
    if kind in ("missing", "union_tag_not_found"):
        around = dotted(at[:-1]) if kind == "missing" else place
        key = str(at[-1]) if kind == "missing" else context["discriminator"].strip("'")
        return f"{around or 'the manifest'} needs the key {key!r}"
    if kind == "union_tag_invalid":
        allowed = [tag.strip(" '") for tag in context["expected_tags"].split(",")]
        return f"{place} has an unknown engine {context['tag']!r}; {did_you_mean(context['tag'], allowed)}"
    if kind in ("literal_error", "enum"):
        allowed = [word.strip(" '") for word in context["expected"].replace(" or ", ",").split(",")]
        near = did_you_mean(str(given), allowed)
        hint = f"; {near}" if near.startswith("did") else ""
        return f"{place} cannot be {given!r}; it is one of {listed(allowed)}{hint}"
    if kind == "value_error":
        colon = ":" if isinstance(context["error"], PolicyError) else ""
        return f"{place or 'the manifest'}{colon} {context['error']}"
    if kind in _EXPECTED:
        return f"{place} is {_shown(given)}; expected {_EXPECTED[kind]}"
    if kind == "string_pattern_mismatch":
        return f"{place} cannot be {_shown(given)}; {_pattern_words(context['pattern'])}"
    if kind in ("too_short", "too_long"):
        bound = context.get("min_length", context.get("max_length"))
        most = "at least" if kind == "too_short" else "at most"
        count = context["actual_length"] or "no"
        return f"{place} has {count} entries; expected {most} {bound}"
    told = detail["msg"][:1].lower() + detail["msg"][1:]
    return f"{place} is {_shown(given)}; {told}"


def _pattern_words(pattern: str) -> str:
    if pattern.startswith("^https?"):
        return "expected an address that begins with http:// or https://"
    if pattern.startswith("^(worker"):
        return "expected 'worker', 'planner', 'human', or 'module:Class'"
    if pattern.startswith("^[^-"):
        return "expected a folder or a name on the hub, on one line, not beginning with '-'"
    if pattern.startswith("^[A-Za-z_]\\w*$"):
        return "expected the name of a variable: letters, digits and '_'"
    if ":" in pattern:
        return "expected 'module:name'"
    return "expected letters, digits, '-' and '_', beginning with a letter"


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if value is None:
        return "empty"
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _as_written(location: tuple[int | str, ...], data: Any) -> Location:
    """Pydantic's location without the parts that are not in the file (tags and branches)."""
    written: list[str | int] = []
    here = data
    for index, part in enumerate(location):
        last = index == len(location) - 1
        if part == "[key]":
            continue
        child = _child(here, part)
        if child is not _ABSENT:
            here = child
        elif not (last and isinstance(here, dict) and part not in _BRANCHES):
            continue
        written.append(part)
    return tuple(written)


_ABSENT: Final = object()
_BRANCHES: Final = ("embedded", "openai", "vllm", "function", "recorded")


def _child(here: Any, part: int | str) -> Any:
    if isinstance(here, dict):
        return here.get(part, _ABSENT)
    if isinstance(here, list) and isinstance(part, int) and part < len(here):
        return here[part]
    return _ABSENT


def _keys(model: type[BaseModel], at: Location, tags: tuple[int | str, ...]) -> list[str]:
    """The keys that the model knows at `at`."""
    here: Any = model
    for part in at:
        here = _step(here, part, tags)
    return [key for kind in _models(here, tags) for key in kind.model_fields]


def _step(here: Any, part: str | int, tags: tuple[int | str, ...]) -> Any:
    for kind in _models(here, tags):
        if part in kind.model_fields:
            return kind.model_fields[str(part)].annotation
    for candidate in _unwrapped(here):
        arguments = get_args(candidate)
        if get_origin(candidate) is dict:
            return arguments[1]
        if get_origin(candidate) is tuple:
            return arguments[0]
    return Any


def _unwrapped(here: Any) -> Iterator[Any]:
    if get_origin(here) is Annotated:
        yield from _unwrapped(get_args(here)[0])
    elif get_origin(here) in (Union, UnionType):
        for each in get_args(here):
            yield from _unwrapped(each)
    else:
        yield here


def _models(here: Any, tags: tuple[int | str, ...]) -> list[type[BaseModel]]:
    models = [m for m in _unwrapped(here) if isinstance(m, type) and issubclass(m, BaseModel)]
    if len(models) > 1:
        tagged = [m for m in models if set(_engine(m)) & set(tags)]
        return tagged or models
    return models


def _engine(model: type[BaseModel]) -> tuple[Any, ...]:
    field = model.model_fields.get("engine")
    return get_args(field.annotation) if field else ()
