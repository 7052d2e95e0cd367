"""A span while it is timed: plain facts, which become OpenTelemetry's only on their way out.

The SDK's live span costs ten times as much, and most spans only go to the
network's own store. Where a tracer provider of the user's is in charge, each of
these stands before a span of its SDK.
"""

import json
from collections.abc import Mapping, Sequence
from time import time_ns
from types import TracebackType
from typing import Any, Protocol, Self

from opentelemetry import context as otel_context
from opentelemetry import trace as otel_trace
from opentelemetry.trace import SpanKind

from repertory.protocol import RepertoryError

from .spans import SpanRow
from .trace_context import (
    error_type,
    format_traceparent,
    parse_traceparent,
    scrub,
    span_context,
)

Value = str | bool | int | float | Sequence[str] | Sequence[int] | Sequence[float]


class Recorder(Protocol):
    """Where a span goes when it ends, and whether what was said may be kept."""

    content: bool

    def ended(self, span: "Span") -> None:
        """Take a span that has just ended."""
        ...


class Span:
    """One timed piece of work; ends once, by `end` or by leaving its block.

    In a `with` block it is also current in the context, so that instrumented
    libraries of others join the trace; without one nothing ambient is touched.
    """

    __slots__ = (
        "_recorder",
        "_token",
        "attributes",
        "end_ns",
        "error",
        "events",
        "flags",
        "instrument",
        "kind",
        "links",
        "name",
        "parent_id",
        "recording",
        "sdk",
        "span_id",
        "start_ns",
        "trace_id",
        "tracestate",
    )

    def __init__(
        self,
        recorder: Recorder,
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
        self._recorder = recorder
        self.sdk = sdk
        self.instrument = instrument
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
        if value is not None and self.recording and self._recorder.content:
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
        self._recorder.ended(self)

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
            kind=self.kind.name,
            start_ns=self.start_ns,
            end_ns=self.end_ns,
            status="UNSET" if self.error is None else "ERROR",
            attributes=attributes,
            task_id=str(attributes.get("a2a.task.id", "")),
        )

    def _context(self) -> otel_trace.Span:
        if self.sdk is not None:
            return self.sdk
        ids = (self.trace_id, self.span_id, self.flags)
        return otel_trace.NonRecordingSpan(span_context(ids, self.tracestate, remote=False))

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


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
