"""Passages that stand in a manuscript twice."""

import re
from collections import defaultdict
from dataclasses import dataclass

from .findings import Findings, is_code, slice_anchor
from .manuscript import Manuscript
from .sentences import flatten

_WORDS = 22
# Prose is held together by these; labels of plots, listings and addresses are not.
_PROSE = frozenset(
    [
        "the",
        "of",
        "and",
        "to",
        "in",
        "a",
        "is",
        "that",
        "for",
        "with",
        "are",
        "as",
        "was",
        "this",
        "we",
        "by",
        "on",
        "be",
        "from",
        "an",
        "which",
        "it",
        "not",
        "have",
        "were",
        "at",
        "or",
        "these",
        "than",
        "their",
        "our",
        "has",
        "can",
        "been",
        "they",
        "between",
        "but",
        "who",
    ]
)
_PROSE_WORDS = 6
_PLACES = 3
_ALLOWED = {"abstract", "references", "acknowledgments", "ethics", "availability", "appendix"}


@dataclass(frozen=True, slots=True)
class Word:
    """A word with its slice of its page."""

    text: str
    page: int
    start: int
    end: int


def check_passages(manuscript: Manuscript) -> Findings:
    """Every run of 22 words or more that is printed twice in the body.

    The abstract may say what the text says, and appendices repeat forms and prompts.
    """
    findings = Findings("duplicated_passage")
    kinds = {section.id: section.kind for section in manuscript.sections}
    words: list[Word] = []
    last = ""
    for unit in manuscript.units:
        if unit.kind != "text" or kinds.get(unit.section) in _ALLOWED or is_code(unit.text):
            continue
        if last and unit.section != last:
            words.append(Word("", unit.page, unit.start, unit.start))
        last = unit.section
        flat = flatten(unit.text)
        for found in re.finditer(r"[^\W_]+", flat.text):
            start, end = flat.span(found.start(), found.end())
            words.append(
                Word(found.group().casefold(), unit.page, unit.start + start, unit.start + end)
            )
    findings.applied = len(words) // _WORDS
    places: dict[tuple[str, ...], list[int]] = defaultdict(list)
    index = 0
    done: set[int] = set()
    for index in range(len(words) - _WORDS + 1):
        key = tuple(word.text for word in words[index : index + _WORDS])
        if "" in key or sum(text in _PROSE for text in key) < _PROSE_WORDS:
            continue
        for earlier in places[key]:
            if index - earlier >= _WORDS and index not in done:
                length = _WORDS
                while (
                    index + length < len(words)
                    and earlier + length < index
                    and words[index + length].text == words[earlier + length].text != ""
                ):
                    length += 1
                done.update(range(index, index + length))
                _flag(findings, manuscript, words, earlier, index, length)
                break
        # What is printed a hundred times over is found by its first places.
        if len(places[key]) < _PLACES:
            places[key].append(index)
    return findings


def _flag(
    findings: Findings,
    manuscript: Manuscript,
    words: list[Word],
    first: int,
    second: int,
    length: int,
) -> None:
    anchors = []
    for begin in (second, first):
        page = words[begin].page
        stop = begin
        while stop + 1 < begin + min(length, 30) and words[stop + 1].page == page:
            stop += 1
        anchors.append(slice_anchor(manuscript, page, words[begin].start, words[stop].end))
    findings.flag(
        "major" if length >= 40 else "minor",
        0.3 if length >= 40 else 0.15,
        f"A passage of {length} words stands on page {words[first].page} and again on page {words[second].page}.",
        f"{length} words in a row are the same; {_WORDS} and more are reported",
        anchors,
    )
