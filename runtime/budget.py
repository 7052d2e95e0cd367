"""What a task may spend and has spent; callees inherit what is left."""

from dataclasses import dataclass

from repertory.protocol import Budget, BudgetExceededError

BY_AGENT = "byAgent"
# Shares that a callee may report; what comes from elsewhere is bounded.
_MOST_AGENTS = 200


@dataclass(frozen=True, slots=True)
class Usage:
    """What was spent: model tokens in and out, model and tool calls, US dollars, seconds of calls."""

    tokens_in: int = 0
    tokens_out: int = 0
    calls: int = 0
    usd: float = 0.0
    seconds: float = 0.0

    @property
    def tokens(self) -> int:
        return self.tokens_in + self.tokens_out

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.tokens_in + other.tokens_in,
            self.tokens_out + other.tokens_out,
            self.calls + other.calls,
            self.usd + other.usd,
            self.seconds + other.seconds,
        )

    def to_json(self) -> dict[str, float]:
        """Plain data for a task's metadata."""
        return {
            "tokensIn": self.tokens_in,
            "tokensOut": self.tokens_out,
            "calls": self.calls,
            "usd": self.usd,
            "seconds": round(self.seconds, 3),
        }

    @classmethod
    def from_json(cls, data: object) -> "Usage":
        """What a callee reported; anything that is not a usage counts as nothing."""
        if not isinstance(data, dict):
            return cls()

        def number(key: str) -> float:
            value = data.get(key, 0)
            return value if isinstance(value, int | float) and value >= 0 else 0

        return cls(
            int(number("tokensIn")),
            int(number("tokensOut")),
            int(number("calls")),
            number("usd"),
            number("seconds"),
        )


class Purse:
    """The budget of one task: a limit, and what the task and its callees have spent.

    A callee is given what is left when it is called, so callees at work at the
    same time may together overspend; the next effect is then refused.
    """

    def __init__(self, limit: Budget, owner: str) -> None:
        self.limit = limit
        self.owner = owner
        self.spent = Usage()
        self.by_agent: dict[str, Usage] = {}

    def left(self) -> Budget:
        """What may still be spent, as the budget a callee inherits."""
        limit, spent = self.limit, self.spent
        return Budget(
            tokens=None if limit.tokens is None else max(0, limit.tokens - spent.tokens),
            calls=None if limit.calls is None else max(0, limit.calls - spent.calls),
            usd=None if limit.usd is None else max(0.0, limit.usd - spent.usd),
        )

    def charge(self, usage: Usage) -> None:
        """Count what the task spent itself; it is refused beforehand by `require`, never here."""
        self.spent += usage
        self._count(self.owner, usage)

    def charge_reported(self, report: object, callee: str) -> None:
        """Count what a callee and its own callees say that they spent; nonsense is nothing."""
        usage = Usage.from_json(report)
        self.spent += usage
        shares = report.get(BY_AGENT) if isinstance(report, dict) else None
        if not isinstance(shares, dict):
            self._count(callee, usage)
            return
        for agent, share in list(shares.items())[:_MOST_AGENTS]:
            self._count(str(agent), Usage.from_json(share))

    def _count(self, agent: str, usage: Usage) -> None:
        if usage != Usage():
            self.by_agent[agent] = self.by_agent.get(agent, Usage()) + usage

    def report(self) -> dict[str, object]:
        """What was spent, and by which agent down the tree of calls, for a task's metadata."""
        shares = {agent: usage.to_json() for agent, usage in self.by_agent.items()}
        return {**self.spent.to_json(), BY_AGENT: shares}

    def told(self) -> str:
        """Which agent spent what, the greatest spender first, as a sentence has it."""
        parts = sorted(self.by_agent.items(), key=lambda each: (-each[1].tokens, -each[1].calls))
        return "; ".join(
            f"{agent} {usage.calls} calls, {usage.tokens} tokens, {usage.usd:.4g} usd"
            for agent, usage in parts
        )

    def require(self, what: str) -> None:
        """Refuse another effect when nothing is left.

        Raises:
            BudgetExceededError: Tokens, calls or money are spent.
        """
        left = self.left()
        for unit, value, limit in (
            ("tokens", left.tokens, self.limit.tokens),
            ("calls", left.calls, self.limit.calls),
            ("usd", left.usd, self.limit.usd),
        ):
            if value is not None and value <= 0:
                raise BudgetExceededError(
                    f"{self.owner} may not {what}: its budget of {limit:g} {unit} is spent;"
                    f" raise 'budgets' in the manifest, or ask for less"
                    f"{f' (spent: {self.told()})' if self.by_agent else ''}",
                    unit=unit,
                    limit=limit,
                    agent=self.owner,
                )
