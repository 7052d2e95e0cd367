"""The door of the peer-review simulator: a manuscript in, a report with checked anchors out.

Every name loads when it is first used: `repertory --help` must not wait for a PDF library.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .agents import AreaChair, ClaimMapper, Desk, IntegrityChecker, Reader, Reviewer, report_of
    from .batch import render
    from .dung import grounded_extension
    from .errors import ExportRefusedError, ManuscriptUnreadableError, ProfileInvalidError
    from .guards import require_exportable
    from .ingest import read_manuscript
    from .manuscript import Citation, Manuscript, Page, Reference, Section, Unit
    from .outcome import load_report, triage, write_report
    from .panel_agents import PanelAuthor, PanelChair, PanelDesk, PanelReviewer
    from .profiles import Profile, load_profile
    from .report import (
        Anchor,
        Claim,
        Decision,
        Edge,
        Flag,
        Graph,
        Issue,
        Node,
        Report,
        Scores,
        Signature,
        Strength,
    )
    from .reviewing import review

_MODULE_OF = {
    "Anchor": "report",
    "AreaChair": "agents",
    "Citation": "manuscript",
    "Claim": "report",
    "ClaimMapper": "agents",
    "Decision": "report",
    "Desk": "agents",
    "Edge": "report",
    "ExportRefusedError": "errors",
    "Flag": "report",
    "Graph": "report",
    "IntegrityChecker": "agents",
    "Issue": "report",
    "Manuscript": "manuscript",
    "ManuscriptUnreadableError": "errors",
    "Node": "report",
    "Page": "manuscript",
    "PanelAuthor": "panel_agents",
    "PanelChair": "panel_agents",
    "PanelDesk": "panel_agents",
    "PanelReviewer": "panel_agents",
    "Profile": "profiles",
    "ProfileInvalidError": "errors",
    "Reader": "agents",
    "Reference": "manuscript",
    "Report": "report",
    "Reviewer": "agents",
    "Scores": "report",
    "Section": "manuscript",
    "Signature": "report",
    "Strength": "report",
    "Unit": "manuscript",
    "grounded_extension": "dung",
    "load_profile": "profiles",
    "load_report": "outcome",
    "read_manuscript": "ingest",
    "render": "batch",
    "report_of": "agents",
    "require_exportable": "guards",
    "review": "reviewing",
    "triage": "outcome",
    "write_report": "outcome",
}

__all__ = [
    "Anchor",
    "AreaChair",
    "Citation",
    "Claim",
    "ClaimMapper",
    "Decision",
    "Desk",
    "Edge",
    "ExportRefusedError",
    "Flag",
    "Graph",
    "IntegrityChecker",
    "Issue",
    "Manuscript",
    "ManuscriptUnreadableError",
    "Node",
    "Page",
    "PanelAuthor",
    "PanelChair",
    "PanelDesk",
    "PanelReviewer",
    "Profile",
    "ProfileInvalidError",
    "Reader",
    "Reference",
    "Report",
    "Reviewer",
    "Scores",
    "Section",
    "Signature",
    "Strength",
    "Unit",
    "grounded_extension",
    "load_profile",
    "load_report",
    "read_manuscript",
    "render",
    "report_of",
    "require_exportable",
    "review",
    "triage",
    "write_report",
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
