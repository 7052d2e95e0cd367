"""What is said of packs after they were made: verdicts that move trust, and uses that are counted.

A verdict moves trust when its check is admitted, the pack tells of something that
really ran, and the same check has not been counted on the same subject before.
Counters are sums over `xp_use`, and trust is a sum over the counted verdicts, so both
can be made anew from what is left when a pack is forgotten.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

from .checks import CheckSpec, Verdict
from .connection import Connection
from .digests import Clock, cleaned, digest_of, instant, utc_now
from .drafts import PackRef
from .errors import PackNotFoundError
from .ledger import append_entry
from .tables import moment
from .trust import TrustRule

EVIDENCE_SOURCES = frozenset({"real", "executed_alternative"})
COUNTERS = {
    "used": "uses",
    "won": "wins",
    "recalled": "recalled",
    "helped": "helped",
    "harmed": "harmed",
}
_INSERT_CHECK = (
    "INSERT INTO xp_check (digest, name, lang, code) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
)
_INSERT_VERDICT = (
    "INSERT INTO xp_verdict (pack_id, rev, check_digest, passed, detail, at, subject, counted)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
_COUNTED = (
    "SELECT 1 FROM xp_verdict WHERE pack_id = ? AND rev = ? AND check_digest = ? AND subject = ?"
    " AND counted > 0"
)
_INSERT_USE = "INSERT INTO xp_use (tenant, pack_id, rev, kind, by, at) VALUES (?, ?, ?, ?, ?, ?)"
_HELD = "SELECT rev FROM xp_pack WHERE id = ? AND tenant = ? AND current = 1"


def judge_rows(
    ref: PackRef,
    tenant: str,
    checks: Sequence[CheckSpec],
    verdicts: Sequence[Verdict],
    *,
    actor: str,
    clock: Clock = utc_now,
    rule: TrustRule = TrustRule(),
) -> Callable[[Connection], None]:
    """Return the unit that adds later verdicts to a pack and moves its trust by them.

    The unit raises PackNotFoundError when the tenant has no such revision.
    """
    now = clock()

    def write(connection: Connection) -> None:
        row = connection.execute(
            "SELECT source FROM xp_pack WHERE id = ? AND rev = ? AND tenant = ?",
            (ref.id, ref.rev, tenant),
        ).fetchone()
        if row is None:
            raise PackNotFoundError(f"no pack {ref.id!r} to judge", id=ref.id)
        evidence, moved = write_verdicts(
            connection, ref, tenant, row[0], checks, verdicts, instant(now)
        )
        move_trust(connection, ref, moved, now, rule)
        decided = [verdict.passed for verdict in verdicts]
        append_entry(
            connection,
            at=instant(now),
            tenant=tenant,
            actor=actor,
            verb="check",
            before=ref.digest,
            after=ref.digest,
            reason=f"{decided.count(True)} passed, {decided.count(False)} failed,"
            f" {decided.count(None)} undecided; {sum(moved[:2])} counted",
            evidence=evidence,
        )

    return write


def write_verdicts(
    connection: Connection,
    ref: PackRef,
    tenant: str,
    source: str,
    checks: Sequence[CheckSpec],
    verdicts: Sequence[Verdict],
    at: str,
) -> tuple[str | None, tuple[int, int, int, int]]:
    """Write verdicts; their digest for the ledger, and (passed, failed) that count, then opinions."""
    if checks:
        connection.executemany(
            _INSERT_CHECK, [(spec.digest, spec.name, spec.lang, spec.code) for spec in checks]
        )
    if not verdicts:
        return None, (0, 0, 0, 0)
    opinions = {spec.digest for spec in checks if spec.lang == "rubric"}
    admitted = _admitted(connection, tenant, {each.digest for each in verdicts})
    moved = [0, 0, 0, 0]
    rows: list[tuple[Any, ...]] = []
    seen: set[tuple[str, str]] = set()
    for each in verdicts:
        at_opinion = each.digest in opinions
        counts = (
            each.passed is not None
            and source in EVIDENCE_SOURCES
            and (at_opinion or each.digest in admitted)
            and (each.digest, each.subject) not in seen
            and not connection.execute(
                _COUNTED, (ref.id, ref.rev, each.digest, each.subject)
            ).fetchone()
        )
        if counts:
            seen.add((each.digest, each.subject))
            moved[2 * at_opinion + (not each.passed)] += 1
        rows.append(
            (
                *(ref.id, ref.rev, each.digest, each.passed, cleaned(each.detail), at),
                *(each.subject, int(counts)),
            )
        )
    connection.executemany(_INSERT_VERDICT, rows)
    # The detail may hold what was checked, so the ledger's digest leaves it out.
    told = [[row[2], row[3], row[6], row[7]] for row in rows]
    return digest_of(told), (moved[0], moved[1], moved[2], moved[3])


def _admitted(connection: Connection, tenant: str, digests: Iterable[str]) -> set[str]:
    wanted = list(digests)
    marks = ", ".join("?" * len(wanted))
    return {
        row[0]
        for row in connection.execute(
            "SELECT check_digest FROM xp_admission"
            f" WHERE tenant = ? AND status = 'admitted' AND check_digest IN ({marks})",
            (tenant, *wanted),
        )
    }


def move_trust(
    connection: Connection,
    ref: PackRef,
    moved: tuple[int, int, int, int],
    now: datetime,
    rule: TrustRule,
) -> None:
    """Age a pack's posterior to `now` and add what was counted."""
    if not any(moved):
        return
    a, b, at, said_a, said_b = connection.execute(
        "SELECT trust_a, trust_b, trust_at, opinion_a, opinion_b FROM xp_pack"
        " WHERE id = ? AND rev = ?",
        (ref.id, ref.rev),
    ).fetchone()
    since = moment(at) if at else None
    kept = rule.kept(since, now)
    a, b = rule.aged((a, b), since, now)
    weight = rule.opinion_weight
    connection.execute(
        "UPDATE xp_pack SET trust_a = ?, trust_b = ?, trust_at = ?, opinion_a = ?, opinion_b = ?"
        " WHERE id = ? AND rev = ?",
        (
            *(a + moved[0], b + moved[1], instant(now)),
            *(said_a * kept + moved[2] * weight, said_b * kept + moved[3] * weight),
            *(ref.id, ref.rev),
        ),
    )


