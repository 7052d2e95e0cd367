"""What the runtime hands over when a task ends: plain values, filled from its own journal.

A draft knows nothing of the database; `record.pack_rows` turns it into rows.
The same small values (`Claim`, `Outcome`, `Cost`, `Origin`, `Rights`) name the
keys of the JSON columns of `tables.Pack`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeAlias

from .checks import CheckSpec, Verdict
from .digests import instant

Kind: TypeAlias = Literal[
    "episode",
    "correction",
    "reflection",
    "rule",
    "strategy",
    "task",
    "note",
    "synthetic",
]
Layer: TypeAlias = Literal["working", "episodic", "semantic"]
Source: TypeAlias = Literal["real", "executed_alternative", "simulated", "generated"]
Status: TypeAlias = Literal["candidate", "stable", "quarantined", "retired", "forgotten"]
Relation: TypeAlias = Literal[
    "derived_from",
    "corrects",
    "reflects_on",
    "supersedes",
    "contradicts",
    "synthesized_from",
    "used_by",
]
UNRELATED = frozenset({"contradicts"})
"""Relations by which nothing passes from one pack to the other."""


@dataclass(frozen=True, slots=True)
class PackRef:
    """One immutable revision of a pack."""

    id: str
    rev: int
    digest: str


@dataclass(frozen=True, slots=True)
class Claim:
    """A reason, and the steps of the same draft (by position) that support it."""

    text: str
    steps: tuple[int, ...] = ()
    confidence: float = 1.0


@dataclass(frozen=True, slots=True)
class StepDraft:
    """One thing that was done and what was seen after it.

    action: `{"kind": "tool"|"message"|"llm"|"decision", "name": …, "args": …}`.
    state: what was known before, as text. alternatives: other actions that were
    really executed from the same state, each `{"action", "observation", "source"}`.
    """

    action: Mapping[str, Any]
    observation: str
    at: datetime
    agent: str
    state: str = ""
    is_error: bool = False
    reward: float | None = None
    span_id: str = ""
    alternatives: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Cost:
    """What the task spent."""

    tokens_in: int = 0
    tokens_out: int = 0
    calls: int = 0
    usd: float = 0.0
    seconds: float = 0.0

    def wire(self) -> dict[str, Any]:
        """The cost as the JSON column holds it."""
        return {
            "tokens_in": self.tokens_in,
            "tokens_out": self.tokens_out,
            "calls": self.calls,
            "usd": self.usd,
            "seconds": self.seconds,
        }


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the task ended; `unknown` unless something executable said otherwise."""

    verdict: Literal["pass", "fail", "unknown"] = "unknown"
    score: float | None = None
    cost: Cost = Cost()

    def wire(self) -> dict[str, Any]:
        """The outcome as the JSON column holds it."""
        return {"verdict": self.verdict, "score": self.score, "cost": self.cost.wire()}


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a pack came from, down to what would be needed to run it again.

    principal: who asked for the task, as far as it was proven.
    """

    trace_id: str = ""
    a2a_task_id: str = ""
    model: str = ""
    model_params: Mapping[str, Any] = field(default_factory=dict)
    prompt_digest: str = ""
    tool_versions: Mapping[str, str] = field(default_factory=dict)
    seed: int | None = None
    principal: str = ""

    def wire(self) -> dict[str, Any]:
        """The origin as the JSON column holds it."""
        return {
            "trace_id": self.trace_id,
            "a2a_task_id": self.a2a_task_id,
            "model": self.model,
            "model_params": dict(self.model_params),
            "prompt_digest": self.prompt_digest,
            "tool_versions": dict(self.tool_versions),
            "seed": self.seed,
            "principal": self.principal,
        }


@dataclass(frozen=True, slots=True)
class Rights:
    """What may be done with a pack; the defaults are the narrowest that still allow reuse here.

    subjects: keyed hashes of the persons it is about, never their names.
    """

    licence: str = "LicenseRef-Internal"
    restrictions: frozenset[str] = frozenset()
    purposes: frozenset[str] = frozenset()
    audience: tuple[str, ...] = ()
    classification: str = "internal"
    subjects: tuple[str, ...] = ()
    retain_until: datetime | None = None
    policy_rev: int = 0

    def wire(self) -> dict[str, Any]:
        """The rights as the JSON column holds them; sets are sorted, so digests are stable."""
        return {
            "licence": self.licence,
            "restrictions": sorted(self.restrictions),
            "purposes": sorted(self.purposes),
            "audience": list(self.audience),
            "classification": self.classification,
            "subjects": list(self.subjects),
            "retain_until": None if self.retain_until is None else instant(self.retain_until),
            "policy_rev": self.policy_rev,
        }


@dataclass(frozen=True, slots=True)
class PackDraft:
    """Everything one pack is made of, before it has an id, a digest or a time of recording.

    owner: the principal of the agent that did the work. goal, situation and the
    claims' texts are what recall searches. how: a strategy or a result,
    joined by the count and root digest of the recorded steps under `steps`. checks: the specs that ran; verdicts: what they said
    (matched by digest; only they move trust). recalled: the packs that recall gave
    this task; withheld: what it would have given a held-out one. used: those of the
    recalled that the work is based on, each counted and linked. parents: lineage as (digest, relation).
    id: of an existing pack, to write its next revision.
    """

    tenant: str
    owner: str
    goal: str
    situation: str = ""
    family: str = ""
    kind: Kind = "episode"
    layer: Layer = "episodic"
    why: tuple[Claim, ...] = ()
    steps: tuple[StepDraft, ...] = ()
    how: Mapping[str, Any] | None = None
    checks: tuple[CheckSpec, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    outcome: Outcome = Outcome()
    valid_from: datetime | None = None
    valid_to: datetime | None = None
    rights: Rights = Rights()
    origin: Origin = Origin()
    source: Source = "real"
    status: Status = "candidate"
    used: tuple[PackRef, ...] = ()
    recalled: tuple[PackRef, ...] = ()
    withheld: tuple[PackRef, ...] = ()
    parents: tuple[tuple[str, Relation], ...] = ()
    id: str | None = None
    span_id: str | None = None
    reason: str = "task ended"
