"""What a network says of its own work: OpenTelemetry spans and metrics, by GenAI's names.

Here live the names, kinds and attributes of the semantic conventions for GenAI
(agents, models, tools, memory) and of the A2A proposal, the metrics, and the
ways out: the span store of the network (`spans`) and OTLP by the standard
environment variables. Nothing is set globally, and two networks of one process
share nothing unless they are given the same providers.

Spans are small records of our own. They become OpenTelemetry's when someone
exports them: the SDK's live span costs ten times as much, and most spans only go
to the network's own store. A tracer provider of the user's gets real SDK spans.
Not here: when a span begins and ends, which is the runtime's matter.
"""

import json
import logging
import os
import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache
from random import Random
from time import time_ns
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from anyio import CancelScope, create_task_group, move_on_after, to_thread
from opentelemetry import context as otel_context
from opentelemetry import trace as otel_trace
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags, TraceState
from repertory.protocol import RepertoryError

from .spans import SpanRow, SpanStore

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import MetricReader
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
    from opentelemetry.trace import TracerProvider

logger = logging.getLogger(__name__)

SCOPE = "repertory"
Value = str | bool | int | float | Sequence[str] | Sequence[int] | Sequence[float]
Address = tuple[str, int]
ModelOperation = Literal["chat", "text_completion", "generate_content", "embeddings"]
MemoryOperation = Literal[
    "create_memory_store",
    "search_memory",
    "create_memory",
    "update_memory",
    "upsert_memory",
    "delete_memory",
    "delete_memory_store",
]

_QUEUE = 32_768
_FLUSH_SECONDS = 5.0
_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304)
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:$|-)")
_KINDS = {
    SpanKind.INTERNAL: "INTERNAL",
    SpanKind.CLIENT: "CLIENT",
    SpanKind.SERVER: "SERVER",
    SpanKind.PRODUCER: "PRODUCER",
    SpanKind.CONSUMER: "CONSUMER",
}
_SECRET = re.compile(
    r"(?i)\b((?:proxy-)?authorization|bearer|basic|api[-_ ]?key|token|secret|password|passwd|cookie)"
    r"(\"?\s*[:=]\s*\"?|\s+)(?:(?:bearer|basic)\s+)?[^\s,;\"']+"
)
_USERINFO = re.compile(r"(?<=://)[^/\s@]+@")
_QUOTED = re.compile(r"'[^'\n]*'|\"[^\"\n]*\"|«[^»\n]*»|`[^`\n]*`")
_RANDOM_WORD = re.compile(
    r"(?=[A-Za-z0-9_+/=-]*\d)(?=[A-Za-z0-9_+/=-]*[A-Za-z])[A-Za-z0-9_+/=-]{20,}"
)
_UUID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


@lru_cache(maxsize=4096)
def parse_traceparent(traceparent: str) -> tuple[int, int, int] | None:
    """Trace id, span id and flags of a W3C traceparent; None if it is not one."""
    found = _TRACEPARENT.match(traceparent)
    if found is None:
        return None
    trace_id, span_id = int(found[1], 16), int(found[2], 16)
    return (trace_id, span_id, int(found[3], 16)) if trace_id and span_id else None


def format_traceparent(trace_id: int, span_id: int, flags: int) -> str:
    """W3C Trace Context, version 00."""
    return f"00-{trace_id:032x}-{span_id:016x}-{flags:02x}"


def current_traceparent() -> str:
    """The traceparent of the span that is current in this context, "" if none is."""
    ambient = otel_trace.get_current_span().get_span_context()
    if not ambient.is_valid:
        return ""
    return format_traceparent(ambient.trace_id, ambient.span_id, ambient.trace_flags)


