"""A review without a network: the same steps as the agents take, in one function."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version

from .anchors import anchored, checked
from .argument import ArgumentMap, map_arguments
from .checklist import check_methods
from .decision import decide
from .guards import ADVISORY, disclose, guards_of
from .integrity import check_integrity
from .manuscript import Manuscript
from .profiles import Profile
from .report import Basis, CheckCount, Flag, Issue, Item, Node, Report, Strength
from .reviewers import (
    evidence_issues,
    integrity_issues,
    methods_issues,
    presentation_issues,
    strengths_of,
)
from .scores import score

_ORDER = {"major": 0, "minor": 1}


def review(manuscript: Manuscript, profile: Profile, *, seed: int = 0) -> Report:
    """The report of a manuscript by rules alone."""
    flags, counts = check_integrity(manuscript)
    mapped = map_arguments(manuscript, flags)
    items = check_methods(manuscript, profile.skip)
    issues = [
        *integrity_issues(flags),
        *methods_issues(items, profile),
        *evidence_issues(manuscript, mapped),
        *presentation_issues(manuscript, items),
    ]
    strengths = strengths_of(manuscript, items, mapped, counts)
    return assemble(manuscript, profile, flags, counts, mapped, items, issues, strengths, seed=seed)


def assemble(
    manuscript: Manuscript,
    profile: Profile,
    flags: Sequence[Flag],
    counts: Sequence[CheckCount],
    mapped: ArgumentMap,
    items: Sequence[Item],
    issues: Sequence[Issue],
    strengths: Sequence[Strength],
    *,
    seed: int = 0,
    prompts: str = "",
    served: Mapping[str, str] | None = None,
    said: Sequence[str] = (),
) -> Report:
    """Check every anchor, score, decide, and put the report together.

    Issues whose anchors do not hold go to `ungrounded`, and decide nothing.
    """
    told = [checked(issue, manuscript) for issue in issues]
    held = _numbered([issue for issue in told if issue.grounded], "i")
    loose = _numbered([issue for issue in told if not issue.grounded], "n")
    strengths = [
        s.model_copy(update={"anchors": anchored(s.anchors, manuscript)}) for s in strengths
    ]
    strengths = [s for s in strengths if any(anchor.valid for anchor in s.anchors)]
    flags = [f.model_copy(update={"anchors": anchored(f.anchors, manuscript)}) for f in flags]
    items = [i.model_copy(update={"anchors": anchored(i.anchors, manuscript)}) for i in items]
    scores = score(mapped.claims, mapped.graph, items, flags, profile.weights)
    critiques = tuple(
        Node(
            id=f"i-{issue.id}",
            kind="critique",
            page=issue.anchors[0].page,
            text=issue.text[:300],
            ref=issue.id,
        )
        for issue in held
        if issue.severity == "major" and not issue.flag
    )
    graph = mapped.graph.model_copy(
        update={
            "nodes": (*mapped.graph.nodes, *critiques),
            "grounded": tuple(sorted((*mapped.graph.grounded, *(node.id for node in critiques)))),
        }
    )
    places = dict(served or {})
    disclosure = disclose((*held, *loose), strengths, places, said)
    summary = summarize(manuscript, mapped)
    return Report(
        basis=Basis(
            manuscript=manuscript.sha256,
            profile=profile.name,
            profile_digest=profile.digest(),
            model=", ".join(disclosure.models) or "rules",
            prompts=prompts,
            seed=seed,
            version=version("repertory"),
        ),
        task=profile.task,
        status=ADVISORY,
        manuscript=manuscript,
        summary=summary,
        strengths=tuple(strengths),
        issues=held,
        ungrounded=loose,
        claims=mapped.claims,
        graph=graph,
        flags=tuple(flags),
        checks=tuple(counts),
        checklist=tuple(items),
        scores=scores,
        decision=decide(scores, held, profile.thresholds),
        guards=guards_of(manuscript, held, strengths, summary, flags, disclosure, places),
        disclosure=disclosure,
    )


def _numbered(issues: Sequence[Issue], letter: str) -> tuple[Issue, ...]:
    """Those of rules first, so that a model's change no number; majors first, then by page."""
    ordered = sorted(
        issues,
        key=lambda i: (
            i.author != "rules",
            _ORDER[i.severity],
            i.anchors[0].page if i.anchors else 0,
            i.anchors[0].start or 0 if i.anchors else 0,
            i.text,
        ),
    )
    return tuple(
        issue.model_copy(update={"id": f"{letter}{n}"}) for n, issue in enumerate(ordered, start=1)
    )


def summarize(manuscript: Manuscript, mapped: ArgumentMap) -> str:
    """What the manuscript is and what it says of itself, in its own words."""
    counts = {
        kind: sum(u.kind == kind and bool(u.label) for u in manuscript.units)
        for kind in ("table", "figure", "equation")
    }
    parts = ", ".join(f"{n} {kind}{'s' if n != 1 else ''}" for kind, n in counts.items() if n)
    pages = len(manuscript.pages)
    head = f"“{manuscript.title}” has {pages} page{'s' if pages != 1 else ''} and {manuscript.words:,} words"
    head += f", {parts}" if parts else ""
    head += f" and {len(manuscript.references)} references." if manuscript.references else "."
    kinds = {section.id: section.kind for section in manuscript.sections}
    first = [c for c in mapped.claims if kinds.get(c.section) == "abstract"] or list(mapped.claims)
    said = " ".join(f"“{claim.text}” (p. {claim.page})" for claim in first[:3])
    return f"{head} It claims: {said}" if said else f"{head} No claim was found in it."
