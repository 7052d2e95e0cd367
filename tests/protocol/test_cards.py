import pytest
from a2a.types import a2a_pb2
from google.protobuf.json_format import ParseDict

from repertory.protocol import (
    AgentCapabilities,
    AgentCard,
    AgentExtension,
    AgentInterface,
    AgentSkill,
    APIKeySecurityScheme,
    AuthorizationCodeOAuthFlow,
    InvalidParamsError,
    OAuth2SecurityScheme,
    OAuthFlows,
    SecurityRequirement,
    SecurityScheme,
    StringList,
)

CARD = AgentCard(
    name="Critic",
    description="Finds what is wrong with a text.",
    version="1.0.0",
    supported_interfaces=(
        AgentInterface(url="http://x/a2a", protocol_binding="JSONRPC", protocol_version="1.0"),
    ),
    capabilities=AgentCapabilities(
        streaming=True,
        push_notifications=False,
        extensions=(AgentExtension(uri="https://x/ext", params={"depth": 2}),),
    ),
    security_schemes={
        "key": SecurityScheme(
            api_key_security_scheme=APIKeySecurityScheme(location="header", name="X-Key")
        ),
        "oauth": SecurityScheme(
            oauth2_security_scheme=OAuth2SecurityScheme(
                flows=OAuthFlows(
                    authorization_code=AuthorizationCodeOAuthFlow(
                        authorization_url="https://x/auth",
                        token_url="https://x/token",
                        scopes={"read": "Read texts"},
                        pkce_required=True,
                    )
                )
            )
        ),
    },
    security_requirements=(SecurityRequirement(schemes={"oauth": StringList(list=("read",))}),),
    default_input_modes=("text/plain",),
    default_output_modes=("application/json",),
    skills=(AgentSkill(id="s", name="Criticize", description="Say it.", tags=("text",)),),
)


def test_a_full_card_is_read_by_the_official_types() -> None:
    """Spec: A2A 1.0, AgentCard."""
    theirs = ParseDict(CARD.wire(), a2a_pb2.AgentCard())
    schemes = theirs.security_schemes
    assert schemes["key"].api_key_security_scheme.name == "X-Key"
    flows = schemes["oauth"].oauth2_security_scheme.flows
    assert flows.authorization_code.scopes == {"read": "Read texts"}
    assert list(theirs.security_requirements[0].schemes["oauth"].list) == ["read"]
    assert AgentCard.parse(CARD.wire()) == CARD


def test_a_capability_that_is_denied_is_not_one_that_is_unsaid() -> None:
    """Spec: A2A 1.0, the flags of AgentCapabilities have presence."""
    assert AgentCapabilities(streaming=False).wire() == {"streaming": False}
    assert AgentCapabilities().wire() == {}
    assert AgentCard(name="a", capabilities=AgentCapabilities()).wire()["capabilities"] == {}


def test_a_card_with_only_a_name_can_be_read() -> None:
    """Ours: others write cards, and a client that knows the address needs little of them."""
    assert AgentCard.parse({"name": "a"}) == AgentCard(name="a")
    with pytest.raises(InvalidParamsError, match=r"AgentCard\.name"):
        AgentCard.parse({})


def test_two_schemes_in_one_are_refused() -> None:
    """Spec: A2A 1.0, SecurityScheme and OAuthFlows are one-ofs."""
    with pytest.raises(InvalidParamsError, match="may have one") as caught:
        AgentCard.parse(
            {
                "name": "a",
                "securitySchemes": {
                    "both": {"mtlsSecurityScheme": {}, "httpAuthSecurityScheme": {"scheme": "x"}}
                },
            }
        )
    assert caught.value.path == "securitySchemes.both"
    with pytest.raises(InvalidParamsError, match="may have one"):
        OAuthFlows.parse({"implicit": {}, "password": {}})


def test_cards_do_not_share_their_empty_maps() -> None:
    """Ours: one card's schemes must not appear in another's."""
    assert AgentCard(name="a").security_schemes is not AgentCard(name="b").security_schemes
