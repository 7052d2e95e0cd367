"""The argument map: claims, the evidence that supports them, and what attacks either.

Attacks come from integrity flags, from numbers and tables that are not there, from words
stronger than the test beside them or than the design; what the manuscript itself concedes
attacks the critique in turn. Supports do not enter the grounded extension; they are
counted by the evidential fit.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from .claims import claims_of
from .dung import grounded_extension
from .findings import Sentence, sentences_of
from .integrity import told_numbers
from .likeness import likeness
from .manuscript import Manuscript, Unit
from .report import Claim, Edge, Flag, Graph, Node
from .sentences import flatten

_MENTION = re.compile(
    r"\b(?P<what>Tables?|Tabs?\.|Figures?|Figs?\.?|FIG\.|Eqs?\.|Equations?|Algorithms?)\s*\(?(?P<numbers>[A-Z]?\.?\d{1,2}[a-z]?(?:\s*(?:,|and|&|–|-|to)\s*[A-Z]?\.?\d{1,2}[a-z]?)*)\)?"
)
_STATISTIC = re.compile(
    r"\b[pP]\s*[<=>≤]\s*\.?\d|\b(?:CI|confidence interval)\b|±|\b(?:SD|SE|SEM)\s*=|\b[tFrz]\s*\([\d., ]+\)\s*=|χ|\bd\s*=\s*[-−]?\d|\b(?:OR|HR|RR|β|R2|R²)\s*=|\bM\s*=\s*\d"
)
_FIGURE_NUMBER = re.compile(r"\d+(?:\.\d+)?\s*(?:%|percent|points?|pp\b|×|x\b)|\d+\.\d+")
_SIGNIFICANT = re.compile(
    r"(?<!not )(?<!no )(?<!non-)(?<!in)\b(?:statistically )?significant(?:ly)?\b", re.IGNORECASE
)
_NOT_SIGNIFICANT = re.compile(
    r"\b(?:not|no|non|neither|nor|without|did not|failed)\b[^.]{0,40}\bsignifican|\bmarginally\b|\binsignificant\b",
    re.IGNORECASE,
)
_P = re.compile(r"\b[pP]\s*(?P<relation>[=>])\s*(?P<p>0?\.\d+)")
_RANDOMIZED = re.compile(
    r"\brandomi[sz]ed\b|\brandomly (?:assigned|allocated)\b|\brandom assignment\b|\bRCT\b|\bcontrolled (?:trial|experiment)\b|\bablation|\bcounterbalanc|\bmanipulat(?:ed|ion)\b|\binstrumental variable|\bdifference-in-differences\b|\bregression discontinuity\b|\btheorem\b|\bproof\b|\bbaselines?\b|\bcontrol (?:group|condition|experiment)s?\b|\bsimulat(?:ed|ion)\b|\bknock-?out\b|\btreated with\b|\bexperimental(?:ly)?\b|\bexperiments?\b",
    re.IGNORECASE,
)
_OBSERVATIONAL = re.compile(
    r"\bcross-sectional\b|\bobservational\b|\bsurvey(?:ed)?\b|\bquestionnaire|\bcorrelational\b|\bcohort\b|\bretrospective\b|\binterview|\bself-report|\bcase-control\b|\bregistry\b|\bpanel data\b",
    re.IGNORECASE,
)
_CONCESSION = re.compile(
    r"\b(?:cannot|can not|do not|does not|not possible to|unable to)\b[^.]{0,60}\b(?:caus\w+|establish|infer)\b|\bcausal (?:inference|conclusion|claim|interpretation)s?\b[^.]{0,60}\b(?:limited|cannot|not|caution)|\bcorrelation does not\b|\bobservational (?:nature|design)\b|\bconfound\w*\b[^.]{0,60}\b(?:cannot|remain|possible|may)\b",
    re.IGNORECASE,
)
_SIMILAR = 0.24
_STRONG = re.compile(
    r"\bcaus(?:es?|ed|ing|al(?:ly)?)\b|\bleads? to\b|\bled to\b|\beffect of\b|\bimpact of\b|\bdue to\b|\bprevents?\b|\binduce[sd]?\b",
    re.IGNORECASE,
)


@dataclass(slots=True)
class ArgumentMap:
    """Claims with their evidence, and the graph with its grounded extension."""

    claims: tuple[Claim, ...]
    graph: Graph


@dataclass(slots=True)
class _Builder:
    manuscript: Manuscript
    claims: tuple[Claim, ...]
    nodes: dict[str, Node] = field(default_factory=dict)
    edges: list[Edge] = field(default_factory=list)
    evidence: dict[str, list[str]] = field(default_factory=dict)

    def node(self, node: Node) -> str:
        self.nodes.setdefault(node.id, node)
        return node.id

    def edge(
        self, source: str, target: str, kind: str, page: int, start: int, end: int, reason: str
    ) -> None:
        edge = Edge.model_validate(
            {
                "source": source,
                "target": target,
                "kind": kind,
                "page": page,
                "start": start,
                "end": end,
                "reason": reason,
            }
        )
        if all((e.source, e.target, e.kind) != (source, target, kind) for e in self.edges):
            self.edges.append(edge)
            if (
                kind == "support"
                and target in self.evidence
                and source not in self.evidence[target]
            ):
                self.evidence[target].append(source)

    def unit_node(self, unit: Unit) -> str:
        text = " ".join(unit.text.split())[:160]
        return self.node(
            Node(
                id=f"e-{unit.id}",
                kind="evidence",
                page=unit.page,
                text=text,
                ref=unit.label or unit.id,
            )
        )


def map_arguments(manuscript: Manuscript, flags: Sequence[Flag]) -> ArgumentMap:
    """The argument map of a manuscript, with the flags of its integrity checks as attacks."""
    claims = claims_of(manuscript)
    builder = _Builder(manuscript, claims, evidence={claim.id: [] for claim in claims})
    for claim in claims:
        builder.node(
            Node(
                id=claim.id, kind="claim", page=claim.page, text=claim.text[:400], ref=claim.section
            )
        )
    labels = labeled_units(manuscript)
    for claim in claims:
        _support(builder, claim, labels)
    _support_by_text(builder, labels)
    _attack_by_flags(builder, flags)
    _attack_by_words(builder)
    _attack_by_numbers(builder)
    _attack_by_design(builder)
    attacks = [(edge.source, edge.target) for edge in builder.edges if edge.kind == "attack"]
    status = grounded_extension(builder.nodes, attacks)
    nodes = tuple(
        node.model_copy(update={"status": status[node.id]}) for node in builder.nodes.values()
    )
    graph = Graph(
        nodes=nodes,
        edges=tuple(builder.edges),
        grounded=tuple(sorted(node for node, told in status.items() if told == "in")),
    )
    kept = tuple(c.model_copy(update={"evidence": tuple(builder.evidence[c.id])}) for c in claims)
    return ArgumentMap(kept, graph)


def labeled_units(manuscript: Manuscript) -> dict[str, Unit]:
    """Figures, tables and equations by their label; the first of a label counts."""
    found: dict[str, Unit] = {}
    for unit in manuscript.units:
        if unit.kind in {"figure", "table", "equation"} and unit.label:
            found.setdefault(unit.label.lower(), unit)
    return found


def mentions(text: str) -> list[tuple[str, int, int]]:
    """The labels that a text mentions ("table 2"), with the slice that does."""
    told = []
    for found in _MENTION.finditer(text):
        word = found["what"].lower().rstrip("s.")
        name = {"tab": "table", "fig": "figure", "eq": "equation"}.get(word, word)
        numbers = re.findall(r"[A-Z]?\.?\d{1,2}", found["numbers"])
        if (
            re.search(r"\d\s*(?:–|-|to)\s*\d", found["numbers"])
            and len(numbers) == 2
            and all(n.isdigit() for n in numbers)
        ):
            numbers = [
                str(n)
                for n in range(int(numbers[0]), min(int(numbers[1]), int(numbers[0]) + 12) + 1)
            ]
        for number in numbers:
            label = f"({number})" if name == "equation" else f"{name} {number}"
            told.append((label, found.start(), found.end()))
    return told


def _support(builder: _Builder, claim: Claim, labels: dict[str, Unit]) -> None:
    """What the claim's own sentence points at or prints."""
    flat = flatten(builder.manuscript.page_text(claim.page)[claim.start : claim.end])
    for label, start, end in mentions(flat.text):
        begin, stop = flat.span(start, end)
        unit = labels.get(label)
        if unit is not None:
            builder.edge(
                builder.unit_node(unit),
                claim.id,
                "support",
                claim.page,
                claim.start + begin,
                claim.start + stop,
                "the claim points at it",
            )
        elif not label.startswith("("):
            numbers = [key for key in labels if key.split()[0] == label.split()[0]]
            # Only where others of its kind were found is one that was not surely missing.
            if len(numbers) >= 2 and not re.search(r"[a-z]\.?\d|[A-Z]", label.split()[1]):
                critique = builder.node(
                    Node(
                        id=f"x-missing-{label.replace(' ', '-')}",
                        kind="critique",
                        page=claim.page,
                        text=f"{label.capitalize()} is referred to and is not in the manuscript",
                        ref=label.capitalize(),
                    )
                )
                builder.edge(
                    critique,
                    claim.id,
                    "attack",
                    claim.page,
                    claim.start + begin,
                    claim.start + stop,
                    "what it points at is not there",
                )
    found = _STATISTIC.search(flat.text) or (
        _FIGURE_NUMBER.search(flat.text) if claim.kind != "novelty" else None
    )
    if found and not _is_abstract(builder, claim):
        begin, stop = flat.span(found.start(), found.end())
        node = Node(
            id=f"e-{claim.id}",
            kind="evidence",
            page=claim.page,
            text=flat.text[max(0, found.start() - 40) : found.end() + 60],
            ref="statistic",
        )
        builder.edge(
            builder.node(node),
            claim.id,
            "support",
            claim.page,
            claim.start + begin,
            claim.start + stop,
            "the claim prints its statistic",
        )


