"""A model behind any OpenAI-compatible server: vLLM first, llama.cpp second.

Here is the asking: connections, deadlines, retries, the breaker, the bound on
concurrency. What is sent and how an answer is read is in `answers`, what a server
can do in `features`.
"""

import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from random import uniform
from time import monotonic
from typing import Any

import anyio
import httpx

from repertory.agents.errors import ModelRefusedError, ModelUnavailableError

from .address import ServerAddress
from .answers import (
    AnswerShapeError,
    chat_body,
    completion_body,
    context_fields,
    read_chat,
    read_labels,
)
from .breaker import CircuitBreaker
from .deadlines import out_of_time, require_time
from .features import ServerFeatures, read_features
from .ports import (
    NO_CONTEXT,
    ChatRequest,
    ChatResult,
    CompletionRequest,
    LabelScores,
    ModelContext,
    ModelHealth,
    ModelInfo,
    Price,
    ScoreRequest,
    Tier,
)
from .prompts import few_shot_prompt
from .server_use import ServerUse
from .tiers import require_tier

_RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
_ASK_LATER = frozenset({425, 429})
_PROBE_SECONDS = 10.0
# A deadline shorter than this says more of its caller than of the server; if it
# tripped the breaker, one hasty tenant could shut out all others.
_TELLING_SECONDS = 5.0
# Of /v1/models: the key is wrong, or the server is not well; any other refusal
# only means that it does not list its models.
_TELLING_STATUSES = frozenset({401, 403}) | _RETRIED
# More than any engine reports, so each reports what it can.
_SCORED_ALTERNATIVES = 200


@dataclass(frozen=True, slots=True)
class Retry:
    """How often and how patiently to ask again; waits double from `first` to `longest` seconds."""

    attempts: int = 4
    first: float = 0.25
    longest: float = 8.0

    def wait(self, attempt: int, asked_for: float | None) -> float:
        """Seconds before the next attempt; what the server asked for counts, up to `longest`."""
        doubled = min(self.longest, self.first * 2.0**attempt)
        jittered = uniform(doubled / 2, doubled)
        return jittered if asked_for is None else min(self.longest, max(asked_for, jittered))


class _FailedAttempt(Exception):  # noqa: N818 — a signal between two methods, never raised out of here.
    """One attempt got no answer; another may."""

    def __init__(self, why: str, *, learned: bool = True, retry_after: float | None = None) -> None:
        super().__init__(why)
        self.why = why
        self.learned = learned
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class _Question:
    """What is sent, and how its answer is read; `body` waits for what the server can do."""

    path: str
    body: Callable[[ServerFeatures], dict[str, Any]]
    has_schema: bool = False


