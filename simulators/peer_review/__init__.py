"""The door of the peer-review simulator: a manuscript in, a report with checked anchors out.

Every name loads when it is first used: `repertory --help` must not wait for a PDF library.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .manuscript import Citation, Manuscript, Page, Reference, Section, Unit
    from .report import Anchor, Claim, Decision, Edge, Flag, Graph, Issue, Node, Report, Scores

_MODULE_OF = {
    "Anchor": "report",
    "Citation": "manuscript",
    "Claim": "report",
    "Decision": "report",
    "Edge": "report",
    "Flag": "report",
    "Graph": "report",
    "Issue": "report",
    "Manuscript": "manuscript",
    "Node": "report",
    "Page": "manuscript",
    "Reference": "manuscript",
    "Report": "report",
    "Scores": "report",
    "Section": "manuscript",
    "Unit": "manuscript",
}

__all__ = [
    "Anchor",
    "Citation",
    "Claim",
    "Decision",
    "Edge",
    "Flag",
    "Graph",
    "Issue",
    "Manuscript",
    "Node",
    "Page",
    "Reference",
    "Report",
    "Scores",
    "Section",
    "Unit",
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
