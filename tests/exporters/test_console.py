"""`Console`."""

import io
from collections.abc import Callable

import pytest
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2

from rxotlp._core.outcomes import DELIVERED, Kind
from rxotlp.data import TelemetryData
from rxotlp.exporters import Console
from rxotlp.wire.signals import Signal

Make = Callable[..., TelemetryData]


def test_basic_is_one_line_an_element(spans: Make, capsys: pytest.CaptureFixture[str]) -> None:
    """The default must stay readable at thousands of spans a second; stdout is found late."""
    console = Console()
    data = spans(1)
    assert console.export(data) is DELIVERED
    console.export(spans(3))
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"traces: 1 span, {data.size} bytes"
    assert second.startswith("traces: 3 spans, ")


def test_detailed_adds_a_line_a_record(spans: Make, logs: Make) -> None:
    """Somebody is looking for one span."""
    stream = io.StringIO()
    console = Console(stream, verbosity="detailed")
    console.export(spans(2))
    console.export(logs("hello"))
    _, first, _, _, record = stream.getvalue().splitlines()
    assert first == f"  shop: 0000 2.500 ms trace={1:032x}"
    assert record == "  INFO hello"


def test_detailed_shows_every_kind_of_data_point() -> None:
    """Numbers have values, the others counts and sums."""
    request = metrics_service_pb2.ExportMetricsServiceRequest()
    metrics = request.resource_metrics.add().scope_metrics.add().metrics
    gauge = metrics.add(name="heat", unit="C").gauge.data_points
    gauge.add(as_double=1.5)
    gauge.add(as_int=2)
    metrics.add(name="h").histogram.data_points.add(count=3, sum=4.5)
    metrics.add(name="e").exponential_histogram.data_points.add(count=1, sum=2)
    metrics.add(name="s").summary.data_points.add(count=5, sum=6)
    stream = io.StringIO()
    Console(stream, verbosity="detailed").export(TelemetryData.from_message(request))
    assert stream.getvalue().splitlines()[1:] == [
        "  heat = 1.5 C",
        "  heat = 2 C",
        "  h = count=3 sum=4.5",
        "  e = count=1 sum=2.0",
        "  s = count=5 sum=6.0",
    ]


def test_control_characters_are_escaped(logs: Make) -> None:
    """A log body must not clear the reader's screen or forge a line."""
    stream = io.StringIO()
    Console(stream, verbosity="detailed").export(logs("a\n\x1b[2Jb"))
    assert stream.getvalue().splitlines()[1] == "  INFO a\\n\\x1b[2Jb"


def test_a_closed_stream_is_a_retryable_failure(spans: Make) -> None:
    """An exporter never raises for what its destination does."""
    stream = io.StringIO()
    stream.close()
    assert Console(stream).export(spans(1)).kind is Kind.FAILED


def test_unreadable_bytes_are_rejected() -> None:
    """An exporter never raises for what its element holds."""
    data = TelemetryData.from_bytes(Signal.TRACES, b"\x0a\x02\x12\x05")
    assert Console(io.StringIO()).export(data).kind is Kind.REJECTED


def test_an_unknown_verbosity_is_refused() -> None:
    """A typo must not quietly mean something."""
    with pytest.raises(ValueError, match=r"verbosity='loud'.*'basic' or 'detailed'"):
        Console(verbosity="loud")  # type: ignore[arg-type]
