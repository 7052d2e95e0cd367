"""A file to a manuscript: which format it is, its reader, its structure, and what is refused."""

import re
from collections import Counter
from collections.abc import Callable
from hashlib import sha256
from pathlib import PurePath
from typing import Literal

from .citations import citations_of, references_of
from .errors import ManuscriptUnreadableError
from .hidden import hidden_in_source, instructions, visible
from .latex import read_latex
from .layout import Line
from .manuscript import Hidden, Manuscript
from .markdown import read_markdown, read_text
from .pdf import Document, read_pdf
from .sentences import flatten
from .structure import Draft, merged_tables, pages_of, structured

Format = Literal["pdf", "markdown", "latex", "text"]
MOST_PAGES = 200
_FEWEST_WORDS = 60
# Words that carry no topic: a text of a language is full of its own.
_FUNCTION_WORDS = {
    "English": "the of and to in is that for with are as was this we by on be from an which",
    "German": "der die das und ist nicht mit von den wir für eine auf dass werden sich auch dem zu",
    "French": "le la les des et est une dans pour que nous sur avec par du sont plus ce pas aux",
    "Spanish": "el la los las que un por con para una se del es son al como más sin sobre entre",
    "Portuguese": "os as que em um por com para uma se do da não são ao mais pela entre como foi",
    "Italian": "il la di che un per con una del della sono nel non gli dei alla come più questo delle",
    "Dutch": "de het een van en in is dat op te voor met zijn niet aan door ook als bij worden",
}
_CJK = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_CYRILLIC = re.compile(r"[\u0400-\u04ff]")
_SOURCES: dict[Format, Callable[[str], Draft]] = {
    "latex": read_latex,
    "markdown": read_markdown,
    "text": read_text,
}


def read_manuscript(name: str, content: bytes, *, most_pages: int = MOST_PAGES) -> Manuscript:
    """Read a PDF, Markdown, LaTeX or text file as a manuscript.

    Raises:
        ManuscriptUnreadableError: One sentence says what is wrong with the file.
    """
    kind = _format(name, content)
    if kind == "pdf":
        draft = _pdf_draft(read_pdf(content, name, most_pages))
    else:
        source, hidden = hidden_in_source(_decoded(name, content))
        draft = _SOURCES[kind](source)
        draft.hidden.extend(_hidden_on(draft, text) for text in hidden)
        if len(draft.pages) > most_pages:
            raise _refused(name, f"{len(draft.pages)} pages; at most {most_pages} are read as a manuscript (option `pages` of the reader)")  # fmt: skip
    if kind != "pdf":
        for number, text in enumerate(draft.pages, start=1):
            draft.pages[number - 1], found = visible(text, number)
            draft.hidden.extend(found)
    return _manuscript(name, content, kind, draft)


def _manuscript(name: str, content: bytes, kind: Format, draft: Draft) -> Manuscript:
    pages = pages_of(draft)
    whole = "\n".join(page.text for page in pages)
    count = len(re.findall(r"[^\W\d_]{2,}", whole))
    if not whole.strip():
        raise _refused(name, "the file is empty; give the manuscript's text")
    if count < _FEWEST_WORDS:
        raise _refused(name, f"only {count} words; that is no manuscript that can be reviewed")
    language = language_of(whole)
    if language != "English":
        raise _refused(name, f"it is in {language}, as far as its words tell; only English manuscripts are reviewed")  # fmt: skip
    units, sections = structured(draft)
    texts = {page.number: page.text for page in pages}
    units, references = references_of(merged_tables(units, texts), sections, texts)
    citations, notes = citations_of(units, references)
    end = next((s for s in sections if s.kind == "references"), None)
    inside = {s.id for s in sections if s.kind == "references"}
    words = sum(len(u.text.split()) for u in units if u.kind == "text" and u.section not in inside)
    abstract = {s.id for s in sections if s.kind == "abstract"}
    about = [u for u in units if u.section in abstract and u.kind == "text"]
    if not references and end is None:
        notes = (*notes, "no list of references was found, so citations were not checked")
    return Manuscript(
        name=name,
        sha256=sha256(content).hexdigest(),
        format=kind,
        title=" ".join(draft.title.split())[:300] or PurePath(name).stem,
        abstract=" ".join(flatten(unit.text).text for unit in about)[:4000],
        words=words,
        pages=pages,
        units=units,
        sections=sections,
        references=references,
        citations=citations,
        hidden=(*draft.hidden, *instructions(pages)),
        notes=(*draft.notes, *notes),
    )


def _refused(name: str, sentence: str) -> ManuscriptUnreadableError:
    return ManuscriptUnreadableError(f"{name}: {sentence}", name=name)


