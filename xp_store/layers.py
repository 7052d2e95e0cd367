"""Layers: packs move from working to episodic to semantic memory when a rule says they may.

A layer is part of what a pack is, so moving up makes a new revision. It says the same,
so what was said of the earlier one holds for it: verdicts, trust and standing go along.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from .connection import Connection
from .digests import instant
from .drafts import Claim, Cost, Layer, Origin, Outcome, PackDraft, PackRef, StepDraft
from .evidence import EVIDENCE_SOURCES
from .ledger import append_entry
from .record import pack_rows
from .rights import rights_of
from .tables import PACK_COLUMNS, STEP_COLUMNS, Pack, Step, from_row
from .trust import TrustRule

_TRUST = ("trust_a", "trust_b", "trust_at", "opinion_a", "opinion_b", "status")


@dataclass(frozen=True, slots=True)
class LayerRule:
    """When a pack moves from one layer to the next; all that is given must hold.

    trust: at least. verdicts: counted passes of admitted checks, at least. uses: at
    least. age_days: since it was recorded, at least. Only what really ran moves up.
    """

    source: Layer
    target: Layer
    trust: float = 0.0
    verdicts: int = 0
    uses: int = 0
    age_days: float = 0.0


def layer_rows(
    rules: Sequence[LayerRule], tenant: str, *, actor: str, now: datetime, rule: TrustRule
) -> Callable[[Connection], list[PackRef]]:
    """Return the unit that moves up every pack of a tenant that a rule lets; the new revisions."""

    def write(connection: Connection) -> list[PackRef]:
        moved: list[PackRef] = []
        for each in rules:
            for pack in _ready(connection, each, tenant, now, rule):
                moved.append(_move(connection, pack, each, actor, now, rule))
        return moved

    return write


def _ready(
    connection: Connection, layer: LayerRule, tenant: str, now: datetime, rule: TrustRule
) -> list[Pack]:
    marks = ", ".join("?" * len(EVIDENCE_SOURCES))
    rows = connection.execute(
        f"SELECT {', '.join(f'p.{name}' for name in PACK_COLUMNS)} FROM xp_pack p"
        " WHERE p.tenant = ? AND p.current = 1 AND p.layer = ? AND p.uses >= ?"
        f" AND p.recorded_at <= ? AND p.source IN ({marks})"
        " AND p.status IN ('candidate', 'stable')"
        " AND (SELECT count(*) FROM xp_verdict v JOIN xp_check c ON c.digest = v.check_digest"
        " WHERE v.pack_id = p.id AND v.rev = p.rev AND v.counted > 0 AND v.passed = 1"
        " AND c.lang != 'rubric') >= ? ORDER BY p.row_id",
        (
            *(tenant, layer.source, layer.uses, instant(now - timedelta(days=layer.age_days))),
            *(*EVIDENCE_SOURCES, layer.verdicts),
        ),
    ).fetchall()
    packs = [from_row(Pack, row) for row in rows]
    return [pack for pack in packs if rule.of(pack, now) >= layer.trust]


def _move(
    connection: Connection,
    pack: Pack,
    layer: LayerRule,
    actor: str,
    now: datetime,
    rule: TrustRule,
) -> PackRef:
    steps = connection.execute(
        f"SELECT {', '.join(STEP_COLUMNS)} FROM xp_step WHERE pack_id = ? AND rev = ? ORDER BY seq",
        (pack.id, pack.rev),
    ).fetchall()
    draft = replace(
        draft_of(pack, [from_row(Step, row) for row in steps]),
        id=pack.id,
        layer=layer.target,
        # Working memory ends by itself; what is moved up stays.
        valid_to=None if layer.source == "working" else pack.valid_to,
        parents=((pack.digest, "supersedes"),),
        reason=f"moved from {layer.source} to {layer.target} memory",
    )
    ref = pack_rows(draft, lambda: now, rule=rule)(connection)
    connection.execute(
        "INSERT INTO xp_verdict (pack_id, rev, check_digest, passed, detail, at, subject, counted)"
        " SELECT pack_id, ?, check_digest, passed, detail, at, subject, counted FROM xp_verdict"
        " WHERE pack_id = ? AND rev = ? ORDER BY row_id",
        (ref.rev, pack.id, pack.rev),
    )
    connection.execute(
        f"UPDATE xp_pack SET ({', '.join(_TRUST)}) = (SELECT {', '.join(_TRUST)} FROM xp_pack"
        " WHERE id = ? AND rev = ?) WHERE id = ? AND rev = ?",
        (pack.id, pack.rev, ref.id, ref.rev),
    )
    if pack.status == "stable":
        append_entry(
            connection,
            at=instant(now),
            tenant=pack.tenant,
            actor=actor,
            verb="promote",
            before=pack.digest,
            after=ref.digest,
            reason="the same in another layer keeps its standing",
        )
    return ref


def draft_of(pack: Pack, steps: Sequence[Step]) -> PackDraft:
    """The draft that would make this pack again, without its verdicts and its lineage."""
    places = {step.digest: at for at, step in enumerate(steps)}
    cost = pack.outcome.get("cost") or {}
    origin = dict(pack.origin)
    return PackDraft(
        tenant=pack.tenant,
        owner=pack.owner,
        goal=pack.goal,
        situation=pack.situation,
        family=pack.family,
        kind=pack.kind,  # type: ignore[arg-type]  # a column holds what a draft gave it
        layer=pack.layer,  # type: ignore[arg-type]  # as above
        why=tuple(
            Claim(
                claim["text"],
                tuple(places[each] for each in claim["evidence"] if each in places),
                claim["confidence"],
            )
            for claim in pack.why
        ),
        steps=tuple(
            StepDraft(
                action=step.action,
                observation=step.observation,
                at=step.at,
                agent=step.agent,
                state=step.state,
                is_error=step.is_error,
                reward=step.reward,
                span_id=step.span_id,
                alternatives=tuple(step.alternatives),
            )
            for step in steps
        ),
        how={name: value for name, value in pack.how.items() if name != "steps"},
        outcome=Outcome(pack.outcome["verdict"], pack.outcome["score"], Cost(**cost)),
        valid_from=pack.valid_from,
        valid_to=pack.valid_to,
        rights=rights_of(pack.rights),
        origin=Origin(**origin),
        source=pack.source,  # type: ignore[arg-type]  # as above
    )
