"""The metrics of a network: GenAI's durations and tokens, mailbox depth, journal batches."""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from .live_span import Span

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation

MODEL_SECONDS = "gen_ai.client.operation.duration"
AGENT_SECONDS = "gen_ai.invoke_agent.duration"
TOOL_SECONDS = "gen_ai.execute_tool.duration"
WORKFLOW_SECONDS = "gen_ai.workflow.duration"
TOKENS = "gen_ai.client.token.usage"
BATCH_SIZE = "repertory.journal.batch.size"
MAILBOX_DEPTH = "repertory.mailbox.depth"
DROPPED_SPANS = "repertory.spans.dropped"

# The conventions' own buckets.
_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304)
_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_SPAN_HISTOGRAMS = {
    MODEL_SECONDS: "Duration of one request to a model",
    AGENT_SECONDS: "Duration of one turn of an agent",
    TOOL_SECONDS: "Duration of one tool call",
    WORKFLOW_SECONDS: "Duration of one workflow",
}
_DIMENSIONS: Mapping[str, tuple[str, ...]] = {
    MODEL_SECONDS: (
        "gen_ai.operation.name",
        "gen_ai.provider.name",
        "gen_ai.request.model",
        "gen_ai.response.model",
        "server.address",
        "server.port",
        "error.type",
    ),
    AGENT_SECONDS: ("gen_ai.agent.name", "gen_ai.request.model", "error.type"),
    TOOL_SECONDS: ("gen_ai.tool.name", "error.type"),
    WORKFLOW_SECONDS: ("gen_ai.workflow.name", "error.type"),
}


class Meters:
    """The instruments of one network on a meter provider."""

    def __init__(self, provider: "MeterProvider", scope: str) -> None:
        self._meter = meter = provider.get_meter(scope)
        self._seconds = {
            name: meter.create_histogram(
                name, unit="s", description=words, explicit_bucket_boundaries_advisory=_SECONDS
            )
            for name, words in _SPAN_HISTOGRAMS.items()
        }
        self._tokens = meter.create_histogram(
            TOKENS,
            unit="{token}",
            description="Tokens in and out of models",
            explicit_bucket_boundaries_advisory=_TOKENS,
        )
        self._batches = meter.create_histogram(
            BATCH_SIZE,
            unit="{write}",
            description="Journal writes in one group commit",
            explicit_bucket_boundaries_advisory=_BATCHES,
        )

    def journal_batch(self, size: int) -> None:
        """Count one group commit of `size` journal writes."""
        self._batches.record(size)

    def watch_mailboxes(self, depths: Callable[[], Mapping[str, int]]) -> None:
        """Read the messages waiting for each agent from `depths` whenever metrics are collected."""
        from opentelemetry.metrics import Observation

        def read(_: "CallbackOptions") -> "Iterable[Observation]":
            now = depths()
            return [Observation(depth, {"gen_ai.agent.name": name}) for name, depth in now.items()]

        self._meter.create_observable_gauge(
            MAILBOX_DEPTH,
            callbacks=[read],
            unit="{message}",
            description="Messages waiting in an agent's mailbox",
        )

    def watch_dropped(self, dropped: Callable[[], int]) -> None:
        """Read how many spans the store could not keep."""
        from opentelemetry.metrics import Observation

        def read(_: "CallbackOptions") -> "Iterable[Observation]":
            return [Observation(dropped())]

        self._meter.create_observable_counter(
            DROPPED_SPANS,
            callbacks=[read],
            unit="{span}",
            description="Spans that the network's store did not keep",
        )

    def ended(self, span: Span) -> None:
        """Record the duration of an ended span, and a model's tokens."""
        said = span.attributes
        facts = {name: said[name] for name in _DIMENSIONS[span.instrument] if name in said}
        # A clock set back must not make a negative duration.
        seconds = max(0, (span.end_ns or 0) - span.start_ns) / 1e9
        self._seconds[span.instrument].record(seconds, facts)
        if span.instrument != MODEL_SECONDS:
            return
        for direction in ("input", "output"):
            tokens = said.get(f"gen_ai.usage.{direction}_tokens")
            if isinstance(tokens, int):
                self._tokens.record(tokens, {**facts, "gen_ai.token.type": direction})
