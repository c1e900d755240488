"""Bridges for opentelemetry-sdk: a program's own telemetry through operators, in its process.

Needs the extra: `pip install 'rxotlp[sdk]'`.
"""

try:
    import opentelemetry.exporter.otlp.proto.common
    import opentelemetry.sdk  # noqa: F401
except ImportError as error:
    raise ImportError(
        f"rxotlp.sdk needs opentelemetry-sdk and its OTLP encoder ({error}): "
        "pip install 'rxotlp[sdk]'"
    ) from error

from rxotlp.sdk.handler import LogHandler
from rxotlp.sdk.intake import Statistics
from rxotlp.sdk.outlets import LogExporter, MetricExporter, SpanExporter
from rxotlp.sdk.processors import BatchLogRecordProcessor, BatchSpanProcessor
from rxotlp.sdk.setup import Instrumentation, instrument

__all__ = [
    "BatchLogRecordProcessor",
    "BatchSpanProcessor",
    "Instrumentation",
    "LogExporter",
    "LogHandler",
    "MetricExporter",
    "SpanExporter",
    "Statistics",
    "instrument",
]
