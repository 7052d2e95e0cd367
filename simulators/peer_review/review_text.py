"""A review as clauses: the pieces between which claims and evidence begin and end.

On the SubstanReview spans, giving every clause its commonest label leaves .92 to .97 of
the characters right (F1 by label), where whole sentences leave .63 to .88; so a finder
that labels clauses may be nearly right. Nothing here knows what a claim is.
"""

import re
from dataclasses import dataclass
from typing import Literal

Section = Literal["none", "summary", "strengths", "weaknesses", "questions", "comments"]

# Forms print their headings on lines of their own or before a colon: ACL's, ICLR's, NeurIPS'.
_HEADINGS: tuple[tuple[Section, str], ...] = (
    ("summary", r"(?:paper|short|brief)?[ _]?(?:summary|overview)(?:[ _]of[ _]the[ _]paper)?"),
    (
        "strengths",
        r"(?:summary[ _]of[ _])?(?:main[ _])?strengths?|strong[ _]points?|pros?|positives?",
    ),
    (
        "weaknesses",
        r"(?:summary[ _]of[ _])?(?:main[ _])?weakness(?:es)?|weak[ _]points?|cons?|negatives?|limitations?"
        r"|(?:main|major)[ _](?:concerns?|comments?|issues?)|concerns?",
    ),
    ("questions", r"questions?(?:[ _](?:for|to)[ _](?:the[ _])?authors?)?"),
    (
        "comments",
        r"comments?,[ _]suggestions?[ _]and[ _]typos?|general[ _]discussion|(?:minor|other|additional|detailed|specific)"
        r"[ _](?:comments?|issues?|points?|suggestions?)|comments?|suggestions?|discussion|typos?",
    ),
)
_NAMED = "|".join(f"(?P<{name}>{pattern})" for name, pattern in _HEADINGS)
# A heading has its line to itself, or a colon behind it; runs are bounded so that no text is slow.
_SECTION = re.compile(
    rf"(?im)(?:^|(?<=\s))(?<![\w,] )[ \t>#*_\-•]{{0,8}}(?:\d[.)][ \t]{{0,3}})?(?:{_NAMED})"
    r"[ \t]{0,3}[*_]{0,2}[ \t]{0,3}(?:\([^)\n]{0,30}\))?[ \t]{0,3}(?::[*_]{0,2}|$)"
)
_SENTENCE = re.compile(
    r"(?<=[.!?])[\"')\]]?\s+(?=[^a-z\s])|(?<!\s)\s*\n\s*|(?<!\s)\s+(?=[-*•+]\s)|(?<=\s)[-*•]+(?=[A-Za-z\"])|(?<!\s)\s+(?=\(?\d{1,2}[.)]\s)"
)
# "e.g. Smith", "et al. (2016)" and "Fig. 3" end no sentence.
_NO_END = re.compile(
    r"(?:\b(?:e\.g|i\.e|et al|cf|vs|etc|[Ff]ig|[Ss]ec|[Tt]ab|[Ee]q|[Aa]pprox|resp|[Ll]|[Pp]|[Pp]p|[Ll]ines?|[Nn]o)\.|\b[A-Z]\.)$"
)
_CLAUSE = re.compile(
    r"(?<=[,;:])\s+|(?<!\s)\s+(?=[(\[])|(?<=[)\]])\s+|(?<!\s)\s+[-–—]+\s+"
    r"|(?<!\s)\s+(?=(?i:because|since|but|however|although|though|while|which|e\.g\.|i\.e\.|for example|for instance"
    r"|so|and|as|due|given|that|where|if|when|without|such)\b)"
)
_BULLET = re.compile(r"[\s\-*•+>#]+")


@dataclass(frozen=True, slots=True)
class Clause:
    """The slice `start` to `end` of a review. sentence: which one, counted from 0."""

    start: int
    end: int
    sentence: int
    section: Section


def clauses_of(review: str) -> list[Clause]:
    """Every clause of `review`, in order; headings and bullets belong to none."""
    found: list[Clause] = []
    sentence = 0
    for start, end, section in _sections(review):
        for left, right in _sentences(review, start, end):
            pieces = [p for p in _split(review, left, right, _CLAUSE) if _says(review[p[0] : p[1]])]
            found += [Clause(a, b, sentence, section) for a, b in pieces]
            sentence += bool(pieces)
    return found


def _sections(review: str) -> list[tuple[int, int, Section]]:
    """The stretches between headings, each with the section that its heading opened."""
    found: list[tuple[int, int, Section]] = []
    at = 0
    section: Section = "none"
    for match in _SECTION.finditer(review):
        found.append((at, match.start(), section))
        at = match.end()
        section = next(name for name, _ in _HEADINGS if name == match.lastgroup)
    found.append((at, len(review), section))
    return [stretch for stretch in found if stretch[1] > stretch[0]]


def _sentences(review: str, start: int, end: int) -> list[tuple[int, int]]:
    pieces: list[tuple[int, int]] = []
    for left, right in _split(review, start, end, _SENTENCE):
        if (
            pieces
            and _NO_END.search(review[pieces[-1][0] : pieces[-1][1]])
            and "\n" not in (review[pieces[-1][1] : left])
        ):
            pieces[-1] = (pieces[-1][0], right)
        else:
            pieces.append((left, right))
    return [p for p in pieces if _says(review[p[0] : p[1]])]


def _split(text: str, start: int, end: int, at: re.Pattern[str]) -> list[tuple[int, int]]:
    """The stripped pieces of `text[start:end]` between the matches of `at`."""
    pieces = []
    for match in (*at.finditer(text, start, end), None):
        stop = match.start() if match else end
        left = _BULLET.match(text, start, stop)
        begin = left.end() if left else start
        body = text[begin:stop].rstrip()
        if body:
            pieces.append((begin, begin + len(body)))
        start = match.end() if match else end
    return pieces


def _says(text: str) -> bool:
    return any(c.isalnum() for c in text)
