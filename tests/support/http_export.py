"""One attempt by `OtlpHttp`, or a delivery by `ops.export`, and what it comes to."""

import asyncio
import queue
import time
from typing import Any

from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from reactivex.subject import Subject

from rxotlp import Receipt, SyncScheduler
from rxotlp import operators as ops
from rxotlp._core.outcomes import Outcome
from rxotlp.data import TelemetryData
from rxotlp.exporters import OtlpHttp
from tests.support.otlp_http_server import Reply, Server

__all__ = ["answered", "deliver", "export", "partial"]


def export(exporter: OtlpHttp, *elements: TelemetryData) -> list[Outcome]:
    """One attempt for each element, one after the other, then close."""

    async def main() -> list[Outcome]:
        try:
            return [await exporter.export(data) for data in elements]
        finally:
            await exporter.aclose()

    return asyncio.run(main())


def deliver(exporter: OtlpHttp, data: TelemetryData) -> Receipt:
    """What the sender of one element hears when `ops.export` delivers it."""
    heard: queue.SimpleQueue[Receipt] = queue.SimpleQueue()
    receipt = Receipt(on_settle=heard.put)
    receipt.due = time.time() + 20  # somebody waits, so retries come soon
    with SyncScheduler() as scheduler:
        elements: Subject[TelemetryData] = Subject()
        elements.pipe(ops.export(exporter)).subscribe(scheduler=scheduler)
        elements.on_next(receipt.attach(data))
        del data
        heard.get(timeout=20)
        exporter.close()
    return receipt


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
