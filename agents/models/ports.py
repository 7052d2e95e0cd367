"""What is said to a model and what it answers, and the port `ChatModel` they pass through.

Requests and results are frozen pydantic models, since the journal stores both
and replays them: `request.model_dump(mode="json")` and back loses nothing. What
belongs to the call and not to the question (trace, tenant, deadline) is a
`ModelContext` beside the request, so equal questions have equal digests.
Engines are in `openai`, `embedded`, `function` and `recorder`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from functools import total_ordering
from hashlib import sha256
from time import time
from typing import Annotated, Any, Protocol, Self, runtime_checkable

import rfc8785
from pydantic import BaseModel, ConfigDict, Field, PlainSerializer


@total_ordering
class Tier(Enum):
    """What a model can be trusted with, lowest first; a model declares a set of them.

    score: rank texts by the log-probabilities of labels. extract: fill a JSON
    schema from a text. generate: write prose or a plan. judge: weigh the work of
    others; it implies all the rest.
    """

    SCORE = "score"
    EXTRACT = "extract"
    GENERATE = "generate"
    JUDGE = "judge"

    @property
    def rank(self) -> int:
        """0 for the lowest tier."""
        return tuple(Tier).index(self)

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, Tier):
            return NotImplemented
        return self.rank < other.rank


def _in_order(tiers: Iterable[Tier]) -> list[str]:
    return [tier.value for tier in sorted(tiers)]


# A set has no order of its own; journals and digests need one.
Tiers = Annotated[frozenset[Tier], PlainSerializer(_in_order, when_used="json")]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    def to_json(self) -> dict[str, Any]:
        """The model as plain JSON data, for the journal."""
        return self.model_dump(mode="json")

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """Read back what `to_json` gave."""
        return cls.model_validate(data)


class _Request(_Frozen):
    def digest(self) -> str:
        """SHA-256 over the kind and canonical JSON (RFC 8785) of the request, in hex."""
        content = rfc8785.dumps([type(self).__name__, self.to_json()])
        return sha256(content).hexdigest()


class ChatMessage(_Frozen):
    """One message of a conversation; `role` is system, user or assistant."""

    role: str
    content: str


class ChatRequest(_Request):
    """A conversation to go on with, and how.

    duty: the tier the answer needs. json_schema: the answer is constrained to
    it; give every string a maxLength and `max_tokens` room for their sum, since
    small models loop until they are stopped. n: candidates wanted in one
    request. top_logprobs: alternatives reported per token, 0 for none.
    """

    messages: tuple[ChatMessage, ...] = Field(min_length=1)
    duty: Tier
    json_schema: dict[str, Any] | None = None
    max_tokens: int = Field(default=512, ge=1)
    temperature: float = Field(default=0.0, ge=0.0)
    seed: int | None = None
    stop: tuple[str, ...] = ()
    n: int = Field(default=1, ge=1)
    top_logprobs: int = Field(default=0, ge=0)


class CompletionRequest(_Request):
    """Raw text to go on with, past any chat template."""

    prompt: str
    duty: Tier = Tier.SCORE
    max_tokens: int = Field(default=64, ge=1)
    temperature: float = Field(default=0.0, ge=0.0)
    seed: int | None = None
    stop: tuple[str, ...] = ()
    n: int = Field(default=1, ge=1)
    top_logprobs: int = Field(default=0, ge=0)


class ScoreRequest(_Request):
    """A text to score labels for, after examples of (text, label).

    labels: words whose first tokens differ. text_name, label_name: the words
    before each text and each label in the prompt; telling ones help
    ("Review", "Sentiment"). The duty is always `Tier.SCORE`.
    """

    text: str
    labels: tuple[str, ...] = Field(min_length=2)
    examples: tuple[tuple[str, str], ...] = ()
    instruction: str = ""
    text_name: str = "Text"
    label_name: str = "Label"

    @property
    def duty(self) -> Tier:
        """Always `Tier.SCORE`."""
        return Tier.SCORE


class TokenLogprob(_Frozen):
    """A token the model chose, its log-probability, and the best alternatives."""

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()


class _Answer(_Frozen):
    model: str
    tiers: Tiers
    tokens_in: int = 0
    tokens_out: int = 0
    cached_tokens: int = 0
    seconds: float = 0.0
    usd: float = 0.0


class ChatResult(_Answer):
    """What a model answered to a chat or a completion.

    texts: one per candidate. parsed: the first text as JSON when the request
    had a schema; None where it is not JSON (then `finish_reason` is often
    "length"). Whether it fits the schema is for the caller to check.
    tiers: the tiers of the model that made it. logprobs: per candidate, per token.
    """

    texts: tuple[str, ...] = Field(min_length=1)
    parsed: Any = None
    finish_reason: str = "stop"
    logprobs: tuple[tuple[TokenLogprob, ...], ...] = ()

    @property
    def text(self) -> str:
        """The first candidate."""
        return self.texts[0]


class LabelScores(_Answer):
    """The log-probability of each label; compare them between texts, never read them as absolutes.

    bounded: labels that were not among the tokens the server reported; their
    score is that of the last one reported, so the true one is no higher.
    """

    scores: dict[str, float]
    bounded: tuple[str, ...] = ()

    @property
    def best(self) -> str:
        """The label with the highest score; the earlier one of equals."""
        return max(self.scores, key=self.scores.__getitem__)

    def margin(self, label: str) -> float:
        """How far `label` is above the best of the others; this is what to rank texts by."""
        others = [score for name, score in self.scores.items() if name != label]
        return self.scores[label] - max(others)


@dataclass(frozen=True, slots=True)
class ModelContext:
    """Whose call it is and how long it may take; never part of the question.

    tenant: becomes the server's cache salt where it knows one, so that tenants
    cannot time each other's prompts. priority: lower is served first.
    deadline: seconds since the epoch; None for none.
    """

    traceparent: str = ""
    session_id: str = ""
    tenant: str = ""
    priority: int = 0
    deadline: float | None = None

    def seconds_left(self) -> float | None:
        """Seconds until the deadline, never negative; None when there is none."""
        return None if self.deadline is None else max(0.0, self.deadline - time())


NO_CONTEXT = ModelContext()


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What is known of a model before it is asked.

    engine: openai, embedded, function or recorded. context_length: in tokens;
    None until the server has told.
    """

    name: str
    engine: str
    tiers: frozenset[Tier]
    context_length: int | None = None


