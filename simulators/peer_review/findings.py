"""How an integrity check tells what it found: places, anchors, flags."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from .manuscript import Manuscript, Unit
from .report import Anchor, Flag, Severity
from .sentences import Flat, flatten, sentences


@dataclass(slots=True)
class Findings:
    """What one check looked at and what it flagged; ids are given when all are together."""

    check: str
    applied: int = 0
    flags: list[Flag] = field(default_factory=list)

    def flag(
        self,
        severity: Severity,
        weight: float,
        text: str,
        arithmetic: str,
        anchors: Sequence[Anchor],
    ) -> None:
        """Note that the check does not hold at `anchors`."""
        self.flags.append(
            Flag(
                id="",
                check=self.check,
                severity=severity,
                weight=weight,
                text=text,
                arithmetic=arithmetic,
                anchors=tuple(anchors),
            )
        )


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence of a unit, flattened; `place` finds its slices on the page."""

    unit: Unit
    flat: Flat
    start: int
    end: int

    @property
    def text(self) -> str:
        return self.flat.text[self.start : self.end]

    def slice(self, start: int, end: int) -> tuple[int, int]:
        """The slice of the page that `text[start:end]` came from."""
        begin, stop = self.flat.span(self.start + start, self.start + end)
        return self.unit.start + begin, self.unit.start + stop

    def anchor(self, start: int = 0, end: int | None = None) -> Anchor:
        """An anchor at `text[start:end]`; long ones end where a quote is long enough."""
        stop = len(self.text) if end is None else end
        stop = min(stop, start + 240)
        begin, finish = self.slice(start, stop)
        quote = self.unit.text[begin - self.unit.start : finish - self.unit.start]
        return Anchor(
            page=self.unit.page, kind="quote", quote=quote, start=begin, end=finish, valid=True
        )


def sentences_of(
    manuscript: Manuscript, kinds: Sequence[str] = ("text",), *, references: bool = False
) -> Iterator[Sentence]:
    """Every sentence of the units of `kinds`; those of the bibliography are left out."""
    listed = {s.id for s in manuscript.sections if s.kind == "references"}
    for unit in manuscript.units:
        if unit.kind not in kinds or (unit.section in listed and not references):
            continue
        if is_code(unit.text):
            continue
        flat = flatten(unit.text)
        for start, end in sentences(flat.text):
            yield Sentence(unit, flat, start, end)


def is_code(text: str) -> bool:
    """Whether a passage is a program or its output, in which nobody claims anything."""
    if re.search(
        r"^\s*(?:R?>|>>>|\$|In \[\d+\]:|#include|import \w+$|def \w+\(|\+  )\s?\S",
        text,
        re.MULTILINE,
    ):
        return True
    if re.search(
        r"alternative hypothesis:|^\s*data:\s|Signif\. codes|Residual standard error:",
        text,
        re.MULTILINE,
    ):
        return True
    signs = len(re.findall(r"[{}$_~;#\\]|<-|::|==|\(\)|\w\(", text))
    return signs > 0.05 * len(text) and len(text) > 30


def slice_anchor(manuscript: Manuscript, page: int, start: int, end: int) -> Anchor:
    """An anchor at a slice of a page."""
    quote = manuscript.page_text(page)[start:end]
    return Anchor(page=page, kind="quote", quote=quote, start=start, end=end, valid=True)
