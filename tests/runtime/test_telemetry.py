import gzip
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from anyio import create_task_group, fail_after, to_thread
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from repertory.agents import ToolServerError
from repertory.runtime.live_span import Span
from repertory.runtime.otlp import exports, otlp_spans
from repertory.runtime.telemetry import Telemetry, open_telemetry
from repertory.runtime.trace_context import parse_traceparent, scrub
from tests.claims import claim

PARENT = f"00-{'a' * 32}-{'b' * 16}-01"
UNSAMPLED = f"00-{'a' * 32}-{'b' * 16}-00"
CANARY = "canary-9f8e7d6c5b4a39281706f5e4d3c2b1a0"


@pytest.fixture(autouse=True)
def no_otel_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("EXPORTER_OTLP_ENDPOINT", "TRACES_SAMPLER", "SDK_DISABLED", "TRACES_EXPORTER"):
        monkeypatch.delenv(f"OTEL_{name}", raising=False)


@pytest.fixture(params=["own", "the user's"])
def recorded(request: pytest.FixtureRequest) -> Iterator[tuple[Telemetry, InMemorySpanExporter]]:
    """Telemetry on its own light spans, and on a tracer provider of the user's."""
    exporter = InMemorySpanExporter()
    processor = SimpleSpanProcessor(exporter)
    if request.param == "own":
        yield Telemetry(processors=[processor]), exporter
        return
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor)
    yield Telemetry(tracer_provider=provider), exporter


