import json
import subprocess
import sys
from pathlib import Path

import pytest

from repertory.protocol import TaskState, user_message
from repertory.runtime import ManifestError, load_manifest
from repertory.runtime.exits import Exit, exit_of
from repertory.runtime.runner import NetworkRunner
from repertory.simulators import SimulatorError, SimulatorInputError
from repertory.simulators.commands import Run, Runner

ECHO = """\
import json
from repertory.agents import Agent


class Echo(Agent):
    async def handle(self, turn):
        await turn.complete(f"{self.spec.options.get('greeting', 'no')} {turn.message.text}")


def report(run):
    told = [o.task.status.message.text for o in run.outcomes]
    return {"told": told, "options": dict(run.options_of("echo")), "none": dict(run.options_of("x"))}
"""

MANIFEST = """\
network: echo
models: {fake: {engine: function, function: "desk:report"}}
embedder: {engine: hash}
report: desk:report
agents:
  echo: {kind: "desk:Echo", options: {greeting: hello, kept: 1}}
"""

PLUGIN = """\
import typer
from pathlib import Path

def add(app, runner):
    @app.command()
    def greet(name: str):
        '''Greet somebody by a network.'''
        task, = runner.ask(Path("network.yaml"), "echo", [name], options={"echo": {"greeting": "hi"}})
        typer.echo(task.status.message.text)
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a network that needs no weights, which is the current one."""
    (tmp_path / "desk.py").write_text(ECHO)
    (tmp_path / "network.yaml").write_text(MANIFEST)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_runtimes_runner_is_what_simulators_ask_for(folder: Path) -> None:
    """Ours: the two rooms do not know each other, so the port is checked here."""
    runner: Runner = NetworkRunner()
    tasks = runner.ask(folder / "network.yaml", "echo", ["one", user_message("two")])
    assert [t.status.message.text for t in tasks if t.status.message] == ["hello one", "hello two"]
    assert {t.status.state for t in tasks} == {TaskState.COMPLETED}
    assert len({t.context_id for t in tasks}) == 2
    spans = runner.spans(folder / "network.yaml")
    assert {"trace_id", "name", "start_ns", "attributes"} <= spans[0].keys()
    assert "invoke_agent echo" in {span["name"] for span in spans}


def test_options_of_a_command_lie_over_the_manifests(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ours: a command changes what it names and nothing beside it; the report sees what held."""
    (folder / "in.txt").write_text("file")
    status = NetworkRunner().run(
        folder / "network.yaml",
        [folder / "in.txt"],
        messages=[user_message("words")],
        options={"echo": {"greeting": "hi"}},
        store=f"sqlite:///{folder}/elsewhere.db",
        as_json=True,
    )
    told = json.loads(capsys.readouterr().out)["report"]
    assert status == Exit.DONE
    assert told == {
        "told": ["hi file", "hi words"],
        "options": {"greeting": "hi", "kept": 1},
        "none": {},
    }
    assert (folder / "elsewhere.db").exists()
    assert not (folder / ".repertory").exists()


def test_a_run_report_is_what_report_functions_of_simulators_take() -> None:
    """Ours: the port `Run` is checked where both rooms may be seen."""
    from repertory.runtime import RunReport

    def check(report: RunReport) -> Run:
        return report

    assert callable(check)


def test_options_of_an_unknown_agent_are_refused(folder: Path) -> None:
    """Ours: the nearest name is offered."""
    with pytest.raises(
        ManifestError, match="no agent named 'ecko' takes options; did you mean 'echo'"
    ):
        load_manifest(folder / "network.yaml").with_options({"ecko": {}})


def test_commands_of_installed_packages_join_and_a_broken_one_is_left_out(folder: Path) -> None:
    """Ours: an entry point adds a command; one that fails costs itself only, and says so."""
    info = folder / "greeter-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: greeter\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[repertory.commands]\ngreet = greeter:add\nbroken = greeter:missing\n"
    )
    (folder / "greeter.py").write_text(PLUGIN)
    code = "from repertory.runtime.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "greet", "you"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "hi you\n"
    assert "the commands of 'greeter:missing' are left out" in done.stderr


def test_wrong_input_of_a_command_is_a_wrong_command() -> None:
    """Ours: what the user can correct ends as 2, what went wrong ends as 1."""
    assert exit_of(SimulatorInputError("x")) is Exit.USAGE
    assert exit_of(SimulatorError("x")) is Exit.FAILED
