"""What a network says of its own work: OpenTelemetry spans and metrics, by GenAI's names.

Spans go to the network's own store (`spans`), over OTLP where the standard
environment variables name an endpoint (`otlp`), and to a tracer provider of the
user's where one is given. Nothing is set globally, and two networks of one
process share nothing unless they are given the same providers. How spans are
called is `named_spans`; when they begin and end is the runtime's matter.
"""

import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import TYPE_CHECKING

from anyio import CancelScope, create_task_group, move_on_after, to_thread
from opentelemetry import context as otel_context
from opentelemetry import trace as otel_trace
from opentelemetry.trace import SpanKind

from .live_span import Span, Value
from .meters import Meters
from .named_spans import SCOPE, NamedSpans
from .otlp import exports, network_resource, otlp_metrics, otlp_spans
from .spans import SpanStore
from .trace_context import current_traceparent, parse_traceparent, span_context

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.sdk.metrics import MeterProvider as SdkMeterProvider
    from opentelemetry.sdk.metrics.export import MetricReader
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
    from opentelemetry.sdk.trace.sampling import Sampler
    from opentelemetry.trace import TracerProvider

Parent = tuple[int, int, int]

_FLUSH_SECONDS = 5.0


class Telemetry(NamedSpans):
    """One network's spans and metrics; open it with `open_telemetry`, which also flushes it.

    tracer_provider, meter_provider: the user's own, never shut down here.
    processors: SDK span processors; they see spans when they end, not when they
    start. content: whether messages, arguments and results may become attributes.
    spans: False makes every span hand on its parent's traceparent unchanged. on_end:
    called with every recorded span as it ends; it must not wait.
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
        self._store = store
        self._processors = tuple(processors)
        self._resource = resource
        # Not the module's random: a program that seeds it would repeat its span ids.
        self._ids = Random()
        self._tracer = tracer_provider.get_tracer(SCOPE) if tracer_provider else None
        self._sampler = _environment_sampler() if tracer_provider is None and spans else None
        self._follows_parent = os.environ.get("OTEL_TRACES_SAMPLER", "").startswith("parentbased_")
        self._meters = Meters(meter_provider, SCOPE) if meter_provider else None
        self.on_end: Callable[[Span], None] | None = None
        if self._meters is not None and store is not None:
            self._meters.watch_dropped(lambda: store.dropped)

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
        running: bool = False,
    ) -> Span:
        """Start a span under `parent`, a traceparent.

        parent: None means the span that is current in this context, "" a new
        trace; what is no traceparent counts as "". links: traceparents of spans
        that belong with this one. instrument: the histogram that takes its
        duration. running: keep it in the store from its start, so that a task
        that runs, or was killed, has a tree.
        """
        if parent is None:
            parent = current_traceparent()
        above = parse_traceparent(parent) if parent else None
        if above is None:
            tracestate = ""
        facts = attributes if attributes is not None else {}
        sdk = None
        linked = [found for one in links if (found := parse_traceparent(one))]
        if not self.spans:
            ids = (above[0], above[1], 0, above[2]) if above else (0, 0, 0, 0)
            recording = False
        elif self._tracer is not None:
            sdk = self._start_sdk(name, kind, above, tracestate, facts, linked)
            own = sdk.get_span_context()
            ids = (own.trace_id, own.span_id, above[1] if above else 0, int(own.trace_flags))
            tracestate = own.trace_state.to_header()
            recording = sdk.is_recording()
        else:
            ids = self._new_ids(name, kind, above, facts)
            recording = bool(ids[3] & 1)
        span = Span(
            self,
            name,
            kind,
            ids,
            facts,
            recording=recording,
            tracestate=tracestate,
            links=linked,
            instrument=instrument,
            sdk=sdk,
        )
        if running and recording and self._store is not None:
            self._store.add(span)
        return span

    def ended(self, span: Span) -> None:
        """Send an ended span wherever spans go; called by the span itself."""
        if span.recording:
            if self.on_end is not None:
                self.on_end(span)
            if self._store is not None:
                self._store.add(span)
            if self._processors:
                readable = self._readable(span)
                for processor in self._processors:
                    processor.on_end(readable)
        if span.sdk is not None:
            _end_sdk(span, span.sdk)
        if self._meters is not None and span.instrument:
            self._meters.ended(span)

    def journal_batch(self, size: int) -> None:
        """Count one group commit of `size` journal writes."""
        if self._meters is not None:
            self._meters.journal_batch(size)

    def watch_mailboxes(self, depths: Callable[[], Mapping[str, int]]) -> None:
        """Read the messages waiting for each agent whenever metrics are collected.

        depths: called on the metric reader's own thread.
        """
        if self._meters is not None:
            self._meters.watch_mailboxes(depths)

    def _new_ids(
        self, name: str, kind: SpanKind, above: Parent | None, facts: dict[str, Value]
    ) -> tuple[int, int, int, int]:
        if above is not None:
            trace_id, parent_id, flags = above
        else:
            trace_id, parent_id, flags = self._ids.getrandbits(128) or 1, 0, 1
        # A parent-based sampler would only read back the parent's own flag, at twice the cost.
        if self._sampler is not None and (above is None or not self._follows_parent):
            context = _parent_context(above, "") if above else otel_context.Context()
            decision = self._sampler.should_sample(context, trace_id, name, kind, facts).decision
            flags = (flags & 0xFE) | (decision.name == "RECORD_AND_SAMPLE")
        return trace_id, self._ids.getrandbits(64) or 1, parent_id, flags

    def _start_sdk(
        self,
        name: str,
        kind: SpanKind,
        above: Parent | None,
        tracestate: str,
        facts: dict[str, Value],
        links: Sequence[Parent],
    ) -> otel_trace.Span:
        assert self._tracer is not None
        return self._tracer.start_span(
            name,
            _parent_context(above, tracestate) if above else otel_context.Context(),
            kind,
            facts,
            [otel_trace.Link(span_context(link, "")) for link in links],
            record_exception=False,
            set_status_on_exception=False,
        )

    def _readable(self, span: Span) -> "ReadableSpan":
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import Event, ReadableSpan
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope

        if self._resource is None:
            self._resource = Resource({"service.name": self.network})
        above = (span.trace_id, span.parent_id, span.flags)
        return ReadableSpan(
            name=span.name,
            context=span_context((span.trace_id, span.span_id, span.flags), span.tracestate),
            parent=span_context(above, "") if span.parent_id else None,
            resource=self._resource,
            attributes=span.attributes,
            events=[Event(name, facts, at) for name, at, facts in span.events],
            links=[otel_trace.Link(span_context(link, "")) for link in span.links],
            kind=span.kind,
            status=_status(span),
            start_time=span.start_ns,
            end_time=span.end_ns,
            instrumentation_scope=InstrumentationScope(SCOPE),
        )


@dataclass(slots=True)
class _WaysOut:
    """The SDK's part of a network's telemetry: what is opened here is closed here."""

    processors: list["SpanProcessor"]
    readers: list["MetricReader"]
    resource: "Resource | None" = None
    meters: "SdkMeterProvider | None" = None

    def build(self, network: str, traces: bool, metrics: bool) -> None:
        self.resource = network_resource(network)
        if traces:
            self.processors.append(otlp_spans())
        if metrics:
            self.readers.append(otlp_metrics())
        if self.readers:
            from opentelemetry.sdk.metrics import MeterProvider

            self.meters = MeterProvider(self.readers, self.resource, shutdown_on_exit=False)

    async def aclose(self) -> None:
        if self.processors or self.meters is not None:
            with move_on_after(_FLUSH_SECONDS + 1):
                await to_thread.run_sync(self._close, abandon_on_cancel=True)

    def _close(self) -> None:
        for processor in self.processors:
            processor.force_flush(int(_FLUSH_SECONDS * 1000))
            processor.shutdown()
        if self.meters is not None:
            self.meters.shutdown(timeout_millis=_FLUSH_SECONDS * 1000)


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
    otlp: bool = True,
) -> AsyncIterator[Telemetry]:
    """Open a network's telemetry; leaving flushes it, for some seconds at the most.

    Spans and metrics go out over OTLP (http/protobuf) where the standard variables
    name an endpoint, unless a provider of the user's takes them or `otlp` is False.
    store: written behind until the block ends, so it must outlive the block's own
    work and its database must outlive this. processors, metric_readers: further
    ways out, closed here.
    """
    trace_out = otlp and spans and tracer_provider is None and exports("TRACES")
    metrics_out = otlp and meter_provider is None and exports("METRICS")
    ways = _WaysOut(list(processors), list(metric_readers) if meter_provider is None else [])
    if trace_out or metrics_out or ways.readers:
        # The SDK detects resources on threads and waits for them.
        await to_thread.run_sync(ways.build, network, trace_out, metrics_out)
    telemetry = Telemetry(
        tracer_provider=tracer_provider,
        meter_provider=meter_provider or ways.meters,
        store=store,
        processors=ways.processors,
        resource=ways.resource,
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
                with CancelScope(shield=True):
                    if store is not None:
                        await store.aclose()
                    await ways.aclose()
    except BaseExceptionGroup as group:
        # The store's task raises nothing, so a single exception is the block's own.
        if len(group.exceptions) == 1:
            raise group.exceptions[0] from None
        raise


def _end_sdk(span: Span, sdk: otel_trace.Span) -> None:
    if span.recording:
        sdk.set_attributes(span.attributes)
        for name, at, facts in span.events:
            sdk.add_event(name, facts, at)
        if span.error is not None:
            sdk.set_status(_status(span))
    sdk.end(span.end_ns)


def _status(span: Span) -> otel_trace.Status:
    if span.error is None:
        return otel_trace.Status()
    return otel_trace.Status(otel_trace.StatusCode.ERROR, span.error or None)


def _environment_sampler() -> "Sampler | None":
    """The sampler that OTEL_TRACES_SAMPLER names; None for the default, parentbased_always_on."""
    if os.environ.get("OTEL_TRACES_SAMPLER", "parentbased_always_on") == "parentbased_always_on":
        return None
    from opentelemetry.sdk.trace import TracerProvider as SdkTracerProvider

    return SdkTracerProvider(shutdown_on_exit=False).sampler


@lru_cache(maxsize=1024)
def _parent_context(ids: Parent, tracestate: str) -> otel_context.Context:
    span = otel_trace.NonRecordingSpan(span_context(ids, tracestate))
    return otel_trace.set_span_in_context(span, otel_context.Context())
