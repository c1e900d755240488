"""Single parts of a request, encoded by opentelemetry's own encoder.

For what the quick encoders here do not take: a value of a kind that they do not know, or one
that cannot be encoded. Its encoder then decides what becomes of it, and says so in its log.
"""

from typing import Any

from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.metrics.export import MetricsData, ResourceMetrics, ScopeMetrics
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

__all__ = ["log", "metric", "resource", "scope", "span"]


def span(record: Any) -> bytes:
    """A `Span`."""
    group = encode_spans([record]).resource_spans[0]
    made: bytes = group.scope_spans[0].spans[0].SerializeToString()
    return made


def log(record: Any) -> bytes:
    """A `LogRecord`."""
    group = encode_logs([record]).resource_logs[0]
    made: bytes = group.scope_logs[0].log_records[0].SerializeToString()
    return made


def metric(record: Any) -> bytes:
    """A `Metric`."""
    group = _metrics(Resource.get_empty(), ScopeMetrics(InstrumentationScope(""), [record], ""))
    made: bytes = group.scope_metrics[0].metrics[0].SerializeToString()
    return made


def resource(record: Any) -> bytes:
    """A `Resource`."""
    made: bytes = _metrics(record).resource.SerializeToString()
    return made


def scope(record: Any) -> bytes:
    """An `InstrumentationScope`."""
    group = _metrics(Resource.get_empty(), ScopeMetrics(record, [], ""))
    made: bytes = group.scope_metrics[0].scope.SerializeToString()
    return made


def _metrics(above: Any, *scopes: ScopeMetrics) -> Any:
    request = encode_metrics(MetricsData([ResourceMetrics(above, scopes, "")]))
    return request.resource_metrics[0]