def use_rows(
    ids: Sequence[str],
    tenant: str,
    *,
    actor: str,
    kind: str,
    by: str = "",
    clock: Clock = utc_now,
) -> Callable[[Connection], int]:
    """Return the unit that counts `kind` (used, won, lost, recalled, helped, harmed) for packs.

    It returns how many of them this tenant has.
    """
    at = instant(clock())
    wanted = list(dict.fromkeys(ids))

    def write(connection: Connection) -> int:
        changed = sum(count_use(connection, each, tenant, kind, by, at) for each in wanted)
        append_entry(
            connection,
            at=at,
            tenant=tenant,
            actor=actor,
            verb="use",
            reason=f"{changed} {kind}",
            evidence=digest_of([kind, by, sorted(wanted)]),
        )
        return changed

    return write


def count_use(
    connection: Connection, pack_id: str, tenant: str, kind: str, by: str, at: str
) -> bool:
    """Count one use of the tenant's newest revision of a pack; False when it has none."""
    held = connection.execute(_HELD, (pack_id, tenant)).fetchone()
    if held is None:
        return False
    connection.execute(_INSERT_USE, (tenant, pack_id, held[0], kind, by, at))
    counter = COUNTERS.get(kind)
    counts = f"{counter} = {counter} + 1, " if counter else ""
    connection.execute(
        f"UPDATE xp_pack SET {counts}last_used_at = ? WHERE id = ? AND tenant = ? AND current = 1",
        (at, pack_id, tenant),
    )
    return True
