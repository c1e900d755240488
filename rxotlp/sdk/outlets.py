"""`SpanExporter`, `LogExporter` and `MetricExporter`, for processors and readers of the SDK.

    MeterProvider([PeriodicExportingMetricReader(MetricExporter())])

They take a batch in and say at once whether there was room for it. What becomes of it later
is in `statistics()` and `books`: an SDK processor does nothing with a failure but log it,
while here a failed batch is sent again.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.metrics import export as sdk_metrics
from opentelemetry.sdk.metrics.view import Aggregation
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace import export as sdk_trace

from rxotlp.data import Signal
from rxotlp.operators._shell import Operator
from rxotlp.operators.export import Exporter
from rxotlp.sdk.bridge import Bridge, Bridged
from rxotlp.sdk.encoding import LOGS, METRICS, TRACES, Encoding
from rxotlp.sdk.settings import limits
from rxotlp.sdk.settings import preferred_aggregation as _aggregation
from rxotlp.sdk.settings import preferred_temporality as _temporality

__all__ = ["LogExporter", "MetricExporter", "SpanExporter"]

# Whoever calls has batched already: what it brings leaves soon, with what came with it.
_SOON = 0.05  # seconds
_VARIABLES = {  # of whose family ..._EXPORT_TIMEOUT is
    Signal.TRACES: "OTEL_BSP",
    Signal.LOGS: "OTEL_BLRP",
    Signal.METRICS: "OTEL_METRIC",
}
_MAX_POINTS = 65536  # of metrics; each collection brings all streams again


class _Outlet(Bridged):
    def __init__(
        self,
        encoding: Encoding,
        operators: Sequence[Operator],
        exporter: Exporter | None,
        max_queue_size: int,
        max_queue_bytes: int | None,
        export_timeout: float | None,
    ) -> None:
        chosen = limits(
            type(self).__name__,
            _VARIABLES[encoding.signal],
            _SOON,
            max_queue_size=max_queue_size,
            max_queue_bytes=max_queue_bytes,
            max_export_batch_size=min(512, max(1, max_queue_size)),
            schedule_delay=_SOON,
            export_timeout=export_timeout,
        )
        self._bridge = Bridge(type(self).__name__, encoding, operators, exporter, chosen)

    def _offer_all(self, records: Sequence[Any]) -> bool:
        taken = [self._bridge.offer(record) for record in records]
        return all(taken)


class SpanExporter(_Outlet, sdk_trace.SpanExporter):
    """Sends spans through operators to an exporter.

    Args:
        operators: applied in order before the export.
        exporter: see `BatchSpanProcessor`.
        max_queue_size: spans held at once, 1 or more.
        max_queue_bytes: see `BatchSpanProcessor`.
        export_timeout: seconds for one attempt and for a shutdown.
    """

    def __init__(
        self,
        *operators: Operator,
        exporter: Exporter | None = None,
        max_queue_size: int = 2048,
        max_queue_bytes: int | None = None,
        export_timeout: float | None = None,
    ) -> None:
        super().__init__(
            TRACES, operators, exporter, max_queue_size, max_queue_bytes, export_timeout
        )

    def export(self, spans: Sequence[ReadableSpan]) -> sdk_trace.SpanExportResult:
        """Take spans in; FAILURE when there was not room for all."""
        result = sdk_trace.SpanExportResult
        return result.SUCCESS if self._offer_all(spans) else result.FAILURE

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Deliver what came so far. False when that took longer than it may."""
        return self._flush(timeout_millis)

    def shutdown(self, timeout_millis: float | None = None) -> None:
        """Deliver what is held, with one more attempt for each batch, and end the thread."""
        self._shutdown(timeout_millis)


class LogExporter(_Outlet, LogRecordExporter):
    """Sends log records through operators to an exporter.

    Args: as of `SpanExporter`, for log records.
    """

    def __init__(
        self,
        *operators: Operator,
        exporter: Exporter | None = None,
        max_queue_size: int = 2048,
        max_queue_bytes: int | None = None,
        export_timeout: float | None = None,
    ) -> None:
        super().__init__(LOGS, operators, exporter, max_queue_size, max_queue_bytes, export_timeout)

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """Take log records in; FAILURE when there was not room for all."""
        result = LogRecordExportResult
        return result.SUCCESS if self._offer_all(batch) else result.FAILURE

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Deliver what came so far. False when that took longer than it may."""
        return self._flush(timeout_millis)

    def shutdown(self, timeout_millis: float | None = None) -> None:
        """Deliver what is held, with one more attempt for each batch, and end the thread."""
        self._shutdown(timeout_millis)


class MetricExporter(_Outlet, sdk_metrics.MetricExporter):
    """Sends what a metric reader collects through operators to an exporter.

    Args:
        operators: applied in order before the export.
        exporter: see `BatchSpanProcessor`.
        max_queue_size: data points held at once; a collection that has more never fits.
        max_queue_bytes: see `BatchSpanProcessor`.
        export_timeout: seconds for one attempt and for a shutdown.
        preferred_temporality: by kind of instrument; for the others
            OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE decides.
        preferred_aggregation: the same, for histograms with
            OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION.
    """

    def __init__(
        self,
        *operators: Operator,
        exporter: Exporter | None = None,
        max_queue_size: int = _MAX_POINTS,
        max_queue_bytes: int | None = None,
        export_timeout: float | None = None,
        preferred_temporality: Mapping[type, sdk_metrics.AggregationTemporality] | None = None,
        preferred_aggregation: Mapping[type, Aggregation] | None = None,
    ) -> None:
        sdk_metrics.MetricExporter.__init__(
            self, _temporality(preferred_temporality), _aggregation(preferred_aggregation)
        )
        _Outlet.__init__(
            self, METRICS, operators, exporter, max_queue_size, max_queue_bytes, export_timeout
        )

    def export(
        self,
        metrics_data: sdk_metrics.MetricsData,
        timeout_millis: float = 10_000,
        **kwargs: Any,
    ) -> sdk_metrics.MetricExportResult:
        """Take a collection in, all of it or, with FAILURE, nothing."""
        points = METRICS.items(metrics_data)
        if points and not self._bridge.offer(metrics_data, points):
            return sdk_metrics.MetricExportResult.FAILURE
        return sdk_metrics.MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Deliver what came so far. False when that took longer than it may."""
        return self._flush(timeout_millis)

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """Deliver what is held, with one more attempt for each batch, and end the thread."""
        # The SDK's reader says `timeout=`, in milliseconds too.
        self._shutdown(kwargs.get("timeout", timeout_millis))