def scrub(sentence: str) -> str:
    """The first line of `sentence` without what may be a secret or somebody's text.

    Short quoted names stay, since errors name agents and tools in quotes; longer
    quotations, credentials and random-looking words do not.
    """
    line = sentence.strip().split("\n", 1)[0]
    line = _USERINFO.sub("…@", line)
    line = _SECRET.sub(lambda m: f"{m[1]}{m[2]}…", line)
    line = _QUOTED.sub(lambda m: m[0] if len(m[0]) <= 42 and m[0].count(" ") < 2 else "'…'", line)
    line = _RANDOM_WORD.sub(lambda m: m[0] if _UUID.fullmatch(m[0]) else "…", line)
    return line if len(line) <= 300 else line[:299] + "…"


def error_type(error: BaseException) -> str:
    """The `error.type` of an exception: the reason of one of ours, else its class."""
    if isinstance(error, RepertoryError):
        return error.reason
    return type(error).__qualname__


class Span:
    """One timed piece of work; ends once, by `end` or by leaving its block.

    In a `with` block it is also current in the context, so that instrumented
    libraries of others join the trace; without one nothing ambient is touched.
    """

    __slots__ = (
        "_instrument",
        "_sdk",
        "_telemetry",
        "_token",
        "attributes",
        "end_ns",
        "error",
        "events",
        "flags",
        "kind",
        "links",
        "name",
        "parent_id",
        "recording",
        "span_id",
        "start_ns",
        "trace_id",
        "tracestate",
    )

    def __init__(
        self,
        telemetry: "Telemetry",
        name: str,
        kind: SpanKind,
        ids: tuple[int, int, int, int],
        attributes: dict[str, Value],
        *,
        recording: bool,
        tracestate: str = "",
        links: Sequence[tuple[int, int, int]] = (),
        instrument: str = "",
        sdk: otel_trace.Span | None = None,
    ) -> None:
        self._telemetry = telemetry
        self._sdk = sdk
        self._instrument = instrument
        self._token: Any = None
        self.name = name
        self.kind = kind
        self.trace_id, self.span_id, self.parent_id, self.flags = ids
        self.tracestate = tracestate
        self.attributes = attributes
        self.links = links
        self.events: list[tuple[str, int, Mapping[str, Value]]] = []
        self.recording = recording
        self.error: str | None = None
        self.end_ns: int | None = None
        self.start_ns = time_ns()

    @property
    def traceparent(self) -> str:
        """What callees are given as their parent; "" when nothing is traced."""
        if not self.trace_id:
            return ""
        return format_traceparent(self.trace_id, self.span_id, self.flags)

    def set(self, name: str, value: Value | None) -> None:
        """Set an attribute; None leaves it out."""
        if value is not None:
            self.attributes[name] = value

    def content(self, name: str, value: Any) -> None:
        """Set an attribute that holds what was said; does nothing unless capture is on."""
        if value is not None and self.recording and self._telemetry.content:
            self.attributes[name] = value if isinstance(value, str) else _json(value)

    def event(self, name: str, attributes: Mapping[str, Value] | None = None) -> None:
        """Mark a moment within the span."""
        if self.recording:
            self.events.append((name, time_ns(), attributes or {}))

    def link(self, traceparent: str) -> None:
        """Point at another span that this work belongs with."""
        other = parse_traceparent(traceparent)
        if other is not None:
            self.links = (*self.links, other)

    def usage(
        self,
        *,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        cached_tokens: int | None = None,
        reasoning_tokens: int | None = None,
    ) -> None:
        """Say what the work cost in model tokens."""
        self.set("gen_ai.usage.input_tokens", input_tokens)
        self.set("gen_ai.usage.output_tokens", output_tokens)
        self.set("gen_ai.usage.cache_read.input_tokens", cached_tokens)
        self.set("gen_ai.usage.reasoning.output_tokens", reasoning_tokens)

    def answered(
        self,
        *,
        model: str | None = None,
        response_id: str | None = None,
        finish_reasons: Sequence[str] | None = None,
        first_chunk_seconds: float | None = None,
    ) -> None:
        """Say what a model's server answered with."""
        self.set("gen_ai.response.model", model)
        self.set("gen_ai.response.id", response_id)
        self.set("gen_ai.response.finish_reasons", finish_reasons)
        self.set("gen_ai.response.time_to_first_chunk", first_chunk_seconds)

    def fail(self, error: BaseException) -> None:
        """Mark the span as failed by `error` without ending it."""
        self.attributes["error.type"] = error_type(error)
        # A foreign exception's text is anyone's text; ours is a sentence we wrote.
        self.error = scrub(error.sentence) if isinstance(error, RepertoryError) else ""

    def end(self, error_type: str = "", message: str = "") -> None:
        """End the span, as failed if `error_type` is given; a second end does nothing."""
        if self.end_ns is not None:
            return
        if error_type:
            self.attributes["error.type"] = error_type
            self.error = scrub(message)
        self.end_ns = time_ns()
        self._telemetry._ended(self, self._sdk)

    def row(self) -> SpanRow:
        """The span as its network's store keeps it."""
        attributes: dict[str, Any] = dict(self.attributes)
        if self.error:
            attributes["error.message"] = self.error
        if self.links:
            attributes["repertory.links"] = [format_traceparent(*link) for link in self.links]
        if self.events:
            attributes["repertory.events"] = [
                {"name": name, "at_ns": at, **dict(facts)} for name, at, facts in self.events
            ]
        return SpanRow(
            trace_id=f"{self.trace_id:032x}",
            span_id=f"{self.span_id:016x}",
            parent_id=f"{self.parent_id:016x}" if self.parent_id else "",
            name=self.name,
            kind=_KINDS[self.kind],
            start_ns=self.start_ns,
            end_ns=self.end_ns,
            status="UNSET" if self.error is None else "ERROR",
            attributes=attributes,
            task_id=str(attributes.get("a2a.task.id", "")),
        )

    def _context(self) -> otel_trace.Span:
        if self._sdk is not None:
            return self._sdk
        return otel_trace.NonRecordingSpan(
            SpanContext(
                self.trace_id,
                self.span_id,
                is_remote=False,
                trace_flags=TraceFlags(self.flags),
                trace_state=_tracestate(self.tracestate),
            )
        )

    def __enter__(self) -> Self:
        if self.trace_id:
            self._token = otel_context.attach(otel_trace.set_span_in_context(self._context()))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._token is not None:
            otel_context.detach(self._token)
            self._token = None
        if error is not None and self.error is None:
            self.fail(error)
        self.end()


