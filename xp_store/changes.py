"""A change to memory as a release (DMM-Gov): thresholds first, canary, then promoted or not.

What a change must reach is written, and in the ledger, before anything is tried. The
canary is a list of retained tasks run with and without the packs in question; the
difference is judged by its bootstrap interval over pairs. What was promoted can be
taken back at any time, with everything that came of it.
"""

import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, TypeAlias

import orjson

from .connection import Connection
from .crash_points import crash_point
from .digests import as_json, digest_of, instant
from .drafts import Status
from .errors import ChangeError
from .evidence import EVIDENCE_SOURCES
from .ledger import append_entry
from .lineage import Selector, closure, selected
from .tables import Pack, moment
from .trust import TrustRule

_DRAWS = 2000
_DEMOTING = ("rollback", "retire", "quarantine", "forget")


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What a change must reach to be promoted.

    replays: tasks tried in both arms, at least. gain: the least that the lower end of
    the 95% interval of (success with - success without) may be; 0 demands a gain that
    is not chance, -0.05 that no more than 5 points may be lost. cost: the greatest ratio
    of tokens with to tokens without. verdicts: counted passes of admitted checks that
    each pack has, at least. trust: each pack's, at least.
    """

    replays: int = 5
    gain: float = -0.1
    cost: float = 1.5
    verdicts: int = 1
    trust: float = 0.6


@dataclass(frozen=True, slots=True)
class Case:
    """A retained task: the pack of its episode, and what was asked."""

    digest: str
    family: str
    goal: str
    task_id: str = ""


@dataclass(frozen=True, slots=True)
class Arm:
    """What came of a case in one arm (with or without the packs): whether its checks passed, and the tokens it took."""

    passed: bool
    tokens: int = 0


Replay: TypeAlias = Callable[[Sequence[Case], bool], Awaitable[Sequence[Arm]]]
"""Run cases again, with the packs in question findable or not; one trial for each case."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What became of a change, with the figures that decided."""

    change: str
    promoted: bool
    reasons: tuple[str, ...]
    replays: int
    with_packs: float
    without: float
    gain: tuple[float, float, float]
    cost: float

    def wire(self) -> dict[str, Any]:
        """The finding as the JSON column holds it."""
        return {**asdict(self), "reasons": list(self.reasons), "gain": list(self.gain)}


def open_rows(
    change: str,
    tenant: str,
    digests: Sequence[str],
    thresholds: Thresholds,
    *,
    actor: str,
    now: datetime,
    rule: TrustRule,
) -> Callable[[Connection], None]:
    """Return the unit that opens a change; what it must reach stands in the ledger from then on.

    The unit raises ChangeError where a pack may not be promoted whatever is measured.
    """
    at = instant(now)

    def write(connection: Connection) -> None:
        for digest in digests:
            unfit = _unfit(connection, tenant, digest, thresholds, now, rule)
            if unfit:
                raise ChangeError(f"pack {digest[:12]} cannot be promoted: {unfit}", digest=digest)
        connection.execute(
            "INSERT INTO xp_change (id, tenant, actor, state, packs, thresholds, result,"
            " opened_at, closed_at) VALUES (?, ?, ?, 'open', ?, ?, '{}', ?, NULL)",
            (change, tenant, actor, as_json(list(digests)), as_json(asdict(thresholds)), at),
        )
        append_entry(
            connection,
            at=at,
            tenant=tenant,
            actor=actor,
            verb="propose",
            reason=f"change {change} of {len(digests)} packs",
            evidence=digest_of([list(digests), asdict(thresholds)]),
        )

    return write