def _format(name: str, content: bytes) -> Format:
    if not content.strip(b"\0 \t\r\n\f"):
        raise _refused(name, "the file is empty; give the manuscript's text")
    if b"%PDF-" in content[:1024]:
        return "pdf"
    suffix = PurePath(name).suffix.lower()
    if suffix == ".pdf":
        raise _refused(
            name, "it is called .pdf and is none: its first bytes are not those of a PDF"
        )
    if content[:4] == b"PK\x03\x04":
        raise _refused(name, "a Word, OpenDocument or zip file; save it as PDF, Markdown or text")
    if content[:4] in {b"\x89PNG", b"\xff\xd8\xff\xe0", b"\xff\xd8\xff\xe1", b"GIF8"}:
        raise _refused(name, "a picture; give PDF, Markdown, LaTeX or text")
    if content[:8] == b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1":
        raise _refused(name, "an old Word file; save it as PDF, Markdown or text")
    text = content[:2] in {b"\xff\xfe", b"\xfe\xff"}
    if not text and (
        b"\0" in content[:4096] or suffix in {".docx", ".odt", ".zip", ".gz", ".png", ".jpg"}
    ):
        raise _refused(name, "no text; give PDF, Markdown, LaTeX or text")
    if suffix in {".tex", ".latex", ".ltx"} or b"\\documentclass" in content[:20000]:
        return "latex"
    return "markdown" if suffix in {".md", ".markdown", ".qmd", ".rmd"} else "text"


def _decoded(name: str, content: bytes) -> str:
    if content[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        return content.decode("utf-16", "replace")
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError:
        text = content.decode("cp1252", "replace")
    odd = sum(char == "\ufffd" or (char < " " and char not in "\n\r\t\f") for char in text)
    if odd > 0.05 * len(text):
        raise _refused(name, "no text; give PDF, Markdown, LaTeX or text")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def language_of(text: str) -> str:
    """The language whose function words a text is full of; "English" where none stands out."""
    letters = len(re.findall(r"[^\W\d_]", text)) or 1
    if len(_CJK.findall(text)) > 0.2 * letters:
        return "Chinese, Japanese or Korean"
    if len(_CYRILLIC.findall(text)) > 0.3 * letters:
        return "a language written in Cyrillic"
    words = Counter(re.findall(r"[^\W\d_]+", text.lower()))
    scores = {
        language: sum(words[word] for word in set(listed.split()))
        for language, listed in _FUNCTION_WORDS.items()
    }
    best = max(scores, key=lambda language: scores[language])
    # Formulas and tables are full of short words of no language.
    sure = scores[best] > 1.5 * scores["English"] + 5 and scores[best] > 0.08 * words.total()
    return best if sure else "English"


def _hidden_on(draft: Draft, text: str) -> Hidden:
    # Where it stood is gone with it; the page is the first, unless the pages say otherwise.
    detail = "set in white, too small to read, or not shown, by its own source"
    return Hidden(kind="white", page=1, text=text[:2000], detail=detail)


def _pdf_draft(document: Document) -> Draft:
    draft = Draft([], hidden=list(document.hidden), notes=list(document.notes))
    title = _title(document)
    named = re.search(
        r"\.(?:dvi|tex|docx?|pdf|indd|qxd|rtf)$|^untitled|^microsoft word",
        document.title,
        re.IGNORECASE,
    )
    draft.title = title or ("" if named else document.title)
    for number, lines in enumerate(document.pages, start=1):
        text = ""
        for line in lines:
            clean, found = visible(line.text, number)
            draft.hidden.extend(found)
            if text:
                text += "\n\n" if line.opens else "\n"
            large = line.size > 1.06 * document.size
            if (line.bold or large) and len(clean.split()) <= 12:
                draft.headings.add((number, len(text)))
            text += clean
        draft.pages.append(text)
    if not draft.title:
        draft.title = next((line.text for page in document.pages for line in page), "")
    return draft


def _title(document: Document) -> str:
    """The largest words on the upper part of the first page that has some."""
    for page in document.pages[:2]:
        head = [
            line
            for line in page[:25]
            if len(line.text) > 3 and re.search(r"[a-z]{2}", line.text, re.IGNORECASE)
        ]
        sizes = sorted({round(line.size, 1) for line in head}, reverse=True)
        for size in sizes[:2]:
            if size < 1.1 * document.size:
                break
            chosen: list[Line] = []
            for line in page[:25]:
                if abs(line.size - size) < 0.06 * size and re.search(r"\w", line.text):
                    chosen.append(line)
                elif chosen:
                    break
            words = " ".join(line.text for line in chosen)
            if 3 <= len(words.split()) <= 40:
                return words
    return ""
