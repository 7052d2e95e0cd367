"""Signed cards: canonical, verified by pinning, and read by the official SDK both ways (S12)."""

from typing import Any

import jwt
import pytest
from a2a import types as a2a
from a2a.utils.signing import create_agent_card_signer, create_signature_verifier
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from google.protobuf.json_format import MessageToDict, ParseDict

from repertory.protocol import (
    AgentCard,
    AgentCardSignature,
    AgentExtension,
    CardNotTrustedError,
    InvalidParamsError,
    card_signer,
    memory_card,
    thumbprint,
    verify_card,
)
from tests.claims import claim


def _pem(key: Any) -> str:
    return str(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), "ascii")


KEY = ec.generate_private_key(ec.SECP256R1())
SIGNER = card_signer(_pem(KEY))
OTHER = card_signer(_pem(ed25519.Ed25519PrivateKey.generate()))
CARD = memory_card(description="Prüft Rechnungen – genau, 0.1 €")


@claim("a2a:signed-cards")
@pytest.mark.parametrize("signer", [SIGNER, OTHER], ids=["ES256", "EdDSA"])
def test_a_signed_card_is_believed_by_its_pin(signer: Any) -> None:
    """Spec: A2A 1.0, 8.4 and RFC 7638: whoever pinned the key's thumbprint believes the card."""
    signed = AgentCard.parse(signer.sign(CARD).wire())
    assert verify_card(signed, [signer.thumbprint]) == signer.thumbprint
    assert verify_card(signed, [], keys=[signer.jwk]) == signer.thumbprint
    assert signer.kid == signer.thumbprint
    assert signer.thumbprint in repr(signer)


@claim("a2a:signed-cards")
def test_the_official_sdk_believes_our_cards_and_we_believe_its() -> None:
    """Spec: A2A 1.0, 8.4: RFC 8785 over the card without what is empty, both ways."""
    theirs = ParseDict(SIGNER.sign(CARD).wire(), a2a.AgentCard())
    public = jwt.PyJWK(dict(SIGNER.jwk), "ES256")
    create_signature_verifier(lambda kid, jku: public, ["ES256"])(theirs)
    card = ParseDict(CARD.wire(), a2a.AgentCard())
    header: Any = {"kid": "k1", "alg": "ES256", "typ": "JOSE"}
    signed = create_agent_card_signer(_pem(KEY), header)(card)
    ours = AgentCard.parse(MessageToDict(signed))
    assert verify_card(ours, [], keys=[SIGNER.jwk]) == SIGNER.thumbprint
    with pytest.raises(CardNotTrustedError):
        verify_card(ours, [SIGNER.thumbprint])  # it sends no key, so there must be one here


def _changed(**changes: Any) -> AgentCard:
    return SIGNER.sign(CARD).model_copy(update=changes)


def _signature(**changes: str) -> AgentCard:
    signed = SIGNER.sign(CARD)
    return signed.model_copy(
        update={"signatures": (signed.signatures[0].model_copy(update=changes),)}
    )


def _by_hand(header: dict[str, Any], key: Any, algorithm: str) -> AgentCard:
    from repertory.protocol import canonical_card

    token = jwt.api_jws.encode(canonical_card(CARD), key, algorithm, header)
    protected, _, signature = token.split(".")
    signed = AgentCardSignature(protected=protected, signature=signature or "AA")
    return CARD.model_copy(update={"signatures": (signed,)})


@pytest.mark.parametrize(
    "card",
    [
        CARD,
        OTHER.sign(CARD),
        _changed(name="other"),
        _changed(description=CARD.description + " "),
        _changed(skills=()),
        _signature(signature=SIGNER.sign(CARD).signatures[0].signature[:-4] + "AAAA"),
        _signature(signature=""),
        _signature(signature="%%%"),
        _signature(protected="e30"),
        _signature(protected="%%%"),
        _signature(protected="W10"),
        _by_hand({"jwk": dict(SIGNER.jwk)}, None, "none"),
        _by_hand({"jwk": dict(SIGNER.jwk)}, SIGNER.jwk["x"], "HS256"),
        _by_hand({"jwk": dict(SIGNER.jwk)}, ec.generate_private_key(ec.SECP256R1()), "ES256"),
        _by_hand({"jwk": {"kty": "EC"}}, KEY, "ES256"),
        _by_hand({"kid": SIGNER.kid}, KEY, "ES256"),
    ],
)
def test_a_card_that_was_changed_or_signed_by_another_is_refused(card: AgentCard) -> None:
    """Ours: S12: one byte, another signer, no algorithm, a key that vouches for itself."""
    with pytest.raises(CardNotTrustedError):
        verify_card(card, [SIGNER.thumbprint])


def test_a_deep_card_is_signed_and_refused_without_an_error_of_a_library() -> None:
    """Ours: what strangers put into a card's extensions is theirs, not a crash of ours."""
    deep: Any = {"x": ""}
    for _ in range(40):
        deep = {"deep": [deep]}
    extension = AgentExtension(uri="urn:x", params={"a": deep, "n": 1.5, "b": False})
    capabilities = CARD.capabilities
    assert capabilities is not None
    card = CARD.model_copy(
        update={"capabilities": capabilities.model_copy(update={"extensions": (extension,)})}
    )
    assert verify_card(SIGNER.sign(card), [SIGNER.thumbprint])


@pytest.mark.parametrize(
    "pem",
    [
        "",
        "not a key",
        _pem(rsa.generate_private_key(public_exponent=65537, key_size=2048)),
        _pem(ec.generate_private_key(ec.SECP384R1())),
    ],
)
def test_a_key_that_cannot_sign_cards_is_refused_without_showing_it(pem: str) -> None:
    """Ours: EC P-256 or Ed25519, since every verifier has these."""
    with pytest.raises(InvalidParamsError) as caught:
        card_signer(pem)
    assert "PRIVATE" not in str(caught.value)


def test_the_thumbprint_is_that_of_the_specification() -> None:
    """Spec: RFC 7638, 3.1, its own example."""
    key = {
        "kty": "RSA",
        "n": (
            "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc"
            "_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQ"
            "R0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bF"
            "TWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw"
        ),
        "e": "AQAB",
        "alg": "RS256",
    }
    assert thumbprint(key) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
