"""Which media types an agent takes: its card's input modes, with wildcards as in RFC 9110."""

from .cards import AgentCard


def accepts(card: AgentCard, media_type: str) -> bool:
    """Whether the card lists `media_type`; a card that lists no mode takes any.

    `text/*` takes every text and `*/*` everything; a mode without a slash, such as
    `text`, stands for the whole type. Parameters (`; charset=…`) do not count.
    """
    modes = {*card.default_input_modes, *(mode for s in card.skills for mode in s.input_modes)}
    asked = media_type.partition(";")[0].strip().lower()
    kind = asked.partition("/")[0]
    return not modes or any(
        mode.partition(";")[0].strip().lower() in (asked, kind, f"{kind}/*", "*/*")
        for mode in modes
    )
