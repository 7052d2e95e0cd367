"""LaTeX source to the text that its reader would see, in pages where the source breaks them.

Not a TeX: macros of one's own are expanded where they are plain text, included files are
not fetched. Citations become `[@key]`, entries of a bibliography begin with theirs.
"""

import re

from .structure import Draft

_COMMENT = re.compile(r"(?<!\\)%[^\n]*\n?")
_PAGE = re.compile(r"\\(?:newpage|clearpage|cleardoublepage|pagebreak)\b(?:\[\d\])?")
_ARGUMENT = r"\{((?:[^{}]|\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\})*)\}"
_LEVELS = ("part", "chapter", "section", "subsection", "subsubsection")
_ACCENTS = {
    "'": "́",
    "`": "̀",
    "^": "̂",
    '"': "̈",
    "~": "̃",
    "=": "̄",
    ".": "̇",
    "c": "̧",
    "v": "̌",
    "u": "̆",
    "H": "̋",
}
_SIGNS = {
    r"\%": "%", r"\&": "&", r"\_": "_", r"\#": "#", r"\$": "$", r"\{": "{", r"\}": "}", "~": " ", "---": "—",
    "--": "–", "``": "“", "''": "”", r"\pm": "±", r"\times": "×", r"\leq": "≤", r"\le": "≤", r"\geq": "≥",
    r"\ge": "≥", r"\approx": "≈", r"\chi": "χ", r"\alpha": "α", r"\beta": "β", r"\eta": "η", r"\mu": "μ",
    r"\sigma": "σ", r"\rho": "ρ", r"\ss": "ß", r"\o": "ø", r"\aa": "å", r"\ae": "æ", r"\l": "ł", r"\i": "i",
    r"\ldots": "…", r"\dots": "…", r"\textasciitilde": "~", r"\textbackslash": "\\", r"\textendash": "–",
    r"\cdot": "·", r"\sim": "~", r"\ne": "≠", r"\neq": "≠", r"\rightarrow": "→", r"\to": "→", r"\infty": "∞",
}  # fmt: skip
_DROPPED = (
    "label|vspace|hspace|vskip|includegraphics|bibliographystyle|usepackage|documentclass|pagestyle"
    "|thispagestyle|setlength|addtolength|setcounter|newcommand|renewcommand|centering|resizebox|scalebox"
    "|definecolor|color|input|include|hypersetup|graphicspath|date|thanks|affiliation|email|institute"
    "|orcid|icmltitlerunning|icmlauthor|icmlaffiliation|icmlcorrespondingauthor|keywords|pdfinfo|address"
    "|affil|authorrunning|titlerunning|maketitle|tableofcontents|appendixpage|phantom|cline|cmidrule"
)
_KEPT = "textbf|textit|emph|texttt|textsc|textrm|text|mathrm|mathbf|mathit|mathcal|mathbb|underline|mbox|textsuperscript|textsubscript|textcolor|url|path|footnote|href|uline|bm|boldsymbol|operatorname|title|author|caption"


def read_latex(source: str) -> Draft:
    """The pages of a LaTeX source; one, where it breaks none."""
    source = _COMMENT.sub("", source.replace("\r\n", "\n"))
    title = re.search(r"\\(?:icml)?title(?:\[[^\]]*\])?\s*" + _ARGUMENT, source)
    body = source
    if found := re.search(r"\\begin\{document\}(.*?)(?:\\end\{document\}|\Z)", source, re.DOTALL):
        body = found[1]
    body = _macros(source, body)
    labels = _labels(body)
    body = _floats(body, labels)
    body = _sections(body, labels)
    body = re.sub(
        r"\\(?:auto|c|C|eq|name|v|page)?ref\*?\s*" + _ARGUMENT,
        lambda m: ", ".join(labels.get(key.strip(), "??") for key in m[1].split(",")),
        body,
    )
    body = _bibliography(body)
    body = re.sub(r"\\[cC]ite\w*\*?\s*(?:\[[^\]]*\])*\s*" + _ARGUMENT, _cite, body)
    pages = [_plain(piece).strip("\n") for piece in _PAGE.split(body)]
    pages = [page for page in pages if page.strip()] or [""]
    draft = Draft(pages, title=" ".join(_plain(title[1]).split()) if title else "")
    if draft.title and draft.title not in pages[0]:
        pages[0] = f"{draft.title}\n\n{pages[0]}"
    if re.search(r"\\(?:bibliography|addbibresource|printbibliography)\b", source):
        draft.notes.append(
            "the bibliography is in a file of its own, so citations were not checked"
        )
    if re.search(r"\\(?:input|include|subfile)\b\s*\{", source):
        draft.notes.append("included files (\\input) are not part of what was read")
    return draft


