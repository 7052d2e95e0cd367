"""Where an agent's faces are, below its own path, and what its card says of them."""

from .a2a_03 import VERSION as VERSION_03
from .cards import AgentInterface
from .envelope import A2A_VERSION, BINDING_URI


def agent_interfaces(place: str) -> tuple[AgentInterface, ...]:
    """The interfaces of an agent at `place`, the preferred one first.

    place: the agent's own URL, such as `http://127.0.0.1:8420/agents/clerk`.
    """
    return (
        AgentInterface(
            url=f"{place}/mcp", protocol_binding=BINDING_URI, protocol_version=A2A_VERSION
        ),
        AgentInterface(
            url=f"{place}/jsonrpc", protocol_binding="JSONRPC", protocol_version=A2A_VERSION
        ),
        AgentInterface(
            url=f"{place}/rest", protocol_binding="HTTP+JSON", protocol_version=A2A_VERSION
        ),
        AgentInterface(
            url=f"{place}/jsonrpc", protocol_binding="JSONRPC", protocol_version=VERSION_03
        ),
    )
