import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from anyio import fail_after
from anyio.lowlevel import checkpoint

from repertory.agents import ManagedModel, ModelPool, ServerUse
from repertory.protocol import TaskState
from repertory.runtime import open_network
from repertory.runtime.cli import run_cli
from repertory.runtime.cli_models import draw_reports
from repertory.runtime.errors import ManifestError
from repertory.runtime.exits import Exit
from repertory.runtime.inspection import inspect_manifest
from repertory.runtime.manifest import parse_manifest
from repertory.runtime.model_servers import log_file, models_folder, server_command, state_file
from repertory.runtime.model_status import model_reports
from repertory.runtime.model_use import read_use
from repertory.runtime.screen import Screen
from repertory.runtime.standing import read_standing
from tests.agents.model_server import MODEL, open_model_server

STAND_IN = Path(__file__).parents[1] / "agents" / "servers" / "vllm_stand_in.py"
REST = "embedder: {engine: hash}\nagents: {clerk: {model: large, memory: {recall: 0}}}\n"


def large(more: str = "") -> str:
    """A manifest with a model of its own server."""
    command = json.dumps(["python", str(STAND_IN)])
    return (
        "network: desk\n"
        "models:\n"
        f"  large: {{engine: vllm, model: smollm2-135m, command: {command}, tiers: [judge]{more}}}\n"
        + REST
    )


async def test_a_network_runs_its_models_server_and_leaves_nothing_of_it(tmp_path: Path) -> None:
    """Ours: the task waits while the server starts; both are gone with the network."""
    manifest = parse_manifest(large(), folder=tmp_path)
    with fail_after(60):
        async with open_network(manifest) as network:
            task = await network.ask("clerk", "hello")
            assert task.status.state is TaskState.COMPLETED
            model = network.models["large"]
            assert isinstance(model, ManagedModel)
            pid = model.server.state.pid
    state = json.loads(await anyio.Path(state_file(manifest, "large")).read_text())
    assert state["state"] == "stopped"
    assert not Path(f"/proc/{pid}").exists()
    assert await anyio.Path(log_file(manifest, "large")).exists()


async def test_a_task_ends_with_the_reason_why_its_models_server_is_down(tmp_path: Path) -> None:
    """Ours: no task is stuck behind a server that does not come up."""
    dies = ", arguments: [--stand-in-dies, CUDA out of memory], intensity: 0"
    with fail_after(60):
        async with open_network(parse_manifest(large(dies), folder=tmp_path)) as network:
            task = await network.ask("clerk", "hello")
    assert task.status.state is TaskState.FAILED
    assert task.status.message is not None
    assert "CUDA out of memory" in task.status.message.text


async def test_several_urls_are_one_model(tmp_path: Path) -> None:
    """Ours: 'urls' makes a pool, each server of which is watched."""
    text = (
        "network: desk\nmodels:\n  large: {engine: openai, model: m, tiers: [judge],"
        ' urls: ["http://127.0.0.1:1/v1", "http://127.0.0.1:2/v1"], hedge: 2}\n' + REST
    )
    with fail_after(20):
        async with open_network(parse_manifest(text, folder=tmp_path)) as network:
            assert isinstance(network.models["large"], ModelPool)
            task = await network.ask("clerk", "hello")
    assert task.status.state is TaskState.FAILED
    assert task.status.message is not None
    assert "none of the 2 servers" in task.status.message.text


async def test_what_a_server_does_is_told_to_other_processes(tmp_path: Path) -> None:
    """Ours: queue, cache hits and tokens, from the server's own figures and without its key."""
    manifest = parse_manifest(large(), folder=tmp_path)
    before = (await model_reports(manifest))["large"]
    assert (before.state, before.is_well) == ("stopped", True)
    with fail_after(60):
        async with open_network(manifest) as network:
            await network.ask("clerk", "hello")
            running = (await model_reports(manifest))["large"]
            assert running.state == "ok"
            assert running.server is not None
            (figures,) = running.servers
            assert figures.url == running.server.url
            # The recorded start is 0 of 254 tokens; the one question adds 30 of 40.
            assert figures.metrics.cache_hit_rate == pytest.approx(30 / 294)
            assert figures.tokens_per_second == 0.0
    assert (await model_reports(manifest))["large"].state == "stopped"