class Telemetry:
    """One network's spans and metrics; opened by `open_telemetry`, which also flushes it.

    tracer_provider, meter_provider: the user's own, never shut down here. content:
    whether messages, arguments and results may become attributes. spans: False
    makes every span a pass-through of its parent's traceparent.
    """

    def __init__(
        self,
        *,
        tracer_provider: "TracerProvider | None" = None,
        meter_provider: "MeterProvider | None" = None,
        store: SpanStore | None = None,
        processors: Sequence["SpanProcessor"] = (),
        resource: "Resource | None" = None,
        content: bool = False,
        spans: bool = True,
        network: str = "default",
    ) -> None:
        self.network = network
        self.content = content
        self.spans = spans
        self.store = store
        self.processors = tuple(processors)
        self.resource = resource
        self._ids = Random()
        self._tracer = tracer_provider.get_tracer(SCOPE) if tracer_provider else None
        self._sampler: Any = None
        if os.environ.get("OTEL_TRACES_SAMPLER") and tracer_provider is None and spans:
            from opentelemetry.sdk.trace import TracerProvider as SdkProvider

            self._sampler = SdkProvider(shutdown_on_exit=False).sampler
        self._meter = meter_provider.get_meter(SCOPE) if meter_provider else None
        self._instruments: dict[str, Any] = {}
        if self._meter is not None:
            self._make_instruments()

    def start(
        self,
        name: str,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        parent: str | None = None,
        tracestate: str = "",
        attributes: dict[str, Value] | None = None,
        links: Iterable[str] = (),
        instrument: str = "",
    ) -> Span:
        """Start a span under `parent`, a traceparent.

        None means the span that is current in the context, "" a new trace. What
        is no traceparent counts as "". Links that are none are left out.
        """
        if parent is None:
            parent = current_traceparent()
        above = parse_traceparent(parent) if parent else None
        given = attributes if attributes is not None else {}
        if not self.spans:
            ids = (above[0], above[1], 0, above[2]) if above else (0, 0, 0, 0)
            return Span(
                self,
                name,
                kind,
                ids,
                given,
                recording=False,
                tracestate=tracestate,
                instrument=instrument,
            )
        linked = [found for one in links if (found := parse_traceparent(one))] if links else ()
        if self._tracer is not None:
            return self._start_sdk(name, kind, above, tracestate, given, linked, instrument)
        if above:
            trace_id, parent_id, flags = above
        else:
            trace_id, parent_id, flags = self._ids.getrandbits(128) or 1, 0, 1
            tracestate = ""
        if self._sampler is not None:
            flags = self._sample(name, kind, above, trace_id, given)
        span_id = self._ids.getrandbits(64) or 1
        span = Span(
            self,
            name,
            kind,
            (trace_id, span_id, parent_id, flags),
            given,
            recording=bool(flags & 1),
            tracestate=tracestate,
            links=linked,
            instrument=instrument,
        )
        return span

    def workflow(
        self,
        name: str,
        *,
        parent: str | None = None,
        conversation_id: str = "",
        task_id: str = "",
    ) -> Span:
        """`invoke_workflow {name}`: a piece of work of the whole network."""
        return self._seen(
            self.start(
                f"invoke_workflow {name}",
                parent=parent,
                attributes=_present(
                    {
                        "gen_ai.operation.name": "invoke_workflow",
                        "gen_ai.workflow.name": name,
                        "gen_ai.conversation.id": conversation_id,
                        "a2a.task.id": task_id,
                        "openinference.span.kind": "CHAIN",
                    }
                ),
                instrument="gen_ai.workflow.duration",
            )
        )

    def agent(
        self,
        name: str,
        *,
        parent: str | None = None,
        tracestate: str = "",
        agent_id: str = "",
        version: str = "",
        description: str = "",
        conversation_id: str = "",
        task_id: str = "",
        model: str = "",
        provider: str = SCOPE,
        remote: Address | None = None,
        resumes: str = "",
    ) -> Span:
        """`invoke_agent {name}`: INTERNAL for an agent here, CLIENT with `remote` for one elsewhere.

        parent: for a turn, the traceparent journaled with its task, so that a
        resumed turn goes on in the same trace. resumes: the traceparent of the
        earlier invoke_agent span that a restart broke off, kept as a link.
        """
        return self._seen(
            self.start(
                f"invoke_agent {name}",
                kind=SpanKind.CLIENT if remote else SpanKind.INTERNAL,
                parent=parent,
                tracestate=tracestate,
                attributes=_present(
                    {
                        "gen_ai.operation.name": "invoke_agent",
                        "gen_ai.provider.name": provider,
                        "gen_ai.agent.name": name,
                        "gen_ai.agent.id": agent_id,
                        "gen_ai.agent.version": version,
                        "gen_ai.agent.description": description,
                        "gen_ai.conversation.id": conversation_id,
                        "gen_ai.request.model": model,
                        "a2a.task.id": task_id,
                        **_server(remote),
                        "openinference.span.kind": "AGENT",
                    }
                ),
                links=(resumes,) if resumes else (),
                instrument="gen_ai.invoke_agent.duration",
            )
        )

    def plan(
        self, agent: str, *, parent: str | None = None, conversation_id: str = "", task_id: str = ""
    ) -> Span:
        """`plan {agent}`: an agent splits its goal."""
        return self.start(
            f"plan {agent}",
            parent=parent,
            attributes=_present(
                {
                    "gen_ai.operation.name": "plan",
                    "gen_ai.agent.name": agent,
                    "gen_ai.conversation.id": conversation_id,
                    "a2a.task.id": task_id,
                    "openinference.span.kind": "CHAIN",
                }
            ),
        )

    def chat(
        self,
        model: str,
        *,
        operation: ModelOperation = "chat",
        provider: str = "",
        parent: str | None = None,
        conversation_id: str = "",
        task_id: str = "",
        max_tokens: int | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        top_k: int | None = None,
        seed: int | None = None,
        stop: Sequence[str] | None = None,
        stream: bool | None = None,
        choices: int | None = None,
        server: Address | None = None,
    ) -> Span:
        """`{operation} {model}`: one request to a model's server."""
        return self.start(
            f"{operation} {model}",
            kind=SpanKind.CLIENT,
            parent=parent,
            attributes=_present(
                {
                    "gen_ai.operation.name": operation,
                    "gen_ai.provider.name": provider or "openai_compatible",
                    "gen_ai.request.model": model,
                    "gen_ai.request.max_tokens": max_tokens,
                    "gen_ai.request.temperature": temperature,
                    "gen_ai.request.top_p": top_p,
                    "gen_ai.request.top_k": top_k,
                    "gen_ai.request.seed": seed,
                    "gen_ai.request.stop_sequences": list(stop) if stop else None,
                    "gen_ai.request.stream": stream,
                    "gen_ai.request.choice.count": choices,
                    "gen_ai.conversation.id": conversation_id,
                    "a2a.task.id": task_id,
                    **_server(server),
                    "openinference.span.kind": "EMBEDDING" if operation == "embeddings" else "LLM",
                }
            ),
            instrument="gen_ai.client.operation.duration",
        )

    def tool(
        self,
        name: str,
        *,
        parent: str | None = None,
        call_id: str = "",
        description: str = "",
        tool_type: str = "function",
        task_id: str = "",
        conversation_id: str = "",
        arguments: Any = None,
    ) -> Span:
        """`execute_tool {name}`; covers the MCP call, which gets no span of its own."""
        span = self.start(
            f"execute_tool {name}",
            parent=parent,
            attributes=_present(
                {
                    "gen_ai.operation.name": "execute_tool",
                    "gen_ai.tool.name": name,
                    "gen_ai.tool.type": tool_type,
                    "gen_ai.tool.description": description,
                    "gen_ai.tool.call.id": call_id,
                    "gen_ai.conversation.id": conversation_id,
                    "mcp.method.name": "tools/call",
                    "a2a.task.id": task_id,
                    "openinference.span.kind": "TOOL",
                }
            ),
            instrument="gen_ai.execute_tool.duration",
        )
        span.content("gen_ai.tool.call.arguments", arguments)
        return span

    def memory(
        self,
        operation: MemoryOperation,
        *,
        parent: str | None = None,
        store_id: str = "",
        record_id: str = "",
        record_count: int | None = None,
        query: str | None = None,
        task_id: str = "",
        conversation_id: str = "",
    ) -> Span:
        """`search_memory`, `create_memory` and their like, on the experience store."""
        span = self.start(
            operation,
            parent=parent,
            attributes=_present(
                {
                    "gen_ai.operation.name": operation,
                    "gen_ai.provider.name": SCOPE,
                    "gen_ai.memory.store.id": store_id or self.network,
                    "gen_ai.memory.record.id": record_id,
                    "gen_ai.memory.record.count": record_count,
                    "gen_ai.conversation.id": conversation_id,
                    "a2a.task.id": task_id,
                    "openinference.span.kind": (
                        "RETRIEVER" if operation == "search_memory" else "CHAIN"
                    ),
                }
            ),
        )
        span.content("gen_ai.memory.query.text", query)
        return span

    def a2a(
        self,
        method: str,
        *,
        server: bool,
        parent: str | None = None,
        tracestate: str = "",
        message_id: str = "",
        task_id: str = "",
        task_state: str = "",
        conversation_id: str = "",
        tenant: str = "",
        version: str = "1.0",
        agent: str = "",
        reference_task_ids: Sequence[str] = (),
        address: Address | None = None,
    ) -> Span:
        """`SendMessage` and its like: SERVER where the call arrives, CLIENT where it leaves."""
        return self.start(
            method,
            kind=SpanKind.SERVER if server else SpanKind.CLIENT,
            parent=parent,
            tracestate=tracestate,
            attributes=_present(
                {
                    "a2a.method.name": method,
                    "a2a.protocol.version": version,
                    "a2a.message.id": message_id,
                    "a2a.message.reference_task_ids": list(reference_task_ids) or None,
                    "a2a.task.id": task_id,
                    "a2a.task.state": task_state,
                    "a2a.tenant": tenant,
                    "gen_ai.conversation.id": conversation_id,
                    "gen_ai.agent.name": agent,
                    **_server(address),
                    "openinference.span.kind": "AGENT",
                }
            ),
        )

    def journal_batch(self, size: int) -> None:
        """Count one group commit of `size` journal writes."""
        instrument = self._instruments.get("repertory.journal.batch.size")
        if instrument is not None:
            instrument.record(size)

    def watch_mailboxes(self, depths: Callable[[], Mapping[str, int]]) -> None:
        """Read the messages waiting for each agent from `depths` whenever metrics are collected."""
        if self._meter is None:
            return
        from opentelemetry.metrics import CallbackOptions, Observation

        def read(_: CallbackOptions) -> Iterable[Observation]:
            return [
                Observation(depth, {"gen_ai.agent.name": agent})
                for agent, depth in depths().items()
            ]

        self._meter.create_observable_gauge(
            "repertory.mailbox.depth",
            callbacks=[read],
            unit="{message}",
            description="Messages waiting in an agent's mailbox",
        )

    def _make_instruments(self) -> None:
        meter = self._meter
        assert meter is not None
        for name, words in (
            ("gen_ai.client.operation.duration", "GenAI operation duration"),
            ("gen_ai.invoke_agent.duration", "Duration of an agent's turn"),
            ("gen_ai.execute_tool.duration", "Duration of a tool call"),
            ("gen_ai.workflow.duration", "Duration of a workflow"),
        ):
            self._instruments[name] = meter.create_histogram(
                name, unit="s", description=words, explicit_bucket_boundaries_advisory=_SECONDS
            )
        self._instruments["gen_ai.client.token.usage"] = meter.create_histogram(
            "gen_ai.client.token.usage",
            unit="{token}",
            description="Input and output tokens used",
            explicit_bucket_boundaries_advisory=_TOKENS,
        )
        self._instruments["repertory.journal.batch.size"] = meter.create_histogram(
            "repertory.journal.batch.size",
            unit="{write}",
            description="Journal writes per group commit",
            explicit_bucket_boundaries_advisory=(1, 2, 4, 8, 16, 32, 64, 128, 256),
        )

    def _sample(
        self,
        name: str,
        kind: SpanKind,
        above: tuple[int, int, int] | None,
        trace_id: int,
        attributes: dict[str, Value],
    ) -> int:
        decision = self._sampler.should_sample(
            _parent_context(above, "") if above else otel_context.Context(),
            trace_id,
            name,
            kind,
            attributes,
        ).decision
        return ((above[2] if above else 0) & 0xFE) | (1 if decision.is_sampled() else 0)

    def _start_sdk(
        self,
        name: str,
        kind: SpanKind,
        above: tuple[int, int, int] | None,
        tracestate: str,
        attributes: dict[str, Value],
        links: Sequence[tuple[int, int, int]],
        instrument: str,
    ) -> Span:
        assert self._tracer is not None
        sdk = self._tracer.start_span(
            name,
            _parent_context(above, tracestate) if above else otel_context.Context(),
            kind,
            attributes,
            [otel_trace.Link(_span_context(link, "")) for link in links],
            record_exception=False,
            set_status_on_exception=False,
        )
        own = sdk.get_span_context()
        return Span(
            self,
            name,
            kind,
            (own.trace_id, own.span_id, above[1] if above else 0, int(own.trace_flags)),
            attributes,
            recording=sdk.is_recording(),
            tracestate=own.trace_state.to_header(),
            links=links,
            instrument=instrument,
            sdk=sdk,
        )

    def _seen(self, span: Span) -> Span:
        """Store an agent's or workflow's span at its start too, so that a running task has a tree."""
        if span.recording and self.store is not None:
            self.store.add(span)
        return span

    def _ended(self, span: Span, sdk: otel_trace.Span | None) -> None:
        if span.recording:
            if self.store is not None:
                self.store.add(span)
            if sdk is not None:
                sdk.set_attributes(span.attributes)
                for name, at, facts in span.events:
                    sdk.add_event(name, facts, at)
                if span.error is not None:
                    sdk.set_status(otel_trace.StatusCode.ERROR, span.error)
            elif self.processors:
                readable = self._readable(span)
                for processor in self.processors:
                    processor.on_end(readable)
        if sdk is not None:
            sdk.end(span.end_ns)
        if self._instruments and span._instrument:
            self._measure(span)

    def _readable(self, span: Span) -> "ReadableSpan":
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import Event, ReadableSpan
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope

        if self.resource is None:
            self.resource = Resource({"service.name": self.network})
        parent = (span.trace_id, span.parent_id, span.flags)
        return ReadableSpan(
            name=span.name,
            context=_span_context((span.trace_id, span.span_id, span.flags), span.tracestate),
            parent=_span_context(parent, "") if span.parent_id else None,
            resource=self.resource,
            attributes=span.attributes,
            events=[Event(name, facts, at) for name, at, facts in span.events],
            links=[otel_trace.Link(_span_context(link, "")) for link in span.links],
            kind=span.kind,
            status=otel_trace.Status(otel_trace.StatusCode.ERROR, span.error)
            if span.error is not None
            else otel_trace.Status(),
            start_time=span.start_ns,
            end_time=span.end_ns,
            instrumentation_scope=InstrumentationScope(SCOPE),
        )

    def _measure(self, span: Span) -> None:
        said = span.attributes
        facts = {name: said[name] for name in _DIMENSIONS[span._instrument] if name in said}
        assert span.end_ns is not None
        # A clock set back must not make a negative duration.
        self._instruments[span._instrument].record(max(0, span.end_ns - span.start_ns) / 1e9, facts)
        if span._instrument != "gen_ai.client.operation.duration":
            return
        usage = self._instruments["gen_ai.client.token.usage"]
        for direction in ("input", "output"):
            tokens = said.get(f"gen_ai.usage.{direction}_tokens")
            if isinstance(tokens, int):
                usage.record(tokens, {**facts, "gen_ai.token.type": direction})