@asynccontextmanager
async def otlp_sink(received: list[bytes]) -> AsyncIterator[str]:
    """An OTLP/HTTP endpoint that keeps the bodies it is sent."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            received.append(gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body)
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *_: object) -> None:  # noqa: A002 -- the standard library's name
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        async with create_task_group() as tasks:
            tasks.start_soon(to_thread.run_sync, server.serve_forever, 0.01)
            try:
                yield f"http://127.0.0.1:{server.server_port}/v1/traces"
            finally:
                await to_thread.run_sync(server.shutdown)


def only(exporter: InMemorySpanExporter) -> ReadableSpan:
    (span,) = exporter.get_finished_spans()
    return span


def facts(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


NAMED = [
    (
        lambda t: t.workflow("inbox", parent="", conversation_id="c1"),
        "invoke_workflow inbox",
        SpanKind.INTERNAL,
        {
            "gen_ai.operation.name": "invoke_workflow",
            "gen_ai.workflow.name": "inbox",
            "gen_ai.conversation.id": "c1",
            "openinference.span.kind": "CHAIN",
        },
    ),
    (
        lambda t: t.agent("checker", parent="", version="2", task_id="t1", model="smol"),
        "invoke_agent checker",
        SpanKind.INTERNAL,
        {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.provider.name": "repertory",
            "gen_ai.agent.name": "checker",
            "gen_ai.agent.version": "2",
            "gen_ai.request.model": "smol",
            "a2a.task.id": "t1",
            "openinference.span.kind": "AGENT",
        },
    ),
    (
        lambda t: t.agent("checker", parent="", remote=("127.0.0.1", 8420)),
        "invoke_agent checker",
        SpanKind.CLIENT,
        {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.provider.name": "repertory",
            "gen_ai.agent.name": "checker",
            "server.address": "127.0.0.1",
            "server.port": 8420,
            "openinference.span.kind": "AGENT",
        },
    ),
    (
        lambda t: t.plan("head", parent=""),
        "plan head",
        SpanKind.INTERNAL,
        {
            "gen_ai.operation.name": "plan",
            "gen_ai.agent.name": "head",
            "openinference.span.kind": "CHAIN",
        },
    ),
    (
        lambda t: t.chat("smol", parent="", provider="llama_cpp", max_tokens=8, temperature=0.0),
        "chat smol",
        SpanKind.CLIENT,
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "llama_cpp",
            "gen_ai.request.model": "smol",
            "gen_ai.request.max_tokens": 8,
            "gen_ai.request.temperature": 0.0,
            "openinference.span.kind": "LLM",
        },
    ),
    (
        lambda t: t.chat("smol", parent="", operation="text_completion", provider="vllm"),
        "text_completion smol",
        SpanKind.CLIENT,
        {
            "gen_ai.operation.name": "text_completion",
            "gen_ai.provider.name": "vllm",
            "gen_ai.request.model": "smol",
            "openinference.span.kind": "LLM",
        },
    ),
    (
        lambda t: t.tool("ledger.post", parent="", call_id="t1/3"),
        "execute_tool ledger.post",
        SpanKind.INTERNAL,
        {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": "ledger.post",
            "gen_ai.tool.type": "function",
            "gen_ai.tool.call.id": "t1/3",
            "mcp.method.name": "tools/call",
            "openinference.span.kind": "TOOL",
        },
    ),
    (
        lambda t: t.memory("search_memory", parent="", store_id="desk", record_count=2),
        "search_memory",
        SpanKind.INTERNAL,
        {
            "gen_ai.operation.name": "search_memory",
            "gen_ai.provider.name": "repertory",
            "gen_ai.memory.store.id": "desk",
            "gen_ai.memory.record.count": 2,
            "openinference.span.kind": "RETRIEVER",
        },
    ),
    (
        lambda t: t.memory("create_memory", parent="", store_id="desk", record_id="p1"),
        "create_memory",
        SpanKind.INTERNAL,
        {
            "gen_ai.operation.name": "create_memory",
            "gen_ai.provider.name": "repertory",
            "gen_ai.memory.store.id": "desk",
            "gen_ai.memory.record.id": "p1",
            "openinference.span.kind": "CHAIN",
        },
    ),
    (
        lambda t: t.a2a(
            "SendMessage", server=True, parent="", message_id="m1", task_state="TASK_STATE_WORKING"
        ),
        "SendMessage",
        SpanKind.SERVER,
        {
            "a2a.method.name": "SendMessage",
            "a2a.protocol.version": "1.0",
            "a2a.message.id": "m1",
            "a2a.task.state": "TASK_STATE_WORKING",
            "openinference.span.kind": "AGENT",
        },
    ),
    (
        lambda t: t.a2a("GetTask", server=False, parent="", task_id="t1", tenant="default"),
        "GetTask",
        SpanKind.CLIENT,
        {
            "a2a.method.name": "GetTask",
            "a2a.protocol.version": "1.0",
            "a2a.task.id": "t1",
            "a2a.tenant": "default",
            "openinference.span.kind": "AGENT",
        },
    ),
]


@claim("otel:names")
@pytest.mark.parametrize(("begin", "name", "kind", "attributes"), NAMED)
def test_a_span_has_the_conventions_name_kind_and_attributes(
    recorded: tuple[Telemetry, InMemorySpanExporter],
    begin: Any,
    name: str,
    kind: SpanKind,
    attributes: dict[str, Any],
) -> None:
    """Spec: OpenTelemetry semantic conventions for GenAI, and the A2A proposal."""
    telemetry, exporter = recorded
    begin(telemetry).end()
    span = only(exporter)
    assert (span.name, span.kind, facts(span)) == (name, kind, attributes)


def test_a_span_continues_its_parents_trace_and_hands_on_its_own(
    recorded: tuple[Telemetry, InMemorySpanExporter],
) -> None:
    """Spec: W3C Trace Context; the SDK's own propagator reads what we hand on."""
    telemetry, exporter = recorded
    outer = telemetry.agent("a", parent=PARENT)
    inner = telemetry.tool("x.y", parent=outer.traceparent)
    inner.end()
    outer.end()
    first, second = exporter.get_finished_spans()
    assert second.parent is not None
    assert second.parent.span_id == int("b" * 16, 16)
    assert first.parent is not None
    assert first.parent.span_id == second.get_span_context().span_id  # type: ignore[union-attr]
    assert {span.get_span_context().trace_id for span in (first, second)} == {int("a" * 32, 16)}  # type: ignore[union-attr]
    carried = TraceContextTextMapPropagator().extract({"traceparent": inner.traceparent})
    read = trace.get_current_span(carried).get_span_context()
    assert f"{read.span_id:016x}" in inner.traceparent


