"""The deontic guards: what a report must do before it may leave the house."""

import re
from collections.abc import Mapping, Sequence

from .errors import ExportRefusedError
from .manuscript import Manuscript
from .report import Disclosure, Flag, Guard, Issue, Report, Strength

ADVISORY = "advisory: needs a human editor"
_ABOUT_AUTHORS = re.compile(
    r"\b(?:the )?authors?['’]?s? (?:are|is|seem|appear|must be|lack|do not (?:understand|know)|fail to understand|reputation|affiliations?|institutions?|nationality|gender|country|native language|careers?|competence|honesty|motives?)\b"
    r"|\b(?:native (?:English )?speakers?|famous (?:group|lab)|well-known (?:group|lab|institution)|inexperienced|incompetent|dishonest|fraudsters?|cheat(?:ed|ing)?)\b",
    re.IGNORECASE,
)
_QUOTED = re.compile(r"“[^”]*”")


def disclose(
    issues: Sequence[Issue],
    strengths: Sequence[Strength],
    served: Mapping[str, str],
    said: Sequence[str] = (),
) -> Disclosure:
    """Who wrote what. served: models by name, and the URL that serves each ("" for here).

    said: what else is to be told, one sentence each.
    """
    wrote: dict[str, int] = {}
    for author in (*(i.author for i in issues), *(s.author for s in strengths)):
        wrote[author] = wrote.get(author, 0) + 1
    models = tuple(sorted(name for name in wrote if name != "rules"))
    urls = tuple(sorted({served[name] for name in models if served.get(name)}))
    told = [
        "This report was made by a machine: deterministic rules found its claims, evidence and flags,"
        " computed its scores and chose its recommendation."
    ]
    if models:
        parts = ", ".join(f"{name} {wrote[name]}" for name in models)
        told.append(f"Of its points, models wrote: {parts}; they decided nothing.")
        unknown = [name for name in models if name not in served]
        if urls:
            told.append(f"Text of the manuscript was sent to {', '.join(urls)}.")
        elif not unknown:
            told.append("The models ran on this machine, and the manuscript did not leave it.")
    else:
        told.append("No language model was asked, and the manuscript did not leave this machine.")
    told.extend(said)
    return Disclosure(
        text=" ".join(told), models=models, urls=urls, wrote=dict(sorted(wrote.items()))
    )


def guards_of(
    manuscript: Manuscript,
    issues: Sequence[Issue],
    strengths: Sequence[Strength],
    summary: str,
    flags: Sequence[Flag],
    disclosure: Disclosure,
    served: Mapping[str, str],
    status: str = ADVISORY,
) -> tuple[Guard, ...]:
    """The four guards, each with what it looked at."""
    unknown = [name for name in disclosure.models if name not in served]
    told = bool(disclosure.text.strip())
    g1 = told and not unknown
    detail1 = (
        disclosure.text
        if g1
        else f"nobody says where {', '.join(unknown)} is served; name it under `served` of the desk"
    )
    loose = [c for c in manuscript.citations if c.missing]
    flagged = {f.anchors[0].quote for f in flags if f.check == "unresolved_citation"}
    linked = sum(1 for c in manuscript.citations if c.targets and not c.missing)
    silent = [c for c in loose if c.text not in flagged]
    detail2 = (
        f"{len(manuscript.citations)} citations: {linked} resolved, {len(flagged)} flagged"
        f", {len(silent)} listed as unresolved"
    )
    about = [
        t
        for t in (summary, *(i.text for i in issues), *(s.text for s in strengths))
        if _ABOUT_AUTHORS.search(_QUOTED.sub("", t))
    ]
    advisory = status == ADVISORY or status.startswith("signed by ")
    return (
        Guard(id="G1", name="disclosure", passed=g1, detail=detail1),
        Guard(id="G2", name="citations resolved or flagged", passed=True, detail=detail2),
        Guard(id="G3", name="a human decides", passed=advisory, detail=status),
        Guard(id="G4", name="nothing about authors", passed=not about, detail=about[0] if about else "no sentence speaks of the authors"),
    )  # fmt: skip


def require_exportable(report: Report) -> None:
    """Pass a report whose guards all hold.

    Raises:
        ExportRefusedError: At least one guard does not.
    """
    failed = [guard for guard in report.guards if not guard.passed]
    if failed:
        told = "; ".join(f"{guard.id} ({guard.name}): {guard.detail}" for guard in failed)
        sentence = f"{report.manuscript.name}: the report is not exported: {told}"
        raise ExportRefusedError(sentence, guards=tuple(guard.id for guard in failed))
