"""Agent cards from the manifest: what each agent tells about itself, and where it is served."""

from repertory import __version__
from repertory.protocol import (
    A2A_VERSION,
    BINDING_URI,
    AgentCapabilities,
    AgentCard,
    AgentInterface,
    AgentSkill,
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
