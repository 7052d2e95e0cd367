"""Record: from a draft to rows, prepared outside the transaction and written inside it.

This is the hot path. Digests and JSON are made when `pack_rows` is called; the unit
it returns only inserts, by prepared statements, and leaves the embedding to the
owner of the outbox. The unit is meant to run in the same transaction as the task's
terminal state, so a task has ended if and only if its pack exists.
"""

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from .checks import CheckSpec, Verdict
from .digests import Clock, as_json, cleaned, digest_of, instant, pack_id, utc_now
from .drafts import PackDraft, PackRef, StepDraft
from .errors import DraftInvalidError, PackNotFoundError
from .ledger import CONTENT, JSON_CONTENT, append_entry

MAX_PACK_BYTES = 4 * 1024 * 1024
_INSERT_PACK = (
    f"INSERT INTO xp_pack (id, rev, digest, {', '.join(CONTENT)},"
    " status, trust_a, trust_b, uses, wins, last_used_at, current)"
    f" VALUES (?, ?, ?, {', '.join('?' * len(CONTENT))}, ?, ?, ?, 0, 0, NULL, 1)"
)
_INSERT_STEP = f"INSERT INTO xp_step VALUES ({', '.join('?' * 13)})"
_INSERT_CHECK = (
    "INSERT OR IGNORE INTO xp_check (digest, name, lang, code, gates, weight)"
    " VALUES (?, ?, ?, ?, '{}', 1.0)"
)
_INSERT_VERDICT = (
    "INSERT INTO xp_verdict (pack_id, rev, check_digest, passed, detail, at)"
    " VALUES (?, ?, ?, ?, ?, ?)"
)
_INSERT_EDGE = "INSERT OR IGNORE INTO xp_edge (parent, child, rel) VALUES (?, ?, ?)"
_USE = (
    "UPDATE xp_pack SET uses = uses + 1, wins = wins + ?, last_used_at = ?"
    " WHERE id = ? AND tenant = ? AND current = 1"
)
_OUTCOME = (
    "UPDATE xp_pack SET wins = wins + ?, last_used_at = ?"
    " WHERE id = ? AND tenant = ? AND current = 1"
)
_TRUST = (
    "UPDATE xp_pack SET trust_a = trust_a + ?, trust_b = trust_b + ?"
    " WHERE id = ? AND rev = ? AND tenant = ?"
)
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
    at: str
    steps: tuple[tuple[Any, ...], ...]
    trust: tuple[float, float]


def pack_rows(
    draft: PackDraft, clock: Clock = utc_now, *, prior: tuple[float, float] = (1.0, 1.0)
) -> Callable[[sqlite3.Connection], PackRef]:
    """Prepare `draft` and return the unit that writes it; pass that to `Database.transact`.

    The clock is read here, once. prior: the tenant's Beta(a, b), where trust begins.

    Raises:
        DraftInvalidError: The draft is too large, cites steps it does not hold, or
            holds what JSON cannot. The unit itself raises PackNotFoundError when the
            draft names a pack this tenant does not have.
    """
    prepared = _prepare(draft, clock(), prior)

    def write(connection: sqlite3.Connection) -> PackRef:
        ref, before = _place(connection, draft, prepared.digest)
        row = connection.execute(
            _INSERT_PACK,
            (ref.id, ref.rev, ref.digest, *prepared.content, draft.status, *prepared.trust),
        ).lastrowid
        connection.executemany(
            _INSERT_STEP, [(ref.id, ref.rev, *values) for values in prepared.steps]
        )
        _write_evidence(connection, draft, ref, prepared.at)
        connection.execute(_QUEUE, (row, draft.tenant))
        append_entry(
            connection,
            at=prepared.at,
            tenant=draft.tenant,
            actor=draft.owner,
            verb="record",
            before=before,
            after=ref.digest,
            reason=cleaned(draft.reason),
            policy_rev=draft.rights.policy_rev,
            span_id=draft.span_id,
        )
        return ref

    return write


