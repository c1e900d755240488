"""Small elements of each signal, valid down to their ids."""

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality

from rxotlp.data import Signal, TelemetryData
from rxotlp.testing.elements import logs, spans

__all__ = ["sample"]


def sample(signal: Signal, records: int) -> TelemetryData:
    """An element with so many records; without any it has no group either."""
    if not records:
        return TelemetryData.from_bytes(signal, b"")
    if signal is Signal.LOGS:
        return logs(range(records))
    if signal is Signal.TRACES:
        return spans(range(records))
    request = ExportMetricsServiceRequest()
    group = request.resource_metrics.add()
    group.resource.attributes.add(key="service.name").value.string_value = "test"
    metric = group.scope_metrics.add().metrics.add(name="requests", unit="1")
    metric.sum.is_monotonic = True
    metric.sum.aggregation_temporality = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
    for number in range(records):
        metric.sum.data_points.add(as_int=number, start_time_unix_nano=1, time_unix_nano=2)
    return TelemetryData.from_message(request)
