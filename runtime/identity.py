"""By what this network is known elsewhere: the manifest's `credentials`, with their secrets read."""

import os
import ssl
from pathlib import Path
from typing import NamedTuple

from repertory.protocol import FixedToken, Grant, GrantedToken, TokenSource

from .errors import InputError
from .manifest_credentials import Credentials


class OwnIdentity(NamedTuple):
    """What proves this network to one peer, each None where the manifest gives none."""

    tokens: TokenSource | None = None
    tls: ssl.SSLContext | None = None


def own_identity(
    credentials: Credentials | None, resource: str, *, place: str, folder: Path
) -> OwnIdentity:
    """The identity for the peer at `resource`.

    place: the key of the manifest, for sentences. folder: of the manifest.

    Raises:
        InputError: A variable is not set, or a file cannot be used.
    """
    if credentials is None:
        return OwnIdentity()
    return OwnIdentity(
        _tokens(credentials, resource, place, folder), _tls(credentials, place, folder)
    )


def _tokens(
    credentials: Credentials, resource: str, place: str, folder: Path
) -> TokenSource | None:
    if credentials.token_env:
        return FixedToken(_secret(credentials.token_env, f"{place}.token_env"))
    if not credentials.token_url:
        return None
    secret = ""
    if credentials.secret_env:
        secret = _secret(credentials.secret_env, f"{place}.secret_env")
    subject_file = folder / credentials.subject_file

    def subject() -> str:
        try:
            return subject_file.read_text().strip()
        except OSError as error:
            raise InputError(
                f"{place}.subject_file: {subject_file} cannot be read ({error.strerror})"
            ) from None

    return GrantedToken(
        Grant(
            token_url=credentials.token_url,
            client_id=credentials.client_id,
            resource=resource,
            secret=secret,
            scopes=credentials.scopes,
            subject=subject if credentials.subject_file else None,
        )
    )


def _tls(credentials: Credentials, place: str, folder: Path) -> ssl.SSLContext | None:
    if not (credentials.ca or credentials.certificate):
        return None
    try:
        context = ssl.create_default_context(
            cafile=str(folder / credentials.ca) if credentials.ca else None
        )
        if credentials.certificate:
            context.load_cert_chain(folder / credentials.certificate, folder / credentials.key)
    except (OSError, ssl.SSLError) as error:
        raise InputError(f"{place}: its certificates cannot be used ({error})") from None
    return context


def _secret(variable: str, place: str) -> str:
    secret = os.environ.get(variable, "")
    if not secret:
        raise InputError(f"{place}: the environment variable {variable} is not set")
    return secret
