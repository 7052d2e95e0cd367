"""Markdown and plain text to pages."""

import re

from .structure import Draft, heading_of

_BREAK = re.compile(
    r"\f|^[ \t]*(?:\\(?:newpage|pagebreak|clearpage)\b(?:\{\})?|<!--\s*page\s*-?break\s*-->"
    r"|<div[^>\n]*page-break[^>\n]*>(?:\s*</div>)?|\{\{<\s*pagebreak\s*>\}\})[ \t]*$",
    re.MULTILINE | re.IGNORECASE,
)
_FRONT = re.compile(r"\A---[ \t]*\n(?P<yaml>.*?)\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_TITLE = re.compile(r"^title\s*:\s*[\"']?(?P<title>[^\n]+?)[\"']?\s*$", re.MULTILINE)


def read_markdown(text: str) -> Draft:
    """Pages divide at form feeds and at what Pandoc and Quarto take for a page break."""
    title = ""
    front = _FRONT.match(text)
    if front:
        found = _TITLE.search(front["yaml"])
        title = found["title"].strip() if found else ""
        text = text[front.end() :]
    draft = Draft(_pages(_BREAK.split(text)), title=title)
    if not draft.title:
        first = re.search(r"^#\s+(?P<title>[^\n]+)$", text, re.MULTILINE)
        first = first or re.search(r"^(?P<title>[^\n]+)\n=+\s*$", text, re.MULTILINE)
        draft.title = first["title"].strip(" *_#") if first else _first_line(draft.pages)
    return draft


def read_text(text: str) -> Draft:
    """Pages divide at form feeds."""
    draft = Draft(_pages(text.split("\f")))
    draft.title = _first_line(draft.pages)
    return draft


def _pages(pieces: list[str]) -> list[str]:
    pages = [piece.strip("\n") for piece in pieces]
    while len(pages) > 1 and not pages[-1].strip():
        pages.pop()
    return pages


def _first_line(pages: list[str]) -> str:
    for page in pages[:1]:
        lines = [line.strip() for line in page.splitlines() if line.strip()]
        if lines and heading_of(lines[0], marked=False) is None:
            # A title that was broken over two lines goes on where a blank line would stop it.
            return lines[0].strip("#*_ ")
    return ""
