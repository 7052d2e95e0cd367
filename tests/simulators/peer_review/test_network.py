"""The whole network: in one process, from the command line, and killed in the middle."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest
from anyio import fail_after, to_thread

from repertory.agents import FunctionModel, Tier
from repertory.protocol import Message, Part, Role, Task, TaskState
from repertory.runtime import Network, open_network
from repertory.runtime.cli import run_cli
from repertory.runtime.manifest import parse_manifest
from repertory.simulators import peer_review
from repertory.simulators.peer_review import (
    Report,
    load_profile,
    load_report,
    read_manuscript,
    report_of,
    review,
)
from tests.claims import claim
from tests.runtime.killing.driver import wait_until
from tests.simulators.peer_review.planting import KINDS, Garden, manuscript
from tests.simulators.peer_review.printing import Sheet, print_pdf

PACKAGED = Path(peer_review.__file__).with_name("network.yaml")
STEPS = ("desk", "reader", "integrity_checker", "claim_mapper", "methods_reviewer", "evidence_reviewer", "presentation_reviewer", "area_chair")  # fmt: skip


@asynccontextmanager
async def network(
    folder: Path, model: FunctionModel | None = None, **options: Mapping[str, Any]
) -> AsyncIterator[Network]:
    """The packaged network with its store in `folder`; a model goes to the methods reviewer."""
    text = PACKAGED.read_text("utf-8")
    if model is not None:
        text = text.replace(
            "embedder:", "models: {large: {engine: embedded, model: smollm2-135m}}\nembedder:", 1
        )
        text = text.replace(
            "    skills: [review methods]", "    skills: [review methods]\n    model: large"
        )
    manifest = parse_manifest(text, folder=folder).with_options(options)
    with fail_after(60):
        async with open_network(manifest, models={"large": model} if model else {}) as opened:
            yield opened


async def _alone(text: str) -> Report:
    return await to_thread.run_sync(
        lambda: review(read_manuscript("m.txt", text.encode()), load_profile("journal"))
    )


def _message(name: str, text: str) -> Message:
    parts = (Part(text=text, filename=name, media_type="text/plain"),)
    return Message(message_id=f"given-{name}", role=Role.USER, parts=parts)


def _said(task: Task) -> str:
    return task.status.message.text if task.status.message is not None else ""


async def test_the_network_says_what_the_function_says_and_every_step_is_traced_and_kept(
    tmp_path: Path,
) -> None:
    """Ours: eight agents over A2A come to the same bytes as one function."""
    text = manuscript(3, frozenset({"p_t", "grim"})).text
    async with network(tmp_path) as opened:
        task = await opened.ask("desk", _message("m.txt", text))
        await opened.idle()
        rows = await opened.tasks(limit=100)
    assert task.status.state is TaskState.COMPLETED
    report = report_of(task)
    assert report is not None
    alone = await _alone(text)
    assert report.to_json() == alone.to_json()
    assert sorted(row.agent for row in rows) == sorted(STEPS)
    with sqlite3.connect(next((tmp_path / ".repertory").glob("*.db"))) as store:
        packs = {family for (family,) in store.execute("SELECT family FROM xp_pack")}
        spans = {name for (name,) in store.execute("SELECT name FROM span")}
    assert packs == set(STEPS)
    assert {f"invoke_agent {step}" for step in STEPS} <= spans


async def test_a_file_of_many_megabytes_is_reviewed_to_its_end(tmp_path: Path) -> None:
    """Ours: a PDF with pictures is larger than a pack may be, and ends like any other."""
    sheet = Sheet([Garden(6).paragraph(6) for _ in range(3)], title="On Quiet Reservoirs")
    content = print_pdf([sheet]) + b"%" + b"x" * 5_000_000 + b"\n%%EOF\n"
    part = Part(raw=content, filename="large.pdf", media_type="application/pdf")
    message = Message(message_id="given-large", role=Role.USER, parts=(part,))
    async with network(tmp_path) as opened:
        task = await opened.ask("desk", message)
    assert task.status.state is TaskState.COMPLETED, _said(task)


async def test_what_is_no_manuscript_is_rejected_and_the_others_go_on(tmp_path: Path) -> None:
    """Ours: one clear line for each, and the batch goes on."""
    async with network(tmp_path) as opened:
        bad = await opened.ask("desk", _message("bad.txt", "Too short."))
        good = await opened.ask("desk", _message("good.txt", manuscript(2).text))
    assert bad.status.state is TaskState.REJECTED
    assert _said(bad).startswith("bad.txt: only 2 words")
    assert good.status.state is TaskState.COMPLETED


def _issues(read: str) -> list[dict[str, Any]]:
    quote = " ".join(read_manuscript("m.txt", read.encode()).page_text(2).split()[10:18])
    common = {"severity": "major", "category": "study_design", "action": "Explain it."}
    return [
        {**common, "text": "The crews are not described.", "page": 2, "quote": quote},
        {
            **common,
            "text": "The sample is invented.",
            "page": 4,
            "quote": "a sentence that nobody wrote",
        },
    ]


async def test_a_judge_s_points_are_marked_checked_and_decide_nothing(tmp_path: Path) -> None:
    """Ours: the report says which wrote what; a quote that is not on its page is ungrounded."""
    text = manuscript(3).text
    asked: list[Any] = []

    def judge(request: Any) -> Any:
        asked.append(request)
        return json.dumps({"issues": _issues(text)})

    model = FunctionModel(judge, tiers=frozenset(Tier))
    reviewer = {"focus": "methods", "use_model": True}
    chair = {"served": {"function": "http://127.0.0.1:8000/v1"}}
    async with network(tmp_path, model, methods_reviewer=reviewer, area_chair=chair) as opened:
        task = await opened.ask("desk", _message("m.txt", text))
    report = report_of(task)
    assert report is not None, _said(task)
    assert len(asked) == 1
    written = [issue for issue in report.issues if issue.author != "rules"]
    assert [issue.text for issue in written] == ["The crews are not described."]
    assert [issue.text for issue in report.ungrounded] == ["The sample is invented."]
    assert report.disclosure.wrote[written[0].author] == 2
    assert report.disclosure.urls == ("http://127.0.0.1:8000/v1",)
    alone = await _alone(text)
    assert report.decision == alone.decision
    assert report.scores == alone.scores
    assert report.basis.prompts


async def test_a_report_whose_model_nobody_places_is_not_let_out(tmp_path: Path) -> None:
    """Ours: G1: the desk fails the task and says which guard, and no report is given."""
    text = manuscript(3).text
    model = FunctionModel(
        lambda request: json.dumps({"issues": _issues(text)}), tiers=frozenset(Tier)
    )
    async with network(
        tmp_path, model, methods_reviewer={"focus": "methods", "use_model": True}
    ) as opened:
        task = await opened.ask("desk", _message("m.txt", text))
    assert task.status.state is TaskState.FAILED
    assert "G1" in _said(task)
    assert report_of(task) is None


async def test_a_model_below_the_judge_s_tier_is_not_asked_and_the_report_says_so(
    tmp_path: Path,
) -> None:
    """Ours: small models rate an empty paper above a good one."""

    def small(request: Any) -> Any:
        raise AssertionError("nobody should ask this model")

    model = FunctionModel(small, tiers=frozenset({Tier.SCORE, Tier.EXTRACT, Tier.GENERATE}))
    async with network(
        tmp_path, model, methods_reviewer={"focus": "methods", "use_model": True}
    ) as opened:
        task = await opened.ask("desk", _message("m.txt", manuscript(3).text))
    report = report_of(task)
    assert report is not None
    assert "written by rules alone" in report.disclosure.text
    assert {issue.author for issue in report.issues} == {"rules"}


def test_the_command_writes_reports_and_names_what_it_could_not_read(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Ours: `repertory review FOLDER`: JSON for each, one line for what is none, status 1."""
    inbox, out = tmp_path / "inbox", tmp_path / "out"
    inbox.mkdir()
    for seed in range(2):
        (inbox / f"m{seed}.txt").write_text(
            manuscript(seed, frozenset({"zero_width"}) if seed else frozenset()).text, "utf-8"
        )
    (inbox / "z.pdf").write_bytes(b"no pdf at all")
    status = run_cli(["review", str(inbox), "--out", str(out), "--profile", "iclr", "--json"])
    told = json.loads(capfd.readouterr().out)
    assert status == 1
    rows = told["report"]["reviewed"]
    # The batch is told by integrity risk.
    assert [row["name"] for row in rows] == ["m1.txt", "m0.txt"]
    assert [row["verdict"] for row in rows] == ["reject", rows[1]["verdict"]]
    assert [each["name"] for each in told["report"]["refused"]] == ["z.pdf"]
    assert "its first bytes are not those of a PDF" in told["report"]["refused"][0]["why"]
    for row in rows:
        assert load_report(Path(row["report"])).digest() == row["digest"]
        assert load_report(Path(row["report"])).basis.profile == "ICLR"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["review", "nowhere.pdf"], "there is no such input"),
        (["review", "files", "x.pdf", "--profile", "nips"], "no venue profile 'nips'"),
        (["review", "sign", "x.json", "--name", "A", "--decision", "revise"], "x.json: it cannot be read"),
        (["review", "profiles", "own.yaml"], "no venue profile"),
    ],
)  # fmt: skip
def test_a_wrong_word_is_answered_by_a_sentence(
    arguments: list[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Ours: the sentence names what was asked and what there is; no traceback."""
    monkeypatch.chdir(tmp_path)
    assert run_cli(arguments) != 0
    error = capfd.readouterr().err
    assert says in " ".join(error.split())
    assert "Traceback" not in error


def test_repeated_reviews_do_not_lie_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Paper: AIPR tells the spread within a paper; ours is 0 without a model."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.txt").write_text(manuscript(2, frozenset({"p_t"})).text, "utf-8")
    assert run_cli(["review", "repeat", "m.txt", "--times", "3"]) == 0
    told = capfd.readouterr().out
    assert "3 reviews" in told
    assert "standard deviation 0.0000; flip rate 0.00" in told
    assert "all the same bytes" in told


@pytest.mark.slow
@claim("xpeerd:reproducible")
def test_a_batch_of_forty_goes_on_after_a_kill_and_ends_with_the_same_bytes(tmp_path: Path) -> None:
    """Ours: kill -9 when some reports are done; the same command does the rest, nothing twice."""
    inbox, out = tmp_path / "inbox", tmp_path / "out"
    inbox.mkdir()
    texts = {
        f"m{n:02}.txt": manuscript(n, frozenset(Random(n).sample(KINDS, n % 3))).text
        for n in range(40)
    }
    for name, text in texts.items():
        (inbox / name).write_text(text, "utf-8")
    command = [
        sys.executable,
        "-m",
        "repertory.runtime.launch",
        "review",
        str(inbox),
        "--out",
        str(out),
        "--json",
    ]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: _done(out) >= 3, first)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    before = _done(out)
    assert 3 <= before < 40
    assert not list(out.glob("*.json"))
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    assert _done(out) == 40
    reports = {load_report(path).manuscript.name: path for path in out.glob("*.json")}
    assert set(reports) == set(texts)
    profile = load_profile("journal")
    for name in list(texts)[::8]:
        alone = review(read_manuscript(name, texts[name].encode()), profile)
        assert reports[name].read_bytes() == alone.to_json()


def _done(out: Path) -> int:
    """How many desks have ended, by the store and not by what the process says."""
    stores = list((out / ".repertory").glob("*.db"))
    if not stores:
        return 0
    try:
        with sqlite3.connect(f"file:{stores[0]}?mode=ro", uri=True) as store:
            (count,) = store.execute(
                "SELECT count(*) FROM task WHERE agent = 'desk' AND state = 'TASK_STATE_COMPLETED'"
            ).fetchone()
            return int(count)
    except sqlite3.OperationalError:
        return 0  # The store is being made.
