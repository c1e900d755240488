"""opentelemetry-sdk's own exporters, unmodified, hear what became of their data.

Asserted on what the exporter returns and on what is seen again at the socket, over gRPC and
HTTP, for each outcome, through a pipeline with a split, a batch and native operators in it.
"""

import logging
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry._logs import LogRecord
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogs
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetrics
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogs
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetrics
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from reactivex import Observable
from reactivex import operators as rx_ops

from rxotlp import Pipeline, exporters, sources
from rxotlp import operators as ops
from rxotlp._core.outcomes import DELIVERED, Outcome, failed, rejected
from rxotlp.data import Signal, TelemetryData
from tests.support.scripted import TRANSPORTS
from tests.support.sdk_clients import FAILURE, SUCCESS, export, spans


@pytest.fixture(name="spans")
def _spans() -> list[ReadableSpan]:
    """Four real spans: s0 to s3."""
    return spans(4)


class Backend:
    """A destination that answers as scripted and remembers the span names of each attempt."""

    def __init__(self, *outcomes: Outcome) -> None:
        self.outcomes = list(outcomes)
        self.attempts: list[list[str]] = []

    def export(self, data: TelemetryData) -> Outcome:
        self.attempts.append([span.name for span in data.records()])
        return self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]


def gateway(backend: Backend, *operators: Callable[[Any], Any]) -> Pipeline:
    stream: Observable[Any] = sources.otlp(grpc="127.0.0.1:0", http="127.0.0.1:0")
    for operator in (*operators, ops.export(backend, retry=None)):
        stream = operator(stream)
    return Pipeline(stream)


def exported(
    transport: str, spans: list[ReadableSpan], backend: Backend, *operators: Callable[[Any], Any]
) -> tuple[SpanExportResult, int]:
    """What the SDK's exporter returned, and the requests it took at the socket."""
    with gateway(backend, *operators) as pipeline:
        result = export(transport, pipeline.addresses[transport], spans, timeout=30)
    assert pipeline.report is not None
    assert pipeline.report.unbalanced == []
    return result, pipeline.books["otlp"].received // len(spans)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_delivered_is_success_and_comes_once(transport: str, spans: list[ReadableSpan]) -> None:
    """Through a split and a batch: one answer, after the last part has arrived."""
    backend = Backend(DELIVERED)
    result, requests = exported(
        transport,
        spans,
        backend,
        ops.chain(lambda data: data.split(max_items=1)),
        ops.batch(max_items=3, max_delay=0.05),
    )
    assert (result, requests) == (SUCCESS, 1)
    assert backend.attempts == [["s0", "s1", "s2"], ["s3"]]