def test_an_operator_reads_what_is_wrong_without_opening_a_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ours: `models` and `doctor` say that it is down, why, and what to do."""
    words = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"
    dies = f", arguments: [--stand-in-dies, '{words}'], intensity: 0"
    path = tmp_path / "network.yaml"
    path.write_text(large(dies))
    assert run_cli(["ask", "clerk", "hello", "-m", str(path)]) == Exit.FAILED
    capsys.readouterr()
    assert run_cli(["models", "status", "-m", str(path), "--json"]) == Exit.ENVIRONMENT
    found = json.loads(capsys.readouterr().out)["models"]["large"]
    assert found["state"] == "down"
    assert words in found["detail"]
    assert run_cli(["models", "status", "-m", str(path)]) == Exit.ENVIRONMENT
    assert "down" in capsys.readouterr().out
    assert run_cli(["doctor", str(path), "--json"]) == Exit.ENVIRONMENT
    told = json.loads(capsys.readouterr().out)["diagnoses"]
    (model,) = (each for each in told if each["subject"] == "model large")
    assert (model["state"], words in model["found"]) == ("error", True)
    assert "--max-model-len" in model["advice"]


async def test_servers_of_others_tell_their_figures_too(tmp_path: Path) -> None:
    """Ours: /metrics of every URL, those without one are only left out of the figures."""
    async with open_model_server("vllm") as one, open_model_server("vllm") as other:
        one.counts = {"vllm:num_requests_waiting": 7.0}
        other.always = "500"
        urls = json.dumps([one.url, other.url])
        text = (
            f"network: desk\nmodels:\n  large: {{engine: openai, model: {MODEL}, tiers: [judge],"
            f" urls: {urls}}}\n" + REST
        )
        with fail_after(20):
            report = (await model_reports(parse_manifest(text, folder=tmp_path)))["large"]
    assert report.state == "ok"
    assert [each.metrics.waiting for each in report.servers] == [7.0, 0.0]


async def test_what_a_network_asks_of_each_server_is_told_from_beside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ours: the breaker, what has no answer yet and the share that a cache saved, of each server."""
    async with open_model_server("vllm") as one, open_model_server("vllm") as other:
        one.always = "500"
        urls = json.dumps([one.url, other.url])
        manifest = parse_manifest(
            f"network: desk\nmodels:\n  large: {{engine: openai, model: {MODEL}, tiers: [judge],"
            f" urls: {urls}, limits: {{failures: 1, rest: 600}}, parameters: {{top_p: 0.5}}}}\n"
            + REST,
            folder=tmp_path,
        )
        with fail_after(60):
            async with open_network(manifest) as network, anyio.create_task_group() as tasks:
                await network.ask("clerk", "hello")
                other.gate = anyio.Event()
                tasks.start_soon(network.ask, "clerk", "hello again")
                uses: dict[str, ServerUse] = {}
                while not (uses and uses[other.url].outstanding):
                    uses = (await anyio.to_thread.run_sync(read_use, manifest)).get("large", {})
                broken, busy = uses[one.url], uses[other.url]
                assert (broken.breaker, broken.failures, broken.questions) == ("open", 1, 0)
                assert "HTTP 500" in broken.said
                assert 0.0 < broken.rest <= 600.0
                assert (busy.breaker, busy.outstanding, busy.questions) == ("closed", 1, 1)
                assert busy.tokens_in > 0
                while not (standing := await read_standing(network.journal.database)):
                    await checkpoint()
                ((_, sentence),) = standing.items()
                assert f"the circuit breaker of {one.url} is open" in sentence
                reports = await model_reports(manifest)
                draw_reports(Screen(), manifest, reports)
                other.gate.set()
        drawn = capsys.readouterr().out
        assert "open for " in drawn
        assert "asked" in drawn
        assert await anyio.to_thread.run_sync(read_use, manifest) == {}


def test_what_a_killed_process_left_is_not_told(tmp_path: Path) -> None:
    """Ours: figures of a process that is gone, of another version or of nobody are no figures."""
    manifest = parse_manifest(large(), folder=tmp_path)
    folder = models_folder(manifest)
    folder.mkdir(parents=True)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    told = json.dumps({"large": [{"url": "http://h", "outstanding": 3}]})
    (folder / f"use.{ended.pid}.json").write_text(told)
    assert read_use(manifest) == {}
    (folder / f"use.{os.getpid()}.json").write_text('{"large": [{"url": "http://h", "new": 1}]}')
    assert read_use(manifest) == {}
    (folder / f"use.{os.getpid()}.json").write_text(told)
    assert read_use(manifest)["large"]["http://h"].outstanding == 3


