import io
import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

import pytest

from repertory import __version__
from repertory.agents import ModelUnavailableError
from repertory.protocol import BusyError, RepertoryError, TaskNotFoundError
from repertory.runtime import InputError, PortInUseError
from repertory.runtime.cli import run_cli
from repertory.runtime.exits import Exit, exit_of, explain, leaves
from repertory.xp_store import StoreOwnedError

COMMANDS = [
    "run",
    "serve",
    "ask",
    "answer",
    "cancel",
    "tasks",
    "watch",
    "trace",
    "xp find",
    "xp show",
    "xp use",
    "xp stats",
    "xp export",
    "xp import",
    "xp serve",
    "xp reindex",
    "models list",
    "models install",
    "models status",
    "check",
    "schema",
    "doctor",
]

DESK = """\
from repertory.agents import Agent, Question


class Desk(Agent):
    async def handle(self, turn):
        text = turn.message.text
        if "ask" in text:
            answer = await turn.ask_person(Question("Pay it?", options=("yes", "no")))
            await turn.complete(f"a person said {answer.text}")
        elif "bad" in text:
            await turn.fail("it cannot be read")
        else:
            await turn.complete(f"read {len(text)} characters")


def report(run):
    return {"completed": sum(o.state.name == "COMPLETED" for o in run.outcomes)}


def model(request):
    return "x"
"""

MANIFEST = """\
network: trial
models:
  fake: {engine: function, function: "desk:model"}
embedder: {engine: hash}
agents:
  desk: {kind: "desk:Desk"}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a network that needs no weights, which is the current one."""
    (tmp_path / "desk.py").write_text(DESK)
    (tmp_path / "network.yaml").write_text(MANIFEST)
    (tmp_path / "inbox").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def document(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The JSON document that a command printed."""
    data = json.loads(capsys.readouterr().out)
    assert isinstance(data, dict)
    return data


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_text_has_a_sentence_and_an_example(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ours: nobody reads a manual to give a command."""
    assert run_cli([*command.split(), "--help"]) == Exit.DONE
    text = capsys.readouterr().out
    assert f"$ repertory {command}" in re.sub(r"\s+", " ", text)


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """Ours: a report of a fault begins with it."""
    assert run_cli(["--version"]) == Exit.DONE
    assert capsys.readouterr().out == f"repertory {__version__}\n"


@pytest.mark.parametrize("arguments", [["--help"], ["check", "network.yaml"], ["schema"]])
def test_light_commands_load_no_heavy_library(folder: Path, arguments: list[str]) -> None:
    """Ours: a manifest is checked without waiting for databases."""
    program = (
        "import sys\n"
        "from repertory.runtime.cli import run_cli\n"
        f"status = run_cli({arguments!r})\n"
        "heavy = {'chromadb', 'mcp', 'sqlmodel', 'onnxruntime', 'aiohttp'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else status)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_check_says_that_a_manifest_is_sound(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ours: silence would leave a doubt."""
    assert run_cli(["check", "network.yaml"]) == Exit.DONE
    assert capsys.readouterr().out == "network.yaml: sound\n"


def test_check_says_what_is_wrong_and_exits_with_2(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ours: the status tells a script, the sentence a person."""
    (folder / "network.yaml").write_text(MANIFEST.replace("kind:", "knd:"))
    assert run_cli(["check", "network.yaml"]) == Exit.USAGE
    told = "network.yaml:6: agents.desk has no key 'knd'; did you mean 'kind'?\n"
    assert capsys.readouterr().out == told
    assert run_cli(["check", "network.yaml", "--json"]) == Exit.USAGE
    data = document(capsys)
    assert data["sound"] is False
    assert data["findings"] == [
        {
            "severity": "error",
            "file": "network.yaml",
            "line": 6,
            "key": "agents.desk.knd",
            "sentence": "agents.desk has no key 'knd'; did you mean 'kind'?",
        }
    ]


def test_schema_prints_a_json_schema(capsys: pytest.CaptureFixture[str]) -> None:
    """Ours: editors complete manifests with it."""
    assert run_cli(["schema"]) == Exit.DONE
    assert document(capsys)["title"] == "Manifest"


@pytest.mark.parametrize(
    "arguments",
    [["rnu"], ["run"], ["run", "network.yaml", "--inpt", "x"], ["tasks", "--limit", "0"]],
)
def test_a_wrong_command_exits_with_2(
    folder: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Ours: nothing was started, and the status says so."""
    assert run_cli(arguments) == Exit.USAGE
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "Error" in captured.err


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (["run", "absent.yaml"], Exit.USAGE, "absent.yaml: there is no such file"),
        (["tasks"], Exit.ENVIRONMENT, "network 'trial' has no store yet"),
        (["tasks", "--state", "faild"], Exit.USAGE, "did you mean 'failed'?"),
        (["tasks", "--agent", "dsk"], Exit.USAGE, "did you mean 'desk'?"),
        (
            ["run", "network.yaml", "--input", "inbox"],
            Exit.USAGE,
            "inbox: the input folder is empty",
        ),
        (["run", "network.yaml", "--input", "outbox"], Exit.USAGE, "there is no such input"),
        (["tasks", "--store", "oracle://x"], Exit.ENVIRONMENT, "engine 'oracle' is not supported"),
    ],
)
def test_bad_input_gets_a_sentence_and_a_status(
    folder: Path,
    arguments: list[str],
    status: int,
    sentence: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Ours: no traceback ever reaches an operator."""
    assert run_cli(arguments) == status
    captured = capsys.readouterr()
    assert captured.out == ""
    assert sentence in captured.err
    assert "Traceback" not in captured.err


def test_a_module_that_ends_the_program_is_told(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ours: what a user's module does at import is bad input, not our end."""
    (folder / "desk.py").write_text("raise SystemExit\n")
    assert run_cli(["run", "network.yaml"]) == Exit.USAGE
    assert "cannot import 'desk'" in capsys.readouterr().err


def test_every_sentence_of_a_group_is_told_once_with_the_gravest_status() -> None:
    """Ours: a task group must not hide what went wrong."""
    errors = [RepertoryError("one"), StoreOwnedError("two"), RepertoryError("one")]
    assert explain(ExceptionGroup("g", errors)) == (Exit.ENVIRONMENT, "one\ntwo")
    assert explain(BaseExceptionGroup("g", [KeyboardInterrupt(), *errors])) == (
        Exit.INTERRUPTED,
        "",
    )


def test_an_error_of_our_own_is_one_line_that_says_what_to_report() -> None:
    """Ours: no traceback reaches an operator who did not ask for one."""
    status, told = explain(ExceptionGroup("g", [ZeroDivisionError("division\nby zero")]))
    assert status is Exit.FAILED
    assert told.startswith("repertory met an error of its own: ZeroDivisionError: division by zero")
    assert "\n" not in told


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InputError("x"), Exit.USAGE),
        (TaskNotFoundError("x"), Exit.USAGE),
        (PortInUseError("x", port=1), Exit.ENVIRONMENT),
        (StoreOwnedError("x"), Exit.ENVIRONMENT),
        (ModelUnavailableError("x"), Exit.ENVIRONMENT),
        (BusyError("x"), Exit.FAILED),
        (RepertoryError("x"), Exit.FAILED),
        (ValueError("x"), Exit.FAILED),
    ],
)
def test_each_kind_of_error_has_its_exit_status(error: Exception, status: int) -> None:
    """Ours: exit codes that mean something."""
    assert exit_of(error) is status


