"""Whom a network lets in: the manifest's `serve.auth`, made into what the guard asks."""

from types import MappingProxyType
from typing import Any

import orjson

from repertory.protocol import (
    EVERYTHING,
    Authentication,
    Identity,
    KeySet,
    OutgoingRules,
    RepertoryError,
    TokenRules,
    TokenVerifier,
)
from repertory.xp_store import Database

from .errors import InputError, UnguardedError
from .keyring import Keyring
from .manifest import Manifest
from .manifest_serve import LOOPBACK, OAuth


def require_guarded(manifest: Manifest, host: str) -> None:
    """Return when `host` is loopback, or whoever calls is asked who he is.

    Raises:
        UnguardedError: Neither.
    """
    if host not in LOOPBACK and not manifest.serve.auth.asks:
        raise UnguardedError(
            f"{host} is reachable by others, and nobody would be asked who he is: add"
            " 'serve: {auth: {keys: true}}' to the manifest and make a key with 'repertory keys"
            " add NAME', or name an OAuth issuer or client certificates there",
            host=host,
        )


def authentication_of(
    manifest: Manifest, database: Database, base_url: str, outgoing: OutgoingRules
) -> Authentication | None:
    """What proves who calls; None where the manifest asks nobody.

    Raises:
        InputError: The file of an issuer's keys cannot be read.
    """
    auth = manifest.serve.auth
    if not auth.asks:
        return None
    certificates = {
        subject: Identity(
            f"certificate:{client.name}",
            client.tenant,
            EVERYTHING.narrowed(client.capabilities),
        )
        for subject, client in auth.certificates.items()
    }
    return Authentication(
        keys=Keyring(database) if auth.keys else None,
        tokens=_tokens(manifest, auth.oauth, outgoing) if auth.oauth else None,
        certificates=MappingProxyType(certificates),
        base_url=base_url,
    )


def _tokens(manifest: Manifest, oauth: OAuth, outgoing: OutgoingRules) -> TokenVerifier:
    rules = TokenRules(
        issuer=oauth.issuer,
        audiences=oauth.audience,
        algorithms=oauth.algorithms,
        required=oauth.required,
        scopes=oauth.scopes,
        tenant_claim=oauth.tenant_claim,
    )
    if not oauth.jwks or oauth.jwks.startswith(("http://", "https://")):
        return TokenVerifier(rules, KeySet(oauth.issuer, url=oauth.jwks, outgoing=outgoing))
    return TokenVerifier(rules, KeySet(oauth.issuer, given=_key_file(manifest, oauth.jwks)))


def _key_file(manifest: Manifest, name: str) -> Any:
    path = manifest.resolve(name)
    try:
        document = orjson.loads(path.read_bytes())
        KeySet("", given=document)
    except (OSError, ValueError, AttributeError, RepertoryError) as error:
        raise InputError(f"serve.auth.oauth.jwks: {path} is no key set ({error})") from error
    return document
