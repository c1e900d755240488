"""The demo's application: OpenTelemetry's SDK and its own exporters, nothing of rxotlp's.

It handles made-up requests, each a span, a log record and a data point, by turns over
gRPC and over HTTP. Every tenth request is a health check. Every record carries an id of
its own, and every id is written down before its record is made, so that nothing can get
lost unseen. Log records carry what should never leave a company: a password.

    python program.py GRPC HTTP MANIFEST SECONDS RECORDS     (RECORDS 0: as time allows)
"""

import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TextIO

__all__ = ["main"]

HEALTH_CHECK_EVERY = 10
REQUESTS_PER_FLUSH = 400  # far below the SDK's queue of 2048, where it would drop
SECRET = "correct-horse-battery-staple"


@dataclass
class Transport:
    """One way out of the program: a provider for each signal, on its own exporters."""

    handle: Callable[[str, str, dict[str, str]], None]
    flush: list[Callable[[], object]]
    close: list[Callable[[], object]]


def main() -> int:
    """Send until the time or the records are over. Returns the exit status."""
    grpc, http, manifest, seconds, records = sys.argv[1:]
    # Sums since the last export: else every export would tell all earlier ids again.
    os.environ["OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"] = "delta"
    transports = {"grpc": _over_grpc(grpc), "http": _over_http(http)}
    ends = time.monotonic() + float(seconds)
    limit = int(records)
    with open(manifest, "w", encoding="utf-8") as notes, ThreadPoolExecutor() as pool:
        sent = 0
        for number in itertools.count():
            if (limit and sent >= limit) or (not limit and time.monotonic() >= ends):
                break
            name = tuple(transports)[number % len(transports)]
            health = number % HEALTH_CHECK_EVERY == 0
            route = "GET /healthz" if health else "POST /login"
            ids = {signal: f"{name}-{signal}-{number}" for signal in ("traces", "logs", "metrics")}
            sent += _note(notes, ids, health)
            transports[name].handle(route, SECRET, ids)
            if number % REQUESTS_PER_FLUSH == REQUESTS_PER_FLUSH - 1:
                _all(pool, (flush for way in transports.values() for flush in way.flush))
        _all(pool, (flush for way in transports.values() for flush in way.flush))
        _all(pool, (close for way in transports.values() for close in way.close))
    return 0


def _note(notes: TextIO, ids: dict[str, str], health: bool) -> int:
    for signal, identity in ids.items():
        entry = {"id": identity, "signal": signal, "health": health}
        notes.write(json.dumps(entry) + "\n")
    notes.flush()
    return len(ids)


def _all(pool: ThreadPoolExecutor, calls: Iterator[Callable[[], object]]) -> None:
    """Call all at once: each waits for the answers of its own exporter."""
    for future in [pool.submit(call) for call in calls]:
        future.result()


def _over_grpc(address: str) -> Transport:
    from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    endpoint = f"http://{address}"
    return _instrumented(
        "grpc",
        OTLPSpanExporter(endpoint=endpoint, insecure=True),
        OTLPLogExporter(endpoint=endpoint, insecure=True),
        OTLPMetricExporter(endpoint=endpoint, insecure=True),
    )


def _over_http(address: str) -> Transport:
    from opentelemetry.exporter.otlp.proto.http import Compression
    from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    endpoint = f"http://{address}/v1"
    return _instrumented(
        "http",
        OTLPSpanExporter(endpoint=f"{endpoint}/traces", compression=Compression.Gzip),
        OTLPLogExporter(endpoint=f"{endpoint}/logs"),
        OTLPMetricExporter(endpoint=f"{endpoint}/metrics"),
    )


def _instrumented(name: str, spans: object, logs: object, metrics: object) -> Transport:
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    resource = Resource.create({"service.name": f"shop-{name}"})
    tracing = TracerProvider(resource=resource, shutdown_on_exit=False)
    tracing.add_span_processor(BatchSpanProcessor(spans))  # type: ignore[arg-type]
    logging = LoggerProvider(resource=resource, shutdown_on_exit=False)
    logging.add_log_record_processor(BatchLogRecordProcessor(logs))  # type: ignore[arg-type]
    reader = PeriodicExportingMetricReader(metrics)  # type: ignore[arg-type]
    metering = MeterProvider([reader], resource=resource, shutdown_on_exit=False)
    tracer = tracing.get_tracer("shop")
    logger = logging.get_logger("shop")
    requests = metering.get_meter("shop").create_counter("requests", unit="1")

    def handle(route: str, secret: str, ids: dict[str, str]) -> None:
        with tracer.start_as_current_span(route, attributes={"demo.id": ids["traces"]}):
            logger.emit(
                body=f"{route} was asked for",
                attributes={"demo.id": ids["logs"], "user.password": secret},
            )
            requests.add(1, {"demo.id": ids["metrics"], "http.route": route})

    providers = (tracing, logging, metering)
    return Transport(
        handle,
        flush=[provider.force_flush for provider in providers],
        close=[provider.shutdown for provider in providers],
    )


if __name__ == "__main__":
    sys.exit(main())
