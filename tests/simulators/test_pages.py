from pathlib import Path

import pytest
from jinja2 import UndefinedError
from playwright.sync_api import Browser, Page

from repertory.simulators import SimulatorError
from repertory.simulators.pages import (
    Bar,
    Edge,
    Node,
    Point,
    Site,
    boxes,
    clock,
    curves,
    distributions,
    graph,
    heat_map,
    interval_bars,
    scatter,
    stacked_bars,
)

NAN = float("nan")
HOSTILE = '<img src=x onerror="document.title=1"><script>document.title=2</script>'
TEMPLATE = """{% extends "page.html" %}
{% import "house.html" as house %}
{% block title %}{{ name }}{% endblock %}
{% block lead %}<h1>{{ name }}</h1>{{ house.figures([(0.71 | percent, "agreement")]) }}{% endblock %}
{% block body %}
{{ house.tag("told", "good") }}
{{ house.table(["what", "n>"], [[name, 3]]) }}
{% for chart in charts %}{{ house.picture(chart, "caption " ~ loop.index) }}{% endfor %}
{% endblock %}
"""


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A site with one template of its own."""
    templates = tmp_path / "templates"
    templates.mkdir()
    (templates / "trial.html").write_text(TEMPLATE)
    return Site(tmp_path / "out", templates)


def every_chart(label: str) -> list[str]:
    """One of each, with a label of others and a value that cannot be told."""
    return [
        interval_bars([Bar(label, 0.7, 0.6, 0.8), Bar("b", NAN), Bar("c", -0.2)], title=label),
        interval_bars([Bar("a", 1e-3, 1e-4, 1e-2)], title="log", log=True, reference=0.01),
        heat_map(
            [label, "b"], ["x", "a long name of a column"], [[0.1, None], [NAN, 0.9]], title="h"
        ),
        heat_map(["a"], ["x"], [[-0.5]], title="difference", middle=0.0),
        scatter([Point(1, 2, label), Point(NAN, 1)], title="s", x_label="x", y_label="y"),
        distributions({label: [0.1, 1, 10], "b": []}, title="d", x_label="seconds", log=True),
        stacked_bars(
            {label: {"accept": 3, "reject": 1}, "none": {}}, ["accept", "reject"], title="b"
        ),
        curves(
            {label: [(0, 0), (0.2, 0.8), (1, 1)]},
            title="c",
            x_label="x",
            y_label="y",
            diagonal=True,
        ),
        boxes({label: [1, 2, 3, NAN], "empty": []}, title="v", unit="issues"),
        clock({label: [1] * 24, "b": [0] * 23 + [5]}, title="hours"),
        graph(
            [
                Node("a", label, 0, href="#x"),
                Node("b", "claim", 1),
                Node("c", "critique", 2, faded=True),
            ],
            [Edge("a", "b"), Edge("c", "b", "attack"), Edge("c", "nowhere")],
            title="arguments",
        ),
        graph([], [], title="nothing"),
    ]


def listen(page: Page, requests: list[str], faults: list[str]) -> None:
    """Keep every address that the page asks for, and every word of trouble."""
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: faults.append(message.text))
    page.on("pageerror", lambda error: faults.append(str(error)))


def test_every_chart_is_drawn_in_a_real_browser_and_runs_nothing_it_shows(
    site: Site, chromium: Browser, tmp_path: Path
) -> None:
    """Ours: no request, no error, no script of a label, in both colors and on paper."""
    page_text = site.render("trial.html", name=HOSTILE, charts=every_chart(HOSTILE))
    (path,) = site.write({"index.html": page_text})
    for scheme in ("light", "dark"):
        context = chromium.new_context(color_scheme=scheme, viewport={"width": 900, "height": 900})
        page = context.new_page()
        requests: list[str] = []
        faults: list[str] = []
        listen(page, requests, faults)
        page.goto(path.as_uri())
        assert page.title() == HOSTILE
        assert [url for url in requests if not url.startswith("file:")] == []
        assert faults == []
        assert page.locator("svg.chart").count() == len(every_chart(""))
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        assert "nan" not in page.content().lower()
        page.pdf(path=tmp_path / f"{scheme}.pdf")
        context.close()
    assert (tmp_path / "light.pdf").read_bytes().startswith(b"%PDF")


def test_labels_do_not_leave_the_picture(site: Site, chromium: Browser) -> None:
    """Ours: the longest label is shortened, not cut by the edge."""
    long = "an actor whose name is much longer than any column of a table could be"
    bars = [Bar(long, 0.5, 0.4, 0.6, note="n = 12,345"), Bar("b", 1.0)]
    text = site.render(
        "trial.html", name="x", charts=[interval_bars(bars, title="t", unit="share")]
    )
    (path,) = site.write({"index.html": text})
    page = chromium.new_page()
    page.goto(path.as_uri())
    inside = """() => { const s = document.querySelector('svg.chart'), b = s.getBoundingClientRect();
        return [...s.querySelectorAll('text')].every(t => { const r = t.getBoundingClientRect();
            return r.left >= b.left - 1 && r.right <= b.right + 1; }); }"""
    assert page.evaluate(inside)
    page.close()


def test_a_name_nobody_gave_is_an_error(site: Site) -> None:
    """Ours: a report has no empty places."""
    with pytest.raises(UndefinedError):
        site.render("trial.html", name="x")


def test_a_folder_that_cannot_be_written_is_said_in_a_sentence(site: Site, tmp_path: Path) -> None:
    """Ours: and nothing half written stays."""
    (tmp_path / "out").write_text("in the way")
    with pytest.raises(SimulatorError, match="the report cannot be written"):
        site.write({"index.html": "x"})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "templates"]


def test_the_same_facts_give_the_same_page(site: Site) -> None:
    """Ours: pages can be compared byte for byte."""
    first = site.render("trial.html", name="x", charts=every_chart("y"))
    assert first == site.render("trial.html", name="x", charts=every_chart("y"))
