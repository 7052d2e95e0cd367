import csv
import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from repertory.simulators.peer_review import (
    Anchor,
    Manuscript,
    Report,
    Signature,
    load_profile,
    read_manuscript,
)
from repertory.simulators.peer_review import (
    Page as PageText,
)
from repertory.simulators.peer_review.outcome import stem_of
from repertory.simulators.peer_review.pages import (
    Marks,
    argument_picture,
    triage_csv,
    write_pages,
)
from repertory.simulators.peer_review.reviewing import review

HOSTILE = "<script>document.title='owned'</script>"
TEXT = f"""# A study of {HOSTILE} in 40 mice

## Abstract

We show that the drug improves memory by 12%, as Table 1 reports. It outperforms the placebo.

## Methods

Forty mice were randomly assigned to two groups of 20. Of 20 mice, 9 (55%) finished the maze.
The difference was significant, t(38) = 1.20, p = .001, and we conclude that the drug causes it.

Table 1: Scores by group.

| group | n | score |
|---|---|---|
| drug | 20 | 8.1 |
| placebo | 20 | 7.2 |

## Discussion

The drug leads to better memory [1], and an earlier study [7] agrees.

## References

[1] A. Meyer. Memory in mice. 2019.
"""


@pytest.fixture(scope="module")
def report() -> Report:
    manuscript = read_manuscript("mice.md", TEXT.encode())
    return review(manuscript, load_profile("journal"))


def written(report: Report, folder: Path, signature: Signature | None = None) -> Path:
    stem = stem_of(report)
    signatures = {stem: signature} if signature else {}
    write_pages(folder, [(report, stem)], [("bad.pdf", f"bad.pdf: {HOSTILE}")], signatures)
    return folder / f"{stem}.html"


def open_page(browser: Browser, path: Path, scheme: str, faults: list[str]) -> Page:
    page = browser.new_context(
        color_scheme="dark" if scheme == "dark" else "light",
        viewport={"width": 1400, "height": 800},
    ).new_page()
    page.on("request", lambda r: faults.append(r.url) if not r.url.startswith("file:") else None)
    page.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda e: faults.append(str(e)))
    page.goto(path.as_uri())
    return page


def test_every_anchor_of_a_report_leads_to_its_words_in_a_real_browser(
    report: Report, chromium: Browser, tmp_path: Path
) -> None:
    """Ours: each link has one target, and a quote's mark shows the quoted words."""
    faults: list[str] = []
    page = open_page(chromium, written(report, tmp_path), "light", faults)
    links = page.locator(".places a")
    anchors = [a for issue in report.issues for a in issue.anchors]
    anchors += [a for flag in report.flags for a in flag.anchors]
    anchors += [a for strength in report.strengths for a in strength.anchors]
    assert links.count() == sum(anchor.valid for anchor in anchors)
    for i in range(links.count()):
        href = links.nth(i).get_attribute("href") or ""
        assert page.locator(f"[id='{href[1:]}']").count() == 1
    quotes = page.evaluate(
        """() => [...document.querySelectorAll('.places a')]
        .filter(a => a.nextElementSibling?.tagName === 'Q')
        .map(a => { let at = document.getElementById(a.hash.slice(1));
                    while (at && at.tagName !== 'MARK') at = at.nextElementSibling;
                    return [a.nextElementSibling.textContent, at?.textContent ?? 'no mark']; })"""
    )
    squeezed = [(re.sub(r"\W", "", quote), re.sub(r"\W", "", mark)) for quote, mark in quotes]
    assert squeezed
    assert all(quote.startswith(mark[:12]) for quote, mark in squeezed)
    links.first.click()
    target = page.locator(f"[id='{(links.first.get_attribute('href') or '')[1:]}']")
    assert target.is_visible()
    back = target.get_attribute("href") or ""
    assert page.locator(f"[id='{back[1:]}']").count() == 1
    assert faults == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_report_opens_from_a_folder_and_runs_nothing_of_the_manuscript(
    report: Report, chromium: Browser, tmp_path: Path, scheme: str
) -> None:
    """Ours: title, table and text of a stranger are shown and not run; it prints."""
    faults: list[str] = []
    path = written(report, tmp_path)
    for name in (path.name, "index.html"):
        page = open_page(chromium, tmp_path / name, scheme, faults)
        assert page.title() != "owned"
        assert HOSTILE in (page.text_content("body") or "")
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert "not reviewed" in (page.text_content("body") or "").lower() or name != "index.html"
    page = open_page(chromium, path, scheme, faults)
    page.pdf(path=tmp_path / "report.pdf", format="A4")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
    assert faults == []


def test_a_report_says_why_and_what_was_computed(report: Report, tmp_path: Path) -> None:
    """Ours: the rule trace, the arithmetic, the guards and the disclosure are on the page."""
    from html import unescape

    text = unescape(written(report, tmp_path).read_text(encoding="utf-8"))
    for rule in report.decision.trace:
        assert rule.sentence in text
    for line in (*report.scores.arithmetic, *(f.arithmetic for f in report.flags)):
        assert line in text
    for guard in report.guards:
        assert guard.name in text
    assert report.disclosure.text in text
    assert report.flags


def test_a_signature_is_shown_and_until_then_a_line_waits(report: Report, tmp_path: Path) -> None:
    """Ours: a report is advisory until a named person signs."""
    assert 'class="signature"' in written(report, tmp_path).read_text(encoding="utf-8")
    signed = Signature(
        name="J. Roe", digest=report.digest(), decision="revise", when="2026-01-02T03:04:05+00:00"
    )
    text = written(report, tmp_path, signed).read_text(encoding="utf-8")
    assert "J. Roe" in text
    assert 'class="signature"' not in text


def test_marks_may_overlap_and_lose_no_character() -> None:
    """Ours: the page's text comes back whole, with each mark where it was asked for."""
    manuscript = Manuscript(
        name="a.txt",
        sha256="0" * 64,
        format="text",
        title="a",
        pages=(PageText(number=1, text="abc <d> efg"),),
    )
    marks = Marks(manuscript)
    for start, end in ((0, 7), (4, 11), (4, 5)):
        anchor = Anchor(page=1, kind="quote", quote="x", start=start, end=end, valid=True)
        assert marks.place(anchor, "issue-i1").href
    loose = marks.place(Anchor(page=9, kind="quote", quote="x", valid=True), "issue-i1")
    assert loose.href == ""
    ((_, html),) = marks.pages()
    bare = re.sub(r"<a .*?</a>|</?mark>", "", html)
    assert bare == "abc &lt;d&gt; efg"
    assert html.count("<a ") == 3


def test_the_picture_of_the_argument_has_what_attacks_first(report: Report) -> None:
    """Ours: of a graph that is too large, what is attacked is drawn."""
    picture, left_out = argument_picture(report)
    assert picture is not None
    assert left_out == 0
    assert "attack" in picture


def test_the_triage_is_a_table_for_a_spreadsheet_and_no_formula(report: Report) -> None:
    """Ours: a file's name that begins like a formula does not become one."""
    named = report.model_copy(
        update={"manuscript": report.manuscript.model_copy(update={"name": "=cmd()"})}
    )
    rows = list(csv.DictReader(triage_csv([(named, "x")]).splitlines()))
    assert rows[0]["name"] == "'=cmd()"
    assert float(rows[0]["r_f"]) == pytest.approx(report.scores.r_f, abs=1e-4)
