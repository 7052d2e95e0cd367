"""Citations without an entry, entries without a citation, and text that hides."""

import re

from .citations import plain
from .findings import Findings, slice_anchor
from .hidden import is_instruction
from .manuscript import Citation, Manuscript, Reference
from .report import Anchor
from .sentences import flatten

_MOST = 8
# Below these shares the bibliography or its style was not understood, and nothing is said.
_LINKED, _USED = 0.6, 0.5


def check_citations(manuscript: Manuscript) -> tuple[Findings, Findings]:
    """Citations that no entry answers, and entries that nobody cites."""
    unresolved, unused = Findings("unresolved_citation"), Findings("unused_reference")
    if not manuscript.references or not manuscript.citations:
        return unresolved, unused
    used = {target for citation in manuscript.citations for target in citation.targets}
    asked = sum(len(c.targets) + len(c.missing) for c in manuscript.citations)
    linked = sum(len(c.targets) for c in manuscript.citations)
    if linked < _LINKED * asked:
        return unresolved, unused
    unresolved.applied = asked
    listed = [r.key for r in manuscript.references if r.key]
    told: set[str] = set()
    for citation in manuscript.citations:
        for key in citation.missing:
            if key not in told and _is_sure(citation, key):
                told.add(key)
                _flag_unresolved(unresolved, manuscript, citation, key, listed)
    if len(used) >= _USED * len(manuscript.references):
        unused.applied = len(manuscript.references)
        _flag_unused(unused, manuscript, used)
    return unresolved, unused


def _is_sure(citation: Citation, key: str) -> bool:
    """Whether this is surely a citation: a proper name before a year need not be one."""
    if citation.style != "author_year":
        return True
    return bool(
        re.search(
            r"et al|\band\b|&|^[^\s(]+,\s*\(?\d{4}|^[A-ZÀ-Þ][\w’'-]+\s*\(\d{4}", citation.text
        )
    )


def _flag_unresolved(
    findings: Findings, manuscript: Manuscript, citation: Citation, key: str, listed: list[str]
) -> None:
    anchor = slice_anchor(manuscript, citation.page, citation.start, citation.end)
    if citation.style == "numeric":
        arithmetic = f"[{key}] is cited; the entries are numbered {listed[0]} to {listed[-1]}"
    elif citation.style == "key":
        arithmetic = f"the key {key} is cited and is none of {len(listed)} entries"
    else:
        name, _, year = key.rpartition(" ")
        others = sorted({r.year for r in manuscript.references if name in r.authors and r.year})
        other = f"; of that name: {', '.join(others)}" if others else ""
        arithmetic = f"none of {len(manuscript.references)} entries has this name and {year}{other}"
    findings.flag(
        "major",
        0.15,
        f"The citation “{citation.text}” has no entry in the references.",
        arithmetic,
        [anchor],
    )


def _flag_unused(findings: Findings, manuscript: Manuscript, used: set[str]) -> None:
    listed = {s.id for s in manuscript.sections if s.kind == "references"}
    body = " ".join(flatten(u.text).text for u in manuscript.units if u.section not in listed)
    idle = [r for r in manuscript.references if r.id not in used and not _is_named(r, body)]
    for reference in idle[:_MOST]:
        unit = manuscript.unit(reference.unit)
        assert unit is not None
        end = unit.start + min(len(unit.text), 160)
        name = f"[{reference.key}]" if reference.key else f"“{reference.text[:60]}…”"
        findings.flag(
            "minor",
            0.03,
            f"The reference {name} is not cited anywhere.",
            f"{len(manuscript.references)} entries, {len(manuscript.citations)} citations, none of this entry",
            [slice_anchor(manuscript, unit.page, unit.start, end)],
        )
    if len(idle) > _MOST:
        rest = idle[_MOST:]
        unit = manuscript.unit(rest[0].unit)
        assert unit is not None
        findings.flag(
            "minor",
            0.03,
            f"{len(rest)} more references are not cited anywhere.",
            ", ".join(r.key or f"{r.authors[0] if r.authors else '?'} {r.year}" for r in rest)[
                :400
            ],
            [
                slice_anchor(
                    manuscript, unit.page, unit.start, unit.start + min(len(unit.text), 160)
                )
            ],
        )


def _is_named(reference: Reference, body: str) -> bool:
    """Whether the text names one of the first authors near the year, in a form of its own."""
    if reference.key:
        return False
    if not reference.authors or not reference.year:
        return True  # Too little was understood of the entry to say that it is idle.
    for found in re.finditer(reference.year, body):
        near = plain(body[max(0, found.start() - 90) : found.start()])
        if any(author in near for author in reference.authors[:4]):
            return True
    return False


def check_hidden(manuscript: Manuscript) -> Findings:
    """Text that a reader does not see, and sentences that speak to a reviewing machine."""
    findings = Findings("hidden_text")
    findings.applied = len(manuscript.pages)
    for hidden in manuscript.hidden:
        commands = hidden.kind == "instruction" or is_instruction(hidden.text)
        quote = hidden.text[:240]
        anchor = Anchor(page=hidden.page, kind="quote", quote=quote, valid=True)
        if hidden.kind == "instruction":
            findings.flag(
                "major",
                0.6,
                "A sentence tells a reviewing machine what to write.",
                hidden.detail,
                [anchor],
            )
        elif commands:
            findings.flag(
                "major",
                0.9,
                "Hidden text tells a reviewing machine what to write.",
                f"{hidden.detail}: “{quote}”",
                [anchor],
            )
        else:
            few = hidden.kind == "zero_width"
            findings.flag(
                "minor",
                0.15 if few else 0.3,
                "Characters that nobody sees stand in the text."
                if few
                else "Text that nobody sees stands on the page.",
                f"{hidden.detail}: “{quote}”",
                [anchor],
            )
    return findings