def _is_abstract(builder: _Builder, claim: Claim) -> bool:
    section = builder.manuscript.section(claim.section)
    return section is not None and section.kind in {"abstract", "introduction", "conclusion"}


def _support_by_text(builder: _Builder, labels: dict[str, Unit]) -> None:
    """For claims without evidence of their own: sentences of the results that say the same."""
    kinds = {section.id: section.kind for section in builder.manuscript.sections}
    bearing: list[Sentence] = []
    for sentence in sentences_of(builder.manuscript):
        if kinds.get(sentence.unit.section, "other") in {
            "abstract",
            "introduction",
            "conclusion",
            "related",
            "acknowledgments",
        }:
            continue
        if (
            _STATISTIC.search(sentence.text)
            or any(label in labels for label, _, _ in mentions(sentence.text))
            or _FIGURE_NUMBER.search(sentence.text)
        ):
            bearing.append(sentence)
    bare = [claim for claim in builder.claims if not builder.evidence[claim.id]]
    if not bare or not bearing:
        return
    near = likeness([c.text for c in bare], [s.text for s in bearing])
    for row, claim in enumerate(bare):
        numbers = told_numbers(claim.text)
        best, why, score = -1, "", 0.0
        for column, sentence in enumerate(bearing):
            if sentence.unit.page == claim.page and sentence.slice(0, 1)[0] == claim.start:
                continue
            shared = numbers & told_numbers(sentence.text)
            rank = float(near[row][column]) + (0.3 if shared else 0.0)
            if rank > score:
                score, best = rank, column
                why = f"the results say alike (cosine {near[row][column]:.2f}" + (
                    f", and share {', '.join(sorted(shared)[:3])})" if shared else ")"
                )
        if best >= 0 and score >= _SIMILAR:
            sentence = bearing[best]
            start, end = sentence.slice(0, len(sentence.text))
            node = Node(
                id=f"e-{sentence.unit.id}-{start}",
                kind="evidence",
                page=sentence.unit.page,
                text=sentence.text[:300],
                ref="passage",
            )
            builder.edge(
                builder.node(node), claim.id, "support", sentence.unit.page, start, end, why
            )


