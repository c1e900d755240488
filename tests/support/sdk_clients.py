"""opentelemetry-sdk's own exporters, unmodified, and spans for them."""

from collections.abc import Sequence
from typing import Any

import grpc
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpans
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

__all__ = ["FAILURE", "SUCCESS", "client", "export", "spans"]

SUCCESS, FAILURE = SpanExportResult.SUCCESS, SpanExportResult.FAILURE


class Keep(SpanExporter):
    """Keeps the spans a provider hands out, to be exported by hand."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.spans += spans
        return SUCCESS


def spans(count: int, *, first: int = 0, **attributes: Any) -> list[ReadableSpan]:
    """Real spans: s0, s1 and so on."""
    keep = Keep()
    provider = TracerProvider(resource=Resource({"service.name": "test"}), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(keep))
    tracer = provider.get_tracer("test")
    for number in range(first, first + count):
        tracer.start_span(f"s{number}", attributes=attributes).end()
    provider.shutdown()
    return keep.spans


def client(
    transport: str, address: str, *, timeout: float = 20, compression: str = "none"
) -> SpanExporter:
    """The SDK's exporter to "host:port"."""
    if transport == "grpc":
        return GrpcSpans(
            endpoint=f"http://{address}",
            insecure=True,
            timeout=timeout,
            compression=_GRPC[compression],
        )
    return HttpSpans(
        endpoint=f"http://{address}/v1/traces",
        timeout=timeout,
        compression=Compression(compression),
    )


_GRPC = {
    "none": grpc.Compression.NoCompression,
    "gzip": grpc.Compression.Gzip,
    "deflate": grpc.Compression.Deflate,
}


def export(
    transport: str,
    address: str,
    what: list[ReadableSpan],
    *,
    timeout: float = 20,
    compression: str = "none",
) -> SpanExportResult:
    """What the SDK's exporter returns for one export; it retries by itself within `timeout`."""
    exporter = client(transport, address, timeout=timeout, compression=compression)
    try:
        return exporter.export(what)
    finally:
        exporter.shutdown()
