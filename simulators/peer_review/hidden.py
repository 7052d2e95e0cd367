"""What a text hides from its reader, and sentences meant for a machine that reviews it."""

import re
from collections.abc import Sequence

from .manuscript import Hidden, Page
from .sentences import flatten, sentences

_ZERO_WIDTH = "\u200b\u200c\u200d\u2060\u2061\u2062\u2063\u2064\ufeff\u180e"
_BIDI = "\u202a-\u202e\u2066-\u2069"
_UNSEEN = re.compile(f"[{_ZERO_WIDTH}{_BIDI}\U000e0000-\U000e007f]+")
_JOINED_SCRIPTS = re.compile(
    r"[\u0600-\u06ff\u0900-\u0dff\U0001f000-\U0001faff\u2600-\u27bf\ufe0f]"
)

_COMMANDS = re.compile(
    r"\b(?:ignore|disregard|forget|override)\s+(?:all\s+|any\s+|every\s+)?(?:of\s+)?(?:the\s+|your\s+|these\s+)?"
    r"(?:previous|prior|preceding|above|earlier|foregoing|system)\s+(?:\w+\s+){0,2}?(?:instructions?|prompts?|directions?|guidelines|rules|messages?)"
    r"|(?:^|[.:,;!]\s*|\b(?:please|you|must|should|and|only|always|now)\s+)(?:give|write|provide|output|generate|produce|submit|return)\s+(?:only\s+)?(?:a\s+|an\s+)?(?:\w+\s+){0,2}?(?:positive|favou?rable|glowing|strong(?:ly)?\s+positive|high|perfect|top)\s+(?:review|score|rating|recommendation|evaluation|assessment|marks?)s?\b"
    r"|\bdo\s+not\s+(?:mention|highlight|list|report|raise|include|point\s+out)\s+(?:any\s+|the\s+)?(?:\w+\s+)?(?:negatives?|weakness(?:es)?|flaws?|limitations?|problems?|shortcomings?|criticisms?)\b"
    r"|\b(?:you\s+(?:must|should|have\s+to|are\s+to)|please|always)\s+(?:\w+\s+){0,2}?(?:recommend|accept|rate|score|praise)\s+(?:\w+\s+){0,3}?(?:paper|manuscript|submission|acceptance|work)\b"
    r"|\b(?:as|if\s+you\s+are|you\s+are)\s+(?:an?\s+)?(?:AI|LLM|large\s+language\s+model|language\s+model|AI\s+assistant)\b[^.]{0,60}\b(?:review|accept|recommend|rate|score)"
    r"|\b(?:AI|LLM|GPT|language\s+model)\s+reviewers?\s*[:,!]\s*(?:\w+\s+){0,3}?(?:give|write|accept|recommend|ignore|rate)"
    r"|\brecommend\s+(?:an?\s+)?(?:strong\s+)?accept(?:ance)?\s+(?:of\s+|for\s+)?this\s+(?:paper|manuscript|submission)\b",
    re.IGNORECASE,
)  # fmt: skip
_QUOTED = re.compile(r"[\"“”‘`'«][^\"“”’`'»]{0,160}$")
_SOURCE = re.compile(
    r"\\textcolor\s*(?:\[[^\]]*\])?\s*\{\s*(?:white|1,\s*1,\s*1|FFFFFF)\s*\}\s*\{(?P<a>[^{}]{12,})\}"
    r"|\{\s*\\color\s*(?:\[[^\]]*\])?\s*\{\s*(?:white|1,\s*1,\s*1|FFFFFF)\s*\}(?P<b>[^{}]{12,})\}"
    r"|\{\s*\\fontsize\s*\{\s*[01](?:\.\d+)?\s*(?:pt)?\s*\}\s*\{[^}]*\}\s*\\selectfont(?P<c>[^{}]{12,})\}"
    r"|<(?P<tag>span|div|p|font)[^>]*(?:color\s*[:=]\s*[\"']?\s*(?:white|#fff(?:fff)?\b)|font-size\s*:\s*[01](?:\.\d+)?(?:px|pt|em)?\b|display\s*:\s*none|visibility\s*:\s*hidden|opacity\s*:\s*0\b)[^>]*>(?P<d>[^<]{12,})</(?P=tag)>",
    re.IGNORECASE,
)


def visible(text: str, page: int) -> tuple[str, list[Hidden]]:
    """`text` without characters that nobody sees, and what they were."""
    hidden: list[Hidden] = []
    text = text.removeprefix("\ufeff")
    kept: list[str] = []
    last = 0
    count = 0
    where = ""
    told: list[str] = []
    for found in _UNSEEN.finditer(text):
        kept.append(text[last : found.start()])
        last = found.end()
        around = text[max(0, found.start() - 2) : found.end() + 2]
        tags = "".join(chr(ord(c) - 0xE0000) for c in found.group() if 0xE0020 <= ord(c) < 0xE007F)
        if tags:
            told.append(tags)
        if _JOINED_SCRIPTS.search(around) and len(found.group()) == 1:
            continue  # Emoji and some scripts are joined by these.
        count += len(found.group())
        where = where or text[max(0, found.start() - 30) : found.end() + 50]
    kept.append(text[last:])
    clean = "".join(kept)
    if told:
        hidden.append(
            Hidden(
                kind="zero_width",
                page=page,
                text=" ".join(told)[:2000],
                detail="written in Unicode's invisible tag characters",
            )
        )
    elif count:
        words = " ".join(_UNSEEN.sub("", where).split())
        detail = f"{count} characters of no width, the first ones in “{words}”"
        hidden.append(Hidden(kind="zero_width", page=page, text=words, detail=detail))
    return clean, hidden


def hidden_in_source(source: str) -> tuple[str, list[str]]:
    """A LaTeX, Markdown or HTML source without what it sets in white or too small, and that."""
    found = [
        " ".join(next(g for n, g in m.groupdict().items() if g and n != "tag").split())
        for m in _SOURCE.finditer(source)
    ]
    return _SOURCE.sub(" ", source), found


def instructions(pages: Sequence[Page]) -> list[Hidden]:
    """Sentences in plain sight that speak to a reviewing machine and not to a reader.

    What stands in quotes is left out: papers about such prompts quote them.
    """
    told = []
    for page in pages:
        flat = flatten(page.text)
        for start, end in sentences(flat.text):
            sentence = flat.text[start:end]
            found = _COMMANDS.search(sentence)
            if found and not _QUOTED.search(
                flat.text[max(0, start + found.start() - 160) : start + found.start()]
            ):
                told.append(
                    Hidden(
                        kind="instruction",
                        page=page.number,
                        text=sentence[:400],
                        detail=f"speaks to a machine: “{found.group()}”",
                    )
                )
    return told


def is_instruction(text: str) -> bool:
    """Whether a text tells a reviewing machine what to do."""
    return _COMMANDS.search(text) is not None
