"""Cards: what a pack, an agent, a model or all data of a tenant is, made from the ledger.

They are written when they are asked for, from what is stored, so they cannot drift
from it. A card is Markdown for people.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson

from .connection import Connection
from .digests import instant
from .errors import PackNotFoundError
from .tables import PACK_COLUMNS, Pack, from_row
from .trust import TrustRule

_MOST = 8


def pack_card(connection: Connection, pack: Pack, rule: TrustRule, now: datetime) -> str:
    """The card of one pack's revision: what it is, what speaks for it, what may be done with it."""
    entries = connection.execute(
        "SELECT seq, at, verb, actor, reason FROM xp_ledger WHERE before = ?1 OR after = ?1"
        " ORDER BY seq",
        (pack.digest,),
    ).fetchall()
    verdicts = connection.execute(
        "SELECT coalesce(c.name, v.check_digest), v.passed, v.counted, v.at, v.detail"
        " FROM xp_verdict v LEFT JOIN xp_check c ON c.digest = v.check_digest"
        " WHERE v.pack_id = ? AND v.rev = ? ORDER BY v.row_id",
        (pack.id, pack.rev),
    ).fetchall()
    rights, origin = pack.rights, pack.origin
    return _page(
        pack.goal or "A pack",
        [
            ("pack", f"`{pack.id}` revision {pack.rev}, digest `{pack.digest}`"),
            ("kind", f"{pack.kind}, {pack.layer} memory, family {pack.family or 'none'}"),
            ("standing", f"{pack.status}, trust {rule.of(pack, now):.2f}"),
            ("outcome", f"{pack.outcome.get('verdict')}, {_cost(pack.outcome.get('cost') or {})}"),
            (
                "uses",
                f"{pack.uses} used, {pack.wins} won, {pack.helped} helped, {pack.harmed} harmed",
            ),
            ("made by", f"{pack.owner} for {origin.get('principal') or 'nobody named'}"),
            ("model", f"{origin.get('model') or 'none'}; source: {pack.source}"),
            ("licence", str(rights["licence"])),
            ("purposes", ", ".join(rights["purposes"]) or "any"),
            ("restrictions", ", ".join(rights["restrictions"]) or "none"),
            ("audience", ", ".join(rights["audience"]) or "everyone here"),
            ("classification", str(rights["classification"])),
            ("about persons", f"{len(rights['subjects'])}, as keyed hashes"),
            ("keep until", str(rights["retain_until"] or "no end named")),
        ],
        [
            ("Why", [str(claim["text"]) for claim in pack.why]),
            (
                "Checks",
                [
                    f"{name}: {_said(passed)}{'' if counted else ', which counts for nothing'}"
                    f" ({at[:10]}){': ' + detail if detail else ''}"
                    for name, passed, counted, at, detail in verdicts
                ],
            ),
            (
                "Ledger",
                [
                    f"{seq}. {at[:19]} {verb} by {actor}: {reason}"
                    for seq, at, verb, actor, reason in entries
                ],
            ),
        ],
    )


def agent_card(connection: Connection, tenant: str, agent: str) -> str:
    """The card of an agent as its packs tell it, which may be other than what it says of itself.

    Raises:
        PackNotFoundError: No pack is of that agent.
    """
    packs = _packs(connection, tenant, "owner = ?", (agent,))
    if not packs:
        told = connection.execute(
            "SELECT DISTINCT owner FROM xp_pack WHERE tenant = ? ORDER BY owner", (tenant,)
        )
        raise _none("agent", agent, [str(owner) for (owner,) in told])
    return _page(f"The agent {agent}", _figures(packs), _sections(connection, packs))


def model_card(connection: Connection, tenant: str, model: str) -> str:
    """The card of a model: what was done with it here, and how it went.

    Raises:
        PackNotFoundError: No pack came of that model.
    """
    every = _packs(connection, tenant, "1 = 1", ())
    packs = [pack for pack in every if pack.origin.get("model") == model]
    if not packs:
        told = {str(pack.origin["model"]) for pack in every if pack.origin.get("model")}
        raise _none("model", model, sorted(told))
    return _page(f"The model {model}", _figures(packs), _sections(connection, packs))


def data_statement(connection: Connection, tenant: str) -> str:
    """What is kept for a tenant: how much, since when, under which rights, about how many persons."""
    packs = _packs(connection, tenant, "1 = 1", ())
    verbs = Counter(
        dict(
            connection.execute(
                "SELECT verb, count(*) FROM xp_ledger WHERE tenant = ? GROUP BY verb", (tenant,)
            ).fetchall()
        )
    )
    persons = connection.execute(
        "SELECT count(DISTINCT subject) FROM xp_subject WHERE tenant = ?", (tenant,)
    ).fetchone()[0]
    licences = Counter(str(pack.rights["licence"]) for pack in packs)
    classes = Counter(str(pack.rights["classification"]) for pack in packs)
    figures = [
        *_figures(packs),
        ("persons", f"{persons}, as keyed hashes"),
        ("classification", _counts(classes)),
        ("forgotten", f"{verbs['forget']} packs, {verbs['certify']} certificates"),
    ]
    sections = [
        ("Licences", [f"{name}: {count}" for name, count in licences.most_common(_MOST)]),
        ("What was done", [f"{verb}: {count}" for verb, count in verbs.most_common()]),
        *_sections(connection, packs),
    ]
    return _page(f"The data of {tenant}", figures, sections)


