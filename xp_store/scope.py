"""Which packs may be found: the filter that SQL applies before anything is ranked.

Filtering first is what keeps recall whole: an index that is overfetched and filtered
afterwards loses what the filter wanted, and filtering inside Chroma costs 10 to 1,000
times as much.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from .connection import Connection, Dialect
from .rights import Request, allowed_keys
from .tables import moment
from .trust import TrustRule

Rows = NDArray[np.int64]
_EVERY = 2**62
RECALL = Request("recall")
"""Nobody in particular, for nothing named."""
AS_USUAL = TrustRule()


@dataclass(frozen=True, slots=True)
class Scope:
    """Which packs may be found.

    at: the moment they must be valid at. now: the moment until which they must have
    been kept. min_trust: the least trust `now`, aged by `rule`. request: what for and by whom; `resolved` turns it into the rights that allow it.
    everything: all of the tenant's present packs, whatever the other fields say.
    """

    tenant: str
    at: str
    now: str
    status: tuple[str, ...]
    family: str | None = None
    kinds: tuple[str, ...] | None = None
    min_trust: float = 0.0
    request: Request = RECALL
    rights: tuple[str, ...] | None = None
    rule: TrustRule = AS_USUAL
    everything: bool = False

    @classmethod
    def present(cls, tenant: str) -> "Scope":
        """All of a tenant's packs in their newest revisions, found by anybody or not."""
        return cls(tenant, "", "", (), everything=True)

    def resolved(self, connection: Connection) -> "Scope":
        """This scope with the keys of the rights that allow its request; None for all."""
        keys = allowed_keys(connection, self.tenant, self.request)
        return replace(self, rights=None if keys is None else tuple(sorted(keys)))

    def where(self, *, timeless: bool = False) -> tuple[str, list[object]]:
        """The clause over `xp_pack p`, and its values; timeless: whenever packs are valid or kept."""
        if self.everything:
            return "p.tenant = ? AND p.current = 1", [self.tenant]
        clauses = ["p.tenant = ? AND p.current = 1", f"p.status IN ({marks(self.status)})"]
        values: list[object] = [self.tenant, *self.status]
        if not timeless:
            clauses += [
                "p.valid_from <= ? AND (p.valid_to IS NULL OR p.valid_to > ?)",
                "(p.retain_until IS NULL OR p.retain_until > ?)",
            ]
            values += [self.at, self.at, self.now]
        if self.rights is not None:
            clauses.append(f"p.rights_key IN ({marks(self.rights)})")
            values.extend(self.rights)
        if self.family is not None:
            clauses.append("p.family = ?")
            values.append(self.family)
        if self.kinds is not None:
            clauses.append(f"p.kind IN ({marks(self.kinds)})")
            values.extend(self.kinds)
        if self.min_trust > self.rule.mean(self.rule.prior):
            # Age only leads back to the prior, so what once was below is below; `trusted` ages.
            clauses.append(
                "(p.trust_a >= ? * (p.trust_a + p.trust_b) OR p.trust_a + p.opinion_a >="
                " ? * (p.trust_a + p.trust_b + p.opinion_a + p.opinion_b))"
            )
            values += [self.min_trust, self.min_trust]
        return " AND ".join(clauses), values

    def where_of_few(self, dialect: Dialect, *, timeless: bool = False) -> tuple[str, list[object]]:
        """The same for packs that are already named; the signs keep SQLite off the filter's index.

        It would walk the whole tenant to find a hundred packs by their ids.
        """
        where, values = self.where(timeless=timeless)
        return dialect.unindexed(where), values

    @property
    def key(self) -> tuple[object, ...]:
        """All but the moments: scopes of one key hold about as many packs from call to call."""
        return (
            *(self.tenant, self.status, self.family, self.kinds, self.min_trust),
            *(self.request, self.rights, self.everything),
        )


def rows_within(connection: Connection, scope: Scope, limit: int) -> Rows:
    """The rows in scope, ascending, at most `limit` of them; -1 for all."""
    where, values = scope.where()
    told = connection.execute(
        f"SELECT {connection.dialect.joined('row_id')} FROM (SELECT p.row_id FROM xp_pack p WHERE {where} LIMIT ?) AS scoped",
        (*values, _EVERY if limit < 0 else limit),
    ).fetchone()[0]
    rows: Rows = np.sort(rows_of(told))
    if scope.min_trust > 0.0:
        kept = trusted(connection, rows.tolist(), scope)
        rows = rows[[row in kept for row in rows.tolist()]]
    return rows


def trusted(connection: Connection, rows: Sequence[int], scope: Scope) -> frozenset[int]:
    """Those of `rows` that are trusted enough now, their evidence aged."""
    now = moment(scope.now)
    trust = trust_of(connection, rows, scope.rule, now)
    return frozenset(row for row, mean in trust.items() if mean >= scope.min_trust)


def trust_of(
    connection: Connection, rows: Sequence[int], rule: TrustRule, now: datetime
) -> dict[int, float]:
    """How far each of `rows` is trusted `now`."""
    found: dict[int, float] = {}
    for start in range(0, len(rows), 500):
        some = rows[start : start + 500]
        for row, a, b, at, said_a, said_b in connection.execute(
            "SELECT row_id, trust_a, trust_b, trust_at, opinion_a, opinion_b FROM xp_pack"
            f" WHERE row_id IN ({marks(some)})",
            some,
        ):
            since = moment(at) if at else None
            kept = rule.kept(since, now)
            found[row] = rule.mean(rule.aged((a, b), since, now), (said_a * kept, said_b * kept))
    return found


def admitted(
    connection: Connection, column: str, asked: Sequence[object], scope: Scope
) -> dict[object, int]:
    """Of packs named by `column` (`id` or `row_id`): the rows of those in scope, by name."""
    where, values = scope.where_of_few(connection.dialect)
    found: dict[object, int] = {}
    for start in range(0, len(asked), 500):
        some = asked[start : start + 500]
        found.update(
            connection.execute(
                f"SELECT p.{column}, p.row_id FROM xp_pack p"
                f" WHERE p.{column} IN ({marks(some)}) AND {where}",
                (*some, *values),
            )
        )
    if scope.min_trust > 0.0:
        kept = trusted(connection, list(found.values()), scope)
        found = {name: row for name, row in found.items() if row in kept}
    return found


def marks(values: Sequence[object]) -> str:
    """As many SQL parameters as there are values."""
    return ", ".join("?" * len(values))


def among(numbers: Rows, rows: Rows) -> NDArray[np.bool_]:
    """Which of `numbers` are in `rows`, which ascend; np.isin would first sort both."""
    if not len(rows):
        return np.zeros(len(numbers), dtype=np.bool_)
    places = np.minimum(np.searchsorted(rows, numbers), len(rows) - 1)
    found: NDArray[np.bool_] = rows[places] == numbers
    return found


def rows_of(told: str | None) -> Rows:
    """The numbers that `Dialect.joined` told; None for none."""
    # One text instead of a tuple for each row: half the time at 10,000 rows.
    if told is None:
        return np.empty(0, dtype=np.int64)
    return np.fromstring(told, dtype=np.int64, sep=",")
