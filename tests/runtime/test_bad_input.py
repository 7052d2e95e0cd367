"""Bad input at the command line: one paragraph that says what to do, a status, and nothing lost."""

import json
import socket
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from anyio import fail_after, sleep

from repertory.protocol import TaskState
from repertory.runtime import open_network
from repertory.runtime.cli import run_cli
from repertory.runtime.exits import Exit
from tests.agents.model_server import MODEL, open_model_server
from tests.runtime.killing.driver import running, wait_until
from tests.runtime.killing.scenarios import small_desk

AGENTS = """\
from repertory.agents import Agent, ChatMessage, ChatRequest, Tier


class Desk(Agent):
    async def handle(self, turn):
        await turn.complete(f"read {len(turn.message.parts[0].raw or turn.message.text)}")


class Asker(Agent):
    async def handle(self, turn):
        message = ChatMessage(role="user", content=turn.message.text)
        answer = await turn.chat(ChatRequest(messages=(message,), duty=Tier.EXTRACT))
        await turn.complete(answer.texts[0])


class Caller(Agent):
    async def handle(self, turn):
        answer = await turn.call_tool("books.post", {"text": turn.message.text})
        await turn.complete(answer.content)


class Bug(Agent):
    async def handle(self, turn):
        return [][1]


def model(request):
    return "x"
"""

# A tool server that writes down each call and dies over it, as often as `die` has lines.
BOOKS = '''\
import os
from pathlib import Path

from mcp.server import MCPServer

server = MCPServer("books")


@server.tool()
def post(text: str) -> str:
    """Post."""
    with Path("posted").open("a") as file:
        file.write(text + "\\n")
    if Path("die").exists():
        Path("die").unlink()
        os._exit(9)
    return f"posted {text}"


server.run()
'''

