"""Record: from a draft to rows, prepared outside the transaction and written inside it.

This is the hot path. Digests and JSON are made when `pack_rows` is called; the unit
it returns only inserts, by prepared statements, and leaves the embedding to the
owner of the outbox. The unit is meant to run in the same transaction as the task's
terminal state, so a task has ended if and only if its pack exists.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from secrets import token_hex
from typing import Any

import orjson

from . import postings
from .connection import Connection
from .digests import Clock, as_json, cleaned, digest_of, instant, pack_id, utc_now
from .drafts import UNRELATED, PackDraft, PackRef, Rights, StepDraft
from .errors import DraftInvalidError, PackForgottenError, PackNotFoundError, RightsError
from .evidence import count_use, move_trust, write_verdicts
from .ledger import CONTENT, JSON_CONTENT, append_entry, content_digest, hold_ledger
from .reuse import count_recalls
from .rights import checked, inherit, key_of, rights_of, shared
from .trust import TrustRule

MAX_PACK_BYTES = 4 * 1024 * 1024
_INSERT_PACK = (
    f"INSERT INTO xp_pack (id, rev, digest, {', '.join(CONTENT)},"
    " status, trust_a, trust_b, trust_at, salt, rights_key, retain_until,"
    " uses, wins, last_used_at, current)"
    f" VALUES (?, ?, ?, {', '.join('?' * len(CONTENT))}, ?, ?, ?, ?, ?, ?, ?, 0, 0, NULL, 1)"
    " RETURNING row_id"
)
_INSERT_STEP = f"INSERT INTO xp_step VALUES ({', '.join('?' * 13)})"
_INSERT_EDGE = "INSERT INTO xp_edge (parent, child, rel) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
_INSERT_RIGHTS = (
    "INSERT INTO xp_rights (tenant, key, rights) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
)
_INSERT_SUBJECT = (
    "INSERT INTO xp_subject (tenant, subject, digest) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
)
_PARENT = (
    "SELECT rights FROM xp_pack WHERE digest = ?1 AND tenant = ?2 UNION ALL"
    " SELECT p.rights FROM xp_step s JOIN xp_pack p ON p.id = s.pack_id AND p.rev = s.rev"
    " WHERE s.digest = ?1 AND p.tenant = ?2 LIMIT 1"
)
_FORGOTTEN = "SELECT 1 FROM xp_ledger WHERE before = ? AND tenant = ? AND verb = 'forget'"
_QUEUE = "INSERT INTO xp_outbox (pack_row, tenant) VALUES (?, ?)"
_NEWEST = "SELECT rev, digest FROM xp_pack WHERE id = ? AND tenant = ? AND current = 1"
_RETIRE = "UPDATE xp_pack SET current = 0 WHERE id = ? AND current = 1"


def number(value: float) -> float:
    """A whole float as an int, which canonical JSON writes alike and faster."""
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


@dataclass(frozen=True, slots=True)
class _Prepared:
    content: tuple[Any, ...]
    digest: str
    at: datetime
    steps: tuple[tuple[Any, ...], ...]
    rights: Rights
    salt: str


def pack_rows(
    draft: PackDraft,
    clock: Clock = utc_now,
    *,
    rule: TrustRule = TrustRule(),
    salt: Callable[[], str] = lambda: token_hex(16),
) -> Callable[[Connection], PackRef]:
    """Prepare `draft` and return the unit that writes it; pass that to `Database.transact`.

    The clock is read here, once. rule: the tenant's, where trust begins. salt: of
    packs about persons.

    Raises:
        DraftInvalidError: The draft is too large, cites steps it does not hold, or
            holds what JSON cannot.
        RightsError: Its licence or classification is unknown.

    The unit itself raises PackNotFoundError when the draft revises a pack this tenant
    does not have, DraftInvalidError when it comes from one, PackForgottenError when
    that one was forgotten, and RightsError when the parents' rights forbid it.
    """
    salted = salt() if draft.rights.subjects else ""
    first = _prepare(draft, clock(), salted)

    def write(connection: Connection) -> PackRef:
        hold_ledger(connection)
        rights = inherit(draft.rights, _parents_rights(connection, draft))
        prepared = first
        if rights != first.rights:
            again = replace(draft, rights=rights)
            prepared = _prepare(again, first.at, salted or (salt() if rights.subjects else ""))
        return _write(connection, draft, prepared, rule)

    return write


def _write(
    connection: Connection, draft: PackDraft, prepared: _Prepared, rule: TrustRule
) -> PackRef:
    at, rights, wire = instant(prepared.at), prepared.rights, prepared.rights.wire()
    ref, before = _place(connection, draft, prepared.digest)
    key = key_of(wire)
    (row,) = connection.execute(
        _INSERT_PACK,
        (
            *(ref.id, ref.rev, ref.digest, *prepared.content, draft.status, *rule.prior, at),
            *(prepared.salt, key, wire["retain_until"]),
        ),
    ).fetchone()
    if connection.dialect.engine == "postgresql":
        held = dict(zip(CONTENT, prepared.content, strict=True))
        postings.write(connection, row, held["goal"], held["situation"], held["why"])
    connection.executemany(_INSERT_STEP, [(ref.id, ref.rev, *values) for values in prepared.steps])
    connection.execute(_INSERT_RIGHTS, (draft.tenant, key, as_json(shared(wire))))
    if rights.subjects:
        connection.executemany(
            _INSERT_SUBJECT, [(draft.tenant, each, ref.digest) for each in rights.subjects]
        )
    evidence = _write_evidence(connection, draft, ref, prepared.at, rule)
    connection.execute(_QUEUE, (row, draft.tenant))
    append_entry(
        connection,
        at=at,
        tenant=draft.tenant,
        actor=draft.owner,
        verb="record",
        before=before,
        after=ref.digest,
        reason=cleaned(draft.reason),
        policy_rev=rights.policy_rev,
        span_id=draft.span_id,
        evidence=evidence,
    )
    return ref


def _parents_rights(connection: Connection, draft: PackDraft) -> list[Rights]:
    """The rights of every pack that `draft` comes from or has used, all of this tenant."""
    digests = [parent for parent, relation in draft.parents if relation not in UNRELATED]
    # What was only shown, or withheld, stands in the steps all the same.
    digests += [each.digest for each in (*draft.used, *draft.recalled, *draft.withheld)]
    found: list[Rights] = []
    for digest in dict.fromkeys(digests):
        row = connection.execute(_PARENT, (digest, draft.tenant)).fetchone()
        if row is not None:
            found.append(rights_of(orjson.loads(row[0])))
        elif connection.execute(_FORGOTTEN, (digest, draft.tenant)).fetchone():
            raise PackForgottenError(
                "the draft rests on a pack that was forgotten; nothing was recorded", digest=digest
            )
        else:
            raise DraftInvalidError(
                f"the draft {draft.goal[:80]!r} comes from {digest[:12]!r}, which is no pack or step"
                " here",
                digest=digest,
            )
    return found


def step_content(step: StepDraft, seq: int) -> dict[str, Any]:
    """What a step's digest covers: everything but the pack it stands in."""
    return {
        "seq": seq,
        "span_id": step.span_id,
        "agent": step.agent,
        "at": instant(step.at),
        "state": step.state,
        "action": step.action,
        "observation": step.observation,
        "is_error": step.is_error,
        "reward": step.reward,
        "alternatives": step.alternatives,
    }


