"""The exporters under the SDK's own processors and readers, and the one-line set-up."""

import subprocess
import sys
import time
from typing import Any

import pytest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider, UpDownCounter
from opentelemetry.sdk.metrics.export import AggregationTemporality, PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from rxotlp import Pipeline, Signal, exporters, sources
from rxotlp import operators as ops
from rxotlp.sdk import LogExporter, MetricExporter, SpanExporter, instrument

TEMPORALITY = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"
HISTOGRAMS = "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION"


def test_span_and_log_exporters_serve_the_sdks_processors() -> None:
    """Somebody with a processor of their own replaces the exporter alone."""
    memory = exporters.Memory()
    span_exporter, log_exporter = SpanExporter(exporter=memory), LogExporter(exporter=memory)
    tracers = TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(span_exporter))
    loggers = LoggerProvider(shutdown_on_exit=False)
    loggers.add_log_record_processor(SimpleLogRecordProcessor(log_exporter))
    tracers.get_tracer("test").start_span("a span").end()
    loggers.get_logger("test").emit(body="a record")
    tracers.shutdown()
    loggers.shutdown()
    assert [span.name for span in memory.records(Signal.TRACES)] == ["a span"]
    assert [record.body for record in memory.records(Signal.LOGS)] == ["a record"]
    assert span_exporter.statistics().succeeded == log_exporter.statistics().succeeded == 1


def test_a_span_exporter_says_when_there_was_no_room(backend: Any) -> None:
    """FAILURE is what the SDK logs; the count says how many."""
    backend.gate.clear()
    exporter = SpanExporter(exporter=backend, max_queue_size=2)
    tracers = TracerProvider(shutdown_on_exit=False)
    made = [tracers.get_tracer("test").start_span(name) for name in "abc"]
    spans: Any = made
    assert exporter.export(spans[:2]).name == "SUCCESS"
    assert exporter.export(spans[2:]).name == "FAILURE"
    assert exporter.statistics().dropped == 1
    backend.gate.set()
    exporter.shutdown()
    assert exporter.statistics().succeeded == 2


def test_metrics_are_counted_by_the_data_point() -> None:
    """Items of metrics are data points, here as in every book."""
    memory = exporters.Memory()
    exporter = MetricExporter(exporter=memory)
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
    provider = MeterProvider([reader], shutdown_on_exit=False)
    visits = provider.get_meter("test").create_counter("visits")
    for page in ("a", "b", "c"):
        visits.add(1, {"page": page})
    assert provider.force_flush()
    assert exporter.statistics().succeeded == memory.items == 3
    provider.shutdown()
    assert exporter.statistics().succeeded == memory.items == 6
    assert not exporter.books.unbalanced


def test_several_collections_of_one_resource_are_all_kept(backend: Any) -> None:
    """The encoder alone would keep only the last of them when they share a batch."""
    backend.gate.clear()
    exporter = MetricExporter(exporter=backend)
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
    provider = MeterProvider([reader], shutdown_on_exit=False)
    provider.get_meter("test").create_counter("visits").add(1)
    for _ in range(5):
        reader.collect()
    backend.gate.set()
    assert exporter.force_flush()
    assert backend.items == 5
    provider.shutdown()


