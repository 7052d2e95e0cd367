"""What a model's server says of its own work at /metrics, in vLLM's and in llama.cpp's names; no I/O.

The text is Prometheus's exposition format. Counters of several engines (data
parallel) are added up; their cache usage is that of the fullest.
"""

import re
from dataclasses import dataclass

_LINE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{[^}]*\})?\s+([^\s]+)")
_NAMES = {
    "running": ("vllm:num_requests_running", "llamacpp:requests_processing"),
    "waiting": ("vllm:num_requests_waiting", "llamacpp:requests_deferred"),
    "prompt_tokens": ("vllm:prompt_tokens_total", "llamacpp:prompt_tokens_total"),
    "generated_tokens": ("vllm:generation_tokens_total", "llamacpp:tokens_predicted_total"),
    "kv_usage": ("vllm:kv_cache_usage_perc", "llamacpp:kv_cache_usage_ratio"),
    "cache_queries": ("vllm:prefix_cache_queries_total",),
    "cache_hits": ("vllm:prefix_cache_hits_total", "llamacpp:prompt_tokens_cached_total"),
    "preemptions": ("vllm:num_preemptions_total",),
}


@dataclass(frozen=True, slots=True)
class ServerMetrics:
    """A server's own figures at one moment; None for what it does not tell.

    running, waiting: requests. kv_usage, cache_hit_rate: 0 to 1, the latter of prompt
    tokens since the server started. prompt_tokens, generated_tokens: since then.
    """

    running: float | None = None
    waiting: float | None = None
    kv_usage: float | None = None
    cache_hit_rate: float | None = None
    prompt_tokens: float | None = None
    generated_tokens: float | None = None
    preemptions: float | None = None


def read_server_metrics(text: str) -> ServerMetrics:
    """Read the text of /metrics; what cannot be read of it is left out."""
    sums: dict[str, float] = {}
    most: dict[str, float] = {}
    for line in text.splitlines():
        found = _LINE.match(line)
        if found is None:
            continue
        try:
            value = float(found[2])
        except ValueError:
            continue
        name = found[1]
        sums[name] = sums.get(name, 0.0) + value
        most[name] = max(most.get(name, value), value)
    told = {
        key: next((sums[name] for name in names if name in sums), None)
        for key, names in _NAMES.items()
    }
    hits, queries = told["cache_hits"], told["cache_queries"]
    if queries is None and hits is not None and told["prompt_tokens"] is not None:
        # llama.cpp counts what it had to compute, without what it had.
        queries = hits + told["prompt_tokens"]
    return ServerMetrics(
        running=told["running"],
        waiting=told["waiting"],
        kv_usage=next((most[name] for name in _NAMES["kv_usage"] if name in most), None),
        cache_hit_rate=hits / queries if hits is not None and queries else None,
        prompt_tokens=told["prompt_tokens"],
        generated_tokens=told["generated_tokens"],
        preemptions=told["preemptions"],
    )
