"""What real vLLM answered, read as this package reads it; `just vllm-cpu` records it anew."""

import json
from pathlib import Path
from typing import Any

import pytest

from repertory.agents import ScoreRequest
from repertory.agents.models import ChatResult, Tier
from repertory.agents.models.answers import context_fields, read_chat, read_labels
from repertory.agents.models.features import read_features
from repertory.agents.models.ports import ModelContext

RECORDED: dict[str, Any] = json.loads(
    (Path(__file__).parent / "fixtures" / "vllm_cpu.json").read_text("utf-8")
)


def answer(kind: str) -> Any:
    """The JSON of a recorded answer."""
    assert RECORDED[kind]["status"] == 200
    return json.loads(RECORDED[kind]["body"])


def read(kind: str, *, has_schema: bool = False) -> ChatResult:
    """A recorded answer, as a client reads it."""
    tiers = frozenset({Tier.SCORE})
    return read_chat(answer(kind), model="m", tiers=tiers, has_schema=has_schema, seconds=0.0)


def test_a_schema_and_a_choice_hold_the_model() -> None:
    """Spec: `response_format` with a JSON schema, and vLLM's own `structured_outputs`."""
    assert read("chat_schema", has_schema=True).parsed == {"verdict": "accept", "score": 1}
    assert read("chat_choice").text in ("certainly", "never")


def test_prompt_log_probabilities_come_with_the_prompt() -> None:
    """Spec: one entry for each token of the prompt, the first without any."""
    (choice,) = answer("prompt_logprobs")["choices"]
    first, *rest = choice["prompt_logprobs"]
    assert first is None
    assert len(rest) == answer("prompt_logprobs")["usage"]["prompt_tokens"] - 1
    assert all(each["logprob"] <= 0.0 for token in rest for each in token.values())


def test_labels_are_scored_from_its_completion() -> None:
    """Spec: the legacy shape of log-probabilities on /v1/completions."""
    request = ScoreRequest(text="Thank you so much!", labels=("positive", "negative"))
    scores = read_labels(request, read("completion_logprobs"))
    assert scores.best == "positive"


def test_several_samples_are_one_request_and_a_batch_is_one_answer() -> None:
    """Spec: `n` on a chat, and vLLM's batch of conversations."""
    assert RECORDED["chat_n"]["request"]["n"] == len(read("chat_n").texts) == 3
    assert len(answer("batch")["choices"]) == len(RECORDED["batch"]["request"]["messages"]) == 2


def test_a_salt_separates_tenants_in_the_prefix_cache() -> None:
    """Spec: the same prompt hits under the same `cache_salt`, and misses under another."""
    first, again, other = (
        read(kind).cached_tokens for kind in ("salt_a_first", "salt_a_again", "salt_b_first")
    )
    assert first == other == 0
    assert again > 0.8 * read("salt_a_again").tokens_in


def test_what_it_takes_is_read_from_what_it_says_of_itself() -> None:
    """Spec: its own list of fields; a request carries tenant, dialogue and priority in them."""
    fields: dict[str, Any] = {name: {} for name in RECORDED["chat_fields"]}
    chat_path = {
        "post": {
            "requestBody": {"content": {"application/json": {"schema": {"properties": fields}}}}
        }
    }
    paths: dict[str, Any] = {path: {} for path in RECORDED["paths"]}
    openapi = {"paths": {**paths, "/v1/chat/completions": chat_path}}
    server = read_features(answer("version"), openapi, answer("models"), "smollm2-135m")
    assert (server.engine, server.version, server.context_length) == ("vllm", "0.32.0", 4096)
    context = ModelContext(tenant="acme", session_id="c", priority=5)
    assert context_fields(context, server) == {
        "cache_salt": "acme",
        "session_id": "c",
        "priority": 5,
    }
    assert {"json_schema", "logprobs", "traceparent", "tokenize"} <= server.features


@pytest.mark.parametrize(
    ("kind", "status"),
    [("err_key", 401), ("err_model", 404), ("err_ctx", 400), ("err_schema", 400)],
)
def test_its_refusals_are_refusals(kind: str, status: int) -> None:
    """Spec: each with a sentence in `error`."""
    assert RECORDED[kind]["status"] == status
    assert json.loads(RECORDED[kind]["body"])["error"]