def judge_rows(
    ref: PackRef,
    tenant: str,
    checks: Sequence[CheckSpec],
    verdicts: Sequence[Verdict],
    *,
    actor: str,
    clock: Clock = utc_now,
) -> Callable[[sqlite3.Connection], None]:
    """Return the unit that adds later verdicts to a pack and moves its trust by them."""
    at = instant(clock())
    passed = sum(verdict.passed is True for verdict in verdicts)
    failed = sum(verdict.passed is False for verdict in verdicts)

    def write(connection: sqlite3.Connection) -> None:
        changed = connection.execute(_TRUST, (passed, failed, ref.id, ref.rev, tenant)).rowcount
        if not changed:
            raise PackNotFoundError(f"no pack {ref.id!r} to judge", id=ref.id)
        _write_verdicts(connection, ref, checks, verdicts, at)
        append_entry(
            connection,
            at=at,
            tenant=tenant,
            actor=actor,
            verb="check",
            before=ref.digest,
            after=ref.digest,
            reason=f"{passed} passed, {failed} failed, {len(verdicts) - passed - failed} undecided",
        )

    return write


def use_rows(
    ids: Sequence[str], tenant: str, *, actor: str, won: bool | None, clock: Clock = utc_now
) -> Callable[[sqlite3.Connection], int]:
    """Return the unit that counts a use of packs (`won` None) or what became of one."""
    at = instant(clock())
    wanted = list(dict.fromkeys(ids))
    statement = _USE if won is None else _OUTCOME

    def write(connection: sqlite3.Connection) -> int:
        changed = sum(
            connection.execute(statement, (int(bool(won)), at, each, tenant)).rowcount
            for each in wanted
        )
        append_entry(
            connection,
            at=at,
            tenant=tenant,
            actor=actor,
            verb="use",
            reason=f"{changed} used" if won is None else f"{changed} {'won' if won else 'lost'}",
        )
        return changed

    return write


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


def _prepare(draft: PackDraft, now: datetime, prior: tuple[float, float]) -> _Prepared:
    try:
        return _rows_of(draft, now, prior)
    except DraftInvalidError:
        raise
    except (ValueError, TypeError):
        # Tools answer with what canonical JSON cannot say; a task must not fail to end for that.
        pass
    try:
        return _rows_of(_cleaned(draft), now, prior)
    except DraftInvalidError:
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


def _rows_of(draft: PackDraft, now: datetime, prior: tuple[float, float]) -> _Prepared:
    steps: list[tuple[Any, ...]] = []
    size = 0
    for seq, step in enumerate(draft.steps):
        fields = step_content(step, seq)
        action, alternatives = as_json(step.action), as_json(step.alternatives)
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
    content = _content(draft, now, [values[1] for values in steps])
    digest = digest_of(content)
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
    passed = sum(verdict.passed is True for verdict in draft.verdicts)
    failed = sum(verdict.passed is False for verdict in draft.verdicts)
    trust = (prior[0] + passed, prior[1] + failed)
    return _Prepared(columns, digest, instant(now), tuple(steps), trust)


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


def _place(
    connection: sqlite3.Connection, draft: PackDraft, digest: str
) -> tuple[PackRef, str | None]:
    if draft.id is None:
        return PackRef(pack_id(), 1, digest), None
    newest = connection.execute(_NEWEST, (draft.id, draft.tenant)).fetchone()
    if newest is None:
        raise PackNotFoundError(f"no pack {draft.id!r} to revise", id=draft.id)
    connection.execute(_RETIRE, (draft.id,))
    return PackRef(draft.id, newest[0] + 1, digest), newest[1]


def _write_evidence(
    connection: sqlite3.Connection, draft: PackDraft, ref: PackRef, at: str
) -> None:
    _write_verdicts(connection, ref, draft.checks, draft.verdicts, at)
    edges = [(parent, ref.digest, relation) for parent, relation in draft.parents]
    edges += [(used.digest, ref.digest, "used_by") for used in draft.used]
    if edges:
        connection.executemany(_INSERT_EDGE, edges)
    won = int(draft.outcome.verdict == "pass")
    for used in dict.fromkeys(used.id for used in draft.used):
        connection.execute(_USE, (won, at, used, draft.tenant))


def _write_verdicts(
    connection: sqlite3.Connection,
    ref: PackRef,
    checks: Sequence[CheckSpec],
    verdicts: Sequence[Verdict],
    at: str,
) -> None:
    if checks:
        connection.executemany(
            _INSERT_CHECK, [(spec.digest, spec.name, spec.lang, spec.code) for spec in checks]
        )
    if verdicts:
        connection.executemany(
            _INSERT_VERDICT,
            [
                (ref.id, ref.rev, each.digest, each.passed, cleaned(each.detail), at)
                for each in verdicts
            ],
        )
