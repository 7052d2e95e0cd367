"""The identity by which an agent calls on: its own, never that of whoever called it.

A `TokenSource` gives the access token for one peer: a fixed one, one by client
credentials (RFC 6749, 4.4), or one by token exchange (RFC 8693), in which a
workload's own token, kept fresh in a file by its platform, is exchanged for one
that the peer believes. Tokens are asked for with the peer as their `resource`
(RFC 8707), so none of them is good anywhere else.
"""

from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final, Protocol
from urllib.parse import quote_plus

import aiohttp
import anyio
import orjson

from .errors import LinkError, UnauthenticatedError

_EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
_ACCESS_TOKEN: Final = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - a type's name
_JWT: Final = "urn:ietf:params:oauth:token-type:jwt"
# Fetched anew before it ends, so that it does not end on its way.
_EARLY_SECONDS: Final = 30.0
_SHORTEST_SECONDS: Final = 5.0
_UNTOLD_SECONDS: Final = 300.0
_LARGEST: Final = 64 * 1024
_TOTAL_SECONDS: Final = 20.0


class TokenSource(Protocol):
    """Gives the access token for one peer."""

    async def token(self) -> str:
        """A token that is good now.

        Raises:
            UnauthenticatedError: The authorization server gives none.
            LinkError: It cannot be reached.
        """
        ...

    def refused(self, token: str) -> bool:
        """Hear that the peer did not believe `token`; whether another one may be had."""
        ...


@dataclass(frozen=True, slots=True)
class FixedToken:
    """A token or API key that somebody made for this caller; `repr` does not show it."""

    text: str = field(repr=False)

    async def token(self) -> str:
        return self.text

    def refused(self, token: str) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class Grant:
    """How tokens are asked for. resource: the peer's URL. subject: reads the workload's own token.

    secret: "" for a public client. With `subject` its token is exchanged, else
    these are client credentials.
    """

    token_url: str
    client_id: str
    resource: str
    secret: str = field(default="", repr=False)
    scopes: tuple[str, ...] = ()
    subject: Callable[[], str] | None = None

    def form(self) -> dict[str, str]:
        """The fields of the token request, the client's secret aside."""
        asked = {"resource": self.resource, "client_id": self.client_id}
        if self.scopes:
            asked["scope"] = " ".join(self.scopes)
        if self.subject is None:
            return {"grant_type": "client_credentials", **asked}
        return {
            "grant_type": _EXCHANGE,
            "subject_token": self.subject(),
            "subject_token_type": _JWT,
            "requested_token_type": _ACCESS_TOKEN,
            **asked,
        }


class GrantedToken:
    """Tokens from an authorization server, kept while they are good; one request for all who wait."""

    def __init__(self, grant: Grant, *, clock: Callable[[], float] = monotonic) -> None:
        self._grant = grant
        self._clock = clock
        self._token = ""
        self._until = 0.0
        self._asking = anyio.Lock()

    async def token(self) -> str:
        if not self._good():
            async with self._asking:
                if not self._good():
                    await self._ask()
        return self._token

    def refused(self, token: str) -> bool:
        if token == self._token:
            self._token = ""
        return True

    def _good(self) -> bool:
        return bool(self._token) and self._clock() < self._until

    async def _ask(self) -> None:
        grant = self._grant
        form = await anyio.to_thread.run_sync(grant.form)
        headers = {"accept": "application/json"}
        if grant.secret:
            # RFC 6749, 2.3.1: both are form-encoded before they are joined.
            pair = f"{quote_plus(grant.client_id)}:{quote_plus(grant.secret)}"
            headers["authorization"] = f"Basic {b64encode(pair.encode()).decode()}"
        patient = aiohttp.ClientTimeout(total=_TOTAL_SECONDS)
        asked_at = self._clock()
        try:
            async with (
                aiohttp.ClientSession(timeout=patient) as session,
                session.post(
                    grant.token_url,
                    data=form,
                    headers=headers,
                    allow_redirects=False,
                ) as answer,
            ):
                status, body = answer.status, await answer.content.read(_LARGEST)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise LinkError(
                f"{grant.token_url} cannot be reached for a token ({type(error).__name__})",
                url=grant.token_url,
            ) from None
        said = _object(body)
        token, kind = said.get("access_token"), said.get("token_type", "Bearer")
        if status != 200 or not isinstance(token, str) or str(kind).lower() != "bearer":
            why = said.get("error")
            raise UnauthenticatedError(
                f"{grant.token_url} gives {grant.client_id!r} no token for {grant.resource}:"
                f" {why if isinstance(why, str) else f'HTTP status {status}'}"
            )
        lasts = said.get("expires_in")
        seconds = float(lasts) if isinstance(lasts, int | float) else _UNTOLD_SECONDS
        self._token = token
        self._until = asked_at + max(_SHORTEST_SECONDS, seconds - _EARLY_SECONDS)


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return said if isinstance(said, dict) else {}