class OpenAIModel:
    """Ask a model over HTTP, within the caller's deadline.

    url: the server, with or without `/v1`. api_key_env: the name of the
    environment variable that holds the key, read at each request. concurrency:
    how many requests may be on their way at once; the rest wait. patience:
    seconds one question may take when the caller set no deadline. reuse_prompts:
    llama.cpp's `cache_prompt`, None for the server's own choice.

    A caller who gives up, or whose deadline passes, closes its connection, and
    both vLLM and llama.cpp then stop generating.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        tiers: frozenset[Tier],
        api_key_env: str | None = None,
        concurrency: int = 8,
        patience: float = 300.0,
        retry: Retry = Retry(),
        breaker: CircuitBreaker | None = None,
        price: Price = Price(),
        reuse_prompts: bool | None = None,
        read_key: Callable[[], str] | None = None,
    ) -> None:
        self._address = ServerAddress(url)
        self._model = model
        self._tiers = tiers
        self._api_key_env = api_key_env
        self._read_key = read_key or self._key_from_environment
        self._limiter = anyio.CapacityLimiter(concurrency)
        self._patience = patience
        self._retry = retry
        self._breaker = breaker or CircuitBreaker()
        self._last_failure = ""
        self._counts: Counter[str] = Counter()
        self._price = price
        self._reuse_prompts = reuse_prompts
        self._client: httpx.AsyncClient | None = None
        self._server: ServerFeatures | None = None
        self._opening = anyio.Lock()
        self._closed = False

    @property
    def info(self) -> ModelInfo:
        """What is known now; the context's length only once the server was asked."""
        length = self._server.context_length if self._server else None
        return ModelInfo(self._model, "openai", self._tiers, length)

    @property
    def address(self) -> str:
        """The server's URL, without what it may hold of a password."""
        return self._address.shown

    @property
    def breaker(self) -> CircuitBreaker:
        """The breaker, for those who show the model's state."""
        return self._breaker

    @property
    def outstanding(self) -> int:
        """How many questions have no answer yet, those that wait for a place included."""
        return self._counts["outstanding"]

    @property
    def use(self) -> tuple[ServerUse, ...]:
        """What this client asks of its server, and what came of it."""
        counts = self._counts
        return (
            ServerUse(
                self._address.shown,
                breaker=self._breaker.state.value,
                outstanding=counts["outstanding"],
                questions=counts["questions"],
                failures=counts["failures"],
                tokens_in=counts["tokens_in"],
                cached_tokens=counts["cached_tokens"],
                tokens_out=counts["tokens_out"],
                said=self._last_failure,
                rest=self._breaker.seconds_left(),
            ),
        )

    async def chat(self, request: ChatRequest, context: ModelContext = NO_CONTEXT) -> ChatResult:
        """POST /v1/chat/completions."""
        require_tier(self.info, request.duty)
        question = _Question(
            "/v1/chat/completions",
            lambda server: chat_body(self._model, request, server),
            has_schema=request.json_schema is not None,
        )
        return await self._ask(question, context)

    async def complete(
        self, request: CompletionRequest, context: ModelContext = NO_CONTEXT
    ) -> ChatResult:
        """POST /v1/completions."""
        require_tier(self.info, request.duty)
        question = _Question(
            "/v1/completions", lambda server: completion_body(self._model, request, server)
        )
        return await self._ask(question, context)

    async def score(self, request: ScoreRequest, context: ModelContext = NO_CONTEXT) -> LabelScores:
        """One token of a raw completion, with as many alternatives as the server reports."""
        asked = CompletionRequest(
            prompt=few_shot_prompt(request),
            max_tokens=1,
            top_logprobs=_SCORED_ALTERNATIVES,
            duty=request.duty,
        )
        result = await self.complete(asked, context)
        try:
            return read_labels(request, result)
        except AnswerShapeError as error:
            raise ModelRefusedError(
                f"{self._name()} cannot score: {error}; give this duty to a model whose server"
                " answers logprobs on /v1/completions",
                model=self._model,
            ) from error

    async def probe(self) -> ModelHealth:
        """Ask the server anew what it is; waits at most ten seconds."""
        try:
            with anyio.fail_after(_PROBE_SECONDS):
                server = await self._look(await self._opened())
        except TimeoutError:
            return ModelHealth(False, detail=f"{self._name()} said nothing in {_PROBE_SECONDS:g} s")
        except _FailedAttempt as error:
            return ModelHealth(
                False, detail=f"{self._name()}: {error.why}; see that a server runs there"
            )
        except (ModelRefusedError, ModelUnavailableError) as error:
            return ModelHealth(False, detail=error.sentence)
        self._server = server
        return ModelHealth(True, f"{server.engine} {server.version}".strip(), server.features)

    async def is_healthy(self) -> bool:
        """Whether the server says at /health that it is well, or has no such path but answers."""
        try:
            with anyio.fail_after(_PROBE_SECONDS):
                response = await self._send(await self._opened(), "GET", "/health")
        except (TimeoutError, _FailedAttempt, ModelRefusedError, ModelUnavailableError):
            return False
        return response.is_success or response.status_code in (401, 403, 404, 405)

    async def read_metrics(self) -> str:
        """The text of /metrics; "" when the server has none, or does not answer in ten seconds."""
        try:
            with anyio.fail_after(_PROBE_SECONDS):
                response = await self._send(await self._opened(), "GET", "/metrics")
        except (TimeoutError, _FailedAttempt, ModelRefusedError, ModelUnavailableError):
            return ""
        return response.text if response.is_success else ""

    async def aclose(self) -> None:
        """Close the connections."""
        self._closed = True
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    async def _ask(self, question: _Question, context: ModelContext) -> ChatResult:
        require_time(self._model, context)
        self._counts["outstanding"] += 1
        try:
            return await self._ask_again(question, context)
        finally:
            self._counts["outstanding"] -= 1

    async def _ask_again(self, question: _Question, context: ModelContext) -> ChatResult:
        """Ask until there is an answer, as often and as long as may be."""
        left = context.seconds_left()
        failure = "all its places were taken"
        try:
            # Nothing below may outlive the deadline, waiting for a place included.
            with anyio.fail_after(self._patience if left is None else min(left, self._patience)):
                for attempt in range(self._retry.attempts):
                    try:
                        async with self._limiter:
                            return await self._attempt(question, context)
                    except _FailedAttempt as error:
                        failure = self._last_failure = error.why
                        wait = self._retry.wait(attempt, error.retry_after)
                    left = context.seconds_left()
                    if attempt + 1 == self._retry.attempts or (left is not None and left <= wait):
                        break
                    await anyio.sleep(wait)
        except TimeoutError:
            raise self._out_of_time(context, failure) from None
        raise ModelUnavailableError(
            f"{self._name()} gave no answer: {failure}. See that the server runs and can be"
            " reached; `repertory doctor` asks it",
            model=self._model,
            url=self._address.shown,
        )

    async def _attempt(self, question: _Question, context: ModelContext) -> ChatResult:
        """Ask once, and tell the breaker what came of it."""
        permit = self._breaker.admit()
        if permit is None:
            wait = self._breaker.seconds_left()
            raise ModelUnavailableError(
                f"{self._name()} failed too often ({self._last_failure}) and is left alone for"
                f" {wait:.1f} s more; see that the server runs, then ask again",
                model=self._model,
                url=self._address.shown,
                retry_after=wait,
            )
        began = monotonic()
        try:
            result = await self._exchange(question, context)
        except ModelRefusedError:
            self._breaker.succeeded(permit)
            raise
        except _FailedAttempt as error:
            self._counts["failures"] += 1
            (self._breaker.failed if error.learned else self._breaker.abandoned)(permit)
            raise
        except BaseException:
            # Cancelled, by its caller or by the deadline.
            told = monotonic() - began >= min(_TELLING_SECONDS, self._patience)
            self._counts["failures"] += told
            (self._breaker.failed if told else self._breaker.abandoned)(permit)
            raise
        self._breaker.succeeded(permit)
        self._counts["questions"] += 1
        for name in ("tokens_in", "cached_tokens", "tokens_out"):
            self._counts[name] += getattr(result, name)
        return result

    async def _exchange(self, question: _Question, context: ModelContext) -> ChatResult:
        client = await self._opened()
        server = await self._known(client)
        content = {**question.body(server), **context_fields(context, server)}
        if self._reuse_prompts is not None and "cache_prompt" in server.features:
            content["cache_prompt"] = self._reuse_prompts
        traced = context.traceparent and "traceparent" in server.features
        began = monotonic()
        response = await self._send(
            client,
            "POST",
            question.path,
            content,
            {"traceparent": context.traceparent} if traced else {},
        )
        self._check_status(response)
        try:
            result = read_chat(
                response.json(),
                model=self._model,
                tiers=self._tiers,
                has_schema=question.has_schema,
                seconds=monotonic() - began,
            )
        except ValueError as error:
            raise _FailedAttempt(f"its answer cannot be read: {error}") from error
        usd = self._price.of(result.tokens_in, result.tokens_out, result.cached_tokens)
        return result.model_copy(update={"usd": usd}) if usd else result

    async def _opened(self) -> httpx.AsyncClient:
        if self._closed:
            raise ModelUnavailableError(
                f"{self._name()} was closed; open it anew", model=self._model
            )
        if self._client is None:
            async with self._opening:
                if self._client is None:
                    self._client = await self._address.open_client()
        return self._client

    async def _known(self, client: httpx.AsyncClient) -> ServerFeatures:
        """What the server is, asked once before the first question."""
        if self._server is None:
            async with self._opening:
                if self._server is None:
                    self._server = await self._look(client)
        return self._server

    async def _look(self, client: httpx.AsyncClient) -> ServerFeatures:
        answers: dict[str, Any] = {}
        for path in ("/v1/models", "/version", "/openapi.json"):
            response = await self._send(client, "GET", path)
            if path == "/v1/models" and response.status_code in _TELLING_STATUSES:
                self._check_status(response)
            answers[path] = _json_object(response) if response.is_success else None
        server = read_features(
            answers["/version"], answers["/openapi.json"], answers["/v1/models"], self._model
        )
        # llama.cpp answers to any name, with the one model it has; the artifact
        # would be marked with a model that never made it.
        if server.engine != "openai" and server.models and self._model not in server.models:
            near = get_close_matches(self._model, server.models, n=1)
            raise ModelRefusedError(
                f"{self._address.shown} serves no model {self._model!r}; it serves:"
                f" {', '.join(map(repr, server.models))}."
                + (f" Did you mean {near[0]!r}?" if near else " Name one of these"),
                model=self._model,
                served=server.models,
            )
        return server

    async def _send(
        self,
        client: httpx.AsyncClient,
        method: str,
        path: str,
        content: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        key = self._read_key()
        sent = {**(headers or {}), **({"Authorization": f"Bearer {key}"} if key else {})}
        try:
            return await client.request(method, path, json=content, headers=sent)
        except httpx.HTTPError as error:
            why = str(error) or type(error).__name__
            raise _FailedAttempt(f"the connection failed ({why})") from error

    def _check_status(self, response: httpx.Response) -> None:
        """Tell a refusal from a failure; a success is neither."""
        status = response.status_code
        if response.is_success:
            return
        said = self._said(response)
        if status in _RETRIED:
            raise _FailedAttempt(
                f"HTTP {status} ({said})",
                learned=status not in _ASK_LATER,
                retry_after=_seconds(response.headers.get("retry-after")),
            )
        raise ModelRefusedError(
            f"{self._name()} refused with HTTP {status} ({said}){self._advice(status, said)}",
            model=self._model,
            url=self._address.shown,
            status=status,
            said=said,
        )

    def _advice(self, status: int, said: str) -> str:
        if status in (401, 403):
            if self._api_key_env is None:
                return "; name the environment variable that holds its key as `api_key_env`"
            return f"; see that the environment variable {self._api_key_env} holds a valid key"
        if status in (301, 302, 303, 307, 308):
            return "; redirects are not followed: name the server's own URL"
        if status == 404:
            return (
                "; see that the URL is an OpenAI-compatible server's and the model's name is right"
            )
        if "context" in said and ("length" in said or "size" in said):
            return "; shorten the question, or serve the model with a longer context"
        return "; change the request, as asking it again would be refused again"

    def _said(self, response: httpx.Response) -> str:
        """The server's own words, short, and without the key should it repeat it."""
        data = _json_object(response) or {}
        error = data.get("error", data)
        words = error.get("message") if isinstance(error, Mapping) else error
        text = " ".join(str(words or response.reason_phrase or "no reason given").split())
        key = self._read_key()
        return (text.replace(key, "***") if key else text)[:300]

    def _out_of_time(self, context: ModelContext, failure: str) -> Exception:
        if context.seconds_left() == 0.0:
            return out_of_time(self._model)
        return ModelUnavailableError(
            f"{self._name()} did not answer in {self._patience:g} s ({failure}); see that the"
            " server is not overloaded, or give the model more patience",
            model=self._model,
            url=self._address.shown,
        )

    def _name(self) -> str:
        return f"model {self._model!r} at {self._address.shown}"

    def _key_from_environment(self) -> str:
        if self._api_key_env is None:
            return ""
        key = os.environ.get(self._api_key_env, "").strip()
        if not key:
            raise ModelRefusedError(
                f"the environment variable {self._api_key_env}, named to hold the key of model"
                f" {self._model!r}, is not set; set it, or take `api_key_env` out",
                model=self._model,
                variable=self._api_key_env,
            )
        return key


def _json_object(response: httpx.Response) -> Mapping[str, Any] | None:
    try:
        data = response.json()
    except ValueError:
        return None
    return data if isinstance(data, Mapping) else None


def _seconds(header: str | None) -> float | None:
    try:
        return None if header is None else max(0.0, float(header))
    except ValueError:
        # The other form is a date; our own backoff is as good.
        return None
