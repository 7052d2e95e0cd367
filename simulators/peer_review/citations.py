"""The bibliography in entries, and the places that cite linked to them."""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from .manuscript import Citation, Reference, Section, Unit
from .sentences import Flat, flatten

_YEAR = re.compile(r"(?<!\d)((?:19|20)\d{2})(?=[a-z]?(?!\d))")
_NUMBER_ENTRY = re.compile(
    r"^\s*(?:\[(?P<a>\d{1,3})\]|\((?P<b>\d{1,3})\)|(?P<c>\d{1,3})[.)](?=\s))", re.MULTILINE
)
_KEY_ENTRY = re.compile(r"^\s*\[@(?P<key>[^\]\s]+)\]", re.MULTILINE)
_NUMERIC = re.compile(
    r"\[\s*(\d{1,3}(?:\s*[,;–—-]\s*\d{1,3})*)(?:\s*,\s*(?:p|pp|Sec|Ch|Thm|Fig)[^\]]{0,20})?\s*\]"
)
_KEYED = re.compile(
    r"\[(?:[^\[\]@]{0,60})?-?@[\w:.#$%&+?<>~/-]+[^\[\]]{0,200}\]|(?<![\w.])@[A-Za-z][\w:.-]*\w"
)
_KEY = re.compile(r"@([A-Za-z0-9_][\w:.#$%&+?<>~/-]*\w)")
# Every repetition is bounded: a page that is one long list of names must not take minutes.
_NAME = r"(?:(?:van|von|de|der|den|del|della|di|da|la|le|el|al|bin|ten|ter|dos|Van|Von|De|Der|Du|La|Le|El|Al)\s+){0,3}[A-ZÀ-ÞŁŚŽČŠ][\w'’À-ž-]{0,40}[\wÀ-ž]"
_NAMES = rf"{_NAME}(?:\s+{_NAME}){{0,2}}(?:,\s+{_NAME}){{0,12}}(?:,?\s+(?:and|&)\s+{_NAME}(?:\s+{_NAME})?)?(?:,?\s+et\s+al\.?,?)?(?:['’]s)?"
_YEARS = r"(?:19|20)\d{2}[a-z]?(?:\s*,\s*(?:(?:19|20)\d{2}[a-z]?|[b-z]\b))*"
_INLINE = re.compile(
    rf"(?P<names>{_NAMES})\s*[\[(](?P<years>{_YEARS})(?:[,:;][^()\[\]]{{0,60}})?[\])]"
)
_INSIDE = re.compile(
    rf"(?P<names>{_NAMES}),?\s+[(\[]?(?P<years>{_YEARS})(?=\s*[,;:)\]]|\s+(?:for|and|in|p\b|pp\b))"
)
_OPENS = re.compile(
    rf"\s*(?:[-*•]\s+)?(?!(?:In|Proceedings|Advances|arXiv|Journal|URL|Available|International|Conference)\b)"
    rf"(?:{_NAME}(?:,|\s|\.\s)|[A-Z]\.[\s-])"
)
_PARENS = re.compile(r"[(\[]([^()\[\]]*(?:19|20)\d{2}[^()\[\]]*)[)\]]")
# What looks like a name and a year, and is none.
_NO_NAMES = frozenset(
    [
        "january",
        "february",
        "march",
        "april",
        "may",
        "june",
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
        "monday",
        "tuesday",
        "wednesday",
        "thursday",
        "friday",
        "saturday",
        "sunday",
        "in",
        "since",
        "until",
        "from",
        "between",
        "during",
        "by",
        "after",
        "before",
        "the",
        "version",
        "table",
        "figure",
        "section",
        "equation",
        "appendix",
        "iclr",
        "icml",
        "neurips",
        "nips",
        "acl",
        "emnlp",
        "naacl",
        "cvpr",
        "iccv",
        "eccv",
        "aaai",
        "ijcai",
        "kdd",
        "www",
        "sigir",
        "tacl",
        "coling",
        "interspeech",
        "icassp",
        "wmt",
        "semeval",
        "workshop",
        "conference",
        "proceedings",
        "window",
        "copyright",
        "windows",
        "office",
        "spring",
        "summer",
        "autumn",
        "fall",
        "winter",
        "year",
        "years",
    ]
)


