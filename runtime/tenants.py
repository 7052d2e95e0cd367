"""What tenants may ask of a network: how much at once, how often, and for how much a window.

Only messages from outside count as waiting, running and by rate: what agents ask
each other for them is bounded by those, and holding it back would let a task wait
for itself. What is spent counts wherever it is spent, and is journaled in the
commit of the step that spent it, so no restart forgets it and no replay counts it twice.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import time
from typing import Final

from repertory.protocol import BudgetExceededError, BusyError, Rates
from repertory.xp_store import Connection, Database

from .budget import Usage
from .manifest_tenants import TenantBudget, TenantLimits
from .record import TaskRecord

_BURST_SECONDS: Final = 10.0
_UNLIMITED: Final = TenantLimits()
_SUM: Final = (
    "SELECT sum(tokens), sum(calls), sum(usd), sum(seconds) FROM spending"
    " WHERE tenant=? AND since=?"
)


@dataclass(slots=True)
class _Window:
    since: int
    spent: Usage


def window_of(per: str, at: float) -> tuple[int, datetime]:
    """When the window of a moment began, in whole seconds since the epoch, and when it ends (UTC)."""
    moment = datetime.fromtimestamp(at, UTC).replace(minute=0, second=0, microsecond=0)
    if per == "hour":
        return int(moment.timestamp()), moment + timedelta(hours=1)
    moment = moment.replace(hour=0)
    if per == "day":
        return int(moment.timestamp()), moment + timedelta(days=1)
    moment = moment.replace(day=1)
    return int(moment.timestamp()), (moment + timedelta(days=32)).replace(day=1)


class Tenants:
    """The bounds of a network's tenants, and where they stand against them.

    clock: seconds since the epoch.
    """

    def __init__(
        self,
        limits: Mapping[str, TenantLimits],
        *,
        clock: Callable[[], float] = time,
    ) -> None:
        self._limits = limits
        self._clock = clock
        self._running: dict[str, set[str]] = {}
        self._rates: dict[str, Rates] = {}
        self._windows: dict[str, _Window] = {}

    def limits_of(self, tenant: str) -> TenantLimits:
        """The tenant's own bounds, else those of everybody else."""
        return self._limits.get(tenant) or self._limits.get("*") or _UNLIMITED

    async def admit(
        self, tenant: str, waiting: Callable[[], Awaitable[int]], retry_after: float
    ) -> None:
        """Return when another message of the tenant may come in.

        waiting: how many of its messages wait.

        Raises:
            BusyError: Too many of its messages wait, or came within a second.
            BudgetExceededError: Its window's budget is spent.
        """
        limits = self.limits_of(tenant)
        self.require(tenant, "send more")
        if limits.waiting is not None and await waiting() >= limits.waiting:
            raise BusyError(
                f"{limits.waiting} messages of tenant {tenant} wait already; send the same message"
                " again later",
                tenant=tenant,
                retry_after=retry_after,
            )
        if limits.rate is not None:
            burst = max(1.0, limits.rate * _BURST_SECONDS)
            self._rates.setdefault(tenant, Rates(limits.rate, burst)).take(tenant)

    # -- places of work --------------------------------------------------------

    def may_begin(self, tenant: str) -> bool:
        """Whether one more message of the tenant from outside may be worked on."""
        most = self.limits_of(tenant).running
        return most is None or len(self._running.get(tenant, ())) < most

    def begun(self, record: TaskRecord) -> None:
        """Count a turn over a message from outside."""
        if self._limits and counts(record):
            self._running.setdefault(record.tenant, set()).add(record.id)

    def over(self, record: TaskRecord) -> None:
        """Count it no longer, as it ended or waits for a person."""
        if self._limits and counts(record):
            self._running.get(record.tenant, set()).discard(record.id)

    # -- budgets ---------------------------------------------------------------

    def require(self, tenant: str, what: str) -> None:
        """Return when the tenant has something left to spend in this window.

        Raises:
            BudgetExceededError: It has not.
        """
        budget = self.limits_of(tenant).budget
        if not _limited(budget):
            return
        since, until = window_of(budget.per, self._clock())
        window = self._windows.get(tenant)
        if window is None or window.since != since:
            return
        for unit, spent, limit in spent_of(budget, window.spent):
            if limit is not None and spent >= limit:
                raise BudgetExceededError(
                    f"tenant {tenant} may not {what}: its budget of {limit:g} {unit} a"
                    f" {budget.per} is spent; there is more from {until:%Y-%m-%d %H:%M} UTC, or"
                    " raise 'tenants' in the manifest",
                    unit=unit,
                    limit=limit,
                    tenant=tenant,
                    until=until.isoformat(),
                )

    def bill(self, tenant: str, agent: str, usage: Usage) -> Callable[[Connection], None] | None:
        """What counts a usage, for the transaction of its step; None where nothing bounds it."""
        budget = self.limits_of(tenant).budget
        if not _limited(budget):
            return None
        since, _ = window_of(budget.per, self._clock())
        values = (tenant, since, agent, usage.tokens, usage.calls, usage.usd, usage.seconds)

        def unit(connection: Connection) -> None:
            connection.execute(
                "INSERT INTO spending (tenant, since, agent, tokens, calls, usd, seconds)"
                " VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (tenant, since, agent) DO UPDATE SET"
                " tokens=spending.tokens+excluded.tokens, calls=spending.calls+excluded.calls,"
                " usd=spending.usd+excluded.usd, seconds=spending.seconds+excluded.seconds",
                values,
            )
            # What other processes spent meanwhile comes along.
            self._windows[tenant] = _Window(since, _summed(connection, tenant, since))

        return unit

    async def load(self, database: Database, tenant: str = "") -> None:
        """Read what this window's work has spent, at any process; of one tenant, or of all."""
        if not any(_limited(limits.budget) for limits in self._limits.values()):
            return
        now = self._clock()

        def unit(connection: Connection) -> None:
            query = "SELECT DISTINCT tenant FROM spending"
            for name in [tenant] if tenant else [row[0] for row in connection.execute(query)]:
                budget = self.limits_of(name).budget
                if _limited(budget):
                    since, _ = window_of(budget.per, now)
                    self._windows[name] = _Window(since, _summed(connection, name, since))

        await database.read(unit)

    def standing(self) -> dict[str, Usage]:
        """What each tenant has spent in its present window."""
        now = self._clock()
        return {
            tenant: window.spent
            for tenant, window in self._windows.items()
            if window.since == window_of(self.limits_of(tenant).budget.per, now)[0]
        }


