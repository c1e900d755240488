"""What does it cost to encode what opentelemetry-sdk made, against its own encoder? (P5)

Unit: a ratio, the peer's CPU time by ours in the same round, as in `benchmarks.wire`.
Baseline: `encode_spans`, `encode_logs` and `encode_metrics` of
opentelemetry-exporter-otlp-proto-common, and `SerializeToString`. Messages are compared before
anything is measured.

    spans      512 spans a batch of one tracer, 10 attributes, 2 of them new in each span
    sdk        a program with instrumented `requests`, events, links and nested spans
    one        a batch of a single span
    logs       512 records a batch, a text and 6 attributes, inside spans
    metrics    a collection of counters, gauges and histograms, 500 points

Every round encodes the same objects, but none of them is known by its identity: what is kept
between rounds are attributes by key and value, as between a program's batches. Ids, times and
the two attributes that differ (an integer of a million and a float) are kept for nobody.
Blind spot: a program whose texts are mostly new (`db.query.text`) gains less; the row `new`
has 10 attributes of which every text is.

    python -m benchmarks.sdk_encoding
"""

import contextlib
import http.server
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import requests
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.instrumentation.requests import RequestsInstrumentor
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanKind

from benchmarks.wire import _compare
from benchmarks.workloads import _request_attributes
from rxotlp.sdk.encoding import LOGS, METRICS, TRACES, Encoding

__all__ = ["sdk_encoding"]

_BATCH = 512


def sdk_encoding(*, rounds: int = 7, items: int = _BATCH) -> list[dict[str, Any]]:
    """Every payload.

    Args:
        rounds: rounds a payload, 5 or more for a claim.
        items: records in a batch.
    """
    spans = _spans(items, _request_attributes)
    cases: list[tuple[str, Encoding, Callable[[Any], Any], Sequence[Any]]] = [
        ("spans", TRACES, encode_spans, spans),
        ("sdk", TRACES, encode_spans, _program(items)),
        ("new", TRACES, encode_spans, _spans(items, _new_attributes)),
        ("one", TRACES, encode_spans, spans[:1]),
        ("logs", LOGS, encode_logs, _logs(items)),
        ("metrics", METRICS, lambda records: encode_metrics(records[0]), [_metrics(items)]),
    ]
    results = []
    for name, encoding, stock, records in cases:
        ours = partial(_encode, encoding, records)
        peer = partial(_stock, stock, records)
        if encoding.signal.names.request.FromString(ours()[0]) != stock(records):
            raise AssertionError(f"{name}: the two sides differ")
        row = _compare("encode SDK's", name, ours, peer, rounds)
        results.append({"payload": _described(name, records, ours()[0])} | row)
    return results


def _described(name: str, records: Sequence[Any], encoded: bytes) -> str:
    size = len(encoded)
    return f"{name}: {len(records)} records of opentelemetry-sdk, {size} bytes"


def _encode(encoding: Encoding, records: Sequence[Any]) -> list[bytes]:
    return [encoding.encode(records).payload]


def _stock(encoder: Callable[[Any], Any], records: Sequence[Any]) -> list[bytes]:
    return [encoder(records).SerializeToString()]