_MODEL_DIMENSIONS = (
    "gen_ai.operation.name",
    "gen_ai.provider.name",
    "gen_ai.request.model",
    "gen_ai.response.model",
    "server.address",
    "server.port",
    "error.type",
)
_DIMENSIONS: Mapping[str, tuple[str, ...]] = {
    "gen_ai.client.operation.duration": _MODEL_DIMENSIONS,
    "gen_ai.invoke_agent.duration": ("gen_ai.agent.name", "gen_ai.request.model", "error.type"),
    "gen_ai.execute_tool.duration": ("gen_ai.tool.name", "error.type"),
    "gen_ai.workflow.duration": ("gen_ai.workflow.name", "error.type"),
}


@asynccontextmanager
async def open_telemetry(
    *,
    network: str = "default",
    tracer_provider: "TracerProvider | None" = None,
    meter_provider: "MeterProvider | None" = None,
    store: SpanStore | None = None,
    processors: Sequence["SpanProcessor"] = (),
    metric_readers: Sequence["MetricReader"] = (),
    content: bool = False,
    spans: bool = True,
) -> AsyncIterator[Telemetry]:
    """Open a network's telemetry; leaving flushes it, for five seconds at the most.

    Spans and metrics go out over OTLP (http/protobuf) where the standard variables
    name an endpoint, unless a provider of the user's takes them.
    processors, metric_readers: further ways out, for tests and for users.
    """
    resource = None
    exporters: list[SpanProcessor] = list(processors)
    if spans and tracer_provider is None and _exports("TRACES"):
        resource = _resource(network)
        exporters.append(_otlp_spans())
    own_meters: Any = None
    readers = list(metric_readers)
    if meter_provider is None:
        if _exports("METRICS"):
            readers.append(_otlp_metrics())
        if readers:
            from opentelemetry.sdk.metrics import MeterProvider as SdkMeters

            own_meters = meter_provider = SdkMeters(
                readers, resource or _resource(network), shutdown_on_exit=False
            )
    telemetry = Telemetry(
        tracer_provider=tracer_provider,
        meter_provider=meter_provider,
        store=store,
        processors=exporters,
        resource=resource,
        content=content,
        spans=spans,
        network=network,
    )
    try:
        async with create_task_group() as tasks:
            if store is not None:
                tasks.start_soon(store.run)
            try:
                yield telemetry
            finally:
                if store is not None:
                    with CancelScope(shield=True):
                        await store.aclose()
                await _shut_down(exporters, own_meters)
    except BaseExceptionGroup as group:
        # The store's task raises nothing, so a single exception is the block's own.
        if len(group.exceptions) == 1:
            raise group.exceptions[0] from None
        raise


