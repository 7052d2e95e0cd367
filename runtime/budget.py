"""What a task may spend and has spent; callees inherit what is left."""

from dataclasses import dataclass

from repertory.protocol import Budget, BudgetExceededError


@dataclass(frozen=True, slots=True)
class Usage:
    """What was spent: model tokens in and out, model and tool calls, US dollars."""

    tokens_in: int = 0
    tokens_out: int = 0
    calls: int = 0
    usd: float = 0.0

    @property
    def tokens(self) -> int:
        return self.tokens_in + self.tokens_out

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.tokens_in + other.tokens_in,
            self.tokens_out + other.tokens_out,
            self.calls + other.calls,
            self.usd + other.usd,
        )

    def to_json(self) -> dict[str, float]:
        """Plain data for a task's metadata."""
        return {
            "tokensIn": self.tokens_in,
            "tokensOut": self.tokens_out,
            "calls": self.calls,
            "usd": self.usd,
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
            int(number("tokensIn")), int(number("tokensOut")), int(number("calls")), number("usd")
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

    def left(self) -> Budget:
        """What may still be spent, as the budget a callee inherits."""
        limit, spent = self.limit, self.spent
        return Budget(
            tokens=None if limit.tokens is None else max(0, limit.tokens - spent.tokens),
            calls=None if limit.calls is None else max(0, limit.calls - spent.calls),
            usd=None if limit.usd is None else max(0.0, limit.usd - spent.usd),
        )

    def charge(self, usage: Usage) -> None:
        """Count what was spent; it is refused beforehand by `require`, never here."""
        self.spent += usage

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
                    " raise 'budgets' in the manifest, or ask for less",
                    unit=unit,
                    limit=limit,
                    agent=self.owner,
                )
