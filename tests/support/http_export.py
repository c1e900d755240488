"""One attempt by `OtlpHttp`, and what it comes to."""

import asyncio
from typing import Any

from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from rxotlp._core.outcomes import Outcome
from rxotlp.data import TelemetryData
from rxotlp.exporters import OtlpHttp
from tests.support.otlp_http_server import Reply, Server

__all__ = ["answered", "export", "partial"]


def export(exporter: OtlpHttp, *elements: TelemetryData) -> list[Outcome]:
    """One attempt for each element, one after the other, then close."""

    async def main() -> list[Outcome]:
        try:
            return [await exporter.export(data) for data in elements]
        finally:
            await exporter.aclose()

    return asyncio.run(main())


def answered(server: Server, reply: Reply, data: TelemetryData, **arguments: Any) -> Outcome:
    """What one attempt comes to when the server answers `reply`."""
    server.script = lambda request: reply
    return export(OtlpHttp(server.url, **arguments), data)[0]


def partial(rejected: int, message: str) -> bytes:
    """A response with partial success."""
    response = trace_service_pb2.ExportTraceServiceResponse()
    response.partial_success.rejected_spans = rejected
    response.partial_success.error_message = message
    return response.SerializeToString()
