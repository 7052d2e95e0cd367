"""Text as it is read and where it stands: flattening, sentences and folding, all with offsets."""

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

_SHORT = (
    r"(?:et al|e\.g|i\.e|cf|vs|resp|approx|ca|viz|Figs?|Tabs?|Eqs?|Secs?|Refs?|Nos?|Vol|pp?|Dr|Prof|St"
    r"|Mr|Mrs|Ms|Inc|Ltd|Co|Jr|Sr|etc|w\.r\.t|a\.k\.a|[A-Z])"
)
_END = re.compile(r"""[.!?](?:["”’)\]]{0,2})(?=\s+["“‘(\[]?[A-Z0-9À-Þ]|\s*$)""")
_ABBREVIATED = re.compile(rf"(?:^|[\s(\[]){_SHORT}\.$")
_BROKEN = re.compile(r"([^\W\d_])[-‐]\n\s*(?=[a-zà-ÿ])")
_NAMED = re.compile(r"[-‐]\n\s*(?=[A-Z0-9])")
# Compounds keep their hyphen when a line breaks at it; these first parts are seldom cut words.
_COMPOUND = re.compile(
    r"(?:^|[^\w-])(?:self|cross|high|low|well|state|two|three|four|half|large|small|long|short|data|real"
    r"|[A-Z][A-Za-z]*\d+|[A-Z]{2,})[-‐]\n$"
)


@dataclass(frozen=True, slots=True)
class Flat:
    """Text on one line, with broken words joined; `at[i]` is where its character i stood."""

    text: str
    at: tuple[int, ...]

    def span(self, start: int, end: int) -> tuple[int, int]:
        """The slice of the source that `text[start:end]` was made of."""
        if start >= end:
            place = self.at[min(start, len(self.at) - 1)] if self.at else 0
            return place, place
        return self.at[start], self.at[end - 1] + 1


@lru_cache(maxsize=4096)
def flatten(text: str) -> Flat:
    """`text` with line breaks as spaces and words that a line break cut made whole."""
    kept: list[str] = []
    at: list[int] = []
    index = 0
    while index < len(text):
        broken = _BROKEN.match(text, index)
        if broken:
            kept.append(text[index])
            at.append(index)
            if _COMPOUND.search(text[max(0, index - 14) : index + 1] + text[index + 1] + "\n"):
                kept.append("-")
                at.append(index + 1)
            index = broken.end()
            continue
        char = text[index]
        named = _NAMED.match(text, index) if char in "-‐" and kept and kept[-1].isalpha() else None
        if named:
            # "GPT-" and "4" on two lines are one name.
            kept.append(char)
            at.append(index)
            index = named.end()
            continue
        if char.isspace():
            start = index
            while index < len(text) and text[index].isspace():
                index += 1
            # Two spaces divide the cells of a row.
            wide = text[start:index].count(" ") > 1 and "\n" not in text[start:index]
            for char in "  " if wide else " ":
                kept.append(char)
                at.append(start)
            continue
        kept.append(char)
        at.append(index)
        index += 1
    return Flat("".join(kept), tuple(at))


def sentences(flat: str) -> Iterator[tuple[int, int]]:
    """The (start, end) of each sentence of a flattened text."""
    start = 0
    for found in _END.finditer(flat):
        end = found.end()
        head = flat[start : found.start() + 1]
        if flat[found.start()] == "." and _ABBREVIATED.search(head[-12:]):
            continue
        if flat[start:end].strip():
            yield _trimmed(flat, start, end)
        start = end
    if flat[start:].strip():
        yield _trimmed(flat, start, len(flat))


def _trimmed(flat: str, start: int, end: int) -> tuple[int, int]:
    while start < end and flat[start].isspace():
        start += 1
    while end > start and flat[end - 1].isspace():
        end -= 1
    return start, end


@lru_cache(maxsize=4096)
def folded(text: str) -> str:
    """`text` as quotes are compared: one case, no breaks, plain quotes and dashes, no spaces.

    Spaces go because typesetters and extractors disagree about them and about nothing else.
    """
    text = unicodedata.normalize("NFKC", text)
    text = text.replace("’", "'").replace("‘", "'").replace("“", '"').replace("”", '"')
    text = re.sub(r"[-‐‑–—−]\s*", "", text)
    return re.sub(r"\s+", "", text).casefold()


class Lines:
    """Line starts of a text, to find the line of an offset."""

    def __init__(self, text: str) -> None:
        self.starts = [0, *(found.end() for found in re.finditer("\n", text))]

    def line(self, offset: int) -> int:
        """The number of the line that holds `offset`, from 0."""
        return bisect_right(self.starts, offset) - 1