def test_the_command_says_what_the_manifest_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours: an argument list, never a shell; folders are the manifest's, and no key is in it."""
    monkeypatch.setenv("HF_TOKEN", "handed on")
    monkeypatch.setenv("SOME_SECRET", "kept")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
    (tmp_path / "weights").mkdir()
    (tmp_path / "adapters").mkdir()
    text = (
        "network: desk\nmodels:\n  large:\n    {engine: vllm, model: weights, tensor_parallel: 2,"
        " lora: {clerk: adapters}, env: [HF_TOKEN], arguments: ['--max-model-len', '4096'],"
        " tiers: [judge]}\n" + REST
    )
    command = server_command(parse_manifest(text, folder=tmp_path), "large")
    assert command.argv == (
        *("vllm", "serve", str(tmp_path / "weights"), "--served-model-name", "weights"),
        *("--otlp-traces-endpoint", "http://127.0.0.1:4318/v1/traces"),
        *("--tensor-parallel-size", "2"),
        *("--enable-lora", "--lora-modules", f"clerk={tmp_path / 'adapters'}"),
        *("--scheduling-policy", "priority", "--enable-prompt-tokens-details"),
        "--structured-outputs-config",
        '{"backend":"xgrammar","disable_any_whitespace":true}',
        *("--max-model-len", "4096"),
    )
    assert command.environment["HF_TOKEN"] == "handed on"
    assert command.environment["VLLM_NO_USAGE_STATS"] == "1"
    assert "SOME_SECRET" not in command.environment
    assert command.cwd == tmp_path


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        ("--trust-remote-code", "is not run"),
        ("--trust_remote_code=true", "is not run"),
        ("--trust-r", "is not run"),
        ('--speculative-config={"trust_remote_code": true}', "is not run"),
        ("--host=0.0.0.0", "loopback only"),
        ("--hos", "loopback only"),
        ("--PORT=1", "use 'port'"),
        ("--api_key=x", "a key is made"),
        ("--config=x.yaml", "refused here"),
        ("-tp=2", "use 'tensor_parallel'"),
        ("", "empty word"),
        ("--max-model-len 4096", "write two: '--max-model-len', '4096'"),
        ("--model=other", "use 'model'"),
        ("a\\nb", "line break"),
    ],
)
def test_arguments_that_are_not_the_manifests_to_give_are_refused(
    tmp_path: Path, argument: str, told: str
) -> None:
    """Ours: no foreign code, no other address, no key in a process list."""
    text = large(f", arguments: [{json.dumps(argument).replace(chr(92) * 2, chr(92))}]")
    with pytest.raises(ManifestError, match=told):
        parse_manifest(text, folder=tmp_path)


