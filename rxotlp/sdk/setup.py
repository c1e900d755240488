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
from rxotlp.sdk.handler import LogHandler
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
    handler: LogHandler
    """Takes what is logged to `loggers`; attached to the root logger unless told otherwise."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Collect metrics and deliver everything; each provider has `timeout_millis`."""
        providers = (self.tracers, self.meters, self.loggers)
        flushed = [provider.force_flush(timeout_millis) for provider in providers]
        return all(flushed)

    def shutdown(self) -> None:
        """Deliver everything and stop. The program's end does this by itself."""
        self.handler.detach()
        self.tracers.shutdown()
        self.meters.shutdown()
        self.loggers.shutdown()


def instrument(
    *operators: Operator,
    exporter: Exporter | None = None,
    resource: Resource | None = None,
    install: bool = True,
    logging: bool = True,
) -> Instrumentation:
    """Set up tracer, meter and logger providers whose telemetry goes through `operators`.

    Args:
        operators: applied to each of the three streams, in order, before the export.
        exporter: one for all three, or OTLP as OTEL_EXPORTER_OTLP_* say.
        resource: who is speaking; by default as OTEL_SERVICE_NAME and
            OTEL_RESOURCE_ATTRIBUTES say.
        install: make them the program's own, which OpenTelemetry allows once.
        logging: with `install`, take in what the program logs with the standard library's
            `logging`, at the levels set there, besides what happens to it otherwise. rxotlp's
            own messages are left out.

    Everything is delivered when the interpreter ends. How often metrics are collected,
    OTEL_METRIC_EXPORT_INTERVAL says, and the other OTEL_* variables what they say of the SDK.
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
    handler = LogHandler(loggers)
    if install and logging and _logs.get_logger_provider() is loggers:
        handler.attach()
    return Instrumentation(tracers, meters, loggers, spans, points, logs, handler)
