"""Agent cards from the manifest: what each agent tells about itself, and where it is served."""

from repertory import __version__
from repertory.protocol import (
    A2A_VERSION,
    BINDING_URI,
    AgentCapabilities,
    AgentCard,
    AgentInterface,
    AgentSkill,
    HTTPAuthSecurityScheme,
    MutualTlsSecurityScheme,
    OpenIdConnectSecurityScheme,
    SecurityRequirement,
    SecurityScheme,
    StringList,
    agent_interfaces,
)

from .manifest import Manifest

_MODES = ("text/plain", "application/json")


def card_of_entry(manifest: Manifest, agent: str, place: str = "") -> AgentCard:
    """The card of an agent of the manifest.

    place: the agent's own URL, below which its faces are served; "" while it is
    served nowhere, or elsewhere.
    """
    entry = manifest.agents[agent]
    elsewhere = AgentInterface(
        url=entry.url or "stdio:", protocol_binding=BINDING_URI, protocol_version=A2A_VERSION
    )
    skills = [
        AgentSkill(
            id=skill.id,
            name=skill.name,
            description=skill.description or skill.name,
            tags=skill.tags,
            examples=skill.examples,
        )
        for skill in entry.skills
    ]
    if not skills:
        # A2A asks for at least one; an agent without any is known by what it is for.
        skills = [AgentSkill(id=agent, name=agent, description=entry.description or agent, tags=())]
    return AgentCard(
        name=agent,
        description=entry.description or f"{agent} of {manifest.network}",
        version=__version__,
        supported_interfaces=agent_interfaces(place)
        if place
        else (elsewhere,)
        if entry.url
        else (),
        capabilities=AgentCapabilities(
            streaming=True, push_notifications=bool(place), extended_agent_card=True
        ),
        default_input_modes=_MODES,
        default_output_modes=_MODES,
        skills=tuple(skills),
    )


def secured(card: AgentCard, manifest: Manifest) -> AgentCard:
    """The card with what the manifest's `serve.auth` asks of callers; any one scheme will do."""
    auth = manifest.serve.auth
    schemes: dict[str, SecurityScheme] = {}
    scopes: dict[str, tuple[str, ...]] = {}
    if auth.oauth is not None:
        issuer = auth.oauth.issuer.rstrip("/")
        schemes["oauth"] = SecurityScheme(
            open_id_connect_security_scheme=OpenIdConnectSecurityScheme(
                open_id_connect_url=f"{issuer}/.well-known/openid-configuration",
                description="An access token (JWT) of this issuer, made for this agent.",
            )
        )
        scopes["oauth"] = auth.oauth.required
    if auth.keys:
        schemes["key"] = SecurityScheme(
            http_auth_security_scheme=HTTPAuthSecurityScheme(
                scheme="Bearer", description="An API key of this installation."
            )
        )
    if auth.certificates:
        schemes["certificate"] = SecurityScheme(mtls_security_scheme=MutualTlsSecurityScheme())
    if not schemes:
        return card
    requirements = tuple(
        SecurityRequirement(schemes={name: StringList(list=scopes.get(name, ()))})
        for name in schemes
    )
    return card.model_copy(
        update={"security_schemes": schemes, "security_requirements": requirements}
    )
