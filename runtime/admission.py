"""Whom a network lets in: the manifest's `serve.auth`, made into what the guard asks."""

import os
from types import MappingProxyType

from repertory.protocol import (
    EVERYTHING,
    Authentication,
    CardSigner,
    Identity,
    KeySet,
    OutgoingRules,
    RepertoryError,
    TokenRules,
    TokenVerifier,
    card_signer,
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
    """What proves who calls; None where the manifest asks nobody."""
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


def signer_of(manifest: Manifest) -> CardSigner | None:
    """What signs the agents' cards; None where the manifest names no key.

    Raises:
        InputError: The variable is not set, or holds no key.
    """
    signing = manifest.serve.signing
    if signing is None:
        return None
    pem = os.environ.get(signing.key_env, "")
    if not pem:
        raise InputError(
            f"serve.signing.key_env: the environment variable {signing.key_env} is not set"
        )
    try:
        return card_signer(pem, signing.kid)
    except RepertoryError as error:
        raise InputError(f"serve.signing.key_env: {signing.key_env}: {error}") from None


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
    return TokenVerifier(rules, KeySet(oauth.issuer, file=manifest.resolve(oauth.jwks)))
