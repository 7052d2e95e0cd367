"""A pack's data as a person reads it: a step in two short cells, and JSON as plain words.

What is shown is for reading alone; `--json` gives everything as it is kept.
"""

from collections.abc import Iterator, Mapping, Sequence
from math import exp, log
from typing import Any

import orjson
from rich.console import RenderableType
from rich.text import Text

from repertory.xp_store import Pack, Step

from .screen import grid, short

# What an action was about, in the order of what tells most; the rest of its arguments follows.
_ABOUT = ("text", "query", "prompt", "question", "message")


def why_of(pack: Pack, steps: Sequence[Step]) -> list[RenderableType]:
    """Each claim with the steps that support it."""
    place = {step.digest: step.seq + 1 for step in steps}
    told: list[RenderableType] = []
    for claim in pack.why:
        seen = [str(place[each]) for each in claim.get("evidence", ()) if each in place]
        by = f" (step {', '.join(seen)})" if seen else ""
        told.append(Text(f"why: {claim.get('text', claim)}{by}"))
    return told or [Text("why: no reason was given")]


def how_of(pack: Pack, steps: Sequence[Step]) -> list[RenderableType]:
    """The steps as a table, and what came of them."""
    rows = [
        (
            step.seq + 1,
            step.agent,
            f"{step.action.get('kind', '')} {step.action.get('name', '')}".strip(),
            short(asked_of(step), 60),
            short(seen_of(step), 80),
        )
        for step in steps
    ]
    parts: list[RenderableType] = [
        grid(("step>", "agent", "action", "asked", "seen"), rows, title="how")
    ]
    came = {name: value for name, value in pack.how.items() if name != "steps"}
    if came:
        parts.append(Text(f"came of it: {short(plain(came), 400)}"))
    return parts


def asked_of(step: Step) -> str:
    """What the step asked: its text or question, else its arguments as words."""
    args = step.action.get("args")
    if not isinstance(args, Mapping):
        return "" if args is None else str(args)
    if "lang" in args and "code" in args:
        return f"a check in {args['lang']}"
    if "arguments" in args:
        return plain(args["arguments"])
    if "parts" in args:
        return _said(args["parts"])
    for name in _ABOUT:
        if args.get(name):
            return plain(args[name])
    messages = args.get("messages")
    if isinstance(messages, list) and messages:
        last = messages[-1]
        return plain(last.get("content", last) if isinstance(last, Mapping) else last)
    return plain(args)


def seen_of(step: Step) -> str:
    """What was seen then: the likeliest label, the verdict, how many were found, or the answer."""
    if step.is_error:
        return f"error: {plain(step.observation)}"
    found = _parsed(step.observation)
    if isinstance(found, Mapping):
        scores = found.get("scores")
        if isinstance(scores, Mapping) and scores:
            return _likeliest(scores)
        if "passed" in found and "subject" in found:
            said = {True: "passed", False: "failed"}.get(found["passed"], "decided nothing")
            return f"{said}: {found['detail']}" if found.get("detail") else said
        if isinstance(found.get("status"), Mapping):
            return _ended(found["status"])
        if isinstance(found.get("text"), str):
            return str(found["text"])
        if "content" in found and "is_error" in found:
            return plain(found.get("structured") or found["content"])
    if found == [] and step.action.get("kind") == "decision":
        return "nothing was found"
    return plain(found)


def _said(parts: Sequence[Mapping[str, Any]]) -> str:
    """What the parts of a message say in words, or else their data."""
    texts = [str(part["text"]) for part in parts if part.get("text")]
    return " ".join(texts) or plain([part.get("data") for part in parts])


def _ended(status: Mapping[str, Any]) -> str:
    """What a task said at its end; its state where that is not what one hopes for."""
    state = str(status.get("state", "")).removeprefix("TASK_STATE_").replace("_", " ").lower()
    said = _said((status.get("message") or {}).get("parts", ()))
    return said if state == "completed" and said else ": ".join(filter(None, (state, said)))


def plain(data: Any) -> str:
    """JSON as words: `vendor Meyer, total 420`; text that is no JSON stays as it is."""
    if isinstance(data, str):
        parsed = _parsed(data)
        return data if isinstance(parsed, str) else plain(parsed)
    return ", ".join(_words(data))


def _words(data: Any, name: str = "") -> Iterator[str]:
    if isinstance(data, Mapping):
        for key, value in data.items():
            yield from _words(value, str(key).replace("_", " "))
    elif isinstance(data, list):
        for value in data:
            yield from _words(value, name)
    elif data is None or data == "":
        return
    else:
        told = {True: "yes", False: "no"}[data] if isinstance(data, bool) else str(data)
        yield f"{name} {told}".strip()


def _likeliest(scores: Mapping[str, float]) -> str:
    """The label with the highest log-probability, and its share among the labels."""
    best = max(scores, key=lambda label: scores[label])
    among = log(sum(exp(score) for score in scores.values()))
    return f"{best}, {exp(scores[best] - among):.0%} among {len(scores)} labels"


def _parsed(text: str) -> Any:
    """What the text holds if it is a JSON object or list, else the text."""
    if text[:1] not in ("{", "["):
        return text
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
