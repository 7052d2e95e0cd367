"""A manuscript as its reader hands it on: pages of text, and units that are slices of them.

M = <C, E, P> of the paper (Saqr, arXiv 2510.02027): the page index P is here, claims
and evidence are found in it by others. Nothing here reads a file.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

UnitKind = Literal["text", "heading", "figure", "table", "equation", "reference"]
HiddenKind = Literal["invisible", "white", "tiny", "zero_width", "off_page", "instruction"]


class Frozen(BaseModel):
    """What is not changed after it was made; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Page(Frozen):
    """A page's text in reading order; every offset in a report counts characters of it."""

    number: int = Field(ge=1)
    text: str


class Unit(Frozen):
    """A piece of a page: `text` is exactly `page.text[start:end]`.

    label: what the manuscript calls it ("Figure 2", "Table 1", "(3)", "[7]", "2.1"), or "".
    section: id of the section it stands in, or "".
    """

    id: str
    kind: UnitKind
    page: int
    start: int
    end: int
    text: str
    label: str = ""
    section: str = ""


class Section(Frozen):
    """A section, by its heading. kind: what it is for ("methods", "results", …), or "other"."""

    id: str
    label: str
    title: str
    kind: str
    page: int
    start: int


class Reference(Frozen):
    """An entry of the bibliography; `unit` is its unit. key: "7", or "meyer2020"."""

    id: str
    key: str
    unit: str
    page: int
    year: str = ""
    authors: tuple[str, ...] = ()
    text: str = ""


class Citation(Frozen):
    """A place that cites. targets: ids of references. missing: keys that no entry answers."""

    id: str
    page: int
    start: int
    end: int
    text: str
    style: Literal["numeric", "author_year", "key"]
    targets: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


class Hidden(Frozen):
    """Text that a reader of the page would not see, and why. It is no part of the page's text."""

    kind: HiddenKind
    page: int
    text: str
    detail: str


class Manuscript(Frozen):
    """A manuscript in pages and units.

    sha256: of the file's bytes. format: what it was read as. words: of its body, without
    references. notes: what the reader could not do, one sentence each.
    """

    name: str
    sha256: str
    format: Literal["pdf", "markdown", "latex", "text"]
    title: str
    abstract: str = ""
    language: str = "en"
    words: int = 0
    pages: tuple[Page, ...]
    units: tuple[Unit, ...] = ()
    sections: tuple[Section, ...] = ()
    references: tuple[Reference, ...] = ()
    citations: tuple[Citation, ...] = ()
    hidden: tuple[Hidden, ...] = ()
    notes: tuple[str, ...] = ()

    def page_text(self, number: int) -> str:
        """The text of page `number`, "" where there is no such page."""
        return self.pages[number - 1].text if 1 <= number <= len(self.pages) else ""

    def unit(self, unit_id: str) -> Unit | None:
        return next((unit for unit in self.units if unit.id == unit_id), None)

    def section(self, section_id: str) -> Section | None:
        return next((section for section in self.sections if section.id == section_id), None)
