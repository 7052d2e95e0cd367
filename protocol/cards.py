"""What an agent says of itself: its card, skills, interfaces and security (A2A 1.0, 4.4-4.5).

Only the shapes; the runtime makes the cards of its agents.
"""

from typing import Self

from pydantic import Field, model_validator

from .wire import Flag, Required, Struct, WireModel


class StringList(WireModel):
    """A list of strings where the protocol needs a message."""

    list: tuple[str, ...] = ()


class SecurityRequirement(WireModel):
    """Schemes that must all be met, by name, each with its scopes."""

    schemes: dict[str, StringList] = Field(default_factory=dict)


class APIKeySecurityScheme(WireModel):
    """A key in a header, in the query or in a cookie: `location` says which, `name` its name."""

    description: str = ""
    location: Required
    name: Required


class HTTPAuthSecurityScheme(WireModel):
    """HTTP authentication; `scheme` is a name of the IANA registry, such as Bearer."""

    description: str = ""
    scheme: Required
    bearer_format: str = ""


class AuthorizationCodeOAuthFlow(WireModel):
    """OAuth 2.0's authorization code flow."""

    authorization_url: Required
    token_url: Required
    refresh_url: str = ""
    scopes: dict[str, str] = Field(default_factory=dict)
    pkce_required: Flag = False


class ClientCredentialsOAuthFlow(WireModel):
    """OAuth 2.0's client credentials flow."""

    token_url: Required
    refresh_url: str = ""
    scopes: dict[str, str] = Field(default_factory=dict)


class ImplicitOAuthFlow(WireModel):
    """OAuth 2.0's implicit flow, deprecated by A2A."""

    authorization_url: str = ""
    refresh_url: str = ""
    scopes: dict[str, str] = Field(default_factory=dict)


class PasswordOAuthFlow(WireModel):
    """OAuth 2.0's password flow, deprecated by A2A."""

    token_url: str = ""
    refresh_url: str = ""
    scopes: dict[str, str] = Field(default_factory=dict)


class DeviceCodeOAuthFlow(WireModel):
    """OAuth 2.0's device code flow (RFC 8628)."""

    device_authorization_url: Required
    token_url: Required
    refresh_url: str = ""
    scopes: dict[str, str] = Field(default_factory=dict)


class OAuthFlows(WireModel):
    """One OAuth 2.0 flow; none when it is of a kind unknown here."""

    authorization_code: AuthorizationCodeOAuthFlow | None = None
    client_credentials: ClientCredentialsOAuthFlow | None = None
    implicit: ImplicitOAuthFlow | None = None
    password: PasswordOAuthFlow | None = None
    device_code: DeviceCodeOAuthFlow | None = None

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        _at_most_one(self)
        return self


class OAuth2SecurityScheme(WireModel):
    """OAuth 2.0, by one of its flows."""

    description: str = ""
    flows: OAuthFlows
    oauth2_metadata_url: str = ""


class OpenIdConnectSecurityScheme(WireModel):
    """OpenID Connect, by its discovery URL."""

    description: str = ""
    open_id_connect_url: Required


class MutualTlsSecurityScheme(WireModel):
    """Mutual TLS."""

    description: str = ""


class SecurityScheme(WireModel):
    """One way to be let in; none when it is of a kind unknown here."""

    api_key_security_scheme: APIKeySecurityScheme | None = None
    http_auth_security_scheme: HTTPAuthSecurityScheme | None = None
    oauth2_security_scheme: OAuth2SecurityScheme | None = None
    open_id_connect_security_scheme: OpenIdConnectSecurityScheme | None = None
    mtls_security_scheme: MutualTlsSecurityScheme | None = None

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        _at_most_one(self)
        return self


def _at_most_one(model: WireModel) -> None:
    """Check a one-of; none set is a kind of a later version, which must not cost the whole card."""
    names = [name for name in type(model).model_fields if getattr(model, name) is not None]
    if len(names) > 1:
        raise ValueError(f"{type(model).__name__} has {' and '.join(names)}, but may have one")


class AgentInterface(WireModel):
    """Where the agent is reached, and in which binding and version."""

    url: Required
    protocol_binding: Required
    tenant: str = ""
    protocol_version: str = ""


class AgentProvider(WireModel):
    """Who offers the agent."""

    url: str = ""
    organization: str = ""


class AgentExtension(WireModel):
    """An extension of A2A that the agent knows, by its URI."""

    uri: str = ""
    description: str = ""
    required: Flag = False
    params: Struct = None


class AgentCapabilities(WireModel):
    """What of A2A is offered beyond its core; None is not said."""

    streaming: Flag | None = None
    push_notifications: Flag | None = None
    extensions: tuple[AgentExtension, ...] = ()
    extended_agent_card: Flag | None = None


class AgentSkill(WireModel):
    """Something the agent can do, in words for those who choose whom to ask."""

    id: Required
    name: str = ""
    description: str = ""
    tags: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()
    input_modes: tuple[str, ...] = ()
    output_modes: tuple[str, ...] = ()
    security_requirements: tuple[SecurityRequirement, ...] = ()


class AgentCardSignature(WireModel):
    """A JSON Web Signature (RFC 7515) of the card without its signatures."""

    protected: Required
    signature: Required
    header: Struct = None


class AgentCard(WireModel):
    """What an agent is, can do and where it is reached; read leniently, since others write it."""

    name: Required
    description: str = ""
    supported_interfaces: tuple[AgentInterface, ...] = ()
    provider: AgentProvider | None = None
    version: str = ""
    documentation_url: str | None = None
    capabilities: AgentCapabilities | None = None
    security_schemes: dict[str, SecurityScheme] = Field(default_factory=dict)
    security_requirements: tuple[SecurityRequirement, ...] = ()
    default_input_modes: tuple[str, ...] = ()
    default_output_modes: tuple[str, ...] = ()
    skills: tuple[AgentSkill, ...] = ()
    signatures: tuple[AgentCardSignature, ...] = ()
    icon_url: str | None = None
