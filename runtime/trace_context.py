"""W3C Trace Context as strings, and what may be told of an error.

A traceparent travels as text in calls, journals and `_meta`, so that a trace goes
on over processes and restarts. Nothing here is ambient but `current_traceparent`.
"""

import re
from functools import lru_cache

from opentelemetry import trace
from opentelemetry.trace import SpanContext, TraceFlags, TraceState

from repertory.protocol import RepertoryError

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:\Z|-)")
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
    ambient = trace.get_current_span().get_span_context()
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


@lru_cache(maxsize=256)
def read_tracestate(header: str) -> TraceState:
    """A `tracestate` header in OpenTelemetry's terms; an invalid one is empty."""
    return TraceState.from_header([header]) if header else TraceState()


def span_context(ids: tuple[int, int, int], tracestate: str, *, remote: bool = True) -> SpanContext:
    """Trace id, span id and flags in OpenTelemetry's terms."""
    return SpanContext(ids[0], ids[1], remote, TraceFlags(ids[2]), read_tracestate(tracestate))
