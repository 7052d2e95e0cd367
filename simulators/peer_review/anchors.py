"""The machine check of an anchor: its page exists, and its quote or its label stands there."""

import re
from collections.abc import Iterable

from .manuscript import Manuscript
from .report import Anchor, Issue
from .sentences import folded

_FEWEST = 4


def is_valid(anchor: Anchor, manuscript: Manuscript) -> bool:
    """Whether the anchor holds (ours, 1.6): page ∧ (quote on it ∨ label on it).

    Quotes are compared folded: without case, breaks and the spaces that typesetters put.
    Text that the page hides counts as on the page, since it is in the file.
    """
    if not 1 <= anchor.page <= len(manuscript.pages):
        return False
    if anchor.kind == "quote":
        return _quoted(anchor, manuscript)
    return _labeled(anchor, manuscript)


def _quoted(anchor: Anchor, manuscript: Manuscript) -> bool:
    wanted = folded(anchor.quote)
    if len(wanted) < _FEWEST:
        text = manuscript.page_text(anchor.page)
        return (
            bool(wanted)
            and anchor.start is not None
            and text[anchor.start : anchor.end] == anchor.quote
        )
    hidden = " ".join(h.text for h in manuscript.hidden if h.page == anchor.page)
    return wanted in folded(manuscript.page_text(anchor.page)) or wanted in folded(hidden)


def _labeled(anchor: Anchor, manuscript: Manuscript) -> bool:
    label = folded(anchor.ref)
    if not label:
        return False
    for unit in manuscript.units:
        if unit.page == anchor.page and unit.label and folded(unit.label) == label:
            return True
    text = manuscript.page_text(anchor.page)
    if anchor.kind in {"figure", "table"}:
        number = re.sub(r"^\D+", "", anchor.ref)
        names = r"Fig(?:ure|\.)?" if anchor.kind == "figure" else r"Tab(?:le|\.)?"
        return re.search(rf"\b{names}\s*{re.escape(number)}\b", text, re.IGNORECASE) is not None
    return label in folded(text)


def checked(issue: Issue, manuscript: Manuscript) -> Issue:
    """The issue with every anchor checked; nothing that was said about them is believed."""
    anchors = tuple(a.model_copy(update={"valid": is_valid(a, manuscript)}) for a in issue.anchors)
    return issue.model_copy(update={"anchors": anchors})


def anchored(anchors: Iterable[Anchor], manuscript: Manuscript) -> tuple[Anchor, ...]:
    """The anchors with the check's word."""
    return tuple(a.model_copy(update={"valid": is_valid(a, manuscript)}) for a in anchors)