def test_errors_are_found_inside_groups() -> None:
    """Ours: a task group must not hide the sentence."""
    inner = RepertoryError("x")
    group = BaseExceptionGroup("g", [BaseExceptionGroup("h", [inner]), KeyboardInterrupt()])
    assert [type(each) for each in leaves(group)] == [RepertoryError, KeyboardInterrupt]
    assert next(leaves(inner)) is inner


def test_a_run_reports_each_input_and_says_when_some_failed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ours: status 1 means that work failed, not that the program did."""
    (folder / "inbox" / "a.txt").write_text("hello")
    (folder / "inbox" / "b.txt").write_text("bad")
    assert run_cli(["run", "network.yaml", "--input", "inbox", "--json"]) == Exit.FAILED
    captured = capsys.readouterr()
    outcomes = json.loads(captured.out)["outcomes"]
    assert captured.err == ""
    assert [(each["name"], each["state"], each["text"]) for each in outcomes] == [
        ("a.txt", "completed", "read 5 characters"),
        ("b.txt", "failed", "it cannot be read"),
    ]


def test_the_same_input_is_worked_on_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ours: a second start meets the tasks of the first; a changed file is new work."""
    (folder / "inbox" / "a.txt").write_text("hello")
    (folder / "network.yaml").write_text(MANIFEST + "report: desk:report\n")
    command = ["run", "network.yaml", "--input", "inbox", "--json"]
    assert run_cli(command) == Exit.DONE
    first = document(capsys)
    assert run_cli(command) == Exit.DONE
    second = document(capsys)
    assert first["outcomes"] == second["outcomes"]
    assert second["report"] == {"completed": 1}
    (folder / "inbox" / "a.txt").write_text("hello again")
    assert run_cli(command) == Exit.DONE
    assert document(capsys)["outcomes"] != first["outcomes"]


