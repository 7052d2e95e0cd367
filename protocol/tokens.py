"""Access tokens of an OAuth 2.1 authorization server: JWTs checked against its keys.

A resource server only (MCP authorization, RFC 9068, RFC 8725): the issuer, the
audience, the expiry, the algorithm, the key's own type and the scopes are
checked, and nothing that the token says of itself chooses how it is checked.
Tokens are read here and never handed on.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from time import monotonic, time
from typing import Any, Final

import anyio
import anyio.to_thread
import jwt
import orjson

from .addresses import OutgoingRules
from .errors import (
    InvalidAgentResponseError,
    InvalidParamsError,
    LinkError,
    PermissionDeniedError,
    RepertoryError,
    UnauthenticatedError,
)
from .identity import CAPABILITY, DEFAULT_TENANT, EVERYTHING, Identity

_log = logging.getLogger(__name__)

_KINDS: Final = {
    "RS256": ("RSA", ""),
    "RS384": ("RSA", ""),
    "RS512": ("RSA", ""),
    "PS256": ("RSA", ""),
    "PS384": ("RSA", ""),
    "PS512": ("RSA", ""),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "EdDSA": ("OKP", "Ed25519"),
}
ALGORITHMS: Final = tuple(_KINDS)
_TYPES: Final = frozenset({"at+jwt", "application/at+jwt", "jwt"})
_LONGEST: Final = 16 * 1024
_KEPT_SECONDS: Final = 600.0
_AGAIN_SECONDS: Final = 30.0
_BELIEVED_SECONDS: Final = 60.0
_MOST_BELIEVED: Final = 4096
_MOST_SCOPES: Final = 256


@dataclass(frozen=True, slots=True)
class TokenRules:
    """Which tokens are believed.

    issuer: compared to the letter. audiences: any of which a token may be for,
    beside the resource that was asked. algorithms: out of `ALGORITHMS`.
    required: scopes that every token needs. scopes: what each scope lets its
    holder ask and use; without it a scope is itself the name of a capability.
    tenant_claim: the claim that names the tenant, "" for one tenant. leeway:
    seconds by which clocks may differ.

    Raises:
        InvalidParamsError: The issuer or an algorithm is none.
    """

    issuer: str
    audiences: tuple[str, ...] = ()
    algorithms: tuple[str, ...] = ("RS256", "PS256", "ES256", "EdDSA")
    required: tuple[str, ...] = ()
    scopes: Mapping[str, tuple[str, ...]] | None = None
    tenant_claim: str = ""
    leeway: float = 30.0

    def __post_init__(self) -> None:
        if not self.issuer.startswith(("https://", "http://")):
            raise InvalidParamsError(f"the issuer {self.issuer!r} is no URL", path="issuer")
        for name in self.algorithms:
            if name not in ALGORITHMS:
                raise InvalidParamsError(
                    f"the algorithm {name!r} is not for tokens of others; there are"
                    f" {', '.join(ALGORITHMS)}",
                    path="algorithms",
                )


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A public key of an issuer: its id, what it is, and for which algorithm, "" for any that fits."""

    id: str | None
    kind: str
    curve: str
    algorithm: str
    jwk: Mapping[str, Any]

    def fits(self, algorithm: str) -> bool:
        """Whether `algorithm` signs with keys of this kind, and this key is not kept for another."""
        kind, curve = _KINDS[algorithm]
        return self.kind == kind and curve in ("", self.curve) and self.algorithm in ("", algorithm)