async def _shut_down(exporters: Sequence["SpanProcessor"], meters: Any) -> None:
    def close() -> None:
        for processor in exporters:
            processor.force_flush(int(_FLUSH_SECONDS * 1000))
            processor.shutdown()
        if meters is not None:
            meters.shutdown(timeout_millis=_FLUSH_SECONDS * 1000)

    if exporters or meters is not None:
        with move_on_after(_FLUSH_SECONDS + 1, shield=True):
            await to_thread.run_sync(close, abandon_on_cancel=True)


def _exports(signal: str) -> bool:
    variables = os.environ
    if variables.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    if variables.get(f"OTEL_{signal}_EXPORTER", "otlp").strip().lower() != "otlp":
        return False
    endpoint = variables.get(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT") or variables.get(
        "OTEL_EXPORTER_OTLP_ENDPOINT"
    )
    if not endpoint:
        return False
    spoken = variables.get(f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL") or variables.get(
        "OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"
    )
    if spoken != "http/protobuf":
        logger.warning(
            "OTLP goes out as http/protobuf; the environment asks for %r, which is not spoken here",
            spoken,
        )
    return True


def _otlp_spans() -> "SpanProcessor":
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    size = int(os.environ.get("OTEL_BSP_MAX_QUEUE_SIZE") or _QUEUE)
    return BatchSpanProcessor(OTLPSpanExporter(), max_queue_size=size)


