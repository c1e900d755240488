"""The environment's part: an application starts whatever its variables say."""

import logging
import subprocess
import sys
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

from rxotlp import exporters
from rxotlp.data import Signal
from rxotlp.sdk import BatchLogRecordProcessor, BatchSpanProcessor, MetricExporter
from rxotlp.sdk.settings import default_exporter


def test_sizes_and_times_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables of the SDK's own processors go on working; times are milliseconds."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "100")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "10")
    monkeypatch.setenv("OTEL_BLRP_SCHEDULE_DELAY", "250")
    monkeypatch.setenv("OTEL_BLRP_EXPORT_TIMEOUT", "1500")
    spans = BatchSpanProcessor(exporter=exporters.Memory())._bridge.limits
    assert (spans.max_queue_size, spans.max_export_batch_size) == (100, 10)
    assert (spans.schedule_delay, spans.export_timeout) == (5.0, 30.0)
    logs = BatchLogRecordProcessor(exporter=exporters.Memory())._bridge.limits
    assert (logs.schedule_delay, logs.export_timeout) == (0.25, 1.5)
    assert (logs.max_queue_size, logs.max_export_batch_size) == (2048, 512)


@pytest.mark.parametrize("text", ["many", "0", "-3", "inf", "nan"])
def test_a_variable_that_cannot_be_used_is_named_and_left_aside(
    text: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A mistake in a deployment costs a log line, not the application."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", text)
    with caplog.at_level(logging.WARNING):
        processor = BatchSpanProcessor(exporter=exporters.Memory())
    assert processor._bridge.limits.max_queue_size == 2048
    assert "OTEL_BSP_MAX_QUEUE_SIZE" in caplog.text


def test_a_queue_smaller_than_a_batch_makes_the_batch_smaller(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One variable alone must not make a buffer that never fills a batch."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "20")
    assert BatchSpanProcessor(exporter=exporters.Memory())._bridge.limits == (
        BatchSpanProcessor(
            exporter=exporters.Memory(), max_queue_size=20, max_export_batch_size=20
        )._bridge.limits
    )


def test_the_environment_chooses_the_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    """The signal's own variable wins; HTTP when nothing is said."""
    assert isinstance(default_exporter(Signal.TRACES), exporters.OtlpHttp)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    assert isinstance(default_exporter(Signal.TRACES), exporters.OtlpGrpc)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "http/protobuf")
    assert isinstance(default_exporter(Signal.LOGS), exporters.OtlpHttp)


@pytest.mark.parametrize("missing", ["opentelemetry.sdk", "opentelemetry.exporter"])
def test_without_the_extra_the_import_says_what_to_install(missing: str) -> None:
    """One line that helps instead of a missing module that nobody has heard of."""
    code = f"import sys; sys.modules[{missing!r}] = None; import rxotlp.sdk"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert "pip install 'rxotlp[sdk]'" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("make", [BatchSpanProcessor, BatchLogRecordProcessor, MetricExporter])
def test_an_exporter_in_place_of_an_operator_is_refused(make: Any) -> None:
    """It is where the SDK's own processors have it, so everybody tries."""
    with pytest.raises(TypeError) as raised:
        make(exporters.Memory())
    assert str(raised.value) == (
        f"{make.__name__}(Memory): expected operators, such as ops.map_records(...); "
        "an exporter is given by exporter="
    )
    with pytest.raises(TypeError, match=r"\(int\): expected operators"):
        make(3)


def test_an_exporter_of_the_sdk_is_refused() -> None:
    """It has an `export` too, which takes spans, and every batch would fail in it."""
    with pytest.raises(TypeError) as raised:
        BatchSpanProcessor(exporter=OTLPSpanExporter())  # type: ignore[arg-type]
    assert str(raised.value).startswith(
        "BatchSpanProcessor(exporter=OTLPSpanExporter): expected an exporter of rxotlp"
    )