@dataclass(frozen=True, slots=True)
class Price:
    """What a model costs, in US dollars per million tokens; nothing for one of your own.

    cached: for tokens that the server had in its cache; as `input` when None.
    """

    input: float = 0.0
    output: float = 0.0
    cached: float | None = None

    def of(self, tokens_in: int, tokens_out: int, cached_tokens: int = 0) -> float:
        """The dollars for one answer; `cached_tokens` are among `tokens_in`."""
        cached = self.input if self.cached is None else self.cached
        fresh = tokens_in - cached_tokens
        return (fresh * self.input + cached_tokens * cached + tokens_out * self.output) / 1e6


@dataclass(frozen=True, slots=True)
class ModelHealth:
    """What a probe found; `detail` says what to do when the model does not answer.

    features: what the server was seen to take, of "json_schema", "logprobs",
    "priority", "cache_salt", "session_id", "traceparent", "cache_prompt", "tokenize".
    """

    answers: bool
    version: str = ""
    features: frozenset[str] = frozenset()
    detail: str = ""


@runtime_checkable
class ChatModel(Protocol):
    """A model, wherever it runs. Every method may be called concurrently.

    Raises, from all three questions:
        ModelUnavailableError: No answer came; `facts['retry_after']` when known.
        ModelRefusedError: The server or the model said no to this request.
        DeadlineExceededError: `context.deadline` passed.
        TierError: The request's duty is above the model's tiers.
    """

    @property
    def info(self) -> ModelInfo: ...

    async def chat(self, request: ChatRequest, context: ModelContext = NO_CONTEXT) -> ChatResult:
        """Go on with a conversation."""
        ...

    async def complete(
        self, request: CompletionRequest, context: ModelContext = NO_CONTEXT
    ) -> ChatResult:
        """Go on with raw text."""
        ...

    async def score(self, request: ScoreRequest, context: ModelContext = NO_CONTEXT) -> LabelScores:
        """Score labels for a text by few-shot raw completion."""
        ...

    async def probe(self) -> ModelHealth:
        """See whether the model answers and what it takes; never raises for a model that is down."""
        ...

    async def aclose(self) -> None:
        """Let go of connections and processes; a closed model may not be asked again."""
        ...