def _macros(source: str, body: str) -> str:
    """The body with macros of one's own expanded, where they are text without arguments."""
    pattern = r"\\(?:newcommand|renewcommand|def)\*?\s*\{?\\([A-Za-z]+)\}?\s*" + _ARGUMENT
    for name, text in re.findall(pattern, source):
        if "#" not in text and len(text) < 80 and not re.search(rf"\\{name}\b", text):
            body = re.sub(rf"\\{name}(?![A-Za-z])(?:\{{\}})?", text.replace("\\", "\\\\"), body)
    return body


def _labels(body: str) -> dict[str, str]:
    """What each label prints, counted as LaTeX counts."""
    labels: dict[str, str] = {}
    counts = {"figure": 0, "table": 0, "equation": 0}
    sections = [0, 0, 0]
    appendix = False
    current = ""
    token = re.compile(
        r"\\(?P<section>section|subsection|subsubsection)(?P<star>\*?)\s*(?:\[[^\]]*\])?\s*\{|\\begin\{(?P<env>figure|table|equation|align)(?P<no>\*?)\}|\\end\{(?P<end>figure|table|equation|align)\*?\}|\\label\{(?P<label>[^}]*)\}|(?P<appendix>\\appendix\b)"
    )
    section = ""
    for found in token.finditer(body):
        if found["appendix"]:
            appendix, sections = True, [0, 0, 0]
        elif found["section"] and not found["star"]:
            level = ("section", "subsection", "subsubsection").index(found["section"])
            sections[level] += 1
            sections[level + 1 :] = [0] * (2 - level)
            first = chr(64 + sections[0]) if appendix else str(sections[0])
            section = ".".join([first, *map(str, sections[1 : level + 1])])
            current = section
        elif found["env"]:
            kind = "equation" if found["env"] == "align" else found["env"]
            if kind != "equation" or not found["no"]:
                counts[kind] += 1
            current = str(counts[kind])
        elif found["end"]:
            current = section
        elif found["label"]:
            labels[found["label"].strip()] = current
    return labels


def _sections(body: str, labels: dict[str, str]) -> str:
    """Section commands as numbered headings on lines of their own."""
    counts = [0, 0, 0]
    appendix = False

    def heading(found: re.Match[str]) -> str:
        nonlocal appendix, counts
        if found["appendix"]:
            appendix, counts = True, [0, 0, 0]
            return ""
        title = " ".join(found["title"].split())
        name = found["level"]
        if name in {"paragraph", "subparagraph"}:
            return f"\n\n{title} "
        if found["star"] or name in {"part", "chapter"}:
            return f"\n\n## {title}\n\n"
        level = ("section", "subsection", "subsubsection").index(name)
        counts[level] += 1
        counts[level + 1 :] = [0] * (2 - level)
        first = chr(64 + counts[0]) if appendix else str(counts[0])
        label = ".".join([first, *map(str, counts[1 : level + 1])])
        return f"\n\n## {label} {title}\n\n"

    pattern = (
        r"\\(?P<level>part|chapter|section|subsection|subsubsection|paragraph|subparagraph)(?P<star>\*?)"
        r"\s*(?:\[[^\]]*\])?\s*"
        + _ARGUMENT.replace("(", "(?P<title>", 1)
        + r"|(?P<appendix>\\appendix\b)"
    )
    body = re.sub(r"\\begin\{abstract\}", "\n\n## Abstract\n\n", body)
    body = re.sub(r"\\end\{abstract\}", "\n\n", body)
    return re.sub(pattern, heading, body)


def _floats(body: str, labels: dict[str, str]) -> str:
    """Figures and tables as a caption with its number, and the rows of tables."""
    counts = {"figure": 0, "table": 0, "equation": 0}

    def shown(found: re.Match[str]) -> str:
        kind, inner = found["kind"], found["inner"]
        if kind in {"equation", "align", "gather", "multline", "eqnarray"}:
            star = found["star"]
            if not star:
                counts["equation"] += 1
            inner = " ".join(re.sub(r"\\label\{[^}]*\}|\\\\|&", " ", inner).split())
            return f"\n\n{inner}" + ("" if star else f"  ({counts['equation']})") + "\n\n"
        counts[kind] += 1
        caption = re.search(r"\\caption(?:\[[^\]]*\])?\s*" + _ARGUMENT, inner)
        words = " ".join(caption[1].split()) if caption else ""
        rows = ""
        for table in re.finditer(r"\\begin\{(tabular[xy]?\*?)\}(.*?)\\end\{\1\}", inner, re.DOTALL):
            rows += "\n" + _rows(table[2])
        return f"\n\n{kind.capitalize()} {counts[kind]}: {words}{rows}\n\n"

    pattern = r"\\begin\{(?P<kind>figure|table|equation|align|gather|multline|eqnarray)(?P<star>\*?)\}(?P<inner>.*?)\\end\{(?P=kind)\*?\}"
    body = re.sub(pattern, shown, body, flags=re.DOTALL)
    return re.sub(
        r"\\begin\{(tabular[xy]?\*?)\}(.*?)\\end\{\1\}",
        lambda m: "\n\n" + _rows(m[2]) + "\n\n",
        body,
        flags=re.DOTALL,
    )