def charter_card(
    connection: Connection, tenant: str, charter: Sequence[tuple[str, Mapping[str, str]]]
) -> str:
    """The values of a network, each with its checks and what they said; others are statements only.

    charter: values, each with its checks' names by digest.
    """
    sections: list[tuple[str, list[str]]] = []
    for value, checks in charter:
        lines: list[str] = []
        for digest, name in checks.items():
            status = connection.execute(
                "SELECT status FROM xp_admission WHERE tenant = ? AND check_digest = ?",
                (tenant, digest),
            ).fetchone()
            passed, failed = connection.execute(
                "SELECT count(CASE WHEN v.passed = 1 THEN 1 END), count(CASE WHEN v.passed = 0 THEN 1 END)"
                " FROM xp_verdict v JOIN xp_pack p ON p.id = v.pack_id AND p.rev = v.rev"
                " WHERE v.check_digest = ? AND p.tenant = ?",
                (digest, tenant),
            ).fetchone()
            standing = status[0] if status else "not yet put through the gates"
            held, refused = _of_inputs(connection, tenant, digest)
            told = [
                f"{one} passed, {other} failed{what}"
                for one, other, what in (
                    (passed, failed, ""),
                    (held, refused, ", asked of what came in"),
                )
                if one or other
            ]
            lines.append(f"check {name!r}, {standing}: {'; '.join(told) or 'it never ran'}")
        sections.append((value, lines or ["a statement only: no check holds it"]))
    held = sum(bool(checks) for _, checks in charter)
    return _page(
        "The charter", [("values", f"{len(charter)}, of which {held} are held by checks")], sections
    )


def _none(what: str, name: str, known: Sequence[str]) -> PackNotFoundError:
    listed = ", ".join(known[:_MOST]) or "none"
    return PackNotFoundError(f"no pack is of {what} {name!r}; there are packs of: {listed}")


def _of_inputs(connection: Connection, tenant: str, digest: str) -> tuple[int, int]:
    """How often a check passed and failed on inputs: those verdicts move no trust, steps keep them."""
    found: Counter[Any] = Counter()
    for action, observation in connection.execute(
        "SELECT s.action, s.observation FROM xp_step s"
        " JOIN xp_pack p ON p.id = s.pack_id AND p.rev = s.rev"
        f" WHERE p.tenant = ? AND p.current = 1 AND {connection.dialect.holds('s.observation')}",
        (tenant, digest),
    ):
        asked = orjson.loads(action).get("args") or {}
        if isinstance(asked, dict) and asked.get("judges") == "input":
            found[orjson.loads(observation).get("passed")] += 1
    return found[True], found[False]


def _packs(connection: Connection, tenant: str, where: str, values: Sequence[Any]) -> list[Pack]:
    rows = connection.execute(
        f"SELECT {', '.join(PACK_COLUMNS)} FROM xp_pack WHERE tenant = ? AND current = 1"
        f" AND {where} ORDER BY row_id",
        (tenant, *values),
    ).fetchall()
    return [from_row(Pack, row) for row in rows]


def _figures(packs: Sequence[Pack]) -> list[tuple[str, str]]:
    verdicts = Counter(str(pack.outcome.get("verdict")) for pack in packs)
    standing = Counter(pack.status for pack in packs)
    total: Counter[str] = Counter()
    for pack in packs:
        total.update({k: v for k, v in (pack.outcome.get("cost") or {}).items() if v})
    span = (
        f"{instant(packs[0].recorded_at)[:10]} to {instant(packs[-1].recorded_at)[:10]}"
        if packs
        else "never"
    )
    return [
        ("packs", f"{len(packs)} ({_counts(standing)})"),
        ("recorded", span),
        ("outcomes", _counts(verdicts)),
        ("spent", _cost(total)),
    ]


def _sections(connection: Connection, packs: Sequence[Pack]) -> list[tuple[str, list[str]]]:
    families = Counter(pack.family for pack in packs)
    models = Counter(str(pack.origin.get("model") or "none") for pack in packs)
    tools = Counter(name for pack in packs for name in (pack.origin.get("tool_versions") or {}))
    checks: Counter[str] = Counter()
    for pack in packs:
        checks.update(pack.checks)
    names: dict[str, str] = dict(connection.execute("SELECT digest, name FROM xp_check").fetchall())
    return [
        ("Families", [f"{name or 'none'}: {count}" for name, count in families.most_common(_MOST)]),
        ("Models", [f"{name}: {count}" for name, count in models.most_common(_MOST)]),
        ("Tools", [f"{name}: {count}" for name, count in tools.most_common(_MOST)]),
        (
            "Checks",
            [f"{names.get(d, d[:12])}: {count}" for d, count in checks.most_common(_MOST)],
        ),
    ]


def _counts(counted: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counted.items())) or "none"


def _cost(cost: Mapping[str, Any]) -> str:
    told = [
        f"{cost.get(name, 0):,.0f} {word}"
        for name, word in (
            ("tokens_in", "tokens in"),
            ("tokens_out", "tokens out"),
            ("calls", "calls"),
        )
    ]
    seconds = float(cost.get("seconds", 0) or 0)
    return ", ".join([*told, f"{seconds:.1f} s"])


def _said(passed: Any) -> str:
    return "undecided" if passed is None else "passed" if passed else "FAILED"


def _page(
    title: str, facts: Iterable[tuple[str, str]], sections: Iterable[tuple[str, Sequence[str]]]
) -> str:
    lines = [f"# {plain(title)}", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {_cell(value)} |" for name, value in facts]
    for name, told in sections:
        if told:
            lines += ["", f"## {plain(name)}", "", *(f"- {plain(each)}" for each in told)]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    code = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else plain(part) for part in code)


def plain(text: str) -> str:
    """A text as Markdown that is only text: no link, heading or table of what a pack says."""
    joined = " ".join(text.split())
    edges = text[:1] == " ", text[-1:] == " "
    escaped = re.sub(r"([\\`*_{}\[\]<>#|!])", r"\\\1", joined)
    return f"{' ' if edges[0] else ''}{escaped}{' ' if edges[1] and joined else ''}"