class KeySet:
    """The keys of one issuer (RFC 7517): given, in a file, at a URL, or found by discovery.

    given: the document itself. file: read anew from time to time, as a URL is. outgoing: where a document may be. url: where it is; "" asks the issuer's metadata
    (RFC 8414, OpenID Connect Discovery), which must name the issuer to the letter.
    """

    def __init__(
        self,
        issuer: str,
        *,
        given: Mapping[str, Any] | None = None,
        url: str = "",
        file: Path | None = None,
        outgoing: OutgoingRules = OutgoingRules(),
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._issuer = issuer
        self._url = url
        self._file = file
        self._outgoing = outgoing
        self._clock = clock
        self._keys = _keys_in(given) if given is not None else ()
        self._given = given is not None
        self._fetched_at: float | None = None
        self._failure = ""
        self._fetching = anyio.Lock()

    async def find(self, key_id: str | None, algorithm: str) -> SigningKey:
        """The key of that id that is made for `algorithm`.

        Raises:
            UnauthenticatedError: The issuer has none.
            LinkError: The issuer cannot be asked for its keys now.
        """
        kept = _KEPT_SECONDS if self._keys else _AGAIN_SECONDS
        if not self._given and self._older_than(kept):
            await self._fetch(kept)
        if self._failure and not self._keys:
            raise LinkError(self._failure)
        found = self._find(key_id, algorithm)
        if found is None and not self._given and self._older_than(_AGAIN_SECONDS):
            # A key that came since; asked for at most once in a while, whoever sends what.
            await self._fetch(_AGAIN_SECONDS)
            found = self._find(key_id, algorithm)
        if found is None:
            raise UnauthenticatedError("the token is signed by no key of its issuer")
        return found

    def _find(self, key_id: str | None, algorithm: str) -> SigningKey | None:
        fitting = [key for key in self._keys if key_id in (None, key.id) and key.fits(algorithm)]
        # Without an id there must be nothing to choose.
        return fitting[0] if len(fitting) == 1 or (fitting and key_id is not None) else None

    def _older_than(self, seconds: float) -> bool:
        return self._fetched_at is None or self._clock() - self._fetched_at >= seconds

    async def _fetch(self, seconds: float) -> None:
        async with self._fetching:
            if not self._older_than(seconds):
                return
            try:
                self._keys = _keys_in(await self._current())
            except RepertoryError as error:
                # What is known stays good; a new key waits for its issuer.
                self._failure = f"the keys of {self._issuer} cannot be read: {error}"
                _log.warning("%s", self._failure)
            else:
                self._failure = ""
            self._fetched_at = self._clock()

    async def _current(self) -> Mapping[str, Any]:
        if self._file is None:
            return await self._document(self._url or await self._discover())
        try:
            body = await anyio.to_thread.run_sync(self._file.read_bytes)
        except OSError as error:
            raise LinkError(f"{self._file} cannot be read ({error.strerror})") from None
        return _object(body, str(self._file))

    async def _discover(self) -> str:
        for url in metadata_urls(self._issuer):
            try:
                document = await self._document(url)
            except (LinkError, InvalidAgentResponseError):
                continue
            if document.get("issuer") != self._issuer:
                raise InvalidAgentResponseError(
                    f"{url} speaks for {str(document.get('issuer'))[:200]!r}, not {self._issuer!r}"
                )
            jwks = document.get("jwks_uri")
            if isinstance(jwks, str):
                return jwks
        raise LinkError(f"{self._issuer} publishes no metadata with a 'jwks_uri'")

    async def _document(self, url: str) -> dict[str, Any]:
        from .outgoing import open_outgoing  # aiohttp takes a while to load

        async with open_outgoing(self._outgoing) as outgoing:
            answer = await outgoing.request("GET", url, headers={"accept": "application/json"})
        if answer.status != 200:
            raise LinkError(f"{url} answered with HTTP status {answer.status}")
        return _object(answer.body, url)


def metadata_urls(issuer: str) -> tuple[str, ...]:
    """Where an issuer's metadata may be, in the order in which MCP asks."""
    scheme, _, rest = issuer.partition("://")
    host, slash, path = rest.partition("/")
    path = f"{slash}{path}".rstrip("/")
    origin = f"{scheme}://{host}"
    return tuple(
        dict.fromkeys(
            (
                f"{origin}/.well-known/oauth-authorization-server{path}",
                f"{origin}/.well-known/openid-configuration{path}",
                f"{origin}{path}/.well-known/openid-configuration",
            )
        )
    )


class TokenVerifier:
    """Believes the tokens of one issuer, and those it has seen for a short while."""

    def __init__(
        self, rules: TokenRules, keys: KeySet, *, clock: Callable[[], float] = time
    ) -> None:
        self.rules = rules
        self._keys = keys
        self._clock = clock
        self._audiences = frozenset(rules.audiences)
        self._believed: dict[bytes, tuple[float, frozenset[str], Identity]] = {}

    async def verify(self, token: str, resources: Sequence[str] = ()) -> Identity:
        """Who holds `token`, when it was made for one of `resources` or of the rules' audiences.

        Raises:
            UnauthenticatedError: It is not believed.
            PermissionDeniedError: It lacks a scope that every token needs.
            LinkError: The issuer cannot be asked for its keys now.
        """
        meant, identity = await self._proven(token)
        if meant.isdisjoint(self._audiences) and meant.isdisjoint(resources):
            raise UnauthenticatedError("the token is for another resource")
        return identity

    def scopes_for(self, agent: str) -> tuple[str, ...]:
        """The scopes that let their holder ask `agent`, for a challenge."""
        if self.rules.scopes is None:
            return (agent,)
        return tuple(
            scope
            for scope, names in self.rules.scopes.items()
            if EVERYTHING.narrowed(names).reaches(agent)
        )

    async def _proven(self, token: str) -> tuple[frozenset[str], Identity]:
        """Whom the token is for, and who holds it."""
        if len(token) > _LONGEST:
            raise UnauthenticatedError("the token is too long to be one")
        digest = sha256(token.encode()).digest()
        known = self._believed.get(digest)
        if known is not None and known[0] > self._clock():
            return known[1], known[2]
        claims = await self._decoded(token)
        identity = self._identity(claims)
        audience = claims["aud"]
        meant = frozenset((audience,) if isinstance(audience, str) else audience)
        if len(self._believed) >= _MOST_BELIEVED:
            self._believed.clear()
        # So that a key that its issuer took back is not believed for long.
        until = min(float(claims["exp"]), self._clock() + _BELIEVED_SECONDS)
        self._believed[digest] = (until, meant, identity)
        return meant, identity

    def _identity(self, claims: Mapping[str, Any]) -> Identity:
        granted = _scopes(claims)
        missing = [scope for scope in self.rules.required if scope not in granted]
        if missing:
            raise PermissionDeniedError(
                f"the token lacks the scope {' '.join(missing)}", scope=" ".join(missing)
            )
        tenant = DEFAULT_TENANT
        if self.rules.tenant_claim:
            told = claims.get(self.rules.tenant_claim)
            if not isinstance(told, str) or not told:
                raise UnauthenticatedError(
                    f"the token has no claim {self.rules.tenant_claim!r} to name its tenant"
                )
            tenant = told
        principal = f"oauth:{claims['iss']}#{claims['sub']}"
        return Identity(principal, tenant, EVERYTHING.narrowed(self._capabilities(granted)))

    async def _decoded(self, token: str) -> Mapping[str, Any]:
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError:
            raise UnauthenticatedError("the token is no JWT") from None
        algorithm, kind, key_id = header.get("alg"), header.get("typ", "JWT"), header.get("kid")
        if (
            algorithm not in self.rules.algorithms
            or not isinstance(kind, str)
            or kind.lower() not in _TYPES
            or "crit" in header
            or not (key_id is None or isinstance(key_id, str))
        ):
            raise UnauthenticatedError("the token is signed in a way that is not accepted here")
        key = await self._keys.find(key_id, algorithm)
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                jwt.PyJWK(dict(key.jwk), algorithm).key,
                algorithms=[algorithm],
                issuer=self.rules.issuer,
                leeway=self.rules.leeway,
                options={
                    "require": ["exp", "iss", "aud", "sub"],
                    # Which audience is meant depends on what is asked for; see `verify`.
                    "verify_aud": False,
                },
            )
        except jwt.PyJWTError as error:
            raise UnauthenticatedError(_why(error)) from None
        audience = claims["aud"]
        if not (
            isinstance(claims["sub"], str)
            and claims["sub"]
            and (
                isinstance(audience, str)
                or (isinstance(audience, list) and all(isinstance(a, str) for a in audience))
            )
        ):
            raise UnauthenticatedError("the token's 'sub' or 'aud' is not text")
        return claims

    def _capabilities(self, granted: frozenset[str]) -> tuple[str, ...]:
        if self.rules.scopes is None:
            # A scope with a wildcard in it would be permission for what nobody listed.
            return tuple(
                scope
                for scope in granted
                if CAPABILITY.fullmatch(scope) and not set("*?").intersection(scope)
            )
        return tuple(name for scope in sorted(granted) for name in self.rules.scopes.get(scope, ()))


