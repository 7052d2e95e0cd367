"""What `repertory doctor` says of callers, keys, signatures and tools that wait for approval."""

from collections.abc import Iterator
from time import time
from typing import Literal

from repertory.protocol import RepertoryError

from .admission import signer_of
from .doctor_store import rows_of
from .manifest import Manifest

Told = tuple[str, Literal["ok", "warning", "error"], str, str]


def examine_guards(manifest: Manifest, store: str) -> Iterator[Told]:
    """Subject, state, finding and advice; `store` is its URL."""
    yield _callers(manifest, store)
    if manifest.serve.signing is not None:
        try:
            signer = signer_of(manifest)
            assert signer is not None, "the manifest names a key"
            yield "card signature", "ok", f"{signer.algorithm}, thumbprint {signer.thumbprint}", ""
        except RepertoryError as error:
            yield "card signature", "error", error.sentence, "needed only by 'repertory serve'"
    waiting = rows_of(store, "SELECT server || '.' || tool FROM tool_pin WHERE pending_digest<>''")
    if waiting:
        names = ", ".join(sorted(str(row[0]) for row in waiting))
        advice = "repertory tools list, then repertory tools approve NAME"
        yield "tools", "warning", f"changed since they were approved: {names}", advice


def _callers(manifest: Manifest, store: str) -> Told:
    serve = manifest.serve
    ways: list[str] = []
    state: Literal["ok", "warning", "error"] = "ok"
    advice = ""
    if serve.auth.keys:
        in_use = "revoked_at IS NULL AND (expires_at IS NULL OR expires_at>?)"
        count = len(rows_of(store, f"SELECT 1 FROM api_key WHERE {in_use}", time()))
        ways.append(f"{count} API {'key' if count == 1 else 'keys'}")
        if not count:
            state, advice = "warning", "nobody has a key yet: repertory keys add NAME"
    if serve.auth.oauth is not None:
        ways.append(f"access tokens of {serve.auth.oauth.issuer}")
    if serve.auth.certificates:
        ways.append(f"{len(serve.auth.certificates)} client certificates")
    if ways:
        return "callers", state, ", ".join(ways), advice
    if serve.loopback:
        return "callers", "ok", "nobody is asked; served on loopback only", ""
    advice = "add 'auth' to 'serve', as 'auth: {keys: true}'"
    return "callers", "error", f"nobody is asked, and {serve.host} is reachable by others", advice