def _otlp_metrics() -> "MetricReader":
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    return PeriodicExportingMetricReader(OTLPMetricExporter())


def _resource(network: str) -> "Resource":
    from opentelemetry.sdk.resources import Resource

    named = "OTEL_SERVICE_NAME" in os.environ or "service.name=" in os.environ.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    )
    return Resource.create({} if named else {"service.name": network})


def _present(attributes: Mapping[str, Value | None]) -> dict[str, Value]:
    return {name: value for name, value in attributes.items() if value is not None and value != ""}


def _server(address: Address | None) -> dict[str, Value]:
    return {} if address is None else {"server.address": address[0], "server.port": address[1]}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)


@lru_cache(maxsize=256)
def _tracestate(header: str) -> TraceState:
    return TraceState.from_header([header]) if header else TraceState()


def _span_context(ids: tuple[int, int, int], tracestate: str) -> SpanContext:
    return SpanContext(ids[0], ids[1], True, TraceFlags(ids[2]), _tracestate(tracestate))


@lru_cache(maxsize=1024)
def _parent_context(ids: tuple[int, int, int], tracestate: str) -> otel_context.Context:
    span = otel_trace.NonRecordingSpan(_span_context(ids, tracestate))
    return otel_trace.set_span_in_context(span, otel_context.Context())
