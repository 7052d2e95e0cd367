"""PDF to pages of lines, by pypdfium2, and what a page hides from its reader.

Measured on 10 pages: pypdfium2 with place, size and color of each character 0.06 s of CPU,
pdfplumber 0.36 s (benchmarks/peer_review.py). PDFium is not safe for threads, so a lock
stands around it.
"""

import ctypes
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from threading import Lock
from typing import Any

import pypdfium2
import pypdfium2.raw as raw

from .errors import ManuscriptUnreadableError
from .layout import Line, Run, lines_of, without_margins
from .manuscript import Hidden, HiddenKind

_PDFIUM = Lock()
_PALE = 250  # Each of red, green and blue at or above this is white to the eye.
_TINY = 2.0  # Points; nobody sets text to be read below.
_SHOWN = 12  # Fewer characters than this are a stray mark, not a sentence.
_CONTRAST = 12.0  # Standard deviation of gray levels that a printed word exceeds by far.
_LIGATURES = {"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st"}
_CHARACTERS = str.maketrans(
    _LIGATURES | {"\x02": "-", "\ufffe": "-", "\xad": "-", "\xa0": " ", "\t": " "}
)
_INVISIBLE_MODE = 3
_ACCENTS = {
    "¨": "\u0308",
    "´": "\u0301",
    "`": "\u0300",
    "ˆ": "\u0302",
    "˜": "\u0303",
    "ˇ": "\u030c",
    "¸": "\u0327",
}
_ACCENTED = re.compile(r"([¨´`ˆ˜ˇ¸])\s?([A-Za-z])")


@dataclass(slots=True)
class Glyph:
    """A character with its place (points, y upwards), size and color (0 to 255)."""

    char: str
    left: float
    right: float
    bottom: float
    top: float
    baseline: float
    size: float
    color: tuple[int, int, int, int]
    bold: bool
    mode: int
    upright: bool


@dataclass(frozen=True, slots=True)
class Document:
    """What was read: lines per page, hidden text, the size of body text and the metadata's title."""

    pages: list[list[Line]]
    hidden: list[Hidden]
    size: float
    title: str
    notes: list[str]


def read_pdf(content: bytes, name: str, most: int) -> Document:
    """The lines of each page in reading order.

    most: pages that are read; a longer document is refused as a whole.

    Raises:
        ManuscriptUnreadableError: Encrypted, damaged, empty, too long, or images only.
    """
    with _PDFIUM:
        try:
            document = pypdfium2.PdfDocument(content)
        except pypdfium2.PdfiumError as error:
            raise _unreadable(name, content, str(error)) from None
        try:
            return _read(document, name, most)
        finally:
            document.close()


def _unreadable(name: str, content: bytes, told: str) -> ManuscriptUnreadableError:
    if "password" in told.lower() or b"/Encrypt" in content[-4096:]:
        sentence = f"{name}: the PDF is encrypted; give a copy without a password"
    elif b"%%EOF" not in content[-2048:]:
        sentence = f"{name}: the PDF is cut off: its end is missing; fetch it again"
    else:
        sentence = f"{name}: the PDF is damaged and cannot be opened"
    return ManuscriptUnreadableError(sentence, name=name)


def _read(document: pypdfium2.PdfDocument, name: str, most: int) -> Document:
    count = len(document)
    if count == 0:
        raise ManuscriptUnreadableError(f"{name}: the PDF has no pages", name=name)
    if count > most:
        sentence = (
            f"{name}: {count} pages; at most {most} are read as a manuscript"
            " (option `pages` of the reader)"
        )
        raise ManuscriptUnreadableError(sentence, name=name, pages=count)
    pages: list[list[Line]] = []
    hidden: list[Hidden] = []
    notes: list[str] = []
    sizes: Counter[float] = Counter()
    images, height = 0, 0.0
    for index in range(count):
        try:
            page = document[index]
            glyphs = _glyphs(page)
        except pypdfium2.PdfiumError:
            notes.append(f"page {index + 1} is damaged and was not read")
            pages.append([])
            continue
        height = max(height, page.get_height())
        shown, found = _seen(page, glyphs, index + 1)
        hidden.extend(found)
        if not shown:
            images += 1
        sizes.update(round(glyph.size, 1) for glyph in shown)
        pages.append(lines_of(list(_runs(shown))))
    if not any(pages):
        sentence = (
            f"{name}: no text on any of {count} pages: a scan, or pictures only;"
            " give a copy with a text layer (OCR)"
        )
        raise ManuscriptUnreadableError(sentence, name=name)
    if images:
        notes.append(f"{images} of {count} pages have no text and were not read")
    title = str(document.get_metadata_dict().get("Title", "")).strip()
    body = sizes.most_common(1)[0][0] if sizes else 10.0
    return Document(without_margins(pages, height, body), hidden, body, title, notes)


