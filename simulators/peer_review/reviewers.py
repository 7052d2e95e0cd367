"""What reviewers raise by rule: every issue quotes the place it is about, and says what to do."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Literal

from .argument import ArgumentMap
from .checklist import QUESTION_OF, first_anchor, label_anchor, section_anchor
from .findings import Sentence, sentences_of, slice_anchor
from .integrity import ACTION_OF, CATEGORY_OF
from .manuscript import Manuscript
from .profiles import Profile
from .report import Anchor, Category, CheckCount, Claim, Flag, Issue, Item, Severity, Strength

Focus = Literal["methods", "evidence", "presentation"]
_MOST_UNSUPPORTED = 6
_OVERSTATED = re.compile(
    r"\b(?:undoubtedly|unquestionabl[ey]|indisputabl[ey]|beyond (?:any )?doubt|proves? (?:that|once)|conclusively|guarantees? (?:that|optimal|perfect)|always|never fails|completely (?:solves?|eliminates?)|perfect(?:ly)?|revolutioni[sz]\w*|unprecedented|groundbreaking|obviously|clearly superior)\b",
    re.IGNORECASE,
)
_ACRONYM = re.compile(r"(?<![\w-])[A-Z]{3,6}s?(?![\w-])")
_KNOWN_ACRONYMS = frozenset(
    [
        "USA",
        "UK",
        "EU",
        "NASA",
        "DNA",
        "RNA",
        "PCR",
        "MRI",
        "HIV",
        "AIDS",
        "COVID",
        "URL",
        "HTML",
        "PDF",
        "XML",
        "JSON",
        "API",
        "CPU",
        "GPU",
        "GPUS",
        "RAM",
        "USD",
        "EUR",
        "IEEE",
        "ACM",
        "ISO",
        "WHO",
        "ANOVA",
        "MANOVA",
        "ANCOVA",
        "SPSS",
        "IBM",
        "AND",
        "THE",
        "FOR",
        "NOT",
        "III",
        "VII",
        "VIII",
        "NLP",
        "LLM",
        "LLMS",
        "BERT",
        "GPT",
        "ICLR",
        "ICML",
        "ACL",
        "EMNLP",
        "NAACL",
        "CVPR",
        "AAAI",
        "SOTA",
        "PHD",
        "CEO",
        "FDA",
        "NHS",
        "BMI",
        "ICU",
        "ECG",
        "EEG",
        "FMRI",
        "SQL",
        "HTTP",
        "HTTPS",
        "DOI",
        "ISBN",
        "ISSN",
        "UTC",
        "GMT",
        "FIG",
        "TABLE",
        "SEM",
        "GLM",
        "OLS",
        "AUC",
        "ROC",
    ]
)


def methods_issues(items: Sequence[Item], profile: Profile) -> list[Issue]:
    """Questions of the checklist that the text does not answer."""
    issues = []
    for item in items:
        question = QUESTION_OF[item.id]
        if item.passed is not False or question.category == "presentation_clarity":
            continue
        severity: Severity = "major" if question.major or item.id in profile.major else "minor"
        text = question.missing + (
            f" {item.detail[0].upper()}{item.detail[1:]}." if item.detail else ""
        )
        issues.append(
            _issue(
                severity, question.category, text, question.action, item.anchors, "methods_reviewer"
            )
        )
    return issues


def evidence_issues(manuscript: Manuscript, mapped: ArgumentMap) -> list[Issue]:
    """Claims that something undefeated contradicts, and claims without evidence."""
    issues = []
    status = {node.id: node for node in mapped.graph.nodes}
    claims = {claim.id: claim for claim in mapped.claims}
    told: set[str] = set()
    for edge in mapped.graph.edges:
        critique = status[edge.source]
        claim = claims.get(edge.target)
        # What a flag says, the integrity checker's issues say already.
        if (
            edge.kind != "attack"
            or claim is None
            or critique.status != "in"
            or critique.id in told
            or re.fullmatch(r"x-f\d+", critique.id)
        ):
            continue
        told.add(critique.id)
        kind = critique.id.split("-")[1]
        severity, category, action = _CRITIQUES[kind]
        anchors = [slice_anchor(manuscript, edge.page, edge.start, min(edge.end, edge.start + 240))]
        if edge.end - edge.start < 12:
            anchors.append(_claim_anchor(manuscript, claim))
        text = f"{critique.text}. The claim is: “{_short(claim.text)}”"
        issues.append(_issue(severity, category, text, action, anchors, "evidence_reviewer"))
    issues.extend(_unsupported(manuscript, mapped))
    issues.extend(_overstated(manuscript, mapped.claims))
    return issues


_CRITIQUES: dict[str, tuple[Severity, Category, str]] = {
    "missing": (
        "minor",
        "presentation_clarity",
        "Add what is referred to, or correct the reference.",
    ),
    "significance": ("major", "statistics", "Do not call it significant, or correct the p-value."),
    "abstract": (
        "minor",
        "data_results",
        "Report the number in the results, or correct the abstract.",
    ),
    "causal": (
        "major",
        "interpretation_claims",
        "Word it as an association, or say what rules out other explanations.",
    ),
}


def _unsupported(manuscript: Manuscript, mapped: ArgumentMap) -> Iterator[Issue]:
    """The claims without evidence that matter most: those of the abstract and the conclusion first."""
    # Evidence that a flag defeats is told by the flag.
    kinds = {section.id: section.kind for section in manuscript.sections}
    order = {"abstract": 0, "conclusion": 1, "results": 2, "discussion": 3}
    bare = [
        claim
        for claim in mapped.claims
        if claim.kind != "novelty"
        and not claim.evidence
        and kinds.get(claim.section, "other") in order
    ]
    bare.sort(key=lambda claim: order[kinds.get(claim.section, "other")])
    for claim in bare[:_MOST_UNSUPPORTED]:
        place = kinds.get(claim.section, "other")
        severity: Severity = (
            "major" if place == "abstract" and claim.kind == "comparison" else "minor"
        )
        text = f"This {claim.kind} claim stands without evidence: no table, figure or statistic is found for it. “{_short(claim.text)}”"
        yield _issue(
            severity, "interpretation_claims", text,
            "Point at the table, figure or test that shows it, or weaken it.",
            [_claim_anchor(manuscript, claim)], "evidence_reviewer",
        )  # fmt: skip


def _overstated(manuscript: Manuscript, claims: Sequence[Claim]) -> Iterator[Issue]:
    for claim in claims:
        found = _OVERSTATED.search(claim.text)
        if found:
            yield _issue(
                "minor", "interpretation_claims",
                f"“{found.group()}” says more than data can. “{_short(claim.text)}”",
                "Say how far the result goes.", [_claim_anchor(manuscript, claim)], "evidence_reviewer",
            )  # fmt: skip
            return


def presentation_issues(manuscript: Manuscript, items: Sequence[Item]) -> list[Issue]:
    """What makes the manuscript hard to follow, and how it stands in its literature."""
    issues = []
    for item in items:
        question = QUESTION_OF[item.id]
        if item.passed is not False or question.category != "presentation_clarity":
            continue
        text = question.missing or f"Not every figure and table is referred to; {item.detail}."
        issues.append(
            _issue(
                "minor",
                question.category,
                text,
                question.action,
                item.anchors,
                "presentation_reviewer",
            )
        )
    issues.extend(_undefined(manuscript))
    issues.extend(_long_sentences(manuscript))
    issues.extend(_bare_captions(manuscript))
    issues.extend(_literature(manuscript))
    return issues


def _undefined(manuscript: Manuscript) -> Iterator[Issue]:
    """Abbreviations that are used often and explained nowhere."""
    whole = "\n".join(page.text for page in manuscript.pages)
    first: dict[str, Sentence] = {}
    counts: Counter[str] = Counter()
    for sentence in sentences_of(manuscript):
        if sentence.text.isupper():
            continue
        for found in _ACRONYM.finditer(sentence.text):
            name = found.group().removesuffix("s")
            counts[name] += 1
            first.setdefault(name, sentence)
    missing = [
        name
        for name, count in counts.most_common()
        if count >= 4
        and name not in _KNOWN_ACRONYMS
        and not re.search(
            rf"[(\[]\s*{name}s?\b|\b{name}s?\s*[(\[=:]|\b{name}s?,? (?:stands for|short for|denotes)",
            whole,
        )
    ][:3]
    if missing:
        anchors = [first[name].anchor(*_around(first[name].text, name)) for name in missing]
        text = f"Used and not explained: {', '.join(f'{name} ({counts[name]} times)' for name in missing)}."
        yield _issue(
            "minor",
            "presentation_clarity",
            text,
            "Explain each abbreviation where it is first used.",
            anchors,
            "presentation_reviewer",
        )


def _around(text: str, name: str) -> tuple[int, int]:
    at = text.index(name)
    start = text.rfind(" ", 0, max(0, at - 40)) + 1
    stop = text.find(" ", min(len(text), at + 50))
    return start, stop if stop > 0 else len(text)


def _long_sentences(manuscript: Manuscript) -> Iterator[Issue]:
    every = [s for s in sentences_of(manuscript) if len(s.text.split()) > 4]
    long = [
        s
        for s in every
        if 60 < len(s.text.split()) < 150 and not re.search(r"[=∑∫{}]|\s{2}|[•·]", s.text)
    ]
    if every and len(long) >= 3 and len(long) > 0.02 * len(every):
        text = f"{len(long)} of {len(every)} sentences have more than 60 words, and are hard to follow."
        yield _issue(
            "minor",
            "presentation_clarity",
            text,
            "Divide the longest sentences.",
            [s.anchor() for s in long[:3]],
            "presentation_reviewer",
        )


def _bare_captions(manuscript: Manuscript) -> Iterator[Issue]:
    bare = [
        unit
        for unit in manuscript.units
        if unit.kind == "figure" and unit.label.startswith("Figure") and len(unit.text.split()) < 6
    ]
    if bare:
        names = ", ".join(unit.label for unit in bare[:6])
        text = f"The caption says too little to read the figure by itself: {names}."
        yield _issue(
            "minor",
            "presentation_clarity",
            text,
            "Say in each caption what is shown and what it means.",
            [label_anchor(unit) for unit in bare[:4]],
            "presentation_reviewer",
        )


def _literature(manuscript: Manuscript) -> Iterator[Issue]:
    years = sorted(int(r.year) for r in manuscript.references if r.year)
    count = len(manuscript.references)
    section = next((s for s in manuscript.sections if s.kind == "references"), None)
    anchors = [section_anchor(manuscript, section)] if section else first_anchor(manuscript)
    if section is not None and 0 < count < 8 and manuscript.words > 1500:
        yield _issue(
            "minor",
            "literature_context",
            f"The manuscript has {count} references for {manuscript.words} words.",
            "Relate the work to the literature it stands in.",
            anchors,
            "presentation_reviewer",
        )
    if len(years) >= 8 and years[-1] - years[len(years) // 2] >= 12:
        text = f"Half of the {len(years)} dated references are from {years[len(years) // 2]} or before; the newest is from {years[-1]}."
        yield _issue(
            "minor",
            "literature_context",
            text,
            "Relate the work to recent literature.",
            anchors,
            "presentation_reviewer",
        )
    if section is None and not manuscript.citations:
        yield _issue(
            "minor",
            "literature_context",
            "Neither citations nor a list of references can be found.",
            "Cite what the work builds on.",
            anchors,
            "presentation_reviewer",
        )


def integrity_issues(flags: Sequence[Flag]) -> list[Issue]:
    """One issue for each flag, with its arithmetic."""
    return [
        Issue(
            id="", severity=flag.severity, category=CATEGORY_OF[flag.check], text=f"{flag.text} {flag.arithmetic}.",
            action=ACTION_OF[flag.check], anchors=flag.anchors, reviewer="integrity_checker", flag=flag.id,
        )
        for flag in flags
    ]  # fmt: skip


def _issue(
    severity: Severity,
    category: Category,
    text: str,
    action: str,
    anchors: Sequence[Anchor],
    reviewer: str,
) -> Issue:
    return Issue(
        id="",
        severity=severity,
        category=category,
        text=text,
        action=action,
        anchors=tuple(anchors),
        reviewer=reviewer,
    )


def _claim_anchor(manuscript: Manuscript, claim: Claim) -> Anchor:
    return slice_anchor(manuscript, claim.page, claim.start, min(claim.end, claim.start + 240))


def _short(text: str) -> str:
    return text if len(text) <= 200 else text[:197].rsplit(" ", 1)[0] + " …"


_PRAISE = {
    "uncertainty": "Results are reported with their uncertainty",
    "limitations": "Limitations are discussed",
    "availability": "Data or code are made available",
    "ablation": "It is shown which part of the method does the work",
    "ethics": "Approval and consent are reported",
    "multiplicity": "Many tests are corrected for their number",
    "effect_sizes": "Effect sizes stand beside the tests",
    "sample_size": "The sample size is justified",
    "randomization": "The assignment to groups is described",
    "seeds": "Results are taken over several runs",
    "implementation": "Settings and implementation are given",
    "data_described": "The data are described with their size",
}
_HELD = {
    "p_value": "{n} p-values were recomputed and follow from their statistics",
    "percentage": "{n} percentages were recomputed and agree with their counts",
    "grim": "{n} means were tested and are possible for their n",
    "table_sum": "{n} totals of tables were added up and are right",
    "unresolved_citation": "All of {n} citations have their entry",
}


def strengths_of(
    manuscript: Manuscript, items: Sequence[Item], mapped: ArgumentMap, counts: Sequence[CheckCount]
) -> list[Strength]:
    """What is well done, as far as it was checked."""
    strengths: list[Strength] = []

    def add(text: str, anchors: Sequence[Anchor], reviewer: str) -> None:
        strengths.append(
            Strength(
                id=f"g{len(strengths) + 1}", text=text, anchors=tuple(anchors), reviewer=reviewer
            )
        )

    supported = [c for c in mapped.claims if c.evidence]
    if mapped.claims and len(supported) >= 0.6 * len(mapped.claims):
        anchors = [_claim_anchor(manuscript, claim) for claim in supported[:2]]
        add(
            f"{len(supported)} of {len(mapped.claims)} claims stand with evidence that was found.",
            anchors,
            "evidence_reviewer",
        )
    for item in items:
        if item.passed and item.id in _PRAISE and item.anchors:
            add(f"{_PRAISE[item.id]}: {item.detail}.", item.anchors, "methods_reviewer")
    pages = first_anchor(manuscript)
    for count in counts:
        if count.check in _HELD and count.applied >= 3 and not count.flagged:
            add(_HELD[count.check].format(n=count.applied) + ".", pages, "integrity_checker")
    return strengths[:8]