def test_a_question_waits_for_a_person_over_processes(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ours: run exits with 3, tasks shows the question, answer lets the work go on."""
    run = ["run", "network.yaml", "--message", "ask me", "--json"]
    assert run_cli(run) == Exit.WAITING
    told = document(capsys)
    assert len(told["waiting"]) == 1
    assert [each["state"] for each in told["outcomes"]] == ["input_required"]

    assert run_cli(["tasks", "--waiting", "--json"]) == Exit.DONE
    (task,) = json.loads(capsys.readouterr().out)["tasks"]
    assert task["question"]["text"] == "Pay it?"
    assert task["question"]["options"] == ["yes", "no"]

    assert run_cli(["answer", task["id"], "perhaps"]) == Exit.USAGE
    assert "is answered by one of 'yes', 'no', not 'perhaps'" in capsys.readouterr().err

    assert run_cli(["watch", task["id"]]) == Exit.WAITING
    capsys.readouterr()
    assert run_cli(["answer", task["id"][-12:], "yes"]) == Exit.DONE
    assert capsys.readouterr().out == "a person said yes\n"
    assert run_cli(["answer", task["id"], "yes"]) == Exit.USAGE
    assert "asks nothing: it is completed" in capsys.readouterr().err
    assert run_cli(["watch", task["id"], "--json"]) == Exit.DONE
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["sequence"] for line in lines] == list(range(1, len(lines) + 1))


def test_an_answer_may_be_left_for_the_next_run(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ours: an order in the journal is carried out by whoever owns it next."""
    assert run_cli(["run", "network.yaml", "--message", "ask me", "--json"]) == Exit.WAITING
    (waiting,) = document(capsys)["waiting"]
    assert run_cli(["answer", waiting["id"], "no", "--later"]) == Exit.DONE
    assert "taken up when the network runs next" in capsys.readouterr().out
    assert run_cli(["run", "network.yaml", "--json"]) == Exit.DONE
    (outcome,) = document(capsys)["outcomes"]
    assert outcome["text"] == "a person said no"


def test_a_task_can_be_canceled_and_traced(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ours: cancel ends what waits; trace shows what was done."""
    assert run_cli(["run", "network.yaml", "--message", "ask me", "--json"]) == Exit.WAITING
    (waiting,) = document(capsys)["waiting"]
    assert run_cli(["cancel", waiting["id"]]) == Exit.DONE
    capsys.readouterr()
    assert run_cli(["run", "network.yaml", "--json"]) == Exit.FAILED
    (outcome,) = document(capsys)["outcomes"]
    assert outcome["state"] == "canceled"
    assert run_cli(["cancel", waiting["id"]]) == Exit.USAGE
    assert "has ended already: canceled" in capsys.readouterr().err
    assert run_cli(["trace", waiting["id"], "--json"]) == Exit.DONE
    assert document(capsys)["spans"]


def test_ask_prints_the_answer_alone_when_piped(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ours: quiet when piped, so that the answer can be used."""
    assert run_cli(["ask", "desk", "hello"]) == Exit.DONE
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("read 5 characters\n", "")
    assert run_cli(["ask", "dsk", "hello"]) == Exit.USAGE
    assert "did you mean 'desk'?" in capsys.readouterr().err


def test_packs_are_found_shown_and_indexed_anew(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ours: what a task taught is found by the words of its goal."""
    assert run_cli(["ask", "desk", "the invoice of Helios is late"]) == Exit.DONE
    capsys.readouterr()
    assert run_cli(["xp", "find", "invoice of Helios", "--json"]) == Exit.DONE
    (hit,) = document(capsys)["hits"]
    assert hit["reasons"]["matched"]
    assert run_cli(["xp", "show", hit["id"][-12:], "--json"]) == Exit.DONE
    assert document(capsys)["goal"] == "the invoice of Helios is late"
    assert run_cli(["xp", "show", "nothing"]) == Exit.USAGE
    assert "no pack 'nothing'" in capsys.readouterr().err
    assert run_cli(["xp", "reindex", "--json"]) == Exit.DONE
    assert document(capsys)["packs"] == 1


STUBBORN = """\
import os
import sys

import anyio

from repertory.agents import Agent


class Desk(Agent):
    async def handle(self, turn):
        if "GO" not in os.environ:
            print("began", file=sys.stderr, flush=True)
            await anyio.sleep_forever()
        await turn.complete("done after all")


def model(request):
    return "x"
"""


def start(*arguments: str) -> subprocess.Popen[str]:
    """The command line as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "repertory.runtime.cli", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def line_with(stream: IO[str] | None, words: str) -> str:
    """The next line of `stream` that holds `words`; fails when there is none."""
    assert stream is not None
    for line in stream:
        if words in line:
            return line
    raise AssertionError(f"the process ended without saying {words!r}")


def test_ctrl_c_twice_stops_at_once_and_the_next_start_goes_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ours: Ctrl-C at any time loses nothing."""
    (folder / "desk.py").write_text(STUBBORN)
    with start("run", "network.yaml", "--message", "hello") as process:
        line_with(process.stderr, "began")
        process.send_signal(signal.SIGINT)
        line_with(process.stderr, "once more stops now")
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read() if process.stderr else ""
        assert process.wait(60) == Exit.INTERRUPTED
    assert "the same command goes on where this one stopped" in rest
    assert "Traceback" not in rest

    monkeypatch.setenv("GO", "1")
    assert run_cli(["run", "network.yaml", "--json"]) == Exit.DONE
    (outcome,) = document(capsys)["outcomes"]
    assert outcome["text"] == "done after all"


def test_a_served_network_is_looked_at_and_answered_from_beside(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ours: one process owns the network; others read it and leave orders."""
    assert run_cli(["run", "network.yaml", "--message", "ask me", "--json"]) == Exit.WAITING
    (waiting,) = document(capsys)["waiting"]
    with start("serve", "network.yaml", "--port", "0", "--json") as process:
        told = json.loads(line_with(process.stdout, "url"))
        assert told["agents"]["desk"] == f"{told['url']}/agents/desk/mcp"

        assert run_cli(["run", "network.yaml", "--json"]) == Exit.ENVIRONMENT
        assert f"in use by process {process.pid}" in capsys.readouterr().err

        port = told["url"].rpartition(":")[2]
        other = [*["serve", "network.yaml", "--store", "sqlite:///other.db", "--port"], port]
        assert run_cli(other) == Exit.ENVIRONMENT
        assert f"port {port} of 127.0.0.1 is in use" in capsys.readouterr().err

        assert run_cli(["answer", waiting["id"], "yes"]) == Exit.DONE
        assert "answered" in capsys.readouterr().out
        assert run_cli(["watch", waiting["id"], "--json"]) == Exit.DONE
        last = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert last["event"]["statusUpdate"]["status"]["state"] == "TASK_STATE_COMPLETED"
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == Exit.DONE


def test_watch_without_an_owner_tells_how_things_stand(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ours: nothing will happen until somebody runs the network, so it ends."""
    assert run_cli(["ask", "desk", "hello"]) == Exit.DONE
    capsys.readouterr()
    assert run_cli(["watch"]) == Exit.DONE
    assert "desk  completed  read 5 characters" in capsys.readouterr().out


def test_models_status_asks_each_model(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ours: a model that cannot answer is known before the work begins."""
    assert run_cli(["models", "status", "--json"]) == Exit.DONE
    models = document(capsys)["models"]
    assert models["fake"]["answers"] is True
    assert models["fake"]["engine"] == "function"


@pytest.mark.parametrize(
    ("report", "shown", "data"),
    [
        ("'all well'", "all well", "all well"),
        ("Text('drawn')", "drawn", None),
        ("Told(3)", "3 told", {"count": 3}),
    ],
)
def test_a_report_is_drawn_for_a_person_and_data_for_a_program(
    folder: Path,
    report: str,
    shown: str,
    data: object,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Ours: the manifest's report function returns; it need not print."""
    (folder / "network.yaml").write_text(MANIFEST + "report: telling:render\n")
    (folder / "telling.py").write_text(
        "from dataclasses import dataclass\n"
        "from rich.text import Text\n"
        "@dataclass\n"
        "class Told:\n"
        "    count: int\n"
        "    def __rich__(self):\n"
        "        return f'{self.count} told'\n"
        "async def render(run):\n"
        f"    return {report}\n"
    )
    assert run_cli(["run", "network.yaml", "--message", "hello"]) == Exit.DONE
    assert capsys.readouterr().out.strip() == shown
    assert run_cli(["run", "network.yaml", "--json"]) == Exit.DONE
    assert document(capsys)["report"] == data


def test_a_report_that_fails_is_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ours: the work is done and kept; only its report is not."""
    (folder / "network.yaml").write_text(MANIFEST + "report: telling:render\n")
    (folder / "telling.py").write_text("def render(run):\n    return run.nothing\n")
    assert run_cli(["run", "network.yaml", "--message", "hello"]) == Exit.USAGE
    assert "the report 'telling:render' failed: AttributeError" in capsys.readouterr().err


class Terminal(io.StringIO):
    """A screen that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_sees_the_agents_at_work(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ours: progress goes to stderr, so that the result can still be piped."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert run_cli(["run", "network.yaml", "--message", "hello"]) == Exit.DONE
    assert "of 1 inputs" in terminal.getvalue()
    assert "for a person" in terminal.getvalue()
    assert "1 completed in" in capsys.readouterr().out