def _glyphs(page: pypdfium2.PdfPage) -> list[Glyph]:
    text = page.get_textpage()
    box = raw.FS_RECTF()
    x, y = ctypes.c_double(), ctypes.c_double()
    red, green, blue, alpha = (ctypes.c_uint() for _ in range(4))
    colors = (red, green, blue, alpha)
    glyphs: list[Glyph] = []
    weights: dict[tuple[int, float], bool] = {}
    high: int | None = None
    for index in range(text.count_chars()):
        code = raw.FPDFText_GetUnicode(text, index)
        if 0xD800 <= code < 0xDC00:
            high = code
            continue
        if 0xDC00 <= code < 0xE000:
            code = 0x10000 + ((high or 0xD800) - 0xD800) * 0x400 + (code - 0xDC00)
        high = None
        char = chr(code).translate(_CHARACTERS) if code else "\ufffd"
        if char in "\r\n":
            continue
        if raw.FPDFText_IsGenerated(text, index) and char == " ":
            if glyphs and glyphs[-1].char != " ":
                last = glyphs[-1]
                glyphs.append(
                    Glyph(" ", last.right, last.right, last.bottom, last.top, last.baseline,
                          last.size, last.color, last.bold, last.mode, last.upright)
                )  # fmt: skip
            continue
        raw.FPDFText_GetLooseCharBox(text, index, box)
        raw.FPDFText_GetCharOrigin(text, index, x, y)
        raw.FPDFText_GetFillColor(text, index, *colors)
        angle = raw.FPDFText_GetCharAngle(text, index)
        thing = raw.FPDFText_GetTextObject(text, index)
        mode = raw.FPDFTextObj_GetTextRenderMode(thing) if thing else 0
        size = abs(box.top - box.bottom)
        key = (ctypes.addressof(thing.contents) if thing else 0, size)
        if key not in weights:
            weights[key] = _is_bold(text, index)
        glyphs.append(
            Glyph(
                char, box.left, box.right, box.bottom, box.top, y.value, size,
                (red.value, green.value, blue.value, alpha.value), weights[key], mode,
                abs(math.sin(angle)) < 0.1 and math.cos(angle) > 0,
            )
        )  # fmt: skip
    return glyphs


def _is_bold(text: pypdfium2.PdfTextPage, index: int) -> bool:
    if raw.FPDFText_GetFontWeight(text, index) >= 600:
        return True
    flags = ctypes.c_int()
    length = raw.FPDFText_GetFontInfo(text, index, None, 0, flags)
    if not 0 < length < 200:
        return False
    buffer = ctypes.create_string_buffer(length)
    raw.FPDFText_GetFontInfo(text, index, buffer, length, flags)
    font = buffer.value.decode("utf-8", "replace").lower()
    return bool(re.search(r"bold|black|heavy|cmbx|-bd|sfbx", font))


def _seen(
    page: pypdfium2.PdfPage, glyphs: Sequence[Glyph], number: int
) -> tuple[list[Glyph], list[Hidden]]:
    """The characters that a reader sees, and the sentences that he does not."""
    printed = [glyph for glyph in glyphs if glyph.char != " "]
    # A scan with a text layer has nothing but invisible text, and it is there to be read.
    layer = bool(printed) and sum(g.mode == _INVISIBLE_MODE for g in printed) > 0.5 * len(printed)
    width, height = page.get_size()
    why: list[HiddenKind | None] = []
    for glyph in glyphs:
        kind: HiddenKind | None = None
        if glyph.mode == _INVISIBLE_MODE and not layer:
            kind = "invisible"
        elif min(glyph.color[:3]) >= _PALE or glyph.color[3] < 13:
            kind = "white"
        elif glyph.size < _TINY:
            kind = "tiny"
        elif glyph.right < 0 or glyph.left > width or glyph.top < 0 or glyph.bottom > height:
            kind = "off_page"
        why.append(kind)
    gray: Any = None
    hidden: list[Hidden] = []
    shown: list[Glyph] = []
    for kind, group in _groups(glyphs, why):
        text = " ".join("".join(glyph.char for glyph in group).split())
        if kind == "white":
            if gray is None:
                gray = _gray(page)
            if _contrast(gray, group, height) > _CONTRAST:
                kind = None  # White on a dark ground is there to be read.
        if kind is None:
            shown.extend(glyph for glyph in group if glyph.upright)
        elif len(text) >= _SHOWN and len(re.findall(r"[^\W\d_]{2,}", text)) >= 3:
            hidden.append(
                Hidden(kind=kind, page=number, text=text[:2000], detail=_told(kind, group))
            )
    return shown, hidden


