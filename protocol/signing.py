"""Signed agent cards (A2A 1.0, 8.4): a JWS over the card's canonical JSON, verified by pinning.

What is signed is the card without its signatures and without what is empty, in
RFC 8785's form, as a2a-sdk has it. The signer's public key travels in the
protected header; it is believed only when its thumbprint (RFC 7638) was pinned,
since a key that vouches for itself proves nothing.
"""

from base64 import urlsafe_b64encode
from binascii import Error as Base64Error
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from json import loads as read_json
from re import compile as pattern
from typing import Any, Final

import jwt
import rfc8785
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from jwt.algorithms import ECAlgorithm, OKPAlgorithm
from jwt.utils import base64url_decode

from .cards import AgentCard, AgentCardSignature
from .errors import CardNotTrustedError, InvalidParamsError

THUMBPRINT: Final = pattern(r"[A-Za-z0-9_-]{43}")
_REQUIRED: Final = {
    "EC": ("crv", "kty", "x", "y"),
    "OKP": ("crv", "kty", "x"),
    "RSA": ("e", "kty", "n"),
}
_ALGORITHM: Final = {("EC", "P-256"): "ES256", ("OKP", "Ed25519"): "EdDSA"}


@dataclass(frozen=True, slots=True)
class CardSigner:
    """Signs cards with one private key; `repr` does not show it. Make it with `card_signer`."""

    _key: Any
    algorithm: str
    jwk: Mapping[str, Any]
    kid: str
    thumbprint: str

    def __repr__(self) -> str:
        return f"CardSigner({self.thumbprint})"

    def sign(self, card: AgentCard) -> AgentCard:
        """The card with this signature in place of any other."""
        header = {"kid": self.kid, "typ": "JOSE", "jwk": dict(self.jwk)}
        token = jwt.api_jws.encode(canonical_card(card), self._key, self.algorithm, header)
        protected, _, signature = token.split(".")
        signed = AgentCardSignature(protected=protected, signature=signature)
        return card.model_copy(update={"signatures": (signed,)})


def card_signer(pem: str, kid: str = "") -> CardSigner:
    """A signer of the private key in `pem`, EC P-256 or Ed25519; kid: default its thumbprint.

    Raises:
        InvalidParamsError: It is no such key; the sentence holds nothing of it.
    """
    try:
        key = load_pem_private_key(pem.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise InvalidParamsError("the signing key is no private key in PEM") from None
    if isinstance(key, EllipticCurvePrivateKey) and isinstance(key.curve, SECP256R1):
        jwk = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    elif isinstance(key, Ed25519PrivateKey):
        jwk = OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
    else:
        raise InvalidParamsError("the signing key is neither EC P-256 nor Ed25519")
    public = {name: jwk[name] for name in _REQUIRED[jwk["kty"]]}
    printed = thumbprint(public)
    algorithm = _ALGORITHM[public["kty"], public["crv"]]
    return CardSigner(key, algorithm, public, kid or printed, printed)


def canonical_card(card: AgentCard) -> bytes:
    """What a signature of `card` is over."""
    fields = card.model_copy(update={"signatures": ()}).wire()
    return rfc8785.dumps(_without_empty(fields))


def thumbprint(jwk: Mapping[str, Any]) -> str:
    """The SHA-256 thumbprint of a public key (RFC 7638).

    Raises:
        InvalidParamsError: It is no public key of a known kind.
    """
    names = _REQUIRED.get(str(jwk.get("kty")), ())
    if not names or not all(isinstance(jwk.get(name), str) for name in names):
        raise InvalidParamsError("that is no public key as a JWK", path="jwk")
    digest = sha256(rfc8785.dumps({name: jwk[name] for name in names})).digest()
    return urlsafe_b64encode(digest).rstrip(b"=").decode()


def verify_card(
    card: AgentCard, pinned: Iterable[str], *, keys: Iterable[Mapping[str, Any]] = ()
) -> str:
    """Return the thumbprint of the pinned key that signed `card` as it is.

    keys: pinned keys as JWKs, for signers who do not send theirs.

    Raises:
        CardNotTrustedError: None of its signatures is by such a key.
    """
    by_print = {thumbprint(key): key for key in keys}
    wanted = {*pinned, *by_print}
    if not card.signatures:
        raise CardNotTrustedError(f"the card of {card.name!r} is not signed")
    payload = urlsafe_b64encode(canonical_card(card)).rstrip(b"=").decode()
    for signature in card.signatures:
        header = _header(signature.protected)
        sent = header.get("jwk")
        candidates = list(by_print.values())
        if isinstance(sent, dict) and _print_of(sent) in wanted:
            candidates.append(sent)
        token = f"{signature.protected}.{payload}.{signature.signature}"
        for key in candidates:
            if "crit" not in header and _verifies(token, key):
                return thumbprint(key)
    raise CardNotTrustedError(
        f"the card of {card.name!r} is signed by no key that is pinned here, or was changed"
    )


def _verifies(token: str, jwk: Mapping[str, Any]) -> bool:
    algorithm = _ALGORITHM.get((str(jwk.get("kty")), str(jwk.get("crv"))))
    if algorithm is None:
        return False
    public = {name: jwk[name] for name in _REQUIRED[str(jwk["kty"])]}
    try:
        key = jwt.PyJWK(public, algorithm).key
        jwt.api_jws.decode_complete(token, key, algorithms=[algorithm])
    except jwt.PyJWTError:
        return False
    return True


def _header(protected: str) -> Mapping[str, Any]:
    try:
        header = read_json(base64url_decode(protected))
    except (Base64Error, ValueError, RecursionError):
        return {}
    return header if isinstance(header, dict) else {}


def _print_of(jwk: Mapping[str, Any]) -> str:
    try:
        return thumbprint(jwk)
    except InvalidParamsError:
        return ""


def _without_empty(value: Any) -> Any:
    """`value` without empty texts, lists and objects at any depth; what is left of nothing is None."""
    if isinstance(value, dict):
        kept = {name: _without_empty(each) for name, each in value.items()}
        return {name: each for name, each in kept.items() if each is not None} or None
    if isinstance(value, list | tuple):
        return [each for each in map(_without_empty, value) if each is not None] or None
    return None if value == "" else value
