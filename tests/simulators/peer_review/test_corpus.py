from pathlib import Path

import anyio
import pytest
from playwright.sync_api import Browser, Page

from repertory.simulators.peer_review import Issue, Report, load_profile, read_manuscript
from repertory.simulators.peer_review.batch import write_dashboard
from repertory.simulators.peer_review.corpus import indicators, redundancy
from repertory.simulators.peer_review.discipline import Placed, place
from repertory.simulators.peer_review.reviewing import review
from repertory.simulators.statistics import wilson
from tests.claims import claim

LIFE = place("Genes, proteins, cells, bacteria, species, evolution.")
HEALTH = place("Patients, clinical trial, treatment, disease, cancer, hospital.")

FILL = "The manuscript goes on with words that say nothing more of it. " * 10


def made(name: str, verdict: str = "revise") -> Report:
    text = (
        f"# {name}\n\n## Results\n\nWe show that genes improve recall by 5%, as Table 1 says.\n"
        + FILL
    )
    report = review(read_manuscript(name, text.encode()), load_profile("journal"))
    return report.model_copy(
        update={"decision": report.decision.model_copy(update={"verdict": verdict})}
    )


def batch(n: int) -> tuple[list[Report], list[Placed]]:
    reports = [made(f"a{i}.md", "accept") for i in range(n)]
    reports += [made(f"b{i}.md", "reject") for i in range(n)]
    return reports, [LIFE] * n + [HEALTH] * n


@claim("xpeerd:indicators")
def test_decisions_by_discipline_have_wilson_intervals_and_a_corrected_test() -> None:
    """Paper: Study 1's indicators; the intervals and the correction are ours."""
    reports, placed = batch(6)
    found = indicators(reports, placed)
    assert found.decisions["Life"]["accept"] == wilson(6, 6).as_dict()
    assert found.decisions["Health"]["accept"] == wilson(0, 6).as_dict()
    tests = {test.name: test for test in found.tests}
    decision = tests["decision by discipline"]
    assert decision.statistic == pytest.approx(12.0)
    assert decision.p is not None
    assert decision.q is not None
    assert decision.q >= decision.p
    assert tests["decision by task"].p is None


def test_one_manuscript_cannot_tell_and_none_gives_a_page(tmp_path: Path) -> None:
    """Ours: null, never zero, and an empty batch is no error."""
    found = indicators([made("a.md")], [LIFE])
    assert found.length_and_quality["value"] is None
    assert all(test.p is None for test in found.tests)
    assert anyio.run(write_dashboard, tmp_path, []).manuscripts == 0
    assert "No manuscript" in (tmp_path / "dashboard.html").read_text(encoding="utf-8")


def test_redundancy_is_the_share_of_issues_that_two_reviewers_raise() -> None:
    """Ours: half of one's issues and all of the other's give three quarters."""

    def issue(reviewer: str, text: str) -> Issue:
        return Issue(
            id="i", severity="minor", category="data_results", text=text, action="", anchors=(), reviewer=reviewer
        )  # fmt: skip

    same = "sample size without justification anywhere"
    report = made("a.md").model_copy(
        update={"issues": (issue("x", same), issue("x", "captions too short"), issue("y", same))}
    )
    assert redundancy(report) == pytest.approx(0.75)
    assert redundancy(report.model_copy(update={"issues": report.issues[:2]})) is None


def _listen(page: Page, asked: list[str]) -> None:
    page.on("request", lambda request: asked.append(request.url))


@claim("xpeerd:indicators")
def test_the_dashboard_draws_the_five_figures_in_a_real_browser(
    chromium: Browser, tmp_path: Path
) -> None:
    """Paper: Study 1's figures; Ours: agreement beside them, no request, both colors, on paper."""
    reports, _ = batch(3)
    humans = tmp_path / "humans.jsonl"
    humans.write_text(
        "\n".join(f'{{"manuscript": "{r.manuscript.name}", "rating": {i}, "decision": "accept"}}' for i, r in enumerate(reports))
        + '\n{"manuscript": "<b>nobody</b>"}',
        encoding="utf-8",
    )  # fmt: skip

    # The browser's driver keeps a loop in this thread.
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        pool.submit(anyio.run, write_dashboard, tmp_path, reports, str(humans)).result()
    for scheme in ("light", "dark"):
        page = chromium.new_page(
            color_scheme="dark" if scheme == "dark" else "light",
            viewport={"width": 1100, "height": 800},
        )
        asked: list[str] = []
        _listen(page, asked)
        page.goto((tmp_path / "dashboard.html").as_uri())
        assert [url for url in asked if not url.startswith("file:")] == []
        captions = page.locator("figcaption").all_text_contents()
        for figure in ("1a.", "1b.", "2.", "3.", "4.", "5.", "Calibration", "People's decisions"):
            assert any(c.startswith(figure) for c in captions)
        assert "<b>nobody</b>" in (page.text_content("body") or "")
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        page.pdf(path=tmp_path / f"{scheme}.pdf")
        page.close()
    assert (tmp_path / "batch" / "indicators.json").is_file()
