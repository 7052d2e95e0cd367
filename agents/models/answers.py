"""Requests to OpenAI's wire and answers from it, in the dialects servers really speak; no I/O."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from .features import ServerFeatures
from .ports import (
    ChatRequest,
    ChatResult,
    CompletionRequest,
    LabelScores,
    ModelContext,
    ScoreRequest,
    Tier,
    TokenLogprob,
)
from .schemas import grammar_schema

_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9_-]+")


class AnswerShapeError(ValueError):
    """A server said 200 and sent something that is no answer; met inside this package only."""


def chat_body(model: str, request: ChatRequest, server: ServerFeatures) -> dict[str, Any]:
    """The body of POST /v1/chat/completions."""
    body: dict[str, Any] = {
        "model": model,
        "messages": [message.to_json() for message in request.messages],
        **_sampling(request),
    }
    if request.json_schema is not None and "json_schema" in server.features:
        schema = request.json_schema
        title = _NOT_IN_A_NAME.sub("_", str(schema.get("title", "")))[:64]
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": {
                "name": title or "answer",
                "strict": True,
                # Another engine's grammar says other things; what it cannot it tells itself.
                "schema": grammar_schema(schema) if server.engine == "vllm" else schema,
            },
        }
    if request.top_logprobs and "logprobs" in server.features:
        body["logprobs"] = True
        body["top_logprobs"] = min(request.top_logprobs, server.most_logprobs)
    return body


def completion_body(
    model: str, request: CompletionRequest, server: ServerFeatures
) -> dict[str, Any]:
    """The body of POST /v1/completions."""
    body: dict[str, Any] = {"model": model, "prompt": request.prompt, **_sampling(request)}
    if request.top_logprobs and "logprobs" in server.features:
        body["logprobs"] = min(request.top_logprobs, server.most_logprobs)
    return body


def context_fields(context: ModelContext, server: ServerFeatures) -> dict[str, Any]:
    """Fields of the body that say whose call it is, as far as the server takes them."""
    fields: dict[str, Any] = {}
    if context.priority and "priority" in server.features:
        fields["priority"] = context.priority
    if context.tenant and "cache_salt" in server.features:
        fields["cache_salt"] = context.tenant
    if context.session_id and "session_id" in server.features:
        fields["session_id"] = context.session_id
    return fields


def _sampling(request: ChatRequest | CompletionRequest) -> dict[str, Any]:
    body: dict[str, Any] = {"max_tokens": request.max_tokens, "temperature": request.temperature}
    if request.seed is not None:
        body["seed"] = request.seed
    if request.stop:
        body["stop"] = list(request.stop)
    if request.n > 1:
        body["n"] = request.n
    return body


def read_chat(
    data: Any, *, model: str, tiers: frozenset[Tier], has_schema: bool, seconds: float
) -> ChatResult:
    """Read the answer of either endpoint.

    Raises:
        AnswerShapeError: It has no choices with a text.
    """
    choices = data.get("choices") if isinstance(data, Mapping) else None
    if not isinstance(choices, list) or not choices:
        raise AnswerShapeError("it has no choices")
    try:
        ordered = sorted(choices, key=lambda choice: int(choice.get("index", 0)))
        texts = tuple(_text(choice) for choice in ordered)
        logprobs = tuple(_logprobs(choice.get("logprobs")) for choice in ordered)
        return ChatResult(
            texts=texts,
            parsed=parse_json(texts[0]) if has_schema else None,
            model=model,
            tiers=tiers,
            finish_reason=str(ordered[0].get("finish_reason") or "stop"),
            logprobs=logprobs if any(logprobs) else (),
            seconds=seconds,
            **_usage(data),
        )
    except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
        raise AnswerShapeError(f"a choice is malformed ({error})") from error


def merge_candidates(results: Sequence[ChatResult]) -> ChatResult:
    """The candidates of several requests as those of one."""
    if len(results) == 1:
        return results[0]
    return results[0].model_copy(
        update={
            "texts": tuple(text for result in results for text in result.texts),
            "logprobs": tuple(each for result in results for each in result.logprobs),
            "tokens_in": sum(result.tokens_in for result in results),
            "tokens_out": sum(result.tokens_out for result in results),
            "cached_tokens": sum(result.cached_tokens for result in results),
            "seconds": sum(result.seconds for result in results),
            "usd": sum(result.usd for result in results),
        }
    )


def parse_json(text: str) -> Any:
    """`text` as JSON; None where it is not, NaN and Infinity included."""
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        return None


def read_labels(request: ScoreRequest, result: ChatResult) -> LabelScores:
    """Find each label's first token among the alternatives of the first token.

    Raises:
        AnswerShapeError: The server reported no alternatives.
    """
    if not result.logprobs or not result.logprobs[0]:
        raise AnswerShapeError("it has no log-probabilities")
    first = result.logprobs[0][0]
    top = dict(first.top) or {first.token: first.logprob}
    floor = min(top.values())
    scores: dict[str, float] = {}
    bounded: list[str] = []
    for label in request.labels:
        token = _token_of(label, top, request.labels)
        if token is None:
            bounded.append(label)
        scores[label] = floor if token is None else top[token]
    return LabelScores(
        scores=scores,
        bounded=tuple(bounded),
        model=result.model,
        tiers=result.tiers,
        tokens_in=result.tokens_in,
        tokens_out=result.tokens_out,
        cached_tokens=result.cached_tokens,
        seconds=result.seconds,
        usd=result.usd,
    )


def _token_of(label: str, top: Mapping[str, float], labels: tuple[str, ...]) -> str | None:
    """The token that begins `label` and no other: the whole word, else its longest beginning."""
    for whole in (f" {label}", label):
        if whole in top:
            return whole
    beginnings = [
        token
        for token in top
        if len(word := token.lstrip()) > 1
        and [other for other in labels if other.startswith(word)] == [label]
    ]
    return max(beginnings, key=lambda token: (len(token.lstrip()), top[token]), default=None)


def _text(choice: Mapping[str, Any]) -> str:
    message = choice.get("message")
    text = message.get("content") if isinstance(message, Mapping) else choice["text"]
    # vLLM says null where a model used up its tokens on its reasoning.
    return "" if text is None else str(text)


def _logprobs(data: Any) -> tuple[TokenLogprob, ...]:
    """One candidate's log-probabilities, in the shape of chat or of legacy completions.

    llama.cpp answers both endpoints in the chat shape, vLLM each in its own.
    """
    if not isinstance(data, Mapping):
        return ()
    if isinstance(data.get("content"), list):
        return tuple(
            TokenLogprob(
                token=entry["token"],
                logprob=entry["logprob"],
                top=tuple((each["token"], each["logprob"]) for each in entry["top_logprobs"]),
            )
            for entry in data["content"]
        )
    if isinstance(data.get("tokens"), list):
        tops = data.get("top_logprobs") or [{}] * len(data["tokens"])
        return tuple(
            # The first token of an echoed prompt has no log-probability.
            TokenLogprob(token=token, logprob=logprob or 0.0, top=tuple((top or {}).items()))
            for token, logprob, top in zip(
                data["tokens"], data["token_logprobs"], tops, strict=False
            )
        )
    return ()


def _usage(data: Mapping[str, Any]) -> dict[str, Any]:
    usage = data.get("usage")
    if not isinstance(usage, Mapping):
        return {}
    details = usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, Mapping) else 0
    return {
        "tokens_in": usage.get("prompt_tokens") or 0,
        "tokens_out": usage.get("completion_tokens") or 0,
        "cached_tokens": cached or 0,
    }


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