async def unclaimed_of(database: Database, tenant: str) -> int:
    """How many messages of a tenant from outside no process has taken."""
    query = (
        "SELECT count(*) FROM task WHERE ended=0 AND owner=0 AND tenant=?"
        " AND principal NOT LIKE 'agent:%'"
    )
    return await database.read(
        lambda connection: int(connection.execute(query, (tenant,)).fetchone()[0])
    )


def counts(record: TaskRecord) -> bool:
    """Whether a task is a message from outside, not one that an agent asked."""
    return not record.principal.startswith("agent:")


def spent_of(budget: TenantBudget, spent: Usage) -> tuple[tuple[str, float, float | None], ...]:
    """Each unit of a budget: its name, what is spent, and the limit."""
    return (
        ("tokens", spent.tokens, budget.tokens),
        ("calls", spent.calls, budget.calls),
        ("usd", spent.usd, budget.usd),
        ("seconds", spent.seconds, budget.seconds),
    )


def _limited(budget: TenantBudget) -> bool:
    return any(
        limit is not None for limit in (budget.tokens, budget.calls, budget.usd, budget.seconds)
    )


def _summed(connection: Connection, tenant: str, since: int) -> Usage:
    tokens, calls, usd, seconds = connection.execute(_SUM, (tenant, since)).fetchone()
    return Usage(int(tokens or 0), 0, int(calls or 0), float(usd or 0.0), float(seconds or 0.0))