def _prepare(draft: PackDraft, now: datetime, salt: str) -> _Prepared:
    try:
        return _rows_of(draft, now, salt)
    except (DraftInvalidError, RightsError):
        raise
    except (ValueError, TypeError):
        # Tools answer with what canonical JSON cannot say; a task must not fail to end for that.
        pass
    try:
        return _rows_of(_cleaned(draft), now, salt)
    except (DraftInvalidError, RightsError):
        raise
    except (ValueError, TypeError) as error:
        raise DraftInvalidError(
            f"no pack can be made of the draft {draft.goal[:80]!r}: {error}", goal=draft.goal[:80]
        ) from error


def _cleaned(draft: PackDraft) -> PackDraft:
    steps = tuple(
        replace(
            step,
            action=cleaned(step.action),
            observation=cleaned(step.observation),
            state=cleaned(step.state),
            alternatives=tuple(cleaned(step.alternatives)),
        )
        for step in draft.steps
    )
    why = tuple(replace(claim, text=cleaned(claim.text)) for claim in draft.why)
    return replace(
        draft,
        goal=cleaned(draft.goal),
        situation=cleaned(draft.situation),
        steps=steps,
        why=why,
        how=cleaned(draft.how),
        verdicts=tuple(replace(each, detail=cleaned(each.detail)) for each in draft.verdicts),
        origin=replace(draft.origin, model_params=cleaned(draft.origin.model_params)),
        reason=cleaned(draft.reason),
    )