HEAD = """\
network: trial
models:
  m: {engine: function, function: "agents_of_test:model"}
embedder: {engine: hash}
"""
RUN = ["run", "network.yaml", "--message", "hello"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a module of agents and an inbox of one mail, which is the current one."""
    (tmp_path / "agents_of_test.py").write_text(AGENTS)
    (tmp_path / "books.py").write_text(BOOKS)
    (tmp_path / "inbox").mkdir()
    (tmp_path / "inbox" / "a.txt").write_text("hello")
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "desk: {kind: 'agents_of_test:Desk'}")
    return tmp_path


def write(folder: Path, agents: str, more: str = "") -> None:
    """Write the manifest with these agents."""
    (folder / "network.yaml").write_text(f"{HEAD}{more}agents:\n  {agents}\n")


def told(capsys: pytest.CaptureFixture[str], *arguments: str, status: int) -> str:
    """Give a command that is refused; its sentence, which is one paragraph on stderr."""
    assert run_cli(arguments) == status
    captured = capsys.readouterr()
    assert captured.out == ""
    sentence = captured.err.strip()
    assert "\n" not in sentence
    assert "Traceback" not in sentence
    assert "error of its own" not in sentence
    return sentence


def outcomes(capsys: pytest.CaptureFixture[str], *arguments: str, status: int) -> Any:
    """Run, and give back the outcomes by name with their states and last words."""
    assert run_cli([*arguments, "--json"]) == status
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return {o["name"]: (o["state"], o["text"]) for o in json.loads(captured.out)["outcomes"]}


@pytest.mark.parametrize(
    ("agents", "sentence"),
    [
        ("desk: {kind: 'agents_of_test:Desk', per: []}", "did you mean 'peers'?"),
        ("desk: {kind: 'agents_of_test:Desk', peers: [dsk]}", "did you mean 'desk'?"),
        ("a: {depends: [b]}\n  b: {depends: [a]}", "take one 'depends' away"),
        ("desk: {kind: 'dsk:Desk'}", "there is no such module in"),
        ("desk: {kind: 'agents_of_test:Dsk'}", "did you mean 'Desk'?"),
    ],
    ids=["unknown key", "missing peer", "cycle of depends", "no such module", "no such class"],
)
def test_a_manifest_that_cannot_run_is_refused_before_anything_is_accepted(
    folder: Path, agents: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ours: the same input runs when the manifest is right again."""
    write(folder, agents)
    given = ["run", "network.yaml", "--input", "inbox"]
    assert sentence in told(capsys, *given, status=Exit.USAGE)
    write(folder, "desk: {kind: 'agents_of_test:Desk'}")
    assert outcomes(capsys, *given, status=Exit.DONE) == {"a.txt": ("completed", "read 5")}


def test_a_port_in_use_is_said_with_what_to_do(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ours: the address, and both ways out."""
    with closing(socket.create_server(("127.0.0.1", 0))) as other:
        port = str(other.getsockname()[1])
        sentence = told(capsys, "serve", "network.yaml", "--port", port, status=Exit.ENVIRONMENT)
    assert f"port {port} of 127.0.0.1 is in use by another program: stop it, or" in sentence


def _newer(store: Path) -> None:
    with closing(sqlite3.connect(store)) as other:
        other.execute("PRAGMA user_version=99")


def _garbage(store: Path) -> None:
    store.write_bytes(b"no database at all" * 100)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (_newer, "was written by a newer version (schema 99; this version reads up to "),
        (_garbage, "cannot be opened as a store (file is not a database): name another file, or"),
        (Path.mkdir, "cannot be opened as a store (unable to open database file): name another"),
    ],
    ids=["newer", "garbage", "a folder"],
)
@pytest.mark.parametrize("command", [RUN, ["tasks"]], ids=["run", "tasks"])
def test_a_store_that_is_none_of_ours_is_left_as_it_is(
    folder: Path,
    spoil: Any,
    sentence: str,
    command: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Ours: what another version or program wrote is not touched."""
    store = folder / ".repertory" / "trial.db"
    store.parent.mkdir()
    spoil(store)
    before = store.read_bytes() if store.is_file() else b""
    assert sentence in told(capsys, *command, status=Exit.ENVIRONMENT)
    assert (store.read_bytes() if store.is_file() else b"") == before


def test_a_store_in_a_place_that_takes_none_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ours: a file where the folder should be, or a folder that nobody may write in."""
    (folder / ".repertory").write_text("in the way")
    sentence = told(capsys, *RUN, status=Exit.ENVIRONMENT)
    assert "cannot be opened (File exists): make its folder writable, or name another" in sentence


@pytest.mark.slow
def test_a_second_run_on_a_store_names_the_process_that_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ours: one process owns a store; the other learns which, and what works beside it."""
    job = small_desk(tmp_path / "desk", 1, above=False)
    (job.folder / "hold").touch()
    monkeypatch.chdir(job.folder)
    with running(job) as first:
        wait_until(lambda: any(line.startswith("tool") for line in job.lines()), first)
        sentence = told(capsys, *RUN, status=Exit.ENVIRONMENT)
        assert f"is in use by process {first.pid}: wait for it to end, stop it, or" in sentence
        assert run_cli(["tasks", "--json"]) == Exit.DONE
        # The mail's own, the reader's and the bookkeeper's: the refused run gave no fourth.
        assert json.loads(capsys.readouterr().out)["total"] == 3


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("/nowhere", "b.txt: the input cannot be read: No such file or directory"),
        ("/proc/self/mem", "b.txt: the input cannot be read: Input/output error"),
    ],
    ids=["a link to nowhere", "a broken disk"],
)
def test_an_input_that_cannot_be_read_is_said_before_anything_is_begun(
    folder: Path, target: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ours: no mail is left out in silence; when it can be read, all are done."""
    if target.startswith("/proc") and not Path(target).exists():
        pytest.skip("no /proc here")
    bad = folder / "inbox" / "b.txt"
    bad.symlink_to(target)
    given = ["run", "network.yaml", "--input", "inbox"]
    assert sentence in told(capsys, *given, status=Exit.USAGE)
    assert not (folder / ".repertory").exists()
    bad.unlink()
    bad.write_text("readable")
    assert set(outcomes(capsys, *given, status=Exit.DONE)) == {"a.txt", "b.txt"}


def test_a_mail_of_odd_bytes_travels_whole_and_stops_no_other(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ours: empty, not UTF-8, not text: the agent decides what it is, not the file system."""
    contents = {"b.txt": b"\xff\xfe\x00", "c.txt": b"", "d.eml": b"Subject: \xe9t\xe9"}
    for name, content in contents.items():
        (folder / "inbox" / name).write_bytes(content)
    (folder / "inbox" / "sub").mkdir()
    found = outcomes(capsys, "run", "network.yaml", "--input", "inbox", status=Exit.DONE)
    wanted = {name: ("completed", f"read {len(content)}") for name, content in contents.items()}
    assert found == {"a.txt": ("completed", "read 5"), **wanted}


def test_a_model_that_nobody_serves_fails_the_task_with_the_reason_in_full(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ours: a failed task stays as it is, until its input is given with --again."""
    with closing(socket.create_server(("127.0.0.1", 0))) as gone:
        port = gone.getsockname()[1]
    more = (
        f"  far: {{engine: openai, url: 'http://127.0.0.1:{port}/v1', model: x, tiers: [extract],"
        " limits: {seconds: 5, attempts: 1}}\n"
    )
    write(folder, "desk: {kind: 'agents_of_test:Asker', model: far}")
    text = (folder / "network.yaml").read_text()
    (folder / "network.yaml").write_text(text.replace("embedder:", more + "embedder:"))
    given = ["run", "network.yaml", "--input", "inbox"]
    assert run_cli(given) == Exit.FAILED
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    full = next(line for line in captured.out.splitlines() if line.startswith("said in full: "))
    assert f"model 'x' at http://127.0.0.1:{port} gave no answer" in full
    first = outcomes(capsys, *given, status=Exit.FAILED)
    assert first["a.txt"][0] == "failed"
    assert first["a.txt"][1] == full.removeprefix("said in full: ").strip()
    (folder / "network.yaml").write_text(text.replace("model: far", "model: m"))
    assert outcomes(capsys, *given, status=Exit.FAILED)["a.txt"][0] == "failed"
    assert outcomes(capsys, *given, "--again", status=Exit.DONE)["a.txt"][0] == "completed"
    assert outcomes(capsys, *given, status=Exit.DONE)["a.txt"][0] == "completed"


async def test_work_that_a_silent_model_held_up_is_done_when_it_speaks(tmp_path: Path) -> None:
    """Ours: what was not failed when the process ended goes on at the next start."""
    (tmp_path / "agents_of_test.py").write_text(AGENTS)
    async with open_model_server("llama_cpp") as server:
        server.misbehave = ["hang"]
        (tmp_path / "network.yaml").write_text(
            "network: trial\nembedder: {engine: hash}\nmodels:\n"
            f"  m: {{engine: openai, url: '{server.url}/v1', model: {MODEL}, tiers: [extract]}}\n"
            "agents:\n  desk: {kind: 'agents_of_test:Asker'}\n"
        )
        with fail_after(30):
            async with open_network(tmp_path / "network.yaml") as network:
                task_id = await network.tell("desk", "hello")
                while not server.active:
                    await sleep(0.01)
            async with open_network(tmp_path / "network.yaml") as network:
                await network.idle()
                assert (await network.task(task_id)).status.state is TaskState.COMPLETED
        assert len([path for path, _, _ in server.asked if path.endswith("completions")]) == 2


async def test_a_model_that_never_answers_costs_the_tasks_patience_and_no_more(
    tmp_path: Path,
) -> None:
    """Ours: the task fails with a reason, in its time."""
    (tmp_path / "agents_of_test.py").write_text(AGENTS)
    async with open_model_server("llama_cpp") as server:
        server.misbehave = ["hang"] * 3
        (tmp_path / "network.yaml").write_text(
            "network: trial\nembedder: {engine: hash}\nmodels:\n"
            f"  m: {{engine: openai, url: '{server.url}/v1', model: {MODEL}, tiers: [extract]}}\n"
            "agents:\n  desk: {kind: 'agents_of_test:Asker', patience: 0.3}\n"
        )
        with fail_after(20):
            async with open_network(tmp_path / "network.yaml") as network:
                task = await network.ask("desk", "hello")
        assert task.status.state is TaskState.FAILED
        assert task.status.message is not None
        assert "0.3 s" in task.status.message.text or "deadline" in task.status.message.text


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("[no-such-program]", "No such file or directory: 'no-such-program'): check 'tools.books'"),
        (
            "[python, -c, 'raise SystemExit(\"no ledger\")']",
            "(exit status 1; its last words: no ledg",
        ),
        ("[python, -c, 'print(1)']", "tool server 'books' could not be reached"),
    ],
    ids=["not found", "does not start", "speaks no MCP"],
)
def test_a_tool_server_that_does_not_start_fails_the_task_with_its_last_words(
    folder: Path, command: str, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ours: the part of the manifest to look at is named."""
    more = f"tools:\n  books: {{command: {command}}}\n"
    write(folder, "desk: {kind: 'agents_of_test:Caller', tools: [books]}", more)
    (outcome,) = outcomes(capsys, *RUN, status=Exit.FAILED).values()
    assert outcome[0] == "failed"
    assert sentence in outcome[1]


@pytest.mark.parametrize(
    ("settings", "status", "state", "posted"),
    [
        ("idempotent: [post]", Exit.DONE, "completed", 2),
        ("on_unknown: repeat", Exit.DONE, "completed", 2),
        ("on_unknown: fail", Exit.FAILED, "failed", 1),
        ("on_unknown: ask", Exit.WAITING, "input_required", 1),
    ],
)
def test_a_tool_server_that_dies_in_mid_call_is_answered_as_the_manifest_says(
    folder: Path,
    settings: str,
    status: int,
    state: str,
    posted: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Ours: nothing is repeated silently, and a call that may be repeated is."""
    (folder / "die").touch()
    more = f"tools:\n  books: {{command: [python, books.py], {settings}}}\n"
    write(folder, "desk: {kind: 'agents_of_test:Caller', tools: [books]}", more)
    (outcome,) = outcomes(capsys, *RUN, status=status).values()
    assert outcome[0] == state
    assert len((folder / "posted").read_text().splitlines()) == posted
    if state != "completed":
        assert "It is unknown whether books.post took effect" in outcome[1].replace(
            "it is", "It is"
        )


def test_an_agent_with_a_bug_fails_its_task_and_names_the_bug(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ours: a crash is the user's own code speaking; it is quoted, not dumped."""
    write(folder, "desk: {kind: 'agents_of_test:Bug'}")
    assert run_cli([*RUN, "--json"]) == Exit.FAILED
    captured = capsys.readouterr()
    (outcome,) = json.loads(captured.out)["outcomes"]
    assert outcome["text"].endswith("the last time: IndexError: list index out of range")
    assert "Traceback" not in captured.err