def _unfit(
    connection: Connection,
    tenant: str,
    digest: str,
    thresholds: Thresholds,
    now: datetime,
    rule: TrustRule,
) -> str:
    row = connection.execute(
        "SELECT id, rev, source, status, current, trust_a, trust_b, trust_at, opinion_a, opinion_b"
        " FROM xp_pack WHERE digest = ? AND tenant = ?",
        (digest, tenant),
    ).fetchone()
    if row is None:
        return "there is no such pack"
    pack, rev, source, status, current, a, b, at, said_a, said_b = row
    if not current:
        return "it has a newer revision"
    if status not in ("candidate", "retired"):
        return f"it is {status}"
    if source not in EVIDENCE_SOURCES:
        return f"it is {source}, and only what really ran is evidence"
    passed, failed = connection.execute(
        "SELECT count(CASE WHEN passed = 1 THEN 1 END), count(CASE WHEN passed = 0 THEN 1 END) FROM xp_verdict v"
        " JOIN xp_check c ON c.digest = v.check_digest"
        " WHERE v.pack_id = ? AND v.rev = ? AND v.counted > 0 AND c.lang != 'rubric'",
        (pack, rev),
    ).fetchone()
    if passed < thresholds.verdicts:
        return f"{passed} verdicts of admitted checks passed, {thresholds.verdicts} are demanded"
    since = moment(at) if at else None
    kept = rule.kept(since, now)
    trust = rule.mean(rule.aged((a, b), since, now), (said_a * kept, said_b * kept))
    if trust < thresholds.trust:
        return f"its trust is {trust:.2f} ({failed} failed), {thresholds.trust:g} is demanded"
    doubtful = connection.execute(
        "SELECT count(*) FROM xp_edge e JOIN xp_pack p ON p.digest = e.parent"
        " WHERE e.child = ? AND p.tenant = ? AND p.status IN ('quarantined', 'retired')",
        (digest, tenant),
    ).fetchone()[0]
    return f"{doubtful} of the packs it comes from are quarantined or retired" if doubtful else ""


def judged(
    change: str, thresholds: Thresholds, with_packs: Sequence[Arm], without: Sequence[Arm]
) -> Finding:
    """Compare the arms, pair by pair, with what was demanded before."""
    pairs = list(zip(with_packs, without, strict=True))
    count = len(pairs)
    differences = [int(one.passed) - int(other.passed) for one, other in pairs]
    gain = _interval(differences)
    spent = sum(each.tokens for each in without)
    cost = sum(each.tokens for each in with_packs) / spent if spent else 1.0
    reasons: list[str] = []
    if count < thresholds.replays:
        reasons.append(f"{count} replays, {thresholds.replays} are demanded")
    if count and gain[1] < thresholds.gain:
        reasons.append(
            f"the gain may be as low as {gain[1]:+.2f}, {thresholds.gain:+.2f} is demanded"
        )
    if cost > thresholds.cost:
        reasons.append(f"it costs {cost:.2f} times the tokens, {thresholds.cost:g} is allowed")
    return Finding(
        change=change,
        promoted=not reasons,
        reasons=tuple(reasons),
        replays=count,
        with_packs=_share(with_packs),
        without=_share(without),
        gain=gain,
        cost=round(cost, 4),
    )


def _share(trials: Sequence[Arm]) -> float:
    return round(sum(each.passed for each in trials) / len(trials), 4) if trials else 0.0


def _interval(differences: Sequence[int], seed: int = 0) -> tuple[float, float, float]:
    """The mean of paired differences with its percentile bootstrap interval at 95%."""
    if not differences:
        return 0.0, 0.0, 0.0
    rng = random.Random(seed)
    count = len(differences)
    means = sorted(sum(rng.choices(differences, k=count)) / count for _ in range(_DRAWS))
    low, high = means[int(0.025 * _DRAWS)], means[int(0.975 * _DRAWS) - 1]
    return round(sum(differences) / count, 4), round(low, 4), round(high, 4)


def close_rows(
    finding: Finding, tenant: str, *, actor: str, now: datetime
) -> Callable[[Connection], None]:
    """Return the unit that promotes the packs of a change, or writes why it did not."""
    at = instant(now)

    def write(connection: Connection) -> None:
        row = connection.execute(
            "SELECT packs FROM xp_change WHERE id = ? AND tenant = ? AND state = 'open'",
            (finding.change, tenant),
        ).fetchone()
        if row is None:
            raise ChangeError(f"no open change {finding.change!r}", change=finding.change)
        digests: list[str] = orjson.loads(row[0])
        connection.execute(
            "UPDATE xp_change SET state = ?, result = ?, closed_at = ? WHERE id = ?",
            (
                "promoted" if finding.promoted else "refused",
                as_json(finding.wire()),
                at,
                finding.change,
            ),
        )
        for digest in digests:
            if finding.promoted:
                _set_status(connection, tenant, digest, "stable")
            append_entry(
                connection,
                at=at,
                tenant=tenant,
                actor=actor,
                verb="promote" if finding.promoted else "refuse",
                after=digest,
                reason=f"change {finding.change}: {'; '.join(finding.reasons) or 'as demanded'}",
                evidence=digest_of(finding.wire()),
            )
        crash_point("in-promote")

    return write