def _rows_of(draft: PackDraft, now: datetime, salt: str) -> _Prepared:
    draft = replace(draft, rights=checked(draft.rights))
    steps: list[tuple[Any, ...]] = []
    size = 0
    for seq, step in enumerate(draft.steps):
        fields = step_content(step, seq)
        action, alternatives = as_json(step.action), as_json(step.alternatives)
        if "\0" in step.state or "\0" in step.observation:
            raise ValueError("a text holds the character 0, which PostgreSQL cannot keep")
        size += len(action) + len(alternatives) + len(step.state) + len(step.observation)
        # The columns' order is the table's: seq, digest, then the content as it stands.
        steps.append(
            (
                seq,
                digest_of(fields),
                step.span_id,
                step.agent,
                fields["at"],
                step.state,
                action,
                step.observation,
                step.is_error,
                step.reward,
                alternatives,
            )
        )
    if "\0" in draft.goal or "\0" in draft.situation:
        raise ValueError("a text holds the character 0, which PostgreSQL cannot keep")
    content = _content(draft, now, [values[1] for values in steps])
    digest = content_digest(content, salt)
    columns = tuple(
        as_json(value) if name in JSON_CONTENT else value for name, value in content.items()
    )
    size += sum(len(value) for value in columns if isinstance(value, str))
    if size > MAX_PACK_BYTES:
        raise DraftInvalidError(
            f"the draft {draft.goal[:80]!r} has {size} characters; a pack may have"
            f" {MAX_PACK_BYTES}: shorten its observations",
            size=size,
            limit=MAX_PACK_BYTES,
        )
    return _Prepared(columns, digest, now, tuple(steps), draft.rights, salt)


def _content(draft: PackDraft, now: datetime, steps: list[str]) -> dict[str, Any]:
    outcome = draft.outcome.wire()
    outcome["cost"] = {key: number(float(each)) for key, each in outcome["cost"].items()}
    if outcome["score"] is not None:
        outcome["score"] = number(float(outcome["score"]))
    known = {spec.digest for spec in draft.checks}
    unknown = [each.name for each in draft.verdicts if each.digest not in known]
    if unknown:
        raise DraftInvalidError(
            f"the draft has verdicts of checks it does not hold: {', '.join(unknown)}",
            checks=unknown,
        )
    # The root covers the steps' digests, so that the pack's digest covers every step.
    how = {**(draft.how or {}), "steps": {"count": len(steps), "root": digest_of(steps)}}
    return {
        "tenant": draft.tenant,
        "owner": draft.owner,
        "kind": draft.kind,
        "layer": draft.layer,
        "family": draft.family,
        "goal": draft.goal,
        "situation": draft.situation,
        "why": _claims(draft, steps),
        "how": how,
        "checks": sorted(known),
        "outcome": outcome,
        "valid_from": instant(draft.valid_from or now),
        "valid_to": None if draft.valid_to is None else instant(draft.valid_to),
        "recorded_at": instant(now),
        "rights": draft.rights.wire(),
        "origin": draft.origin.wire(),
        "source": draft.source,
    }


def _claims(draft: PackDraft, steps: list[str]) -> list[dict[str, Any]]:
    claims: list[dict[str, Any]] = []
    for claim in draft.why:
        beyond = [at for at in claim.steps if not 0 <= at < len(steps)]
        if beyond:
            raise DraftInvalidError(
                f"the claim {claim.text[:80]!r} cites step {beyond[0]}; the draft has {len(steps)}",
                step=beyond[0],
                steps=len(steps),
            )
        claims.append(
            {
                "text": claim.text,
                "evidence": [steps[at] for at in claim.steps],
                "confidence": number(float(claim.confidence)),
            }
        )
    return claims


def _place(connection: Connection, draft: PackDraft, digest: str) -> tuple[PackRef, str | None]:
    if draft.id is None:
        return PackRef(pack_id(), 1, digest), None
    newest = connection.execute(_NEWEST, (draft.id, draft.tenant)).fetchone()
    if newest is None:
        raise PackNotFoundError(f"no pack {draft.id!r} to revise", id=draft.id)
    connection.execute(_RETIRE, (draft.id,))
    return PackRef(draft.id, newest[0] + 1, digest), newest[1]


def _write_evidence(
    connection: Connection, draft: PackDraft, ref: PackRef, now: datetime, rule: TrustRule
) -> str | None:
    at = instant(now)
    evidence, moved = write_verdicts(
        connection, ref, draft.tenant, draft.source, draft.checks, draft.verdicts, at
    )
    move_trust(connection, ref, moved, now, rule)
    edges = [(parent, ref.digest, relation) for parent, relation in draft.parents]
    edges += [(used.digest, ref.digest, "used_by") for used in draft.used]
    if edges:
        connection.executemany(_INSERT_EDGE, edges)
    for used in dict.fromkeys(used.id for used in draft.used):
        count_use(connection, used, draft.tenant, "used", ref.digest, at)
        if draft.outcome.verdict != "unknown":
            became = "won" if draft.outcome.verdict == "pass" else "lost"
            count_use(connection, used, draft.tenant, became, ref.digest, at)
    count_recalls(connection, draft, ref, at)
    return evidence
