"""Percentages against the counts they are of."""

import math
import re
from decimal import Decimal

from .findings import Findings, sentences_of
from .manuscript import Manuscript

_ONES = [
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_WORDS = {word: n for n, word in enumerate(_ONES, start=1)} | {
    f"{ten}-{one}" if one else ten: 10 * t + o
    for t, ten in enumerate(_TENS, start=2)
    for o, one in enumerate(["", *_ONES[:9]])
}
_SPELLED = "|".join(sorted((f"{w}|{w.capitalize()}" for w in _WORDS), key=len, reverse=True))
_COUNT = rf"\d{{1,3}}(?:,\d{{3}})+|\d+|\b(?:{_SPELLED})\b"
_SAYS = r"(?:=\s*|i\.e\.,?\s*|or\s+|that is,?\s*|about\s+)?"
_PERCENT = r"\d{1,3}(?:\.\d{1,2})?"
_PEOPLE = (
    r"(?:participants|patients|respondents|students|subjects|children|women|men|adults|users|cases|papers|articles"
    r"|responses|animals|rats|mice|individuals|teachers|nurses|interviewees|employees|households|workers|volunteers"
    r"|trials|studies|samples|items|questions|reviews|documents|sentences)"
)
_FORMS = (
    # 12 of 45 (26.7%), 12/45 (26.7%), 12 out of the 45 participants (26.7%)
    re.compile(rf"(?<![\d.,/])(?P<x>{_COUNT})\s*(?:of|out of|/)\s*(?:the\s+|all\s+|our\s+|these\s+)?(?P<n>{_COUNT})(?:\s+[a-zA-Z-]+){{0,4}}?\s*[\[(]\s*{_SAYS}(?P<p>{_PERCENT})\s*(?:%|percent)"),
    # 26.7% (12 of 45), 26.7% (12/45)
    re.compile(rf"(?<![\d.,])(?P<p>{_PERCENT})\s*(?:%|percent)(?:\s+[a-zA-Z-]+){{0,3}}?\s*[\[(]\s*(?:n\s*=\s*)?(?P<x>{_COUNT})\s*(?:of|out of|/)\s*(?:the\s+)?(?P<n>{_COUNT})(?:\s+[a-z]+)?\s*[)\],;]"),
    # 12 (26.7%) of the 45 participants
    re.compile(rf"(?<![\d.,/])(?P<x>{_COUNT})(?:\s+[a-z-]+)?\s*[\[(]\s*(?P<p>{_PERCENT})\s*(?:%|percent)\s*[\])]\s*(?:out\s+)?of\s+(?:the\s+|all\s+|our\s+)?(?P<n>{_COUNT})\b"),
    # Of the 45 participants, 12 (26.7%)
    re.compile(rf"\b[Oo]f\s+(?:the\s+|all\s+|our\s+|these\s+)?(?P<n>{_COUNT})\s+(?:\w+\s+){{0,2}}?{_PEOPLE}[^.;()%\d]{{0,60}}?\b(?P<x>{_COUNT})(?:\s+[a-z-]+){{0,3}}?\s*[\[(]\s*{_SAYS}(?P<p>{_PERCENT})\s*(?:%|percent)\s*[\])]"),
    # 12 participants (26.7% of 45)
    re.compile(rf"(?<![\d.,/])(?P<x>{_COUNT})(?:\s+[a-z-]+){{0,2}}?\s*[\[(]\s*(?P<p>{_PERCENT})\s*(?:%|percent)\s+of\s+(?:the\s+)?(?P<n>{_COUNT})\b"),
    # 12 participants out of 45 (26.7%)
    re.compile(rf"(?<![\d.,/])(?P<x>{_COUNT})\s+{_PEOPLE}\s+(?:out\s+)?of\s+(?:the\s+|all\s+)?(?P<n>{_COUNT})(?:\s+[a-z]+){{0,2}}?\s*[\[(]\s*{_SAYS}(?P<p>{_PERCENT})\s*(?:%|percent)"),
    # 12 of the 45 participants, or 26.7%
    re.compile(rf"(?<![\d.,/])(?P<x>{_COUNT})\s+(?:out\s+)?of\s+(?:the\s+|all\s+|our\s+)?(?P<n>{_COUNT})\s+{_PEOPLE},?\s+(?:or|i\.e\.,?|that is,?|which is)\s+(?P<p>{_PERCENT})\s*(?:%|percent)"),
)  # fmt: skip
_SHARE = re.compile(
    rf"(?<![\d.,])(?P<p>{_PERCENT})\s*(?:%|percent)\s+of\s+(?:the\s+|our\s+|all\s+)?(?P<n>{_COUNT})\s+(?:\w+\s+)?{_PEOPLE}\b"
)
_VAGUE = re.compile(
    r"\b(?:about|around|approximately|roughly|nearly|almost|over|more than|less than|at least|up to|some|circa|ca\.|~|top|random(?:ly)?)\s*(?:\w+\s+)?$",
    re.IGNORECASE,
)


def check_percentages(manuscript: Manuscript) -> Findings:
    """Every percentage that stands with its count and its whole, or with its whole alone."""
    findings = Findings("percentage")
    for sentence in sentences_of(manuscript, ("text", "figure", "table")):
        text = sentence.text
        seen: list[tuple[int, int]] = []
        for form in _FORMS:
            for found in form.finditer(text):
                if any(a < found.end() and found.start() < b for a, b in seen):
                    continue
                x, n = _whole(found["x"]), _whole(found["n"])
                if not n > 0 or x > n or _VAGUE.search(text[: found.start("p")]):
                    continue
                seen.append(found.span())
                findings.applied += 1
                if not _rounds(x, n, found["p"]):
                    findings.flag(
                        "major",
                        0.25,
                        f"{x} of {n} is not {found['p']}%.",
                        f"{x}/{n} = {100 * x / n:.{_decimals(found['p']) + 2}f}%, printed as {found['p']}%",
                        [sentence.anchor(found.start(), found.end())],
                    )
        for found in _SHARE.finditer(text):
            n = _whole(found["n"])
            if any(a < found.end() and found.start() < b for a, b in seen) or not n >= 3:
                continue
            if n > 100 * 10 ** _decimals(found["p"]) or _VAGUE.search(text[: found.start("p")]):
                continue
            findings.applied += 1
            below = math.floor(Decimal(found["p"]) * n / 100)
            if not any(_rounds(x, n, found["p"]) for x in (below, below + 1) if x <= n):
                places = _decimals(found["p"]) + 1
                findings.flag(
                    "minor",
                    0.15,
                    f"No whole number of {n} is {found['p']}%.",
                    f"{below}/{n} = {100 * below / n:.{places}f}%, {below + 1}/{n} = {100 * (below + 1) / n:.{places}f}%",
                    [sentence.anchor(found.start(), found.end())],
                )
    return findings


def _whole(count: str) -> int:
    return _WORDS.get(count.lower()) or int(count.replace(",", ""))


def _decimals(number: str) -> int:
    return len(number.partition(".")[2])


def _rounds(x: int, n: int, printed: str) -> bool:
    """Whether x/n prints as this percentage, rounded or cut off."""
    exact = Decimal(100 * x) / n
    unit = Decimal(1).scaleb(-_decimals(printed))
    off = exact - Decimal(printed)
    return -unit / 2 <= off < unit