@dataclass(frozen=True, slots=True)
class Cited:
    """A group of names and years as it was cited."""

    names: tuple[str, ...]
    years: tuple[str, ...]


def references_of(
    units: Sequence[Unit], sections: Sequence[Section], pages: Mapping[int, str]
) -> tuple[tuple[Unit, ...], tuple[Reference, ...]]:
    """The units with the bibliography cut into entries, and the entries."""
    places = {section.id for section in sections if section.kind == "references"}
    if places:
        body = {u.id for u in units if u.section in places and _is_entry_text(u)}
    else:
        body = _unheaded(units)
    if not body:
        return tuple(units), ()
    numbered = _numbered("\n".join(u.text for u in units if u.id in body))
    out: list[Unit] = []
    found: list[_Entry] = []
    for region in _regions(units, body):
        if region[0].id not in body:
            out.extend(
                u.model_copy(update={"id": f"u{len(out) + n}"}) for n, u in enumerate(region, 1)
            )
            continue
        start, end = region[0].start, region[-1].end
        text = pages[region[0].page][start:end]
        for key, begin, stop in _entries(text, numbered, len(found)):
            unit = Unit(
                id=f"u{len(out) + 1}",
                kind="reference",
                page=region[0].page,
                start=start + begin,
                end=start + stop,
                text=text[begin:stop],
                label=f"[{key}]" if key else "",
                section=region[0].section,
            )
            out.append(unit)
            flat = flatten(unit.text).text
            cut = begin == 0 and not key and found and not _YEAR.search(found[-1].text)
            if found and (key is None or cut):
                found[-1].text += " " + flat  # An entry that its page's end cut.
            else:
                found.append(_Entry(key or "", unit, flat))
    return tuple(out), tuple(
        Reference(
            id=f"r{count}",
            key=entry.key,
            unit=entry.unit.id,
            page=entry.unit.page,
            year=_entry_year(entry.text),
            authors=_authors(entry.text),
            text=entry.text,
        )
        for count, entry in enumerate(found, start=1)
    )


def _unheaded(units: Sequence[Unit]) -> set[str]:
    """The units of a bibliography without a heading: a list [1], [2], … near the end."""
    first = next(
        (
            i
            for i, u in enumerate(units)
            if i > 0.4 * len(units) and re.match(r"\s*\[1\]\s+\S", u.text)
        ),
        len(units),
    )
    rest = [u for u in units[first:] if _is_entry_text(u)]
    found = [int(n) for u in rest for n in re.findall(r"^\s*\[(\d{1,3})\]\s", u.text, re.MULTILINE)]
    listed = len(found) >= 5 and sum(b == a + 1 for a, b in pairwise(found)) >= 0.8 * (
        len(found) - 1
    )
    return {u.id for u in rest} if listed else set()


@dataclass(slots=True)
class _Entry:
    key: str
    unit: Unit
    text: str


def _regions(units: Sequence[Unit], body: set[str]) -> Iterator[list[Unit]]:
    """Neighboring units of one page that are, or are not, the bibliography's."""
    region: list[Unit] = []
    for unit in units:
        if region and (unit.page != region[0].page or (unit.id in body) != (region[0].id in body)):
            yield region
            region = []
        region.append(unit)
    if region:
        yield region


def _is_entry_text(unit: Unit) -> bool:
    return unit.kind in {"text", "table", "equation"} and len(unit.text.split()) >= 3


def _numbered(text: str) -> str:
    """How the entries are marked: by "number", by "key", or by nothing ("")."""
    if _KEY_ENTRY.search(text):
        return "key"
    found = [int(next(g for g in m.groups() if g)) for m in _NUMBER_ENTRY.finditer(text)]
    rising = sum(b == a + 1 for a, b in pairwise(found))
    sure = found and rising >= 0.6 * (len(found) - 1) and 1 in found[:3]
    return "number" if sure else ""


