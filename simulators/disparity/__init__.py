"""The disparity analyst and supervisor: how agents behave differently from humans.

After "The Agent Behavior: Model, Governance and Challenges" (arXiv 2508.14415), which
names a lifecycle of six stages and five dimensions and leaves their measurement open;
what is measured here, and how it is judged, is ours. Every name loads when first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .analysis import Analysis, Settings, analyze
    from .duel import Attacker, Defender, Target, Umpire
    from .events import Event, EventTable
    from .labels import Labels, load_labels
    from .outcome import render_duel
    from .readers import load_events
    from .supervisor import Supervisor

_MODULE_OF = {
    "Analysis": "analysis",
    "Attacker": "duel",
    "Defender": "duel",
    "Event": "events",
    "EventTable": "events",
    "Labels": "labels",
    "Settings": "analysis",
    "Supervisor": "supervisor",
    "Target": "duel",
    "Umpire": "duel",
    "analyze": "analysis",
    "load_events": "readers",
    "load_labels": "labels",
    "render_duel": "outcome",
}

__all__ = [
    "Analysis",
    "Attacker",
    "Defender",
    "Event",
    "EventTable",
    "Labels",
    "Settings",
    "Supervisor",
    "Target",
    "Umpire",
    "analyze",
    "load_events",
    "load_labels",
    "render_duel",
]


def __getattr__(name: str) -> Any:
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{module}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
