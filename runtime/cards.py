"""Agent cards from the manifest: what each agent tells about itself, and where it is served."""

from repertory import __version__
from repertory.protocol import (
    BINDING_URI,
    AgentCapabilities,
    AgentCard,
    AgentInterface,
    AgentSkill,
)

from .manifest import Manifest

_MODES = ("text/plain", "application/json")


def card_of_entry(manifest: Manifest, agent: str, url: str = "") -> AgentCard:
    """The card of an agent of the manifest.

    url: where it is served over the binding, "" while it is served nowhere.
    """
    entry = manifest.agents[agent]
    served_at = url or entry.url or ""
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
        supported_interfaces=tuple(
            AgentInterface(url=each, protocol_binding=BINDING_URI, protocol_version="1.0")
            for each in (served_at,)
            if each
        ),
        capabilities=AgentCapabilities(
            streaming=True, push_notifications=False, extended_agent_card=True
        ),
        default_input_modes=_MODES,
        default_output_modes=_MODES,
        skills=tuple(skills),
    )