def _attack_by_flags(builder: _Builder, flags: Sequence[Flag]) -> None:
    """A flag attacks the claims that print what it flags, and the evidence it stands in."""
    for flag in flags:
        if flag.check in {"unused_reference", "hidden_text", "duplicated_passage"}:
            continue
        anchor = flag.anchors[0]
        if anchor.start is None or anchor.end is None:
            continue
        critique = Node(
            id=f"x-{flag.id}", kind="critique", page=anchor.page, text=flag.text, ref=flag.id
        )
        for claim in builder.claims:
            if claim.page == anchor.page and claim.start < anchor.end and anchor.start < claim.end:
                builder.node(critique)
                own = f"e-{claim.id}"
                target = own if own in builder.nodes and flag.severity == "minor" else claim.id
                builder.edge(
                    critique.id, target, "attack", anchor.page, anchor.start, anchor.end, flag.text
                )
                if own in builder.nodes and target != own:
                    builder.edge(
                        critique.id, own, "attack", anchor.page, anchor.start, anchor.end, flag.text
                    )
        for unit in builder.manuscript.units:
            if (
                unit.kind in {"table", "figure"}
                and unit.page == anchor.page
                and unit.start <= anchor.start < unit.end
                and f"e-{unit.id}" in builder.nodes
            ):
                builder.node(critique)
                builder.edge(
                    critique.id,
                    f"e-{unit.id}",
                    "attack",
                    anchor.page,
                    anchor.start,
                    anchor.end,
                    flag.text,
                )


