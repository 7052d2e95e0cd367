"""The one door of Repertory: what most programs need, each loaded when first named.

Nothing is set globally by importing this package, and nothing heavy is loaded:
`chromadb`, `mcp` and `sqlmodel` cost seconds, so every name resolves lazily.
The rooms are `repertory.protocol`, `repertory.xp_store`, `repertory.agents`,
`repertory.simulators` and `repertory.runtime`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from repertory.agents import Agent, Turn
    from repertory.protocol import Message, Part, RepertoryError, Task, TaskState
    from repertory.runtime import Manifest, Network, load_manifest, open_network
    from repertory.xp_store import Pack

__version__ = "0.1.0"

_ROOM_OF = {
    "Agent": "agents",
    "Manifest": "runtime",
    "Message": "protocol",
    "Network": "runtime",
    "Pack": "xp_store",
    "Part": "protocol",
    "RepertoryError": "protocol",
    "Task": "protocol",
    "TaskState": "protocol",
    "Turn": "agents",
    "load_manifest": "runtime",
    "open_network": "runtime",
}

__all__ = [
    "Agent",
    "Manifest",
    "Message",
    "Network",
    "Pack",
    "Part",
    "RepertoryError",
    "Task",
    "TaskState",
    "Turn",
    "__version__",
    "load_manifest",
    "open_network",
]


def __getattr__(name: str) -> Any:
    room = _ROOM_OF.get(name)
    if room is None:
        raise AttributeError(f"module 'repertory' has no attribute {name!r}")
    value = getattr(import_module(f"repertory.{room}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
