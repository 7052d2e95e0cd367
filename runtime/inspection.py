"""What can be told of a network before anything of it is started.

`check_manifest` imports the user's modules, for a kind that does not import is
a fault of the manifest, but starts no model, no tool server and no store.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator, SchemaError
from pydantic import BaseModel

from repertory.agents import Agent, AgentSpec, OptionsInvalidError, Tier

from .errors import Finding, KindError, ManifestError, did_you_mean
from .inspection_serve import Told, inspect_commands, inspect_serve
from .kinds import load_kind, load_reference
from .manifest import AgentEntry, Manifest, load_manifest
from .manifest_models import OpenAIModel, VllmModel
from .yaml_source import Location


def check_manifest(path: str | Path) -> list[Finding]:
    """Everything wrong, or worth knowing, about the manifest at `path`, in the order of the file."""
    try:
        manifest = load_manifest(path)
    except ManifestError as error:
        return list(error.findings)
    return inspect_manifest(manifest)


def inspect_manifest(manifest: Manifest) -> list[Finding]:
    """What `check_manifest` finds in a manifest whose shape and names are sound."""
    told = [
        *_agents(manifest),
        *_models(manifest),
        *_tools(manifest),
        *_policy(manifest),
        *inspect_commands(manifest),
        *inspect_serve(manifest),
        *_rest(manifest),
    ]
    findings = [manifest.finding(severity, at, sentence) for severity, at, sentence in told]
    return sorted(findings, key=lambda finding: (finding.line, finding.key))


def duty_of(kind: type[Agent], entry: AgentEntry) -> Tier | None:
    """The tier that an agent's work asks of its model; None when it asks none.

    A worker extracts when its answers have a shape and generates when they
    are prose or when it chooses tools; a planner judges. Kinds of the user's own
    say `duty`.
    """
    own = getattr(kind, "duty", None)
    if entry.kind == "worker":
        extracts = entry.output is not None and not entry.tools
        return Tier.EXTRACT if extracts else Tier.GENERATE
    if entry.kind == "planner":
        return Tier.JUDGE
    return own if isinstance(own, Tier) else None


def _agents(manifest: Manifest) -> Iterator[Told]:
    for name, entry in manifest.agents.items():
        if entry.is_remote:
            continue
        at: Location = ("agents", name)
        try:
            kind = load_kind(manifest, name)
        except KindError as error:
            yield "error", (*at, "kind"), f"agents.{name}: {error.sentence}"
        else:
            yield from _tier(manifest, name, kind)
            yield from _options(manifest, name, kind)
        yield from _output(manifest, name)
        if entry.kind == "planner" and not entry.peers:
            yield "error", at, f"agents.{name} plans, but has no 'peers' to give work to"


def _tier(manifest: Manifest, name: str, kind: type[Agent]) -> Iterator[Told]:
    entry = manifest.agents[name]
    duty, model = duty_of(kind, entry), manifest.model_of(name)
    tiers = manifest.tiers_of(model)
    if duty is None or duty in tiers:
        return
    has = ", ".join(tier.value for tier in sorted(tiers)) or "none"
    does = {
        Tier.SCORE: "scores",
        Tier.EXTRACT: "extracts data",
        Tier.GENERATE: "chooses tools" if entry.tools else "writes prose",
        Tier.JUDGE: "judges and plans",
    }[duty]
    prose = entry.kind == "worker" and not entry.tools
    advice = "give it an 'output' schema, or " if prose else ""
    at: Location = ("agents", name, "model" if entry.model else "kind")
    sentence = (
        f"agents.{name} {does}, which asks for tier '{duty.value}', but models.{model} has {has}; "
        f"{advice}use a model of that tier"
    )
    yield "error", at, sentence


def _options(manifest: Manifest, name: str, kind: type[Agent]) -> Iterator[Told]:
    """Stock kinds know their options; making one of the user's own could do anything."""
    entry = manifest.agents[name]
    if entry.is_stock:
        try:
            kind(AgentSpec(name=name, options=entry.options))
        except OptionsInvalidError as error:
            yield "error", ("agents", name, "options"), error.sentence


def _output(manifest: Manifest, name: str) -> Iterator[Told]:
    output = manifest.agents[name].output
    at: Location = ("agents", name, "output")
    if isinstance(output, dict):
        try:
            Draft202012Validator.check_schema(output)
        except SchemaError as error:
            yield "error", at, f"agents.{name}.output is no JSON Schema: {error.message}"
    elif output is not None:
        try:
            found = load_reference(manifest, output)
        except KindError as error:
            yield "error", at, f"agents.{name}: {error.sentence}"
            return
        if not (isinstance(found, type) and issubclass(found, BaseModel)):
            yield "error", at, f"agents.{name}.output: {output!r} is not a pydantic model"


