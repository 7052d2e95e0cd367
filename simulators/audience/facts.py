"""The facts guard: numbers, dates and names of a candidate that the scenario does not know.

It flags and does not judge: what is flagged may be true, and somebody should know that
the candidate says it. Names are found by their capitals, so a name that begins a
sentence and is met nowhere else may pass, and text without capitals has no names.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Literal

from pydantic import BaseModel, ConfigDict

from .scenario import Scenario


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_MONTHS = _words(
    "january february march april may june july august september october november december"
)
_DAYS = _words("monday tuesday wednesday thursday friday saturday sunday")
_ONES = _words(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen"
    " fifteen sixteen seventeen eighteen nineteen"
)
_TENS = {"twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70}
_TENS |= {"eighty": 80, "ninety": 90}
_SCALES = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "dozen": 12}
# "one" counts nothing in "one of us" or "one day".
_VALUES = {word: n for n, word in enumerate(_ONES) if n != 1} | _TENS

_ISO = re.compile(r"\b(\d{4})-(\d{1,2})-(\d{1,2})\b")
_MONTH = "|".join([*_MONTHS, *(f"{month[:3]}\\.?" for month in _MONTHS if month != "may")])
_DAY_MONTH = re.compile(
    rf"\b(?:(?P<d1>\d{{1,2}})(?:st|nd|rd|th)?\.?\s+(?:of\s+)?(?P<m1>{_MONTH})"
    rf"|(?P<m2>{_MONTH})\s+(?P<d2>\d{{1,2}})(?:st|nd|rd|th)?)\b",
    re.IGNORECASE,
)
_NUMBER = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?")
_WORD = re.compile(r"[^\W\d_][\w'’-]*")
_CAPITAL = re.compile(r"[^\W\d_a-zà-ÿ][\w'’-]*")
# Capitals that name nobody.
_NOT_NAMES = frozenset(
    _words(
        "i i'm i'll i've i'd mr mrs ms dr the a an we you he she it they this that these those my our"
        " your his her their its and but or so if when dear hello hi thanks thank please yes no not ok"
        " faq ps"
    )
)


class Flag(BaseModel):
    """Something a candidate says that is not among the facts.

    kind: number, date or name. known: whether the situation has it, though no fact does.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["number", "date", "name"]
    text: str
    known: bool = False

    def __str__(self) -> str:
        place = ", only in the situation" if self.known else ""
        return f"{self.kind} {self.text!r} is not among the facts{place}"


def unknown_facts(text: str, scenario: Scenario) -> list[Flag]:
    """The flags of one candidate, in the order of the text, each thing once."""
    facts = _known([*scenario.facts, scenario.speaker, *(a.name for a in scenario.audiences)])
    told = _known([scenario.situation, scenario.goal, scenario.channel, *scenario.constraints])
    flags: dict[tuple[str, str], Flag] = {}
    for kind, shown, key in _claims(text):
        if key not in facts:
            flags.setdefault((kind, key), Flag(kind=kind, text=shown, known=key in told))
    return list(flags.values())


def _known(texts: Iterable[str]) -> frozenset[str]:
    joined = "\n".join(texts)
    words = {_plain(word) for word in _WORD.findall(joined)}
    return frozenset(words | {key for _, _, key in _claims(joined)})


def _claims(text: str) -> Iterator[tuple[Literal["number", "date", "name"], str, str]]:
    """What `text` says of numbers, dates and names: kind, words, and a form to compare."""
    rest = text
    for pattern in (_ISO, _DAY_MONTH):
        for match in pattern.finditer(rest):
            yield "date", match.group(), _date(match)
        rest = pattern.sub(lambda match: " " * len(match.group()), rest)
    for match in _NUMBER.finditer(rest):
        yield "number", match.group().rstrip(",."), _number(match.group())
    yield from _numbers_in_words(rest)
    for word in _WORD.findall(rest):
        plain = _plain(word)
        if plain in _DAYS or (
            plain in _MONTHS and word[0].isupper() and plain not in ("may", "march")
        ):
            yield "date", word, plain
    for shown in _names(rest):
        yield "name", shown, _plain(shown)


def _numbers_in_words(text: str) -> Iterator[tuple[Literal["number"], str, str]]:
    for match in re.finditer(r"[A-Za-z]+(?:[ -][A-Za-z]+)*", text):
        run: list[str] = []
        for word in [*re.split(r"[ -]", match.group()), ""]:
            low = word.lower()
            if low in _VALUES or low in _SCALES:
                run.append(word)
            elif run:
                yield "number", " ".join(run), _number(str(_value(run)))
                run = []


def _value(words: list[str]) -> int:
    total, part = 0, 0
    for word in (word.lower() for word in words):
        if word in _VALUES:
            part += _VALUES[word]
        elif word in ("hundred", "dozen"):
            part = max(1, part) * _SCALES[word]
        else:
            total, part = total + max(1, part) * _SCALES[word], 0
    return total + part


def _number(text: str) -> str:
    value = float(text.replace(",", "").rstrip(".") or 0)
    return f"{value:.10g}"


def _date(match: re.Match[str]) -> str:
    if match.re is _ISO:
        return f"{int(match.group(3))} {_MONTHS[min(12, max(1, int(match.group(2)))) - 1][:3]}"
    parts = match.groupdict()
    day, month = parts["d1"] or parts["d2"], parts["m1"] or parts["m2"]
    return f"{int(day)} {month[:3].lower()}"


def _names(text: str) -> Iterator[str]:
    """Words with a capital that do not merely begin a sentence."""
    starts = True
    for match in re.finditer(r"[^\W\d_][\w'’-]*|[.!?:\n\"“(]", text):
        word = match.group()
        if not _WORD.match(word):
            starts = True
            continue
        named = _CAPITAL.match(word) and not starts and _plain(word) not in _NOT_NAMES
        if named and _plain(word) not in (*_DAYS, *_MONTHS):
            yield word
        starts = False


def _plain(word: str) -> str:
    low = word.lower().replace("’", "'")
    return low.removesuffix("'s")
