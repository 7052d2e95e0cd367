"""OTLP by the standard environment variables, as http/protobuf; loaded only when used.

The exporters read `OTEL_EXPORTER_OTLP_*`, `OTEL_BSP_*` and `OTEL_METRIC_EXPORT_*`
themselves. Whether an endpoint is named at all is decided here.
"""

import logging
import os
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricReader
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import SpanProcessor

logger = logging.getLogger(__name__)

# The SDK's default of 2,048 drops spans in a burst of a hundred tasks.
_QUEUE = 32_768


def exports(signal: Literal["TRACES", "METRICS"]) -> bool:
    """Whether the environment names an OTLP endpoint for `signal` and does not disable it."""
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


def otlp_spans() -> "SpanProcessor":
    """A processor that sends ended spans in batches, on a thread of its own."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    size = int(os.environ.get("OTEL_BSP_MAX_QUEUE_SIZE") or _QUEUE)
    return BatchSpanProcessor(OTLPSpanExporter(), max_queue_size=size)


def otlp_metrics() -> "MetricReader":
    """A reader that sends the metrics every so often, on a thread of its own."""
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    return PeriodicExportingMetricReader(OTLPMetricExporter())


def network_resource(network: str) -> "Resource":
    """What the environment says of this service; its name is the network's where it says none."""
    from opentelemetry.sdk.resources import Resource

    named = "OTEL_SERVICE_NAME" in os.environ or "service.name=" in os.environ.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    )
    return Resource.create({} if named else {"service.name": network})
