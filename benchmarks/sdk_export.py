"""What does a program pay for a span, from its end to the collector's answer?

Unit: a ratio, the peer's CPU time of the whole process (all threads, as the operating system
has it) by ours in the same round; both take turns, the median of the rounds counts, the
smallest and largest are printed.
Baseline: opentelemetry-sdk's BatchSpanProcessor with its own OTLP exporter, over HTTP and
gRPC. Ours: `rxotlp.sdk.BatchSpanProcessor` with our exporter. Queue and batch have the same
size on both sides; the sink is another process, and every span must have arrived there once.
Blind spot: starting and ending the spans is the SDK's on both sides and is measured with it,
so the ratio is smaller than that of what we replace.

    python -m benchmarks.sdk_export
"""

import itertools
import statistics
import time
from collections.abc import Callable, Iterator

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcPeer
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpPeer
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor as Peer
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator

from benchmarks.bodies import MARK
from benchmarks.control import Child, child
from benchmarks.measures import Measure, alternating, named
from rxotlp import exporters
from rxotlp.sdk import BatchSpanProcessor

__all__ = ["sdk_export"]

BATCH = 512
ATTRIBUTES: dict[str, str | int | float | bool] = {
    "http.request.method": "GET",
    "http.route": "/users/{id}/orders",
    "http.response.status_code": 200,
    "url.scheme": "https",
    "server.address": "shop.example.com",
    "server.port": 8443,
    "network.protocol.version": "1.1",
    "user.id": 4711,
    "cart.total": 47.11,
    "cache.hit": True,
}


class _Numbered(IdGenerator):
    """Trace ids that the sink counts."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._random = RandomIdGenerator()

    def generate_trace_id(self) -> int:
        number = next(self._numbers)
        return int.from_bytes(MARK + number.to_bytes(6, "big") + bytes(4), "big")

    def generate_span_id(self) -> int:
        return self._random.generate_span_id()


def sdk_export(smoke: bool) -> Iterator[Measure]:
    """Over HTTP and gRPC."""
    rounds, spans = (1, 100) if smoke else (7, 5_000)
    with child("benchmarks.sink") as sink:
        http, grpc = f"http://{sink.hello['http']}", f"http://{sink.hello['grpc']}"
        ways: dict[str, tuple[Callable[[], SpanProcessor], Callable[[], SpanProcessor], str]] = {
            "http": (
                lambda: _ours(exporters.OtlpHttp(http)),
                lambda: _peer(HttpPeer(f"{http}/v1/traces")),
                "opentelemetry-exporter-otlp-proto-http",
            ),
            "grpc": (
                lambda: _ours(exporters.OtlpGrpc(grpc)),
                lambda: _peer(GrpcPeer(grpc, insecure=True)),
                "opentelemetry-exporter-otlp-proto-grpc",
            ),
        }
        for way, (ours, peer, package) in ways.items():
            mine, theirs = [], []
            for turn in range(rounds if smoke else rounds + 1):
                pair = _microseconds(ours, sink, spans), _microseconds(peer, sink, spans)
                if turn or smoke:  # the first warms up
                    mine.append(pair[0])
                    theirs.append(pair[1])
            yield alternating(
                f"start, end and export a span over {way}",
                [other / own for other, own in zip(theirs, mine, strict=True)],
                payload=f"sdk: {spans} spans of 10 attributes, {BATCH} a request",
                peer=named("opentelemetry-sdk", package),
                detail={"ours_us": statistics.median(mine), "peer_us": statistics.median(theirs)},
            )


def _ours(exporter: exporters.Exporter) -> SpanProcessor:
    return BatchSpanProcessor(
        exporter=exporter, max_queue_size=1 << 20, max_export_batch_size=BATCH
    )


def _peer(exporter: HttpPeer | GrpcPeer) -> SpanProcessor:
    return Peer(exporter, max_queue_size=1 << 20, max_export_batch_size=BATCH)


def _microseconds(make: Callable[[], SpanProcessor], sink: Child, spans: int) -> float:
    """CPU a span, from the first start until the sink has them all."""
    sink.ask("reset")
    provider = TracerProvider(shutdown_on_exit=False, id_generator=_Numbered())
    processor = make()
    provider.add_span_processor(processor)
    tracer = provider.get_tracer("benchmark")
    began = time.process_time()
    for _ in range(spans):
        tracer.start_span("GET /users/{id}/orders", attributes=ATTRIBUTES).end()
    assert processor.force_flush(60_000)
    spent = time.process_time() - began
    provider.shutdown()
    said = sink.ask("report", requests=spans, items=1, refused=[])
    if said["lost"] or said["doubled"] or said["strange"]:
        raise AssertionError(f"{type(processor)}: {said}")
    return spent / spans * 1e6


def main() -> None:
    """Print it."""
    for measure in sdk_export(smoke=False):
        print(f"{measure.work}: {measure.figure:.2f}x {measure.spread} {measure.detail}")


if __name__ == "__main__":
    main()
