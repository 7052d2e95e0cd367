"""The result for other programs: Markdown, a Word document, and JSON with where it came from."""

import json
from collections.abc import Mapping
from io import BytesIO
from typing import Any

from .pages import audience_yaml, changes, label, verdict_sentence, who_wrote

Data = Mapping[str, Any]


def as_json(result: Data, provenance: Data) -> str:
    """Everything, with its provenance first."""
    told = {"provenance": {**provenance, **result["provenance"]}}
    rest = {key: value for key, value in result.items() if key != "provenance"}
    return json.dumps({**told, **rest}, ensure_ascii=False, indent=2) + "\n"


def as_markdown(result: Data, provenance: Data) -> str:
    """The shortlist, its controls and how it was made, for a text editor."""
    scenario = result["scenario"]
    lines = [
        f"# {_plain(scenario['scenario'])}",
        "",
        f"{_plain(scenario['speaker'])}. Goal: {_plain(scenario['goal'])}",
        "",
        f"**{result['verdict']}**: {_plain(verdict_sentence(result))}",
        "",
        "## Shortlist",
    ]
    for place, each in enumerate(_shortlist(result), 1):
        lines += [
            "",
            f"### {place}. {_plain(label(each))}: {_interval(each)}",
            "",
            *(f"> {_plain(line)}" for line in each["text"].splitlines()),
            "",
        ]
        lines += [f"- {name}: {_plain(words)}" for name, words in each["words"].items()]
        lines += [f"- **Look:** {_plain(r)}" for r in _risks(result, each)]
        change = _change(result, each)
        if change:
            lines += ["", f"Against the draft: {change}"]
    lines += ["", "## What else would explain it", ""]
    lines += [f"- {_plain(sentence)}" for sentence in result["controls"]["sentences"]]
    lines += ["", "## Advice", "", "| advice | kind | effect |", "|---|---|---|"]
    for each in result["advice"]:
        cell = _plain(each["text"]).replace("|", "\\|")
        lines.append(f"| {cell} | {each['kind']} | {_estimate(each['measured'])} |")
    lines += ["", "## How it was made", ""]
    lines += [f"- {_plain(sentence)}" for sentence in who_wrote(result)]
    lines += [f"- {key}: `{value}`" for key, value in provenance.items()]
    lines += ["", "```yaml", audience_yaml(result).rstrip(), "```", ""]
    return "\n".join(lines)


def as_docx(result: Data, provenance: Data) -> bytes:
    """The same as a Word document, changes against the draft struck and underlined."""
    from docx import Document

    scenario = result["scenario"]
    document = Document()
    document.core_properties.title = _clean(scenario["scenario"])
    document.core_properties.author = "Repertory, audience simulator"
    document.add_heading(_clean(scenario["scenario"]), 0)
    document.add_paragraph(_clean(f"{scenario['speaker']}. Goal: {scenario['goal']}"))
    verdict = document.add_paragraph()
    verdict.add_run(f"{result['verdict']}: ").bold = True
    verdict.add_run(_clean(verdict_sentence(result)))
    document.add_heading("Shortlist", 1)
    for place, each in enumerate(_shortlist(result), 1):
        document.add_heading(f"{place}. {_clean(label(each))}: {_interval(each)}", 2)
        document.add_paragraph(_clean(each["text"]), style="Intense Quote")
        for name, words in each["words"].items():
            document.add_paragraph(_clean(f"{name}: {words}"), style="List Bullet")
        for risk in _risks(result, each):
            document.add_paragraph(_clean(f"Look: {risk}"), style="List Bullet")
        draft = scenario["draft"].strip()
        if draft and each["id"] != "draft":
            paragraph = document.add_paragraph("Against the draft: ")
            for kind, words in changes(draft, each["text"]):
                run = paragraph.add_run(_clean(words))
                run.font.strike = kind == "del"
                run.underline = kind == "ins"
    document.add_heading("What else would explain it", 1)
    for sentence in result["controls"]["sentences"]:
        document.add_paragraph(_clean(sentence), style="List Bullet")
    document.add_heading("Advice", 1)
    table = document.add_table(rows=1, cols=3, style="Light Grid Accent 1")
    for cell, heading in zip(table.rows[0].cells, ("advice", "kind", "effect"), strict=True):
        cell.text = heading
    for each in result["advice"]:
        cells = table.add_row().cells
        cells[0].text, cells[1].text = _clean(each["text"]), each["kind"]
        cells[2].text = _estimate(each["measured"])
    document.add_heading("How it was made", 1)
    for sentence in who_wrote(result):
        document.add_paragraph(_clean(sentence), style="List Bullet")
    for key, value in provenance.items():
        document.add_paragraph(_clean(f"{key}: {value}"), style="List Bullet")
    stream = BytesIO()
    document.save(stream)
    return stream.getvalue()


def _shortlist(result: Data) -> list[Data]:
    by_name = {each["id"]: each for each in result["candidates"]}
    return [by_name[name] for name in result["shortlist"]]


def _risks(result: Data, candidate: Data) -> list[str]:
    return [each["risk"] for each in result["risks"] if each["candidate"] == candidate["id"]]


def _change(result: Data, candidate: Data) -> str:
    draft = result["scenario"]["draft"].strip()
    if not draft or candidate["id"] == "draft":
        return ""
    marks = {"keep": "{}", "del": "~~{}~~", "ins": "**{}**"}
    parts = []
    for kind, words in changes(draft, candidate["text"]):
        # Marks must stand at words, not at spaces.
        inner = " ".join(_plain(words).split())
        before = " " if words[:1].isspace() else ""
        after = " " if words[-1:].isspace() else ""
        parts.append(f"{before}{marks[kind].format(inner)}{after}" if inner else " ")
    return "".join(parts).strip()


def _interval(candidate: Data) -> str:
    return _estimate({**candidate, "value": candidate["score"]})


def _estimate(data: Data) -> str:
    if data["value"] is None:
        return "cannot be told"
    if data["low"] is None or data["high"] is None:
        return f"{data['value']:.2f}"
    return f"{data['value']:.2f} [{data['low']:.2f}, {data['high']:.2f}]"


def _plain(text: str) -> str:
    """A text that Markdown shows as it is."""
    marked = text
    for sign in ("\\", "`", "*", "_", "<", "[", "#"):
        marked = marked.replace(sign, f"\\{sign}")
    return marked


def _clean(text: str) -> str:
    """A text without the control characters that XML does not know."""
    return "".join(each for each in text if each in "\n\t" or ord(each) >= 32)