def _entries(text: str, numbered: str, before: int) -> Iterator[tuple[str | None, int, int]]:
    """The (key, start, end) of each entry; None is the key of what a page's end cut off."""
    starts: list[tuple[str | None, int]] = []
    if numbered:
        pattern = _KEY_ENTRY if numbered == "key" else _NUMBER_ENTRY
        expected = before + 1
        for found in pattern.finditer(text):
            key = next(g for g in found.groups() if g)
            # A year or a volume at the beginning of a line is no number of an entry.
            if numbered == "number" and not expected <= int(key) <= expected + 3:
                continue
            if numbered == "number":
                expected = int(key) + 1
            starts.append((key, found.start()))
    else:
        starts = [("", start) for start in _openings(text)]
        if before and starts and not _OPENS.match(text):
            starts[0] = (None, starts[0][1])
    if numbered and text[: starts[0][1] if starts else None].strip():
        starts.insert(0, (None, 0))
    ends = [start for _, start in starts[1:]] + [len(text)]
    for (key, start), end in zip(starts, ends, strict=True):
        while start < end and text[start].isspace():
            start += 1
        while end > start and text[end - 1].isspace():
            end -= 1
        if end - start > 12 or (key is None and end > start):
            yield key, start, end


def _openings(text: str) -> Iterator[int]:
    """Where entries without numbers begin: a name after an entry that has its year and its end."""
    start = 0
    yield start
    for line in re.finditer(r"[^\n]+", text):
        if line.start() == 0 or not _OPENS.match(line.group()):
            continue
        entry = text[start : line.start()].rstrip()
        finished = re.search(r"(?:\.|\d|https?://\S+|doi:\S+)$", entry)
        if finished and _YEAR.search(entry) and len(entry) > 40:
            start = line.start()
            yield start


def _entry_year(flat: str) -> str:
    """The year of an entry: the one after its authors, else the last that is none of a link."""
    years = _YEAR.findall(_without_links(flat))
    early = _YEAR.search(flat[:160])
    return early[1] if early else years[-1] if years else ""


def _without_links(text: str) -> str:
    return re.sub(r"https?://\S+|doi:?\s*\S+|arXiv[:\s]*\S+|\b\d{4}\.\d{4,5}\b", " ", text)


def _authors(flat: str) -> tuple[str, ...]:
    """Surnames in the part of an entry before its title; the first one is the first author's."""
    text = re.sub(r"^\s*(?:\[[^\]]*\]|\(?\d{1,3}[.)]|[-*•])\s*", "", flat)
    year = _YEAR.search(text)
    head = text[: year.start()] if year and year.start() < 400 else text
    stop = re.search(r"(?<![A-Z])(?<!et al)\.\s+[A-Z\"“]|[\"“]", head)
    if stop and stop.start() > 4:
        head = head[: stop.start()]
    names = []
    for word in re.findall(r"[A-ZÀ-ÞŁŚŽČŠ][\w'’À-ž-]*[a-zà-ž][\w'’À-ž-]*", head[:400]):
        names.append(plain(word))
    if not names:
        names = [plain(word) for word in re.findall(r"[A-Z]{2,}[\w-]*", head[:80])]
    return tuple(dict.fromkeys(names))


def plain(name: str) -> str:
    """A name as names are compared: without accents, in one case."""
    letters = unicodedata.normalize("NFKD", name)
    return "".join(c for c in letters if c.isalnum()).casefold()