def test_without_a_parent_the_current_span_is_one_and_an_empty_parent_is_none(
    recorded: tuple[Telemetry, InMemorySpanExporter],
) -> None:
    """Ours: a user's own request span joins in; a call without a trace begins one."""
    telemetry, _ = recorded
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("the user's")
    with tracer.start_as_current_span("request") as request:
        joined = telemetry.workflow("w")
        apart = telemetry.workflow("w", parent="")
    asked = request.get_span_context()
    assert (joined.trace_id, joined.parent_id) == (asked.trace_id, asked.span_id)
    assert (apart.trace_id == asked.trace_id, apart.parent_id) == (False, 0)


def test_a_span_in_a_block_is_current_there_and_nowhere_else(
    recorded: tuple[Telemetry, InMemorySpanExporter],
) -> None:
    """Ours: instrumented libraries of others join our trace through the context."""
    telemetry, _ = recorded
    started = telemetry.workflow("w", parent="")
    assert not trace.get_current_span().get_span_context().is_valid
    with started as span:
        assert trace.get_current_span().get_span_context().span_id == span.span_id
    assert not trace.get_current_span().get_span_context().is_valid
    assert span.end_ns is not None


@claim("otel:one-trace")
def test_a_resumed_turn_goes_on_in_its_trace_and_links_to_the_broken_span(
    recorded: tuple[Telemetry, InMemorySpanExporter],
) -> None:
    """Ours: one unbroken trace across a resume."""
    telemetry, exporter = recorded
    before = telemetry.agent("a", parent=PARENT)
    telemetry.agent("a", parent=PARENT, resumes=before.traceparent).end()
    span = only(exporter)
    assert span.context is not None
    assert span.context.trace_id == before.trace_id
    assert [link.context.span_id for link in span.links] == [before.span_id]


def test_an_unsampled_parent_leaves_no_span_and_its_flag_travels_on(
    recorded: tuple[Telemetry, InMemorySpanExporter],
) -> None:
    """Spec: W3C Trace Context; who decided not to sample decided for all below."""
    telemetry, exporter = recorded
    span = telemetry.agent("a", parent=UNSAMPLED)
    span.end()
    assert exporter.get_finished_spans() == ()
    assert span.traceparent.endswith("-00")
    assert parse_traceparent(span.traceparent) is not None


@pytest.mark.parametrize(
    ("sampler", "parent", "recorded_spans"),
    [
        ("always_off", "", 0),
        ("always_off", PARENT, 0),
        ("always_on", UNSAMPLED, 1),
        ("parentbased_always_off", "", 0),
        ("parentbased_always_off", PARENT, 1),
        ("parentbased_always_on", "", 1),
    ],
)
def test_the_sampler_of_the_environment_decides(
    monkeypatch: pytest.MonkeyPatch, sampler: str, parent: str, recorded_spans: int
) -> None:
    """Spec: OTEL_TRACES_SAMPLER."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    exporter = InMemorySpanExporter()
    Telemetry(processors=[SimpleSpanProcessor(exporter)]).agent("a", parent=parent).end()
    assert len(exporter.get_finished_spans()) == recorded_spans


def test_without_spans_the_callers_trace_passes_through() -> None:
    """Ours: `telemetry.spans: false` breaks nobody else's trace."""
    telemetry = Telemetry(spans=False)
    assert telemetry.agent("a", parent=PARENT).traceparent == PARENT
    assert telemetry.agent("a", parent="").traceparent == ""
    with telemetry.tool("x.y", parent=PARENT) as span:
        current = trace.get_current_span().get_span_context()
        assert f"{current.span_id:016x}" == "b" * 16
    span.end()