def _rows(tabular: str) -> str:
    tabular = re.sub(r"^\s*(?:\[[^\]]*\])?(?:\s*" + _ARGUMENT + r"){1,2}", "", tabular, count=1)
    tabular = re.sub(
        r"\\(?:hline|toprule|midrule|bottomrule|cmidrule(?:\([^)]*\))?\{[^}]*\}|cline\{[^}]*\})",
        "",
        tabular,
    )
    tabular = re.sub(
        r"\\multi(?:column|row)\s*\{[^}]*\}\s*\{[^}]*\}\s*" + _ARGUMENT, r"\1", tabular
    )
    rows = []
    for row in re.split(r"\\\\(?:\[[^\]]*\])?", tabular):
        cells = [" ".join(cell.split()) for cell in re.split(r"(?<!\\)&", row)]
        if any(cells):
            rows.append("  ".join(cell or "-" for cell in cells))
    return "\n".join(rows)


def _bibliography(body: str) -> str:
    body = re.sub(r"\\begin\{thebibliography\}\s*(?:\{[^}]*\})?", "\n\n## References\n\n", body)
    body = body.replace(r"\end{thebibliography}", "\n\n")
    body = re.sub(r"\\newblock\b", " ", body)
    return re.sub(
        r"\\bibitem\s*(?:\[(?:[^\[\]]|\{[^}]*\})*\])?\s*\{([^}]*)\}",
        lambda m: f"\n\n[@{m[1].strip()}] ",
        body,
    )


def _cite(found: re.Match[str]) -> str:
    return "[" + "; ".join(f"@{key.strip()}" for key in found[1].split(",") if key.strip()) + "]"


def _plain(text: str) -> str:
    """The text without commands: what they set is kept, what they do is not."""
    text = re.sub(r"\\begin\{(?:itemize|enumerate|description)\}(?:\[[^\]]*\])?", "\n", text)
    text = re.sub(r"\\item\b\s*(?:\[([^\]]*)\])?", lambda m: f"\n- {m[1] or ''} ", text)
    text = re.sub(r"\\(?:begin|end)\{[^}]*\}(?:\[[^\]]*\])?", "\n", text)
    text = re.sub(r"\\\\(?:\[[^\]]*\])?", "\n", text)
    text = re.sub(r"\\([\'`^\"~=.cvuH])\s*\{?\\?([A-Za-z])\}?", _accented, text)
    for _ in range(4):
        text = re.sub(
            rf"\\(?:{_DROPPED})\*?(?![A-Za-z])\s*(?:\[[^\]]*\])*\s*(?:{_ARGUMENT})?", " ", text
        )
        text = re.sub(
            rf"\\(?:{_KEPT})\*?(?![A-Za-z])\s*(?:\[[^\]]*\])?\s*" + _ARGUMENT, r"\1", text
        )
    for command, sign in sorted(_SIGNS.items(), key=lambda pair: -len(pair[0])):
        if command[-1].isalpha():
            text = re.sub(re.escape(command) + r"(?![A-Za-z])\s?", sign.replace("\\", r"\\"), text)
        else:
            text = text.replace(command, sign)
    text = re.sub(r"\\(?:d?frac)\s*" + _ARGUMENT + r"\s*" + _ARGUMENT, r"(\1)/(\2)", text)
    text = re.sub(r"\\[,;:!> ]|\\q?quad\b", " ", text)
    text = re.sub(r"\\[A-Za-z]+\*?", " ", text)
    text = re.sub(r"(?<!\\)[{}$]", "", text)
    # Two spaces divide cells; anywhere else they are leftovers.
    text = re.sub(r"(?m)^[ \t]+|[ \t]+$", "", text)
    text = re.sub(r"[ \t]{3,}", "  ", text)
    return re.sub(r"\n{3,}", "\n\n", text)


def _accented(found: re.Match[str]) -> str:
    import unicodedata

    mark = _ACCENTS.get(found[1], "")
    return unicodedata.normalize("NFC", found[2] + mark)
