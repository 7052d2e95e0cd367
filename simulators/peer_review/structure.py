"""Pages of text to units and sections; every unit is a slice of its page."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from .manuscript import Hidden, Page, Section, Unit, UnitKind

_KINDS = (
    ("abstract", r"abstract|summary|synopsis"),
    ("references", r"references|bibliography|works cited|literature cited|literature|references and notes"),
    ("limitations", r".*\blimitations?\b.*|threats to validity"),
    ("ethics", r".*\bethic\w*\b.*|.*\bbroader impacts?\b.*|.*\bimpact statement\b.*|declarations?|.*\bconsent\b.*"),
    ("availability", r".*\b(?:data|code|materials?) (?:and \w+ )?availability\b.*|.*\breproducibility\b.*|availability of .*|software availability"),
    ("acknowledgments", r"acknowledge?ments?.*|funding.*|author contributions?.*|credit .*|conflicts? of interest.*|competing interests?.*|declaration of .*"),
    ("appendix", r"(?:appendix|appendices|supplement\w*)\b.*"),
    ("related", r"related works?.*|background.*|literature review|prior work|previous work|state of the art|state of the field|preliminar\w+.*"),
    ("introduction", r"introduction.*|motivation|statement of need"),
    ("methods", r".*\bmethod\w*\b.*|approach|our approach|proposed .*|.*\bmodels?\b|materials?.*|experimental (?:setup|design|settings?|details)|implementation.*|participants|procedure|measures|study design|.*\barchitecture\b.*|datasets?|data|data collection|statistical analys[ie]s|sample"),
    ("results", r".*\bresults?\b.*|experiments?.*|.*\bevaluation\b.*|findings.*|empirical .*|.*\banalys[ie]s\b.*|ablation.*|performance.*|case stud.*"),
    ("discussion", r".*\bdiscussion\b.*"),
    ("conclusion", r".*\bconclusions?\b.*|concluding .*|.*\bfuture work\b.*|closing remarks"),
)  # fmt: skip
_KNOWN = re.compile(
    r"(?:abstract|introduction|related works?|background|(?:materials? and )?methods?|methodology|approach"
    r"|experiments?|experimental (?:setup|results|design)|results?(?: and discussion)?|discussions?|evaluation"
    r"|analysis|limitations?|conclusions?(?: and future work)?|discussion and conclusions?|references"
    r"|bibliography|acknowledge?ments?|appendix|appendices|ethics(?: statement)?|ethical considerations"
    r"|broader impacts?(?: statement)?|impact statement|data availability(?: statement)?|code availability"
    r"|funding|author contributions|reproducibility statement|supplementary (?:material|materials|information)"
    r"|summary|participants|procedure|statement of need|conflicts? of interest|competing interests?)",
    re.IGNORECASE,
)
_NUMBERED = re.compile(
    r"(?P<label>(?:\d{1,2}(?:\.\d{1,2}){0,3}|[A-H](?:\.\d{1,2}){0,3}|[IVX]{1,5}))[.)]?\s{1,4}(?P<title>[A-ZÀ-Þ][^\n]{1,90})"
)
_CAPTION = re.compile(
    r"(?P<what>Figure|Fig\.?|FIGURE|FIG\.?|Table|TABLE|Tab\.|Algorithm|Scheme|Extended Data Fig\.?)\s*"
    r"(?P<number>[A-Z]?\.?\d{1,3}(?:\.\d{1,2})?[a-z]?|[IVX]{1,5})\s*(?P<end>[:.|—–]|\s{2}|(?=\s[A-Z(])|(?=\n)|$)"
)
_EQUATION = re.compile(
    r"[^\n]*[=<>≤≥≈∑∏∫∝∈][^\n]*\s\(\s*(?P<number>[A-Z]?\.?\d{1,3}[a-z]?)\s*\)\s*$", re.MULTILINE
)
_MARKDOWN = re.compile(r"(?P<level>#{1,6})\s+(?P<title>[^\n]+?)\s*#*\s*$")
# A paragraph is shorter; a text without any is cut, so that no search goes on for ever.
_MOST = 6000


@dataclass(slots=True)
class Draft:
    """A document as its format's reader leaves it: pages, and what the format says of them.

    headings: page and offset of lines that the format or the typesetting sets as headings.
    """

    pages: list[str]
    headings: set[tuple[int, int]] = field(default_factory=set)
    title: str = ""
    hidden: list[Hidden] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading's line, its number and its words."""

    label: str
    title: str


def section_kind(title: str) -> str:
    """What a section of this title is for."""
    words = " ".join(title.lower().split()).strip(" .:")
    return next((kind for kind, pattern in _KINDS if re.fullmatch(pattern, words)), "other")


