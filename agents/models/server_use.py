"""What one process asks of models' servers, as figures for whoever shows them; no I/O."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ServerUse:
    """One server, as its client in this process sees it.

    breaker: closed, open or half-open. outstanding: questions without an answer yet,
    those that wait for a place included. questions, failures: answered, and tried in
    vain, since the process began; so are the tokens. said: what went wrong last. rest:
    seconds for which an open breaker stops the asking; it passes, so it is no change.
    """

    url: str
    breaker: str = "closed"
    outstanding: int = 0
    questions: int = 0
    failures: int = 0
    tokens_in: int = 0
    cached_tokens: int = 0
    tokens_out: int = 0
    said: str = ""
    rest: float = field(default=0.0, compare=False)

    @property
    def cache_hit_rate(self) -> float | None:
        """The share of the prompts' tokens that the server had already, as its answers tell."""
        return self.cached_tokens / self.tokens_in if self.tokens_in else None


def innermost(model: object) -> object:
    """The model that asks a server, without those that only stand before it."""
    while (inner := getattr(model, "inner", None)) is not None:
        model = inner
    return model


def use_of(model: object) -> tuple[ServerUse, ...]:
    """The servers behind a model; none for one that has none, or was not asked yet."""
    found: tuple[ServerUse, ...] = getattr(innermost(model), "use", ())
    return found