def _attack_by_words(builder: _Builder) -> None:
    """A claim of significance with a p-value above .05 beside it."""
    for claim in builder.claims:
        if not _SIGNIFICANT.search(claim.text) or _NOT_SIGNIFICANT.search(claim.text):
            continue
        values = [(m["relation"], float(m["p"])) for m in _P.finditer(claim.text)]
        if values and all(p > 0.05 or (relation == ">" and p >= 0.05) for relation, p in values):
            told = ", ".join(f"p {relation} {p:g}" for relation, p in values)
            node = Node(
                id=f"x-significance-{claim.id}",
                kind="critique",
                page=claim.page,
                text=f"Called significant, with {told}",
                ref=claim.id,
            )
            builder.edge(
                builder.node(node),
                claim.id,
                "attack",
                claim.page,
                claim.start,
                claim.end,
                f"{told} is above .05",
            )


def _attack_by_numbers(builder: _Builder) -> None:
    """Numbers of the abstract that the manuscript prints nowhere else."""
    manuscript = builder.manuscript
    abstract = {section.id for section in manuscript.sections if section.kind == "abstract"}
    listed = {section.id for section in manuscript.sections if section.kind == "references"}
    body = " ".join(
        flatten(u.text).text for u in manuscript.units if u.section not in abstract | listed
    )
    known = told_numbers(body)
    if len(body.split()) < 300:
        return
    for claim in builder.claims:
        if claim.section not in abstract:
            continue
        missing = sorted(
            n for n in told_numbers(claim.text) if n not in known and not _is_rounded(n, known)
        )
        precise = [
            n for n in missing if "." in n or re.search(rf"(?<!\d){n}\s*(?:%|percent)", claim.text)
        ]
        if precise:
            told = ", ".join(precise)
            page = manuscript.page_text(claim.page)
            at = page.find(precise[0], claim.start, claim.end)
            start, end = (at, at + len(precise[0])) if at >= 0 else (claim.start, claim.end)
            node = Node(
                id=f"x-abstract-{claim.id}",
                kind="critique",
                page=claim.page,
                text=f"The abstract's {told} is printed nowhere else",
                ref=claim.id,
            )
            builder.edge(
                builder.node(node),
                claim.id,
                "attack",
                claim.page,
                start,
                end,
                f"{told} does not occur outside the abstract",
            )


def _is_rounded(number: str, known: frozenset[str]) -> bool:
    """Whether some known number rounds to this one, also as a share of a hundred."""
    places = len(number.partition(".")[2])
    value = float(number)
    half = 0.5 * 10.0**-places + 1e-9
    for other in known:
        if len(other.partition(".")[2]) >= places and abs(float(other) - value) <= half:
            return True
        if "." in other and abs(float(other) * 100 - value) <= half:
            return True
    return False


def _attack_by_design(builder: _Builder) -> None:
    """Causal words where the design observes and does not intervene; a concession answers them."""
    manuscript = builder.manuscript
    whole = " ".join(flatten(page.text).text for page in manuscript.pages)
    if _RANDOMIZED.search(whole) or not _OBSERVATIONAL.search(whole):
        return
    kinds = {section.id: section.kind for section in manuscript.sections}
    conceded = [
        s for s in sentences_of(manuscript)
        if kinds.get(s.unit.section, "other") in {"discussion", "limitations", "conclusion", "methods", "other"} and _CONCESSION.search(s.text)
    ]  # fmt: skip
    for claim in builder.claims:
        if claim.kind not in {"causal", "result"} or not _STRONG.search(claim.text):
            continue
        node = Node(
            id=f"x-causal-{claim.id}",
            kind="critique",
            page=claim.page,
            text="Causal words, and a design that only observes",
            ref=claim.id,
        )
        builder.edge(
            builder.node(node),
            claim.id,
            "attack",
            claim.page,
            claim.start,
            claim.end,
            "no randomization or control is described",
        )
        for sentence in conceded[:1]:
            start, end = sentence.slice(0, len(sentence.text))
            told = Node(
                id=f"e-concession-{start}",
                kind="evidence",
                page=sentence.unit.page,
                text=sentence.text[:300],
                ref="concession",
            )
            builder.edge(
                builder.node(told),
                node.id,
                "attack",
                sentence.unit.page,
                start,
                end,
                "the manuscript concedes it",
            )
