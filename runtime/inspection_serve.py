"""What can be told of a manifest's `serve` and capabilities before anything listens."""

import os
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import PurePath
from typing import Literal
from urllib.parse import urlsplit

import orjson

from repertory.protocol import OutgoingRules, RepertoryError

from .errors import did_you_mean
from .manifest import Manifest
from .manifest_models import VllmModel
from .yaml_source import Location, dotted

Told = tuple[Literal["error", "warning"], Location, str]

SHELLS = frozenset({"sh", "bash", "zsh", "dash", "ksh", "fish", "cmd", "powershell", "pwsh"})
# Variables that decide which code a program runs.
STEERING = frozenset(
    {
        "LD_PRELOAD",
        "LD_LIBRARY_PATH",
        "LD_AUDIT",
        "DYLD_INSERT_LIBRARIES",
        "DYLD_LIBRARY_PATH",
        "PYTHONPATH",
        "PYTHONHOME",
        "PYTHONSTARTUP",
        "NODE_OPTIONS",
        "BASH_ENV",
        "ENV",
        "IFS",
        "PERL5OPT",
        "RUBYOPT",
    }
)


def inspect_serve(manifest: Manifest) -> Iterator[Told]:
    """What is wrong with where a network listens and whom it lets in."""
    serve = manifest.serve
    if not serve.loopback:
        if not serve.auth.asks:
            yield (
                "error",
                ("serve", "host"),
                f"serve.host {serve.host!r} lets others reach the network, and nobody is asked who"
                " he is; add 'auth', as 'auth: {keys: true}'",
            )
        elif serve.tls is None and not serve.url.startswith("https://"):
            yield (
                "warning",
                ("serve",),
                "serve lets others in without TLS, so their credentials travel in the clear; give"
                " 'tls', or the https 'url' of the proxy before it",
            )
        if serve.host in ("0.0.0.0", "::") and not (serve.url or serve.hosts):  # noqa: S104 - a name to compare with
            yield (
                "warning",
                ("serve", "host"),
                f"serve.host {serve.host!r} answers only to loopback's names; give the 'url' or the"
                " 'hosts' by which others call it",
            )
    if serve.auth.oauth is not None and not serve.url:
        yield (
            "warning",
            ("serve", "auth", "oauth"),
            "serve.auth.oauth has tokens made for this network's URL; give 'serve.url', or it is"
            " the address listened on",
        )
    jwks = serve.auth.oauth.jwks if serve.auth.oauth is not None else ""
    if jwks and not jwks.startswith(("http://", "https://")):
        from repertory.protocol import KeySet  # cryptography loads where there are keys to read

        try:
            KeySet("", given=orjson.loads(manifest.resolve(jwks).read_bytes()))
        except (OSError, ValueError, AttributeError, RepertoryError) as error:
            sentence = f"serve.auth.oauth.jwks: {jwks!r} is no file with a key set ({error})"
            yield "error", ("serve", "auth", "oauth", "jwks"), sentence
    yield from _certificates(manifest)
    yield from _signing(manifest)
    try:
        OutgoingRules(allow=serve.outgoing)
    except RepertoryError as error:
        yield "error", ("serve", "outgoing"), f"serve.outgoing: {error.sentence}"
    yield from _capabilities(manifest)


def inspect_commands(manifest: Manifest) -> Iterator[Told]:
    """Commands of tool servers and model servers that could run what the manifest does not say."""
    for name, model in manifest.models.items():
        if isinstance(model, VllmModel):
            yield from _command(("models", name), model.command, model.env)
    for name, entry in manifest.tools.items():
        at: Location = ("tools", name)
        yield from _command(at, entry.command, entry.env)
        url = urlsplit(entry.url or "")
        if url.username or url.password:
            sentence = f"tools.{name}.url holds a password; name a variable in 'token_env'"
            yield "error", (*at, "url"), sentence


def _command(at: Location, command: Sequence[str], variables: Sequence[str]) -> Iterator[Told]:
    place = dotted(at)
    program = PurePath(command[0]).name if command else ""
    if program.removesuffix(".exe") in SHELLS:
        sentence = f"{place} runs a shell ({program}); name the program and its arguments"
        yield "error", (*at, "command"), sentence
    for word in command:
        if "\x00" in word or "\n" in word:
            sentence = f"{place} has a line break or a NUL in an argument"
            yield "error", (*at, "command"), sentence
    for index, variable in enumerate(variables):
        if variable.upper() in STEERING:
            sentence = (
                f"{place} is handed {variable}, which decides what code a program runs;"
                " take it away"
            )
            yield "error", (*at, "env", index), sentence


def _certificates(manifest: Manifest) -> Iterator[Told]:
    serve = manifest.serve
    if serve.auth.certificates and not (serve.tls and serve.tls.client_ca):
        sentence = "serve.auth.certificates needs 'serve.tls.client_ca', which says who signs them"
        yield "error", ("serve", "auth", "certificates"), sentence
    if serve.tls is None:
        return
    for key in ("certificate", "key", "client_ca"):
        path = getattr(serve.tls, key)
        if path and not manifest.resolve(path).exists():
            sentence = f"serve.tls.{key}: there is no file {path!r} in {manifest.folder}"
            yield "error", ("serve", "tls", key), sentence


def _signing(manifest: Manifest) -> Iterator[Told]:
    signing = manifest.serve.signing
    if signing is not None and signing.key_env not in os.environ:
        sentence = f"serve.signing takes its key from {signing.key_env}, which is not set here"
        yield "warning", ("serve", "signing", "key_env"), sentence


def _capabilities(manifest: Manifest) -> Iterator[Told]:
    """Names that meet no agent and no tool server of the manifest."""
    lists: list[tuple[Location, Iterable[str]]] = [
        (("agents", name, "capabilities"), entry.capabilities)
        for name, entry in manifest.agents.items()
        if entry.capabilities is not None
    ]
    auth = manifest.serve.auth
    if auth.oauth is not None and auth.oauth.scopes:
        lists += [
            (("serve", "auth", "oauth", "scopes", scope), names)
            for scope, names in auth.oauth.scopes.items()
        ]
    lists += [
        (("serve", "auth", "certificates", subject, "capabilities"), client.capabilities)
        for subject, client in auth.certificates.items()
        if client.capabilities is not None
    ]
    known = [*manifest.agents, *manifest.tools]
    for at, names in lists:
        for index, name in enumerate(names):
            first = name.partition("/")[0] if "/" in name else name.partition(".")[0]
            if not any(fnmatchcase(each, first) for each in known):
                sentence = (
                    f"{name!r} names no agent and no tool server; {did_you_mean(first, known)}"
                )
                yield "error", (*at, index), sentence