def rollback_rows(
    tenant: str,
    *,
    actor: str,
    reason: str,
    now: datetime,
    change: str = "",
    selector: Selector | None = None,
) -> Callable[[Connection], list[str]]:
    """Return the unit that retires the packs of a change or a selector, and all that came of them.

    It returns their digests, oldest first. The unit raises ChangeError for a change
    that is none.
    """
    at = instant(now)

    def write(connection: Connection) -> list[str]:
        chosen = selected(connection, tenant, selector) if selector is not None else []
        if change:
            row = connection.execute(
                "SELECT packs FROM xp_change WHERE id = ? AND tenant = ? AND state = 'promoted'",
                (change, tenant),
            ).fetchone()
            if row is None:
                raise ChangeError(f"no promoted change {change!r}", change=change)
            chosen = orjson.loads(row[0])
            connection.execute("UPDATE xp_change SET state = 'rolled_back' WHERE id = ?", (change,))
        every = closure(connection, tenant, chosen)
        for digest in every:
            _set_status(connection, tenant, digest, "retired")
            append_entry(
                connection,
                at=at,
                tenant=tenant,
                actor=actor,
                verb="rollback",
                before=digest,
                after=digest,
                reason=reason,
            )
        return every

    return write


def status_rows(
    tenant: str, digest: str, status: Status, *, actor: str, reason: str, now: datetime
) -> Callable[[Connection], None]:
    """Return the unit that quarantines or retires one pack, or lets it be a candidate again."""
    verbs = {"quarantined": "quarantine", "retired": "retire", "candidate": "restore"}
    if status not in verbs:
        raise ChangeError(f"no pack becomes {status} but by a change", status=status)

    def write(connection: Connection) -> None:
        _set_status(connection, tenant, digest, status)
        append_entry(
            connection,
            at=instant(now),
            tenant=tenant,
            actor=actor,
            verb=verbs[status],
            before=digest,
            after=digest,
            reason=reason,
        )

    return write


def _set_status(connection: Connection, tenant: str, digest: str, status: str) -> None:
    changed = connection.execute(
        "UPDATE xp_pack SET status = ? WHERE digest = ? AND tenant = ?", (status, digest, tenant)
    ).rowcount
    if not changed:
        raise ChangeError(f"no pack with the digest {digest[:12]!r}", digest=digest)


def stable_at(connection: Connection, tenant: str, when: datetime) -> dict[str, str]:
    """The digests that were stable at a moment, each with the reason of its promotion."""
    stable: dict[str, str] = {}
    for verb, before, after, reason in connection.execute(
        "SELECT verb, before, after, reason FROM xp_ledger WHERE tenant = ? AND at <= ?"
        " ORDER BY seq",
        (tenant, instant(when)),
    ):
        if verb == "promote":
            stable[after] = reason
        elif verb in (*_DEMOTING, "restore"):
            stable.pop(before, None)
        elif verb == "record" and before:
            # A newer revision begins as a candidate again.
            stable.pop(before, None)
    return stable


def retained_cases(
    connection: Connection, tenant: str, packs: Sequence[Pack], most: int
) -> list[Case]:
    """The newest real episodes of the packs' families whose checks decided, without the packs."""
    families = sorted({pack.family for pack in packs})
    own = {pack.digest for pack in packs}
    marks = ", ".join("?" * len(families))
    rows = connection.execute(
        f"SELECT digest, family, goal, origin, outcome FROM xp_pack WHERE tenant = ?"
        f" AND current = 1 AND kind = 'episode' AND source = 'real' AND family IN ({marks})"
        " AND status IN ('candidate', 'stable') ORDER BY row_id DESC",
        (tenant, *families),
    ).fetchall()
    cases = [
        Case(digest, family, goal, str(orjson.loads(origin).get("a2a_task_id") or ""))
        for digest, family, goal, origin, outcome in rows
        if digest not in own and orjson.loads(outcome)["verdict"] != "unknown"
    ]
    return cases[:most]
