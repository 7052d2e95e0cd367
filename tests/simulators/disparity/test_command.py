import json
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser
from typer.testing import Result

from repertory.simulators import SimulatorInputError
from repertory.simulators.disparity.events import Event
from repertory.simulators.disparity.synthetic import Office, office

Command = Callable[..., Result]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An office's log with a script in an actor's name, plans, and the labels of its clerks."""
    made = tmp_path_factory.mktemp("office")
    events = list(office(Office(clerks=24, events=14_000)))
    rows = [
        json.dumps(
            {"actor": e.actor, "time": e.time, "zone": 0, "action": e.action, "case": e.object}
        )
        for e in sorted(events, key=lambda e: e.time)
    ]
    evil = "<script>document.title='owned'</script>"
    rows += [json.dumps({"actor": evil, "time": 1.3e9 + i, "action": "x"}) for i in range(150)]
    for i, planned in enumerate((True, False)):
        plan = {"actor": "clerk 00", "time": 1.3e9 + i, "action": "pay" if planned else "steal"}
        rows.append(json.dumps({**plan, "plan": "p1", "planned": planned}))
    (made / "log.jsonl").write_text("\n".join(rows), encoding="utf-8")
    names = sorted({e.actor for e in events if e.actor.startswith("clerk")})
    labels = ["actor,label", *(f"{n},human" for n in names), "automaton 0,agent", "ghost,human"]
    (made / "labels.csv").write_text("\n".join(labels), encoding="utf-8")
    return made


def test_a_log_becomes_verdicts_pages_and_evidence(
    folder: Path, command: Command, chromium: Browser
) -> None:
    """Ours: the whole way of a security team, read in a real browser."""
    out = folder / "report"
    done = command("disparity", folder / "log.jsonl", "--labels", folder / "labels.csv", "-o", out)
    assert done.exit_code == 0, done.output
    assert "1 labelled actors are not in the log" in done.output
    assert "automaton 0" in done.output
    checked = command("disparity", "verify", out / "evidence.json", "--log", folder / "log.jsonl")
    assert checked.exit_code == 0
    assert checked.output.startswith("intact: 2")
    page = chromium.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda r: wrong.append(r.url) if not r.url.startswith("file:") else None)
    page.goto((out / "index.html").as_uri())
    assert page.title() == "Who behaves like an agent?"
    rows = page.locator("#actors tbody tr")
    assert rows.count() == 26
    first = [rows.nth(i).inner_text() for i in range(2)]
    # The actor with a script for a name acts every second, and is found as well.
    assert all("agent-like" in row for row in first)
    assert any("automaton 0" in row for row in first)
    assert "done and not planned: steal" in page.locator("main").inner_text()
    page.get_by_role("link", name="automaton 0").click()
    assert page.locator("svg.chart").count() >= 3
    told = page.locator("main").inner_text()
    assert "Events that weigh most" in told
    assert "cannot tell: the log has no choices" in told
    assert wrong == []


def test_a_second_analysis_tells_what_has_changed(folder: Path, command: Command) -> None:
    """Ours: drift since the last run stands in the same folder's next report."""
    out = folder / "drift"
    words = ("--labels", folder / "labels.csv", "-o", out, "--json")
    first = json.loads(command("disparity", folder / "log.jsonl", *words).stdout)
    assert first["drift"] == []
    text = (folder / "log.jsonl").read_text("utf-8")
    changed = text.replace('"A_PARTLYSUBMITTED"', '"A_SUBMITTED"')
    (folder / "later.jsonl").write_text(changed, encoding="utf-8")
    second = json.loads(command("disparity", folder / "later.jsonl", *words).stdout)
    assert {d["actor"] for d in second["drift"]} == {"automaton 0"}


def test_a_log_in_order_of_time_can_be_streamed(folder: Path, command: Command) -> None:
    """Ours: the same verdict without keeping an event."""
    lines = (folder / "log.jsonl").read_text("utf-8").splitlines()
    kept = [line for line in lines if "1300000" not in line and "1.3e9" not in line]
    (folder / "ordered.jsonl").write_text("\n".join(kept), encoding="utf-8")
    words = ("--labels", folder / "labels.csv", "-o", folder / "stream", "--json", "--stream")
    found = json.loads(command("disparity", folder / "ordered.jsonl", *words).stdout)
    verdicts = {a["actor"]: a["verdict"] for a in found["actors"]}
    assert verdicts["automaton 0"] == "agent-like"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("nowhere.xes",), "no such file"),
        (("{log}", "--labels", "nowhere.csv"), "not readable as CSV"),
        (("{log}", "--column", "who=x"), "is not NAME=COLUMN"),
        (("{log}", "{log}", "--stream"), "--stream takes one log file"),
        (("{log}", "--choices", "{log}"), "no choice in it"),
    ],
)
def test_wrong_words_are_refused_with_a_sentence_and_write_nothing(
    folder: Path, tmp_path: Path, command: Command, words: tuple[str, ...], sentence: str
) -> None:
    """Ours: nothing half written, and no traceback at a user."""
    out = tmp_path / "none"
    given = [w.replace("{log}", str(folder / "log.jsonl")) for w in words]
    done = command("disparity", *given, "-o", out)
    assert isinstance(done.exception, SimulatorInputError)
    assert sentence in str(done.exception)
    assert not out.exists()


def test_red_and_blue_play_in_a_network(tmp_path: Path, command: Command) -> None:
    """Paper: arXiv 2508.14415's case, over A2A: attribution falls when the attacker switches."""
    out = tmp_path / "duel"
    done = command("disparity", "duel", "--sessions", 2, "-o", out)
    assert done.exit_code == 0, done.output
    assert "attribution falls from" in done.output
    told = json.loads((out / "duel.json").read_text("utf-8"))
    assert next(p["policy"] for p in told["policies"]) == "human"
    assert all(p["sessions"] == 2 for p in told["policies"])
    assert "<h1>Red and blue</h1>" in (out / "duel.html").read_text("utf-8")


def test_a_networks_own_spans_are_a_log(tmp_path: Path, command: Command) -> None:
    """Ours: a manifest in place of a log means the spans that its network keeps."""
    (tmp_path / "echo.py").write_text(
        "from repertory.agents import Agent\n"
        "class Echo(Agent):\n"
        "    async def handle(self, turn):\n"
        "        await turn.complete(turn.message.text)\n",
        encoding="utf-8",
    )
    manifest = tmp_path / "network.yaml"
    manifest.write_text(
        "network: echoes\nembedder: {engine: hash}\nagents:\n  echo: {kind: 'echo:Echo'}\n",
        encoding="utf-8",
    )
    from repertory.runtime.runner import NetworkRunner

    NetworkRunner().ask(manifest, "echo", [f"hello {i}" for i in range(30)])
    done = command("disparity", manifest, "-o", tmp_path / "report", "--n-min", 20, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert "echo" in {a["actor"] for a in found["actors"]}
    assert any("no event of the log is at the stage" in note for note in found["notes"])
    assert any("no labels" in note for note in found["notes"])


def test_events_have_no_field_that_a_log_cannot_say() -> None:
    """Ours: the event table is the specification's {actor, time, action, object, state, outcome, plan}."""
    named = set(Event._fields)
    assert {"actor", "time", "action", "object", "state", "outcome", "plan"} <= named