def _groups(
    glyphs: Sequence[Glyph], why: Sequence[HiddenKind | None]
) -> Iterator[tuple[HiddenKind | None, list[Glyph]]]:
    """Neighbors that are hidden in the same way; spaces go with what stands before them."""
    group: list[Glyph] = []
    current: HiddenKind | None = None
    for glyph, kind in zip(glyphs, why, strict=True):
        if glyph.char != " " and kind != current:
            if group:
                yield current, group
            group, current = [], kind
        group.append(glyph)
    if group:
        yield current, group


def _told(kind: HiddenKind, group: Sequence[Glyph]) -> str:
    if kind == "white":
        red, green, blue, alpha = group[0].color
        return f"color rgb({red}, {green}, {blue}), opacity {alpha / 255:.2f}, on a ground alike"
    if kind == "tiny":
        return f"set {median(glyph.size for glyph in group):.1f} pt high"
    if kind == "off_page":
        return "set outside the page"
    return "set in the invisible text mode"


def _gray(page: pypdfium2.PdfPage) -> Any:
    """The page as gray levels, two pixels a point."""
    return page.render(scale=2, grayscale=True).to_numpy()


def _contrast(gray: Any, group: Sequence[Glyph], height: float) -> float:
    """The largest spread of gray levels within the boxes of a group's characters."""
    spread = 0.0
    for glyph in group:
        if glyph.char == " ":
            continue
        top, bottom = int((height - glyph.top) * 2), int((height - glyph.bottom) * 2) + 1
        patch = gray[
            max(0, top) : max(0, bottom), max(0, int(glyph.left * 2)) : int(glyph.right * 2) + 1
        ]
        if patch.size:
            spread = max(spread, float(patch.std()))
    return spread


def _runs(glyphs: Sequence[Glyph]) -> Iterator[Run]:
    run: list[Glyph] = []
    for glyph in glyphs:
        if run and not _continues(run, glyph):
            yield _run(run)
            run = []
        if run or glyph.char != " ":
            run.append(glyph)
    if run:
        yield _run(run)


def _continues(run: Sequence[Glyph], glyph: Glyph) -> bool:
    last = run[-1]
    size = max(last.size, glyph.size)
    return (
        abs(glyph.baseline - last.baseline) < 0.3 * size
        # The letters of a ligature share one box.
        and (-0.5 * size < glyph.left - last.right < 0.9 * size or glyph.left == last.left)
    )


def _composed(found: re.Match[str]) -> str:
    """The letter that TeX set as an accent and a letter, where there is one."""
    letter = unicodedata.normalize("NFC", found[2] + _ACCENTS[found[1]])
    return letter if len(letter) == 1 else found.group()


def _run(glyphs: Sequence[Glyph]) -> Run:
    text = ""
    before: Glyph | None = None
    for glyph in glyphs:
        wide = before is not None and glyph.left - before.right > 0.22 * glyph.size
        if wide and before is not None and before.char != " " and glyph.char != " ":
            text += " "
        text += glyph.char
        before = glyph
    text = _ACCENTED.sub(_composed, text)
    inked = [glyph for glyph in glyphs if glyph.char != " "] or list(glyphs)
    return Run(
        re.sub(r" +", " ", text).strip(),
        inked[0].left,
        inked[-1].right,
        median(glyph.baseline for glyph in inked),
        median(glyph.size for glyph in inked),
        sum(glyph.bold for glyph in inked) > len(inked) / 2,
    )