def _provider() -> tuple[TracerProvider, InMemorySpanExporter]:
    memory = InMemorySpanExporter()
    provider = TracerProvider(
        resource=Resource.create({"service.name": "shop", "service.version": "1.14.2"}),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(SimpleSpanProcessor(memory))
    return provider, memory


def _spans(
    items: int, attributes: Callable[[random.Random], dict[str, Any]]
) -> tuple[ReadableSpan, ...]:
    provider, memory = _provider()
    tracer = provider.get_tracer("shop.instrumentation", "0.58b0")
    chance = random.Random("spans")
    with tracer.start_as_current_span("GET /", kind=SpanKind.SERVER):
        for _ in range(items):
            made = attributes(chance)
            name = f"{made['http.request.method']} /checkout"
            tracer.start_span(name, kind=SpanKind.CLIENT, attributes=made).end()
    return memory.get_finished_spans()[:items]


def _new_attributes(chance: random.Random) -> dict[str, Any]:
    """As `_request_attributes`, but a text is hardly ever seen again."""
    return {
        key: f"{value} {chance.randrange(10**12)}" if type(value) is str else value
        for key, value in _request_attributes(chance).items()
    }


class _Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@contextlib.contextmanager
def _server() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Answer)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _program(items: int) -> tuple[ReadableSpan, ...]:
    """What an instrumented program makes: four spans an order, an event, sometimes a link."""
    provider, memory = _provider()
    tracer = provider.get_tracer("shop", "1.14.2")
    instrumentor = RequestsInstrumentor()
    instrumentor.instrument(tracer_provider=provider)
    last: Any = None
    try:
        with _server() as url, requests.Session() as session:
            for order in range(-(-items // 4)):
                links = [Link(last)] if last is not None and order % 4 == 0 else []
                with tracer.start_as_current_span("order", links=links) as span:
                    last = span.get_span_context()
                    span.set_attributes({"order.id": order, "order.total": order * 1.25})
                    session.get(f"{url}/stock")
                    with (
                        contextlib.suppress(LookupError),
                        tracer.start_as_current_span("pay", kind=SpanKind.CLIENT) as pay,
                    ):
                        pay.set_attribute("payment.provider", "bank")
                        session.get(f"{url}/pay/{order}")
                        if order % 8 == 0:
                            raise LookupError(f"no account {order}")
                        pay.add_event("paid", {"payment.attempts": 1})
    finally:
        instrumentor.uninstrument()
    return memory.get_finished_spans()[:items]


def _logs(items: int) -> tuple[Any, ...]:
    memory: Any = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]
    provider = LoggerProvider(
        resource=Resource.create({"service.name": "shop"}), shutdown_on_exit=False
    )
    provider.add_log_record_processor(SimpleLogRecordProcessor(memory))
    log = provider.get_logger("shop", "1.14.2")
    chance = random.Random("logs")
    with _provider()[0].get_tracer("shop").start_as_current_span("GET /"):
        for number in range(items):
            attributes: dict[str, Any] = {
                "code.file.path": "/srv/shop/orders.py",
                "code.function.name": "accept",
                "code.line.number": chance.choice((17, 42, 118)),
                "thread.name": f"worker-{chance.randrange(8)}",
                "order.id": chance.randrange(1_000_000),
                "customer.tier": chance.choice(("basic", "gold")),
            }
            log.emit(
                LogRecord(
                    timestamp=1_760_000_000_000_000_000 + number,
                    severity_number=SeverityNumber.INFO,
                    severity_text="INFO",
                    body=f"order {number} accepted, {chance.randrange(10**6)} in stock",
                    attributes=attributes,
                )
            )
    records: tuple[Any, ...] = memory.get_finished_logs()
    return records


def _metrics(items: int) -> Any:
    reader = InMemoryMetricReader()
    provider = MeterProvider(
        [reader], resource=Resource.create({"service.name": "shop"}), shutdown_on_exit=False
    )
    meter = provider.get_meter("shop", "1.14.2")
    record: list[Callable[..., None]] = [
        meter.create_counter("http.server.requests", "{request}", "Requests").add,
        meter.create_up_down_counter("http.server.active_requests", "{request}").add,
        meter.create_gauge("queue.length").set,
        meter.create_histogram("http.server.request.duration", "s").record,
    ]
    chance = random.Random("metrics")
    for number in range(max(1, items // len(record))):
        about = {"http.route": f"/products/{number}", "http.request.method": "GET", "code": 200}
        for one in record:
            one(chance.uniform(0, 10), about)
    found = reader.get_metrics_data()
    provider.shutdown()
    return found


def main() -> None:
    """Measure and print."""
    print("| payload | ours, us a batch | peer, us a batch | ratio | spread |")
    print("| --- | --- | --- | --- | --- |")
    for row in sdk_encoding():
        low, high = row["spread"]
        print(
            f"| {row['workload']} | {row['ours_us']:.0f} | {row['peer_us']:.0f} "
            f"| {row['ratio']:.1f} | {low:.1f} to {high:.1f} |"
        )


if __name__ == "__main__":
    main()
