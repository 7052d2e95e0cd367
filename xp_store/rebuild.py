"""The digest of what a store holds, and the same store made anew from its primary rows.

The digest leaves out what depends on nothing that is known: ids, row numbers and the
ledger's past. A rebuild takes contents, verdicts and uses as they stand, and makes the
rest again: every digest, inherited rights, trust, counters, and derived packs from
their parents. If anything of a forgotten pack still acted on another, the two differ.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson

from .connection import Connection
from .derivation import Derivation, load_parents
from .digests import digest_of, instant
from .drafts import UNRELATED
from .evidence import COUNTERS
from .ledger import CONTENT, JSON_CONTENT, STEP_CONTENT, content_digest
from .rights import inherit, key_of, rights_of
from .tables import moment
from .trust import TrustRule

_STATE = ("status", "uses", "wins", "recalled", "helped", "harmed", "last_used_at", "current")
_TRUST = ("trust_a", "trust_b", "trust_at", "opinion_a", "opinion_b")


def store_digest(connection: Connection, tenant: str) -> str:
    """The digest of everything a tenant's store holds, whatever the order it was written in."""
    return digest_of(_state(connection, tenant, None, {}))


def rebuilt_digest(
    connection: Connection,
    tenant: str,
    rule: TrustRule,
    registry: Mapping[str, Derivation],
) -> str:
    """The digest of the store as its primary rows make it."""
    return digest_of(_state(connection, tenant, rule, registry))


def _state(
    connection: Connection,
    tenant: str,
    rule: TrustRule | None,
    registry: Mapping[str, Derivation],
) -> list[Any]:
    """Every row that counts, sorted; with a `rule`, what can be made anew is made anew."""
    names = (*("id", "rev", "digest", "salt", "rights_key", "retain_until"), *_STATE, *_TRUST)
    columns = ", ".join(dict.fromkeys((*names, *CONTENT)))
    cursor = connection.execute(f"SELECT {columns} FROM xp_pack WHERE tenant = ?", (tenant,))
    fields = [each[0] for each in cursor.description]
    packs: list[Any] = []
    for values in cursor.fetchall():
        row = dict(zip(fields, values, strict=True))
        steps = _steps(connection, row, anew=rule is not None)
        if rule is not None:
            row |= _content_anew(connection, tenant, row, steps, registry)
            row |= trust_anew(connection, row, rule)
            row |= counted(connection, row["id"], row["rev"])
        state = {name: row[name] for name in (*names[1:], *_STATE)}
        for name in _TRUST:
            value = state[name]
            state[name] = round(value, 9) if isinstance(value, float) else value
        packs.append([state, steps, _said(connection, row)])
    packs.sort(key=lambda each: (each[0]["digest"], each[0]["rev"]))
    return [packs, *_beside(connection, tenant)]


def _steps(connection: Connection, row: Mapping[str, Any], *, anew: bool) -> list[str]:
    held = connection.execute(
        f"SELECT digest, {', '.join(STEP_CONTENT)} FROM xp_step WHERE pack_id = ? AND rev = ?"
        " ORDER BY seq",
        (row["id"], row["rev"]),
    ).fetchall()
    if not anew:
        return [each[0] for each in held]
    digests: list[str] = []
    for _, *values in held:
        content = dict(zip(STEP_CONTENT, values, strict=True))
        content["action"] = orjson.loads(content["action"])
        content["alternatives"] = orjson.loads(content["alternatives"])
        content["is_error"] = bool(content["is_error"])
        digests.append(digest_of(content))
    return digests


