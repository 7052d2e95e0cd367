"""PDFs for tests and examples, set by reportlab: one or two columns, headers, hidden text."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO

from reportlab.lib.pagesizes import A4
from reportlab.lib.utils import simpleSplit
from reportlab.pdfgen.canvas import Canvas

WIDTH, HEIGHT = A4
_MARGIN, _GUTTER, _LEAD, _SIZE = 60.0, 24.0, 12.0, 10.0


@dataclass(slots=True)
class Sheet:
    """A page: paragraphs and tables for its columns, and what is hidden on it.

    Lines that begin with "# " are headings; a paragraph with line breaks is set line by line
    in Courier, as a table is. hidden: (text, size, gray level).
    """

    paragraphs: Sequence[str]
    title: str = ""
    hidden: Sequence[tuple[str, float, float]] = field(default_factory=list)


def print_pdf(
    sheets: Sequence[Sheet],
    *,
    columns: int = 1,
    header: str = "",
    numbers: bool = False,
    interleaved: bool = False,
) -> bytes:
    """Set the sheets, one a page; the same sheets give the same bytes.

    numbers: of lines, in the margin. interleaved: draw line by line across both columns, as
    some typesetters do, so that the order of drawing is not that of reading.
    """
    buffer = BytesIO()
    canvas = Canvas(buffer, pagesize=A4, invariant=1)
    width = (WIDTH - 2 * _MARGIN - (columns - 1) * _GUTTER) / columns
    for number, sheet in enumerate(sheets, start=1):
        top = HEIGHT - _MARGIN
        if header:
            canvas.setFont("Times-Roman", 8)
            canvas.drawString(_MARGIN, HEIGHT - 30, header)
            canvas.drawCentredString(WIDTH / 2, 30, str(number))
        if sheet.title:
            canvas.setFont("Times-Bold", 16)
            for line in simpleSplit(sheet.title, "Times-Bold", 16, WIDTH - 2 * _MARGIN):
                canvas.drawString(_MARGIN, top, line)
                top -= 22
            top -= 8
        placed: list[tuple[float, float, str, str, float]] = []
        column, y = 0, top
        for paragraph in sheet.paragraphs:
            font, size = "Times-Roman", _SIZE
            if paragraph.startswith("# "):
                font, size, paragraph = "Times-Bold", 12.0, paragraph[2:]
            if "\n" in paragraph:
                font, size, lines = "Courier", 8.5, paragraph.split("\n")
            else:
                lines = simpleSplit(paragraph, font, size, width)
            for line in lines:
                if y < _MARGIN + _LEAD:
                    column, y = column + 1, top
                if column >= columns:
                    raise ValueError("the sheet is full")
                placed.append((_MARGIN + column * (width + _GUTTER), y, line, font, size))
                y -= _LEAD
            y -= 7
        if interleaved:
            placed.sort(key=lambda line: -line[1])
        for x, at, line, font, size in placed:
            canvas.setFont(font, size)
            canvas.drawString(x, at, line)
        if numbers:
            canvas.setFont("Helvetica", 6)
            for count, at in enumerate(sorted({line[1] for line in placed}, reverse=True), start=1):
                canvas.drawRightString(_MARGIN - 14, at, str(count))
        for row, (text, size, gray) in enumerate(sheet.hidden):
            canvas.setFont("Times-Roman", size)
            canvas.setFillGray(gray)
            canvas.drawString(_MARGIN, _MARGIN - 14 - 8 * row, text)
            canvas.setFillGray(0)
        canvas.showPage()
    canvas.save()
    return buffer.getvalue()