@pytest.mark.parametrize(
    "argument", ["--model-impl=vllm", "--max-num-seqs", "8", "--enforce-eager"]
)
def test_arguments_that_are_vllms_own_are_handed_on(tmp_path: Path, argument: str) -> None:
    """Ours: what is not ours to say is not ours to judge."""
    manifest = parse_manifest(large(f", arguments: ['{argument}']"), folder=tmp_path)
    assert server_command(manifest, "large").argv[-1] == argument


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("  a: {engine: vllm, server: large, model: x, tiers: [score]}\n", "no adapter in"),
        ("  a: {engine: vllm, server: larg, model: x, tiers: [score]}\n", "did you mean 'large'"),
        (
            "  a: {engine: vllm, server: large, model: x, port: 1, tiers: [score]}\n",
            "'port' is that",
        ),
        ("  a: {engine: openai, model: x, tiers: [score]}\n", "either 'url' or 'urls'"),
        (
            "  a: {engine: openai, model: x, url: 'http://h', hedge: 1, tiers: [score]}\n",
            "two 'urls' or more",
        ),
        ("  a: {engine: vllm, model: --help, tiers: [score]}\n", "models.a.model"),
        ("  a: {engine: openai, model: x, urls: ['ftp://h'], tiers: [score]}\n", "http://"),
    ],
)
def test_what_does_not_fit_together_is_said_with_its_key(
    tmp_path: Path, more: str, told: str
) -> None:
    """Ours: a wrong manifest starts nothing."""
    text = large().replace("embedder:", more + "embedder:", 1)
    with pytest.raises(ManifestError, match=told):
        parse_manifest(text, folder=tmp_path)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("lora: [a]", "models.large.lora is a list; expected a mapping"),
        ("lora: {clerk: 3}", "models.large.lora.clerk is 3; expected text"),
        ("lora: {clerk: ''}", "models.large.lora.clerk is ''"),
        ("lora: {clerk: --x}", "models.large.lora.clerk cannot be '--x'; expected a folder or"),
        ("lora: {a=b: x}", "models.large.lora.a=b cannot be 'a=b'; expected letters, digits"),
        ("lora: {smollm2-135m: x}", "'smollm2-135m' in 'lora', which is the name of 'model'"),
        ("tensor_parallel: 0", "models.large.tensor_parallel is 0; input should be greater"),
        ("tensor_parallel: two", "models.large.tensor_parallel is 'two'; expected a whole number"),
        ("tensor_parallel: true", "models.large.tensor_parallel is True; expected a whole number"),
        ("tensor_parallel: 99999", "models.large.tensor_parallel is 99999; input should be less"),
        ("arguments: --max-model-len 5", "models.large.arguments is '--max-model-len 5'; expected"),
        ("arguments: {a: b}", "models.large.arguments is a mapping; expected a list"),
        ("arguments: [5]", "models.large.arguments[0] is 5; expected text"),
        ("env: [A=B]", "models.large.env[0] cannot be 'A=B'; expected the name of a variable"),
        ("port: 70000", "models.large.port is 70000; input should be less than or equal to 65535"),
        ("intensity: -1", "models.large.intensity is -1; input should be greater than or equal"),
        ("start_seconds: soon", "models.large.start_seconds is 'soon'; expected a number"),
        ("tensorparallel: 2", "models.large has no key 'tensorparallel'; did you mean"),
    ],
)
def test_a_wrong_value_is_named_with_its_file_its_key_and_what_may_be_there(
    tmp_path: Path, given: str, told: str
) -> None:
    """Ours: nobody reads our code to correct a manifest."""
    with pytest.raises(ManifestError) as caught:
        parse_manifest(large(f", {given}"), folder=tmp_path, name="desk.yaml")
    assert str(caught.value).startswith("desk.yaml:3: ")
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("given", "key"),
    [("model: ./weights", "model"), ("model: m, lora: {clerk: adapters/clerk}", "lora.clerk")],
)
def test_a_folder_that_is_not_there_is_no_name_on_the_hub(
    tmp_path: Path, given: str, key: str
) -> None:
    """Ours: said before the start, and not by a hub that was asked for a path."""
    (tmp_path / "adapters").mkdir()
    text = large().replace("model: smollm2-135m", given, 1)
    (finding,) = inspect_manifest(parse_manifest(text, folder=tmp_path))
    assert finding.sentence.startswith(f"models.large.{key} names ")
    assert "there is no folder" in finding.sentence
    assert finding.line == 3


def test_a_missing_vllm_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ours: what to install is said before anything starts."""
    monkeypatch.setenv("PATH", str(tmp_path))
    text = "network: desk\nmodels:\n  large: {engine: vllm, model: m, tiers: [judge]}\n" + REST
    (finding,) = inspect_manifest(parse_manifest(text, folder=tmp_path))
    assert "pip install 'repertory[vllm]'" in finding.sentence
    assert finding.severity == "error"


def test_a_shell_and_a_variable_that_steers_code_are_refused(tmp_path: Path) -> None:
    """Ours: as for tool servers."""
    text = large(", env: [LD_PRELOAD]").replace('"python"', '"bash"')
    found = [each.sentence for each in inspect_manifest(parse_manifest(text, folder=tmp_path))]
    assert any("runs a shell (bash)" in each for each in found)
    assert any("LD_PRELOAD, which decides what code" in each for each in found)


def test_a_port_that_is_taken_is_said_before_the_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ours: the doctor looks where the server would listen."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        path = tmp_path / "network.yaml"
        path.write_text(large(f", port: {other.getsockname()[1]}"))
        assert run_cli(["doctor", str(path), "--json"]) == Exit.ENVIRONMENT
    told = json.loads(capsys.readouterr().out)["diagnoses"]
    (model,) = (each for each in told if each["subject"] == "model large")
    assert "is in use" in model["found"]
    assert "take 'port' out" in model["advice"]


@pytest.mark.gpu
def test_a_gpu_serves_what_the_manifest_names(tmp_path: Path) -> None:
    """Ours: the same path on a GPU; REPERTORY_VLLM_MODEL names a model that is on this machine."""
    import shutil

    model = os.environ.get("REPERTORY_VLLM_MODEL", "")
    if shutil.which("nvidia-smi") is None or shutil.which("vllm") is None or not model:
        pytest.skip("needs a GPU (nvidia-smi), `vllm` on PATH and REPERTORY_VLLM_MODEL")
    text = f"network: desk\nmodels:\n  large: {{engine: vllm, model: '{model}', tiers: [judge]}}\n"
    (tmp_path / "network.yaml").write_text(text + REST)
    assert run_cli(["ask", "clerk", "Say yes.", "-m", str(tmp_path / "network.yaml")]) == Exit.DONE
    assert sys.platform == "linux"