def _content_anew(
    connection: Connection,
    tenant: str,
    row: Mapping[str, Any],
    steps: list[str],
    registry: Mapping[str, Derivation],
) -> dict[str, Any]:
    content = {
        name: orjson.loads(row[name]) if name in JSON_CONTENT else row[name] for name in CONTENT
    }
    content["how"]["steps"] = {"count": len(steps), "root": digest_of(steps)}
    marks = ", ".join("?" * len(UNRELATED))
    edges = connection.execute(
        f"SELECT parent FROM xp_edge WHERE child = ? AND rel NOT IN ({marks})",
        (row["digest"], *UNRELATED),
    ).fetchall()
    above = [
        rights_of(orjson.loads(found[0]))
        for (parent,) in edges
        for found in connection.execute(
            "SELECT rights FROM xp_pack WHERE digest = ? AND tenant = ?", (parent, tenant)
        )
    ]
    content["rights"] = inherit(rights_of(content["rights"]), above).wire()
    derivation = content["how"].get("derivation")
    function = registry.get(derivation["name"]) if derivation else None
    if derivation and function is not None:
        parents = load_parents(connection, tenant, [parent for (parent,) in edges])
        made = function(parents, derivation["params"])
        content |= {
            "goal": made.goal if made else "",
            "situation": made.situation if made else "",
            "why": [
                {"text": each.text, "evidence": [], "confidence": each.confidence}
                for each in (made.why if made else ())
            ],
        }
    return {
        "digest": content_digest(content, row["salt"]),
        "rights_key": key_of(content["rights"]),
        "retain_until": content["rights"]["retain_until"],
    }


def trust_anew(connection: Connection, row: Mapping[str, Any], rule: TrustRule) -> dict[str, Any]:
    """The posterior of a pack's revision as its counted verdicts make it, one after the other."""
    counts, opinions = rule.prior, (0.0, 0.0)
    at = moment(str(row["recorded_at"]))
    groups: dict[str, list[int]] = {}
    for moved_at, passed, lang in connection.execute(
        "SELECT v.at, v.passed, c.lang FROM xp_verdict v JOIN xp_check c"
        " ON c.digest = v.check_digest WHERE v.pack_id = ? AND v.rev = ? AND v.counted > 0"
        " ORDER BY v.at, v.row_id",
        (row["id"], row["rev"]),
    ):
        group = groups.setdefault(moved_at, [0, 0, 0, 0])
        group[2 * (lang == "rubric") + (not passed)] += 1
    for text, moved in groups.items():
        now: datetime = moment(text)
        kept = rule.kept(at, now)
        counts = rule.aged(counts, at, now)
        counts = counts[0] + moved[0], counts[1] + moved[1]
        weight = rule.opinion_weight
        opinions = (
            opinions[0] * kept + moved[2] * weight,
            opinions[1] * kept + moved[3] * weight,
        )
        at = now
    return {
        "trust_a": float(counts[0]),
        "trust_b": float(counts[1]),
        "trust_at": instant(at),
        "opinion_a": float(opinions[0]),
        "opinion_b": float(opinions[1]),
    }


def counted(connection: Connection, pack_id: str, rev: int) -> dict[str, Any]:
    """The counters of a pack's revision as the sums over its uses, and the last of them."""
    rows = connection.execute(
        "SELECT kind, count(*), max(at) FROM xp_use WHERE pack_id = ? AND rev = ? GROUP BY kind",
        (pack_id, rev),
    ).fetchall()
    sums: dict[str, Any] = dict.fromkeys(COUNTERS.values(), 0)
    sums |= {COUNTERS[kind]: count for kind, count, _ in rows if kind in COUNTERS}
    return {**sums, "last_used_at": max((last for _, _, last in rows), default=None)}


def _said(connection: Connection, row: Mapping[str, Any]) -> list[Any]:
    return sorted(
        [
            list(each)
            for each in connection.execute(
                "SELECT at, check_digest, subject, coalesce(passed, -1), counted FROM xp_verdict"
                " WHERE pack_id = ? AND rev = ?",
                (row["id"], row["rev"]),
            )
        ]
    )


def _beside(connection: Connection, tenant: str) -> list[Any]:
    """Lines of lineage, persons, uses and checks: what stands beside the packs."""
    queries = (
        "SELECT DISTINCT e.parent, e.child, e.rel FROM xp_edge e JOIN xp_pack p"
        " ON p.digest = e.child WHERE p.tenant = ?",
        "SELECT subject, digest FROM xp_subject WHERE tenant = ?",
        "SELECT u.kind, u.by, u.at, p.digest FROM xp_use u JOIN xp_pack p"
        " ON p.id = u.pack_id AND p.rev = u.rev WHERE u.tenant = ?",
        "SELECT key FROM xp_rights WHERE tenant = ?",
    )
    return [
        sorted([list(each) for each in connection.execute(query, (tenant,))]) for query in queries
    ]
