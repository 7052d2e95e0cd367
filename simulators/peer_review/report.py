"""The report of one manuscript: what pages, tables and benchmarks are made of.

A report holds no time and no random id, so the same manuscript, profile, model,
prompts and seed give the same bytes (`Report.to_json`). A signature is laid beside it
and names its digest.
"""

from hashlib import sha256
from typing import Literal, get_args

import rfc8785
from pydantic import Field

from .manuscript import Frozen, Manuscript

Severity = Literal["major", "minor"]
# The concern categories of TRACE-R (Saqr 2026, pipeline v3), by which coverage is counted.
Category = Literal[
    "statistics",
    "study_design",
    "methods_reproducibility",
    "data_results",
    "interpretation_claims",
    "literature_context",
    "ethics_reporting",
    "presentation_clarity",
    "other_scientific",
]
CATEGORIES: tuple[Category, ...] = get_args(Category)
Verdict = Literal["accept", "revise", "reject"]
Task = Literal["HCReview", "DAReview", "confReview", "PRR", "DBReviewSim"]


class Anchor(Frozen):
    """A place in the manuscript, checked by machine.

    kind: `quote` means that `quote` stands on the page; the others that the label `ref`
    does. valid: what the check said. start, end: the slice of the page, where it is known.
    """

    page: int
    kind: Literal["quote", "figure", "table", "equation", "section", "reference"]
    ref: str = ""
    quote: str = ""
    start: int | None = None
    end: int | None = None
    valid: bool = False


class Issue(Frozen):
    """One point of the review. author: "rules", or the id of the model that wrote its words.

    flag: the integrity flag it reports, or "". reviewer: the agent that raised it.
    """

    id: str
    severity: Severity
    category: Category
    text: str
    action: str
    anchors: tuple[Anchor, ...]
    reviewer: str
    author: str = "rules"
    flag: str = ""

    @property
    def grounded(self) -> bool:
        """Whether at least one anchor holds."""
        return any(anchor.valid for anchor in self.anchors)


class Strength(Frozen):
    """What the manuscript does well, with its anchors."""

    id: str
    text: str
    anchors: tuple[Anchor, ...]
    reviewer: str
    author: str = "rules"


class Claim(Frozen):
    """A sentence that says what was found, what is new, or what causes what.

    kind: its cue. evidence: ids of the evidence nodes that support it.
    """

    id: str
    kind: Literal["result", "novelty", "causal", "comparison"]
    page: int
    start: int
    end: int
    text: str
    section: str = ""
    evidence: tuple[str, ...] = ()


class Node(Frozen):
    """A node of the argument graph. label: its status in the grounded extension."""

    id: str
    kind: Literal["claim", "evidence", "critique"]
    page: int
    text: str
    ref: str = ""
    status: Literal["in", "out", "undecided"] = "in"


class Edge(Frozen):
    """`source` supports or attacks `target`, read from the slice of `page`; reason says how."""

    source: str
    target: str
    kind: Literal["support", "attack"]
    page: int
    start: int
    end: int
    reason: str


class Graph(Frozen):
    """Claims, evidence and critiques. grounded: the grounded extension (Dung 1995), sorted."""

    nodes: tuple[Node, ...] = ()
    edges: tuple[Edge, ...] = ()
    grounded: tuple[str, ...] = ()


class Flag(Frozen):
    """An integrity check that did not hold. arithmetic: the numbers, so that anyone can redo it.

    weight: w of r_f, in (0, 1].
    """

    id: str
    check: str
    severity: Severity
    weight: float
    text: str
    arithmetic: str
    anchors: tuple[Anchor, ...]


class CheckCount(Frozen):
    """How often an integrity check could be applied, and how often it did not hold."""

    check: str
    applied: int
    flagged: int


class Item(Frozen):
    """A question of the methods checklist. passed is None where it does not apply."""

    id: str
    question: str
    passed: bool | None
    detail: str = ""
    anchors: tuple[Anchor, ...] = ()


class Scores(Frozen):
    """Scores in [0, 1]; None where there is nothing to count. arithmetic: each one worked out.

    S: the quality S(M). r_f: the integrity risk.
    """

    coherence: float | None
    evidential_fit: float | None
    methodological_validity: float | None
    S: float
    r_f: float
    arithmetic: tuple[str, ...] = ()


class Rule(Frozen):
    """One rule as it was tried: `name`, the sentence with its numbers, and whether it held."""

    name: str
    sentence: str
    holds: bool


class Decision(Frozen):
    """A recommendation and the rules tried on the way, in order; `rule` is the one that held."""

    verdict: Verdict
    rule: str
    trace: tuple[Rule, ...]


class Guard(Frozen):
    """A deontic guard: G1 disclosure, G2 citations, G3 a human decides, G4 nothing of authors."""

    id: Literal["G1", "G2", "G3", "G4"]
    name: str
    passed: bool
    detail: str


class Disclosure(Frozen):
    """Who wrote what. urls: servers that were given text of the manuscript."""

    text: str
    models: tuple[str, ...] = ()
    urls: tuple[str, ...] = ()
    wrote: dict[str, int] = Field(default_factory=dict)


class Basis(Frozen):
    """What a report follows from; reports with an equal basis are equal byte for byte."""

    manuscript: str
    profile: str
    profile_digest: str
    model: str = "rules"
    prompts: str = ""
    seed: int = 0
    version: str


class Signature(Frozen):
    """A named person who takes the decision; until then the report is advisory (G3)."""

    name: str
    digest: str
    decision: Verdict
    when: str


class Report(Frozen):
    """All that is said of one manuscript."""

    basis: Basis
    task: Task = "HCReview"
    status: str = "advisory: needs a human editor"
    manuscript: Manuscript
    summary: str
    strengths: tuple[Strength, ...]
    issues: tuple[Issue, ...]
    ungrounded: tuple[Issue, ...] = ()
    claims: tuple[Claim, ...]
    graph: Graph
    flags: tuple[Flag, ...]
    checks: tuple[CheckCount, ...] = ()
    checklist: tuple[Item, ...]
    scores: Scores
    decision: Decision
    guards: tuple[Guard, ...]
    disclosure: Disclosure

    @property
    def anchor_rate(self) -> float | None:
        """Issues with a valid anchor, of all that were raised; None without issues."""
        raised = len(self.issues) + len(self.ungrounded)
        return sum(issue.grounded for issue in self.issues) / raised if raised else None

    @property
    def exportable(self) -> bool:
        """Whether every guard holds."""
        return all(guard.passed for guard in self.guards)

    def to_json(self) -> bytes:
        """The report in canonical JSON (RFC 8785)."""
        return rfc8785.dumps(self.model_dump(mode="json"))

    def digest(self) -> str:
        """SHA-256 of `to_json`."""
        return sha256(self.to_json()).hexdigest()