def heading_of(line: str, marked: bool) -> Heading | None:
    """The heading that a line is; marked: whether its format or its font says so."""
    text = line.strip()
    if found := _MARKDOWN.fullmatch(text):
        inner = found["title"].strip("*_ ")
        numbered = _NUMBERED.fullmatch(inner)
        return Heading(numbered["label"], numbered["title"]) if numbered else Heading("", inner)
    text = text.strip("*_")
    if not 2 < len(text) <= 100 or _CAPTION.match(text):
        return None
    if _KNOWN.fullmatch(text.rstrip(" .:")):
        return Heading("", text.rstrip(" .:"))
    numbered = _NUMBERED.fullmatch(text)
    if numbered:
        title = numbered["title"].strip()
        known = section_kind(title) != "other" and len(title.split()) <= 6
        plain = not re.search(r"[,;=]|\d{4}|\.\s", title) and not title.endswith((".", ":"))
        if plain and (marked or known or ("." in numbered["label"] and len(title.split()) <= 8)):
            return Heading(numbered["label"], title)
    if not marked or len(text.split()) > 10 or not re.match(r"[A-ZÀ-Þ]", text):
        return None
    plain = not re.search(r"[=@|<>{}$_~\\/]|\s{2}|\d{3}|\)\s*$", text)
    if plain and not text.endswith((",", ";", ".", "-")):
        return Heading("", text.rstrip(":"))
    return None


def pages_of(draft: Draft) -> tuple[Page, ...]:
    """The draft's pages, numbered from 1."""
    return tuple(Page(number=n, text=text) for n, text in enumerate(draft.pages, start=1))


def structured(draft: Draft) -> tuple[tuple[Unit, ...], tuple[Section, ...]]:
    """The units and sections of a draft, in reading order. References are one unit here."""
    units: list[Unit] = []
    sections: list[Section] = []
    for number, text in enumerate(draft.pages, start=1):
        marked = {start for page, start in draft.headings if page == number}
        for start, end in _blocks(text, marked):
            block = text[start:end]
            heading = heading_of(block, start in marked) if "\n" not in block.strip() else None
            if heading is not None and not _opens_section(heading, number, sections, draft):
                heading = None
            if heading is not None:
                section = Section(
                    id=f"s{len(sections) + 1}",
                    label=heading.label,
                    title=heading.title,
                    kind=_inherited(heading, number, sections),
                    page=number,
                    start=start,
                )
                sections.append(section)
            inside = sections[-1].id if sections else ""
            for kind, label, begin, stop in _parts(text, start, end, heading):
                units.append(
                    Unit(
                        id=f"u{len(units) + 1}",
                        kind=kind,
                        page=number,
                        start=begin,
                        end=stop,
                        text=text[begin:stop],
                        label=label,
                        section=inside,
                    )
                )
    return tuple(units), tuple(sections)


def _opens_section(heading: Heading, page: int, sections: Sequence[Section], draft: Draft) -> bool:
    """Whether a heading is one where it stands: no part of the title, nothing in a bibliography."""
    if page == 1 and heading.title in draft.title:
        return False
    if sections and sections[-1].kind == "references":
        known = _KNOWN.fullmatch(heading.title) is not None
        return known or re.fullmatch(r"[A-H](?:\.\d+)*", heading.label) is not None
    return True


def _inherited(heading: Heading, page: int, sections: Sequence[Section]) -> str:
    """The kind of a heading; a subsection that says none has its parent's."""
    kind = section_kind(heading.title)
    if kind == "abstract" and (page > 3 or any(section.kind == kind for section in sections)):
        kind = "other"
    if kind != "other" or not sections:
        return kind
    parent = heading.label.rpartition(".")[0]
    if parent:
        for section in reversed(sections):
            if section.label == parent:
                return section.kind
    if not heading.label and sections[-1].kind not in {"abstract", "references"}:
        return sections[-1].kind
    return "appendix" if sections[-1].kind == "appendix" else kind


def _blocks(text: str, marked: set[int]) -> Iterator[tuple[int, int]]:
    """The (start, end) of each paragraph; a heading's line is one of its own."""
    for found in re.finditer(r"\S[^\n]*(?:\n(?!\s*\n)[^\n]*)*", text):
        start = found.start()
        for line in re.finditer(r"[^\n]+", found.group()):
            begin = found.start() + line.start()
            single = line.group()
            if heading_of(single, begin in marked) is None:
                # A caption in the middle of a block begins a new one.
                ended = re.search(r"[.!?:)\]\d]\s*$", text[max(start, begin - 40) : begin])
                if begin == start or not ended or not _is_caption(single):
                    continue
                yield from _trim(text, start, begin)
                start = begin
                continue
            if begin > start:
                yield from _trim(text, start, begin)
            stop = begin + len(single)
            yield from _trim(text, begin, stop)
            start = stop
        yield from _trim(text, start, found.end())


def _is_caption(line: str) -> bool:
    found = _CAPTION.match(line.strip())
    return found is not None and found["end"] in {":", ".", "|", "—", "–"}