def citations_of(
    units: Sequence[Unit], references: Sequence[Reference]
) -> tuple[tuple[Citation, ...], tuple[str, ...]]:
    """The citations of the text with what they point at, and notes on what cannot be told."""
    by_key = {r.key: r for r in references if r.key}
    numeric = any(key.isdigit() for key in by_key)
    keyed = bool(by_key) and not numeric
    citations: list[Citation] = []

    def add(
        unit: Unit,
        flat: Flat,
        start: int,
        end: int,
        style: str,
        found: Sequence[tuple[str, str | None]],
    ) -> None:
        begin, stop = flat.span(start, end)
        citations.append(
            Citation.model_validate(
                {
                    "id": f"k{len(citations) + 1}",
                    "page": unit.page,
                    "start": unit.start + begin,
                    "end": unit.start + stop,
                    "text": flat.text[start:end],
                    "style": style,
                    "targets": tuple(dict.fromkeys(t for _, t in found if t)),
                    "missing": tuple(dict.fromkeys(k for k, t in found if t is None)),
                }
            )
        )

    for unit in units:
        if unit.kind not in {"text", "figure", "table"}:
            continue
        flat = flatten(unit.text)
        if keyed or not references:
            for match in _KEYED.finditer(flat.text):
                keys = _KEY.findall(match.group())
                told = [(key, by_key[key].id if key in by_key else None) for key in keys]
                add(unit, flat, match.start(), match.end(), "key", told if references else [])
        if numeric or not references:
            for match in _NUMERIC.finditer(flat.text):
                numbers = _numbers(match[1])
                if not numbers or (
                    unit.kind == "table"
                    and len(numbers) == 1
                    and numeric
                    and str(numbers[0]) not in by_key
                ):
                    continue
                told = [(str(n), by_key[str(n)].id if str(n) in by_key else None) for n in numbers]
                add(unit, flat, match.start(), match.end(), "numeric", told if references else [])
        if not numeric and not keyed:
            for start, end, cited in _by_author(flat.text):
                found = [
                    (f"{cited.names[0]} {year}", _target(cited, year, references))
                    for year in cited.years
                ]
                add(unit, flat, start, end, "author_year", found if references else [])
    return tuple(citations), ()


def _numbers(text: str) -> list[int]:
    numbers: list[int] = []
    for part in re.split(r"[,;]", text):
        ends = [int(n) for n in re.findall(r"\d+", part)]
        if len(ends) == 2 and 0 < ends[0] < ends[1] <= ends[0] + 60:
            numbers.extend(range(ends[0], ends[1] + 1))
        else:
            numbers.extend(ends)
    return numbers if all(n > 0 for n in numbers) else []


def _by_author(flat: str) -> Iterator[tuple[int, int, Cited]]:
    taken: list[tuple[int, int]] = []
    for match in _INLINE.finditer(flat):
        cited = _cited(match)
        if cited:
            taken.append(match.span())
            yield match.start(), match.end(), cited
    for parens in _PARENS.finditer(flat):
        if any(a <= parens.start() < b for a, b in taken):
            continue
        for match in _INSIDE.finditer(flat, parens.start() + 1, parens.end()):
            cited = _cited(match)
            if cited:
                yield match.start(), match.end(), cited


def _cited(match: re.Match[str]) -> Cited | None:
    names = re.sub(r"\bet\s+al\.?,?|['’]s\b", " ", match["names"])
    parts = [part.strip() for part in re.split(r",|\band\b|&", names) if part.strip()]
    found = tuple(plain(re.sub(r"^.*\s", "", part)) for part in parts)
    if not found or not found[0] or any(plain(w) in _NO_NAMES for w in parts[0].split()):
        return None
    if any(len(part.split()) > 3 for part in parts):
        return None
    years = tuple(dict.fromkeys(_YEAR.findall(match["years"])))
    return Cited(found, years) if years else None


def _target(cited: Cited, year: str, references: Sequence[Reference]) -> str | None:
    """The entry of these names and this year: by its first author, else by any name in it."""
    alike = [r for r in references if year in r.text]
    # Before the first name there may be a word that looks like one ("Recently, Bai and …").
    for wanted in cited.names[:2]:
        for reference in alike:
            if reference.authors and reference.authors[0] == wanted:
                return reference.id
        for reference in alike:
            if wanted in reference.authors:
                return reference.id
    for reference in alike:
        if any(len(name) > 2 and name in plain(reference.text) for name in cited.names[:2]):
            return reference.id
    return None