def _object(body: bytes, place: str) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, dict):
        raise InvalidAgentResponseError(f"{place} is no JSON object")
    return document


def _scopes(claims: Mapping[str, Any]) -> frozenset[str]:
    told = claims.get("scope", claims.get("scp", ""))
    words = told.split() if isinstance(told, str) else told
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise UnauthenticatedError("the token's scopes are not text")
    if len(words) > _MOST_SCOPES:
        raise UnauthenticatedError("the token has too many scopes")
    return frozenset(words)


def _why(error: jwt.PyJWTError) -> str:
    """What is wrong with a token, in words of ours, without anything out of it."""
    if isinstance(error, jwt.ExpiredSignatureError):
        return "the token has expired"
    if isinstance(error, jwt.InvalidIssuerError):
        return "the token is of another issuer"
    if isinstance(error, jwt.MissingRequiredClaimError):
        return f"the token has no {error.claim!r}"
    if isinstance(error, jwt.ImmatureSignatureError | jwt.InvalidIssuedAtError):
        return "the token is of the future"
    return "the token's signature is not that of its issuer"


def _keys_in(document: Mapping[str, Any]) -> tuple[SigningKey, ...]:
    """The public keys of a key set that can sign tokens; what else is in it is left out."""
    listed = document.get("keys")
    if not isinstance(listed, list):
        raise InvalidAgentResponseError("the key set has no 'keys'")
    keys: list[SigningKey] = []
    for each in listed:
        if not isinstance(each, dict) or each.get("use", "sig") != "sig" or "d" in each:
            continue
        kind, curve, algorithm = (str(each.get(name, "")) for name in ("kty", "crv", "alg"))
        key_id = str(each["kid"]) if "kid" in each else None
        key = SigningKey(key_id, kind, curve, algorithm, each)
        fitting = next((name for name in ALGORITHMS if key.fits(name)), None)
        try:
            if fitting is not None and jwt.PyJWK(each, fitting).key:
                keys.append(key)
        except jwt.PyJWTError:
            continue
    return tuple(keys)