def _trim(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The slice without the white space at its ends, in pieces where it is endless."""
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    while end - start > _MOST:
        cut = max(
            text.rfind("\n", start, start + _MOST), text.rfind(". ", start, start + _MOST) + 1
        )
        cut = cut if cut > start else max(text.rfind(" ", start, start + _MOST), start + 1)
        yield start, cut
        start = cut
        while start < end and text[start].isspace():
            start += 1
    if start < end:
        yield start, end


def _parts(
    text: str, start: int, end: int, heading: Heading | None
) -> Iterator[tuple[UnitKind, str, int, int]]:
    """The units of one block: what it is, its label and its slice."""
    block = text[start:end]
    if heading is not None:
        yield "heading", heading.label, start, end
        return
    caption = _CAPTION.match(block.lstrip("*_ !["))
    if caption and (caption["end"] or len(block) < 300):
        what: UnitKind = "table" if caption["what"].lower().startswith("tab") else "figure"
        name = "Table" if what == "table" else "Figure"
        if caption["what"].lower() in {"algorithm", "scheme"}:
            name = caption["what"].capitalize()
        yield what, f"{name} {caption['number'].strip('.')}", start, end
        return
    if is_tabular(block):
        yield "table", "", start, end
        return
    if re.match(r"!\[", block):
        yield "figure", "", start, end
        return
    if re.match(r"\$\$|\\\[|\\begin\{(?:equation|align)", block):
        yield "equation", "", start, end
        return
    rest = start
    if len(block) < 600:
        for found in _EQUATION.finditer(block):
            if len(re.findall(r"[a-z]{3,}", found.group())) <= 4:
                begin, stop = start + found.start(), start + found.end()
                for piece in _trim(text, rest, begin):
                    yield "text", "", *piece
                for piece in _trim(text, begin, stop):
                    yield "equation", f"({found['number']})", *piece
                rest = stop
    for piece in _trim(text, rest, end):
        yield "text", "", *piece


def cells_of(line: str) -> list[str]:
    """The cells of a row: divided by bars, tabs, or two spaces and more."""
    line = line.strip()
    if line.count("|") >= 2 or "\t" in line:
        return [cell.strip() for cell in re.split(r"\s*\|\s*|\t", line.strip("|")) if cell.strip()]
    return [cell.strip() for cell in re.split(r"\s{2,}", line) if cell.strip()]


def is_numeric(cell: str) -> bool:
    """Whether a cell holds a number and little else: "0.83", "12 (4.5%)", "3.1 ± 0.2", "-"."""
    return (
        re.fullmatch(
            r"[-–—]|[<>~≈±+\-−*†‡$€(\[]*\d[\d.,%±()\[\]/:×\s*†‡−–+-]*[a-zA-Z%]{0,3}\)?\**", cell
        )
        is not None
    )


def is_tabular(block: str) -> bool:
    """Whether most lines of a block are rows of cells with numbers among them."""
    lines = [line for line in block.splitlines() if line.strip()]
    rows = [cells for cells in map(cells_of, lines) if len(cells) >= 2]
    numbers = sum(any(is_numeric(cell) for cell in cells[1:]) for cells in rows)
    if len(lines) < 2:
        return bool(rows) and sum(map(is_numeric, rows[0])) >= 2 and not re.search(r"[=]", block)
    return len(rows) >= 0.6 * len(lines) and numbers >= 0.4 * len(rows)


def merged_tables(units: Sequence[Unit], pages: Mapping[int, str]) -> tuple[Unit, ...]:
    """The units with each table's caption and its rows as one, where they are neighbors."""
    merged: list[Unit] = []
    for unit in units:
        before = merged[-1] if merged else None
        if (
            before is not None
            and unit.page == before.page
            and not pages[unit.page][before.end : unit.start].strip()
            and (_one_table(before, unit) or _head_of(before, unit))
        ):
            text = pages[unit.page][before.start : unit.end]
            label = before.label or unit.label
            change = {"kind": "table", "end": unit.end, "text": text, "label": label}
            merged[-1] = before.model_copy(update=change)
        else:
            merged.append(unit)
    return tuple(unit.model_copy(update={"id": f"u{n}"}) for n, unit in enumerate(merged, start=1))


def _one_table(before: Unit, unit: Unit) -> bool:
    """Whether a caption and rows, or rows and rows, are one table."""
    if not unit.kind == before.kind == "table" or (unit.label and before.label):
        return False
    # A caption above rows that have theirs below belongs to the next table.
    return not (
        before.label
        and not unit.label
        and len(before.text.splitlines()) > 2
        and is_tabular(before.text)
    )


def _head_of(before: Unit, unit: Unit) -> bool:
    """Whether `before` is the row of column names above the rows of `unit`."""
    if unit.kind != "table" or not is_tabular(unit.text) or before.kind not in {"text", "heading"}:
        return False
    lines = before.text.splitlines()
    return (
        len(lines) <= 2
        and all(len(cells_of(line)) >= 2 for line in lines)
        and len(before.text) < 160
    )
