"""The raw text whose next word is a label.

Sent to `/v1/completions`, past the chat template: the same text sent as a chat
turn lets a small model fall from an AUC of 0.93 to 0.51. The instruction and the
examples come first, since they are equal for all texts and prefix caches hit.
How conversations are laid out is the agents' business (`layout`).
"""

from .ports import ScoreRequest


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