@pytest.mark.parametrize("parent", ["nonsense", "00-" + "0" * 32 + "-" + "b" * 16 + "-01"])
def test_what_is_no_traceparent_begins_a_trace_of_its_own(parent: str) -> None:
    """Spec: W3C Trace Context; an invalid header is ignored."""
    span = Telemetry().agent("a", parent=parent)
    assert span.parent_id == 0
    assert parse_traceparent(span.traceparent) is not None


def say_everything(telemetry: Telemetry) -> None:
    with telemetry.tool("x.y", parent="", arguments={"note": CANARY}) as span:
        span.content("gen_ai.tool.call.result", [CANARY])
    telemetry.memory("search_memory", parent="", query=CANARY).end()
    with pytest.raises(ValueError), telemetry.chat("m", parent=""):
        raise ValueError(f"the model said {CANARY}")
    with pytest.raises(ToolServerError), telemetry.tool("x.y", parent=""):
        raise ToolServerError(f"the server said '{CANARY} and more' to token={CANARY}", server="x")


@claim("otel:content")
def test_what_was_said_stays_out_of_spans_unless_it_is_asked_for(
    recorded: tuple[Telemetry, InMemorySpanExporter],
) -> None:
    """Ours: S14; no canary in attributes, events or errors by default."""
    telemetry, exporter = recorded
    say_everything(telemetry)
    spans = exporter.get_finished_spans()
    assert CANARY not in "".join(span.to_json() for span in spans)
    assert [facts(span).get("error.type") for span in spans] == [
        None,
        None,
        "ValueError",
        "TOOL_SERVER_FAILED",
    ]
    telemetry.content = True
    exporter.clear()
    say_everything(telemetry)
    tool, memory, *_ = exporter.get_finished_spans()
    assert json.loads(facts(tool)["gen_ai.tool.call.arguments"]) == {"note": CANARY}
    assert facts(memory)["gen_ai.memory.query.text"] == CANARY


def test_an_error_leaves_its_reason_and_its_scrubbed_sentence(
    recorded: tuple[Telemetry, InMemorySpanExporter],
) -> None:
    """Ours: error.type is the error's reason; the sentence names what it is about."""
    telemetry, exporter = recorded
    with pytest.raises(ToolServerError), telemetry.tool("ledger.post", parent=""):
        raise ToolServerError("tool server 'ledger' failed (exit status 7)", server="ledger")
    span = only(exporter)
    assert facts(span)["error.type"] == "TOOL_SERVER_FAILED"
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == "tool server 'ledger' failed (exit status 7)"
    assert not span.events


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("no agent named 'critc'; running: 'critic'", "no agent named 'critc'; running: 'critic'"),
        ("Authorization: Bearer abc.def", "Authorization: …"),
        ("api_key=sk12 was refused", "api_key=… was refused"),
        ("cannot reach http://user:pw@host/x", "cannot reach http://…@host/x"),
        ("it said 'pay 500 to IBAN DE89 3704'", "it said '…'"),
        ("key AKIAIOSFODNN7EXAMPLE99 found", "key … found"),
        (
            "task 01890a5d-ac96-774b-bcce-b302099a8057 failed",
            "task 01890a5d-ac96-774b-bcce-b302099a8057 failed",
        ),
        ("first line\nsecond line", "first line"),
    ],
)
def test_a_sentence_is_scrubbed_of_secrets_and_of_what_was_said(
    sentence: str, expected: str
) -> None:
    """Ours: names stay, since errors without names help nobody."""
    assert scrub(sentence) == expected


def measured(reader: InMemoryMetricReader) -> dict[str, list[Any]]:
    data = reader.get_metrics_data()
    assert data is not None
    return {
        metric.name: list(metric.data.data_points)
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }


