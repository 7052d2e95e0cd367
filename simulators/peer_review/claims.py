"""What a manuscript claims: sentences that say what was found, what is new, what causes what."""

import re
from typing import Literal

from .findings import Sentence, sentences_of
from .manuscript import Manuscript
from .report import Claim

ClaimKind = Literal["result", "novelty", "causal", "comparison"]
MOST_CLAIMS = 60

_NOVELTY = re.compile(
    r"\b(?:we|this (?:paper|work|study|article))\s+(?:\w+ly\s+)?(?:propose|introduce|present|develop|contribute|design|provide)s?\b"
    r"|\bnovel\b|\bfor the first time\b|\bthe first (?:to|study|work|approach|method|systematic|large)\b"
    r"|\bto (?:the best of )?our knowledge\b|\bour (?:main |key )?contributions?\b|\bhas (?:never|not yet) been\b",
    re.IGNORECASE,
)
_COMPARISON = re.compile(
    r"\boutperform\w*|\bstate[- ]of[- ]the[- ]art\b|\b(?:better|worse|higher|lower|faster|slower|larger|smaller|greater|fewer|more accurate|stronger)\b[^.]{0,60}\bthan\b"
    r"|\bcompared (?:to|with)\b|\bsurpass\w*|\bexceed(?:s|ed)?\b|\bimprov(?:es?|ed|ement)\b[^.]{0,80}\b(?:over|by|upon|compared)\b|\bversus\b|\bbeats?\b",
    re.IGNORECASE,
)
_CAUSAL = re.compile(
    r"\b(?:causes?|caused|causing|leads? to|led to|results? in|resulted in|due to|because of|gives? rise to|induces?|induced"
    r"|drives?|prevents?|is responsible for|(?:has|had|have) (?:an?|no|a \w+) (?:\w+ )?(?:effect|impact|influence) on|affects?|affected"
    r"|(?:effect|impact|influence) of\b[^.]{0,60}\bon)\b",
    re.IGNORECASE,
)
_RESULT = re.compile(
    r"\b(?:we|our (?:results?|findings?|experiments?|analys[ie]s|data|study|evaluation|model|method|approach)|(?:the )?(?:results?|findings?|experiments?|analys[ie]s|data|evidence|evaluation))\s+"
    r"(?:\w+ly\s+|also\s+|further\s+|clearly\s+|then\s+|have\s+)?(?:find|found|finds|show|shows|showed|shown|observe|observed|demonstrate|demonstrates|demonstrated|reveal|reveals|revealed|indicate|indicates|indicated"
    r"|suggest|suggests|suggested|confirm|confirms|confirmed|establish|establishes|established|conclude|concluded|prove|proved|achieve|achieves|achieved|obtain|obtained)\b"
    r"|\bsignificant(?:ly)?\b|\b(?:increas|decreas|reduc|declin|rose|grew)\w*\b[^.]{0,60}\d|\bachiev(?:es?|ed|ing)\b[^.]{0,80}\d|\b[pP]\s*[<=>]\s*0?\.\d|\bwas associated with\b|\bcorrelat(?:es?|ed|ion)\b[^.]{0,60}\d",
    re.IGNORECASE,
)
_OURS = re.compile(
    r"\b(?:we|our|ours|us|this (?:paper|work|study|article|survey|review|method|approach)|(?:Table|Tables|Figure|Fig\.|Figures)\s*\d)\b",
    re.IGNORECASE,
)
_INTENT = re.compile(
    r"\b(?:will|would|aim(?:s|ed)? to|we hypothesi[sz]e|it remains|future work|further research|could be|may be possible|in order to (?:test|assess|examine)|we ask|whether)\b",
    re.IGNORECASE,
)
_PLACES = {
    "abstract": 0,
    "conclusion": 1,
    "results": 2,
    "discussion": 3,
    "introduction": 4,
    "other": 5,
    "methods": 6,
}


def claim_kind(sentence: str) -> ClaimKind | None:
    """What a sentence claims, by its cue; None where it claims nothing."""
    if _NOVELTY.search(sentence):
        return "novelty"
    if _COMPARISON.search(sentence) and (_OURS.search(sentence) or re.search(r"\d", sentence)):
        return "comparison"
    if _RESULT.search(sentence):
        return "result"
    if _CAUSAL.search(sentence):
        return "causal"
    return None


def claims_of(manuscript: Manuscript) -> tuple[Claim, ...]:
    """The claims of a manuscript in the order of its text.

    What others are said to have found is none of its claims. Of more than 60, those of the
    abstract, the conclusion and the results are kept first.
    """
    found: list[tuple[int, int, Sentence, ClaimKind]] = []
    kinds = {section.id: section.kind for section in manuscript.sections}
    for order, sentence in enumerate(sentences_of(manuscript)):
        place = kinds.get(sentence.unit.section, "other")
        text = sentence.text
        if (
            place not in _PLACES
            or not 6 <= len(text.split()) <= 90
            or not re.match(r"[\"“(]?[A-ZÀ-Þ0-9]", text)
        ):
            continue
        kind = claim_kind(text)
        if (
            kind is None
            # A sentence that its page cuts off stands on no page as a whole.
            or not re.search(r"[.!:;][\"”)\]]*[\d,–-]{0,9}$", text)
            or text.startswith("Please")
            or (_INTENT.search(text) and not re.search(r"\d", text))
        ):
            continue
        if not _OURS.search(text) and (
            place in {"introduction", "methods", "other"} or _is_of_others(manuscript, sentence)
        ):
            continue
        if place == "methods" and not re.search(r"\d", text) and kind != "novelty":
            continue
        found.append((_PLACES[place], order, sentence, kind))
    kept = sorted(sorted(found, key=lambda f: f[:2])[:MOST_CLAIMS], key=lambda f: f[1])
    claims = []
    for number, (_, _, sentence, kind) in enumerate(kept, start=1):
        start, end = sentence.slice(0, len(sentence.text))
        claims.append(
            Claim(
                id=f"c{number}",
                kind=kind,
                page=sentence.unit.page,
                start=start,
                end=end,
                text=sentence.text,
                section=sentence.unit.section,
            )
        )
    return tuple(claims)


def _is_of_others(manuscript: Manuscript, sentence: Sentence) -> bool:
    start, end = sentence.slice(0, len(sentence.text))
    page = sentence.unit.page
    return any(c.page == page and start <= c.start < end for c in manuscript.citations)
