import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repertory.agents import read_server_metrics

FIXTURES = Path(__file__).parent / "fixtures"


def recorded(name: str) -> str:
    """What a real server said at /metrics."""
    body: str = json.loads((FIXTURES / f"{name}.json").read_text("utf-8"))["metrics"]["body"]
    return body


def test_what_vllm_says_of_itself_is_read() -> None:
    """Spec: vLLM 0.32's own names, as a server on a CPU gave them after some twenty questions."""
    metrics = read_server_metrics(recorded("vllm_cpu"))
    assert (metrics.running, metrics.waiting) == (0.0, 0.0)
    assert metrics.prompt_tokens is not None
    assert metrics.prompt_tokens > 1000
    assert metrics.generated_tokens is not None
    assert metrics.generated_tokens > 50
    assert metrics.kv_usage is not None
    assert 0.0 <= metrics.kv_usage <= 1.0
    # One of three equal long prompts had the salt of an earlier one.
    assert metrics.cache_hit_rate is not None
    assert 0.1 < metrics.cache_hit_rate < 0.6


def test_what_llama_cpp_says_of_itself_is_read() -> None:
    """Spec: llama.cpp counts the tokens that it had beside those that it computed."""
    metrics = read_server_metrics(recorded("llama_cpp"))
    assert metrics.cache_hit_rate == pytest.approx(120 / (120 + 97))
    assert (metrics.prompt_tokens, metrics.generated_tokens) == (97.0, 49.0)


def test_engines_are_added_up_and_the_fullest_cache_is_told() -> None:
    """Ours: data parallel replicas are one server to its user."""
    text = "".join(
        f'vllm:num_requests_running{{engine="{engine}"}} {engine + 1}\n'
        f'vllm:kv_cache_usage_perc{{engine="{engine}"}} 0.{engine + 3}\n'
        for engine in range(2)
    )
    metrics = read_server_metrics(text)
    assert (metrics.running, metrics.kv_usage) == (3.0, 0.4)
    assert metrics.cache_hit_rate is None


@given(st.text(max_size=200))
def test_no_text_breaks_the_reader(text: str) -> None:
    """Ours: /metrics of whatever listens there may be anything."""
    read_server_metrics(text)
    read_server_metrics(f"vllm:num_requests_running {text}\n")