def work(telemetry: Telemetry) -> None:
    telemetry.workflow("inbox", parent="").end()
    telemetry.agent("checker", parent="").end(error_type="POLICY_DENIED")
    telemetry.tool("ledger.post", parent="").end()
    chat: Span = telemetry.chat("smol", parent="", provider="llama_cpp")
    chat.usage(input_tokens=100, output_tokens=7)
    chat.end()


@pytest.mark.parametrize("spans", [True, False])
def test_durations_tokens_depths_and_batches_are_measured(spans: bool) -> None:
    """Spec: GenAI metrics; ours are the mailbox depth and the journal's batch size."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    telemetry = Telemetry(meter_provider=provider, spans=spans)
    work(telemetry)
    telemetry.journal_batch(3)
    telemetry.watch_mailboxes(lambda: {"checker": 5, "approver": 0})
    found = measured(reader)
    for name in (
        "gen_ai.client.operation.duration",
        "gen_ai.invoke_agent.duration",
        "gen_ai.execute_tool.duration",
        "gen_ai.workflow.duration",
    ):
        assert [point.count for point in found[name]] == [1]
    (turn,) = found["gen_ai.invoke_agent.duration"]
    assert turn.attributes == {"gen_ai.agent.name": "checker", "error.type": "POLICY_DENIED"}
    tokens = {
        point.attributes["gen_ai.token.type"]: point.sum
        for point in found["gen_ai.client.token.usage"]
    }
    assert tokens == {"input": 100, "output": 7}
    depths = {
        point.attributes["gen_ai.agent.name"]: point.value
        for point in found["repertory.mailbox.depth"]
    }
    assert depths == {"checker": 5, "approver": 0}
    assert [point.sum for point in found["repertory.journal.batch.size"]] == [3]
    provider.shutdown()


async def test_leaving_telemetry_flushes_and_closes_what_it_opened() -> None:
    """Ours: no span of a network is lost because the program ends."""
    exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
    with fail_after(5):
        async with open_telemetry(
            processors=[SimpleSpanProcessor(exporter)], metric_readers=[reader]
        ) as telemetry:
            work(telemetry)
            assert "gen_ai.workflow.duration" in measured(reader)
    assert len(exporter.get_finished_spans()) == 4


async def test_nothing_global_is_set_and_two_networks_share_nothing() -> None:
    """Ours: two networks live in one process."""
    one, two = InMemorySpanExporter(), InMemorySpanExporter()
    with fail_after(5):
        async with (
            open_telemetry(network="one", processors=[SimpleSpanProcessor(one)]) as first,
            open_telemetry(network="two", processors=[SimpleSpanProcessor(two)]) as second,
        ):
            first.workflow("a", parent="").end()
            second.workflow("b", parent="").end()
    assert only(one).resource.attributes["service.name"] == "one"
    assert only(two).name == "invoke_workflow b"
    assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_SDK_DISABLED": "true"}, False),
    ],
)
def test_otlp_goes_out_where_the_standard_variables_say_so(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: bool
) -> None:
    """Spec: OpenTelemetry's environment variables."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert exports("TRACES") is expected


async def test_spans_reach_an_otlp_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spec: OTLP/HTTP; the collector gets protobuf with our names and this network's."""
    received: list[bytes] = []
    with fail_after(10):
        async with otlp_sink(received) as endpoint:
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", endpoint)
            async with open_telemetry(network="desk") as telemetry:
                telemetry.agent("checker", parent=PARENT).end()
    assert b"invoke_agent checker" in received[0]
    assert b"desk" in received[0]


def test_the_otlp_queue_is_larger_than_the_sdks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours: 2,048 spans are a hundred tasks; a burst of more must not drop any."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:9/v1/traces")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "60000")
    processor: Any = otlp_spans()
    try:
        assert processor._batch_processor._max_queue_size > 30_000
    finally:
        processor._batch_processor._queue.clear()
        processor.shutdown()
