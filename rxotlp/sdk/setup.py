"""`instrument()`: all three signals of a program, in one line."""

from dataclasses import dataclass

from opentelemetry import _logs, metrics, trace
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

from rxotlp.operators._shell import Operator
from rxotlp.operators.export import Exporter
from rxotlp.sdk.outlets import MetricExporter
from rxotlp.sdk.processors import BatchLogRecordProcessor, BatchSpanProcessor

__all__ = ["Instrumentation", "instrument"]


@dataclass(frozen=True, slots=True)
class Instrumentation:
    """What `instrument` set up: the SDK's providers, and where their telemetry goes."""

    tracers: TracerProvider
    meters: MeterProvider
    loggers: LoggerProvider
    spans: BatchSpanProcessor
    metrics: MetricExporter
    logs: BatchLogRecordProcessor

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Collect metrics and deliver everything; each provider has `timeout_millis`."""
        providers = (self.tracers, self.meters, self.loggers)
        flushed = [provider.force_flush(timeout_millis) for provider in providers]
        return all(flushed)

    def shutdown(self) -> None:
        """Deliver everything and stop. The program's end does this by itself."""
        self.tracers.shutdown()
        self.meters.shutdown()
        self.loggers.shutdown()


def instrument(
    *operators: Operator,
    exporter: Exporter | None = None,
    resource: Resource | None = None,
    install: bool = True,
) -> Instrumentation:
    """Set up tracer, meter and logger providers whose telemetry goes through `operators`.

    Args:
        operators: applied to each of the three streams, in order, before the export.
        exporter: one for all three, or OTLP as OTEL_EXPORTER_OTLP_* say.
        resource: who is speaking; by default as OTEL_SERVICE_NAME and
            OTEL_RESOURCE_ATTRIBUTES say.
        install: make them the program's own, which OpenTelemetry allows once.

    Everything is delivered when the interpreter ends.
    """
    resource = Resource.create() if resource is None else resource
    spans = BatchSpanProcessor(*operators, exporter=exporter)
    points = MetricExporter(*operators, exporter=exporter)
    logs = BatchLogRecordProcessor(*operators, exporter=exporter)
    tracers = TracerProvider(resource=resource)
    tracers.add_span_processor(spans)
    meters = MeterProvider([PeriodicExportingMetricReader(points)], resource=resource)
    loggers = LoggerProvider(resource=resource)
    loggers.add_log_record_processor(logs)
    if install:
        trace.set_tracer_provider(tracers)
        metrics.set_meter_provider(meters)
        _logs.set_logger_provider(loggers)
    return Instrumentation(tracers, meters, loggers, spans, points, logs)
