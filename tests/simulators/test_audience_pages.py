"""The report of a run: pages in a real browser, and its exports."""

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from docx import Document
from playwright.sync_api import Browser, Page

from repertory.simulators import SimulatorError
from repertory.simulators.audience import (
    Candidate,
    Heard,
    Pair,
    analyze,
    read_scenario,
    write_reports,
)
from repertory.simulators.audience.exports import as_markdown
from repertory.simulators.audience.pages import changes

HOSTILE = '</script><img src=x onerror="document.title=1"> "quoted" & <b>bold</b>'
SCENARIO = f"""
scenario: 'A hostile "launch" </title>'
speaker: Ida
situation: Something is launched.
goal: People buy it.
draft: It is here. It costs 5 euros.
audiences: [{{name: 'buyers', weight: 0.6}}, {{name: 'critics <i>', weight: 0.4}}]
advice: [{{text: 'Say why. {HOSTILE.replace("'", "")}'}}]
ratings:
  - {{candidate: draft, ratings: [2, 3]}}
  - {{candidate: one, ratings: [4, 5]}}
  - {{candidate: two, ratings: [6, 6]}}
candidates: [{{name: one, text: It is here because of you.}}, {{name: two, text: Two words more than before.}}]
"""


def result(name: str = "") -> dict[str, Any]:
    """A run's result: two audiences that want the opposite, and a text that attacks the page."""
    text = SCENARIO.replace("A hostile", name) if name else SCENARIO
    scenario = read_scenario(text, "s")
    candidates = [
        Candidate(id="draft", text=scenario.draft, origin="draft", writer="person"),
        Candidate(id="one", text="It is here because of you.", origin="given", writer="person"),
        Candidate(id="two", text="Two words more than before.", origin="given", writer="person"),
        Candidate(
            id="a1/1", text=f"It is here. {HOSTILE}", origin="advice", writer="model", advice=(0,)
        ),
    ]
    likes = {"buyers": (0, 1, 2, 3), "critics <i>": (3, 2, 1, 0)}
    heard = [
        Heard(
            audience=audience,
            weight=weight,
            pairs=tuple(
                Pair(
                    a,
                    b,
                    float(order.index(a) > order.index(b)),
                    0.9,
                    True,
                    answers=("first", "second"),
                )
                for a in range(4)
                for b in range(a + 1, 4)
            ),
            judge="planted",
            words={i: f"words on {i} {HOSTILE}" for i in range(4)},
            questions=12,
        )
        for (audience, order), weight in zip(likes.items(), (0.6, 0.4), strict=True)
    ]
    return {
        "scenario": scenario.wire(),
        **analyze(scenario, scenario.advice, candidates, heard),
        "diversity": None,
        "dropped_advice": [],
        "expected_candidates": 1,
        "missing": ["zero-shot"],
        "provenance": {
            "scenario_sha256": "0" * 64,
            "advice_by": "model",
            "candidates_by": "model",
            "audiences_by": "scenario",
            "judges": ["planted"],
            "judge_data": {},
        },
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of one report."""
    (row,) = write_reports(tmp_path, [result()])
    return tmp_path / str(row["folder"])


def test_changes_are_told_word_by_word() -> None:
    """Ours: what stays, goes and comes puts both texts together again."""
    old, new = "It is here. It costs 5 euros.", "It is here, at last. It costs 6 euros."
    found = changes(old, new)
    assert "".join(words for kind, words in found if kind != "ins") == old
    assert "".join(words for kind, words in found if kind != "del") == new
    assert ("del", "5") in found
    assert ("ins", "6") in found


def _open(
    browser: Browser, path: Path, scheme: str = "light", width: int = 1000
) -> tuple[Page, list[str]]:
    page = browser.new_page(
        color_scheme="dark" if scheme == "dark" else "light",
        viewport={"width": width, "height": 900},
    )
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on(
        "request", lambda request: said.append(request.url) if "file:" not in request.url else None
    )
    page.goto(path.as_uri())
    return page, said


@pytest.mark.parametrize(("scheme", "width"), [("light", 1000), ("dark", 400)])
def test_the_page_opens_without_errors_network_or_overflow(
    folder: Path, chromium: Browser, scheme: str, width: int
) -> None:
    """Ours: texts of others are shown and never run, on a desk and on a telephone."""
    page, said = _open(chromium, folder / "index.html", scheme, width)
    assert said == []
    assert page.title() == 'A hostile "launch" </title>: audiences'
    assert page.locator("img").count() == 0
    assert HOSTILE in (page.locator(".message").all_inner_texts()[0] + page.inner_text("body"))
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("svg").count() >= 2
    assert page.locator("del, ins").count() > 0


def test_weights_are_changed_on_the_page_and_the_ranking_follows(
    folder: Path, chromium: Browser
) -> None:
    """Ours: the buyers' favorite is last for the critics; no server is asked."""
    page, said = _open(chromium, folder / "index.html")
    order = "[...document.querySelectorAll('#ranking tbody tr')].map(r => r.dataset.place)"
    assert page.evaluate(order) == ["1", "2", "3", "4"]
    page.locator("#w1").fill("0")
    page.locator("#w2").fill("100")
    assert page.evaluate(order) == ["4", "3", "2", "1"]
    assert page.locator("output").all_inner_texts() == ["0%", "100%"]
    assert "First under these weights" in page.inner_text("#weights-told")
    page.locator("#w2").fill("0")
    assert "above 0" in page.inner_text("#weights-told")
    page.get_by_role("button", name="Weights as given").click()
    assert page.evaluate(order) == ["1", "2", "3", "4"]
    assert page.inner_text("#weights-told") == ""
    assert said == []


def test_the_scores_on_the_page_are_those_of_the_result(folder: Path, chromium: Browser) -> None:
    """Ours: the page computes with what it shows; with the weights as given nothing moves."""
    page, _ = _open(chromium, folder / "index.html")
    shown = page.locator("#ranking tbody td:nth-child(3)").all_inner_texts()
    page.locator("#w1").fill("60")
    page.locator("#w1").dispatch_event("input")
    assert page.locator("#ranking tbody td:nth-child(3)").all_inner_texts() == shown


def test_the_exports_say_the_same_as_the_page(folder: Path) -> None:
    """Ours: Word, Markdown and JSON carry shortlist, controls and provenance."""
    told = json.loads((folder / "result.json").read_text("utf-8"))
    assert told["provenance"]["made by"].startswith("repertory ")
    assert told["provenance"]["judges"] == ["planted"]
    first = told["candidates"][0]
    markdown = (folder / "report.md").read_text("utf-8")
    document = Document(BytesIO((folder / "report.docx").read_bytes()))
    paragraphs = [paragraph.text for paragraph in document.paragraphs]
    assert any(first["text"] in text for text in paragraphs)
    for sentence in told["controls"]["sentences"]:
        assert sentence in paragraphs
        assert sentence.replace("_", "\\_").replace("<", "\\<") in markdown
    struck = [
        run for p in document.paragraphs for run in p.runs if run.font.strike or run.underline
    ]
    assert struck


def test_markdown_shows_what_was_said_and_runs_nothing() -> None:
    """Ours: a message may hold marks of Markdown and HTML."""
    text = as_markdown(result(), {"made by": "us"})
    assert "<img" not in text.replace("\\<img", "")
    assert "\\<b>bold" in text


def test_people_are_agreed_with_beside_the_length_control() -> None:
    """Ours: ratings of three candidates by two raters each, with reliability and interval."""
    found = result()["agreement"]
    assert found["rated"] == 3
    assert found["best_rated"] == "two"
    assert {"pearson", "spearman", "length_pearson", "reliability", "noise_corrected"} <= set(found)
    assert found["reliability"] > 0.9


def test_several_scenarios_have_an_index_and_folders_of_their_own(
    tmp_path: Path, chromium: Browser
) -> None:
    """Ours: two scenarios of the same name do not overwrite each other."""
    rows = write_reports(tmp_path, [result(), result(), result("Another")])
    assert len({row["folder"] for row in rows}) == 3
    page, said = _open(chromium, tmp_path / "index.html")
    page.get_by_role("link").nth(2).click()
    assert "Another" in page.inner_text("h1")
    assert said == []


def test_over_scenarios_the_pick_is_tested_against_the_baselines(tmp_path: Path) -> None:
    """Ours: people's 6 for the pick against 2.5 for the draft, in each of three scenarios."""
    write_reports(tmp_path, [result(), result("Second"), result("Third")])
    told = (tmp_path / "index.html").read_text("utf-8")
    assert "above 0.6: " in told
    assert (
        "above the mean of the baselines in 3 of 3 (sign test p = 0.250, Wilcoxon p = 0.250)"
        in told
    )


def test_a_report_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """Ours: a file where a folder should be."""
    (tmp_path / "out").write_text("")
    with pytest.raises(SimulatorError, match="cannot be written"):
        write_reports(tmp_path / "out", [result()])