@pytest.mark.parametrize(
    ("preference", "counter", "up_down"),
    [
        ("", "CUMULATIVE", "CUMULATIVE"),
        ("delta", "DELTA", "CUMULATIVE"),
        ("LowMemory", "DELTA", "CUMULATIVE"),
        ("nonsense", "CUMULATIVE", "CUMULATIVE"),
    ],
)
def test_the_environments_temporality_is_honoured(
    preference: str, counter: str, up_down: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backend that wants deltas gets them by the variable that its manual names."""
    monkeypatch.setenv(TEMPORALITY, preference)
    chosen = MetricExporter(exporter=exporters.Memory())._preferred_temporality
    assert chosen is not None
    assert (chosen[Counter].name, chosen[UpDownCounter].name) == (counter, up_down)


def test_an_argument_wins_over_the_environments_temporality(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is written in the program is meant."""
    monkeypatch.setenv(TEMPORALITY, "delta")
    exporter = MetricExporter(
        exporter=exporters.Memory(),
        preferred_temporality={Counter: AggregationTemporality.CUMULATIVE},
    )
    chosen = exporter._preferred_temporality
    assert chosen is not None
    assert chosen[Counter] is AggregationTemporality.CUMULATIVE
    assert chosen[Histogram] is AggregationTemporality.DELTA


def test_the_environments_histograms_are_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen in what is sent, not only in what is configured."""
    monkeypatch.setenv(HISTOGRAMS, "base2_exponential_bucket_histogram")
    memory = exporters.Memory()
    reader = PeriodicExportingMetricReader(MetricExporter(exporter=memory))
    provider = MeterProvider([reader], shutdown_on_exit=False)
    provider.get_meter("test").create_histogram("seconds").record(0.25)
    provider.shutdown()
    (point,) = memory.records()
    assert point.metric.WhichOneof("data") == "exponential_histogram"


PROGRAM = """
import sys
from opentelemetry import trace, metrics, _logs
from rxotlp import operators as ops
from rxotlp.sdk import instrument

def mark(record):
    record.attributes.add(key="marked").value.bool_value = True

instrument(ops.map_records(mark))
with trace.get_tracer("program").start_as_current_span("work"):
    metrics.get_meter("program").create_counter("done").add(1)
    _logs.get_logger("program").emit(body="done")
"""


def test_a_program_with_one_line_delivers_all_three_signals_when_it_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No flush, no shutdown: the interpreter's end delivers, through the operators."""
    memory = exporters.Memory()
    with Pipeline(sources.otlp(grpc=None, http="127.0.0.1:0").pipe(ops.export(memory))) as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{receiver.addresses['http']}")
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", PROGRAM],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    arrived = {data.signal for data in memory.elements}
    assert arrived == {Signal.TRACES, Signal.METRICS, Signal.LOGS}
    assert all(record.attributes.get("marked") for record in memory.records())


METERED = """
import sys, time
from opentelemetry import metrics
from rxotlp.sdk import instrument

instrument()
meter = metrics.get_meter("program")
visits, seconds = meter.create_counter("visits"), meter.create_histogram("seconds")
stock = meter.create_observable_counter("stock", [lambda _: [metrics.Observation(7)]])
for _ in range(3):
    visits.add(1)
    seconds.record(0.25)
    print("added", flush=True)
    sys.stdin.readline()
"""


@pytest.mark.parametrize(
    ("preference", "visits", "stock"),
    [
        ("cumulative", "CUMULATIVE", "CUMULATIVE"),
        ("delta", "DELTA", "DELTA"),
        ("lowmemory", "DELTA", "CUMULATIVE"),
    ],
)
def test_the_environment_decides_how_often_and_how_metrics_are_sent(
    preference: str, visits: str, stock: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over a real connection: period, temporality and histograms, none of them in the code."""
    memory = exporters.Memory()
    with Pipeline(sources.otlp(grpc=None, http="127.0.0.1:0").pipe(ops.export(memory))) as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{receiver.addresses['http']}")
        monkeypatch.setenv("OTEL_METRIC_EXPORT_INTERVAL", "20")  # milliseconds
        monkeypatch.setenv(TEMPORALITY, preference)
        monkeypatch.setenv(HISTOGRAMS, "base2_exponential_bucket_histogram")
        with subprocess.Popen(
            [sys.executable, "-W", "error", "-c", METERED],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as program:
            assert program.stdin is not None
            assert program.stdout is not None
            for _ in range(3):
                assert program.stdout.readline() == "added\n"
                seen = len(memory.elements)
                deadline = time.monotonic() + 60
                while len(memory.elements) <= seen + 1 and time.monotonic() < deadline:
                    time.sleep(0.01)
                program.stdin.write("go on\n")
                program.stdin.flush()
            assert program.wait(60) == 0
    points = [(point.metric, point) for point in memory.records()]
    counted = [point.as_int for metric, point in points if metric.name == "visits"]
    kinds = {
        metric.name: metric.sum.aggregation_temporality
        for metric, _ in points
        if metric.WhichOneof("data") == "sum"
    }
    numbers = {"DELTA": 1, "CUMULATIVE": 2}  # opentelemetry.proto.metrics.v1
    assert kinds == {"visits": numbers[visits], "stock": numbers[stock]}
    assert (sum(counted) if visits == "DELTA" else max(counted)) == 3
    histograms = {metric.WhichOneof("data") for metric, _ in points if metric.name == "seconds"}
    assert histograms == {"exponential_histogram"}


def test_instrument_can_leave_the_programs_providers_alone(backend: Any) -> None:
    """For a library, a test, or a second destination."""
    from opentelemetry import trace

    made = instrument(exporter=backend, install=False)
    assert trace.get_tracer_provider() is not made.tracers
    made.tracers.get_tracer("test").start_span("one").end()
    made.meters.get_meter("test").create_counter("visits").add(1)
    made.loggers.get_logger("test").emit(body="hello")
    assert made.force_flush()
    assert backend.items == 3
    made.shutdown()