def _models(manifest: Manifest) -> Iterator[Told]:
    used = {
        manifest.model_of(name) for name, agent in manifest.agents.items() if not agent.is_remote
    }
    used |= {
        model.server
        for model in manifest.models.values()
        if isinstance(model, VllmModel) and model.server
    }
    used |= {
        inner for model in manifest.models.values() if (inner := getattr(model, "inner", None))
    }
    for name, model in manifest.models.items():
        at: Location = ("models", name)
        if name not in used:
            yield "warning", at, f"models.{name} is used by no agent"
        if isinstance(model, OpenAIModel):
            variable = model.api_key_env
            if variable and variable not in os.environ:
                sentence = f"models.{name} takes its key from {variable}, which is not set here"
                yield "warning", (*at, "api_key_env"), sentence
        if isinstance(model, VllmModel) and model.server is None:
            program = model.argv[0]
            path = str(manifest.folder / program)
            if shutil.which(program) is None and shutil.which(path) is None:
                advice = (
                    "install it on a machine with a GPU: pip install 'repertory[vllm]'"
                    if model.command == ("vllm",)
                    else "install it or give its path"
                )
                sentence = f"models.{name}: there is no program {program!r}; {advice}"
                yield "error", (*at, "command"), sentence
            yield from _places(manifest, name, model)
        if model.engine == "function":
            yield from _callable(manifest, (*at, "function"), model.function)


def _places(manifest: Manifest, name: str, model: VllmModel) -> Iterator[Told]:
    """Folders that are not there; what cannot be one is a name on the hub."""
    named = [(("model",), model.model), *((("lora", each), at) for each, at in model.lora.items())]
    for key, place in named:
        folder = manifest.resolve(place)
        is_path = place[0] in "./~" or place.count("/") != 1 or folder.parent.is_dir()
        if "/" in place and is_path and not folder.is_dir():
            key_name = ".".join(("models", name, *key))
            sentence = (
                f"{key_name} names {place!r}, and there is no folder {folder}; correct the path, or"
                " name a model of the hub as 'owner/name'"
            )
            yield "error", ("models", name, *key), sentence


def _tools(manifest: Manifest) -> Iterator[Told]:
    used = {server for name in manifest.agents for server in manifest.tools_of(name)}
    for name, entry in manifest.tools.items():
        at: Location = ("tools", name)
        if name not in used:
            yield "warning", at, f"tools.{name} is used by no agent"
        for index, variable in enumerate(entry.env):
            if variable not in os.environ:
                sentence = f"tools.{name} is handed {variable}, which is not set here"
                yield "warning", (*at, "env", index), sentence
        if not entry.command:
            continue
        program, path = entry.argv[0], str(manifest.folder / entry.argv[0])
        if shutil.which(program) is None and shutil.which(path) is None:
            sentence = f"tools.{name}: there is no program {program!r}; install it or give its path"
            yield "error", (*at, "command"), sentence
        script = next((word for word in entry.command[1:] if word.endswith(".py")), None)
        if script and not manifest.resolve(script).exists():
            sentence = f"tools.{name}: there is no file {script!r} in {manifest.folder}"
            yield "error", (*at, "command"), sentence


def _policy(manifest: Manifest) -> Iterator[Told]:
    for index, rule in enumerate(manifest.policy.rules):
        at: Location = ("policy", "rules", index)
        server = rule.tool.partition(".")[0] if rule.tool else None
        for key, value, known in (
            ("agent", rule.agent, manifest.agents),
            ("peer", rule.peer, manifest.agents),
            ("tool", server, manifest.tools),
        ):
            if value is None or value in known or any(sign in value for sign in "*?["):
                continue
            sentence = f"rule {rule.name!r} meets nothing: no {key} {value!r}; {did_you_mean(value, known)}"
            yield "error", (*at, key), sentence
    for index, reference in enumerate(manifest.policy.validators):
        yield from _callable(manifest, ("policy", "validators", index), reference)


def _rest(manifest: Manifest) -> Iterator[Told]:
    if manifest.report:
        yield from _callable(manifest, ("report",), manifest.report)


def _callable(manifest: Manifest, at: Location, reference: str) -> Iterator[Told]:
    try:
        found: Any = load_reference(manifest, reference)
    except KindError as error:
        yield "error", at, error.sentence
        return
    if not callable(found):
        yield "error", at, f"{reference!r} cannot be called"