def crowded(data: TelemetryData) -> bool:
    return data.items > 100


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("how", ["ours", "native"])
def test_filtered_is_success_and_is_not_sent_again(
    transport: str, how: str, spans: list[ReadableSpan]
) -> None:
    """Whoever filtered it: a sender that heard 'retry' would send for ever."""
    backend = Backend(DELIVERED)
    nothing: Callable[[Any], Any] = (
        ops.filter_records(lambda span: span.name == "other")
        if how == "ours"
        else rx_ops.filter(crowded)
    )
    assert exported(transport, spans, backend, nothing) == (SUCCESS, 1)
    assert backend.attempts == []


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_failure_is_sent_again_until_it_is_delivered(
    transport: str, spans: list[ReadableSpan]
) -> None:
    """The SDK retries after the time it is told; the same data is seen at the socket twice."""
    backend = Backend(failed("down", retry_after=1), DELIVERED)
    assert exported(transport, spans, backend) == (SUCCESS, 2)
    assert backend.attempts == [["s0", "s1", "s2", "s3"]] * 2


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_failure_of_one_part_of_a_split_is_a_failure_of_the_whole(
    transport: str, spans: list[ReadableSpan]
) -> None:
    """Half a delivery is none: the sender has only one answer to hear."""
    backend = Backend(DELIVERED, failed("down", retry_after=1), DELIVERED)
    split = ops.chain(lambda data: data.split(max_items=2))
    assert exported(transport, spans, backend, split) == (SUCCESS, 2)
    assert backend.attempts == [["s0", "s1"], ["s2", "s3"]] * 2


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_rejection_of_everything_is_a_failure_and_is_not_sent_again(
    transport: str, spans: list[ReadableSpan], caplog: pytest.LogCaptureFixture
) -> None:
    """INVALID_ARGUMENT and 400: no retry can help, and the SDK makes none."""
    backend = Backend(rejected("schema"))
    caplog.set_level(logging.CRITICAL, "opentelemetry")
    assert exported(transport, spans, backend) == (FAILURE, 1)
    assert len(backend.attempts) == 1


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_partial_rejection_is_success_and_is_not_sent_again(
    transport: str, spans: list[ReadableSpan]
) -> None:
    """C4: a populated partial success must never be retried."""
    backend = Backend(rejected("two are bad", items=2))
    assert exported(transport, spans, backend) == (SUCCESS, 1)
    assert len(backend.attempts) == 1


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_processor_that_raises_is_a_rejection(
    transport: str, spans: list[ReadableSpan], caplog: pytest.LogCaptureFixture
) -> None:
    """A bad element ends neither the stream nor the sender's patience."""

    def breaks(_data: TelemetryData) -> TelemetryData:
        raise ValueError("bad")

    caplog.set_level(logging.CRITICAL, "opentelemetry")
    backend = Backend(DELIVERED)
    assert exported(transport, spans, backend, ops.chain(breaks)) == (FAILURE, 1)
    assert backend.attempts == []


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_an_unreachable_backend_is_never_acknowledged(
    transport: str, spans: list[ReadableSpan], caplog: pytest.LogCaptureFixture
) -> None:
    """The gateway's own exporter fails, and the sender is told to send again."""
    caplog.set_level(logging.CRITICAL, "opentelemetry")
    nowhere = exporters.OtlpHttp("http://127.0.0.1:9")  # the discard port: nobody listens
    stream = sources.otlp(grpc="127.0.0.1:0", http="127.0.0.1:0").pipe(ops.export(nowhere))
    with Pipeline(stream) as pipeline:
        assert export(transport, pipeline.addresses[transport], spans, timeout=2) is FAILURE
    assert pipeline.books["export"].delivered == 0
    assert pipeline.books["export"].failed >= len(spans)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_metrics_and_logs_of_the_sdk_arrive_too(transport: str) -> None:
    """All three signals that the SDK sends, each by its own exporter."""
    memory = exporters.Memory()
    stream = sources.otlp(grpc="127.0.0.1:0", http="127.0.0.1:0").pipe(ops.export(memory))
    with Pipeline(stream) as pipeline:
        address = f"http://{pipeline.addresses[transport]}"
        grpc = transport == "grpc"
        log_exporter: Any = (
            GrpcLogs(endpoint=address, insecure=True)
            if grpc
            else HttpLogs(endpoint=f"{address}/v1/logs")
        )
        metric_exporter: Any = (
            GrpcMetrics(endpoint=address, insecure=True)
            if grpc
            else HttpMetrics(endpoint=f"{address}/v1/metrics")
        )
        logs = LoggerProvider()
        logs.add_log_record_processor(SimpleLogRecordProcessor(log_exporter))
        logs.get_logger("test").emit(LogRecord(body="hello"))
        logs.shutdown()
        metrics = MeterProvider([PeriodicExportingMetricReader(metric_exporter)])
        metrics.get_meter("test").create_counter("visits").add(3)
        metrics.shutdown()
    assert [element.signal for element in memory.elements] == [Signal.LOGS, Signal.METRICS]
    log, metric = (next(iter(element.records())) for element in memory.elements)
    assert log.body == "hello"
    assert (metric.metric.name, metric.message.as_int) == ("visits", 3)
