"""Percentages against the counts they are of."""

import math
import re
from decimal import Decimal

from .findings import Findings, sentences_of
from .manuscript import Manuscript

_COUNT = r"\d{1,3}(?:,\d{3})+|\d+"
_PERCENT = r"\d{1,3}(?:\.\d{1,2})?"
_PEOPLE = (
    r"(?:participants|patients|respondents|students|subjects|children|women|men|adults|users|cases|papers|articles"
    r"|responses|animals|rats|mice|individuals|teachers|nurses|interviewees|employees|households|workers|volunteers"
    r"|trials|studies|samples|items|questions|reviews|documents|sentences)"
)
_FORMS = (
    # 12 of 45 (26.7%), 12/45 (26.7%), 12 out of the 45 participants (26.7%)
    re.compile(rf"(?<![\d.,/])(?P<x>{_COUNT})\s*(?:of|out of|/)\s*(?:the\s+|all\s+|our\s+|these\s+)?(?P<n>{_COUNT})(?:\s+[a-zA-Z-]+){{0,4}}?\s*[\[(]\s*(?:=\s*)?(?P<p>{_PERCENT})\s*(?:%|percent)"),
    # 26.7% (12 of 45), 26.7% (12/45)
    re.compile(rf"(?<![\d.,])(?P<p>{_PERCENT})\s*(?:%|percent)(?:\s+[a-zA-Z-]+){{0,3}}?\s*[\[(]\s*(?:n\s*=\s*)?(?P<x>{_COUNT})\s*(?:of|out of|/)\s*(?:the\s+)?(?P<n>{_COUNT})(?:\s+[a-z]+)?\s*[)\],;]"),
    # 12 (26.7%) of the 45 participants
    re.compile(rf"(?<![\d.,/])(?P<x>{_COUNT})(?:\s+[a-z-]+)?\s*[\[(]\s*(?P<p>{_PERCENT})\s*(?:%|percent)\s*[\])]\s*(?:out\s+)?of\s+(?:the\s+|all\s+|our\s+)?(?P<n>{_COUNT})\b"),
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
    return int(count.replace(",", ""))


def _decimals(number: str) -> int:
    return len(number.partition(".")[2])


def _rounds(x: int, n: int, printed: str) -> bool:
    """Whether x/n prints as this percentage, rounded or cut off."""
    exact = Decimal(100 * x) / n
    unit = Decimal(1).scaleb(-_decimals(printed))
    off = exact - Decimal(printed)
    return -unit / 2 <= off < unit
