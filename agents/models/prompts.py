"""How questions are laid out: what stays the same first, so that prefix caches hit.

Servers cache the beginning of a prompt. Instructions, schema and examples are
equal over an agent's life, recalled experience over a task, history over a
dialogue; only the input changes every time, and comes last.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .ports import ChatMessage, ScoreRequest


def lay_out(
    instructions: str,
    *,
    schema: Mapping[str, Any] | None = None,
    examples: Iterable[tuple[str, str]] = (),
    experience: str = "",
    history: Sequence[ChatMessage] = (),
    question: str,
) -> tuple[ChatMessage, ...]:
    """Lay out a conversation, stable text first.

    schema: said in words too; servers that constrain the answer do not show the
    model what the fields are. examples: (question, answer), as turns. experience:
    recalled packs as text; it joins the question, since it is data and changes with it.
    """
    system = [instructions.strip()]
    if schema is not None:
        shown = json.dumps(schema, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        system.append(f"Answer with one JSON object that fits this schema:\n{shown}")
    messages = [ChatMessage(role="system", content="\n\n".join(filter(None, system)))]
    for asked, answered in examples:
        messages.append(ChatMessage(role="user", content=asked))
        messages.append(ChatMessage(role="assistant", content=answered))
    messages.extend(history)
    if experience:
        # Beside the question, not in the system message: what was recalled is
        # data, and would change the prefix that all tasks share.
        question = f"{experience.strip()}\n\n{question}"
    messages.append(ChatMessage(role="user", content=question))
    return tuple(messages)


def few_shot_prompt(request: ScoreRequest) -> str:
    """The raw text whose next word is a label; texts are put on one line each.

    A text cannot end its own quotation and write a label: line breaks become
    spaces and double quotes single ones.
    """
    lines = [request.instruction.strip(), ""] if request.instruction.strip() else []
    for text, label in request.examples:
        lines += [f'{request.text_name}: "{_one_line(text)}"', f"{request.label_name}: {label}", ""]
    lines += [f'{request.text_name}: "{_one_line(request.text)}"', f"{request.label_name}:"]
    return "\n".join(lines)


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace('"', "'")
