"""Ask a running vLLM one question of each kind, and keep what it answered as contract fixtures.

`python -m tests.vllm_cpu.record URL FILE.json`, with the server's key in VLLM_API_KEY.
The tests that CI runs read the file; nothing in it is edited by hand.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import httpx

MODEL = "smollm2-135m"
VERDICT = {
    "type": "object",
    "properties": {
        "verdict": {"type": "string", "enum": ["accept", "revise", "reject"]},
        "score": {"type": "integer", "minimum": 1, "maximum": 5},
    },
    "required": ["verdict", "score"],
    "additionalProperties": False,
}
# Long enough for several blocks of the prefix cache, which are of 16 to 128 tokens.
LONG = "The desk reads invoices, compares them with the orders, and posts what agrees. " * 24


def chat(text: str, **more: Any) -> dict[str, Any]:
    """The body of a chat of one question."""
    messages = [{"role": "user", "content": text}]
    return {"model": MODEL, "messages": messages, "max_tokens": 6, "temperature": 0, **more}


def raw(text: str, **more: Any) -> dict[str, Any]:
    """The body of a raw completion."""
    return {"model": MODEL, "prompt": text, "max_tokens": 1, "temperature": 0, **more}


_CHAT, _RAW = "/v1/chat/completions", "/v1/completions"
_FORMAT = {"type": "json_schema", "json_schema": {"name": "v", "strict": True, "schema": VERDICT}}
_SALTED = chat(LONG + "Name one color.", max_tokens=2)
QUESTIONS: dict[str, tuple[str, dict[str, Any] | None]] = {
    "models": ("/v1/models", None),
    "health": ("/health", None),
    "version": ("/version", None),
    "chat": (_CHAT, chat("Name one color.", seed=1)),
    "chat_schema": (
        _CHAT,
        chat("Judge this paper as JSON.", max_tokens=40, response_format=_FORMAT),
    ),
    "chat_choice": (
        _CHAT,
        chat("Is water wet?", structured_outputs={"choice": ["certainly", "never"]}),
    ),
    "chat_logprobs": (
        _CHAT,
        chat("Is water wet? Yes or No?", max_tokens=1, logprobs=True, top_logprobs=5),
    ),
    "completion_logprobs": (_RAW, raw('Text: "Thank you so much!"\nSentiment:', logprobs=5)),
    "prompt_logprobs": (_RAW, raw("The capital of France is Paris", prompt_logprobs=1, echo=True)),
    "chat_n": (_CHAT, chat("Say a color.", n=3, temperature=1, seed=3, max_tokens=3)),
    "chat_priority": (_CHAT, chat("Say a color.", priority=5, session_id="context-1")),
    "batch": (
        "/v1/chat/completions/batch",
        {
            "model": MODEL,
            "messages": [[{"role": "user", "content": f"Say {word}."}] for word in ("red", "blue")],
            "max_tokens": 4,
            "temperature": 0,
        },
    ),
    "salt_a_first": (_CHAT, {**_SALTED, "cache_salt": "tenant-a"}),
    "salt_a_again": (_CHAT, {**_SALTED, "cache_salt": "tenant-a"}),
    "salt_b_first": (_CHAT, {**_SALTED, "cache_salt": "tenant-b"}),
    "stream": (_CHAT, chat("Hi", stream=True, stream_options={"include_usage": True})),
    "tokenize": ("/tokenize", {"model": MODEL, "prompt": "hello world"}),
    "err_model": (_CHAT, {**chat("x"), "model": "nope"}),
    "err_ctx": (_CHAT, chat("word " * 9000)),
    "err_schema": (
        _CHAT,
        chat(
            "x",
            response_format={
                "type": "json_schema",
                "json_schema": {"name": "v", "schema": {"type": "nonsense"}},
            },
        ),
    ),
    "metrics": ("/metrics", None),
}


def ask(client: httpx.Client, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
    """One question and its answer, as a fixture."""
    answer = client.get(path) if body is None else client.post(path, json=body)
    shown = "9000 words" if body is not None and len(json.dumps(body)) > 20_000 else body
    return {"path": path, "request": shown, "status": answer.status_code, "body": answer.text}


def record(url: str, key: str) -> dict[str, Any]:
    """The answers to all questions, and the refusal of one that came without the key."""
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=url, headers=headers, timeout=120.0, trust_env=False) as client:
        answers: dict[str, Any] = {
            name: ask(client, path, body) for name, (path, body) in QUESTIONS.items()
        }
        described = client.get("/openapi.json").json()
        chat_of = described["paths"][_CHAT]["post"]["requestBody"]["content"]["application/json"]
        answers["chat_fields"] = _fields(chat_of["schema"], described)
        answers["paths"] = sorted(described["paths"])
    with httpx.Client(base_url=url, timeout=120.0, trust_env=False) as client:
        answers["err_key"] = ask(client, *QUESTIONS["chat"])
    return answers


def _fields(schema: dict[str, Any], described: dict[str, Any]) -> list[str]:
    name = str(schema["$ref"]).rsplit("/", 1)[1]
    return sorted(described["components"]["schemas"][name]["properties"])


if __name__ == "__main__":
    found = record(sys.argv[1], os.environ["VLLM_API_KEY"])
    text = json.dumps(found, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    Path(sys.argv[2]).write_text(text, "utf-8")
