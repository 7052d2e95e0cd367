"""What a person at a terminal sees while a network's model server starts, and a pipe does not."""

import io
import json
import os
import sys
from pathlib import Path

import anyio.to_thread
import pytest
from anyio import fail_after

from repertory.runtime import open_network
from repertory.runtime.cli import run_cli
from repertory.runtime.exits import Exit
from repertory.runtime.manifest import parse_manifest
from repertory.runtime.model_starts import ServerStarts, shown_starts
from repertory.runtime.model_status import model_reports
from repertory.runtime.screen import Screen

STAND_IN = Path(__file__).parents[1] / "agents" / "servers" / "vllm_stand_in.py"
SAYS = Path(__file__).parents[1] / "agents" / "fixtures" / "vllm_start.log"


class Terminal(io.StringIO):
    """A screen that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    """What a server waits for before it is ready."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


def manifest(*arguments: str, more: str = "") -> str:
    """A network whose model has a server of its own."""
    given = json.dumps(["--stand-in-says", str(SAYS), *arguments])
    return (
        "network: desk\nembedder: {engine: hash}\nmodels:\n  large: {engine: vllm, model:"
        f" smollm2-135m, tiers: [judge], command: [python, '{STAND_IN}'], arguments: {given}{more}}}\n"
        "agents: {clerk: {memory: {recall: 0}}}\n"
    )


async def test_a_terminal_sees_what_the_server_does_and_for_how_long(
    tmp_path: Path, fifo: Path
) -> None:
    """Ours: a minute without a word looks like a fault."""
    screen = Screen(err=(terminal := Terminal()))
    with fail_after(60):
        text = manifest("--stand-in-waits", str(fifo))
        async with open_network(parse_manifest(text, folder=tmp_path)) as network:
            starts = ServerStarts(screen, network.models)
            server = starts.servers["large"]
            assert starts.draw().plain.startswith("large: starting")
            async with shown_starts(screen, network.models) as over:
                while server.state.phase != "opening its port":
                    await server.change.wait()
                assert starts.draw().plain.startswith("large: opening its port (")
                assert not over.is_set()
                # And so does whoever asks from beside.
                beside = (await model_reports(network.manifest))["large"]
                assert beside.state == "starting"
                assert beside.health.detail.startswith("starting for ")
                assert beside.health.detail.endswith(": opening its port")
                await anyio.to_thread.run_sync(fifo.write_text, "go")
                await over.wait()
                assert starts.draw().plain == ""
    assert "large answers after" in terminal.getvalue()


def test_a_terminal_sees_the_end_of_the_log_of_a_server_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours: what it said last, beside the task's one sentence, and what to do."""
    words = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"
    path = tmp_path / "network.yaml"
    path.write_text(manifest("--stand-in-dies", words, more=", intensity: 0"))
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    assert run_cli(["ask", "clerk", "hello", "-m", str(path)]) == Exit.FAILED
    told = terminal.getvalue()
    assert "the end of" in told
    assert "Starting vLLM server on" in told
    assert words in told
    assert "what to do: give it less" in told


def test_who_is_no_terminal_reads_the_reason_and_no_progress(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ours: a log of a job holds results, not the way there."""
    path = tmp_path / "network.yaml"
    path.write_text(manifest("--stand-in-dies", "CUDA out of memory", more=", intensity: 0"))
    assert run_cli(["ask", "clerk", "hello", "-m", str(path)]) == Exit.FAILED
    told = capsys.readouterr()
    assert "CUDA out of memory" in told.out
    assert "the end of" not in told.err
    assert "answers after" not in told.err
